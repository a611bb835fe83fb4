//! Trunks: ways to carriers and PBXs, by SIP, and groups of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moqswitch_signalling::calls::Number;
use moqswitch_signalling::sip::agent::{NumberRule, NumberRules, Passes, Trunk};
use moqswitch_signalling::sip::digest::Secret;
use moqswitch_signalling::sip::flow::{Flow, Transport};
use moqswitch_signalling::sip::message::syntax::{Host, host_and_port};
use moqswitch_signalling::{SrtpPolicy, TrunkEncryption, TrunkGroupSettings, TrunkPlan, TrunkSettings};
use serde::Deserialize;
use toml::Spanned;

use crate::limits::{PROGRAMS_BYTES_MAX, TRUNKS_MAX};

use super::file::{Document, FileError};
use super::secret;
use super::trunk_tls::TrunkTls;

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
    tls: bool,
    /// Who may issue its certificate. Default: whom the system believes.
    ca: Option<Spanned<PathBuf>>,
    /// PEM files of what it is shown, where it asks for a certificate.
    certificate: Option<Spanned<PathBuf>>,
    private_key: Option<Spanned<PathBuf>>,
    /// The name in its certificate, by which it is known instead of by its addresses.
    certificate_name: Option<Spanned<String>>,
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

/// `knows_certificates`: those who call by TLS are asked for one.
pub(super) fn read(path: &Path, knows_certificates: bool) -> Result<TrunkPlan, FileError> {
    let (document, File { trunks, groups }) = Document::read::<File>(path, PROGRAMS_BYTES_MAX)?;
    if trunks.len() > TRUNKS_MAX || groups.len() > TRUNKS_MAX {
        let reason = format!("has more than {TRUNKS_MAX} trunks, or groups of them");
        return Err(FileError::new(path, None, reason));
    }
    for (name, entry) in &trunks {
        check_encryption(&document, (name, entry), knows_certificates)?;
    }
    let names: BTreeSet<&str> = trunks.keys().map(|name| name.get_ref().as_str()).collect();
    let groups: Result<Vec<TrunkGroupSettings>, FileError> = groups
        .iter()
        .map(|(name, group)| members(&document, &names, name, group))
        .collect();
    let settings: Result<Vec<TrunkSettings>, FileError> = trunks
        .iter()
        .map(|(name, entry)| trunk(&document, name, entry))
        .collect();
    let settings = settings?;
    check_places(&document, &trunks, &settings)?;
    Ok(TrunkPlan {
        trunks: settings,
        groups: groups?,
    })
}

/// A connection is of an address, however that is written, and has shown one certificate.
fn check_places(
    document: &Document,
    trunks: &BTreeMap<Spanned<String>, Entry>,
    settings: &[TrunkSettings],
) -> Result<(), FileError> {
    let mut shown = HashMap::new();
    for (name, own) in trunks.keys().zip(settings) {
        let Some(encryption) = &own.encryption else { continue };
        let own_shown = (encryption.fingerprint(), &own.trunk.certificate_name);
        if *shown.entry(own.trunk.target.peer).or_insert(own_shown) != own_shown {
            let reason = format!(
                "{}: another trunk by TLS has this address, and another certificate or domain",
                name.get_ref()
            );
            return Err(document.fault(name.span(), reason));
        }
    }
    Ok(())
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
        transport: match (entry.tls, entry.tcp) {
            (true, _) => Transport::Tls,
            (false, true) => Transport::Tcp,
            (false, false) => Transport::Udp,
        },
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
        certificate_name: entry
            .certificate_name
            .as_ref()
            .map(|name| name.get_ref().to_ascii_lowercase()),
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
        encryption: encryption(document, name, entry, domain)?,
        srtp: entry.srtp.map(SrtpPolicy::from),
        trunk,
        calls_max: entry.calls,
        numbers_out: rules(document, entry.numbers_out.as_ref())?,
        numbers_in: rules(document, entry.numbers_in.as_ref())?,
    })
}

/// What is said of TLS, and nobody could keep.
fn check_encryption(
    document: &Document,
    (name, entry): (&Spanned<String>, &Entry),
    knows_certificates: bool,
) -> Result<(), FileError> {
    let fault = |reason: &str| Err(document.fault(name.span(), format!("{}: {reason}", name.get_ref())));
    let is_any = entry.ca.is_some() || entry.certificate.is_some() || entry.private_key.is_some();
    if entry.tls && entry.tcp {
        return fault("it is reached by `tls` or by `tcp`, not by both");
    }
    if is_any && !entry.tls {
        return fault("`ca`, `certificate` and `private_key` need `tls`");
    }
    if entry.certificate.is_some() != entry.private_key.is_some() {
        return fault("`certificate` and `private_key` need each other");
    }
    if let Some(name) = &entry.certificate_name {
        if !knows_certificates {
            return fault("`certificate_name` needs `sip.tls_client_ca`: nobody is asked for a certificate");
        }
        if name.get_ref().is_empty() || name.get_ref().len() > CERTIFICATE_NAME_BYTES_MAX {
            return fault("`certificate_name` is no name");
        }
    }
    Ok(())
}

fn encryption(
    document: &Document,
    name: &Spanned<String>,
    entry: &Entry,
    domain: &str,
) -> Result<Option<Arc<dyn TrunkEncryption>>, FileError> {
    if !entry.tls {
        return Ok(None);
    }
    let file = |path: &Option<Spanned<PathBuf>>| path.as_ref().map(|path| document.beside(path.get_ref()));
    let (ca, certificate, key) = (file(&entry.ca), file(&entry.certificate), file(&entry.private_key));
    // As certificates have it: an address of IPv6 without brackets.
    let host = match host_and_port(domain) {
        Some((Host::Ip(ip), _)) => ip.to_string(),
        Some((Host::Name(name), _)) => name,
        None => domain.to_owned(),
    };
    let made = TrunkTls::new(&host, ca.as_deref(), certificate.as_deref().zip(key.as_deref()));
    let made = made.map_err(|error| document.fault(name.span(), format!("{}: {error:#}", name.get_ref())))?;
    Ok(Some(Arc::new(made)))
}

/// Of a name in a certificate (RFC 5280, section 4.2.1.6, by DNS).
const CERTIFICATE_NAME_BYTES_MAX: usize = 255;
/// How long a registration is asked for.
const REGISTERED: Duration = Duration::from_secs(600);
/// Between questions whether a trunk is there, in seconds.
const PING_S: u16 = 30;
