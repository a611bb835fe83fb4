//! What is done with the bytes of a packet, under the keys of a session.

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors};
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::header::CONTROL_HEADER_BYTES;
use super::key::{Key, Suite};

/// The keys of one direction.
pub(super) struct Keys {
    pub(super) rtp: Transform,
    pub(super) rtcp: Transform,
}

pub(super) enum Transform {
    Counter(Box<Counter>),
    Gcm(Box<Gcm>),
}

/// AES in counter mode and HMAC-SHA1 (RFC 3711, sections 4.1.1 and 4.2.1).
pub(super) struct Counter {
    cipher: Aes128,
    salt: [u8; 14],
    mac: Hmac<Sha1>,
    tag_bytes: usize,
}

/// AES in Galois/counter mode (RFC 7714).
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Keys {
    pub(super) fn new(key: &Key) -> Self {
        Self {
            rtp: Transform::new(key, RTP_LABELS, false),
            rtcp: Transform::new(key, RTCP_LABELS, true),
        }
    }
}

impl Transform {
    fn new(master: &Key, [cipher, mac, salt]: [u8; 3], is_control: bool) -> Self {
        let suite = master.suite();
        let algorithm = match suite {
            Suite::AesGcm128 => &AES_128_GCM,
            Suite::AesGcm256 => &AES_256_GCM,
            Suite::AesCm80 | Suite::AesCm32 => {
                let mut key = Zeroizing::new([0; 16]);
                master.derive(cipher, &mut *key);
                let mut mac_key = Zeroizing::new([0; 20]);
                master.derive(mac, &mut *mac_key);
                let mut counter = Counter {
                    cipher: Aes128::new((&*key).into()),
                    salt: [0; 14],
                    mac: <Hmac<Sha1> as Mac>::new_from_slice(&*mac_key).expect("a key of any length will do"),
                    tag_bytes: if suite == Suite::AesCm32 && !is_control { 4 } else { 10 },
                };
                master.derive(salt, &mut counter.salt);
                return Self::Counter(Box::new(counter));
            }
        };
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..suite.key_bytes()];
        master.derive(cipher, key);
        let unbound = UnboundKey::new(algorithm, key).expect("the key is as long as the suite says");
        let mut gcm = Gcm {
            key: LessSafeKey::new(unbound),
            salt: [0; 12],
        };
        master.derive(salt, &mut gcm.salt);
        Self::Gcm(Box::new(gcm))
    }

    /// Protects a packet of RTP. False: it is too long.
    pub(super) fn seal_rtp(&self, packet: &mut Vec<u8>, header_bytes: usize, ssrc: u32, index: u64) -> bool {
        let (header, payload) = packet.split_at_mut(header_bytes);
        match self {
            Self::Counter(counter) => {
                counter.crypt(ssrc, index, payload);
                let tag = counter.mac.clone().chain_update(&*packet).chain_update(turn(index));
                packet.extend_from_slice(&tag.finalize().into_bytes()[..counter.tag_bytes]);
                true
            }
            Self::Gcm(gcm) => {
                let nonce = gcm.nonce(ssrc, index);
                let sealed = gcm.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
                let Ok(tag) = sealed else { return false };
                packet.extend_from_slice(tag.as_ref());
                true
            }
        }
    }

    /// The packet of RTP that is in a datagram, in place of what `out` has, if it is authentic under one of these numbers: under
    /// which.
    pub(super) fn open_rtp(
        &self,
        datagram: &[u8],
        mki: &[u8],
        header_bytes: usize,
        ssrc: u32,
        indices: impl Iterator<Item = u64>,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        match self {
            Self::Counter(counter) => {
                let (rest, tag) = split_behind(datagram, counter.tag_bytes)?;
                let packet = rest.strip_suffix(mki).filter(|packet| packet.len() >= header_bytes)?;
                let mac = counter.mac.clone().chain_update(packet);
                let mut indices = indices;
                let index = indices.find(|index| {
                    let mac = mac.clone().chain_update(turn(*index));
                    mac.verify_truncated_left(tag).is_ok()
                })?;
                fill(out, packet);
                counter.crypt(ssrc, index, &mut out[header_bytes..]);
                Some(index)
            }
            Self::Gcm(gcm) => {
                let packet = datagram.strip_suffix(mki)?;
                let header = packet.get(..header_bytes)?;
                let mut indices = indices;
                indices.find(|index| {
                    // What fails leaves nothing behind.
                    fill(out, packet);
                    let nonce = gcm.nonce(ssrc, *index);
                    let opened = gcm
                        .key
                        .open_in_place(nonce, Aad::from(header), &mut out[header_bytes..]);
                    let bytes = opened.map(|payload| payload.len());
                    out.truncate(bytes.map_or(0, |bytes| header_bytes + bytes));
                    bytes.is_ok()
                })
            }
        }
    }

    /// Protects a packet of RTCP, with its number behind it. False: it is too long.
    pub(super) fn seal_rtcp(&self, packet: &mut Vec<u8>, ssrc: u32, index: u32) -> bool {
        let word = (ENCRYPTED | index).to_be_bytes();
        let (header, payload) = packet.split_at_mut(CONTROL_HEADER_BYTES);
        match self {
            Self::Counter(counter) => {
                counter.crypt(ssrc, index.into(), payload);
                packet.extend_from_slice(&word);
                let tag = counter.mac.clone().chain_update(&*packet).finalize().into_bytes();
                packet.extend_from_slice(&tag[..counter.tag_bytes]);
                true
            }
            Self::Gcm(gcm) => {
                let nonce = gcm.nonce(ssrc, index.into());
                let associated = associated(header, word);
                let sealed = gcm
                    .key
                    .seal_in_place_separate_tag(nonce, Aad::from(associated), payload);
                let Ok(tag) = sealed else { return false };
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&word);
                true
            }
        }
    }

    /// The number of a packet of RTCP. `None`: it is too short for one, is not encrypted, or names another key.
    pub(super) fn control_index(&self, datagram: &[u8], mki: &[u8]) -> Option<u32> {
        let rest = match self {
            Self::Counter(counter) => split_behind(datagram, counter.tag_bytes)?.0,
            Self::Gcm(_) => datagram,
        };
        let word = rest.strip_suffix(mki)?.last_chunk::<WORD_BYTES>()?;
        let word = u32::from_be_bytes(*word);
        (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
    }

    /// The packet of RTCP that is in a datagram, in place of what `out` has. False: it is not authentic.
    pub(super) fn open_rtcp(&self, datagram: &[u8], mki: &[u8], ssrc: u32, index: u32, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Counter(counter) => counter.open_rtcp(datagram, mki, ssrc, index, out),
            Self::Gcm(gcm) => gcm.open_rtcp(datagram, mki, ssrc, index, out),
        }
        .is_some()
    }
}

