//! Ogg Opus as its packets, WAV as G.711 µ-law frames.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::Frame;

/// Packets as they are, each with the time it plays.
pub(super) fn opus(file: &Path) -> anyhow::Result<Vec<Frame>> {
    let mut reader = open(file)?;
    let track = reader
        .default_track(TrackType::Audio)
        .context("there is no audio in it")?;
    let parameters = track.codec_params.as_ref().and_then(|codec| codec.audio());
    ensure!(
        parameters.is_some_and(|audio| audio.codec == CODEC_ID_OPUS),
        "its audio is not Opus"
    );
    let id = track.id;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet()? {
        if packet.track_id != id {
            continue;
        }
        // What a decoder leaves out at the beginning and end is sent all the same.
        let samples = packet.dur.get() + packet.trim_start.get() + packet.trim_end.get();
        frames.push(Frame {
            bytes: Bytes::from(packet.data),
            lasts: Duration::from_nanos(samples * 1_000_000_000 / OPUS_CLOCK),
            is_key: true,
        });
    }
    Ok(frames)
}

/// Samples as G.711 has them, 160 in a frame.
pub(super) fn pcmu(file: &Path) -> anyhow::Result<Vec<Frame>> {
    let mut reader = open(file)?;
    let track = reader
        .default_track(TrackType::Audio)
        .context("there is no audio in it")?;
    let parameters = track.codec_params.as_ref().and_then(|codec| codec.audio());
    let parameters = parameters.context("its codec is not known")?;
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    ensure!(
        parameters.sample_rate == Some(8000) && channels == 1,
        "telephony has one channel of 8000 samples/s: `ffmpeg -i IN -ar 8000 -ac 1 OUT.wav` makes it so"
    );
    let mut decoder =
        symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())?;
    let id = track.id;
    let mut encoded = Vec::new();
    let mut samples: Vec<i16> = Vec::new();
    while let Some(packet) = reader.next_packet()? {
        if packet.track_id != id {
            continue;
        }
        let decoded = decoder.decode(&packet)?;
        samples.resize(decoded.samples_interleaved(), 0);
        decoded.copy_to_slice_interleaved(&mut samples);
        encoded.extend(samples.iter().copied().map(mu_law));
    }
    let whole = encoded.len().next_multiple_of(FRAME_SAMPLES);
    encoded.resize(whole, mu_law(0));
    let encoded = Bytes::from(encoded);
    let frames = (0..whole).step_by(FRAME_SAMPLES).map(|start| Frame {
        bytes: encoded.slice(start..start + FRAME_SAMPLES),
        lasts: Duration::from_millis(20),
        is_key: true,
    });
    Ok(frames.collect())
}

fn open(file: &Path) -> anyhow::Result<Box<dyn FormatReader>> {
    let stream = MediaSourceStream::new(Box::new(File::open(file)?), Default::default());
    let mut hint = Hint::new();
    if let Some(extension) = file.extension().and_then(|extension| extension.to_str()) {
        hint.with_extension(extension);
    }
    let reader =
        symphonia::default::get_probe().probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())?;
    Ok(reader)
}

/// One sample by ITU-T G.711, table 2a: a sign, the segment and four bits within it, inverted.
fn mu_law(sample: i16) -> u8 {
    const BIAS: u16 = 33;
    // 14 bits of magnitude and sign.
    let magnitude = (sample.unsigned_abs() >> 2).min(8158) + BIAS;
    let segment = 10 - magnitude.leading_zeros();
    let step = (magnitude >> (segment + 1)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let low = u8::try_from((segment << 4) | u32::from(step)).expect("three bits and four");
    !(sign | low)
}

/// Ogg counts Opus at 48 kHz, whatever was recorded (RFC 7845, section 4).
const OPUS_CLOCK: u64 = 48_000;
const FRAME_SAMPLES: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_law_is_that_of_the_recommendation() {
        // Values of table 2a, scaled from 14 to 16 bits.
        for (sample, code) in [
            (0, 0xff),
            (8031 * 4, 0x80),
            (-8031 * 4, 0x00),
            (i16::MAX.into(), 0x80),
            (i16::MIN.into(), 0x00),
            (4191 * 4, 0x8f),
            (99 * 4, 0xdf),
            (-99 * 4, 0x5f),
            (2 * 4, 0xfe),
        ] {
            assert_eq!(mu_law(i16::try_from(sample).unwrap()), code, "{sample}");
        }
    }
}
