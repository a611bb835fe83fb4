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

/// What the next test kills: a switch in a process of its own, which says where it is and then waits for its end.
#[tokio::test]
#[ignore = "started by the next test"]
async fn process_that_is_killed() {
    let Some(path) = std::env::var_os("RECORDS_OF_CHILD") else {
        return;
    };
    let settings = Settings {
        records: Some(RecordSettings::below(PathBuf::from(&path))),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let told = PathBuf::from(path).join("address");
    std::fs::write(told.with_extension("part"), switch.address.to_string()).unwrap();
    std::fs::rename(told.with_extension("part"), told).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_was_told_is_there_after_kill_9() {
    let directory = Directory::new("killed");
    std::fs::create_dir_all(&directory.0).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stored::process_that_is_killed", "--ignored"])
        .env("RECORDS_OF_CHILD", &directory.0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let told = directory.0.join("address");
    while !told.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let address = std::fs::read_to_string(told).unwrap().parse().unwrap();
    let switch = Switch::elsewhere(address);
    let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
    for _ in 0..5 {
        call(&mut alice, &mut bob).await;
    }
    let mut told = 0;
    while told < 5 {
        told = switch.get("/api/cdr").await.json()["count"].as_u64().unwrap();
    }
    // Another ends in this moment: it may be there or not, but nothing is spoilt.
    connect(&mut alice, &mut bob, "5002").await;
    alice.send("hangup", json!({ "callId": "call-1" })).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let switch = Switch::start(directory.settings()).await;
    assert!(switch.get("/api/cdr").await.json()["count"].as_u64().unwrap() >= 5);
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
    switch.handle().stop();
    switch.handle().ended().await;
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
