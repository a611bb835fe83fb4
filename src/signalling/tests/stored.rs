//! Records on disk.

use std::path::PathBuf;

use moqswitch_signalling::{RecordSettings, Settings};
use serde_json::{Value, json};

use crate::harness::{Phone, Switch};
use crate::main_path::connect;

/// Gone when the test is.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moqswitch-stored-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn settings(&self) -> Settings {
        Settings {
            records: Some(RecordSettings::below(&self.0)),
            ..Switch::settings()
        }
    }

    /// Every record in the files.
    fn records(&self) -> Vec<Value> {
        let entries = std::fs::read_dir(&self.0).unwrap().flatten().map(|entry| entry.path());
        let files = entries.filter(|path| path.extension().is_some_and(|end| end == "ndjson"));
        let texts: Vec<String> = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        texts
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn call(alice: &mut Phone, bob: &mut Phone) {
    let (alices, _) = connect(alice, bob, "5002").await;
    alice.send("hangup", json!({ "callId": alices })).await;
    alice.expect("callEnded").await;
    bob.expect("callEnded").await;
}

#[tokio::test]
async fn what_is_found_is_on_the_disk_and_found_after_a_restart() {
    let directory = Directory::new("restart");
    let switch = Switch::start(directory.settings()).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    call(&mut alice, &mut bob).await;
    while switch.get("/api/cdr").await.json()["count"] == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // As it would be found after `kill -9`: nothing was closed or flushed.
    assert_eq!(directory.records().len(), 1);
    // A call that is up when the switch stops has a record, too.
    connect(&mut alice, &mut bob, "5002").await;
    switch.handle.stop();
    switch.handle.ended().await;
    let records = directory.records();
    assert_eq!((records.len(), &records[1]["reason"]), (2, &json!("shutdown")));
    let switch = Switch::start(directory.settings()).await;
    let found = switch.get("/api/cdr").await.json();
    assert_eq!((&found["count"], &found["records"][0]), (&json!(2), &records[1]));
    assert_eq!(switch.get("/api/stats").await.json()["now"]["store"]["unreadable"], 0);
}

#[tokio::test]
async fn disk_that_takes_nothing_stops_no_call() {
    let directory = Directory::new("gone");
    let switch = Switch::start(directory.settings()).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    // No file can be made any more.
    std::fs::remove_dir_all(&directory.0).unwrap();
    call(&mut alice, &mut bob).await;
    while switch.get("/api/stats").await.json()["now"]["store"]["failing"] == false {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    call(&mut alice, &mut bob).await;
    assert_eq!(
        switch.get("/api/cdr").await.json()["count"],
        0,
        "what is not stored is not told"
    );
    std::fs::create_dir_all(&directory.0).unwrap();
    while switch.get("/api/cdr").await.json()["count"] != 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(directory.records().len(), 2);
    assert_eq!(switch.get("/api/stats").await.json()["now"]["store"]["failing"], false);
}
