//! QUIC transport parameters, turned into quiche's configuration.

use std::time::Duration;

use super::QuicError;
use super::tls::TlsContext;

/// Congestion controllers that quiche offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionControl {
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// BBR, the second version as quiche has it.
    Bbr2,
}

/// What an endpoint declares to its peers and how it sends.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// A connection without packets for this long is dropped. Costs its memory until then.
    pub idle_timeout: Duration,
    /// Largest UDP payload sent, in bytes. At least 1200 (RFC 9000, section 14).
    pub udp_payload_bytes_max: usize,
    /// Who decides how much may be in flight to a peer.
    pub congestion_control: CongestionControl,
    /// Bytes that a peer may have in flight to us, for a connection and for one stream.
    pub connection_window_bytes: u64,
    /// Bytes of one stream that a peer may have in flight to us.
    pub stream_window_bytes: u64,
    /// Streams that a peer may have open to us at once.
    pub bidi_streams_max: u64,
    /// One-way streams that a peer may have open to us at once.
    pub uni_streams_max: u64,
    /// Datagrams held in each direction; the oldest go first.
    pub datagram_queue_max: usize,
    /// How long peers are told that an acknowledgement may be held back (RFC 9000, section 18.2).
    pub ack_delay_max: Duration,
    /// How long one is held back: less, by what a turn is late.
    pub ack_delay: Duration,
    /// Packets after which an acknowledgement is sent at the latest, if nothing else takes it along
    /// before (RFC 9000, section 13.2.2, recommends 2). With 1 each turn acknowledges what it took in.
    pub ack_every: u32,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            udp_payload_bytes_max: 1350,
            congestion_control: CongestionControl::Cubic,
            connection_window_bytes: 8 * 1024 * 1024,
            stream_window_bytes: 2 * 1024 * 1024,
            bidi_streams_max: 1024,
            uni_streams_max: 1024,
            datagram_queue_max: 256,
            ack_delay_max: Duration::from_millis(25),
            ack_delay: Duration::from_millis(24),
            ack_every: 2,
        }
    }
}

impl TransportOptions {
    /// quiche's configuration for connections that may speak `protocols`, best first.
    pub(super) fn configure(&self, tls: TlsContext, protocols: &[&[u8]]) -> Result<quiche::Config, QuicError> {
        let mut config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls.into_builder())?;
        config.set_application_protos(protocols)?;
        config.set_max_idle_timeout(u64::try_from(self.idle_timeout.as_millis()).unwrap_or(u64::MAX));
        config.set_max_recv_udp_payload_size(RECEIVE_UDP_PAYLOAD_BYTES_MAX);
        config.set_max_send_udp_payload_size(self.udp_payload_bytes_max);
        config.set_initial_max_data(self.connection_window_bytes);
        config.set_max_connection_window(self.connection_window_bytes);
        config.set_initial_max_stream_data_bidi_local(self.stream_window_bytes);
        config.set_initial_max_stream_data_bidi_remote(self.stream_window_bytes);
        config.set_initial_max_stream_data_uni(self.stream_window_bytes);
        config.set_max_stream_window(self.stream_window_bytes);
        config.set_initial_max_streams_bidi(self.bidi_streams_max);
        config.set_initial_max_streams_uni(self.uni_streams_max);
        config.enable_dgram(true, self.datagram_queue_max, self.datagram_queue_max);
        config.set_max_ack_delay(u64::try_from(self.ack_delay_max.as_millis()).unwrap_or(u64::MAX));
        config.set_active_connection_id_limit(PATHS_PER_CONNECTION_MAX);
        config.set_cc_algorithm(match self.congestion_control {
            CongestionControl::Cubic => quiche::CongestionControlAlgorithm::CUBIC,
            CongestionControl::Bbr2 => quiche::CongestionControlAlgorithm::Bbr2Gcongestion,
        });
        // Packets leave in trains at the end of a turn; nothing would wait for a pacing time.
        config.enable_pacing(false);
        config.grease(false);
        Ok(config)
    }
}

/// Ids that one connection holds at once, so that a peer can move between addresses.
pub(super) const CONNECTION_IDS_ISSUED_MAX: usize = 4;

/// The ids a peer may give us at once, which in quiche is also how many addresses it may
/// have had. Packets from a further one are dropped, and the connection ends when idle.
const PATHS_PER_CONNECTION_MAX: u64 = 16;

/// Anything an Ethernet with jumbo frames may bring.
const RECEIVE_UDP_PAYLOAD_BYTES_MAX: usize = 9000;
