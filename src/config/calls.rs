//! What telephone calls need, and that it is decided who may make them.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use moqswitch_signalling::calls::{Codec, Number, Settings, Text, limits as ceilings};
use moqswitch_signalling::sip::digest::Algorithm;
use moqswitch_signalling::{SrtpPolicy, UtcOffset};

use crate::limits;

use super::asterisk::{AsteriskConfig, asterisk};
use super::layers::Layers;
use super::recording::{RecordingConfig, recording};
use super::voicemail::{VoicemailConfig, voicemail};
use super::zone::Zone;
use super::{ConfigError, values};

/// What telephone calls need. Files with the users, the keys and the webhooks are read when they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallsConfig {
    /// Where numbers go. `None`: each to the devices that are registered under it.
    pub dialplan: Option<PathBuf>,
    /// Who may register, and by which password.
    pub users: Option<PathBuf>,
    /// The secret of tokens by which devices register.
    pub tokens: Option<PathBuf>,
    /// A program that says who may register: `http://…`.
    pub callback: Option<String>,
    /// Keys of programs that use REST.
    pub keys: Option<PathBuf>,
    /// The secret of tokens by which programs use REST.
    pub api_tokens: Option<PathBuf>,
    /// Web pages of other origins that may use signalling and REST.
    pub origins: Vec<String>,
    /// Who is told of events.
    pub webhooks: Option<PathBuf>,
    /// The trunk that `/api/genesys/status` tells of.
    pub trunk: Option<Number>,
    /// Of the times in the dialplan.
    pub time_zone: Zone,
    pub records: RecordsConfig,
    /// `None`: nothing is recorded.
    pub recording: Option<RecordingConfig>,
    /// `None`: nobody leaves messages.
    pub voicemail: Option<VoicemailConfig>,
    /// Where phones reach the relay. `None`: where it listens.
    pub media_url: Option<String>,
    pub plane: PlaneConfig,
    /// Serve the web phone.
    pub phone: bool,
    /// HTTP for control programs. `None`: there is none.
    pub mediaswitch: Option<MediaswitchConfig>,
    /// Channels of RTP, which control programs open, and legs of telephones.
    pub rtp: RtpConfig,
    /// Threads that transcode and mix. `None`: one for so many shards.
    pub audio_threads: Option<usize>,
    /// Telephones of SIP. `None`: there are none.
    pub sip: Option<SipConfig>,
    /// Channels of Asterisk. `None`: there are none.
    pub asterisk: Option<AsteriskConfig>,
}

/// Where telephones of SIP are listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipConfig {
    /// Datagrams.
    pub udp: Option<SocketAddr>,
    /// Streams.
    pub tcp: Option<SocketAddr>,
    /// Encrypted streams.
    pub tls: Option<SocketAddr>,
    /// Who may issue certificates of trunks that call by TLS. `None`: trunks are known by their addresses.
    pub tls_client_ca: Option<PathBuf>,
    /// Nobody asked for it: without a port it is not there, and that is no error.
    pub is_by_itself: bool,
    /// Told to telephones. `None`: the address that is listened on.
    pub address: Option<IpAddr>,
    /// Of addresses and of digest authentication.
    pub realm: String,
    /// From one question whether a telephone is there to the next. Zero: never.
    pub ping: Duration,
    /// What is offered for passwords, in this order.
    pub digest: Vec<Algorithm>,
    /// Whether telephones talk over SRTP.
    pub srtp: SrtpPolicy,
    /// File of the ways to carriers and PBXs.
    pub trunks: Option<PathBuf>,
}

/// Where RTP is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpConfig {
    /// Bound, and told to others. `None`: there are no channels.
    pub address: Option<IpAddr>,
    /// Ports, two for each channel.
    pub ports: RangeInclusive<u16>,
}

/// What mediaswitch's HTTP needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaswitchConfig {
    /// TCP address.
    pub listen: SocketAddr,
    /// File with the key by which programs are known. `None`: whoever is on this host may use it.
    pub key: Option<PathBuf>,
    /// The domain of numbers that have none.
    pub domain: Option<String>,
}

/// Where call records go, and for how long they stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsConfig {
    /// `None`: they are in memory only.
    pub directory: Option<PathBuf>,
    /// Zero: for ever.
    pub age_max: Duration,
    /// Zero: as many as there are.
    pub bytes_max: u64,
}

