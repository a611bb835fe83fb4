//! Announcements that are over, told to the calls that wait for it.

use std::future;

use moqswitch_player::{Announcer, Played};
use moqswitch_signalling::SignallingHandle;
use moqswitch_signalling::calls::{MediaEvent, PlayId};
use tokio::time;

use crate::limits::SHARD_RETRY_INTERVAL;

/// Tells them.
pub(super) struct Announcing {
    announcer: Option<Announcer>,
    calls: SignallingHandle,
}

impl Announcing {
    pub(super) fn new(announcer: Option<Announcer>, calls: SignallingHandle) -> Self {
        Self { announcer, calls }
    }

    /// It does not end by itself.
    pub(super) async fn serve(self) {
        let Some(announcer) = self.announcer else {
            return future::pending().await;
        };
        loop {
            announcer.news().await;
            while let Some(Played { id, whole }) = announcer.poll() {
                let play = PlayId(id);
                // A caller waits for it.
                while self.calls.media(MediaEvent::Played { play, whole }).is_err() {
                    time::sleep(SHARD_RETRY_INTERVAL).await;
                }
            }
        }
    }
}
