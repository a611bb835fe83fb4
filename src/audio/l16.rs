//! L16 (RFC 3551, section 4.5.11): samples as they are, the high byte first.

/// Samples as bytes, added to `payload`.
pub fn encode(samples: &[i16], payload: &mut Vec<u8>) {
    payload.extend(samples.iter().flat_map(|sample| sample.to_be_bytes()));
}

/// Bytes as samples, added to `samples`. A single last byte is left out.
pub fn decode(payload: &[u8], samples: &mut Vec<i16>) {
    samples.extend(payload.as_chunks().0.iter().map(|bytes| i16::from_be_bytes(*bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_with_the_high_byte_first() {
        let samples = [0, 1, -1, 256, i16::MIN, i16::MAX];
        let mut payload = Vec::new();
        encode(&samples, &mut payload);
        assert_eq!(payload[..8], [0, 0, 0, 1, 0xff, 0xff, 1, 0]);
        payload.push(7);
        let mut back = Vec::new();
        decode(&payload, &mut back);
        assert_eq!(back, samples);
    }
}
