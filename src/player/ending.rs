//! Ends of what is played once, on their way from the shard to who has asked.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use crate::limits::ENDS_MAX;

/// Something that was to be played once is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// As [`Announcer::play`](crate::Announcer::play) called it.
    pub id: u64,
    /// To its end. False: there is no such file, or no room.
    pub whole: bool,
}

/// Ends on their way to who has asked.
pub(crate) struct Told {
    ended: ArrayQueue<Played>,
    news: Notify,
}

impl Told {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            ended: ArrayQueue::new(ENDS_MAX),
            news: Notify::new(),
        })
    }

    pub(crate) fn take(&self) -> Option<Played> {
        self.ended.pop()
    }

    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Who does not take what is told loses the oldest.
    pub(crate) fn tell(&self, id: u64, whole: bool) {
        self.ended.force_push(Played { id, whole });
        self.news.notify_one();
    }
}
