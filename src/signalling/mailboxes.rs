//! The seam to boxes of voice mail, for REST, events and telephones that show how many messages wait.

use std::fmt::Debug;
use std::sync::Arc;

use moqswitch_calls::Number;
use serde_json::Value;
use tokio::sync::Notify;

use crate::recordings::{NoRecording, RecordingFile};

/// Boxes of messages. Methods wait for a disk unless they say otherwise: they are called where nobody waits for it.
pub trait Mailboxes: Debug + Send + Sync {
    /// The messages of a box, the newest first.
    ///
    /// # Errors
    /// The disk.
    fn list(&self, number: &Number) -> Result<Vec<Value>, NoRecording>;

    /// The sound of one.
    ///
    /// # Errors
    /// There is none.
    fn open(&self, number: &Number, id: &str) -> Result<RecordingFile, NoRecording>;

    /// Removes one.
    ///
    /// # Errors
    /// There is none.
    fn remove(&self, number: &Number, id: &str) -> Result<(), NoRecording>;

    /// Calls have ended, and nothing is written any more: another process may. It can wait for the disk.
    fn release(&self);

    /// How many nobody has listened to, and how many others there are. It does not wait.
    fn waiting(&self, number: &Number) -> (u32, u32);

    /// Boxes of which something has changed since it was asked last. It does not wait.
    fn take_changed(&self) -> Vec<Number>;

    /// Notified when there are such.
    fn news(&self) -> Arc<Notify>;
}
