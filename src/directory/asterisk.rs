//! Ways by which numbers reach Asterisk, and numbers that UUIDs of AudioSocket call.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use moqswitch_asterisk::uuid::{KEY_DIGITS_MIN, Key};
use moqswitch_asterisk::{Format, Uuid};
use moqswitch_signalling::calls::Number;
use serde::Deserialize;
use toml::Spanned;

use crate::limits::{ASTERISK_WAYS_MAX, PROGRAMS_BYTES_MAX};

use super::file::{Document, FileError};
use super::secret;

/// Whom a UUID calls that was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub to: Number,
    pub from: Option<Number>,
}

/// A way by which numbers are called.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// A program that takes connections of AudioSocket, as Asterisk makes them.
    AudioSocket { address: SocketAddr, format: Format },
    /// Asterisk is asked to connect to us, and goes on at an extension.
    Ari(Box<AriWay>),
}

/// How Asterisk is asked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AriWay {
    /// Where it is: a host and a port.
    pub host: String,
    /// Before `/ari`, if it has a prefix.
    pub prefix: String,
    pub user: String,
    pub password: String,
    /// As in a dial string: `WebSocket/moqswitch/c(ulaw)`, `AudioSocket/127.0.0.1:9092`.
    pub channel: String,
    pub context: String,
    /// `None`: the number that is called.
    pub extension: Option<String>,
    /// What its channels speak.
    pub format: Format,
}

/// UUIDs and ways.
pub(crate) type Plan = (Vec<(Uuid, Announced)>, Vec<(Number, Way)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    uuids: BTreeMap<Spanned<String>, Spanned<Called>>,
    #[serde(default)]
    ways: BTreeMap<Spanned<String>, Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    number: String,
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// A program that takes connections of AudioSocket.
    audiosocket: Option<SocketAddr>,
    /// `slin`, `slin16` and so on. Default: `slin`.
    format: Option<String>,
    /// `http://host:port`, and a prefix if there is one.
    ari: Option<String>,
    user: Option<String>,
    secret_file: Option<PathBuf>,
    /// How Asterisk reaches us: `WebSocket/name/c(ulaw)` or `AudioSocket/host:port`.
    channel: Option<String>,
    context: Option<String>,
    /// Default: the number that is called.
    extension: Option<String>,
}

pub(super) fn read(path: &Path) -> Result<Plan, FileError> {
    let (document, file): (Document, File) = Document::read(path, PROGRAMS_BYTES_MAX)?;
    if file.uuids.len() > ASTERISK_WAYS_MAX || file.ways.len() > ASTERISK_WAYS_MAX {
        let reason = format!("more than {ASTERISK_WAYS_MAX} of a kind");
        return Err(FileError::new(path, None, reason));
    }
    let mut announced = Vec::new();
    let mut known = BTreeSet::new();
    for (uuid, called) in &file.uuids {
        let at = |reason: String| document.fault(uuid.span(), reason);
        let number = |text: &str| Number::new(text).map_err(|error| at(format!("`{text}`: {error}")));
        let called = called.get_ref();
        let key: Uuid = uuid.get_ref().parse().map_err(|error| at(format!("{error}")))?;
        if !known.insert(key) {
            return Err(at("the UUID is there twice, written in two ways".to_owned()));
        }
        let to = number(&called.number)?;
        let from = called.from.as_deref().map(number).transpose()?;
        announced.push((key, Announced { to, from }));
    }
    let mut ways = Vec::new();
    for (name, entry) in &file.ways {
        let at = |reason: &str| document.fault(name.span(), reason);
        let number = Number::new(name.get_ref()).map_err(|error| at(&error.to_string()))?;
        let way = way(entry.get_ref(), &document).map_err(|reason| match reason {
            Fault::Here(reason) => at(&reason),
            Fault::There(error) => error,
        })?;
        ways.push((number, way));
    }
    Ok((announced, ways))
}

/// What is wrong with a way: in it, or in another file.
enum Fault {
    Here(String),
    There(FileError),
}

fn way(entry: &Entry, document: &Document) -> Result<Way, Fault> {
    let here = |reason: &str| Fault::Here(reason.to_owned());
    let format = entry.format.as_deref().map(str::parse::<Format>).transpose();
    let format = format.map_err(|error| here(&error.to_string()))?;
    let linear = format.unwrap_or(Format::Linear(8000));
    match (entry.audiosocket, &entry.ari) {
        (Some(_), None) if !linear.is_of_audiosocket() => Err(here("AudioSocket has formats of linear samples only")),
        (Some(address), None) => Ok(Way::AudioSocket {
            address,
            format: linear,
        }),
        (None, Some(ari)) => {
            let needed = |value: &Option<String>, name: &str| {
                let value = value.clone().filter(|value| !value.is_empty());
                value.ok_or_else(|| here(&format!("a way by `ari` needs `{name}`")))
            };
            let (host, prefix) = address(ari).ok_or_else(|| here("`ari` is http://host:port"))?;
            let channel = needed(&entry.channel, "channel")?;
            let is_known = channel.starts_with("WebSocket/") || channel.starts_with("AudioSocket/");
            if !is_known {
                return Err(here("`channel` is WebSocket/… or AudioSocket/…"));
            }
            let secret_file = entry.secret_file.as_deref();
            let secret_file = secret_file.ok_or_else(|| here("a way by `ari` needs `secret_file`"))?;
            Ok(Way::Ari(Box::new(AriWay {
                host,
                prefix,
                user: needed(&entry.user, "user")?,
                password: secret::read(&document.beside(secret_file), 1).map_err(Fault::There)?,
                format: format.unwrap_or_else(|| spoken(&channel)),
                channel,
                context: needed(&entry.context, "context")?,
                extension: entry.extension.clone(),
            })))
        }
        _ => Err(here("a way has `audiosocket` or `ari`")),
    }
}

/// As the dial string says, or as Asterisk does by itself.
fn spoken(channel: &str) -> Format {
    let named = channel.split_once("c(").and_then(|(_, rest)| rest.split_once(')'));
    let named = named.and_then(|(name, _)| name.parse().ok());
    named.unwrap_or(match channel.starts_with("AudioSocket/") {
        true => Format::Linear(8000),
        false => Format::Ulaw,
    })
}

/// The host with its port, and the prefix.
fn address(url: &str) -> Option<(String, String)> {
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    let rest = url.strip_prefix("http://").filter(|_| is_plain)?;
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let port = host.rsplit_once(':')?.1;
    port.parse::<u16>().ok()?;
    let prefix = match prefix {
        "" => String::new(),
        prefix => format!("/{prefix}"),
    };
    Some((host.to_owned(), prefix))
}

/// By which channels are let in.
pub(super) fn key(path: &Path) -> Result<Key, FileError> {
    let text = secret::read(path, KEY_DIGITS_MIN)?;
    text.parse()
        .map_err(|error| FileError::new(path, None, format!("is no key: {error}")))
}