/// What calls may be, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneConfig {
    pub calls_max: usize,
    pub calls_per_number_max: usize,
    /// 0: as many as it likes.
    pub calls_per_hour_max: u32,
    pub devices_per_number_max: usize,
    pub call_duration_max: Duration,
    pub registration_expires: Duration,
    pub ring: Duration,
    pub call_waiting: bool,
    pub codecs: Vec<Codec>,
    /// The name behind `moh/`. Empty: silence.
    pub music: String,
    pub supervision_is_told: bool,
}

impl CallsConfig {
    /// What the call plane is given.
    pub(crate) fn plane_settings(&self) -> Settings {
        let plane = &self.plane;
        Settings {
            calls_max: plane.calls_max,
            calls_per_number_max: plane.calls_per_number_max,
            calls_per_hour_max: plane.calls_per_hour_max,
            devices_per_number_max: plane.devices_per_number_max,
            call_duration_max: plane.call_duration_max,
            registration_expires: plane.registration_expires,
            ring: plane.ring,
            call_waiting: plane.call_waiting,
            codecs: plane.codecs.clone(),
            music: Text::new(&plane.music),
            recording_tone: self
                .recording
                .as_ref()
                .map_or(Duration::ZERO, |recording| recording.tone),
            supervision_is_told: plane.supervision_is_told,
            transcodes: self.audio_threads != Some(0),
            ..Settings::default()
        }
    }

    /// Threads that transcode and mix, beside so many shards.
    pub(crate) fn audio_threads(&self, shards: usize) -> usize {
        self.audio_threads
            .unwrap_or_else(|| shards.div_ceil(limits::SHARDS_PER_AUDIO_THREAD))
    }

    pub(crate) fn recording_settings(&self) -> Option<moqswitch_recording::Settings> {
        self.recording.as_ref().map(RecordingConfig::settings)
    }

    pub(crate) fn utc_offset(&self) -> UtcOffset {
        let zone = self.time_zone.clone();
        UtcOffset::new(move |unix_ms| zone.offset_min(unix_ms))
    }

    /// Whether it is decided who may register: by nothing of these whoever comes from this host may.
    fn has_entrance(&self) -> bool {
        self.users.is_some() || self.tokens.is_some() || self.callback.is_some()
    }
}

/// On loopback the switch is a telephone system by itself. Elsewhere it is one when it is said who may register; then
/// nothing else is open that is not said to be.
pub(super) fn calls(layers: &Layers, addresses: [SocketAddr; 2]) -> Result<Option<CallsConfig>, ConfigError> {
    let config = CallsConfig {
        dialplan: layers.optional("calls.dialplan", values::path)?,
        users: layers.optional("calls.users", values::path)?,
        tokens: layers.optional("calls.tokens", values::path)?,
        callback: layers.optional("calls.callback", values::plain_http)?,
        keys: layers.optional("calls.keys", values::path)?,
        api_tokens: layers.optional("calls.api_tokens", values::path)?,
        origins: layers.list("calls.origins", values::web_origin)?.unwrap_or_default(),
        webhooks: layers.optional("calls.webhooks", values::path)?,
        trunk: layers.optional("calls.trunk", |text| {
            Number::new(text).map_err(|error| error.to_string())
        })?,
        time_zone: layers.optional("calls.time_zone", Zone::parse)?.unwrap_or_default(),
        records: RecordsConfig {
            directory: layers.optional("calls.records", values::path)?,
            age_max: layers.one("calls.records_age", |text| {
                values::duration(text, limits::RECORDS_AGE_MAX)
            })?,
            bytes_max: layers.one("calls.records_bytes", |text| values::bytes(text, 0..=u64::MAX))?,
        },
        recording: recording(layers)?,
        voicemail: voicemail(layers)?,
        media_url: layers.optional("calls.media_url", |text| match text.strip_prefix("https://") {
            Some(rest) if !rest.is_empty() && !rest.contains(['?', '#']) => Ok(text.to_owned()),
            _ => Err("an https URL without a query".to_owned()),
        })?,
        plane: plane(layers)?,
        phone: layers.one("phone.enabled", values::boolean)?,
        mediaswitch: mediaswitch(layers)?,
        rtp: rtp(layers)?,
        audio_threads: layers.optional("calls.audio_threads", |text| {
            let threads = values::integer(text, 0..=limits::AUDIO_THREADS_MAX)?;
            usize::try_from(threads).map_err(|error| error.to_string())
        })?,
        sip: None,
        asterisk: asterisk(layers)?,
    };
    let is_enabled = layers.optional("calls.enabled", values::boolean)?;
    let outside = addresses
        .into_iter()
        .find(|address| !address.ip().to_canonical().is_loopback());
    let is_off = is_enabled == Some(false) || (is_enabled.is_none() && outside.is_some() && !config.has_entrance());
    if let (true, Some(mediaswitch)) = (is_off, &config.mediaswitch) {
        return Err(ConfigError::Value {
            at: layers.source("mediaswitch.listen"),
            key: "mediaswitch.listen",
            text: mediaswitch.listen.to_string(),
            reason: "there are no calls: set `calls.enabled`".to_owned(),
        });
    }
    let config = CallsConfig {
        sip: sip(layers, outside.is_none(), config.has_entrance())?,
        ..config
    };
    match (is_enabled, outside) {
        (Some(false), _) => Ok(None),
        (Some(true), Some(address)) if !config.has_entrance() => Err(ConfigError::CallersUndecided {
            at: layers.source("calls.enabled"),
            address,
        }),
        (None, Some(_)) if !config.has_entrance() => Ok(None),
        (None | Some(true), _) => Ok(Some(config)),
    }
}

