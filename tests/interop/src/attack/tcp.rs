//! What comes by TCP: connections that say nothing, requests and handshakes that never end, headers without end, a WebSocket that says more than it
//! hears.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::{Done, Target};

/// `count` connections.
pub async fn run(name: &str, target: &Target) -> Result<Done> {
    let address = target.http.context("where HTTP is, is not known")?;
    let until = Instant::now() + target.duration;
    let mut done = Done::default();
    let mut connections = Vec::new();
    for _ in 0..target.count {
        let socket = TcpSocket::new_v4()?;
        socket.bind((target.from, 0).into())?;
        let Ok(Ok(mut stream)) = tokio::time::timeout(CONNECT_LIMIT, socket.connect(address)).await else {
            done.refused += 1;
            continue;
        };
        let head: &[u8] = match name {
            // The beginning of a ClientHello of 512 bytes.
            "files" => &[],
            "slow-tls" => &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
            "websocket-flood" => UPGRADE,
            _ => b"GET /certificate.sha256 HTTP/1.1\r\nHost: relay\r\n",
        };
        match stream.write_all(head).await {
            Ok(()) => connections.push(stream),
            Err(_) => done.closed += 1,
        }
    }
    let piece = match name {
        "files" => Vec::new(),
        "slow-http" => b"X".to_vec(),
        "slow-tls" => vec![0],
        "header-bomb" => format!("X-{}: {}\r\n", "y".repeat(100), "z".repeat(4_000)).into_bytes(),
        _ => frames(),
    };
    let is_slow = name == "files" || name.starts_with("slow");
    if name == "files" {
        done.sent = connections.len() as u64;
    }
    while Instant::now() < until && !connections.is_empty() {
        let mut open = Vec::new();
        for stream in connections {
            match write_some(&stream, &piece) {
                Ok(length) => {
                    done.sent += length as u64;
                    open.push(stream);
                }
                Err(_) => done.closed += 1,
            }
        }
        connections = open;
        let pause = if is_slow { SLOWLY } else { Duration::from_millis(1) };
        tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
    }
    tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    Ok(done)
}

fn write_some(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.try_write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Binary messages of RFC 6455, section 5.2, that a client has masked with zeros.
fn frames() -> Vec<u8> {
    let mut one = vec![0x82, 0xfe, 0x04, 0x00, 0, 0, 0, 0];
    one.extend_from_slice(&[0xff; 1_024]);
    one.repeat(16)
}

const UPGRADE: &[u8] = b"GET /anon HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
Sec-WebSocket-Protocol: qmux-02.moq-lite-05\r\n\r\n";
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const SLOWLY: Duration = Duration::from_millis(500);
