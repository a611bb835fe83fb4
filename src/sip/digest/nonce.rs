//! Nonces that tell by themselves whether they are ours: nothing is kept of a challenge until it is answered rightly.
//!
//! A nonce is the hexadecimal form of
//!
//! ```text
//! | milliseconds, 8 bytes | serial number, 4 | HMAC-SHA256 over both, the peer's address and the realm, 16 of 32 |
//! ```

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ring::hmac;

use super::algorithm::hex;
use super::target::digit;

/// Makes nonces for one realm, and knows them again.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
    /// Keyed otherwise, so that neither says anything of the other.
    comparison: hmac::Key,
    realm: String,
    serial: u32,
}

/// What tells a nonce from all others. The older one is the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NonceId {
    milliseconds: u64,
    serial: u32,
}

impl Nonces {
    pub(super) fn new(realm: String, key: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derived = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, purpose).as_ref());
        Self {
            key: derived(b"nonce"),
            comparison: derived(b"comparison"),
            realm,
            serial: 0,
        }
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// A nonce that only this peer can use.
    pub(super) fn issue(&mut self, now: Duration, peer: IpAddr) -> String {
        self.serial = self.serial.wrapping_add(1);
        let id = NonceId {
            milliseconds: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            serial: self.serial,
        };
        let mut bytes = id.bytes().to_vec();
        bytes.extend_from_slice(&self.seal(id, peer));
        hex(&bytes)
    }

    /// `None`: it was not issued here to this peer.
    pub(super) fn recognise(&self, nonce: &str, peer: IpAddr) -> Option<NonceId> {
        let mut bytes = [0; NONCE_BYTES];
        if nonce.len() != NONCE_BYTES * 2 {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(nonce.as_bytes().chunks_exact(2)) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        let (id, seal) = bytes.split_at(ID_BYTES);
        let id = NonceId::of(id)?;
        self.are_equal(&self.seal(id, peer), seal).then_some(id)
    }

    /// Compares in a time that says nothing of where the two differ: what is compared is an HMAC of each.
    pub(super) fn are_equal(&self, first: &[u8], second: &[u8]) -> bool {
        let tag = hmac::sign(&self.comparison, first);
        hmac::verify(&self.comparison, second, tag.as_ref()).is_ok()
    }

    /// A secret for a user who is not there, of as many bytes as SHA-256 has.
    pub(super) fn secret_of_nobody(&self, user: &str) -> String {
        hex(hmac::sign(&self.comparison, user.as_bytes()).as_ref())
    }

    fn seal(&self, id: NonceId, peer: IpAddr) -> [u8; SEAL_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&id.bytes());
        context.update(&octets(peer));
        context.update(self.realm.as_bytes());
        let mut seal = [0; SEAL_BYTES];
        seal.copy_from_slice(&context.sign().as_ref()[..SEAL_BYTES]);
        seal
    }
}

impl NonceId {
    /// How old it is. `None`: it will be issued later, which a clock that went back can make so.
    pub(super) fn age(self, now: Duration) -> Option<Duration> {
        now.checked_sub(Duration::from_millis(self.milliseconds))
    }

    fn bytes(self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        let (milliseconds, serial) = bytes.split_at_mut(size_of::<u64>());
        milliseconds.copy_from_slice(&self.milliseconds.to_be_bytes());
        serial.copy_from_slice(&self.serial.to_be_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let (milliseconds, serial) = bytes.split_at_checked(size_of::<u64>())?;
        Some(Self {
            milliseconds: u64::from_be_bytes(milliseconds.try_into().ok()?),
            serial: u32::from_be_bytes(serial.try_into().ok()?),
        })
    }
}

#[cfg(test)]
impl NonceId {
    pub(super) const fn new(milliseconds: u64, serial: u32) -> Self {
        Self { milliseconds, serial }
    }
}

/// An IPv4 address is the same in either of its forms.
fn octets(address: IpAddr) -> [u8; 16] {
    let address: Ipv6Addr = match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.octets()
}

const ID_BYTES: usize = size_of::<u64>() + size_of::<u32>();
const SEAL_BYTES: usize = 16;
const NONCE_BYTES: usize = ID_BYTES + SEAL_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(1_700_000_000_123);

    #[test]
    fn each_nonce_is_another_and_is_known_again() {
        let mut nonces = nonces("realm", 1);
        let peer = address("192.0.2.1");
        let (first, second) = (nonces.issue(NOW, peer), nonces.issue(NOW, peer));
        assert_ne!(first, second);
        let id = nonces.recognise(&first, peer).unwrap();
        assert_eq!(id.age(NOW + Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert!(id < nonces.recognise(&second, peer).unwrap());
        assert_eq!(
            nonces.recognise(&first.to_uppercase(), address("::ffff:192.0.2.1")),
            Some(id)
        );
    }

    #[test]
    fn others_nonces_are_not_ours() {
        let mut ours = nonces("realm", 1);
        let peer = address("2001:db8::1");
        let nonce = ours.issue(NOW, peer);
        assert!(ours.recognise(&nonce, address("2001:db8::2")).is_none());
        assert!(nonces("realm", 2).recognise(&nonce, peer).is_none());
        assert!(nonces("other", 1).recognise(&nonce, peer).is_none());
        assert!(nonces("realm", 1).recognise(&nonce, peer).is_some());
    }

    #[test]
    fn a_nonce_with_any_digit_changed_is_forged() {
        let mut nonces = nonces("realm", 1);
        let peer = address("192.0.2.1");
        let nonce = nonces.issue(NOW, peer);
        for at in 0..nonce.len() {
            let digit = if &nonce[at..=at] == "0" { "1" } else { "0" };
            let forged = format!("{}{digit}{}", &nonce[..at], &nonce[at + 1..]);
            assert!(nonces.recognise(&forged, peer).is_none(), "{at}");
            assert!(nonces.recognise(&nonce[..at], peer).is_none(), "{at}");
        }
        assert!(nonces.recognise(&nonce.replace('0', "\u{e9}"), peer).is_none());
    }

    fn nonces(realm: &str, key: u8) -> Nonces {
        Nonces::new(realm.to_owned(), &[key; 32])
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
