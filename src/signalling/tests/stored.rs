//! Records on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use moqswitch_signalling::{RecordSettings, Settings, StateSettings};
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
        Self::kept(&self.0)
    }

    fn kept(path: &Path) -> Settings {
        Settings {
            records: Some(RecordSettings::below(path)),
            state: Some(StateSettings {
                directory: path.join("state"),
                is_required: true,
            }),
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
    let mut settings = Directory::kept(&PathBuf::from(&path));
    // Nobody counts, and what is to be counted is waited for: the record is not written before the end.
    if std::env::var_os("COUNTERS_OF_CHILD").is_some() {
        settings.calls.counters_wait = Duration::from_secs(600);
    }
    let switch = Switch::start(settings).await;
    let told = PathBuf::from(path).join("address");
    std::fs::write(told.with_extension("part"), switch.address.to_string()).unwrap();
    std::fs::rename(told.with_extension("part"), told).unwrap();
    std::future::pending::<()>().await;
}

/// Such a process, which does not outlive the test.
struct Child(std::process::Child);

impl Child {
    async fn start(directory: &Directory, waits_for_counters: bool) -> (Self, Switch) {
        std::fs::create_dir_all(&directory.0).unwrap();
        let told = directory.0.join("address");
        let _ = std::fs::remove_file(&told);
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "stored::process_that_is_killed", "--ignored"])
            .env("RECORDS_OF_CHILD", &directory.0)
            .stdout(std::process::Stdio::null());
        if waits_for_counters {
            command.env("COUNTERS_OF_CHILD", "1");
        }
        let mut child = Self(command.spawn().unwrap());
        while !told.exists() {
            assert!(child.0.try_wait().unwrap().is_none(), "it has ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let address = std::fs::read_to_string(told).unwrap().parse().unwrap();
        (child, Switch::elsewhere(address))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn call_that_was_told_to_be_over_has_one_record_after_kill_9() {
    let directory = Directory::new("ended");
    let mut causes = Vec::new();
    for run in 0..20 {
        let (child, switch) = Child::start(&directory, true).await;
        let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
        causes.push(match run % 4 {
            0 => {
                let (alices, _) = connect(&mut alice, &mut bob, "5002").await;
                alice.send("hangup", json!({ "callId": alices })).await;
                alice.expect("callEnded").await["reason"].clone()
            }
            1 => {
                let (_, bobs) = connect(&mut alice, &mut bob, "5002").await;
                bob.send("hangup", json!({ "callId": bobs })).await;
                alice.expect("callEnded").await["reason"].clone()
            }
            2 => {
                alice.send("call", json!({ "to": "5002" })).await;
                let call = bob.expect("incomingCall").await["callId"].clone();
                bob.send("reject", json!({ "callId": call, "reason": "busy" })).await;
                alice.expect("callEnded").await["reason"].clone()
            }
            _ => {
                alice.send("call", json!({ "to": "5009" })).await;
                alice.expect("callEnded").await["reason"].clone()
            }
        });
        drop(child);
    }
    // The last of them left its record to this one.
    let switch = Switch::start(directory.settings()).await;
    while switch.get("/api/cdr?limit=100").await.json()["count"].as_u64() < Some(20) {
        switch.breathe().await;
    }
    let mut records = directory.records();
    records.sort_by_key(|record| record["startMs"].as_u64());
    let found: Vec<Value> = records.iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(found, causes, "each once, and as it was");
    assert_eq!(
        (&causes[0], &causes[2], &causes[3]),
        (&json!("normal_clearing"), &json!("busy"), &json!("unallocated"))
    );
    let parties = records[0]["parties"].as_array().unwrap();
    assert_eq!(
        (parties.len(), &parties[0]["sent"]),
        (2, &Value::Null),
        "what was not counted is not known"
    );
    // Nothing is left for the process after this one.
    switch.handle().stop();
    switch.handle().ended().await;
    let switch = Switch::start(directory.settings()).await;
    switch.handle().stop();
    switch.handle().ended().await;
    assert_eq!(directory.records().len(), 20);
}

#[tokio::test]
async fn what_was_told_is_there_after_kill_9() {
    let directory = Directory::new("killed");
    let (mut child, switch) = Child::start(&directory, false).await;
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
    child.0.kill().unwrap();
    child.0.wait().unwrap();
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
        tokio::time::sleep(Duration::from_millis(20)).await;
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
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    call(&mut alice, &mut bob).await;
    assert_eq!(
        switch.get("/api/cdr").await.json()["count"],
        0,
        "what is not stored is not told"
    );
    std::fs::create_dir_all(&directory.0).unwrap();
    while switch.get("/api/cdr").await.json()["count"] != 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(directory.records().len(), 2);
    assert_eq!(switch.get("/api/stats").await.json()["now"]["store"]["failing"], false);
}
