//! Flags, environment (`MOQSWITCH_*`) and a TOML file become one validated [`Config`].
//! Later layers win: default, file, environment, flag. Whoever holds a `Config` need not check it again.
//! Names, defaults and help of the settings are in one table, `config/settings.rs`.
#![forbid(unsafe_code)]

mod arguments;
mod asterisk;
mod call_settings;
mod calls;
mod changes;
mod cluster_settings;
mod error;
mod form;
mod handset;
mod layers;
mod mesh;
mod recording;
mod recording_settings;
mod relay;
mod resolve;
mod service_url;
mod settings;
mod store;
mod upload;
mod values;
mod voicemail;
mod webrtc;
mod zone;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use moqswitch_relay::BatchWindow;
use moqswitch_relay::auth::Patterns;
use moqswitch_relay::certificate::CertificateFiles;
use moqswitch_relay::quic::CongestionControl;
use moqswitch_relay::routing::NameRule;

pub use arguments::{
    Arguments, Command, DialArguments, Flags, GrantArguments, MeshArguments, TokenAction, TokenArguments, UserAction,
};
pub use asterisk::AsteriskConfig;
pub use calls::{CallsConfig, MediaswitchConfig, PlaneConfig, RecordsConfig, RtpConfig, SipConfig};
pub use changes::Change;
pub use error::{ConfigError, Source};
pub use handset::{CodecName, FileFormat, ListenArguments, RelayArguments, SayArguments};
pub use mesh::{MeshConfig, PEERS_MAX, PeerSource, PeerUrl, Prices};
pub use recording::RecordingConfig;
pub use service_url::ServiceUrl;
pub use settings::template;
pub use store::StoreConfig;
pub use upload::UploadConfig;
pub use values::LogLevel;
pub use voicemail::VoicemailConfig;
pub use webrtc::WebrtcConfig;
pub use zone::Zone;

/// Everything an operator may decide. Unit, default and cost of each field are in the settings table,
/// which `moqswitch config` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// UDP address.
    pub listen: SocketAddr,
    /// TCP address of the control thread.
    pub http: SocketAddr,
    pub http_tls: HttpTls,
    /// TCP address of operators' HTTP. `None`: they are answered nowhere.
    pub admin: Option<SocketAddr>,
    /// `None`: as many as the usable cores (or the listed ones) allow.
    pub shards: Option<NonZeroUsize>,
    /// `None`: every usable core.
    pub cores: Option<Vec<usize>>,
    pub batch_window: BatchWindow,
    pub spin: bool,
    /// Telephone calls. `None`: there are none.
    pub calls: Option<CallsConfig>,
    pub media: MediaConfig,
    pub drain_deadline: Duration,
    /// How long sessions may stay in a process that another has taken over from.
    pub upgrade_deadline: Duration,
    /// Where GOAWAY sends sessions; empty: nowhere.
    pub drain_uri: String,
    /// `None`: that of systemd or of the user. Empty: nothing is kept.
    pub state_directory: Option<PathBuf>,
    pub tls: TlsConfig,
    pub auth: AuthConfig,
    pub limits: LimitsConfig,
    pub quic: QuicConfig,
    pub log: LogConfig,
    pub origin: OriginConfig,
    /// Other relays.
    pub mesh: MeshConfig,
    /// Browsers without WebTransport. `None`: they are not served.
    pub webrtc: Option<WebrtcConfig>,
}

/// Where files of music and prompts are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaConfig {
    pub music: Option<PathBuf>,
    pub prompts: Option<PathBuf>,
    /// Where there is no other, there is music for who is held.
    pub tones: bool,
}

/// What the TCP address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpTls {
    /// TLS to whoever begins with it, plain HTTP to others.
    Optional,
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Empty: a development certificate is made at start.
    pub certificates: Vec<CertificateFiles>,
    /// Who may issue certificates of clients. `None`: clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Who shows none is as others are.
    Optional,
    /// Who shows none gets no connection.
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Paths anonymous peers may publish and subscribe.
    pub public: Patterns,
    /// What clients with a certificate may publish, and subscribe.
    pub client_publish: Patterns,
    pub client_subscribe: Patterns,
    /// File or directory with the keys of tokens. `None`: there are no tokens.
    pub key: Option<PathBuf>,
    /// Who decides on each session instead of both. `None`: nobody else.
    pub authority: Option<AuthorityConfig>,
    /// Who is heard of several clients that publish one path.
    pub names: NameRule,
}

/// The auth server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityConfig {
    pub url: ServiceUrl,
    /// Certificate authorities of its certificate. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// What this relay calls itself there.
    pub node: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Per shard.
    pub connections_max: usize,
    /// Connections that one address may begin on a shard in a second.
    pub attempts_per_second: u32,
    /// Connections that one address may have on a shard.
    pub connections_per_address: usize,
    /// Unfinished handshakes of a shard from which on a Retry is asked for.
    pub retry_above: usize,
    /// Answers of a shard to packets of no connection in a second.
    pub answers_per_second: u32,
    /// Mean time of turns from which on a shard refuses sessions; zero: it does not.
    pub lateness: Duration,
    /// What all sessions, caches and broadcasts may take.
    pub memory_bytes_max: u64,
    /// What one session may hold.
    pub session_bytes_max: u64,
    /// Requests of one session in a second.
    pub operations_per_second: u32,
    /// Broadcasts that one session announces in a second.
    pub announcements_per_second: u32,
    /// WebSocket connections of the process.
    pub websockets_max: u32,
    /// Per session.
    pub subscriptions_max: usize,
    /// Per session, each direction.
    pub announces_max: usize,
    /// What the broadcasts of all sessions may take.
    pub announce_bytes_max: u64,
    /// Wrong tokens of one address prefix whose signature is checked in a second; of each shard, and of HTTP.
    pub token_checks: u32,
    /// Streams a peer may have open at once, each kind, per connection.
    pub streams_max: u64,
    /// Datagrams waiting for one connection.
    pub datagram_queue_max: usize,
    /// Group cache per shard.
    pub cache_bytes_max: u64,
    pub cache_age_max: Duration,
    /// Time an upstream subscription outlives its last subscriber.
    pub track_linger: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicConfig {
    pub idle_timeout: Duration,
    pub udp_payload_bytes_max: u16,
    /// Flow control window of a connection.
    pub connection_window_bytes: u64,
    /// Flow control window of a stream.
    pub stream_window_bytes: u64,
    pub congestion_control: CongestionControl,
    /// Kernel buffer of each shard's socket, each direction.
    pub socket_buffer_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginConfig {
    /// `None`: a random one is drawn at start.
    pub hop_id: Option<u64>,
    /// Cost this relay declares in SETUP; receivers add it to routes through it.
    pub route_cost: u64,
}

impl Config {
    /// Layers `flags` over `environment` over the file they name over the defaults.
    /// `environment` is the whole environment; other programs' variables are passed over.
    pub fn load(flags: &Flags, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        resolve::resolve(&layers::Layers::load(flags, environment)?)
    }

    /// The configuration in `text`, over the defaults.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        resolve::resolve(&layers::Layers::from_toml(text)?)
    }
}

/// As on loopback without a word of them.
impl Default for CallsConfig {
    fn default() -> Self {
        let local = "listen = '127.0.0.1:4443'\nhttp = '127.0.0.1:4443'\n[calls]\nenabled = true\n";
        let config = Config::from_toml(local).expect("the defaults are valid; a test resolves them");
        config.calls.expect("it was said that there are calls")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from_toml("").expect("the defaults are valid; a test resolves them")
    }
}