/// On loopback it is there by itself. Elsewhere it needs an address, and users that have digests.
fn sip(layers: &Layers, is_here: bool, has_entrance: bool) -> Result<Option<SipConfig>, ConfigError> {
    let address = |key| {
        layers.optional(key, |text| match text {
            "" => Ok(None),
            text => values::address(text).map(Some),
        })
    };
    let (udp, tcp) = (address("sip.udp")?, address("sip.tcp")?);
    let tls = layers.optional("sip.tls", values::address)?;
    let is_by_itself = udp.is_none() && tcp.is_none() && tls.is_none();
    let standard = SocketAddr::from(([127, 0, 0, 1], SIP_PORT));
    let unsaid = (is_by_itself && is_here).then_some(standard);
    let (udp, tcp) = (udp.unwrap_or(unsaid), tcp.unwrap_or(unsaid));
    let outside = [("sip.udp", udp), ("sip.tcp", tcp), ("sip.tls", tls)];
    let outside = outside
        .into_iter()
        .find(|(_, at)| at.is_some_and(|at| !at.ip().to_canonical().is_loopback()));
    if let Some((key, Some(at))) = outside.filter(|_| !has_entrance) {
        return Err(ConfigError::Value {
            at: layers.source(key),
            key,
            text: at.to_string(),
            reason: "on any but a loopback address set `calls.users`, with digests by `moqswitch user hash --sip`"
                .to_owned(),
        });
    }
    let config = SipConfig {
        udp,
        tcp,
        tls,
        tls_client_ca: layers.optional("sip.tls_client_ca", values::path)?,
        is_by_itself,
        address: layers.optional("sip.address", |text| match text.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => Err("an address that others reach".to_owned()),
            Ok(address) => Ok(address),
            Err(_) => Err("write an IP address".to_owned()),
        })?,
        realm: layers.one("sip.realm", |text| {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let is_name = !text.is_empty() && text.len() <= 128 && text.bytes().all(is_of_name);
            if is_name {
                Ok(text.to_owned())
            } else {
                Err("a domain".to_owned())
            }
        })?,
        digest: layers
            .list("sip.digest", digest)?
            .unwrap_or_else(|| vec![Algorithm::Md5]),
        srtp: layers.one("sip.srtp", srtp)?,
        trunks: layers.optional("sip.trunks", values::path)?,
        ping: layers.one("sip.ping", |text| values::duration(text, limits::SIP_PING_MAX))?,
    };
    Ok(Some(config).filter(|config| config.udp.is_some() || config.tcp.is_some() || config.tls.is_some()))
}

fn digest(text: &str) -> Result<Algorithm, String> {
    match text {
        "md5" => Ok(Algorithm::Md5),
        "sha-256" => Ok(Algorithm::Sha256),
        _ => Err("`md5` or `sha-256`".to_owned()),
    }
}

