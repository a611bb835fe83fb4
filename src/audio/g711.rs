//! G.711, both laws: a byte for each sample at 8 kHz. The arithmetic is that of the ITU's reference software (G.191).
//!
//! Each function converts as many samples as both slices hold, and says how many that were.

/// Samples as µ-law. Returns how many were converted: the shorter of both lengths.
pub fn encode_ulaw(samples: &[i16], payload: &mut [u8]) -> usize {
    convert(samples, payload, ulaw_of)
}

/// µ-law as samples. Returns how many were converted: the shorter of both lengths.
pub fn decode_ulaw(payload: &[u8], samples: &mut [i16]) -> usize {
    convert(payload, samples, |byte| ULAW[usize::from(byte)])
}

/// Samples as A-law. Returns how many were converted: the shorter of both lengths.
pub fn encode_alaw(samples: &[i16], payload: &mut [u8]) -> usize {
    convert(samples, payload, alaw_of)
}

/// A-law as samples. Returns how many were converted: the shorter of both lengths.
pub fn decode_alaw(payload: &[u8], samples: &mut [i16]) -> usize {
    convert(payload, samples, |byte| ALAW[usize::from(byte)])
}

fn convert<A: Copy, B>(from: &[A], to: &mut [B], one: impl Fn(A) -> B) -> usize {
    for (to, from) in to.iter_mut().zip(from) {
        *to = one(*from);
    }
    from.len().min(to.len())
}

/// The upper bits of a magnitude; of a negative sample its one's complement, as G.191 has it.
fn magnitude(sample: i16, dropped: u32) -> u16 {
    let sign = sample >> 15;
    (sample ^ sign).cast_unsigned() >> dropped
}

/// G.711, table 2: a sign, three bits of the segment, four bits within it; all inverted.
fn ulaw_of(sample: i16) -> u8 {
    let biased = (magnitude(sample, 2) + 33).min(0x1fff);
    let segment = 10 - biased.leading_zeros();
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | low_byte(segment << 4) | low_byte(u32::from(biased >> (segment + 1)) & 0xf))
}

/// G.711, table 1: as above, but the lowest segment is linear, and every other bit is inverted.
fn alaw_of(sample: i16) -> u8 {
    let magnitude = magnitude(sample, 4);
    let segment = 12_u32.saturating_sub(magnitude.leading_zeros());
    let within = if segment == 0 {
        u32::from(magnitude)
    } else {
        u32::from(magnitude >> (segment - 1)) & 0xf
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (sign | low_byte(segment << 4) | low_byte(within)) ^ 0x55
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

static ULAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let code = !byte & 0xff;
        let magnitude = ((((code & 0xf) << 3) + 0x84) << (code >> 4 & 7)) - 0x84;
        table[byte as usize] = signed(magnitude, code & 0x80 != 0);
        byte += 1;
    }
    table
};

static ALAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let code = byte ^ 0x55;
        let segment = code >> 4 & 7;
        let magnitude = if segment == 0 {
            ((code & 0xf) << 4) + 8
        } else {
            (((code & 0xf) << 4) + 0x108) << (segment - 1)
        };
        table[byte as usize] = signed(magnitude, code & 0x80 == 0);
        byte += 1;
    }
    table
};

#[expect(
    clippy::cast_possible_truncation,
    reason = "no magnitude of either law is above 32 256"
)]
const fn signed(magnitude: i32, is_negative: bool) -> i16 {
    assert!(magnitude <= 32_256);
    (if is_negative { -magnitude } else { magnitude }) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulaw(samples: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; samples.len()];
        assert_eq!(encode_ulaw(samples, &mut payload), samples.len());
        payload
    }

    fn alaw(samples: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; samples.len()];
        assert_eq!(encode_alaw(samples, &mut payload), samples.len());
        payload
    }

    #[test]
    fn values_of_the_recommendation() {
        // G.711, tables 1 and 2: the ends, the middle and the edges of segments, 14 bits for µ-law and 13 for A-law.
        assert_eq!(ulaw(&[0, -1, 32_767, -32_768]), [0xff, 0x7f, 0x80, 0x00]);
        assert_eq!(alaw(&[0, -1, 32_767, -32_768]), [0xd5, 0x55, 0xaa, 0x2a]);
        for (value, byte) in [(8031 * 4, 0x80), (4063 * 4, 0x8f), (2015 * 4, 0x9f), (479 * 4, 0xbf)] {
            assert_eq!(ulaw(&[value]), [byte]);
        }
        let mut samples = [0; 4];
        decode_ulaw(&[0x80, 0x00, 0xff, 0x7f], &mut samples);
        assert_eq!(samples, [32_124, -32_124, 0, 0]);
        decode_alaw(&[0xaa, 0x2a, 0xd5, 0x55], &mut samples);
        assert_eq!(samples, [32_256, -32_256, 8, -8]);
    }

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut samples = [0; 256];
        decode_alaw(&bytes, &mut samples);
        assert_eq!(alaw(&samples), bytes);
        decode_ulaw(&bytes, &mut samples);
        // There are two zeros; the negative one becomes the other.
        let expected: Vec<u8> = bytes
            .iter()
            .map(|byte| if *byte == 0x7f { 0xff } else { *byte })
            .collect();
        assert_eq!(ulaw(&samples), expected);
    }

    #[test]
    fn no_sample_is_further_off_than_its_segment_allows() {
        for sample in i16::MIN..=i16::MAX {
            let mut back = [0; 2];
            decode_ulaw(&ulaw(&[sample]), &mut back[..1]);
            decode_alaw(&alaw(&[sample]), &mut back[1..]);
            let loud = i32::from(sample).abs();
            for (law, back) in ["µ", "A"].into_iter().zip(back) {
                let off = (i32::from(sample) - i32::from(back)).abs();
                // Half a step is a 32nd of the value with its bias (33, of 14 bits); the largest values are cut off.
                let allowed = if loud > 32_124 { 1024 } else { (loud + 132) / 32 + 4 };
                assert!(off <= allowed, "{law}: {sample} is {back}");
            }
        }
    }

    #[test]
    fn the_shorter_slice_counts() {
        let mut payload = [0; 2];
        assert_eq!(encode_ulaw(&[1, 2, 3], &mut payload), 2);
        assert_eq!(decode_alaw(&[1], &mut [0; 4]), 1);
    }
}
