//! A store of S3 in a few lines, as strict as a test needs it.

#![allow(clippy::disallowed_types, reason = "the store of a test is not a shard")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use moqswitch_recording::{Ear, Ears, LocalDisk, Recorder, RecorderView, Settings};
use moqswitch_signalling::calls::{CallId, LegId};
use ring::digest;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::*;

#[tokio::test]
async fn what_is_over_is_uploaded_as_soon_as_the_store_takes_it_and_stays() {
    let (store, config) = Store::start("calls/north").await;
    let home = Home::new("over");
    let (first, second) = (home.recording(1, "complete"), home.recording(2, "failed"));
    // Away for a while.
    store.lock().refusals = 2;
    let (_recorder, view) = home.recorder();
    let uploads = Uploads::start(&config, view.pending()).unwrap();
    wait("both are there", || {
        uploads.counts().uploaded.load(Ordering::Relaxed) == 2
    })
    .await;
    assert_eq!(uploads.counts().failures.load(Ordering::Relaxed), 2);
    {
        let store = store.lock();
        let names: Vec<&str> = store.objects.keys().map(String::as_str).collect();
        let name = |id: &str, kind: &str| format!("/calls/north/{DAY}/{id}.{kind}");
        let expected = [&first, &second]
            .map(|id| [name(id, "json"), name(id, "opus")])
            .concat();
        assert_eq!(names, expected);
        assert_eq!(store.objects[&expected[1]], ("audio/ogg".to_owned(), b"sound".to_vec()));
        assert_eq!(store.objects[&expected[0]].0, "application/json");
    }
    assert!(home.marks().is_empty());
    assert!(
        home.0.join(DAY).join(format!("{first}.opus")).exists(),
        "the file stays"
    );
    // What was away when the process ended is uploaded by the next.
    drop(uploads);
    home.recording(3, "interrupted");
    let uploads = Uploads::start(&config, view.pending()).unwrap();
    wait("the third is there", || {
        uploads.counts().uploaded.load(Ordering::Relaxed) == 1
    })
    .await;
    assert!(home.marks().is_empty());
}

#[tokio::test]
async fn a_store_that_is_away_holds_nobody_up_at_the_end() {
    let (store, config) = Store::start("calls").await;
    let home = Home::new("away");
    let id = home.recording(1, "complete");
    store.lock().refusals = u32::MAX;
    let (_recorder, view) = home.recorder();
    let uploads = Uploads::start(&config, view.pending()).unwrap();
    wait("it is tried", || uploads.counts().failures.load(Ordering::Relaxed) > 0).await;
    assert_eq!(uploads.counts().waiting.load(Ordering::Relaxed), 1);
    drop(uploads);
    assert_eq!(home.marks(), [format!("{DAY}.{id}")]);
}

#[tokio::test]
async fn a_long_file_goes_in_parts_and_half_of_one_is_taken_back() {
    let (store, config) = Store::start("calls").await;
    let home = Home::new("parts");
    let path = home.0.join("long.wav");
    let sound: Vec<u8> = (0..25).collect();
    fs::write(&path, &sound).unwrap();
    let bucket = Bucket::new(&config).unwrap().with_parts(10);
    bucket.put("day/long.wav", &path).await.unwrap();
    assert_eq!(
        store.lock().objects["/calls/day/long.wav"],
        ("audio/wav".to_owned(), sound)
    );
    store.lock().refused_part = Some(2);
    assert!(bucket.put("day/other.wav", &path).await.is_err());
    let store = store.lock();
    assert_eq!((store.parts.len(), store.aborted, store.objects.len()), (0, 1, 1));
}

#[tokio::test]
async fn who_has_another_key_is_refused_and_no_key_is_no_start() {
    let (store, config) = Store::start("calls").await;
    let home = Home::new("key");
    let path = home.0.join("short.wav");
    fs::write(&path, "short").unwrap();
    store.lock().key = "ANOTHER".to_owned();
    let error = Bucket::new(&config).unwrap().put("short.wav", &path).await.unwrap_err();
    assert!(!format!("{error:#}").contains(SECRET), "{error:#}");
    let without = UploadConfig {
        credentials: Some(home.0.join("nothing")),
        ..config
    };
    assert!(Bucket::new(&without).is_err());
}

