//! Boxes of voice mail as the threads of the program share them: those that play and record, REST, and the call plane, which
//! is told when something has changed.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use moqswitch_signalling::calls::Number;
use moqswitch_signalling::{Mailboxes, NoRecording, RecordingFile};
use moqswitch_voicemail::{BoxError, Boxes, Sound};
use serde_json::{Value, json};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::config::VoicemailConfig;

/// See the module's documentation.
pub(super) struct Mail {
    pub(super) boxes: Boxes,
    greeting: Option<PathBuf>,
    news: Arc<Notify>,
    places: Arc<Semaphore>,
}

impl Mail {
    pub(super) fn open(config: &VoicemailConfig) -> anyhow::Result<Arc<Self>> {
        let place = config.directory.display();
        let boxes = Boxes::open(config.settings()).with_context(|| format!("voice mail in {place}"))?;
        let mail = Self {
            boxes,
            greeting: config.greeting.clone(),
            news: Arc::default(),
            places: Arc::new(Semaphore::new(config.calls_max)),
        };
        if let Some(path) = &mail.greeting {
            let file = fs::read(path).with_context(|| format!("voicemail.greeting: {}", path.display()))?;
            Sound::read(&file).with_context(|| format!("voicemail.greeting: {}", path.display()))?;
        }
        Ok(Arc::new(mail))
    }

    /// A place for one more call. `None`: there are as many as there may be.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// What callers of a box hear. It waits for the disk.
    pub(super) fn greeting(&self, number: &Number) -> Sound {
        let own = self.boxes.greeting(number);
        let of_all = || {
            Some(
                Sound::read(&fs::read(self.greeting.as_ref()?).ok()?)
                    .ok()?
                    .for_greeting(),
            )
        };
        own.or_else(of_all).unwrap_or_default()
    }

    /// Something of a box may have changed.
    pub(super) fn tell(&self) {
        self.news.notify_one();
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mail")
    }
}

impl Mailboxes for Mail {
    fn list(&self, number: &Number) -> Result<Vec<Value>, NoRecording> {
        let messages = self.boxes.list(number).map_err(none_of)?;
        Ok(messages.iter().map(|message| json!(message)).collect())
    }

    fn open(&self, number: &Number, id: &str) -> Result<RecordingFile, NoRecording> {
        let file = self.boxes.file(number, id).map_err(none_of)?;
        Ok(RecordingFile {
            bytes: file.metadata().map_err(NoRecording::Disk)?.len(),
            file,
            name: format!("{id}.wav"),
        })
    }

    fn remove(&self, number: &Number, id: &str) -> Result<(), NoRecording> {
        let removed = self.boxes.remove(number, id).map_err(none_of);
        self.tell();
        removed
    }

    fn release(&self) {
        self.boxes.release();
    }

    fn waiting(&self, number: &Number) -> (u32, u32) {
        let tally = self.boxes.tally(number);
        (tally.new, tally.old)
    }

    fn take_changed(&self) -> Vec<Number> {
        self.boxes.take_changed().into_iter().collect()
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }
}

fn none_of(error: BoxError) -> NoRecording {
    match error {
        BoxError::Unknown | BoxError::NoBox | BoxError::Full => NoRecording::Unknown,
        BoxError::Disk(error) => NoRecording::Disk(error),
    }
}
