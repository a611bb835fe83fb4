//! What the configuration means for sockets, certificates and shards.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;

use crate::certificate::{CertificatePair, DevelopmentCertificate, fingerprint};
use crate::config::{self, Config};
use crate::limits::CACHE_BYTES_MIN;
use crate::net::{RingConfig, SocketOptions};
use crate::qmux;
use crate::quic::{CongestionControl, EndpointOptions, ServerCertificate, TransportOptions};
use crate::routing::{ShardId, TrackLimits};
use crate::session::SessionLimits;
use crate::shard::ShardOptions;
use crate::wire::{HopId, Version};

/// The certificates to serve, and the fingerprint of the first.
pub(crate) struct Identity {
    pub(crate) certificates: Vec<ServerCertificate>,
    pub(crate) sha256_hex: String,
}

impl Identity {
    /// Loads what is configured, or makes a development certificate.
    pub(crate) fn load_or_make(config: &Config) -> anyhow::Result<Self> {
        if config.tls.certificates.is_empty() {
            let made = DevelopmentCertificate::generate(&[config.listen], SystemTime::now())?;
            return Ok(Self {
                sha256_hex: made.fingerprint(),
                certificates: vec![ServerCertificate::from_der(&[made.certificate_der], &made.key_der)?],
            });
        }
        let pairs: Vec<CertificatePair> = config
            .tls
            .certificates
            .iter()
            .map(|files| CertificatePair::load(files).with_context(|| name(&files.certificate)))
            .collect::<anyhow::Result<_>>()?;
        let first = pairs
            .first()
            .and_then(|pair| pair.chain.first())
            .context("no certificate")?;
        Ok(Self {
            sha256_hex: fingerprint(first),
            certificates: pairs
                .iter()
                .map(|pair| ServerCertificate::from_der(&pair.chain, &pair.key.der))
                .collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn sockets(config: &Config) -> SocketOptions {
    let bytes = usize::try_from(config.quic.socket_buffer_bytes).unwrap_or(usize::MAX);
    SocketOptions {
        receive_buffer_bytes: bytes,
        send_buffer_bytes: bytes,
        ..SocketOptions::default()
    }
}

pub(crate) fn shard(config: &Config, id: ShardId, shards: usize, hop: HopId) -> ShardOptions {
    ShardOptions {
        id,
        hop,
        cost: Some(config.origin.route_cost),
        batch_window: config.batch_window,
        spin: config.spin,
        tracks: tracks(config),
        sessions: SessionLimits {
            subscriptions_max: config.limits.subscriptions_max,
            announced_max: config.limits.announces_max,
            ..SessionLimits::default()
        },
        endpoint: EndpointOptions {
            shard: usize::from(id.0),
            shards,
            connections_max: config.limits.connections_max,
            retry_above: HANDSHAKES_BEFORE_RETRY,
            transport: transport(config),
            versions: Version::EVERY.to_vec(),
        },
        qmux: websockets(config),
        ring: RingConfig::default(),
        public: config.auth.public.clone(),
    }
}

/// The windows of QUIC: what they bound is the same.
fn websockets(config: &Config) -> qmux::Options {
    qmux::Options {
        connection_window_bytes: config.quic.connection_window_bytes,
        stream_window_bytes: config.quic.stream_window_bytes,
        bidi_streams_max: config.limits.streams_max,
        uni_streams_max: config.limits.streams_max,
        datagram_queue_max: config.limits.datagram_queue_max,
        idle_timeout_ms: u64::try_from(config.quic.idle_timeout.as_millis()).unwrap_or(u64::MAX),
    }
}

fn tracks(config: &Config) -> TrackLimits {
    TrackLimits {
        cache_bytes_max: usize::try_from(config.limits.cache_bytes_max)
            .unwrap_or(usize::MAX)
            .max(CACHE_BYTES_MIN),
        cache_age_max: config.limits.cache_age_max,
        linger: config.limits.track_linger,
        ..TrackLimits::default()
    }
}

fn transport(config: &Config) -> TransportOptions {
    let defaults = TransportOptions::default();
    TransportOptions {
        idle_timeout: config.quic.idle_timeout,
        udp_payload_bytes_max: usize::from(config.quic.udp_payload_bytes_max),
        congestion_control: match config.quic.congestion_control {
            config::CongestionControl::Cubic => CongestionControl::Cubic,
            config::CongestionControl::Bbr2 => CongestionControl::Bbr2,
        },
        connection_window_bytes: config.quic.connection_window_bytes,
        stream_window_bytes: config.quic.stream_window_bytes,
        bidi_streams_max: config.limits.streams_max,
        uni_streams_max: config.limits.streams_max,
        datagram_queue_max: config.limits.datagram_queue_max,
        // A datagram may wait for one turn, and its answer for another.
        ack_delay: defaults
            .ack_delay_max
            .saturating_sub(2 * config.batch_window)
            .max(ACK_DELAY_MIN),
        ..defaults
    }
}

/// A hop id for a relay that has none configured (draft, "ANNOUNCE_OK": a random one
/// suffices).
pub(crate) fn random_hop() -> u64 {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel's random generator is available after boot");
    (u64::from_be_bytes(bytes) >> 2).max(1)
}

fn name(path: &Path) -> String {
    format!("certificate {}", path.display())
}

/// Unfinished handshakes of one shard from which on clients must prove their address.
const HANDSHAKES_BEFORE_RETRY: usize = 1024;

/// Acknowledgements wait so long for media at least, however long turns are.
const ACK_DELAY_MIN: std::time::Duration = std::time::Duration::from_millis(5);
