//! What was recorded, by REST: whoever asks for it, and parts of files.
#![expect(
    clippy::disallowed_types,
    reason = "a test looks at what it was asked; no shard is near"
)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use moqswitch_signalling::calls::Number;
use moqswitch_signalling::{
    ApiKey, Mailboxes, NoRecording, RecordingFigures, RecordingFile, RecordingFilter, Recordings, Scope, Settings,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::Switch;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one shelf, and all who come to it")]
async fn recordings_are_found_heard_and_removed_by_whom_may() {
    let shelf = Arc::new(Shelf::new("rest"));
    let only = |scope: Scope| [scope].into_iter().collect();
    let switch = Switch::start(Settings {
        keys: vec![
            ApiKey::new("reader", "read", only(Scope::Read)),
            ApiKey::new("listener", "supervise", only(Scope::Supervise)),
            ApiKey::new("owner", "admin", only(Scope::Admin)),
        ],
        recordings: Some(Arc::clone(&shelf) as _),
        ..Switch::settings()
    })
    .await;
    let ask = async |method: &str, key: &str, path: &str, range: &str| {
        let key = format!("Bearer {key}");
        let headers = [("Authorization", key.as_str()), ("Range", range)];
        switch
            .http(method, &format!("/api/recordings{path}"), &headers, "")
            .await
    };
    let over = format!("/{}", Shelf::OVER);
    let query = format!("?since=5&until=9&dn=5001&call={}&limit=7", Shelf::OVER);
    let listed = ask("GET", "read", &query, "").await;
    assert_eq!(
        listed.json(),
        json!({ "recordings": [{ "id": Shelf::OVER }], "count": 1, "more": true })
    );
    let filter = shelf.asked.lock().unwrap().clone();
    assert_eq!(
        filter,
        RecordingFilter {
            since_ms: 5,
            until_ms: Some(9),
            dn: Some("5001".to_owned()),
            call: Shelf::OVER.parse().ok(),
            limit: 7,
        }
    );
    for wrong in ["?limit=x", "?call=x", "?since=-1"] {
        assert_eq!(ask("GET", "read", wrong, "").await.status, 400, "{wrong}");
    }
    assert_eq!(ask("GET", "read", &over, "").await.json()["id"], Shelf::OVER);

    // Who may read records may not hear what was said.
    let audio = format!("{over}/audio");
    assert_eq!(ask("GET", "read", &audio, "").await.status, 403);
    let whole = ask("GET", "supervise", &audio, "").await;
    assert_eq!((whole.status, whole.body.as_str()), (200, CONTENT));
    for line in [
        "content-type: audio/ogg",
        "accept-ranges: bytes",
        "content-length: 26",
        "cache-control: no-store",
        &format!("content-disposition: attachment; filename=\"{}.opus\"", Shelf::OVER),
    ] {
        assert!(whole.head.contains(line), "{line}: {}", whole.head);
    }
    for (range, status, body, told) in [
        ("bytes=2-4", 206, "cde", "content-range: bytes 2-4/26"),
        ("bytes=-3", 206, "xyz", "content-range: bytes 23-25/26"),
        ("bytes=24-", 206, "yz", "content-length: 2"),
        ("bytes=0-0,2-3", 200, CONTENT, "content-length: 26"),
    ] {
        let answer = ask("GET", "supervise", &audio, range).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{range}");
        assert!(answer.head.contains(told), "{range}: {}", answer.head);
    }
    let beyond = ask("GET", "supervise", &audio, "bytes=26-").await;
    assert_eq!(beyond.status, 416);
    assert!(beyond.head.contains("content-range: bytes */26"), "{}", beyond.head);

    for (key, path, status) in [
        ("supervise", &over, 403),
        ("admin", &format!("/{}", Shelf::ACTIVE), 409),
        ("admin", &over, 200),
        ("admin", &"/none".to_owned(), 404),
    ] {
        assert_eq!(ask("DELETE", key, path, "").await.status, status, "{key} {path}");
    }
    assert_eq!(*shelf.removed.lock().unwrap(), [Shelf::OVER]);
    let figures = switch.handle().figures().await.unwrap();
    assert_eq!(figures.recordings.unwrap().active, 3);
}

/// Two recordings: one that is over, and one that goes on.
#[derive(Debug)]
pub(crate) struct Shelf {
    place: PathBuf,
    asked: Mutex<RecordingFilter>,
    removed: Mutex<Vec<String>>,
    news: Arc<Notify>,
}

impl Shelf {
    pub(crate) const OVER: &str = "00000000000000000000000000000007";
    pub(crate) const MESSAGE: &str = "0000000000007-0001";
    pub(crate) const ACTIVE: &str = "00000000000000000000000000000008";

    pub(crate) fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("moqswitch-shelf-{name}-{}", std::process::id()));
        fs::write(&place, CONTENT).unwrap();
        Self {
            place,
            asked: Mutex::default(),
            removed: Mutex::default(),
            news: Arc::default(),
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.place);
    }
}

