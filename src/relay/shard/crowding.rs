//! Room for those who come, once the shard holds as many connections as it may: sessions that do nothing leave, those
//! first whose address has most of them.

use std::time::Duration;

use moqswitch_proto::wire::session_error;
use rustc_hash::FxHashMap;

use crate::limits::SETUP_WAIT_MAX;
use crate::ratelimit::prefix;
use crate::routing::PeerKey;

use super::carrier::carrier;
use super::link::is_link;
use super::statistics::DropCause;
use super::worker::Shard;

impl Shard {
    /// Closes some of the sessions that do nothing if somebody found no room since it was called last.
    pub(super) fn make_room(&mut self) {
        if !self.endpoint.take_is_crowded() {
            return;
        }
        let begun = self
            .endpoint
            .close_without_session(self.now, SETUP_WAIT_MAX, LEAVING_MAX);
        self.statistics.drops.add(DropCause::Evicted, begun as u64);
        let leaving = self.choose_idle();
        let address = leaving.first().map(|peer| self.address_of(*peer));
        if let Some(suppressed) = self.notices.allow(self.now) {
            let (count, limit) = (begun + leaving.len(), self.options.endpoint.connections_max);
            tracing::warn!(
                limit,
                closing = count,
                of = address.map(tracing::field::display),
                suppressed,
                "no room for more connections: idle ones are closed"
            );
        }
        for peer in leaving {
            self.statistics.drops.add(DropCause::Evicted, 1);
            if let Some(state) = self.peers.get_mut(&peer) {
                let reason = "the relay has no room for sessions that do nothing";
                state.session.close(session_error::INTERNAL, reason);
            }
            self.transmit(peer);
        }
    }

    /// Sessions that publish nothing, ask for nothing and have been so for a while, of the address that has most of
    /// them. All those that have been there so long are looked at: twice a second at most, and only when it is full.
    fn choose_idle(&mut self) -> Vec<PeerKey> {
        let idle: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(key, peer)| {
                !is_link(**key)
                    && !peer.session.is_closed()
                    // A phone between two calls does nothing, and waits for the next.
                    && peer.device.is_none()
                    && peer.published.is_empty()
                    && peer.requested.is_empty()
                    && !self.announcer.has_requests(**key)
                    && self.now.saturating_duration_since(peer.opened) >= IDLE_MIN
            })
            .map(|(key, _)| *key)
            .collect();
        let mut by_prefix: FxHashMap<u64, Vec<PeerKey>> = FxHashMap::default();
        for peer in idle {
            let address = carrier(&mut self.endpoint, &mut self.websockets, peer)
                .and_then(|connection| connection.peer_address());
            if let Some(address) = address {
                by_prefix.entry(prefix(address.ip())).or_default().push(peer);
            }
        }
        let mut most = by_prefix.into_values().max_by_key(Vec::len).unwrap_or_default();
        most.truncate(LEAVING_MAX);
        most
    }
}

/// A session that has done nothing for so long may have to leave.
const IDLE_MIN: Duration = Duration::from_secs(5);

/// Sessions closed at once. Whoever finds no room meanwhile sends its first packet again.
const LEAVING_MAX: usize = 64;
