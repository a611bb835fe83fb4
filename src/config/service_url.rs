//! Where something is asked by HTTP: the auth server, or who has a list of other relays.

use std::path::PathBuf;
use std::str::FromStr;

/// `https://` anywhere, `http://` on this host, or `unix://` with the path of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceUrl {
    Https { host: String, port: u16, target: String },
    Http { host: String, port: u16, target: String },
    Unix(PathBuf),
}

impl ServiceUrl {
    /// For the log: without the query, in which there may be a secret.
    pub fn shown(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            _ => {
                let uri = self.request_uri();
                uri.split('?').next().unwrap_or_default().to_owned()
            }
        }
    }

    /// What a request names. The socket, or the connection, is chosen beside it.
    pub fn request_uri(&self) -> String {
        match self {
            Self::Https { host, port, target } => format!("https://{}:{port}{target}", bracketed(host)),
            Self::Http { host, port, target } => format!("http://{}:{port}{target}", bracketed(host)),
            Self::Unix(_) => "http://localhost/".to_owned(),
        }
    }
}

impl FromStr for ServiceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => {
                    Err("write unix:// and the whole path of the socket, such as unix:///run/auth.sock".to_owned())
                }
            };
        }
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("write https://, unix://, or http:// for this host".to_owned()),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let target = match target.starts_with('/') {
            true => target.to_owned(),
            false => format!("/{target}"),
        };
        if authority.contains('@') || target.contains('#') || target.contains(char::is_whitespace) {
            return Err("no user, no fragment and no space, please".to_owned());
        }
        let (host, port) = split_port(authority, if is_secure { 443 } else { 80 })?;
        if is_secure {
            return Ok(Self::Https { host, port, target });
        }
        // What is asked and answered there are credentials.
        let is_here = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback());
        match is_here {
            true => Ok(Self::Http { host, port, target }),
            false => Err("http:// is for loopback addresses only; write https://".to_owned()),
        }
    }
}

fn split_port(authority: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the address lacks its `]`")?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("there is no host in it".to_owned());
    }
    let port = port.map_or(Ok(default), |port| {
        port.parse().map_err(|_| format!("`{port}` is no port"))
    })?;
    Ok((host.to_owned(), port))
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_server_are_read() {
        let uri = |text: &str| text.parse::<ServiceUrl>().unwrap().request_uri();
        assert_eq!(uri("https://auth.example"), "https://auth.example:443/");
        assert_eq!(
            uri("https://auth.example:8443/moq?a=b"),
            "https://auth.example:8443/moq?a=b"
        );
        assert_eq!(uri("http://127.0.0.1:4440/"), "http://127.0.0.1:4440/");
        assert_eq!(uri("http://[::1]:4440"), "http://[::1]:4440/");
        assert_eq!(uri("http://localhost?x=1"), "http://localhost:80/?x=1");
        let secret: ServiceUrl = "https://auth.example/list?key=secret".parse().unwrap();
        assert_eq!(secret.shown(), "https://auth.example:443/list");
        let unix = "unix:///run/auth.sock".parse();
        assert_eq!(unix, Ok(ServiceUrl::Unix("/run/auth.sock".into())));
    }

    #[test]
    fn what_would_send_credentials_in_the_clear_is_refused() {
        for (text, words) in [
            ("http://auth.example/", "loopback"),
            ("http://10.0.0.1/", "loopback"),
            ("auth.example", "https://"),
            ("ftp://auth.example", "https://"),
            ("unix://run/auth.sock", "whole path"),
            ("https://", "no host"),
            ("https://user:secret@auth.example", "no user"),
            ("https://auth.example:x", "no port"),
            ("https://[::1", "`]`"),
        ] {
            let error = text.parse::<ServiceUrl>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