fn srtp(text: &str) -> Result<SrtpPolicy, String> {
    match text {
        "off" => Ok(SrtpPolicy::Off),
        "accept" => Ok(SrtpPolicy::Accept),
        "offer" => Ok(SrtpPolicy::Offer),
        "require" => Ok(SrtpPolicy::Require),
        _ => Err("`off`, `accept`, `offer` or `require`".to_owned()),
    }
}

/// RFC 3261, section 19.1.2.
const SIP_PORT: u16 = 5060;

/// There is none unless it has an address.
fn rtp(layers: &Layers) -> Result<RtpConfig, ConfigError> {
    let ports = layers.one("rtp.ports", |text| {
        let (first, last) = text.split_once('-').ok_or("two ports with - between them")?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("'{text}' is no port"));
        let (first, last) = (port(first)?, port(last)?);
        // An even one, and the odd one above it.
        match first > 0 && first.checked_add(2).is_some_and(|least| last >= least) {
            true => Ok(first..=last),
            false => Err("a port above 0, and one at least two above it".to_owned()),
        }
    })?;
    let address = layers.optional("rtp.address", |text| match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Err("an address that others reach".to_owned()),
        Ok(address) => Ok(address),
        Err(_) => Err("write an IP address".to_owned()),
    })?;
    Ok(RtpConfig { address, ports })
}

/// There is none unless it has an address.
fn mediaswitch(layers: &Layers) -> Result<Option<MediaswitchConfig>, ConfigError> {
    let key = layers.optional("mediaswitch.key", values::path)?;
    let domain = layers.optional("mediaswitch.domain", |text| {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match text.len() <= 79 && text.split('.').count() <= 5 && text.split('.').all(is_label) {
            true => Ok(text.to_owned()),
            false => Err("write a domain of at most five labels".to_owned()),
        }
    })?;
    let listen = layers.optional("mediaswitch.listen", |text| {
        let listen = values::address(text)?;
        match key.is_some() || listen.ip().to_canonical().is_loopback() {
            true => Ok(listen),
            false => Err("any but a loopback address also needs `mediaswitch.key`".to_owned()),
        }
    })?;
    Ok(listen.map(|listen| MediaswitchConfig { listen, key, domain }))
}

/// Whether what is public is decided by it: who says who may call wants that to be needed.
pub(super) fn decides(calls: Option<&CallsConfig>) -> bool {
    calls.is_some_and(CallsConfig::has_entrance)
}

fn plane(layers: &Layers) -> Result<PlaneConfig, ConfigError> {
    let count = |path, max: usize| {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        layers.one(path, move |text| values::count(text, max))
    };
    let time = |path, min: Duration, max: Duration| {
        layers.one(path, move |text| match values::duration(text, max)? {
            time if time < min => Err(format!("at least {}", humantime::format_duration(min))),
            time => Ok(time),
        })
    };
    let codec = |text: &str| text.parse::<Codec>().map_err(|error| error.to_string());
    let codecs = layers.list("calls.codecs", codec)?.unwrap_or_default();
    if codecs.is_empty() {
        return Err(ConfigError::Value {
            at: layers.source("calls.codecs"),
            key: "calls.codecs",
            text: "[]".to_owned(),
            reason: "calls without a codec are silent".to_owned(),
        });
    }
    Ok(PlaneConfig {
        calls_max: count("calls.limits.calls", ceilings::CALLS_MAX)?,
        calls_per_number_max: count("calls.limits.calls_per_number", ceilings::CALLS_PER_NUMBER_MAX)?,
        calls_per_hour_max: layers.one("calls.limits.calls_per_hour", |text| {
            let count = values::integer(text, 0..=limits::CALLS_PER_HOUR_MAX)?;
            u32::try_from(count).map_err(|error| error.to_string())
        })?,
        devices_per_number_max: count("calls.limits.devices_per_number", ceilings::DEVICES_PER_NUMBER_MAX)?,
        call_duration_max: time("calls.limits.duration", SECOND, ceilings::CALL_DURATION_MAX)?,
        registration_expires: time("calls.registration", MINUTE, ceilings::REGISTRATION_EXPIRES_MAX)?,
        ring: time("calls.ring", SECOND, ceilings::RING_MAX)?,
        call_waiting: layers.one("calls.call_waiting", values::boolean)?,
        codecs,
        music: layers.one("calls.music", values::segment)?,
        supervision_is_told: layers.one("calls.supervision_told", values::boolean)?,
    })
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
