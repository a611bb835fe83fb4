//! Pieces of header values: lists, parameters, addresses (RFC 3261, section 25.1). Taken liberally: what telephones send
//! and what can be understood in one way only is understood.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::limits::{LIST_ITEMS_MAX, PARAMETERS_MAX};

/// What stands behind `;`. Names are compared without case (section 7.3.1), values as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, Option<String>)>);

impl Parameters {
    /// Of `;a=b;c;d="e"`. What is behind the last that fits is not taken.
    pub fn parse(text: &str) -> Self {
        let items = split_outside(text, ';').filter(|item| !item.is_empty());
        let parsed = items.take(PARAMETERS_MAX).map(|item| match item.split_once('=') {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(unquote(value.trim()))),
            None => (item.to_ascii_lowercase(), None),
        });
        Self(parsed.collect())
    }

    /// The value of a parameter that has one. `name` in small letters.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name)?;
        found.1.as_deref()
    }

    /// Is it there, with or without a value?
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }
}

/// A host of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address of IPv4 or IPv6.
    Ip(IpAddr),
    /// A name, in small letters.
    Name(String),
}

impl Host {
    /// Of `example.org`, `192.0.2.1` or `[2001:db8::1]`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']')?;
            // By the grammar of RFC 3261 a third colon was right (RFC 5118, section 4.10).
            let address = inner.parse::<Ipv6Addr>();
            let address = address.or_else(|_| inner.replacen(":::", "::", 1).parse());
            return Some(Self::Ip(address.ok()?.into()));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Ip(address));
        }
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let is_name = !text.is_empty() && text.len() <= 255 && text.bytes().all(is_of_name);
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
            Self::Ip(address) => address.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

/// Of `host` or `host:port`.
pub fn host_and_port(text: &str) -> Option<(Host, Option<u16>)> {
    let text = text.trim();
    let end = match text.strip_prefix('[') {
        Some(inner) => inner.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    let port = match port.trim() {
        "" => None,
        port => Some(number(port.strip_prefix(':')?.trim()).filter(|port| *port != 0)?),
    };
    Some((Host::parse(host.trim())?, port))
}

/// Digits alone: no sign before them.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Has it nothing that separates one thing from another in a header?
pub fn is_plain(name: &str) -> bool {
    let is_separator = |sign: char| matches!(sign, ';' | ',') || sign.is_whitespace() || sign.is_control();
    !name.is_empty() && !name.contains(is_separator)
}

/// What an address begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`.
    Sip,
    /// `sips:`, TLS all the way.
    Sips,
    /// `tel:` (RFC 3966).
    Tel,
}

/// An address: `sip:5001@example.org:5060;transport=tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// What it begins with.
    pub scheme: Scheme,
    /// The user or the number, escapes undone. Empty: none.
    pub user: String,
    /// None for `tel:`.
    pub host: Option<Host>,
    /// None: the transport's.
    pub port: Option<u16>,
    /// Behind the host.
    pub parameters: Parameters,
    /// Behind `?`: headers for a request to it, escapes undone.
    pub headers: Vec<(String, String)>,
}

impl Uri {
    /// Of a whole address, without angle brackets. None: it is no address, or one of another scheme.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':')?;
        let scheme = scheme_of(scheme)?;
        if rest
            .bytes()
            .any(|byte| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"'))
        {
            return None;
        }
        if scheme == Scheme::Tel {
            let (number, parameters) = rest.split_once(';').unwrap_or((rest, ""));
            let number: String = number.chars().filter(|digit| !"-.()".contains(*digit)).collect();
            return (!number.is_empty()).then(|| Self {
                scheme,
                user: number,
                host: None,
                port: None,
                parameters: Parameters::parse(parameters),
                headers: Vec::new(),
            });
        }
        // A password is deprecated and never looked at (section 19.1.1).
        let (user, rest) = match rest.rfind('@') {
            Some(at) => (rest[..at].split(':').next()?, &rest[at + 1..]),
            None => ("", rest),
        };
        // Parameters of the user (`+1234;phone-context=…`) are none of its name.
        let user = unescape(user.split(';').next()?)?;
        let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, parameters) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(place)?;
        Some(Self {
            scheme,
            user,
            host: Some(host),
            port,
            parameters: Parameters::parse(parameters),
            headers: headers_of(headers),
        })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Sip => formatter.write_str("sip:")?,
            Scheme::Sips => formatter.write_str("sips:")?,
            Scheme::Tel => formatter.write_str("tel:")?,
        }
        formatter.write_str(&escape(&self.user))?;
        if let Some(host) = &self.host {
            let at = if self.user.is_empty() { "" } else { "@" };
            write!(formatter, "{at}{host}")?;
        }
        if let Some(port) = self.port {
            write!(formatter, ":{port}")?;
        }
        for (name, value) in &self.parameters.0 {
            match value {
                Some(value) => write!(formatter, ";{name}={value}")?,
                None => write!(formatter, ";{name}")?,
            }
        }
        Ok(())
    }
}

