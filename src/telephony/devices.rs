//! Which sessions at the relay are of which device, and what each of them may do: what the calls say, carried to the shard
//! where the session is, whichever of the two comes first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use moqswitch_relay::auth::{Grant, Pattern, PatternError, Patterns};
use moqswitch_relay::routing::{ShardId, Source};
use moqswitch_relay::shard::{FeedEvent, FeedReader, ShardPort};
use moqswitch_signalling::calls::{Grants, LegId, SessionId};
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use crate::limits::{DEVICE_SESSIONS_MAX, SHARD_RETRY_INTERVAL};

use super::delivery::Delivery;
use super::media::Told;

/// All devices, and the way to their shards.
pub(super) struct Devices {
    told: mpsc::Receiver<Told>,
    /// Legs that are over, once their shards know.
    counted: mpsc::Sender<LegId>,
    feed: FeedReader,
    delivery: Delivery,
    devices: HashMap<Arc<str>, Device>,
    /// Which device a session is of.
    sessions: HashMap<Source, Arc<str>>,
}

/// What one device may do, and the sessions that it has.
#[derive(Default)]
struct Device {
    grant: Arc<Grant>,
    sessions: Vec<Source>,
}

impl Devices {
    pub(super) fn new(
        told: mpsc::Receiver<Told>,
        counted: mpsc::Sender<LegId>,
        feed: FeedReader,
        shards: Vec<ShardPort>,
    ) -> Self {
        Self {
            told,
            counted,
            feed,
            delivery: Delivery::new(shards),
            devices: HashMap::new(),
            sessions: HashMap::new(),
        }
    }

