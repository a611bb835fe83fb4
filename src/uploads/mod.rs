//! Finished recordings go to an S3-compatible store, one after another, on a thread of its own. What waits has its mark on the
//! disk ([`Pending`]); a failure is tried again, later each time, and the file stays.

mod bucket;
mod client;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use moqswitch_recording::{Pending, PendingRecording};
use tokio::sync::watch;

use crate::config::UploadConfig;
use crate::limits::{UPLOAD_BACK_OFF_MAX, UPLOAD_BACK_OFF_MIN, UPLOAD_LOOK_INTERVAL, UPLOADS_WAITING_MAX};

use bucket::Bucket;

/// They go on as long as there is this.
pub(crate) struct Uploads {
    counts: Arc<UploadCounts>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Since the start.
#[derive(Debug, Default)]
pub(crate) struct UploadCounts {
    /// Recordings that are over and wait, as far as they were looked at.
    pub(crate) waiting: AtomicU64,
    /// Recordings that the store has.
    pub(crate) uploaded: AtomicU64,
    /// Attempts that failed.
    pub(crate) failures: AtomicU64,
}

impl Uploads {
    /// Starts the thread.
    pub(crate) fn start(config: &UploadConfig, pending: Pending) -> anyhow::Result<Self> {
        let bucket = Bucket::new(config)?;
        let counts = Arc::new(UploadCounts::default());
        let (stop, stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = Work {
            bucket,
            pending,
            counts: Arc::clone(&counts),
            stopping,
            back_off: UPLOAD_BACK_OFF_MIN,
        };
        let thread = std::thread::Builder::new().name("uploads".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(work.run());
            // A look-up of a name may go on for longer than anybody waits.
            runtime.shutdown_background();
        });
        Ok(Self {
            counts,
            stop,
            thread: Some(thread.context("the thread that uploads")?),
        })
    }

    pub(crate) fn counts(&self) -> &UploadCounts {
        &self.counts
    }

    /// Nothing more is uploaded: another process will.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.stop();
        // One that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Work {
    bucket: Bucket,
    pending: Pending,
    counts: Arc<UploadCounts>,
    stopping: watch::Receiver<bool>,
    /// After the next failure.
    back_off: Duration,
}

impl Work {
    async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = self.upload_all() => {}
            // What is under way is not done, and is uploaded again.
            _ = stopping.wait_for(|is_over| *is_over) => {}
        }
    }

    async fn upload_all(&mut self) {
        while !self.pending.is_released() {
            let next = self.pending.take(UPLOADS_WAITING_MAX).unwrap_or_else(|error| {
                tracing::warn!(%error, "it is not known which recordings are to be uploaded");
                Vec::new()
            });
            let is_all = next.is_empty();
            let mut failed = 0;
            for (index, one) in next.iter().enumerate() {
                let waiting = u64::try_from(next.len() - index).unwrap_or(u64::MAX);
                self.counts.waiting.store(waiting, Ordering::Relaxed);
                if self.pending.is_released() {
                    return;
                }
                if let Err(error) = self.upload(one).await {
                    self.fail(one, &error).await;
                    failed += 1;
                }
            }
            self.counts.waiting.store(failed, Ordering::Relaxed);
            if is_all {
                tokio::time::sleep(UPLOAD_LOOK_INTERVAL).await;
            }
        }
    }

    async fn upload(&mut self, one: &PendingRecording) -> anyhow::Result<()> {
        let Some(files) = self.pending.files(one)? else {
            return Ok(());
        };
        for file in files {
            match self.bucket.put(&format!("{}/{}", one.day, file.name), &file.path).await {
                // It was removed meanwhile: what is left of it is uploaded.
                Err(error) if is_gone(&error) => {}
                outcome => outcome.with_context(|| file.name.clone())?,
            }
        }
        self.pending.done(one)?;
        self.counts.uploaded.fetch_add(1, Ordering::Relaxed);
        self.back_off = UPLOAD_BACK_OFF_MIN;
        Ok(())
    }

    /// The store may be away for all: nothing else is tried meanwhile.
    async fn fail(&mut self, one: &PendingRecording, error: &anyhow::Error) {
        let failures = self.counts.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures.is_power_of_two() {
            tracing::warn!(recording = %one.id, failures, error = %format!("{error:#}"), "a recording is not uploaded yet");
        }
        tokio::time::sleep(self.back_off).await;
        self.back_off = self.back_off.saturating_mul(2).min(UPLOAD_BACK_OFF_MAX);
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests;
