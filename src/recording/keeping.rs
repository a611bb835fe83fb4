//! The thread that tidies up: what is over is synced, what a killed process left says so, and what is too old or too much goes.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io, thread};

use crate::archive::{Archive, Kept};
use crate::counters::Counters;
use crate::desk::Desk;
use crate::limits::KEEPING_INTERVAL;
use crate::settings::Settings;
use crate::sidecar::{INTERRUPTED, RECORDING, RecordingId, Sidecar, unfinished};

pub(crate) fn keep(settings: &Settings, archive: &Archive, desk: &Desk, counters: &Counters) {
    if let Err(error) = repair(archive, desk) {
        tracing::warn!(%error, "it is not known which recordings were interrupted");
    }
    let mut looked: Option<Instant> = None;
    loop {
        // Looked at before: what was over by then is synced.
        let is_written = desk.is_written();
        for (directory, id) in desk.take_unsynced() {
            if let Err(error) = sync(&directory, id) {
                tracing::warn!(recording = %id, %error, "it is not known whether the disk has a recording");
            }
        }
        if is_written {
            return;
        }
        if looked.is_none_or(|looked| looked.elapsed() >= KEEPING_INTERVAL) {
            looked = Some(Instant::now());
            match retain(settings, archive, desk) {
                Ok(removed) => Counters::add(&counters.removed, removed),
                Err(error) => tracing::warn!(%error, "old recordings are not removed"),
            }
        }
        thread::park_timeout(KEEPING_INTERVAL);
    }
}

/// The disk has its files, and their names.
fn sync(directory: &Path, id: RecordingId) -> io::Result<()> {
    let begin = format!("{id}.");
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&begin)) {
            File::open(entry.path())?.sync_data()?;
        }
    }
    File::open(directory)?.sync_all()
}

/// Recordings that say they go on, and do not.
pub(crate) fn repair(archive: &Archive, desk: &Desk) -> io::Result<u64> {
    let mut repaired = 0;
    for day in archive.days()?.into_iter().rev() {
        for id in archive.names(&day)? {
            if desk.is_over() {
                return Ok(repaired);
            }
            // Looked for before it is read, and after that: it may begin or end meanwhile.
            let is_written = || desk.writing().contains(&id.to_string());
            if is_written() {
                continue;
            }
            let path = archive.sidecar_path(&day, id);
            let Ok(mut sidecar) = Sidecar::read(&path) else {
                continue;
            };
            if sidecar.state != RECORDING || is_written() {
                continue;
            }
            interrupt(archive, &day, &mut sidecar);
            sidecar.write(&path)?;
            tracing::warn!(recording = %id, "a recording was interrupted");
            repaired += 1;
        }
        for entry in fs::read_dir(archive.day_path(&day))? {
            let path = entry?.path();
            let of = path.with_extension("");
            if unfinished(&of) == path && !desk.is_over() {
                // Whoever writes one writes it again.
                let _ = fs::remove_file(path);
            }
        }
    }
    Ok(repaired)
}

/// What its files tell.
fn interrupt(archive: &Archive, day: &str, sidecar: &mut Sidecar) {
    let mut end_ms = sidecar.start_ms;
    for file in &mut sidecar.files {
        let Ok(data) = fs::metadata(archive.day_path(day).join(&file.name)) else {
            continue;
        };
        file.bytes = data.len();
        let changed = data.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let changed = changed.and_then(|since| u64::try_from(since.as_millis()).ok());
        end_ms = end_ms.max(changed.unwrap_or(0));
    }
    INTERRUPTED.clone_into(&mut sidecar.state);
    sidecar.reason = Some(INTERRUPTED.to_owned());
    sidecar.end_ms = Some(end_ms);
    sidecar.duration_ms = end_ms.saturating_sub(sidecar.start_ms);
}

/// Removes what is too old, then the oldest of what is too much. How many there were.
/// What cannot be read or removed keeps nothing else.
fn tried<T>(outcome: io::Result<T>, day: &str) -> Option<T> {
    outcome
        .inspect_err(|error| tracing::warn!(%error, day, "of recordings something cannot be removed"))
        .ok()
}

pub(crate) fn retain(settings: &Settings, archive: &Archive, desk: &Desk) -> io::Result<u64> {
    if settings.age_max.is_zero() && settings.bytes_max == 0 {
        return Ok(0);
    }
    let now = SystemTime::now();
    let age = |kept: &Kept| now.duration_since(kept.changed).unwrap_or(Duration::ZERO);
    let mut removed = 0;
    let mut left: Vec<(String, u64)> = Vec::new();
    for day in archive.days()? {
        let mut bytes = 0;
        for (id, kept) in tried(archive.kept(&day), &day).unwrap_or_default() {
            if desk.is_over() {
                return Ok(removed);
            }
            let is_old = !settings.age_max.is_zero() && age(&kept) > settings.age_max;
            if is_old
                && !is_waiting(settings, archive, &day, id)
                && tried(remove(archive, desk, &day, id), &day).unwrap_or(false)
            {
                removed += 1;
            } else {
                bytes += kept.bytes;
            }
        }
        left.push((day, bytes));
    }
    let mut total: u64 = left.iter().map(|(_, bytes)| bytes).sum();
    for (day, _) in &left {
        if settings.bytes_max == 0 || total <= settings.bytes_max || desk.is_over() {
            break;
        }
        let of_day = tried(archive.kept(day), day).unwrap_or_default();
        let mut of_day: Vec<(RecordingId, Kept)> = of_day.into_iter().collect();
        of_day.sort_by_key(|(_, kept)| kept.changed);
        for (id, kept) in of_day {
            if total > settings.bytes_max
                && !is_waiting(settings, archive, day, id)
                && tried(remove(archive, desk, day, id), day).unwrap_or(false)
            {
                removed += 1;
                total = total.saturating_sub(kept.bytes);
            }
        }
    }
    for (day, _) in left {
        // One that has something stays.
        let _ = fs::remove_dir(archive.day_path(&day));
    }
    Ok(removed)
}

/// It is to be uploaded still: it may be the only copy.
fn is_waiting(settings: &Settings, archive: &Archive, day: &str, id: RecordingId) -> bool {
    settings.uploads && archive.uploads_path().join(format!("{day}.{id}")).exists()
}

fn remove(archive: &Archive, desk: &Desk, day: &str, id: RecordingId) -> io::Result<bool> {
    if desk.writing().contains(&id.to_string()) {
        return Ok(false);
    }
    match archive.remove_from(day, id) {
        Ok(()) => Ok(true),
        // Somebody else did.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
