//! Replays the fuzz corpus without a fuzzer, and keeps its seeds current.
//!
//! `MOQSWITCH_WRITE_CORPUS=1 cargo test --test session_corpus` writes the seeds anew; inputs a
//! fuzzer found live beside them.

use std::{env, fs, path::PathBuf};

use moqswitch::session::exercise::{exercise, seeds};

#[test]
fn corpus_is_current_and_keeps_the_promises_of_the_session() {
    let write = env::var_os("MOQSWITCH_WRITE_CORPUS").is_some();
    for (name, bytes) in seeds() {
        let path = directory().join(&name);
        if write {
            fs::write(&path, &bytes).expect("a writable corpus");
        }
        let stored = fs::read(&path).unwrap_or_default();
        assert!(
            stored == bytes,
            "{} is stale: see the head of this file",
            path.display()
        );
    }
    for entry in fs::read_dir(directory()).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable entry").path();
        let input = fs::read(&path).expect("a readable file");
        if let Err(broken) = exercise(&input) {
            panic!("{}: {broken}", path.display());
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/session_operations")
}
