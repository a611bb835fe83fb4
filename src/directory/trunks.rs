//! Trunks: ways to carriers and PBXs, by SIP, and groups of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use moqswitch_signalling::calls::Number;
use moqswitch_signalling::sip::agent::{NumberRule, NumberRules, Passes, Trunk};
use moqswitch_signalling::sip::digest::Secret;
use moqswitch_signalling::sip::flow::{Flow, Transport};
use moqswitch_signalling::{SrtpPolicy, TrunkGroupSettings, TrunkPlan, TrunkSettings};
use serde::Deserialize;
use toml::Spanned;

use crate::limits::{PROGRAMS_BYTES_MAX, TRUNKS_MAX};

use super::file::{Document, FileError};
use super::secret;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    trunks: BTreeMap<Spanned<String>, Entry>,
    #[serde(default)]
    groups: BTreeMap<Spanned<String>, Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `host:port`. A name is looked up once, when the file is read.
    address: Spanned<String>,
    /// Further addresses that calls come from.
    #[serde(default)]
    addresses: Vec<IpAddr>,
    /// Of its addresses. Default: the host of `address`.
    domain: Option<Spanned<String>>,
    #[serde(default)]
    tcp: bool,
    #[serde(default)]
    user: String,
    login: Option<String>,
    secret_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    register: bool,
    /// Seconds. 0: never.
    ping: Option<u16>,
    #[serde(default)]
    trusted: bool,
    /// As `sip.srtp`. Default: that.
    srtp: Option<Srtp>,
    /// Calls are from `user`, whoever calls. Default: those of a trunk that is registered with.
    from_line: Option<bool>,
    /// Both ways together. 0: as many as there are.
    #[serde(default)]
    calls: u32,
    /// How numbers of here are written there.
    numbers_out: Option<Spanned<Vec<Rule>>>,
    /// How numbers of there are read here.
    numbers_in: Option<Spanned<Vec<Rule>>>,
    /// Names of headers that are passed on.
    headers: Option<Spanned<Vec<String>>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Srtp {
    Off,
    Accept,
    Offer,
    Require,
}

