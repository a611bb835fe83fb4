//! What Asterisk is asked by ARI, its HTTP interface: to call us, and to go on at an extension when it is connected.

use std::fmt::Write as _;

use moqswitch_asterisk::Uuid;
use moqswitch_signalling::ChannelCall;
use moqswitch_signalling::calls::Cause;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::base64;
use crate::directory::AriWay;

/// Why it does not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("nobody answers")]
    Nobody,
    #[error("it answers {0}")]
    Status(u16),
}

impl Refusal {
    pub(super) const fn cause(self) -> Cause {
        match self {
            Self::Nobody => Cause::Unreachable,
            Self::Status(401 | 403) => Cause::Forbidden,
            Self::Status(404) => Cause::Unallocated,
            Self::Status(500..) => Cause::Congestion,
            Self::Status(_) => Cause::Unreachable,
        }
    }
}

/// Has Asterisk call us. Who is connected then is told by the UUID.
pub(super) async fn originate(way: &AriWay, uuid: Uuid, call: &ChannelCall) -> Result<(), Refusal> {
    let body = json!({
        "endpoint": endpoint(&way.channel, uuid),
        "context": way.context,
        "extension": way.extension.as_deref().unwrap_or(call.to.as_str()),
        "priority": 1,
        "channelId": channel(uuid),
        "callerId": caller(call),
        "timeout": TIMEOUT_SECONDS,
    });
    ask(way, "POST", "/channels", &body.to_string()).await
}

/// The channel is not wanted any more.
pub(super) async fn end(way: &AriWay, uuid: Uuid) -> Result<(), Refusal> {
    ask(way, "DELETE", &format!("/channels/{}", channel(uuid)), "").await
}

async fn ask(way: &AriWay, method: &str, below: &str, body: &str) -> Result<(), Refusal> {
    let mut stream = TcpStream::connect(&way.host).await.map_err(|_| Refusal::Nobody)?;
    let credentials = base64::encode(format!("{}:{}", way.user, way.password).as_bytes());
    let AriWay { host, prefix, .. } = way;
    let mut request = format!("{method} {prefix}/ari{below} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    // Writing to a string does not fail.
    let _ = write!(request, "Authorization: Basic {credentials}\r\n");
    let _ = write!(
        request,
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let written = stream.write_all(request.as_bytes()).await;
    written.map_err(|_| Refusal::Nobody)?;
    let mut answer = Vec::new();
    // What it says behind its status is of no interest.
    while !answer.ends_with(b"\r\n") && answer.len() < STATUS_BYTES_MAX {
        answer.push(stream.read_u8().await.map_err(|_| Refusal::Nobody)?);
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status.and_then(|status| status.parse().ok()) {
        Some(200..300) => Ok(()),
        Some(status) => Err(Refusal::Status(status)),
        None => Err(Refusal::Nobody),
    }
}

/// A dial string by which the channel is known that comes.
fn endpoint(channel: &str, uuid: Uuid) -> String {
    match channel.split('/').collect::<Vec<_>>().as_slice() {
        ["AudioSocket", place] => format!("AudioSocket/{place}/{uuid}"),
        ["AudioSocket", place, options] => format!("AudioSocket/{place}/{uuid}/{options}"),
        ["WebSocket", connection] => format!("WebSocket/{connection}/v(channel={uuid})"),
        _ => format!("{channel}v(channel={uuid})"),
    }
}

fn channel(uuid: Uuid) -> String {
    format!("moqswitch-{uuid}")
}

/// As headers have it: nothing in it may end the name.
fn caller(call: &ChannelCall) -> String {
    let name: String = call
        .name
        .as_str()
        .chars()
        .filter(|character| !matches!(character, '"' | '\\' | '<' | '>'))
        .collect();
    format!("\"{name}\" <{}>", call.from)
}

/// How long Asterisk tries to connect.
const TIMEOUT_SECONDS: u32 = 20;
/// Of the first line of an answer.
const STATUS_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dial_strings_say_which_channel_comes() {
        let uuid = Uuid(0x4032_5ec2_5efd_4bd3_805f_5357_6e58_1d13);
        let text = "40325ec2-5efd-4bd3-805f-53576e581d13";
        for (channel, expected) in [
            (
                "AudioSocket/127.0.0.1:9092",
                format!("AudioSocket/127.0.0.1:9092/{text}"),
            ),
            (
                "AudioSocket/[::1]:9092/c(slin16)",
                format!("AudioSocket/[::1]:9092/{text}/c(slin16)"),
            ),
            ("WebSocket/moqswitch", format!("WebSocket/moqswitch/v(channel={text})")),
            (
                "WebSocket/moqswitch/c(ulaw)f(json)",
                format!("WebSocket/moqswitch/c(ulaw)f(json)v(channel={text})"),
            ),
        ] {
            assert_eq!(endpoint(channel, uuid), expected);
        }
    }
}
