//! Others' bytes: what ffmpeg 5.1 made of the samples of [`samples`], and of each byte of G.711. Its Opus is libopus 1.3.1,
//! at 24 kbit/s. Its G.722 is, bit by bit, also what libg722 1.2.8 makes of them. The vectors of the ITU were not to be had.

use crate::exercise::decibel_after;
use crate::{Codec, Decoder, Encoder, Rate};

/// A triangle that gets louder, with noise.
fn samples() -> Vec<i16> {
    const COUNT: i32 = 3200;
    let mut state = 12_345_u32;
    let sample = |n: i32| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        let noise = i32::try_from(state >> 16 & 0x3ff).unwrap() - 512;
        let at = n % 73;
        let triangle = at.min(73 - at) * 400 - 7200;
        let triangle = if at == 37 { (73 - 37) * 400 - 7200 } else { triangle };
        let loud = n * 3 / COUNT + 1;
        i16::try_from(((triangle + noise) * loud).div_euclid(3)).unwrap()
    };
    (0..COUNT).map(sample).collect()
}

fn linear(bytes: &[u8]) -> Vec<i16> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| i16::from_le_bytes(*bytes))
        .collect()
}

fn encoded(codec: Codec, rate: Rate, samples: &[i16]) -> Vec<u8> {
    let mut encoder = Encoder::new(codec, rate).unwrap();
    let mut payload = Vec::new();
    for piece in samples.chunks(160) {
        encoder.encode(piece, &mut payload).unwrap();
    }
    payload
}

fn decoded(codec: Codec, rate: Rate, payload: &[u8]) -> Vec<i16> {
    let mut decoder = Decoder::new(codec, rate).unwrap();
    let mut samples = Vec::new();
    for piece in payload.chunks(160) {
        decoder.decode(piece, &mut samples).unwrap();
    }
    samples
}

#[test]
fn g722_is_bit_by_bit_what_others_make_of_it() {
    let payload = include_bytes!("samples.g722");
    assert_eq!(encoded(Codec::G722, Rate::Hz16000, &samples()), payload);
    let others = linear(include_bytes!("decoded.pcm"));
    assert_eq!(decoded(Codec::G722, Rate::Hz16000, payload), others);
}

#[test]
fn g711_is_decoded_bit_by_bit_and_encoded_as_nearly() {
    let bytes: Vec<u8> = (0..=255).collect();
    for (codec, pcm, payload) in [
        (
            Codec::Pcmu,
            &include_bytes!("ulaw.pcm")[..],
            &include_bytes!("samples.ulaw")[..],
        ),
        (
            Codec::Pcma,
            &include_bytes!("alaw.pcm")[..],
            &include_bytes!("samples.alaw")[..],
        ),
    ] {
        assert_eq!(decoded(codec, Rate::Hz8000, &bytes), linear(pcm), "{codec:?}");
        // Between two steps others take the nearest, G.191 cuts: no byte is more than one step off.
        let samples = samples();
        let ours = decoded(codec, Rate::Hz8000, &encoded(codec, Rate::Hz8000, &samples));
        let others = decoded(codec, Rate::Hz8000, payload);
        let error = |heard: &[i16]| {
            let pairs = samples.iter().zip(heard);
            pairs
                .map(|(one, other)| (i64::from(*one) - i64::from(*other)).pow(2))
                .sum::<i64>()
        };
        assert!(
            error(&ours) * 100 <= error(&others) * 105,
            "{codec:?}: {} {}",
            error(&ours),
            error(&others)
        );
    }
}

#[test]
fn opus_of_others_is_understood_at_each_rate() {
    let mut packets = Vec::new();
    let mut bytes = &include_bytes!("opus.packets")[..];
    while let Some((size, rest)) = bytes.split_first_chunk() {
        let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes(*size)));
        packets.push(packet);
        bytes = rest;
    }
    assert_eq!(packets.len(), 11);
    for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000] {
        let mut decoder = Decoder::new(Codec::Opus, rate).unwrap();
        let mut out = Vec::new();
        for packet in &packets {
            decoder.decode(packet, &mut out).unwrap();
        }
        assert_eq!(out.len(), rate.samples(220));
        if rate == Rate::Hz16000 {
            let (decibel, delay) = decibel_after(&samples()[800..2400], &out[800..2700], 300);
            assert!(decibel > 8.0, "{decibel} dB after {delay}");
        }
    }
}