impl From<Srtp> for SrtpPolicy {
    fn from(srtp: Srtp) -> Self {
        match srtp {
            Srtp::Off => Self::Off,
            Srtp::Accept => Self::Accept,
            Srtp::Offer => Self::Offer,
            Srtp::Require => Self::Require,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    begins: String,
    #[serde(default)]
    length: Option<(usize, usize)>,
    #[serde(default)]
    strip: usize,
    #[serde(default)]
    add: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    trunks: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    trunk: Spanned<String>,
    /// The lowest is tried first.
    #[serde(default)]
    priority: u16,
    /// The share among those of the same priority.
    #[serde(default = "one")]
    weight: u16,
}

const fn one() -> u16 {
    1
}

pub(super) fn read(path: &Path) -> Result<TrunkPlan, FileError> {
    let (document, File { trunks, groups }) = Document::read::<File>(path, PROGRAMS_BYTES_MAX)?;
    if trunks.len() > TRUNKS_MAX || groups.len() > TRUNKS_MAX {
        let reason = format!("has more than {TRUNKS_MAX} trunks, or groups of them");
        return Err(FileError::new(path, None, reason));
    }
    let names: BTreeSet<&str> = trunks.keys().map(|name| name.get_ref().as_str()).collect();
    let groups: Result<Vec<TrunkGroupSettings>, FileError> = groups
        .iter()
        .map(|(name, group)| members(&document, &names, name, group))
        .collect();
    let trunks: Result<Vec<TrunkSettings>, FileError> = trunks
        .iter()
        .map(|(name, entry)| trunk(&document, name, entry))
        .collect();
    Ok(TrunkPlan {
        trunks: trunks?,
        groups: groups?,
    })
}

fn number(document: &Document, name: &Spanned<String>) -> Result<Number, FileError> {
    Number::new(name.get_ref()).map_err(|error| document.fault(name.span(), error.to_string()))
}

fn members(
    document: &Document,
    trunks: &BTreeSet<&str>,
    name: &Spanned<String>,
    group: &Group,
) -> Result<TrunkGroupSettings, FileError> {
    if trunks.contains(name.get_ref().as_str()) {
        let reason = format!("{}: there is a trunk of that name", name.get_ref());
        return Err(document.fault(name.span(), reason));
    }
    let members = group.trunks.iter().map(|member| {
        let text = member.trunk.get_ref();
        if !trunks.contains(text.as_str()) {
            return Err(document.fault(member.trunk.span(), format!("there is no trunk `{text}`")));
        }
        Ok((number(document, &member.trunk)?, member.priority, member.weight))
    });
    Ok(TrunkGroupSettings {
        number: number(document, name)?,
        members: members.collect::<Result<_, FileError>>()?,
    })
}

fn rules(document: &Document, rules: Option<&Spanned<Vec<Rule>>>) -> Result<NumberRules, FileError> {
    let Some(rules) = rules else {
        return Ok(NumberRules::default());
    };
    let all = rules.get_ref().iter().map(|rule| NumberRule {
        prefix: rule.begins.clone(),
        length: rule.length,
        strip: rule.strip,
        add: rule.add.clone(),
    });
    NumberRules::new(all.collect()).map_err(|error| document.fault(rules.span(), error.to_string()))
}

fn trunk(document: &Document, name: &Spanned<String>, entry: &Entry) -> Result<TrunkSettings, FileError> {
    let number = number(document, name)?;
    let address = entry.address.get_ref();
    let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
    let peer: SocketAddr = found.ok_or_else(|| {
        let reason = format!("`address`: {address} is no host:port that can be found");
        document.fault(entry.address.span(), reason)
    })?;
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let secret = match &entry.secret_file {
        None => None,
        Some(file) => Some(Secret::Password(
            secret::read(&document.beside(file.get_ref()), 1)
                .map_err(|error| document.fault(file.span(), format!("`secret_file`: {error}")))?,
        )),
    };
    if entry.register && (entry.user.is_empty() || secret.is_none()) {
        let reason = format!("{}: `register` needs `user` and `secret_file`", name.get_ref());
        return Err(document.fault(name.span(), reason));
    }
    let target = Flow {
        transport: if entry.tcp { Transport::Tcp } else { Transport::Udp },
        peer,
        connection: 0,
    };
    let domain = entry.domain.as_ref().map_or(host, |domain| domain.get_ref().as_str());
    let passes = match &entry.headers {
        None => Passes::default(),
        Some(headers) => {
            let names: Vec<&str> = headers.get_ref().iter().map(String::as_str).collect();
            Passes::new(&names).map_err(|error| document.fault(headers.span(), format!("`headers`: {error}")))?
        }
    };
    let trunk = Trunk {
        login: entry.login.clone(),
        secret,
        registers: entry.register.then_some(REGISTERED),
        ping: Duration::from_secs(entry.ping.unwrap_or(PING_S).into()),
        is_trusted: entry.trusted,
        is_from_line: entry.from_line.unwrap_or(entry.register),
        addresses: entry.addresses.clone(),
        passes,
        ..Trunk::to(target, domain, &entry.user)
    };
    trunk.check().map_err(|error| {
        let span = entry
            .domain
            .as_ref()
            .map_or_else(|| entry.address.span(), Spanned::span);
        document.fault(span, error.to_string())
    })?;
    Ok(TrunkSettings {
        number,
        srtp: entry.srtp.map(SrtpPolicy::from),
        trunk,
        calls_max: entry.calls,
        numbers_out: rules(document, entry.numbers_out.as_ref())?,
        numbers_in: rules(document, entry.numbers_in.as_ref())?,
    })
}

/// How long a registration is asked for.
const REGISTERED: Duration = Duration::from_secs(600);
/// Between questions whether a trunk is there, in seconds.
const PING_S: u16 = 30;
