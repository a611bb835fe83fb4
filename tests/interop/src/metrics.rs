//! A snapshot of the relay's Prometheus page, read with a minimal HTTP GET.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Every sample of one scrape: the series as written (`name{labels}`) and its value.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<(String, f64)>,
}

impl Metrics {
    pub async fn scrape(http: SocketAddr) -> Result<Metrics> {
        Ok(Self::parse(&http_get(http, "/metrics").await?))
    }

    fn parse(page: &str) -> Metrics {
        let samples = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (series, value) = line.trim().rsplit_once(' ')?;
                Some((series.to_owned(), value.parse().ok()?))
            })
            .collect();
        Metrics { samples }
    }

    /// Live sessions by shard, from `moqswitch_sessions{shard="N"}`.
    pub fn sessions_by_shard(&self, shards: usize) -> Vec<f64> {
        (0..shards)
            .map(|shard| {
                let label = format!("shard=\"{shard}\"");
                self.samples
                    .iter()
                    .filter(|(series, _)| series.starts_with("moqswitch_sessions{"))
                    .filter(|(series, _)| series.contains(&label))
                    .map(|(_, value)| value)
                    .sum()
            })
            .collect()
    }

    /// Sum of every series whose name or labels contain `text`.
    pub fn sum_containing(&self, text: &str) -> f64 {
        self.samples
            .iter()
            .filter(|(series, _)| series.contains(text))
            .map(|(_, value)| value)
            .sum()
    }
}

/// The body of a `GET`, or an error for anything but status 200.
pub async fn http_get(http: SocketAddr, path: &str) -> Result<String> {
    let (status, body) = http_ask(http, path).await?;
    ensure!(status == 200, "GET {path}: {status}");
    Ok(body)
}

/// The status of a `GET`.
pub async fn http_status(http: SocketAddr, path: &str) -> Result<u16> {
    Ok(http_ask(http, path).await?.0)
}

async fn http_ask(http: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(http).await.context("connect HTTP")?;
    // HTTP/1.0 keeps the answer free of chunked encoding.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("HTTP answer without a header end")?;
    let status = head.split(' ').nth(1).context("HTTP answer without a status")?;
    Ok((status.parse()?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_for_each_shard() {
        let metrics = Metrics::parse(
            "# HELP moqswitch_sessions live\n\
             moqswitch_sessions{shard=\"0\"} 3\n\
             moqswitch_sessions{shard=\"1\"} 4\n\
             moqswitch_sessions{shard=\"10\"} 9\n\
             moqswitch_sessions_total{shard=\"0\"} 7\n\
             moqswitch_malformed_total{shard=\"0\",cause=\"short\"} 2\n",
        );
        assert_eq!(metrics.sessions_by_shard(2), [3.0, 4.0]);
        assert_eq!(metrics.sum_containing("malformed"), 2.0);
    }
}
