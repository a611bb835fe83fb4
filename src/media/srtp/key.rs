//! Master keys, and the keys of sessions that come of them (RFC 3711, section 4.3).

use std::fmt;

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128, Aes256, Block};
use zeroize::Zeroizing;

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 4568, section 6.2.1).
    AesCm80,
    /// `AES_CM_128_HMAC_SHA1_32`. Reports have the tag of the other one (RFC 4568, section 6.2.2).
    AesCm32,
    /// `AEAD_AES_128_GCM` (RFC 7714).
    AesGcm128,
    /// `AEAD_AES_256_GCM` (RFC 7714).
    AesGcm256,
}

/// The master key of one direction. It is wiped from memory when it goes, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    suite: Suite,
    key_and_salt: Zeroizing<Vec<u8>>,
    mki: Vec<u8>,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AesCm80, Self::AesCm32, Self::AesGcm128, Self::AesGcm256];

    /// Bytes of the master key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AesCm80 | Self::AesCm32 | Self::AesGcm128 => 16,
            Self::AesGcm256 => 32,
        }
    }

    /// Bytes of the master salt behind it.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AesCm80 | Self::AesCm32 => 14,
            Self::AesGcm128 | Self::AesGcm256 => 12,
        }
    }
}

impl Key {
    /// A key with its salt behind it. `mki`: what names the key in packets; empty: nothing does. `None`: a length is wrong.
    pub fn new(suite: Suite, key_and_salt: &[u8], mki: &[u8]) -> Option<Self> {
        let fits = key_and_salt.len() == suite.key_bytes() + suite.salt_bytes() && mki.len() <= MKI_BYTES_MAX;
        fits.then(|| Self {
            suite,
            key_and_salt: Zeroizing::new(key_and_salt.to_vec()),
            mki: mki.to_vec(),
        })
    }

    /// How it protects.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub(super) fn mki(&self) -> &[u8] {
        &self.mki
    }

    /// A key of the session, by AES in counter mode (RFC 3711, section 4.3.3).
    pub(super) fn derive(&self, label: u8, out: &mut [u8]) {
        let (key, salt) = self.key_and_salt.split_at(self.suite.key_bytes());
        let mut counter = Block::default();
        // A salt of 12 bytes is one with zeros behind it (RFC 7714, section 11).
        counter[..salt.len()].copy_from_slice(salt);
        counter[LABEL_AT] ^= label;
        let encrypt: &dyn Fn(&mut Block) = match self.suite {
            Suite::AesGcm256 => &|block| Aes256::new(key.into()).encrypt_block(block),
            Suite::AesCm80 | Suite::AesCm32 | Suite::AesGcm128 => &|block| Aes128::new(key.into()).encrypt_block(block),
        };
        for (number, piece) in (0_u16..).zip(out.chunks_mut(BLOCK_BYTES)) {
            let mut block = counter;
            block[BLOCK_BYTES - 2..].copy_from_slice(&number.to_be_bytes());
            encrypt(&mut block);
            piece.copy_from_slice(&block[..piece.len()]);
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Key")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

/// Bytes of a name of a key in packets. Keys with longer ones are not taken.
pub const MKI_BYTES_MAX: usize = 16;

const BLOCK_BYTES: usize = 16;
/// The label stands before 48 bits of an index, which is 0, at the end of 14 bytes.
const LABEL_AT: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_keys_are_those_of_the_standard() {
        // RFC 3711, appendix B.3.
        let mut master = Vec::new();
        master.extend(0xe1f9_7a0d_3e01_8be0_d64f_a32c_06de_4139_u128.to_be_bytes());
        master.extend([
            0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6,
        ]);
        let key = Key::new(Suite::AesCm80, &master, &[]).unwrap();
        let derived = |label: u8, bytes: usize| {
            let mut out = vec![0; bytes];
            key.derive(label, &mut out);
            out.iter().map(|byte| format!("{byte:02X}")).collect::<String>()
        };
        assert_eq!(derived(0, 16), "C61E7A93744F39EE10734AFE3FF7A087");
        assert_eq!(derived(2, 14), "30CBBC08863D8C85D49DB34A9AE1");
        assert_eq!(
            derived(1, 94),
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
        );
    }

    #[test]
    fn a_key_has_the_length_of_its_suite_and_is_not_shown() {
        for suite in Suite::ALL {
            let bytes = suite.key_bytes() + suite.salt_bytes();
            for length in 0..64 {
                assert_eq!(Key::new(suite, &vec![171; length], &[]).is_some(), length == bytes);
            }
            assert_eq!(Key::new(suite, &vec![171; bytes], &[0; MKI_BYTES_MAX + 1]), None);
            let shown = format!("{:?}", Key::new(suite, &vec![171; bytes], &[171]).unwrap());
            assert!(!shown.contains("171"), "{shown}");
        }
    }
}
