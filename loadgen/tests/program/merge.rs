//! Several processes that share a load find together what one finds.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use moqswitch_relay::{Relay, RelayOptions};
use serde_json::Value;

#[test]
fn two_processes_find_what_one_finds() {
    let relay = Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(1),
        ..RelayOptions::default()
    })
    .unwrap();
    let directory = Directory::new();
    let url = format!("moql://{}/", relay.address());

    finish(start(&url, &directory.0, "one", None));
    let parts = [
        start(&url, &directory.0, "first", Some("1/2")),
        start(&url, &directory.0, "second", Some("2/2")),
    ];
    parts.into_iter().for_each(finish);
    relay.drain(Duration::from_secs(1));
    relay.join().unwrap();

    let one = read(&directory.0.join("one.json"));
    let (first, second) = (
        read(&directory.0.join("first.json")),
        read(&directory.0.join("second.json")),
    );
    let alone = merge(&directory.0, &["one"]);
    let merged = merge(&directory.0, &["first", "second"]);

    for key in COUNTS {
        assert_eq!(alone[key], one[key], "{key} of one recording");
        assert_eq!(count(&merged, key), count(&first, key) + count(&second, key), "{key}");
    }
    for key in ["one_way_ms", "jitter_ms", "setup_ms", "mos"] {
        assert_eq!(alone[key], one[key], "{key} of one recording");
    }
    let max = |report: &Value| report["one_way_ms"]["max"].as_f64().unwrap();
    assert!((max(&merged) - max(&first).max(max(&second))).abs() < f64::EPSILON);

    // The same calls were made: as many frames, but for what a connection took to be set up.
    assert_eq!(
        (count(&merged, "calls_established"), count(&one, "calls_established")),
        (CALLS, CALLS)
    );
    assert_eq!(count(&merged, "frames_lost"), 0);
    let (together, expected) = (count(&merged, "frames_expected"), count(&one, "frames_expected"));
    assert!(expected > 2000, "{expected}");
    assert!(
        together.abs_diff(expected) <= expected / 50,
        "{together} and {expected}"
    );
}

#[test]
fn recordings_of_different_loads_are_not_added_up() {
    let directory = Directory::new();
    let write = |name: &str, scenario: &str, part: u64, shards: u64| {
        let text = format!(
            "{{\"loadgen\":\"0\",\"relay\":\"r\",\"workload\":\"w\",\"scenario\":{scenario},\"codecs\":[],\
             \"epoch_ns\":0,\"interval_ns\":1000000000,\"measured\":[0,1],\"part\":[{part},2],\"shards\":{shards}}}\n\
             {{\"ended\":[0,1]}}\n"
        );
        std::fs::write(directory.0.join(name), text).unwrap();
    };
    let merge = || {
        Command::new(LOADGEN)
            .current_dir(&directory.0)
            .args(["merge", "a.jsonl", "b.jsonl"])
            .output()
            .unwrap()
    };
    write("a.jsonl", "{\"seed\":1}", 1, 1);
    for (scenario, shards) in [
        ("{\"seed\":2}", 1),
        ("{\"seed\":1,\"catalog\":false}", 1),
        ("{\"seed\":1}", 2),
    ] {
        write("b.jsonl", scenario, 2, shards);
        let output = merge();
        assert_eq!(output.status.code(), Some(2), "{scenario} {shards}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("b.jsonl is of another load than a.jsonl"), "{error}");
    }
    write("b.jsonl", "{\"seed\":1}", 2, 1);
    // They are added up, and nothing that was to be heard is in them.
    assert_eq!(merge().status.code(), Some(1));
}

fn start(url: &str, directory: &Path, name: &str, part: Option<&str>) -> Child {
    let mut command = Command::new(LOADGEN);
    command
        .current_dir(directory)
        .args(["call", "--calls", "6", "--codec", "pcmu", "--no-pauses", "--seed", "7"])
        .args(["--duration", "5s", "--warm-up", "1s", "--relay", url])
        .args(["--json", &format!("{name}.json"), "--jsonl", &format!("{name}.jsonl")])
        .stdout(Stdio::null());
    if let Some(part) = part {
        command.args(["--part", part]);
    }
    command.spawn().unwrap()
}

/// A busy machine may make it late (3), which is nothing to do with adding up.
fn finish(mut process: Child) {
    let status = process.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
}

fn merge(directory: &Path, names: &[&str]) -> Value {
    let files: Vec<PathBuf> = names
        .iter()
        .map(|name| directory.join(format!("{name}.jsonl")))
        .collect();
    let summary = directory.join("merged.json");
    let output = Command::new(LOADGEN)
        .arg("merge")
        .args(files)
        .arg("--json")
        .arg(&summary)
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    read(&summary)
}

fn read(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap()
}

/// Gone at the end of the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let name = format!(
            "moqswitch-merge-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let directory = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        std::fs::create_dir_all(&directory).unwrap();
        Directory(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");
const CALLS: u64 = 6;

const COUNTS: [&str; 10] = [
    "calls_attempted",
    "calls_established",
    "frames_sent",
    "frames_offered",
    "frames_not_owed",
    "frames_expected",
    "frames_delivered",
    "frames_late",
    "frames_lost",
    "bytes_delivered",
];
