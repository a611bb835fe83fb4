//! What the shard counts, put together for the control thread.

use crate::routing::TracksStatistics;

use super::statistics::{
    ConnectionStatistics, DropCause, DropStatistics, LocalStatistics, MediaStatistics, NetworkStatistics, QueueKind,
    QueueSnapshot, SessionStatistics, ShardSnapshot, ShardStatistics,
};
use super::worker::Shard;

impl Shard {
    pub(super) fn take_snapshot(&self) -> ShardSnapshot {
        let own = &self.statistics;
        let quic = self.endpoint.statistics();
        let ring = self.ring.statistics();
        let tracks = self.tracks.statistics();
        let queues = self.queues();
        let drops = self.drops(&queues, &tracks);
        let streams: usize = self.peers.values().map(|peer| peer.session.stats().streams).sum();
        let open = self.endpoint.connection_count() as u64;
        ShardSnapshot {
            statistics: ShardStatistics {
                connections: ConnectionStatistics {
                    open_now: open,
                    established: quic.established,
                    closed: quic.established.saturating_sub(open),
                    handshake_failures: quic.handshakes_failed,
                    version_negotiations: quic.version_negotiations,
                    retries: quic.retries,
                    migrations: quic.migrations,
                },
                websockets: self.websockets.statistics(),
                sessions: SessionStatistics {
                    open_now: self.peers.len() as u64,
                    streams_open_now: streams as u64,
                    subscriptions_now: tracks.subscriptions as u64,
                    upstream_subscriptions_now: tracks.upstream_subscriptions as u64,
                    announcements_now: (self.peers.values().map(|peer| peer.published.len()).sum::<usize>()
                        + self.locals.published_count()) as u64,
                    overloaded_now: u64::from(self.load.is_overloaded()),
                    ..own.sessions.clone()
                },
                web: own.web.clone(),
                media: MediaStatistics {
                    frames_out: tracks.egress.frames,
                    fetches: tracks.fetches,
                    fetches_from_cache: tracks.fetches_from_cache,
                    cache_bytes_now: tracks.cache_bytes as u64,
                    ..own.media.clone()
                },
                network: NetworkStatistics {
                    datagrams_received: ring.datagrams,
                    datagrams_sent: ring.segments,
                    datagram_bytes_received: ring.bytes_received,
                    datagram_bytes_sent: ring.bytes_sent,
                    receives: ring.receives,
                    sends: ring.sends,
                    send_failures: ring.send_errors.total(),
                    ring_waits: ring.waits,
                    malformed_packets: quic.malformed + quic.unknown_connection + ring.malformed + ring.truncated,
                    ..own.network.clone()
                },
                links: self.links.statistics(&self.peers),
                local: self.local_statistics(),
                drops,
            },
            queues,
        }
    }

    /// Those that are counted elsewhere, too.
    fn drops(&self, queues: &[QueueSnapshot], tracks: &TracksStatistics) -> DropStatistics {
        let quic = self.endpoint.statistics();
        let mut drops = self.statistics.drops.clone();
        drops.add(DropCause::Expired, tracks.egress.expired);
        drops.add(DropCause::SlowSubscriber, tracks.egress.evicted);
        drops.add(DropCause::CacheFull, tracks.cache_full);
        drops.add(DropCause::Datagram, tracks.egress.datagrams_dropped);
        drops.add(DropCause::SendBuffer, self.ring.statistics().send_errors.total());
        drops.add(DropCause::ConnectionLimit, quic.refused_full);
        drops.add(DropCause::AttemptLimit, quic.refused_attempts);
        drops.add(DropCause::AddressLimit, quic.refused_address);
        drops.add(DropCause::Overload, quic.refused_overload);
        drops.add(DropCause::StrangerLimit, self.strangers.dropped);
        drops.add(DropCause::AnswerLimit, quic.unanswered);
        drops.add(
            DropCause::QueueFull,
            queues.iter().filter_map(|queue| queue.overflows).sum(),
        );
        drops
    }

    fn local_statistics(&self) -> LocalStatistics {
        let sockets = self.ring.socket_statistics();
        LocalStatistics {
            peers_now: self.locals.peer_count() as u64,
            sockets_now: self.ring.socket_count() as u64,
            datagrams_received: sockets.datagrams,
            datagrams_sent: sockets.segments,
            send_failures: sockets.send_errors.total(),
            truncated: sockets.truncated,
        }
    }

    fn queues(&self) -> Vec<QueueSnapshot> {
        let own = u8::try_from(self.mailbox.own()).ok();
        let lanes = self.mailbox.lanes().map(|(from, lane)| QueueSnapshot {
            kind: QueueKind::Lane,
            from_shard: u8::try_from(from).ok(),
            depth_now: lane.depth,
            overflows: Some(lane.overflows),
        });
        let waiting = [
            QueueSnapshot {
                kind: QueueKind::Spill,
                from_shard: own,
                depth_now: self.mailbox.spilled(),
                overflows: None,
            },
            QueueSnapshot {
                kind: QueueKind::Command,
                from_shard: None,
                depth_now: self.commands.len() as u64,
                overflows: None,
            },
        ];
        lanes.chain(waiting).collect()
    }
}
