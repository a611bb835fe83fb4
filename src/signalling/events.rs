//! What happened, for those who follow: a bounded history, and who waits for what comes.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use crate::limits::{EVENT_FOLLOWERS_MAX, EVENTS_KEPT_MAX, EVENTS_WAITING_MAX, WEBHOOK_EVENTS_MAX};

/// Kinds of events, as webhooks name them.
pub const EVENT_KINDS: [&str; 8] = [
    "registration",
    "leg",
    "dtmf",
    "supervision",
    "announcement",
    "voicemail",
    "legRecord",
    "callRecord",
];

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    /// `<start>-<number>`: the number alone would mean something else after a restart.
    pub(crate) id: String,
    /// Its name.
    pub(crate) kind: &'static str,
    /// JSON.
    pub(crate) data: String,
    number: u64,
}

/// The history, and the followers.
#[derive(Debug)]
pub(crate) struct Events {
    started_ms: u64,
    last: u64,
    kept: VecDeque<Arc<Event>>,
    followers: broadcast::Sender<Arc<Event>>,
    posted: Vec<Posted>,
    /// Events that a webhook had no room for.
    pub(crate) unposted: u64,
}

/// A webhook: the kinds that it wants, none being all, and its way.
#[derive(Debug)]
struct Posted {
    webhook: WebhookIdentity,
    kinds: Vec<String>,
    events: mpsc::Sender<Arc<Event>>,
}

/// What tells one webhook from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WebhookIdentity(pub(crate) [u8; 32]);

/// What a follower gets: what it missed, and what comes.
#[derive(Debug)]
pub(crate) struct Following {
    /// What it missed is more than what was kept.
    pub(crate) is_gap: bool,
    pub(crate) missed: VecDeque<Arc<Event>>,
    pub(crate) coming: broadcast::Receiver<Arc<Event>>,
}

impl Events {
    pub(crate) fn new(started_ms: u64) -> Self {
        Self {
            started_ms,
            last: 0,
            kept: VecDeque::new(),
            followers: broadcast::channel(EVENTS_WAITING_MAX).0,
            posted: Vec::new(),
            unposted: 0,
        }
    }

    pub(crate) fn push(&mut self, kind: &'static str, data: &Value) {
        self.push_text(kind, data.to_string());
    }

    /// `data` is JSON.
    pub(crate) fn push_text(&mut self, kind: &'static str, data: String) {
        debug_assert!(EVENT_KINDS.contains(&kind), "{kind} is not among the kinds");
        self.last += 1;
        let event = Arc::new(Event {
            id: format!("{}-{}", self.started_ms, self.last),
            kind,
            data,
            number: self.last,
        });
        if self.kept.len() >= EVENTS_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::clone(&event));
        for posted in &self.posted {
            let is_wanted = posted.kinds.is_empty() || posted.kinds.iter().any(|wanted| wanted == kind);
            if is_wanted && posted.events.try_send(Arc::clone(&event)).is_err() {
                self.unposted += 1;
            }
        }
        // Nobody follows: nobody has to be told.
        let _ = self.followers.send(event);
    }

    /// From here on events of these kinds, or of all, go there as well. `None`: they do already.
    pub(crate) fn post_to(
        &mut self,
        webhook: WebhookIdentity,
        kinds: Vec<String>,
    ) -> Option<mpsc::Receiver<Arc<Event>>> {
        if self.posted.iter().any(|posted| posted.webhook == webhook) {
            return None;
        }
        let (sender, events) = mpsc::channel(WEBHOOK_EVENTS_MAX);
        self.posted.push(Posted {
            webhook,
            kinds,
            events: sender,
        });
        Some(events)
    }

    /// Nothing more goes to others than these. What waits for them is still posted.
    pub(crate) fn post_to_none_but(&mut self, webhooks: &[WebhookIdentity]) {
        self.posted.retain(|posted| webhooks.contains(&posted.webhook));
    }

    /// How many webhooks there are, and how many events wait for them.
    pub(crate) fn posting(&self) -> (usize, usize) {
        let waiting = |posted: &Posted| posted.events.max_capacity() - posted.events.capacity();
        (self.posted.len(), self.posted.iter().map(waiting).sum())
    }

    /// Everything behind `last`, and what comes. `None`: as many follow as may.
    pub(crate) fn follow(&self, last: Option<&str>) -> Option<Following> {
        if self.followers.receiver_count() >= EVENT_FOLLOWERS_MAX {
            return None;
        }
        let coming = self.followers.subscribe();
        let Some(last) = last else {
            return Some(Following {
                is_gap: false,
                missed: VecDeque::new(),
                coming,
            });
        };
        let known = last
            .split_once('-')
            .filter(|(started, _)| *started == self.started_ms.to_string());
        let number = known.and_then(|(_, number)| number.parse::<u64>().ok());
        let first = self.kept.front().map_or(self.last + 1, |event| event.number);
        let after = number.unwrap_or(0);
        let missed = self.kept.iter().filter(|event| event.number > after).cloned();
        Some(Following {
            is_gap: number.is_none() || after + 1 < first,
            missed: missed.collect(),
            coming,
        })
    }

    pub(crate) fn followers(&self) -> usize {
        self.followers.receiver_count()
    }

    /// What a follower is told that missed more than was kept.
    pub(crate) fn gap() -> Value {
        json!({ "message": "events are missing: ask for calls and numbers anew" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_get_what_they_missed_or_are_told_that_it_is_gone() {
        let mut events = Events::new(7);
        for number in 0..3 {
            events.push("leg", &json!(number));
        }
        let ids = |last: Option<&str>| {
            let following = events.follow(last).unwrap();
            let ids: Vec<_> = following.missed.iter().map(|event| event.id.clone()).collect();
            (following.is_gap, ids)
        };
        assert_eq!(ids(None), (false, vec![]));
        assert_eq!(ids(Some("7-2")), (false, vec!["7-3".to_owned()]));
        assert!(ids(Some("6-2")).0, "another start");
        assert_eq!(ids(Some("nonsense")).1.len(), 3);
        for number in 0..EVENTS_KEPT_MAX {
            events.push("leg", &json!(number));
        }
        let following = events.follow(Some("7-1")).unwrap();
        assert!(following.is_gap);
        assert_eq!(following.missed.len(), EVENTS_KEPT_MAX);
    }
}
