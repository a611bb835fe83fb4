//! Where figures go: to readers that leave, to standard output, and into files that had something else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[test]
fn a_reader_that_leaves_is_no_failure_and_costs_no_figures() {
    let directory = Directory::new("leaves");
    let scenarios = cut_off(loadgen(&directory.0).arg("scenarios"));
    assert_eq!((scenarios.status.code(), said(&scenarios)), (Some(0), String::new()));

    let run = cut_off(loadgen(&directory.0).args(RUN).args(["--json", "run.json"]));
    assert_is_judged(&run);
    assert_eq!(said(&run), "");
    let figures: Value = serde_json::from_str(&read(&directory.0, "run.json")).unwrap();
    assert!(figures["frames_expected"].is_u64(), "{figures}");
}

#[test]
fn figures_go_to_standard_output_alone() {
    let directory = Directory::new("standard");
    let run = loadgen(&directory.0).args(RUN).args(["--json", "-"]).output().unwrap();
    assert_is_judged(&run);
    let figures: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert!(figures["verdict"].is_string(), "{figures}");
    // People are told beside it.
    assert!(said(&run).contains("verdict"), "{}", said(&run));
    assert!(files(&directory.0).is_empty(), "{:?}", files(&directory.0));
    let both = loadgen(&directory.0)
        .args(RUN)
        .args(["--json", "-", "--jsonl", "-"])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2), "{}", said(&both));
}

#[test]
fn an_old_file_stays_until_there_is_a_new_one() {
    let directory = Directory::new("old");
    for file in ["run.json", "run.jsonl"] {
        std::fs::write(directory.0.join(file), "old").unwrap();
    }
    // Nobody answers there.
    let arguments = [
        "--relay",
        "moql://127.0.0.1:1/",
        "--json",
        "run.json",
        "--jsonl",
        "run.jsonl",
    ];
    let failed = loadgen(&directory.0).args(RUN).args(arguments).output().unwrap();
    assert_ne!(failed.status.code(), Some(0));
    if failed.status.code() == Some(2) {
        assert_eq!(read(&directory.0, "run.json"), "old");
        assert_eq!(read(&directory.0, "run.jsonl"), "old");
    }
    let run = loadgen(&directory.0).args(RUN).args(&arguments[2..]).output().unwrap();
    assert_is_judged(&run);
    assert!(read(&directory.0, "run.json").starts_with('{'));
    assert!(read(&directory.0, "run.jsonl").lines().count() > 2);
    assert_eq!(files(&directory.0), ["run.json", "run.jsonl"]);
    let nowhere = loadgen(&directory.0)
        .args(RUN)
        .args(["--json", "nowhere/run.json"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(said(&nowhere).contains("nowhere/run.json"), "{}", said(&nowhere));
}

/// Runs with nobody at the other end of its standard output.
fn cut_off(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap()
}

/// It came to its end, whether or not a busy machine spoiled the figures.
fn assert_is_judged(run: &Output) {
    assert!(matches!(run.status.code(), Some(0 | 1 | 3)), "{run:?}");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn loadgen(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.current_dir(directory);
    command
}

fn read(directory: &Path, file: &str) -> String {
    std::fs::read_to_string(directory.join(file)).unwrap()
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-output-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Short, through a relay of its own.
const RUN: [&str; 5] = ["call", "--calls", "1", "--duration", "2s"];
