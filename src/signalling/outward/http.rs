//! One request of HTTP, and its answer. TLS is a proxy's matter.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::ANSWER_BYTES_MAX;

/// Where a request goes: `http://host[:port]/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
    path: String,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("nobody is there")]
    Connect,
    #[error("it took too long")]
    Late,
    #[error("it is no HTTP, or too long")]
    Nonsense,
}

impl Address {
    /// `None`: it is none that can be asked.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
        let rest = url.strip_prefix("http://").filter(|_| is_plain)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            Some(_) | None => (authority, 80),
        };
        let is_host = !host.is_empty() && !host.contains('@');
        is_host.then(|| Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// Posts JSON, and waits for the answer as long as told.
    pub(super) async fn post(&self, headers: &[(&str, &str)], body: &str, wait: Duration) -> Result<Answer, NoAnswer> {
        timeout(wait, self.exchange("POST", &self.path, headers, Some(body)))
            .await
            .unwrap_or(Err(NoAnswer::Late))
    }

    /// Asks for something below the address: `below` begins with a slash.
    pub(crate) async fn ask(
        &self,
        method: &str,
        below: &str,
        body: Option<&str>,
        wait: Duration,
    ) -> Result<Answer, NoAnswer> {
        let path = format!("{}{below}", self.path.trim_end_matches('/'));
        timeout(wait, self.exchange(method, &path, &[], body))
            .await
            .unwrap_or(Err(NoAnswer::Late))
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, NoAnswer> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await;
        let mut stream = stream.map_err(|_| NoAnswer::Connect)?;
        // By 1.0 the answer ends with the connection, and comes in one piece.
        let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {}:{}\r\n", self.host, self.port);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body.unwrap_or_default();
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|_| NoAnswer::Connect)?;
        let mut answer = Vec::new();
        let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
        stream
            .take(limit)
            .read_to_end(&mut answer)
            .await
            .map_err(|_| NoAnswer::Connect)?;
        Answer::read(&answer).ok_or(NoAnswer::Nonsense)
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let body = body.to_owned();
        (bytes.len() < ANSWER_BYTES_MAX).then_some(Self { status, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain_http() {
        let address = |url: &str| Address::parse(url).map(|address| (address.host, address.port, address.path));
        let expected = |host: &str, port: u16, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(address("http://a.example/x?y"), expected("a.example", 80, "/x?y"));
        assert_eq!(address("http://127.0.0.1:99"), expected("127.0.0.1", 99, "/"));
        assert_eq!(address("http://[::1]:99/"), expected("[::1]", 99, "/"));
        assert_eq!(address("http://[::1]/"), expected("[::1]", 80, "/"));
        for bad in [
            "https://a/",
            "http://",
            "http://a:x/",
            "http://a/\r\nX: y",
            "http://u@a/",
            "a",
            "",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_are_read_or_are_nonsense() {
        let answer = Answer::read(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        for bad in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"SIP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 x\r\n\r\n",
            b"\xff\r\n\r\n",
            b"",
        ] {
            assert_eq!(Answer::read(bad), None);
        }
    }
}
