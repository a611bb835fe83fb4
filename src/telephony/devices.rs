//! Which sessions at the relay are of which device, and what each of them may do: what the calls say, carried to the shard
//! where the session is, whichever of the two comes first.

use std::collections::HashMap;
use std::sync::Arc;

use moqswitch_relay::auth::{Grant, Pattern, PatternError, Patterns};
use moqswitch_relay::routing::Source;
use moqswitch_relay::shard::{FeedEvent, FeedReader, ShardCommand, ShardPort};
use moqswitch_signalling::calls::{Grants, LegId, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use crate::limits::{DEVICE_SESSIONS_MAX, SHARD_RETRY_INTERVAL, SHARD_TRIES_MAX};

use super::media::Told;

/// All devices, and the way to their shards.
pub(super) struct Devices {
    told: mpsc::Receiver<Told>,
    /// Legs that are over, once their shards know.
    counted: mpsc::Sender<LegId>,
    feed: FeedReader,
    shards: Vec<ShardPort>,
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
            shards,
            devices: HashMap::new(),
            sessions: HashMap::new(),
        }
    }

    pub(super) async fn serve(mut self) {
        loop {
            tokio::select! {
                // What takes something away is never behind what the relay tells.
                biased;
                told = self.told.recv() => match told {
                    Some(Told::Grants(session, grants)) => self.set_grant(session, &grants).await,
                    Some(Told::Over(session)) => self.forget(session).await,
                    // Without room its record says that nothing is known.
                    Some(Told::Count(leg)) => drop(self.counted.try_send(leg)),
                    None => return,
                },
                event = self.feed.next() => match event {
                    Some(event) => self.handle(event).await,
                    None => return,
                },
            }
        }
    }

    async fn handle(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::SessionOpened {
                session,
                device: Some(name),
                ..
            } => {
                let device = self.devices.entry(name.clone()).or_default();
                if device.sessions.len() >= DEVICE_SESSIONS_MAX {
                    // The oldest is the likeliest to be one that the device has left behind.
                    let oldest = device.sessions.remove(0);
                    self.sessions.remove(&oldest);
                    self.install(oldest, Arc::default()).await;
                }
                let device = self.devices.entry(name.clone()).or_default();
                device.sessions.push(session);
                let grant = device.grant.clone();
                self.sessions.insert(session, name);
                self.install(session, grant).await;
            }
            FeedEvent::SessionClosed { session } => {
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
            FeedEvent::Lost { shard, count } => {
                tracing::warn!(
                    shard = shard.0,
                    count,
                    "devices: the relay told more than could be taken in"
                );
            }
            FeedEvent::SessionOpened { device: None, .. }
            | FeedEvent::Published { .. }
            | FeedEvent::Ended { .. }
            | FeedEvent::Subscribed { .. }
            | FeedEvent::Unsubscribed { .. } => {}
        }
    }

    async fn set_grant(&mut self, session: SessionId, grants: &Grants) {
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
            self.install(place, grant.clone()).await;
        }
    }

    async fn forget(&mut self, session: SessionId) {
        let Some(device) = self.devices.remove(session.to_string().as_str()) else {
            return;
        };
        for place in device.sessions {
            self.sessions.remove(&place);
            self.install(place, Arc::default()).await;
        }
    }

    /// Waits a while if the shard has no room for it. A shard that has none for so long serves no calls either.
    async fn install(&self, session: Source, grant: Arc<Grant>) {
        let Some(port) = self.shards.get(usize::from(session.shard.0)) else {
            return;
        };
        for _ in 0..SHARD_TRIES_MAX {
            let (reply, _) = oneshot::channel();
            let command = ShardCommand::SetGrant {
                session: session.peer,
                grant: grant.clone(),
                reply,
            };
            if port.send(command).is_ok() {
                return;
            }
            time::sleep(SHARD_RETRY_INTERVAL).await;
        }
        tracing::error!(
            shard = session.shard.0,
            "a shard took no grant of a device: it keeps the one it has"
        );
    }
}
