//! What a server may keep of a password.

use super::algorithm::Algorithm;

/// The hash of user, realm and password (RFC 7616, section 3.4.2). Whoever has it can register as the user, so it is as
/// secret as the password; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    algorithm: Algorithm,
    hex: String,
}

impl Ha1 {
    /// Of a password that is there in the clear.
    pub fn of(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Self {
        Self {
            algorithm,
            hex: algorithm.hash(&[user, realm, password]),
        }
    }

    /// Of hexadecimal digits, as directories keep it. `None`: they are not as many as the algorithm has, or no such digits.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Option<Self> {
        let is_hash = text.len() == algorithm.digits() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| Self {
            algorithm,
            hex: text.to_ascii_lowercase(),
        })
    }

    /// What it is made with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// In small hexadecimal digits, to be kept. Not for logs.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl std::fmt::Debug for Ha1 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Ha1");
        shown.field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_and_are_never_shown() {
        // Of RFC 2617, section 3.5.
        let ha1 = Ha1::of(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(ha1.hex(), "939e7578ed9e3c518a452acee763bce9");
        let again = Ha1::from_hex(Algorithm::Md5, "939E7578ED9E3C518A452ACEE763BCE9").unwrap();
        assert_eq!((again.hex(), again.algorithm()), (ha1.hex(), Algorithm::Md5));
        assert!(!format!("{ha1:?}").contains("939e"));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        assert!(Ha1::from_hex(Algorithm::Sha256, "939e7578ed9e3c518a452acee763bce9").is_none());
        assert!(Ha1::from_hex(Algorithm::Md5, "939e7578ed9e3c518a452acee763bceg").is_none());
        assert!(Ha1::from_hex(Algorithm::Md5, "939e7578ed9e3c518a452acee763bc\u{e9}").is_none());
        assert!(Ha1::from_hex(Algorithm::Md5, "").is_none());
    }
}
