//! Whether two URIs name the same, as far as proxies leave it alone.

use std::borrow::Cow;

/// Whether credentials for one URI are good for a request for the other.
///
/// RFC 7616, section 3.4.6, wants the two to be the same, but proxies rewrite the request's (RFC 3261, section 22.4).
/// So user and host are compared and nothing else: schemes, passwords, ports, parameters and headers may differ. Hosts have
/// no letter case, users have; escapes stand for what they escape. A `tel:` has a user only.
pub(super) fn is_same(first: &str, second: &str) -> bool {
    match (Target::parse(first), Target::parse(second)) {
        (Some(first), Some(second)) => first == second,
        _ => false,
    }
}

#[derive(PartialEq, Eq)]
struct Target<'a> {
    user: Option<Cow<'a, [u8]>>,
    host: String,
}

impl<'a> Target<'a> {
    /// `None`: it names nothing.
    fn parse(uri: &'a str) -> Option<Self> {
        let uri = uri.trim();
        let uri = uri
            .strip_prefix('<')
            .and_then(|uri| uri.strip_suffix('>'))
            .unwrap_or(uri);
        if let Some(number) = without_scheme(uri, "tel:") {
            let user = before(number, &[';', '?']);
            return (!user.is_empty()).then(|| Self {
                user: Some(unescaped(user)),
                host: String::new(),
            });
        }
        let rest = without_scheme(uri, "sip:")
            .or_else(|| without_scheme(uri, "sips:"))
            .unwrap_or(uri);
        let (user, host) = match rest.split_once('@') {
            Some((user, host)) => (Some(before(user, &[':', ';'])), host),
            None => (None, rest),
        };
        let host = host_of(before(host, &[';', '?'])).trim_end_matches('.');
        (!host.is_empty()).then(|| Self {
            user: user.map(unescaped),
            host: host.to_ascii_lowercase(),
        })
    }
}

fn without_scheme<'a>(uri: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = uri.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn before<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or_default()
}

/// Without its port.
fn host_of(text: &str) -> &str {
    match text.find(']') {
        Some(end) => &text[..=end],
        None => before(text, &[':']),
    }
}

/// With what `%` and two hexadecimal digits stand for.
fn unescaped(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| byte == b'%');
        let escaped = digits.and_then(|digits| Some(digit(digits[0])? << 4 | digit(digits[1])?));
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    Cow::Owned(bytes)
}

/// What a hexadecimal digit stands for.
pub(super) fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proxies_rewrite_makes_no_difference() {
        for (first, second) in [
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com"),
            (
                "sip:bob@biloxi.com",
                "sips:bob:secret@BILOXI.com.:5061;transport=tls?Subject=x",
            ),
            ("sip:biloxi.com", "biloxi.com:5060"),
            ("sip:b%6Fb@biloxi.com", "<sip:bob@biloxi.com>"),
            ("sip:+49;isub=1@host", "sip:+49@host"),
            ("sip:bob@[2001:DB8::1]:5070", "sip:bob@[2001:db8::1]"),
            ("tel:+4930;phone-context=x", "TEL:+4930"),
        ] {
            assert!(is_same(first, second) && is_same(second, first), "{first} {second}");
        }
    }

    #[test]
    fn another_user_or_host_is_another_target() {
        for (first, second) in [
            ("sip:bob@biloxi.com", "sip:Bob@biloxi.com"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.org"),
            ("sip:bob@biloxi.com", "sip:biloxi.com"),
            ("sip:b%zzb@biloxi.com", "sip:bob@biloxi.com"),
            ("sip:bob@[2001:db8::1]", "sip:bob@[2001:db8::2]"),
            ("tel:+4930", "sip:+4930@host"),
            ("", ""),
            ("sip:", "sip:"),
            ("sip:@", "sip:@"),
            ("tel:", "tel:"),
        ] {
            assert!(!is_same(first, second), "{first} {second}");
        }
    }

    #[test]
    fn escapes_that_are_none_stay_as_they_are() {
        for text in ["%", "%4", "%%41", "%4\u{e9}"] {
            let escaped = format!("sip:{text}@host");
            assert!(is_same(&escaped, &escaped), "{text}");
        }
        assert_eq!(*unescaped("%%41%4"), *b"%A%4");
    }
}
