//! Packets that no client library sends: frames of choice, sealed by the keys of a true connection (RFC 9001, section 5).

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use ring::hkdf;
use tokio::net::UdpSocket;

/// One connection, on which nothing is acknowledged, sent again or taken note of but its end.
pub struct Forger {
    socket: UdpSocket,
    /// What the relay calls it.
    id: Vec<u8>,
    own_id_bytes: usize,
    ours: Keys,
    theirs: Keys,
    next: u64,
    /// The largest number of a packet that came; the relay's first packets were of the handshake.
    largest: u64,
    /// The most challenges that one packet answered.
    responses_max: usize,
}

struct Keys {
    packet: LessSafeKey,
    iv: [u8; IV_BYTES],
    header: quic::HeaderProtectionKey,
}

impl Forger {
    /// By the lines of a key log.
    pub(crate) fn new(socket: UdpSocket, id: Vec<u8>, own_id_bytes: usize, lines: &[Vec<u8>]) -> Result<Self> {
        Ok(Self {
            socket,
            id,
            own_id_bytes,
            ours: Keys::of(&secret(lines, "CLIENT_TRAFFIC_SECRET_0")?)?,
            theirs: Keys::of(&secret(lines, "SERVER_TRAFFIC_SECRET_0")?)?,
            next: FIRST_NUMBER,
            largest: 0,
            responses_max: 0,
        })
    }

    /// The next packet, with these frames in it.
    pub fn seal(&mut self, frames: &[u8]) -> Result<Vec<u8>> {
        let number = self.next;
        self.next += 1;
        let mut packet = vec![SHORT_HEADER | (NUMBER_BYTES as u8 - 1)];
        packet.extend_from_slice(&self.id);
        let number_at = packet.len();
        packet.extend_from_slice(&u32::try_from(number)?.to_be_bytes());
        let mut payload = frames.to_vec();
        let sealed =
            self.ours
                .packet
                .seal_in_place_append_tag(self.ours.nonce(number), Aad::from(&packet), &mut payload);
        sealed.ok().context("not sealed")?;
        packet.extend_from_slice(&payload);
        let mask = self.ours.mask(&packet, number_at)?;
        packet[0] ^= mask[0] & SHORT_PROTECTED;
        for (byte, mask) in packet[number_at..number_at + NUMBER_BYTES].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        Ok(packet)
    }

    /// Sends one.
    pub async fn send(&mut self, frames: &[u8]) -> Result<()> {
        let packet = self.seal(frames)?;
        self.socket.send(&packet).await?;
        Ok(())
    }

    /// Sends a sealed one, if the system takes it now.
    pub fn try_send(&self, packet: &[u8]) -> std::io::Result<usize> {
        self.socket.try_send(packet)
    }

    /// Takes what has come, without waiting: the bytes, and the code if the relay has closed the connection.
    pub fn take(&mut self) -> (u64, Option<u64>) {
        let mut bytes = 0;
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        while let Ok(length) = self.socket.try_recv(&mut datagram) {
            bytes += length as u64;
            if let Some(code) = self.closed_by(&mut datagram[..length]) {
                return (bytes, Some(code));
            }
        }
        (bytes, None)
    }

    /// Waits for a packet of the relay, and takes what has come: its bytes.
    pub async fn until_heard(&mut self, limit: Duration) -> Result<u64> {
        let hearing = async {
            let mut heard = 0;
            while self.largest == 0 {
                self.socket.readable().await?;
                heard += self.take().0;
            }
            anyhow::Ok(heard)
        };
        tokio::time::timeout(limit, hearing)
            .await
            .context("nothing was heard")?
    }

    /// Waits until the relay has closed the connection: by which code.
    pub async fn until_closed(&mut self, limit: Duration) -> Result<u64> {
        let closing = async {
            loop {
                self.socket.readable().await?;
                if let (_, Some(code)) = self.take() {
                    return anyhow::Ok(code);
                }
            }
        };
        tokio::time::timeout(limit, closing)
            .await
            .context("it was not closed")?
    }

    /// The largest number of a packet that is known to have been sent.
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// The most challenges that one of the packets answered that came.
    pub fn responses_max(&self) -> usize {
        self.responses_max
    }