impl Recordings for Shelf {
    fn list(&self, filter: &RecordingFilter) -> Result<(Vec<Value>, bool), NoRecording> {
        *self.asked.lock().unwrap() = filter.clone();
        Ok((vec![json!({ "id": Self::OVER })], true))
    }

    fn describe(&self, id: &str) -> Result<Value, NoRecording> {
        match id {
            Self::OVER | Self::ACTIVE => Ok(json!({ "id": id })),
            _ => Err(NoRecording::Unknown),
        }
    }

    fn open(&self, id: &str, file: usize) -> Result<RecordingFile, NoRecording> {
        Recordings::describe(self, id)?;
        let end = ["opus", "wav"].get(file).ok_or(NoRecording::Unknown)?;
        Ok(RecordingFile {
            file: File::open(&self.place).map_err(NoRecording::Disk)?,
            name: format!("{id}.{end}"),
            bytes: 26,
        })
    }

    fn remove(&self, id: &str) -> Result<(), NoRecording> {
        Recordings::describe(self, id)?;
        if id == Self::ACTIVE {
            return Err(NoRecording::Active);
        }
        self.removed.lock().unwrap().push(id.to_owned());
        Ok(())
    }

    fn release(&self) {}

    fn figures(&self) -> RecordingFigures {
        RecordingFigures {
            active: 3,
            ..RecordingFigures::default()
        }
    }
}

const CONTENT: &str = "abcdefghijklmnopqrstuvwxyz";

/// A box with one message, of 5001.
impl Mailboxes for Shelf {
    fn list(&self, number: &Number) -> Result<Vec<Value>, NoRecording> {
        Ok(match number.as_str() {
            "5001" => vec![json!({ "id": Self::MESSAGE })],
            _ => Vec::new(),
        })
    }

    fn open(&self, number: &Number, id: &str) -> Result<RecordingFile, NoRecording> {
        if (number.as_str(), id) != ("5001", Self::MESSAGE) {
            return Err(NoRecording::Unknown);
        }
        Ok(RecordingFile {
            file: File::open(&self.place).map_err(NoRecording::Disk)?,
            name: format!("{id}.wav"),
            bytes: 26,
        })
    }

    fn remove(&self, number: &Number, id: &str) -> Result<(), NoRecording> {
        Mailboxes::open(self, number, id)?;
        self.removed.lock().unwrap().push(id.to_owned());
        self.news.notify_one();
        Ok(())
    }

    fn release(&self) {}

    fn waiting(&self, number: &Number) -> (u32, u32) {
        (u32::from(number.as_str() == "5001"), 0)
    }

    fn take_changed(&self) -> Vec<Number> {
        Number::new("5001").into_iter().collect()
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }
}

#[tokio::test]
async fn messages_of_a_box_are_found_heard_and_removed_by_whom_may_and_changes_are_told() {
    let shelf = Arc::new(Shelf::new("voicemail"));
    let only = |scope: Scope| [scope].into_iter().collect();
    let switch = Switch::start(Settings {
        keys: vec![
            ApiKey::new("reader", "read", only(Scope::Read)),
            ApiKey::new("listener", "supervise", only(Scope::Supervise)),
            ApiKey::new("owner", "admin", only(Scope::Admin)),
        ],
        mailboxes: Some(Arc::clone(&shelf) as _),
        ..Switch::settings()
    })
    .await;
    let ask = async |method: &str, key: &str, path: &str| {
        let authorization = format!("Bearer {key}");
        let headers = [("Authorization", authorization.as_str()), ("Range", "bytes=1-3")];
        switch
            .http(method, &format!("/api/voicemail{path}"), &headers, "")
            .await
    };
    let one = format!("/5001/{}", Shelf::MESSAGE);
    let sound = format!("{one}/audio");
    let listed = ask("GET", "read", "/5001").await.json();
    assert_eq!(
        listed,
        json!({ "dn": "5001", "new": 1, "old": 0, "messages": [{ "id": Shelf::MESSAGE }] })
    );
    assert_eq!(ask("GET", "read", "/5002").await.json()["messages"], json!([]));
    for (method, key, path, status) in [
        ("GET", "none", "/5001", 401),
        ("GET", "read", "/no%20number", 404),
        ("GET", "read", &sound, 403),
        ("GET", "supervise", &sound, 206),
        ("GET", "supervise", "/5002/7/audio", 404),
        ("DELETE", "supervise", &one, 403),
        ("DELETE", "admin", "/5002/7", 404),
        ("DELETE", "admin", &one, 200),
    ] {
        assert_eq!(ask(method, key, path).await.status, status, "{method} {key} {path}");
    }
    assert_eq!(*shelf.removed.lock().unwrap(), [Shelf::MESSAGE]);
}
