//! The ciphers of SRTP, as str0m asks for them.

use std::fmt;

use aes::cipher::{BlockEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes::{Aes128, Aes256, Block};
use ctr::{CtrCore, flavors};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

#[derive(Debug)]
pub(super) struct Srtp;

/// AES in counter mode. What is authenticated with it is hashed elsewhere.
struct Counter(Aes128);

/// AES in Galois/counter mode.
struct Gcm(LessSafeKey);

impl SrtpProvider for Srtp {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Self
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Self
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Self
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        if let Ok(cipher) = Aes128::new_from_slice(key) {
            round(|block| cipher.encrypt_block(block), input, output);
        }
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        if let Ok(cipher) = Aes256::new_from_slice(key) {
            round(|block| cipher.encrypt_block(block), input, output);
        }
    }
}

/// One block. The room behind it is for those that pad.
fn round(encrypt: impl Fn(&mut Block), input: &[u8], output: &mut [u8]) {
    let mut block = Block::default();
    for (into, from) in block.iter_mut().zip(input) {
        *into = *from;
    }
    encrypt(&mut block);
    for (into, from) in output.iter_mut().zip(&block) {
        *into = *from;
    }
}

impl SupportedAes128CmSha1_80 for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(Counter(Aes128::new(&key.into())))
    }
}

impl SupportedAeadAes128Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Gcm::new(&AES_128_GCM, &key))
    }
}

impl SupportedAeadAes256Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 32], _encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Gcm::new(&AES_256_GCM, &key))
    }
}

impl Aes128CmSha1_80Cipher for Counter {
    fn encrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let output = output.get_mut(..input.len()).ok_or_else(|| failed("no room"))?;
        output.copy_from_slice(input);
        let core = CtrCore::<_, flavors::Ctr128BE>::inner_iv_init(&self.0, iv.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(output);
        Ok(())
    }

    fn decrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.encrypt(iv, input, output)
    }
}

impl Gcm {
    fn new(algorithm: &'static Algorithm, key: &[u8]) -> Self {
        let key = UnboundKey::new(algorithm, key).expect("the key is as long as the algorithm says");
        Self(LessSafeKey::new(key))
    }

    /// The tag is behind what is encrypted.
    fn seal(&self, iv: &[u8; 12], aad: &[u8], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let room = output.split_at_mut_checked(input.len());
        let (text, rest) = room.ok_or_else(|| failed("no room"))?;
        let tag_at = rest.get_mut(..TAG_BYTES).ok_or_else(|| failed("no room for the tag"))?;
        text.copy_from_slice(input);
        let nonce = Nonce::assume_unique_for_key(*iv);
        let sealed = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        tag_at.copy_from_slice(sealed.map_err(|_| failed("it is too long"))?.as_ref());
        Ok(())
    }

    /// How many bytes it is.
    fn open(&self, iv: &[u8; 12], aads: &[&[u8]], input: &[u8], output: &mut [u8]) -> Result<usize, CryptoError> {
        let text_bytes = input.len().checked_sub(TAG_BYTES);
        let text_bytes = text_bytes.ok_or_else(|| failed("it is shorter than a tag"))?;
        let into = output.get_mut(..text_bytes).ok_or_else(|| failed("no room"))?;
        let mut text = input.to_vec();
        let nonce = Nonce::assume_unique_for_key(*iv);
        let opened = self.0.open_in_place(nonce, Aad::from(aads.concat()), &mut text);
        into.copy_from_slice(opened.map_err(|_| failed("it is not authentic"))?);
        Ok(text_bytes)
    }
}

impl AeadAes128GcmCipher for Gcm {
    fn encrypt(&mut self, iv: &[u8; 12], aad: &[u8], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.seal(iv, aad, input, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        self.open(iv, aads, input, output)
    }
}

impl AeadAes256GcmCipher for Gcm {
    fn encrypt(&mut self, iv: &[u8; 12], aad: &[u8], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.seal(iv, aad, input, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        self.open(iv, aads, input, output)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Counter")
    }
}

impl fmt::Debug for Gcm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Gcm")
    }
}

fn failed(why: &str) -> CryptoError {
    CryptoError::Other(why.to_owned())
}

const TAG_BYTES: usize = 16;