fn scheme_of(name: &str) -> Option<Scheme> {
    let all = [("sip", Scheme::Sip), ("sips", Scheme::Sips), ("tel", Scheme::Tel)];
    let found = all.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
    Some(found.1)
}

/// Is it of one that is understood here, whatever follows?
pub(super) fn has_known_scheme(address: &str) -> bool {
    address
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme_of(scheme).is_some())
}

/// An address without headers for requests to it: a Request-URI has none (section 19.1.5).
pub(crate) fn without_headers(address: &str) -> &str {
    // In a user a question mark is a letter.
    let host = address.rfind('@').map_or(0, |at| at + 1);
    let end = address[host..].find('?').map_or(address.len(), |at| host + at);
    &address[..end]
}

fn headers_of(text: &str) -> Vec<(String, String)> {
    let items = text.split('&').filter_map(|item| item.split_once('='));
    let decoded = items.filter_map(|(name, value)| Some((unescape(name)?, unescape(value)?)));
    decoded.take(PARAMETERS_MAX).collect()
}

/// `"Alice" <sip:5001@example.org>;tag=1` as in From, To, Contact, Route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddress {
    /// The name for people, quotes and escapes undone.
    pub name: String,
    /// The address as it stands there.
    pub uri: String,
    /// Behind the address.
    pub parameters: Parameters,
}

impl NameAddress {
    /// Of one value. Without angle brackets parameters are the header's, not the address's, and an address that has headers
    /// of its own is none (section 20.10).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let Some(open) = find_outside_quotes(text, '<') else {
            let (uri, parameters) = text.split_once(';').unwrap_or((text, ""));
            let uri = uri.trim();
            let is_bad = |sign: char| matches!(sign, '?' | '"' | '>') || sign.is_whitespace();
            if uri.contains(is_bad) {
                return None;
            }
            return Some(Self {
                name: String::new(),
                uri: uri.to_owned(),
                parameters: Parameters::parse(parameters),
            });
        };
        let close = open + text[open..].find('>')?;
        Some(Self {
            name: unquote(text[..open].trim()),
            uri: text[open + 1..close].trim().to_owned(),
            parameters: Parameters::parse(text[close + 1..].trim()),
        })
    }

    /// The address, understood.
    pub fn address(&self) -> Option<Uri> {
        Uri::parse(&self.uri)
    }
}

/// A hop of a message: `SIP/2.0/UDP host:port;branch=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, in capitals.
    pub transport: String,
    /// Who sent it, as it says.
    pub host: Host,
    /// Its port.
    pub port: Option<u16>,
    /// `branch`, `rport`, …
    pub parameters: Parameters,
}

impl Via {
    /// Of one value.
    pub fn parse(text: &str) -> Option<Self> {
        // Spaces may stand around the slashes.
        let (name, rest) = text.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        if !name.trim().eq_ignore_ascii_case("SIP") || version.trim() != "2.0" {
            return None;
        }
        let rest = rest.trim_start();
        let (transport, rest) = rest.split_once(|byte: char| byte.is_ascii_whitespace())?;
        let (place, parameters) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(place)?;
        Some(Self {
            transport: transport.to_ascii_uppercase(),
            host,
            port,
            parameters: Parameters::parse(parameters),
        })
    }
}

/// The values of a list, at commas that are neither in quotes nor in angle brackets. Bounded: what is behind the last that
/// fits is not taken.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    split_outside(text, ',')
        .filter(|item| !item.is_empty())
        .take(LIST_ITEMS_MAX)
}

fn split_outside(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = find_outside(text, separator) else {
            rest = None;
            return Some(text.trim());
        };
        rest = Some(&text[at + separator.len_utf8()..]);
        Some(text[..at].trim())
    })
}

/// Neither in quotes nor in angle brackets.
fn find_outside(text: &str, wanted: char) -> Option<usize> {
    let (mut is_quoted, mut is_escaped, mut is_bracketed) = (false, false, false);
    for (at, sign) in text.char_indices() {
        match sign {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '<' => is_bracketed = true,
            '>' => is_bracketed = false,
            _ if sign == wanted && !is_bracketed => return Some(at),
            _ => {}
        }
    }
    None
}

