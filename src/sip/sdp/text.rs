//! What we say, as text (RFC 8866).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::codec::{Codec, Format, Meaning};
use super::crypto::Crypto;
use super::direction::Direction;

/// A line `m=` by what must come again in each answer and each later offer: its place, its kind and its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) kind: String,
    pub(super) protocol: String,
    /// With spaces between.
    pub(super) formats: String,
}

/// The stream of ours.
pub(super) struct Stream<'a> {
    pub(super) port: u16,
    pub(super) formats: &'a [Format],
    pub(super) direction: Direction,
    pub(super) ptime_ms: u32,
    pub(super) rtcp_mux: bool,
    pub(super) has_metrics: bool,
    pub(super) crypto: &'a [Crypto],
}

/// The line `o=`, with what stands before it (RFC 8866, section 5.2).
pub(super) fn origin(id: u64, version: u64, address: IpAddr) -> String {
    format!("v=0\r\no=- {id} {version} {}\r\n", network(address))
}

/// What stands behind it. Sections without a stream have port 0 (RFC 3264, section 6).
pub(super) fn body(address: IpAddr, outlines: &[Outline], stream: Option<(usize, &Stream<'_>)>) -> String {
    let mut out = format!("s=-\r\nc={}\r\nt=0 0\r\n", network(address));
    for (at, outline) in outlines.iter().enumerate() {
        match stream {
            Some((place, stream)) if place == at => write_stream(&mut out, outline, stream),
            _ => line(
                &mut out,
                format_args!("m={} 0 {} {}", outline.kind, outline.protocol, outline.formats),
            ),
        }
    }
    out
}

fn write_stream(out: &mut String, outline: &Outline, stream: &Stream<'_>) {
    let numbers: Vec<String> = stream
        .formats
        .iter()
        .map(|format| format.payload_type.to_string())
        .collect();
    let numbers = numbers.join(" ");
    line(
        out,
        format_args!("m={} {} {} {numbers}", outline.kind, stream.port, outline.protocol),
    );
    for format in stream.formats {
        let number = format.payload_type;
        match format.meaning {
            Meaning::Codec(codec) => {
                line(out, format_args!("a=rtpmap:{number} {}", codec.encoding()));
                if codec == Codec::Opus {
                    line(out, format_args!("a=fmtp:{number} useinbandfec=1"));
                }
            }
            Meaning::Event { clock_hz } => {
                line(out, format_args!("a=rtpmap:{number} telephone-event/{clock_hz}"));
                line(out, format_args!("a=fmtp:{number} 0-15"));
            }
            Meaning::Other | Meaning::Untold => {}
        }
    }
    line(out, format_args!("a=ptime:{}", stream.ptime_ms));
    line(out, format_args!("a={}", stream.direction.name()));
    if stream.rtcp_mux {
        line(out, format_args!("a=rtcp-mux"));
    }
    if stream.has_metrics {
        line(out, format_args!("a=rtcp-xr:voip-metrics"));
    }
    for crypto in stream.crypto {
        line(out, format_args!("a=crypto:{}", crypto.write()));
    }
}

fn network(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!("IN {family} {address}")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = out.write_fmt(text);
    out.push_str("\r\n");
}
