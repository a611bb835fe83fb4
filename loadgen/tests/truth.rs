//! What loadgen says of a relay that is known to be faulty.

#![allow(clippy::unwrap_used, reason = "a failure of a test is a panic")]

mod stub;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stub::{Done, Faults, Stub};

#[test]
fn a_delay_is_measured_and_loses_nothing() {
    let (report, _) = run(Faults {
        delay: Duration::from_millis(30),
        ..Faults::default()
    });
    let p50 = number(&report, "/one_way_ms/p50");
    // Above it is what a busy machine adds; below it nothing can be.
    assert!((30.0..50.0).contains(&p50), "{p50}");
    assert_adds_up(&report);
    assert_eq!(number(&report, "/frames_lost"), 0.0);
    assert!(
        number(&report, "/first_frame_ms/p50") >= 30.0,
        "set-up is not counted from the first frame"
    );
}

#[test]
fn every_dropped_and_every_damaged_frame_is_counted_for_what_it_is() {
    let (report, done) = run(Faults {
        drop_every: 100,
        corrupt_every: 1037,
        ..Faults::default()
    });
    assert!(done.dropped > 50 && done.corrupted >= 5, "{done:?}");
    assert_eq!(count(&report, "/frames_lost"), done.dropped);
    assert_eq!(count(&report, "/frames_corrupt"), done.corrupted);
    assert_eq!(count(&report, "/groups_lost"), done.dropped);
    assert_adds_up(&report);
    assert_eq!(report["verdict"], "fail");
}

#[test]
fn a_stall_shows_in_the_tail_although_the_schedule_was_kept() {
    let stall = Duration::from_millis(500);
    let (report, done) = run(Faults {
        stall: Some((Duration::from_secs(3), stall)),
        ..Faults::default()
    });
    // 25 frames in 500 of each listener waited, and counted from when they were to be sent.
    assert!(done.stalled > 400, "{done:?}");
    let (p50, max) = (number(&report, "/one_way_ms/p50"), number(&report, "/one_way_ms/max"));
    assert!(p50 < 50.0, "{p50}");
    assert!((480.0..800.0).contains(&max), "{max}");
    let p999 = number(&report, "/one_way_ms/p999");
    assert!(p999 > 450.0, "{p999}");
    assert!(
        number(&report, "/generator/lag_ms_p99") < 100.0,
        "{}",
        report["generator"]
    );
    let late = count(&report, "/frames_late");
    assert!(late > 0 && late <= done.stalled, "{late} of {done:?}");
    assert_eq!(count(&report, "/frames_lost"), 0);
    assert_adds_up(&report);
}

/// Ten seconds of ten calls: 10 000 frames to be heard.
fn run(faults: Faults) -> (Value, Done) {
    let stub = Stub::start(faults);
    let file = std::env::temp_dir().join(format!("moqswitch-truth-{}.json", stub.address.port()));
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "call",
            "--calls",
            "10",
            "--codec",
            "pcmu",
            "--no-pauses",
            "--no-catalog",
        ])
        .args(["--duration", "10s", "--warm-up", "0s", "--draft", "6"])
        .args(["--relay", &format!("moql://{}/", stub.address), "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let done = stub.stop();
    let text = String::from_utf8_lossy(&output.stdout);
    let report = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    std::fs::remove_file(&file).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(count(&report, "/calls_established"), 10, "{text}");
    assert!(count(&report, "/frames_expected") > 9000, "{text}");
    (report, done)
}

fn assert_adds_up(report: &Value) {
    let sum: u64 = ["delivered", "late", "lost", "skipped", "corrupt"]
        .iter()
        .map(|fate| count(report, &format!("/frames_{fate}")))
        .sum();
    assert_eq!(sum, count(report, "/frames_expected"));
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap()
}

fn count(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap()
}