/// What the store has.
#[derive(Default)]
struct Kept {
    key: String,
    /// By path: of what type, and what.
    objects: BTreeMap<String, (String, Vec<u8>)>,
    /// Of what is not complete.
    parts: BTreeMap<u32, Vec<u8>>,
    kind: String,
    aborted: u32,
    /// So many requests are refused.
    refusals: u32,
    refused_part: Option<u32>,
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<Kept>>);

impl Store {
    /// With its address as a configuration has it.
    async fn start(bucket: &str) -> (Self, UploadConfig) {
        let store = Self::default();
        KEY.clone_into(&mut store.lock().key);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let credentials = std::env::temp_dir().join(format!("moqswitch-upload-{}", address.port()));
        fs::write(&credentials, format!("{KEY}\n{SECRET}\n")).unwrap();
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let config = UploadConfig {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(format!("http://{address}").parse().unwrap()),
            credentials: Some(credentials),
            ca: None,
        };
        (store, config)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(State(store): State<Store>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
    let mut kept = store.lock();
    let has_key = header(&parts.headers, "authorization").contains(&format!("Credential={}/", kept.key));
    // Each request is signed, with what it has.
    let hash: String = digest::digest(&digest::SHA256, &body)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if !has_key || header(&parts.headers, "x-amz-content-sha256") != hash {
        return StatusCode::FORBIDDEN.into_response();
    }
    if kept.refusals > 0 {
        kept.refusals -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let kind = header(&parts.headers, "content-type");
    let tag = [("ETag", "\"tag\"")];
    match (parts.method, query.contains("uploadId="), query.contains("uploads")) {
        (Method::POST, false, true) => {
            kept.kind = kind;
            "<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>".into_response()
        }
        (Method::PUT, true, _) => {
            let number = query.split('&').find_map(|pair| pair.strip_prefix("partNumber="));
            let number: u32 = number.unwrap().parse().unwrap();
            if kept.refused_part == Some(number) {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            kept.parts.insert(number, body);
            tag.into_response()
        }
        (Method::POST, true, _) => {
            let whole = std::mem::take(&mut kept.parts).into_values().flatten().collect();
            let kind = kept.kind.clone();
            kept.objects.insert(path, (kind, whole));
            "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>".into_response()
        }
        (Method::DELETE, true, _) => {
            kept.parts.clear();
            kept.aborted += 1;
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::PUT, false, _) => {
            kept.objects.insert(path, (kind, body));
            tag.into_response()
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// A directory of recordings.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moqswitch-uploads-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join(DAY)).unwrap();
        fs::create_dir_all(path.join("uploads")).unwrap();
        Self(path)
    }

    /// One with a file, which is to be uploaded.
    fn recording(&self, call: u128, state: &str) -> String {
        let id = CallId(call).to_string();
        fs::write(self.0.join(DAY).join(format!("{id}.opus")), "sound").unwrap();
        self.write(&id, state);
        fs::write(self.0.join("uploads").join(format!("{DAY}.{id}")), "").unwrap();
        id
    }

    fn write(&self, id: &str, state: &str) {
        let sidecar = serde_json::json!({ "id": id, "state": state, "files": [{ "name": format!("{id}.opus") }] });
        let path = self.0.join(DAY).join(format!("{id}.json"));
        fs::write(path, sidecar.to_string()).unwrap();
    }

    fn marks(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("uploads")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn recorder(&self) -> (Recorder, RecorderView) {
        Recorder::start(Settings::below(&self.0), LocalDisk, |_| Deaf).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Deaf;

impl Ears for Deaf {
    fn listen(&mut self, _: CallId, _: u64, _: LegId, _: Option<moqswitch_audio::Codec>) -> Option<Ear> {
        None
    }
}

async fn wait(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

const DAY: &str = "2026-11-30";
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI";