impl Counter {
    /// Encrypts, or the other way round.
    fn crypt(&self, ssrc: u32, index: u64, bytes: &mut [u8]) {
        // Four bytes of zero, the source, the number in 48 bits, and blocks in 16; over it lies the salt.
        let mut first = [0; 16];
        first[..14].copy_from_slice(&self.salt);
        xor(&mut first[4..8], &ssrc.to_be_bytes());
        xor(&mut first[8..14], &index.to_be_bytes()[2..]);
        let core = CtrCore::<_, flavors::Ctr128BE>::inner_iv_init(&self.cipher, &first.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(bytes);
    }

    fn open_rtcp(&self, datagram: &[u8], mki: &[u8], ssrc: u32, index: u32, out: &mut Vec<u8>) -> Option<()> {
        let (rest, tag) = split_behind(datagram, self.tag_bytes)?;
        let numbered = rest.strip_suffix(mki)?;
        let (packet, _) =
            split_behind(numbered, WORD_BYTES).filter(|(packet, _)| packet.len() >= CONTROL_HEADER_BYTES)?;
        let mac = self.mac.clone().chain_update(numbered);
        mac.verify_truncated_left(tag).ok()?;
        fill(out, packet);
        self.crypt(ssrc, index.into(), &mut out[CONTROL_HEADER_BYTES..]);
        Some(())
    }
}

impl Gcm {
    /// RFC 7714, sections 8.1 and 9.1: two bytes of zero, the source, and the number in 48 bits.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[6..], &index.to_be_bytes()[2..]);
        Nonce::assume_unique_for_key(nonce)
    }

