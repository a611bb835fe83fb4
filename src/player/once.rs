//! Files that are played once, from the beginning, for somebody alone: announcements. Whoever asks is told of the end.

use std::fmt;
use std::sync::{Arc, Weak};

use crossbeam_queue::ArrayQueue;
use moqswitch_proto::wire::BroadcastPath;

use crate::ending::{Played, Told};
use crate::jukebox::Command;

/// Has files played once. Each clone is told of the ends of all.
#[derive(Clone)]
pub struct Announcer {
    pub(crate) outbox: Weak<ArrayQueue<Command>>,
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
    pub(crate) told: Arc<Told>,
}

impl Announcer {
    /// Plays a prompt, or music where there is no prompt of that name, as the broadcast `path`. It begins when somebody hears
    /// it, or after [`limits::ONCE_WAIT_MAX`](crate::limits::ONCE_WAIT_MAX), and is not there any more when it has ended.
    /// [`Self::poll`] tells that it has, by its id: once, unless it is stopped. What cannot be played is over at once.
    pub fn play(&self, id: u64, name: &str, path: &BroadcastPath) {
        let command = Command::Once {
            id,
            name: name.to_owned(),
            path: path.clone(),
            told: Arc::clone(&self.told),
        };
        if !self.tell(command) {
            self.told.tell(id, false);
        }
    }

    /// Plays it no longer, unless the shard takes nothing now. Its end may have been told by then, or be told later.
    pub fn stop(&self, path: &BroadcastPath) {
        self.tell(Command::Stop { path: path.clone() });
    }

    /// What has ended, in order.
    pub fn poll(&self) -> Option<Played> {
        self.told.take()
    }

    /// Waits until something may have ended. One waits at a time.
    pub async fn news(&self) {
        self.told.news().await;
    }

    fn tell(&self, command: Command) -> bool {
        let is_taken = self.outbox.upgrade().is_some_and(|outbox| outbox.push(command).is_ok());
        if is_taken {
            (self.wake)();
        }
        is_taken
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Announcer")
    }
}
