//! Which headers of a call go through the switch: a list of names, in both directions, and never what a dialog is made of.

use crate::limits::{PASSED_BYTES_MAX, PASSED_HEADER_BYTES_MAX, PASSED_HEADERS_MAX, PASSED_NAMES_MAX};

/// Names of headers that are passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passes(Vec<String>);

/// Why names are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassesError {
    /// More than [`PASSED_NAMES_MAX`].
    #[error("more than {PASSED_NAMES_MAX} names of headers")]
    TooMany,
    /// One that is no name, or no beginning of one with a star.
    #[error("a name of a header that is none")]
    NoName,
    /// One that each side of a call has its own of.
    #[error("a header that is never passed on")]
    Reserved,
}

impl Default for Passes {
    /// `X-*`, and who called whom before, who the caller is, whether that is to be told, and what users tell each other.
    fn default() -> Self {
        Self(PASSED.map(str::to_owned).to_vec())
    }
}

impl Passes {
    /// Of names, or beginnings of names with a star: `X-*`.
    ///
    /// # Errors
    /// There are too many, or one is not to be passed on.
    pub fn new(names: &[&str]) -> Result<Self, PassesError> {
        if names.len() > PASSED_NAMES_MAX {
            return Err(PassesError::TooMany);
        }
        for name in names {
            let plain = name.strip_suffix('*').unwrap_or(name);
            // A star behind a single letter would be a list of nearly everything.
            if !is_name(plain) || (plain.len() < 2 && plain.len() < name.len()) {
                return Err(PassesError::NoName);
            }
            if is_reserved(plain) {
                return Err(PassesError::Reserved);
            }
        }
        Ok(Self(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    /// Does a header of this name go through?
    pub fn has(&self, name: &str) -> bool {
        let fits = |own: &String| match own.strip_suffix('*') {
            Some(start) => name
                .get(..start.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
            None => own.eq_ignore_ascii_case(name),
        };
        is_name(name) && !is_reserved(name) && self.0.iter().any(fits)
    }

    /// Those of these headers that go through, in their order.
    pub fn filter<'a>(&self, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
        let mut room = PASSED_BYTES_MAX;
        let mut passed = Vec::new();
        for (name, value) in headers.filter(|(name, _)| self.has(name)) {
            let bytes = name.len() + value.len();
            if passed.len() >= PASSED_HEADERS_MAX {
                break;
            }
            if bytes <= PASSED_HEADER_BYTES_MAX && bytes <= room {
                room -= bytes;
                passed.push((name.to_owned(), value.to_owned()));
            }
        }
        passed
    }
}

/// A token (RFC 3261, section 25.1).
fn is_name(name: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_of_token)
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|own| own.eq_ignore_ascii_case(name))
}

const PASSED: [&str; 6] = [
    "X-*",
    "Diversion",
    "History-Info",
    super::trunks::ASSERTED,
    "Privacy",
    "User-to-User",
];

/// What a dialog, its way, its session and its body are made of, and what is said to one side only.
const RESERVED: [&str; 40] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Max-Forwards",
    "Route",
    "Record-Route",
    "Path",
    "Service-Route",
    "Require",
    "Proxy-Require",
    "Supported",
    "Unsupported",
    "Allow",
    "Allow-Events",
    "Accept",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Authentication-Info",
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Content-Disposition",
    "MIME-Version",
    "Session-Expires",
    "Min-SE",
    "Expires",
    "Event",
    "Subscription-State",
    "RSeq",
    "RAck",
    "Replaces",
    "Join",
    "Refer-To",
    "User-Agent",
    "Server",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_goes_through_and_never_what_a_dialog_is_made_of() {
        let passes = Passes::default();
        for name in [
            "X-Call",
            "x-y",
            "Diversion",
            "history-info",
            "P-Asserted-Identity",
            "User-to-User",
            "Privacy",
        ] {
            assert!(passes.has(name), "{name}");
        }
        for name in [
            "Via",
            "contact",
            "Subject",
            "X",
            "Xylophone",
            "",
            "X-a\r\nVia",
            "X-ü",
            "X- a",
        ] {
            assert!(!passes.has(name), "{name}");
        }
        assert_eq!(Passes::new(&["Via"]), Err(PassesError::Reserved));
        assert_eq!(Passes::new(&["*"]), Err(PassesError::NoName));
        assert_eq!(Passes::new(&["C*"]), Err(PassesError::NoName));
        assert_eq!(Passes::new(&["a b"]), Err(PassesError::NoName));
        assert_eq!(Passes::new(&["a"; PASSED_NAMES_MAX + 1]), Err(PassesError::TooMany));
        let wide = Passes::new(&["Co*", "Subject"]).expect("names");
        assert!(wide.has("Subject") && wide.has("Comment") && !wide.has("Contact") && !wide.has("Content-Type"));
    }

    #[test]
    fn how_much_goes_through_is_bounded() {
        let passes = Passes::default();
        let many = vec![("X-A", "b"); 100];
        assert_eq!(passes.filter(many.into_iter()).len(), PASSED_HEADERS_MAX);
        let large = "b".repeat(PASSED_HEADER_BYTES_MAX - 3);
        let larger = "b".repeat(PASSED_HEADER_BYTES_MAX);
        let all = [("X-A", larger.as_str())]
            .into_iter()
            .chain([("X-A", large.as_str()); 9])
            .chain([("X-B", "c")]);
        let passed = passes.filter(all);
        assert_eq!(passed.len(), PASSED_BYTES_MAX / PASSED_HEADER_BYTES_MAX);
        assert!(passed.iter().all(|(_, value)| value.len() == large.len()));
    }
}
