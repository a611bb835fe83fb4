//! Real media through a relay, compared byte for byte at the other end.

use std::process::Command;

use crate::stub::{Faults, Stub};
use serde_json::Value;

#[test]
fn media_of_files_arrives_as_it_is() {
    for (files, frames) in [
        (vec!["tests/media/tone.opus", "tests/media/vp8.ivf"], 1000),
        (vec!["tests/media/tone.wav", "tests/media/avc.h264"], 1000),
        (vec!["tests/media/av1.ivf"], 350),
    ] {
        // In-process relay: groups of many frames, cut through.
        let report = replay(&files, &[]);
        assert!(count(&report, "frames_expected") > frames, "{files:?}: {report}");
        for fate in ["lost", "corrupt", "skipped", "stray", "duplicated"] {
            assert_eq!(count(&report, &format!("frames_{fate}")), 0, "{files:?}: {report}");
        }
        assert_eq!(report["mos"].is_null(), files.len() == 1, "only speech is rated");
    }
}

#[test]
fn a_changed_byte_of_a_replay_is_noticed() {
    let stub = Stub::start(Faults {
        corrupt_every: 50,
        ..Faults::default()
    });
    let url = format!("moql://{}/", stub.address);
    let report = replay(&["tests/media/tone.opus"], &["--relay", &url]);
    let done = stub.stop();
    assert!(done.corrupted > 5, "{done:?}");
    assert_eq!(count(&report, "frames_corrupt"), done.corrupted);
    assert_eq!(count(&report, "frames_lost"), 0);
}

fn replay(files: &[&str], flags: &[&str]) -> Value {
    let name = format!(
        "moqswitch-replay-{}-{:?}.json",
        std::process::id(),
        std::thread::current().id()
    );
    let file = std::env::temp_dir().join(name.replace(['(', ')'], ""));
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("replay")
        .args(files)
        .args([
            "--video-rate",
            "25",
            "--calls",
            "2",
            "--duration",
            "6s",
            "--warm-up",
            "0s",
            "--json",
        ])
        .arg(&file)
        .args(flags)
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap()
}
