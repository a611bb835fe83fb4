//! Which web pages may talk to the switch. A browser says in `Origin` whose page asks; other clients say nothing.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, header};

/// Whose pages may.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    listed: Vec<String>,
    any: bool,
}

impl Origins {
    pub(crate) fn new(listed: Vec<String>) -> Self {
        Self {
            any: listed.iter().any(|origin| origin == "*"),
            listed,
        }
    }

    /// May a page of the request's origin? Those that this switch served may, and who is no page.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return self.any || !is_sent_by_a_page(headers);
        };
        if origins.next().is_some() {
            return false;
        }
        let Ok(origin) = origin.to_str() else { return false };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let own = origin.split_once("://").map(|(_, host)| host);
        let is_own = own.is_some_and(|own| host.is_some_and(|host| own.eq_ignore_ascii_case(host)));
        is_own || self.any || self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }
}

/// Does a browser say that a page of another site sends this by itself, and nobody who follows a link? Of what cannot change
/// anything it gives no origin.
fn is_sent_by_a_page(headers: &HeaderMap) -> bool {
    let says = |name: &str, word: &[u8]| headers.get(name).is_some_and(|value| value.as_bytes() == word);
    says("sec-fetch-site", b"cross-site") && !says("sec-fetch-mode", b"navigate")
}

/// Is the request for this host by a name that nobody else can give it? A page of a name that was bound to this address
/// anew would otherwise count as the switch's own.
fn is_for_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let is_local = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_local
        || name
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Whom a request came from. What a proxy on this host hands on came from elsewhere, and what is for this host by another
/// name may have been sent by any page.
pub(crate) fn peer_of(extensions: &Extensions, headers: &HeaderMap) -> Option<SocketAddr> {
    let is_doubtful = OF_PROXIES.iter().any(|name| headers.contains_key(*name)) || !is_for_loopback(headers);
    let ConnectInfo(address) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(*address).filter(|address| !(is_doubtful && address.ip().to_canonical().is_loopback()))
}

/// What proxies add to a request that they hand on.
const OF_PROXIES: [&str; 10] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&str>, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers.insert(header::HOST, host.parse().unwrap());
        headers
    }

    #[test]
    fn own_and_listed_pages_may_and_others_may_not() {
        let origins = Origins::new(vec!["https://phone.example".to_owned()]);
        assert!(origins.allow(&headers(None, "switch:80")));
        assert!(origins.allow(&headers(Some("http://switch:80"), "switch:80")));
        assert!(origins.allow(&headers(Some("https://phone.example"), "switch:80")));
        for other in ["http://switch:81", "https://phone.example.evil", "null", "https://evil"] {
            assert!(!origins.allow(&headers(Some(other), "switch:80")), "{other}");
        }
        assert!(Origins::new(vec!["*".to_owned()]).allow(&headers(Some("https://evil"), "switch")));
    }

    #[test]
    fn loopback_goes_by_its_own_names() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:4443",
            "[::1]:80",
            "phone.localhost",
        ] {
            assert!(is_for_loopback(&headers(None, host)), "{host}");
        }
        for host in ["evil.example", "localhost.evil", "10.0.0.1:80", ""] {
            assert!(!is_for_loopback(&headers(None, host)), "{host}");
        }
    }
}