    fn open_rtcp(&self, datagram: &[u8], mki: &[u8], ssrc: u32, index: u32, out: &mut Vec<u8>) -> Option<()> {
        let (packet, _) = split_behind(datagram.strip_suffix(mki)?, WORD_BYTES)?;
        let header = packet.get(..CONTROL_HEADER_BYTES)?;
        let associated = associated(header, (ENCRYPTED | index).to_be_bytes());
        fill(out, packet);
        let nonce = self.nonce(ssrc, index.into());
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(associated), &mut out[CONTROL_HEADER_BYTES..]);
        let bytes = opened.ok()?.len();
        out.truncate(CONTROL_HEADER_BYTES + bytes);
        Some(())
    }
}

/// What is authenticated beside what is encrypted (RFC 7714, section 9.2).
fn associated(header: &[u8], word: [u8; WORD_BYTES]) -> [u8; CONTROL_HEADER_BYTES + WORD_BYTES] {
    let mut associated = [0; CONTROL_HEADER_BYTES + WORD_BYTES];
    associated[..CONTROL_HEADER_BYTES].copy_from_slice(header);
    associated[CONTROL_HEADER_BYTES..].copy_from_slice(&word);
    associated
}

/// How often the number of 16 bits has begun anew, which is authenticated with a packet (RFC 3711, section 4.2).
fn turn(index: u64) -> [u8; 4] {
    let [_, _, turn @ .., _, _] = index.to_be_bytes();
    turn
}

/// What is before the last bytes, and they.
fn split_behind(bytes: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(count)?)
}

fn fill(out: &mut Vec<u8>, bytes: &[u8]) {
    out.clear();
    out.extend_from_slice(bytes);
}

fn xor(bytes: &mut [u8], others: &[u8]) {
    for (byte, other) in bytes.iter_mut().zip(others) {
        *byte ^= other;
    }
}

/// Of the key that encrypts, of that which authenticates, and of the salt (RFC 3711, section 4.3.2).
const RTP_LABELS: [u8; 3] = [0, 1, 2];
const RTCP_LABELS: [u8; 3] = [3, 4, 5];

const WORD_BYTES: usize = 4;
/// Before the number of a packet of RTCP.
const ENCRYPTED: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7714, sections 16 and 17: the keys of the session are given.
    fn standard(suite: Suite) -> Transform {
        let key: Vec<u8> = (0..32).collect();
        let algorithm = if suite == Suite::AesGcm256 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        Transform::Gcm(Box::new(Gcm {
            key: LessSafeKey::new(UnboundKey::new(algorithm, &key[..suite.key_bytes()]).unwrap()),
            salt: *b"Quid pro quo",
        }))
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn packets_of_the_standard_are_sealed_as_there() {
        let mut packet = vec![0x80, 0x40, 0xf1, 0x7b, 0x80, 0x41, 0xf8, 0xd3, 0x55, 0x01, 0xa0, 0xb2];
        packet.extend_from_slice(b"Gallia est omnis divisa in partes tres");
        let plain = packet.clone();
        for (suite, sealed) in [
            (
                Suite::AesGcm128,
                "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                Suite::AesGcm256,
                "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ] {
            let transform = standard(suite);
            packet.clone_from(&plain);
            assert!(transform.seal_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b));
            assert_eq!(hexadecimal(&packet), sealed);
            let mut out = Vec::new();
            let opened = transform.open_rtp(&packet, &[], 12, 0x5501_a0b2, [0xf17b].into_iter(), &mut out);
            assert!(opened == Some(0xf17b) && out == plain);
        }
    }

    #[test]
    fn reports_of_the_standard_are_sealed_as_there() {
        let text =
            "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        let plain: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
        let transform = standard(Suite::AesGcm128);
        let mut packet = plain.clone();
        assert!(transform.seal_rtcp(&mut packet, 0x4d61_7273, 0x5d4));
        assert_eq!(
            hexadecimal(&packet),
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4"
        );
        let mut out = Vec::new();
        assert_eq!(transform.control_index(&packet, &[]), Some(0x5d4));
        assert!(transform.open_rtcp(&packet, &[], 0x4d61_7273, 0x5d4, &mut out) && out == plain);
    }
}
