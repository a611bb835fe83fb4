//! Hashes: of certificates, and of what STUN and SRTP authenticate.

use hmac::{Hmac, Mac};
use ring::digest;
use sha1::Sha1;
use str0m::crypto::{Sha1HmacProvider, Sha256Provider};

#[derive(Debug)]
pub(super) struct Hashes;

impl Sha1HmacProvider for Hashes {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let mac = <Hmac<Sha1> as Mac>::new_from_slice(key).expect("a key of any length will do");
        let mac = payloads.iter().fold(mac, Mac::chain_update);
        mac.finalize().into_bytes().into()
    }
}

impl Sha256Provider for Hashes {
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standards() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // RFC 2202, section 3, test cases 2 and 3 (in two pieces).
        let mac = Hashes.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex(&mac), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let mac = Hashes.sha1_hmac(&[0xaa; 20], &[&[0xdd; 50]]);
        assert_eq!(hex(&mac), "125d7342b9ac11cd91a39af48aa17b4f63f175d3");
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&Hashes.sha256(b"abc")), hash);
    }
}
