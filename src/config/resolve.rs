//! Gives every setting its type and checks what concerns several settings at once.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use moqswitch_proto::limits::VARINT_MAX;
use moqswitch_relay::auth::{Pattern, Patterns};
use moqswitch_relay::certificate::CertificateFiles;
use moqswitch_relay::limits::{SHARDS_MAX, UDP_PAYLOAD_BYTES_MAX};

use crate::limits;

use super::layers::{Content, Layers};
use super::{
    AuthConfig, AuthorityConfig, ClientAuth, Config, ConfigError, LimitsConfig, LogConfig, LogLevel, MediaConfig,
    OriginConfig, QuicConfig, Source, TlsConfig, calls, mesh, values, webrtc,
};

pub(super) fn resolve(layers: &Layers) -> Result<Config, ConfigError> {
    let config = resolved(layers)?;
    let sip = config.calls.as_ref().and_then(|calls| calls.sip.as_ref());
    let issuers = sip.and_then(|sip| sip.tls_client_ca.as_ref());
    if let Some(path) = issuers.filter(|_| config.tls.client_auth == ClientAuth::Required) {
        return Err(ConfigError::Value {
            at: layers.source("sip.tls_client_ca"),
            key: "sip.tls_client_ca",
            text: path.display().to_string(),
            reason:
                "for `sip.tls` it is in the place of `tls.client_ca`, and nobody needs a certificate there: it does \
                     not go with `tls.client_auth = \"required\"`"
                    .to_owned(),
        });
    }
    Ok(config)
}

fn resolved(layers: &Layers) -> Result<Config, ConfigError> {
    let listen = layers.one("listen", values::address)?;
    let http = match layers.optional("http", values::address)? {
        Some(address) => address,
        None => listen,
    };
    let calls = calls::calls(layers, [listen, http])?;
    let shards_max = u32::try_from(SHARDS_MAX).expect("a few hundred");
    Ok(Config {
        auth: auth(layers, [listen, http], calls::decides(calls.as_ref()))?,
        listen,
        http,
        admin: admin(layers, http)?,
        http_tls: layers.one("http_tls", values::http_tls)?,
        shards: layers
            .optional("shards", |text| values::count(text, shards_max))?
            .and_then(NonZeroUsize::new),
        cores: layers.optional("cores", values::cores)?,
        batch_window: layers.one("batch_window", values::batch_window)?,
        spin: layers.one("spin", values::boolean)?,
        calls,
        media: MediaConfig {
            music: layers.optional("media.music", values::path)?,
            prompts: layers.optional("media.prompts", values::path)?,
            tones: layers.one("media.tones", values::boolean)?,
        },
        drain_deadline: layers.one("drain_deadline", any_duration)?,
        upgrade_deadline: layers.one("upgrade_deadline", any_duration)?,
        drain_uri: layers.optional("drain_uri", values::uri)?.unwrap_or_default(),
        state_directory: layers.optional("state_directory", |text| Ok(PathBuf::from(text)))?,
        tls: tls(layers)?,
        limits: limits(layers)?,
        quic: quic(layers)?,
        log: LogConfig {
            level: layers.one("log.level", LogLevel::parse)?,
            format: layers.one("log.format", values::log_format)?,
        },
        origin: OriginConfig {
            hop_id: layers.one("origin.hop_id", values::hop_id)?,
            route_cost: layers.one("origin.route_cost", |text| values::integer(text, 0..=VARINT_MAX))?,
        },
        mesh: mesh::mesh(layers)?,
        webrtc: webrtc::webrtc(layers, [listen, http])?,
    })
}

impl Layers {
    /// The value of a setting that has a default.
    pub(super) fn one<T>(
        &self,
        path: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let value = self.optional(path, parse)?;
        Ok(value.expect("the template gives this setting a default; a test resolves it"))
    }

    pub(super) fn optional<T>(
        &self,
        path: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let values = self.list(path, parse)?;
        Ok(values.and_then(|mut values| values.pop()))
    }

