//! Calls that are recorded: shards listen to their legs, and hand frames over to the thread that writes. What was recorded is
//! shown to REST.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use moqswitch_audio::Codec;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_recording::{
    Archive, ArchiveError, Ear, Ears, Filter, Frame, Frames, LocalDisk, Recorder, RecorderView, RecordingId, Settings,
};
use moqswitch_relay::shard::ShardPort;
use moqswitch_services::{Tapped, Taps};
use moqswitch_signalling::calls::{CallId, LegId};
use moqswitch_signalling::{NoRecording, RecordingFigures, RecordingFile, RecordingFilter, Recordings};
use serde_json::{Value, json};

use crate::uploads::{UploadCounts, Uploads};

/// Starts it.
pub(super) fn start(settings: Settings, shards: &[ShardPort]) -> anyhow::Result<(Recorder, RecorderView)> {
    let place = settings.directory.display().to_string();
    let mut taps = Vec::new();
    let ears = |frames: Frames| {
        for shard in shards {
            let frames = frames.clone();
            // It is one of the shard's first applications: there is room.
            let installed = Taps::install(shard, move |tapped| frames.push(frame(tapped)));
            taps.push(installed.map(|(taps, _)| taps));
        }
        RelayEars {
            taps: taps.into_iter().flatten().collect(),
        }
    };
    Recorder::start(settings, LocalDisk, ears).with_context(|| format!("recordings in {place}"))
}

/// The ears of all shards. A call is listened to on one of them.
struct RelayEars {
    taps: Vec<Taps>,
}

impl Ears for RelayEars {
    fn listen(&mut self, call: CallId, stream: u64, leg: LegId, codec: Option<Codec>) -> Option<Ear> {
        let shards = u128::try_from(self.taps.len()).ok()?;
        let shard = usize::try_from(call.0.checked_rem(shards)?).ok()?;
        let broadcast = BroadcastPath::new(&leg.path());
        match self.taps.get(shard)?.listen(stream, broadcast, codec) {
            Ok(tap) => Some(Ear::new(tap)),
            Err(error) => {
                tracing::warn!(%leg, %error, "a leg is not recorded");
                None
            }
        }
    }
}

fn frame(tapped: Tapped) -> Frame {
    Frame {
        stream: tapped.stream,
        codec: tapped.codec,
        group: tapped.group,
        is_first: tapped.is_first,
        time_us: tapped.time_us,
        came: tapped.came,
        payload: tapped.payload,
    }
}

/// What was recorded, for REST; and what uploads it, if anything does.
pub(super) struct Recorded {
    pub(super) view: RecorderView,
    pub(super) uploads: Option<Uploads>,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Recorded")
    }
}

impl Recorded {
    fn of<T>(
        &self,
        id: &str,
        question: impl FnOnce(&Archive, RecordingId) -> Result<T, ArchiveError>,
    ) -> Result<T, NoRecording> {
        let id = id.parse().map_err(|_| NoRecording::Unknown)?;
        question(&self.view.archive(), id).map_err(none_of)
    }
}

fn none_of(error: ArchiveError) -> NoRecording {
    match error {
        ArchiveError::Unknown => NoRecording::Unknown,
        ArchiveError::Writing => NoRecording::Active,
        ArchiveError::TooMany => NoRecording::TooMany,
        ArchiveError::Disk(error) => NoRecording::Disk(error),
    }
}

impl Recordings for Recorded {
    fn list(&self, filter: &RecordingFilter) -> Result<(Vec<Value>, bool), NoRecording> {
        let archive = self.view.archive();
        let found = archive.list(&Filter {
            since_ms: filter.since_ms,
            until_ms: filter.until_ms,
            dn: filter.dn.clone(),
            call: filter.call,
            limit: filter.limit,
        });
        let found = found.map_err(none_of)?;
        Ok((found.recordings.iter().map(|one| json!(one)).collect(), found.has_more))
    }

    fn describe(&self, id: &str) -> Result<Value, NoRecording> {
        self.of(id, |archive, id| Ok(json!(archive.get(id)?)))
    }

    fn open(&self, id: &str, file: usize) -> Result<RecordingFile, NoRecording> {
        self.of(id, |archive, id| {
            let (opened, known) = archive.open_file(id, file)?;
            Ok(RecordingFile {
                bytes: opened.metadata()?.len(),
                file: opened,
                name: known.name,
            })
        })
    }

    fn remove(&self, id: &str) -> Result<(), NoRecording> {
        self.of(id, Archive::remove)
    }

    fn release(&self) {
        if let Some(uploads) = &self.uploads {
            uploads.stop();
        }
        self.view.archive().release();
    }

    fn figures(&self) -> RecordingFigures {
        let counted = self.view.statistics();
        let count = |of: fn(&UploadCounts) -> &AtomicU64| {
            let uploads = self.uploads.as_ref();
            uploads.map_or(0, |uploads| of(uploads.counts()).load(Ordering::Relaxed))
        };
        RecordingFigures {
            active: counted.active,
            finished: counted.finished,
            failed: counted.failed,
            refused: counted.refused,
            removed: counted.removed,
            frames: counted.frames,
            lost: counted.lost,
            dropped: counted.dropped,
            bytes: counted.bytes,
            uploads_waiting: count(|uploads| &uploads.waiting),
            uploaded: count(|uploads| &uploads.uploaded),
            upload_failures: count(|uploads| &uploads.failures),
        }
    }
}