fn find_outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, sign) in text.char_indices() {
        match sign {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if sign == wanted && !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Without the quotes around it and the escapes in it.
pub fn unquote(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .map(|inner| inner.strip_suffix('"').unwrap_or(inner));
    let Some(inner) = inner else { return text.to_owned() };
    let mut plain = String::with_capacity(inner.len());
    let mut is_escaped = false;
    for sign in inner.chars() {
        if sign == '\\' && !is_escaped {
            is_escaped = true;
        } else {
            plain.push(sign);
            is_escaped = false;
        }
    }
    plain
}

/// With quotes around it, for a name of people. Control characters are left out.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for sign in text.chars().filter(|sign| !sign.is_control()) {
        if matches!(sign, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(sign);
    }
    quoted.push('"');
    quoted
}

/// `%40` is `@`, and `%00` a letter like others (RFC 4475, 3.1.1.4). None: what comes out is no text.
pub(crate) fn unescape(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).ok()
}

/// The user of an address.
pub(crate) fn escape(user: &str) -> String {
    escape_beside(user, b"&=+$,?/")
}

/// A parameter of an address.
pub(crate) fn escape_parameter(value: &str) -> String {
    escape_beside(value, b"[]/:&+$")
}

/// All but what is unreserved and these (RFC 3261, section 25.1).
fn escape_beside(text: &str, allowed: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) || allowed.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_as_telephones_write_them() {
        let uri = Uri::parse("sip:j_user;par=u%40example.net@example.com:5070;transport=TCP;lr").unwrap();
        assert_eq!((uri.user.as_str(), uri.port), ("j_user", Some(5070)));
        assert_eq!(uri.parameters.value("transport"), Some("TCP"));
        assert!(uri.parameters.has("lr"));
        let uri = Uri::parse("sips:%2B49%20x@[2001:db8::1]").unwrap();
        assert_eq!((uri.scheme, uri.user.as_str()), (Scheme::Sips, "+49 x"));
        assert_eq!(uri.to_string(), "sips:+49%20x@[2001:db8::1]");
        let uri = Uri::parse("tel:+1-201-555-0123;ext=7").unwrap();
        assert_eq!((uri.user.as_str(), uri.host.is_none()), ("+12015550123", true));
        let uri = Uri::parse("sip:b@c?Replaces=1%40x%3Bto-tag%3D2&X=y").unwrap();
        assert_eq!(uri.headers[0], ("Replaces".to_owned(), "1@x;to-tag=2".to_owned()));
        assert_eq!(without_headers("sip:a?b@c;d?Route=x?y"), "sip:a?b@c;d");
        assert_eq!(
            Uri::parse("sip:a%00b%0D%0A@c").unwrap().to_string(),
            "sip:a%00b%0D%0A@c"
        );
        for bad in [
            "",
            "sip:",
            "sip:@",
            "http://a",
            "sip:a b@c",
            "sip:a@b:0",
            "sip:a@b:x",
            "sip:a@b:+1",
            "sip:a@[::1",
            "sip:a@[:::1:::]",
            "sip:%ff@b",
        ] {
            assert_eq!(Uri::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_and_lists_mind_quotes_and_brackets() {
        let text = r#""Doe, \"J\" <x>" <sip:a@b;x=1,2>;tag=7 , sip:c@d;tag=8,, Bob <sip:e@f>"#;
        let all: Vec<NameAddress> = list(text).filter_map(NameAddress::parse).collect();
        assert_eq!(all[0].name, r#"Doe, "J" <x>"#);
        assert_eq!(
            (all[0].uri.as_str(), all[0].parameters.value("tag")),
            ("sip:a@b;x=1,2", Some("7"))
        );
        assert_eq!(
            (all[1].uri.as_str(), all[1].parameters.value("tag")),
            ("sip:c@d", Some("8"))
        );
        assert_eq!((all[2].name.as_str(), all.len()), ("Bob", 3));
        assert_eq!(unquote(&quote("a\"\\\r\nb")), "a\"\\b");
        assert_eq!(list(&",".repeat(9)).count(), 0);
        assert_eq!(list(&"a,".repeat(1000)).count(), LIST_ITEMS_MAX);
    }

    #[test]
    fn hops_are_understood_with_spaces_and_without_case() {
        let via = Via::parse("SIP  / 2.0\n /udp  192.0.2.2:5061 ;Branch=390skdjuw ;rport").unwrap();
        assert_eq!((via.transport.as_str(), via.port), ("UDP", Some(5061)));
        assert_eq!(via.parameters.value("branch"), Some("390skdjuw"));
        assert!(via.parameters.has("rport"));
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/3.0/UDP a",
            "SIP/2.0/UDP a:b",
            "SIP/2.0/UDP [::1;x",
        ] {
            assert_eq!(Via::parse(bad), None, "{bad}");
        }
    }
}