    pub(super) fn list<T>(
        &self,
        path: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(given) = self.get(path) else {
            return Ok(None);
        };
        let texts = match &given.content {
            Content::One(text) => std::slice::from_ref(text),
            Content::List(texts) => texts,
            Content::Certificates(_) => &[],
        };
        let parsed = texts.iter().map(|text| {
            parse(text).map_err(|reason| ConfigError::Value {
                at: given.at.clone(),
                key: path,
                text: text.clone(),
                reason,
            })
        });
        parsed.collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn source(&self, path: &str) -> Source {
        self.get(path).map_or(Source::Default, |given| given.at.clone())
    }
}

/// Whatever an address serves, HTTP included, is open to anonymous peers; so each decides.
fn auth(layers: &Layers, addresses: [SocketAddr; 2], is_decided: bool) -> Result<AuthConfig, ConfigError> {
    let parse = |text: &str| text.parse::<Pattern>().map_err(|error| error.to_string());
    let key = layers.optional("auth.key", |text| match text {
        "" => Err("write a file or a directory".to_owned()),
        path => Ok(PathBuf::from(path)),
    })?;
    let authority = authority(layers)?;
    let [client_publish, client_subscribe] = ["auth.client_publish", "auth.client_subscribe"].map(|setting| {
        let patterns = layers.list(setting, parse)?.unwrap_or_default();
        // The auth server is told of certificates, and decides; without somebody who issues them there are none.
        match patterns.is_empty() || (authority.is_none() && layers.get("tls.client_ca").is_some()) {
            true => Ok(Patterns::new(patterns)),
            false => Err(ConfigError::NoClientAuthority {
                at: layers.source(setting),
                setting,
            }),
        }
    });
    let (client_publish, client_subscribe) = (client_publish?, client_subscribe?);
    let has_certified = !client_publish.is_empty() || !client_subscribe.is_empty();
    let public = layers.list("auth.public", parse)?;
    if authority.is_some() {
        // Who decides is to have one answer.
        for (setting, is_set) in [("auth.key", key.is_some()), ("auth.public", public.is_some())] {
            if is_set {
                return Err(ConfigError::TwoDeciders {
                    at: layers.source(setting),
                    setting,
                });
            }
        }
    }
    let decided = match public {
        Some(patterns) => Some(Patterns::new(patterns)),
        // Who has tokens, certificates of clients, an auth server or passwords of callers wants them to be needed.
        None => (key.is_some() || authority.is_some() || has_certified || is_decided).then(Patterns::default),
    };
    if decided.is_none()
        && let Some(address) = addresses.into_iter().find(|address| !is_loopback(address.ip()))
    {
        return Err(ConfigError::PublicAccessUndecided { address });
    }
    Ok(AuthConfig {
        public: decided.unwrap_or_else(Patterns::everything),
        client_publish,
        client_subscribe,
        key,
        authority,
        names: layers.one("auth.names", values::name_rule)?,
    })
}

/// Without a setting: loopback, at the port after that of `http`.
fn admin(layers: &Layers, http: SocketAddr) -> Result<Option<SocketAddr>, ConfigError> {
    let configured = layers.optional("admin.listen", |text| match text {
        "" => Ok(None),
        text => values::address(text).map(Some),
    })?;
    if let Some(address) = configured {
        return Ok(address);
    }
    let port = match http.port() {
        // The kernel chooses.
        0 => 0,
        port => port.checked_add(1).ok_or_else(|| ConfigError::Value {
            at: layers.source("http"),
            key: "admin.listen",
            text: "65536".to_owned(),
            reason: "no port comes after that of `http`; set `admin.listen`, or \"\" for none".to_owned(),
        })?,
    };
    Ok(Some(SocketAddr::from(([127, 0, 0, 1], port))))
}

fn authority(layers: &Layers) -> Result<Option<AuthorityConfig>, ConfigError> {
    let Some(url) = layers.optional("auth.url", str::parse)? else {
        return Ok(None);
    };
    let path = |text: &str| match text {
        "" => Err("write a file".to_owned()),
        path => Ok(PathBuf::from(path)),
    };
    let node = layers.optional("auth.node", |text| Ok(text.to_owned()))?;
    Ok(Some(AuthorityConfig {
        url,
        ca: layers.optional("auth.url_ca", path)?,
        node: node.unwrap_or_else(host_name),
    }))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "moqswitch".to_owned(),
        name => name.to_owned(),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn tls(layers: &Layers) -> Result<TlsConfig, ConfigError> {
    let pairs = match layers.get("tls.certificates").map(|given| &given.content) {
        Some(Content::Certificates(pairs)) => pairs.as_slice(),
        _ => &[],
    };
    let certificates = pairs.iter().map(|(certificate, key)| CertificateFiles {
        certificate: certificate.into(),
        key: key.into(),
    });
    let client_ca = layers.optional("tls.client_ca", |text| match text {
        "" => Err("write a file".to_owned()),
        path => Ok(PathBuf::from(path)),
    })?;
    let client_auth = layers.one("tls.client_auth", values::client_auth)?;
    if client_auth == ClientAuth::Required && client_ca.is_none() {
        return Err(ConfigError::Value {
            at: layers.source("tls.client_auth"),
            key: "tls.client_auth",
            text: "required".to_owned(),
            reason: "nobody may issue certificates; set `tls.client_ca`".to_owned(),
        });
    }
    Ok(TlsConfig {
        certificates: certificates.collect(),
        client_ca,
        client_auth,
    })
}

fn limits(layers: &Layers) -> Result<LimitsConfig, ConfigError> {
    let count = |path, max| layers.one(path, move |text| values::count(text, max));
    let rate = |path| {
        layers.one(path, |text| {
            let rate = values::integer(text, 1..=1_000_000)?;
            u32::try_from(rate).map_err(|error| error.to_string())
        })
    };
    Ok(LimitsConfig {
        connections_max: count("limits.connections", 1_000_000)?,
        attempts_per_second: rate("limits.attempts")?,
        connections_per_address: count("limits.connections_per_address", 1_000_000)?,
        retry_above: count("limits.retry_above", 1_000_000)?,
        answers_per_second: rate("limits.answers")?,
        lateness: layers.one("limits.lateness", any_duration)?,
        memory_bytes_max: layers.one("limits.memory", |text| values::bytes(text, MEBIBYTE..=TEBIBYTE))?,
        session_bytes_max: layers.one("limits.session_bytes", |text| values::bytes(text, MEBIBYTE..=TEBIBYTE))?,
        operations_per_second: rate("limits.operations")?,
        announcements_per_second: rate("limits.announce_rate")?,
        websockets_max: layers.one("limits.websockets", |text| {
            let count = values::integer(text, 0..=u64::from(limits::WEBSOCKETS_MAX))?;
            u32::try_from(count).map_err(|error| error.to_string())
        })?,
        subscriptions_max: count("limits.subscriptions", 1_000_000)?,
        announces_max: count("limits.announces", 1_000_000)?,
        announce_bytes_max: layers.one("limits.announce_bytes", |text| values::bytes(text, MEBIBYTE..=TEBIBYTE))?,
        token_checks: layers.one("limits.token_checks", |text| {
            let rate = values::integer(text, 1..=u64::from(limits::TOKEN_CHECKS_MAX))?;
            u32::try_from(rate).map_err(|error| error.to_string())
        })?,
        streams_max: layers.one("limits.streams", |text| values::integer(text, 1..=65_536))?,
        datagram_queue_max: count("limits.datagram_queue", 65_536)?,
        cache_bytes_max: layers.one("limits.cache_bytes", |text| values::bytes(text, 0..=TEBIBYTE))?,
        cache_age_max: layers.one("limits.cache_age", any_duration)?,
        track_linger: layers.one("limits.track_linger", any_duration)?,
    })
}

fn quic(layers: &Layers) -> Result<QuicConfig, ConfigError> {
    let window = |path| layers.one(path, |text| values::bytes(text, 16 * KIBIBYTE..=GIBIBYTE - 1));
    let connection_window_bytes = window("quic.connection_window")?;
    let stream_window_bytes = window("quic.stream_window")?;
    if stream_window_bytes > connection_window_bytes {
        return Err(ConfigError::Value {
            at: layers.source("quic.stream_window"),
            key: "quic.stream_window",
            text: stream_window_bytes.to_string(),
            reason: format!(
                "`quic.connection_window` is {connection_window_bytes} bytes, and a stream cannot have more"
            ),
        });
    }
    Ok(QuicConfig {
        idle_timeout: layers.one("quic.idle_timeout", |text| {
            match values::duration(text, limits::CONFIGURED_DURATION_MAX)? {
                timeout if timeout < IDLE_TIMEOUT_MIN => Err("at least 1s".to_owned()),
                timeout => Ok(timeout),
            }
        })?,
        udp_payload_bytes_max: layers.one("quic.udp_payload", |text| {
            let range = limits::UDP_PAYLOAD_BYTES_MIN..=UDP_PAYLOAD_BYTES_MAX;
            let value = values::integer(text, range)?;
            u16::try_from(value).map_err(|error| error.to_string())
        })?,
        connection_window_bytes,
        stream_window_bytes,
        congestion_control: layers.one("quic.congestion_control", values::congestion_control)?,
        socket_buffer_bytes: layers.one("quic.socket_buffer", |text| {
            // The socket option is a C int.
            let value = values::bytes(text, 64 * KIBIBYTE..=GIBIBYTE)?;
            u32::try_from(value).map_err(|error| error.to_string())
        })?,
    })
}

fn any_duration(text: &str) -> Result<Duration, String> {
    values::duration(text, limits::CONFIGURED_DURATION_MAX)
}

/// QUIC peers probe and retransmit within a second; a shorter idle timeout kills live connections.
const IDLE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

const KIBIBYTE: u64 = 1024;
const MEBIBYTE: u64 = KIBIBYTE * KIBIBYTE;
const GIBIBYTE: u64 = KIBIBYTE * KIBIBYTE * KIBIBYTE;
const TEBIBYTE: u64 = KIBIBYTE * GIBIBYTE;