    /// Takes note of a packet that came by another socket.
    pub fn note(&mut self, datagram: &mut [u8]) {
        self.closed_by(datagram);
    }

    /// The code, if a packet closes the connection. Nothing is acknowledged in such a one, so this comes first in it.
    fn closed_by(&mut self, datagram: &mut [u8]) -> Option<u64> {
        let frames = self.open(datagram)?;
        let responses = responses(frames);
        let code = match frames.split_first()? {
            (&(CONNECTION_CLOSE | APPLICATION_CLOSE), rest) => varint(rest),
            _ => None,
        };
        self.responses_max = self.responses_max.max(responses);
        code
    }

    /// The frames of a packet with a short header.
    fn open<'packet>(&mut self, packet: &'packet mut [u8]) -> Option<&'packet [u8]> {
        let number_at = 1 + self.own_id_bytes;
        if packet.first()? & LONG_HEADER != 0 {
            return None;
        }
        let mask = self.theirs.mask(packet, number_at).ok()?;
        packet[0] ^= mask[0] & SHORT_PROTECTED;
        let number_bytes = usize::from(packet[0] & 3) + 1;
        let mut truncated = 0;
        for (byte, mask) in packet[number_at..number_at + number_bytes].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
            truncated = truncated << 8 | u64::from(*byte);
        }
        let number = nearest(self.largest + 1, truncated, number_bytes);
        let (header, payload) = packet.split_at_mut(number_at + number_bytes);
        let nonce = self.theirs.nonce(number);
        let frames = self
            .theirs
            .packet
            .open_in_place(nonce, Aad::from(&*header), payload)
            .ok()?;
        self.largest = self.largest.max(number);
        Some(frames)
    }
}

impl Keys {
    /// RFC 9001, section 5.1.
    fn of(secret: &[u8]) -> Result<Self> {
        let (hash, aead, protection) = match secret.len() {
            // Where there are instructions for AES it is this one of the two with such a secret.
            32 => (hkdf::HKDF_SHA256, &AES_128_GCM, &quic::AES_128),
            48 => (hkdf::HKDF_SHA384, &AES_256_GCM, &quic::AES_256),
            bytes => bail!("a secret of {bytes} bytes"),
        };
        let secret = hkdf::Prk::new_less_safe(hash, secret);
        let mut iv = [0; IV_BYTES];
        expand(&secret, "quic iv", &mut iv)?;
        let mut key = vec![0; aead.key_len()];
        expand(&secret, "quic key", &mut key)?;
        let packet = UnboundKey::new(aead, &key).ok().context("no key")?;
        expand(&secret, "quic hp", &mut key)?;
        let header = quic::HeaderProtectionKey::new(protection, &key)
            .ok()
            .context("no key")?;
        Ok(Self {
            packet: LessSafeKey::new(packet),
            iv,
            header,
        })
    }

    /// RFC 9001, section 5.3.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[IV_BYTES - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// RFC 9001, section 5.4.2.
    fn mask(&self, packet: &[u8], number_at: usize) -> Result<[u8; 5]> {
        let sample_at = number_at + NUMBER_BYTES;
        let sample = packet.get(sample_at..sample_at + self.header.algorithm().sample_len());
        let sample = sample.context("too short a packet")?;
        self.header.new_mask(sample).ok().context("no mask")
    }
}

/// HKDF-Expand-Label of RFC 8446, section 7.1.
fn expand(secret: &hkdf::Prk, label: &str, out: &mut [u8]) -> Result<()> {
    struct Bytes(usize);
    impl hkdf::KeyType for Bytes {
        fn len(&self) -> usize {
            self.0
        }
    }
    let label = format!("tls13 {label}");
    let length = u16::try_from(out.len())?.to_be_bytes();
    let info = [&length[..], &[u8::try_from(label.len())?], label.as_bytes(), &[0]];
    let expanded = secret.expand(&info, Bytes(out.len())).and_then(|okm| okm.fill(out));
    expanded.ok().context("not expanded")
}

