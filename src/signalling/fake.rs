//! A media plane that only remembers what it was told: for tests, of other crates too.
#![expect(
    clippy::disallowed_types,
    reason = "no shard is near, and tests read it from another thread"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use moqswitch_calls::{Grants, SessionId};

use crate::media::{Busy, Media, MediaPlane};

/// Told of grants, it remembers them. A clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct RecordingMedia(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    grants: BTreeMap<SessionId, Grants>,
    history: Vec<(SessionId, Grants)>,
    over: Vec<SessionId>,
    refusals: u32,
}

impl RecordingMedia {
    /// What a session may do.
    pub fn grants_of(&self, session: SessionId) -> Grants {
        self.with(|told| told.grants.get(&session).cloned().unwrap_or_default())
    }

    /// Everything that was told, in order.
    pub fn history(&self) -> Vec<(SessionId, Grants)> {
        self.with(|told| told.history.clone())
    }

    /// Sessions that are over, in order.
    pub fn over(&self) -> Vec<SessionId> {
        self.with(|told| told.over.clone())
    }

    /// The next so many grants are not taken, as if the relay's queue were full.
    pub fn refuse(&self, count: u32) {
        self.with(|told| told.refusals = count);
    }

    fn with<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        look(&mut told)
    }
}

impl MediaPlane for RecordingMedia {
    fn grants(&mut self, session: SessionId, grants: &Grants) -> Result<(), Busy> {
        self.with(|told| {
            if told.refusals > 0 {
                told.refusals -= 1;
                return Err(Busy);
            }
            told.grants.insert(session, grants.clone());
            told.history.push((session, grants.clone()));
            Ok(())
        })
    }

    fn media(&mut self, session: SessionId) -> Media {
        Media {
            url: "https://127.0.0.1:4443/".to_owned(),
            token: format!("token-of-{session}"),
            certificate_hash: Some("00".repeat(32)),
        }
    }

    fn over(&mut self, session: SessionId) {
        self.with(|told| {
            told.grants.remove(&session);
            told.over.push(session);
        });
    }
}
