//! What was noted, and what of it is in the file: who tells that a call is over waits until its record outlives the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::limits::NOTED_WAIT_MAX;

/// What the journal's thread has handed to the system, or could not.
#[derive(Debug, Default)]
pub(super) struct Filed {
    count: AtomicU64,
    bell: Notify,
}

impl Filed {
    pub(super) fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Release);
        self.bell.notify_waiters();
    }
}

/// What the calls thread has noted. Clones count the same.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    count: Arc<AtomicU64>,
    written: Arc<Filed>,
}

impl Noted {
    pub(super) fn new(written: Arc<Filed>) -> Self {
        let count = Arc::default();
        Self { count, written }
    }

    pub(super) fn count(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until everything that was noted by this moment is in the file: not on the disk, but there when this process is
    /// killed. A disk that is slow is waited for no longer than the limit says.
    pub(crate) async fn written(&self) {
        let wanted = self.count.load(Ordering::Relaxed);
        let waiting = async {
            loop {
                let rung = self.written.bell.notified();
                tokio::pin!(rung);
                // From here on nothing that rings is missed.
                rung.as_mut().enable();
                if self.written.count.load(Ordering::Acquire) >= wanted {
                    return;
                }
                rung.await;
            }
        };
        if timeout(NOTED_WAIT_MAX, waiting).await.is_err() {
            tracing::debug!("the journal is slow: it is told that a call is over before that is noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_goes_on_when_it_is_written_and_not_before() {
        let written = Arc::new(Filed::default());
        let noted = Noted::new(Arc::clone(&written));
        noted.written().await;
        noted.count();
        noted.count();
        let waiting = noted.written();
        tokio::pin!(waiting);
        for _ in 0..2 {
            tokio::select! {
                biased;
                () = &mut waiting => panic!("not all is written"),
                () = std::future::ready(()) => {}
            }
            written.add(1);
        }
        // What is noted later is not waited for.
        noted.count();
        waiting.await;
    }
}
