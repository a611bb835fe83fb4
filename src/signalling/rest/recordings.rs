//! Recordings of calls: found, described, heard and removed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::answer::{Answer, whole};
use super::caller::{Caller, call_id};
use super::problem::Problem;
use crate::access::Scope;
use crate::limits::{RECORDING_READ_BYTES, ROWS_MAX};
use crate::media::Busy;
use crate::recordings::{NoRecording, RecordingFile, RecordingFilter, Recordings};

/// `/api/recordings?since&until&dn&call&limit`.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    since: Option<String>,
    until: Option<String>,
    dn: Option<String>,
    call: Option<String>,
    limit: Option<String>,
}

/// Which of a recording's files.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    file: Option<String>,
}

pub(super) async fn list(caller: Caller, Query(asked): Query<Asked>) -> Answer {
    let call = asked.call.as_deref().map(call_id).transpose();
    let limit = whole(asked.limit.as_ref(), "limit")?.unwrap_or(100);
    let filter = RecordingFilter {
        since_ms: whole(asked.since.as_ref(), "since")?.unwrap_or(0),
        until_ms: whole(asked.until.as_ref(), "until")?,
        dn: asked.dn.clone(),
        call: call.map_err(|_| Problem::invalid("call", "no call"))?,
        limit: usize::try_from(limit).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX),
    };
    let found = look(&caller, Scope::Read, move |recordings| recordings.list(&filter));
    let (rows, has_more) = found.await?;
    Ok(Json(json!({ "count": rows.len(), "recordings": rows, "more": has_more })).into_response())
}

pub(super) async fn one(caller: Caller, Path(id): Path<String>) -> Answer {
    let found = look(&caller, Scope::Read, move |recordings| recordings.describe(&id));
    Ok(Json(found.await?).into_response())
}

pub(super) async fn remove(caller: Caller, Path(id): Path<String>) -> Answer {
    look(&caller, Scope::Admin, move |recordings| recordings.remove(&id)).await?;
    Ok(Json(json!({ "status": "ok" })).into_response())
}

/// A file, or the range of it that was asked for. Who hears what was said needs what who listens to calls needs.
pub(super) async fn audio(caller: Caller, Path(id): Path<String>, Query(which): Query<Which>) -> Answer {
    let index = whole(which.file.as_ref(), "file")?.unwrap_or(0);
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    let range = caller.header("range");
    let opened = look(&caller, Scope::Supervise, move |recordings| recordings.open(&id, index));
    send(opened.await?, range.as_deref())
}

/// A file, or the range of it that the caller asks for.
pub(super) fn send_file(caller: &Caller, file: RecordingFile) -> Answer {
    send(file, caller.header("range").as_deref())
}

fn send(RecordingFile { mut file, name, bytes }: RecordingFile, range: Option<&str>) -> Answer {
    let part = match range.map(|range| part_of(range, bytes)) {
        None | Some(Asks::Nothing) => None,
        Some(Asks::Part(first, last)) => Some((first, last)),
        Some(Asks::Beyond) => return Ok(beyond(bytes)),
    };
    let (first, length) = part.map_or((0, bytes), |(first, last)| (first, last + 1 - first));
    file.seek(SeekFrom::Start(first)).map_err(|error| failed(&error))?;
    let kind = if name.ends_with(".opus") {
        "audio/ogg"
    } else {
        "audio/wav"
    };
    let mut response = Response::new(body(file, length));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Names are of hexadecimal digits.
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    if let Some((first, last)) = part
        && let Ok(range) = HeaderValue::from_str(&format!("bytes {first}-{last}/{bytes}"))
    {
        headers.insert(header::CONTENT_RANGE, range);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Asks where nobody waits for the disk, if the caller may, and some of few places is free.
async fn look<T: Send + 'static>(
    caller: &Caller,
    scope: Scope,
    question: impl FnOnce(&dyn Recordings) -> Result<T, NoRecording> + Send + 'static,
) -> Result<T, Problem> {
    caller.ask(scope, |_| ()).await?;
    let recordings = Arc::clone(caller.recordings().ok_or_else(none)?);
    let place = caller.recording_place().ok_or(Busy)?;
    let asked = spawn_blocking(move || {
        let answer = question(&*recordings);
        drop(place);
        answer
    });
    asked.await.map_err(|_| Busy)?.map_err(failed_question)
}

/// Why a question has no answer.
pub(super) fn failed_question(why: NoRecording) -> Problem {
    match why {
        NoRecording::Unknown => unknown(),
        NoRecording::Active => Problem::new(StatusCode::CONFLICT, "recording-active", "The recording goes on"),
        NoRecording::TooMany => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-recordings",
            "There are too many to look through: ask for a shorter time",
        ),
        NoRecording::Disk(error) => failed(&error),
    }
}

fn none() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-recordings", "Nothing is recorded here")
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-recording", "Recording not found")
}

fn failed(error: &io::Error) -> Problem {
    if error.kind() == io::ErrorKind::NotFound {
        return unknown();
    }
    tracing::warn!(%error, "a recording cannot be read");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "recordings", "The disk failed")
}

/// What a `Range` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Nothing that is understood: it is as if it was not there (RFC 9110, section 14.2).
    Nothing,
    /// From the one byte to the other, inclusive.
    Part(u64, u64),
    /// What there is not.
    Beyond,
}

/// One range of bytes; several are answered with all.
fn part_of(range: &str, bytes: u64) -> Asks {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asks::Nothing;
    };
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u64>().ok())
    };
    let (first, last) = match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) => (first, last.unwrap_or(u64::MAX)),
        // The last so many bytes.
        (Some(None), Some(Some(count))) if first.is_empty() && count > 0 => (bytes.saturating_sub(count), u64::MAX),
        _ => return Asks::Nothing,
    };
    match first < bytes && first <= last {
        true => Asks::Part(first, last.min(bytes - 1)),
        false => Asks::Beyond,
    }
}

fn beyond(bytes: u64) -> Response {
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut response = Problem::new(status, "no-such-range", "The file has no such bytes").into_response();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{bytes}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

/// So many bytes, read as they are sent.
fn body(file: File, length: u64) -> Body {
    Body::from_stream(stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = spawn_blocking(move || {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(RECORDING_READ_BYTES);
            let mut piece = vec![0; wanted];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, io::Error>((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Ok(Some((Bytes::from(piece), (file, left))))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        for (range, asks) in [
            ("bytes=0-", Asks::Part(0, 99)),
            ("bytes=0-9", Asks::Part(0, 9)),
            ("bytes=90-200", Asks::Part(90, 99)),
            ("bytes=-10", Asks::Part(90, 99)),
            ("bytes=-1000", Asks::Part(0, 99)),
            ("bytes=100-", Asks::Beyond),
            ("bytes=9-8", Asks::Beyond),
            ("bytes=-0", Asks::Nothing),
            ("bytes=-", Asks::Nothing),
            ("bytes=0-1,3-4", Asks::Nothing),
            ("bytes=a-b", Asks::Nothing),
            ("lines=0-1", Asks::Nothing),
            ("", Asks::Nothing),
        ] {
            assert_eq!(part_of(range, 100), asks, "{range}");
        }
        assert_eq!(part_of("bytes=0-", 0), Asks::Beyond);
    }
}
