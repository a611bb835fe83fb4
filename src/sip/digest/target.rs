//! Whether two URIs name the same, as far as proxies leave it alone.

use std::borrow::Cow;

/// Whether credentials that name one URI are good for a request for another.
///
/// RFC 7616, section 3.4.6, wants the two to be the same, but proxies rewrite the request's (RFC 3261, section 22.4), and
/// some programs write the server's address alone, whomever they call (sipp). So a user that is named has to be the
/// request's, and nothing else is compared: the credentials are for one peer's address and good once, whatever they name.
/// Users have letter case; escapes stand for what they escape.
pub(super) fn is_same(named: &str, requested: &str) -> bool {
    match (Target::parse(named), Target::parse(requested)) {
        (Some(named), Some(requested)) => named.user.is_none() || named.user == requested.user,
        _ => false,
    }
}

struct Target<'a> {
    user: Option<Cow<'a, [u8]>>,
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
    fn what_proxies_rewrite_and_who_is_not_named_makes_no_difference() {
        for (named, requested) in [
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com"),
            (
                "sip:bob@biloxi.com",
                "sips:bob:secret@192.0.2.1:5061;transport=tls?Subject=x",
            ),
            ("sip:192.0.2.1:5060", "sip:bob@biloxi.com"),
            ("biloxi.com", "sip:biloxi.org"),
            ("sip:b%6Fb@biloxi.com", "<sip:bob@biloxi.com>"),
            ("sip:+49;isub=1@host", "sip:+49@host"),
            ("sip:bob@[2001:DB8::1]:5070", "sip:bob@[2001:db8::2]"),
            ("tel:+4930;phone-context=x", "sip:+4930@host"),
        ] {
            assert!(is_same(named, requested), "{named} {requested}");
        }
    }

    #[test]
    fn another_user_is_another_target() {
        for (named, requested) in [
            ("sip:bob@biloxi.com", "sip:Bob@biloxi.com"),
            ("sip:bob@biloxi.com", "sip:biloxi.com"),
            ("sip:b%zzb@biloxi.com", "sip:bob@biloxi.com"),
            ("", ""),
            ("sip:", "sip:bob@biloxi.com"),
            ("sip:@", "sip:@"),
            ("tel:", "tel:"),
        ] {
            assert!(!is_same(named, requested), "{named} {requested}");
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