    pub(super) async fn serve(mut self) {
        let mut retry = time::interval(SHARD_RETRY_INTERVAL);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (is_waiting, has_room) = (self.delivery.is_waiting(), self.delivery.has_room());
            tokio::select! {
                // What takes something away is never behind what the relay tells.
                biased;
                // First, or there would be none as long as there is something else to do.
                _ = retry.tick(), if is_waiting => self.delivery.retry(Instant::now()),
                told = self.told.recv(), if has_room => match told {
                    Some(Told::Grants(session, grants)) => self.set_grant(session, &grants),
                    Some(Told::Over(session)) => self.forget(session),
                    // Without room its record says that nothing is known.
                    Some(Told::Count(leg)) => drop(self.counted.try_send(leg)),
                    None => return,
                },
                event = self.feed.next(), if has_room => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
            }
        }
    }

    fn handle(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::SessionOpened {
                session,
                device: Some(name),
                ..
            } => self.open(session, name),
            FeedEvent::SessionClosed { session } => self.close(session),
            FeedEvent::Devices { shard, sessions } => self.compare(shard, sessions),
            FeedEvent::Lost { shard, count } => {
                tracing::warn!(
                    shard = shard.0,
                    count,
                    "devices: the relay told more than could be taken in; it is asked what there is"
                );
                self.delivery.doubt(shard, Instant::now());
            }
            FeedEvent::SessionOpened { device: None, .. }
            | FeedEvent::Published { .. }
            | FeedEvent::Contested { .. }
            | FeedEvent::Ended { .. }
            | FeedEvent::Subscribed { .. }
            | FeedEvent::Unsubscribed { .. } => {}
        }
    }

    fn open(&mut self, session: Source, name: Arc<str>) {
        if self.sessions.contains_key(&session) {
            return;
        }
        let device = self.devices.entry(name.clone()).or_default();
        // The oldest is the likeliest to be one that the device has left behind.
        let oldest = (device.sessions.len() >= DEVICE_SESSIONS_MAX).then(|| device.sessions.remove(0));
        device.sessions.push(session);
        let grant = device.grant.clone();
        self.sessions.insert(session, name);
        if let Some(oldest) = oldest {
            self.sessions.remove(&oldest);
            self.install(oldest, Arc::default());
        }
        self.install(session, grant);
    }

    fn close(&mut self, session: Source) {
        let Some(name) = self.sessions.remove(&session) else {
            return;
        };
        if let Some(device) = self.devices.get_mut(&name) {
            device.sessions.retain(|other| *other != session);
            if device.sessions.is_empty() && *device.grant == Grant::nothing() {
                self.devices.remove(&name);
            }
        }
    }

    /// Everything that a shard has. What was not told is so from now on, and each session gets its grant once more.
    fn compare(&mut self, shard: ShardId, there: Vec<(Source, Arc<str>)>) {
        let found: HashSet<Source> = there.iter().map(|(session, _)| *session).collect();
        let of_shard = self.sessions.keys().filter(|session| session.shard == shard);
        let gone: Vec<Source> = of_shard.filter(|session| !found.contains(session)).copied().collect();
        gone.into_iter().for_each(|session| self.close(session));
        for (session, name) in there {
            if !self.sessions.contains_key(&session) {
                self.open(session, name);
            } else if let Some(device) = self.devices.get(&name) {
                let grant = device.grant.clone();
                self.install(session, grant);
            }
        }
    }

    fn set_grant(&mut self, session: SessionId, grants: &Grants) {
        let patterns = |list: &[String]| {
            let parsed: Result<Vec<Pattern>, PatternError> = list.iter().map(|pattern| pattern.parse()).collect();
            parsed.map(Patterns::new)
        };
        let (Ok(publish), Ok(subscribe)) = (patterns(&grants.publish), patterns(&grants.subscribe)) else {
            return tracing::error!(?grants, "a call grants what is no pattern");
        };
        let grant = Arc::new(Grant {
            publish,
            subscribe,
            ..Grant::nothing()
        });
        let device = self.devices.entry(Arc::from(session.to_string())).or_default();
        device.grant = grant.clone();
        for place in device.sessions.clone() {
            self.install(place, grant.clone());
        }
    }

    fn forget(&mut self, session: SessionId) {
        let Some(device) = self.devices.remove(session.to_string().as_str()) else {
            return;
        };
        for place in device.sessions {
            self.sessions.remove(&place);
            self.install(place, Arc::default());
        }
    }

    fn install(&mut self, session: Source, grant: Arc<Grant>) {
        self.delivery.install(session, grant, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use moqswitch_relay::routing::PeerKey;
    use moqswitch_relay::shard::{ShardCommand, feed};

    use super::*;

    #[test]
    fn what_the_feed_lost_is_made_good() {
        let port = ShardPort::new(Arc::new(|| {}));
        let (_tell, told) = mpsc::channel(1);
        let (_writer, reader) = feed(1);
        let mut devices = Devices::new(told, mpsc::channel(1).0, reader, vec![port.clone()]);
        let name = |number: u128| -> Arc<str> { Arc::from(SessionId(number).to_string()) };
        let grants = Grants {
            publish: vec!["call/1/1/**".to_owned()],
            subscribe: Vec::new(),
        };
        devices.open(session(1), name(1));
        devices.open(session(2), name(2));
        (1..=3).for_each(|number| devices.set_grant(SessionId(number), &grants));
        while port.queue.pop().is_some() {}

        devices.handle(FeedEvent::Lost {
            shard: ShardId(0),
            count: 2,
        });
        assert!(matches!(port.queue.pop(), Some(ShardCommand::ListDevices)));
        // The end of the first was lost, and the beginning of the third.
        devices.handle(FeedEvent::Devices {
            shard: ShardId(0),
            sessions: vec![(session(2), name(2)), (session(3), name(3))],
        });
        assert!(!devices.sessions.contains_key(&session(1)));
        assert_eq!(devices.sessions[&session(3)], name(3));
        let granted: Vec<u32> = std::iter::from_fn(|| port.queue.pop())
            .map(|command| match command {
                ShardCommand::SetGrant { session, grant, .. } => {
                    assert_ne!(*grant, Grant::nothing());
                    session.index
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(granted, [2, 3]);
    }

    fn session(index: u32) -> Source {
        Source {
            shard: ShardId(0),
            peer: PeerKey { index, generation: 0 },
        }
    }
}