/// The secret of a name: the last of three words of a line.
fn secret(lines: &[Vec<u8>], name: &str) -> Result<Vec<u8>> {
    let lines = lines.iter().filter_map(|line| std::str::from_utf8(line).ok());
    let mut named = lines.filter_map(|line| line.trim().strip_prefix(name));
    let line = named.next().with_context(|| format!("no {name}"))?;
    let digits = line.split_whitespace().nth(1).context("no secret")?;
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

/// The number of which these are the last bytes, the nearest to what is expected (RFC 9000, appendix A.3).
fn nearest(expected: u64, truncated: u64, bytes: usize) -> u64 {
    let window = 1 << (8 * bytes);
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate + window / 2 <= expected {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// How many challenges are answered before the first frame of a kind that comes later in a packet of the relay.
fn responses(mut frames: &[u8]) -> usize {
    let mut count = 0;
    while let Some((&kind, rest)) = frames.split_first() {
        let after = match kind {
            PADDING | PING => Some(rest),
            ACK => after_ack(rest),
            PATH_RESPONSE => rest.get(8..),
            _ => None,
        };
        let Some(after) = after else { break };
        count += usize::from(kind == PATH_RESPONSE);
        frames = after;
    }
    count
}

/// RFC 9000, section 19.3.
fn after_ack(frame: &[u8]) -> Option<&[u8]> {
    let number = |from: &mut &[u8]| {
        let value = varint(from)?;
        *from = &from[1 << (from[0] >> 6)..];
        Some(value)
    };
    let mut rest = frame;
    let (_largest, _delay) = (number(&mut rest)?, number(&mut rest)?);
    let ranges = number(&mut rest)?;
    let _first = number(&mut rest)?;
    for _ in 0..ranges {
        let (_gap, _length) = (number(&mut rest)?, number(&mut rest)?);
    }
    Some(rest)
}

/// RFC 9000, section 16.
fn varint(input: &[u8]) -> Option<u64> {
    let first = *input.first()?;
    let bytes = input.get(1..1 << (first >> 6))?;
    let whole = bytes
        .iter()
        .fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some(whole)
}

const IV_BYTES: usize = 12;
const LONG_HEADER: u8 = 0x80;
const SHORT_HEADER: u8 = 0x40;
/// Bits of the first byte that are protected.
const SHORT_PROTECTED: u8 = 0x1f;
/// As many as a sample of the payload reckons with.
const NUMBER_BYTES: usize = 4;
/// Above all that the connection itself has sent.
const FIRST_NUMBER: u64 = 1_000;
const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const PATH_RESPONSE: u8 = 0x1b;
const CONNECTION_CLOSE: u8 = 0x1c;
const APPLICATION_CLOSE: u8 = 0x1d;
const DATAGRAM_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9001, appendix A.1: the client's Initial keys.
    #[test]
    fn keys_are_those_of_the_appendix() {
        let secret = secret(
            &[b"X no c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea\n".to_vec()],
            "X",
        )
        .unwrap();
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
        let mut key = [0; 16];
        expand(&prk, "quic key", &mut key).unwrap();
        assert_eq!(
            key,
            [
                0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46, 0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d
            ]
        );
        assert_eq!(
            Keys::of(&secret).unwrap().iv,
            [0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c]
        );
    }

    #[test]
    fn answers_are_counted_behind_acknowledgements() {
        // Up to 0x1234, with one gap; two answers; a stream.
        let ack = [ACK, 0x52, 0x34, 0, 1, 2, 3, 4];
        let response = [PATH_RESPONSE, 1, 2, 3, 4, 5, 6, 7, 8];
        let frames = [&ack[..], &response, &[PING], &response, &[0x08, 0, 7]].concat();
        assert_eq!(
            (responses(&frames), responses(&frames[..12]), responses(&[])),
            (2, 0, 0)
        );
    }

    #[test]
    fn numbers_are_the_nearest_to_what_is_expected() {
        assert_eq!(nearest(0xa82f_30eb, 0x9b32, 2), 0xa82f_9b32);
        assert_eq!(
            (nearest(5, 4, 1), nearest(250, 3, 1), nearest(259, 250, 1)),
            (4, 259, 250)
        );
    }
}
