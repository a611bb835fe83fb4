//! Text to typed values. A reason for refusal completes the sentence "`key` cannot be `text`: ...".

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use moqswitch_proto::limits::{GOAWAY_URI_BYTES_MAX, VARINT_MAX};
use moqswitch_relay::BatchWindow;
use moqswitch_relay::quic::CongestionControl;
use moqswitch_relay::routing::NameRule;
use moqswitch_relay::topology;
use moqswitch_signalling::Callback;
use moqswitch_signalling::calls::limits::TEXT_BYTES_MAX;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::limits;

use super::{ClientAuth, HttpTls, LogFormat};

/// A filter for log lines, known to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// A level, or levels of modules separated by commas: `info,moqswitch_relay::shard=debug`.
    pub fn parse(text: &str) -> Result<Self, String> {
        for directive in text.split(',') {
            // The filter would take an unknown word for a module's name and log it at every level.
            let directive = directive.trim();
            if !directive.contains('=') && directive.parse::<LevelFilter>().is_err() {
                return Err("levels are off, error, warn, info, debug and trace".to_owned());
            }
        }
        EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }

    pub fn to_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write address and port, such as 127.0.0.1:4443 or [::]:4443".to_owned())
}

/// A file or a directory.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("write a path".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

/// Whom the calls ask: TLS is a proxy's matter.
pub(super) fn plain_http(text: &str) -> Result<String, String> {
    match Callback::new(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write http://host:port/path; for https put a proxy between".to_owned()),
    }
}

/// As browsers say it, or all of them.
pub(super) fn web_origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '*']);
    match text == "*" || host.is_some_and(is_host) {
        true => Ok(text.to_owned()),
        false => {
            Err("write https://host, with the port if it is another than 443, without a path; or * for all".to_owned())
        }
    }
}

/// One segment of a path, or none.
pub(super) fn segment(text: &str) -> Result<String, String> {
    match text.len() <= TEXT_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/*".contains(&byte))
    {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "at most {TEXT_BYTES_MAX} letters, digits and signs, without / and *"
        )),
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

pub(super) fn cores(text: &str) -> Result<Vec<usize>, String> {
    topology::parse_core_list(text)
}

pub(super) fn integer(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let outside = || format!("write a whole number from {} to {}", range.start(), range.end());
    let value = text.parse().map_err(|_| outside())?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(outside())
    }
}

/// A count that must fit this machine's `usize`, at least one.
pub(super) fn count(text: &str, max: u32) -> Result<usize, String> {
    let value = integer(text, 1..=u64::from(max))?;
    usize::try_from(value).map_err(|error| error.to_string())
}

pub(super) fn duration(text: &str, max: Duration) -> Result<Duration, String> {
    let value = humantime::parse_duration(text)
        .map_err(|_| "write a number with its unit, such as 200us, 5ms, 10s or 1m".to_owned())?;
    if value > max {
        return Err(format!("at most {}", humantime::format_duration(max)));
    }
    Ok(value)
}

/// `auto`, `auto:1ms` or a time.
pub(super) fn batch_window(text: &str) -> Result<BatchWindow, String> {
    let time = |text| duration(text, limits::BATCH_WINDOW_MAX);
    match text.strip_prefix("auto") {
        Some("") => Ok(BatchWindow::ByLoad {
            max: limits::BATCH_WINDOW_BY_LOAD,
        }),
        Some(rest) => {
            let max = rest.strip_prefix(':').ok_or("write auto, auto:1ms, or a time")?;
            Ok(BatchWindow::ByLoad { max: time(max)? })
        }
        None => Ok(BatchWindow::Fixed(time(text)?)),
    }
}

pub(super) fn bytes(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let value = text
        .parse::<ByteSize>()
        .map_err(|_| "write bytes, or a number with its unit, such as 64KiB or 256MiB".to_owned())?
        .as_u64();
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!(
            "from {} to {}",
            ByteSize(*range.start()),
            ByteSize(*range.end())
        ))
    }
}

pub(super) fn congestion_control(text: &str) -> Result<CongestionControl, String> {
    match text {
        "cubic" => Ok(CongestionControl::Cubic),
        "bbr2" => Ok(CongestionControl::Bbr2),
        _ => Err("write cubic or bbr2".to_owned()),
    }
}

pub(super) fn client_auth(text: &str) -> Result<ClientAuth, String> {
    match text {
        "optional" => Ok(ClientAuth::Optional),
        "required" => Ok(ClientAuth::Required),
        _ => Err("write optional or required".to_owned()),
    }
}

pub(super) fn http_tls(text: &str) -> Result<HttpTls, String> {
    match text {
        "optional" => Ok(HttpTls::Optional),
        "required" => Ok(HttpTls::Required),
        _ => Err("write optional or required".to_owned()),
    }
}

pub(super) fn uri(text: &str) -> Result<String, String> {
    match text {
        _ if text.len() > GOAWAY_URI_BYTES_MAX => Err(format!("at most {GOAWAY_URI_BYTES_MAX} bytes")),
        _ if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) => {
            Err("a URI has neither spaces nor control characters".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

pub(super) fn name_rule(text: &str) -> Result<NameRule, String> {
    match text {
        "holder" => Ok(NameRule::Holder),
        "newest" => Ok(NameRule::Newest),
        "epoch" => Ok(NameRule::Epoch),
        _ => Err("write holder, newest or epoch".to_owned()),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json".to_owned()),
    }
}

/// Zero stands for "draw one at random".
pub(super) fn hop_id(text: &str) -> Result<Option<u64>, String> {
    let id = integer(text, 0..=VARINT_MAX)?;
    Ok((id != 0).then_some(id))
}
