//! Grants on their way to shards. A shard that has no room for commands keeps nobody else's waiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use moqswitch_relay::auth::Grant;
use moqswitch_relay::routing::{PeerKey, ShardId, Source};
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use tokio::sync::oneshot;

use crate::limits::{DEVICE_GRANTS_WAITING_MAX, SHARD_PATIENCE_MAX};

/// What waits for each shard, in the order in which it was decided.
pub(super) struct Delivery(Vec<Way>);

/// The way to one shard.
struct Way {
    port: ShardPort,
    waiting: VecDeque<(PeerKey, Arc<Grant>)>,
    /// Since when it has taken nothing that waits.
    stuck: Option<Instant>,
    /// It is to say which sessions of devices it has: something of that was lost.
    is_in_doubt: bool,
}

impl Delivery {
    pub(super) fn new(shards: Vec<ShardPort>) -> Self {
        let way = |port| Way {
            port,
            waiting: VecDeque::new(),
            stuck: None,
            is_in_doubt: false,
        };
        Self(shards.into_iter().map(way).collect())
    }

    /// The session may do this from now on.
    pub(super) fn install(&mut self, session: Source, grant: Arc<Grant>, now: Instant) {
        if let Some(way) = self.0.get_mut(usize::from(session.shard.0)) {
            way.waiting.push_back((session.peer, grant));
            way.flush(session.shard, now);
        }
    }

    /// Has a shard say which sessions of devices it has.
    pub(super) fn doubt(&mut self, shard: ShardId, now: Instant) {
        if let Some(way) = self.0.get_mut(usize::from(shard.0)) {
            way.is_in_doubt = true;
            way.flush(shard, now);
        }
    }

    /// Tries again what found no room.
    pub(super) fn retry(&mut self, now: Instant) {
        for (shard, way) in (0..=u8::MAX).map(ShardId).zip(&mut self.0) {
            way.flush(shard, now);
        }
    }

    /// Whether something is to be tried again.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.iter().any(|way| !way.waiting.is_empty() || way.is_in_doubt)
    }

    /// False: until a shard has taken some, nothing more is decided.
    pub(super) fn has_room(&self) -> bool {
        self.0.iter().all(|way| way.waiting.len() < DEVICE_GRANTS_WAITING_MAX)
    }
}

impl Way {
    fn flush(&mut self, shard: ShardId, now: Instant) {
        while let Some((session, grant)) = self.waiting.front() {
            let (reply, _) = oneshot::channel();
            let command = ShardCommand::SetGrant {
                session: *session,
                grant: grant.clone(),
                reply,
            };
            if self.port.send(command).is_err() {
                return self.give_up_when_late(shard, now);
            }
            self.waiting.pop_front();
            self.stuck = None;
        }
        if self.is_in_doubt && self.port.send(ShardCommand::ListDevices).is_ok() {
            self.is_in_doubt = false;
        }
    }

    /// A shard that takes nothing for so long serves no calls either. When it does again, its sessions get what is so then.
    fn give_up_when_late(&mut self, shard: ShardId, now: Instant) {
        let stuck = *self.stuck.get_or_insert(now);
        if now.saturating_duration_since(stuck) < SHARD_PATIENCE_MAX {
            return;
        }
        let count = self.waiting.len();
        tracing::error!(
            shard = shard.0,
            count,
            "a shard takes no grants of devices: they keep what they have"
        );
        self.waiting.clear();
        self.stuck = None;
        self.is_in_doubt = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_without_room_holds_up_no_other_and_order_is_kept() {
        let ports = [port(), port()];
        let mut delivery = Delivery::new(ports.to_vec());
        let now = Instant::now();
        while ports[0].send(ShardCommand::ListDevices).is_ok() {}
        delivery.install(session(0, 1), Arc::default(), now);
        delivery.install(session(1, 2), Arc::default(), now);
        delivery.install(session(0, 3), Arc::default(), now);
        assert_eq!(taken(&ports[1]), ["grant 2"]);
        assert!(delivery.is_waiting() && delivery.has_room());
        while ports[0].queue.pop().is_some() {}
        delivery.retry(now);
        assert_eq!(taken(&ports[0]), ["grant 1", "grant 3"]);
        assert!(!delivery.is_waiting());
    }

    #[test]
    fn a_shard_that_was_stuck_is_asked_what_it_has() {
        let ports = [port()];
        let mut delivery = Delivery::new(ports.to_vec());
        let now = Instant::now();
        while ports[0].send(ShardCommand::ReplaceKeys(None)).is_ok() {}
        for index in 0..DEVICE_GRANTS_WAITING_MAX {
            delivery.install(session(0, u32::try_from(index).unwrap()), Arc::default(), now);
        }
        assert!(!delivery.has_room(), "nothing more is decided");
        delivery.retry(now + SHARD_PATIENCE_MAX);
        assert!(delivery.has_room(), "it is not waited for for ever");
        while ports[0].queue.pop().is_some() {}
        delivery.retry(now + SHARD_PATIENCE_MAX);
        assert_eq!(taken(&ports[0]), ["list"]);
        assert!(!delivery.is_waiting());
    }

    fn port() -> ShardPort {
        ShardPort::new(Arc::new(|| {}))
    }

    fn session(shard: u8, index: u32) -> Source {
        Source {
            shard: ShardId(shard),
            peer: PeerKey { index, generation: 0 },
        }
    }

    fn taken(port: &ShardPort) -> Vec<String> {
        let commands = std::iter::from_fn(|| port.queue.pop());
        commands
            .map(|command| match command {
                ShardCommand::SetGrant { session, .. } => format!("grant {}", session.index),
                ShardCommand::ListDevices => "list".to_owned(),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}
