//! What the configuration means for the relay.

use std::sync::Arc;

use anyhow::Context;
use moqswitch_proto::session::SessionLimits;
use moqswitch_proto::wire::HopId;
use moqswitch_relay::RelayOptions;
use moqswitch_relay::auth::Grant;
use moqswitch_relay::auth::token::Keys;
use moqswitch_relay::certificate::{CertificatePair, ClientAuthorities};
use moqswitch_relay::net::SocketOptions;
use moqswitch_relay::quic::{ServerCertificate, TransportOptions};
use moqswitch_relay::routing::TrackLimits;

use crate::keys::{self, KeyFileError};
use crate::state::Place;

use super::{ClientAuth, Config};

impl Config {
    /// The options of a relay but for its certificates and keys, which [`Config::certificates`] and
    /// [`Config::token_keys`] read.
    pub fn relay_options(&self) -> RelayOptions {
        let socket_buffer_bytes = usize::try_from(self.quic.socket_buffer_bytes).unwrap_or(usize::MAX);
        let defaults = RelayOptions::default();
        let (mut overload, mut memory) = (defaults.overload, defaults.memory);
        overload.lateness = self.limits.lateness;
        memory.session_bytes_max = self.limits.session_bytes_max;
        memory.process_bytes_max = self.limits.memory_bytes_max;
        RelayOptions {
            listen: self.listen,
            shards: self.shards,
            cores: self.cores.clone(),
            batch_window: self.batch_window,
            spin: self.spin,
            certified: self.certified(),
            grant: Grant::of(self.auth.public.clone()),
            hop: self.origin.hop_id.map(HopId),
            cost: self.origin.route_cost,
            mesh: self.mesh.is_on(),
            names: self.auth.names,
            drain_uri: self.drain_uri.as_str().into(),
            connections_max: self.limits.connections_max,
            attempts_per_second: self.limits.attempts_per_second,
            connections_per_address: self.limits.connections_per_address,
            retry_above: self.limits.retry_above,
            answers_per_second: self.limits.answers_per_second,
            overload,
            memory,
            operations_per_second: self.limits.operations_per_second,
            announcements_per_second: self.limits.announcements_per_second,
            token_checks: self.limits.token_checks,
            transport: TransportOptions {
                idle_timeout: self.quic.idle_timeout,
                udp_payload_bytes_max: usize::from(self.quic.udp_payload_bytes_max),
                congestion_control: self.quic.congestion_control,
                connection_window_bytes: self.quic.connection_window_bytes,
                stream_window_bytes: self.quic.stream_window_bytes,
                bidi_streams_max: self.limits.streams_max,
                uni_streams_max: self.limits.streams_max,
                datagram_queue_max: self.limits.datagram_queue_max,
                ..defaults.transport
            },
            tracks: TrackLimits {
                cache_bytes_max: usize::try_from(self.limits.cache_bytes_max).unwrap_or(usize::MAX),
                cache_age_max: self.limits.cache_age_max,
                linger: self.limits.track_linger,
                ..defaults.tracks
            },
            sessions: SessionLimits {
                subscriptions_max: self.limits.subscriptions_max,
                announced_max: self.limits.announces_max,
                ..defaults.sessions
            },
            announcements: defaults
                .announcements
                .with_bytes(usize::try_from(self.limits.announce_bytes_max).unwrap_or(usize::MAX)),
            sockets: SocketOptions {
                receive_buffer_bytes: socket_buffer_bytes,
                send_buffer_bytes: socket_buffer_bytes,
                ..defaults.sockets
            },
            ..defaults
        }
    }

    /// Where what outlives the process is kept.
    pub fn state_place(&self) -> Place {
        Place::find(self.state_directory.as_deref(), |name| std::env::var_os(name))
    }

    /// Reads the keys of tokens configured; `None` if there are none.
    pub fn token_keys(&self) -> Result<Option<Arc<Keys>>, KeyFileError> {
        let keys = self.auth.key.as_deref().map(keys::load).transpose()?;
        Ok(keys.map(Arc::new))
    }

    /// Reads who may issue certificates of clients; `None` if clients are not asked for one.
    pub fn client_authorities(&self) -> anyhow::Result<Option<ClientAuthorities>> {
        let Some(path) = &self.tls.client_ca else {
            return Ok(None);
        };
        let is_required = self.tls.client_auth == ClientAuth::Required;
        let authorities = ClientAuthorities::load(path, is_required).context("tls.client_ca")?;
        Ok(Some(authorities))
    }

    /// Reads who may issue certificates of trunks that call by TLS; `None` if no trunk is known by one.
    pub fn trunk_authorities(&self) -> anyhow::Result<Option<ClientAuthorities>> {
        let sip = self.calls.as_ref().and_then(|calls| calls.sip.as_ref());
        let path = sip.and_then(|sip| sip.tls_client_ca.as_deref());
        let load = |path| ClientAuthorities::load(path, false).context("sip.tls_client_ca");
        path.map(load).transpose()
    }

    /// What such a certificate grants; `None`: nothing by itself.
    fn certified(&self) -> Option<Grant> {
        let (publish, subscribe) = (&self.auth.client_publish, &self.auth.client_subscribe);
        let is_any = !publish.is_empty() || !subscribe.is_empty();
        is_any.then(|| Grant {
            publish: publish.clone(),
            subscribe: subscribe.clone(),
            ..Grant::nothing()
        })
    }

    /// Reads the certificates configured; none are configured for a development certificate.
    pub fn certificates(&self) -> anyhow::Result<Vec<CertificatePair>> {
        let load = |files| -> anyhow::Result<CertificatePair> {
            let pair = CertificatePair::load(files)?;
            // What TLS will not take is said with the name of its file.
            ServerCertificate::from_der(&pair.chain, &pair.key.der)?;
            Ok(pair)
        };
        let pairs = self
            .tls
            .certificates
            .iter()
            .map(|files| load(files).with_context(|| format!("certificate {}", files.certificate.display())));
        pairs.collect()
    }
}
