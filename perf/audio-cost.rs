//! What transcoding costs: reads samples of speech (16 bits, mono, 8 kHz) and says for each pair of codecs how long one frame of
//! 20 ms takes, and how many streams that is for one core.
//!
//! ```sh
//! espeak-ng --stdin --stdout <README.md | sox -t wav - -t raw -e signed -b 16 -c 1 -r 8000 speech.raw
//! cargo run --release -p moqswitch-audio --example cost <speech.raw
//! ```

#![allow(clippy::print_stdout, reason = "it is for who reads the figures")]

use std::hint::black_box;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use moqswitch_audio::{Codec, Encoder, OpusSettings, Rate, Resampler, Transcoder};

fn main() -> io::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    let samples: Vec<i16> = bytes
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    if samples.len() < Rate::Hz8000.samples(FRAME_MS) {
        return Err(io::Error::other(
            "samples of speech are read from standard input, and there are none",
        ));
    }
    println!("from  to    us a frame  streams a core");
    for (from, to) in PAIRS {
        let payloads = encode(from, &samples)?;
        // The median of several runs, since others use the host.
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(transcode(from, to, &payloads)?);
        }
        runs.sort_unstable();
        let each = runs[RUNS / 2].as_secs_f64() / payloads.len() as f64;
        let streams = FRAME_MS as f64 / 1000.0 / each;
        println!("{:5} {:5} {:10.1}  {streams:14.0}", name(from), name(to), each * 1e6);
    }
    Ok(())
}

fn encode(codec: Codec, samples: &[i16]) -> io::Result<Vec<Vec<u8>>> {
    let rate = codec.rate(Rate::Hz16000);
    let mut resampled = Vec::new();
    Resampler::new(Rate::Hz8000, rate).process(samples, &mut resampled);
    let mut encoder = Encoder::new(codec, rate).map_err(io::Error::other)?;
    let mut payloads = Vec::new();
    for frame in resampled.chunks_exact(rate.samples(FRAME_MS)) {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload).map_err(io::Error::other)?;
        payloads.push(payload);
    }
    Ok(payloads)
}

fn transcode(from: Codec, to: Codec, payloads: &[Vec<u8>]) -> io::Result<Duration> {
    let mut transcoder = Transcoder::new(from, to, OpusSettings::default()).map_err(io::Error::other)?;
    let begin = Instant::now();
    for payload in payloads {
        let told = transcoder.process(payload, 0, |frame| {
            black_box(frame.payload);
        });
        told.map_err(io::Error::other)?;
    }
    Ok(begin.elapsed())
}

fn name(codec: Codec) -> String {
    format!("{codec:?}").to_lowercase()
}

const FRAME_MS: usize = 20;
const RUNS: usize = 5;
const PAIRS: [(Codec, Codec); 8] = [
    (Codec::Opus, Codec::Pcmu),
    (Codec::Pcmu, Codec::Opus),
    (Codec::Opus, Codec::G722),
    (Codec::G722, Codec::Opus),
    (Codec::Pcmu, Codec::G722),
    (Codec::G722, Codec::Pcmu),
    (Codec::Pcmu, Codec::Pcma),
    (Codec::Opus, Codec::Opus),
];
