//! Replays the fuzz corpora without a fuzzer, and keeps their seeds current.
//!
//! `MOQSWITCH_WRITE_CORPUS=1 cargo test --test corpus` writes the seeds anew; inputs a fuzzer
//! found live beside them.

use std::path::Path;
use std::{env, fs};

use moqswitch_asterisk::exercise as asterisk;
use moqswitch_proto::{ietf, qmux, session, wire};
use moqswitch_relay::{auth, quic};
use moqswitch_signalling::exercise;
use moqswitch_sip::exercise as sip;

#[test]
fn corpus_is_current_and_keeps_the_promises_of_the_codec() {
    let seeds = wire::corpus::seeds().into_iter().map(|seed| (seed.name, seed.bytes));
    check("wire_decode", seeds, wire::exercise::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_the_session() {
    let seeds = session::exercise::seeds();
    check("session_operations", seeds, session::exercise::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_moq_transport() {
    let seeds = ietf::exercise::seeds();
    check("ietf_operations", seeds, ietf::exercise::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_qmux() {
    let seeds = qmux::exercise::seeds();
    check("qmux_operations", seeds, qmux::exercise::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_http3() {
    let seeds = quic::exercise::seeds();
    check("http3_decode", seeds, quic::exercise::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_paths_and_packets() {
    check("paths", wire::normal_form::seeds(), wire::normal_form::exercise);
    check("quic_packets", quic::packets::seeds(), quic::packets::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_tokens_and_patterns() {
    let seeds = auth::exercise::seeds();
    check("auth", seeds, auth::exercise::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_signalling() {
    check("messages", exercise::seeds(), exercise::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_sip() {
    check("sip_message", sip::message::seeds(), sip::message::exercise);
    check("sip_agent", sip::agent::seeds(), sip::agent::exercise);
    check("sdp", sip::description::seeds(), sip::description::exercise);
}

#[test]
fn corpus_is_current_and_keeps_the_promises_of_asterisk() {
    check("asterisk", asterisk::seeds(), asterisk::exercise);
}

fn check<Outcome>(
    target: &str,
    seeds: impl IntoIterator<Item = (String, Vec<u8>)>,
    exercise: impl Fn(&[u8]) -> Result<Outcome, String>,
) {
    // Cargo runs tests in the root of their package.
    let directory = Path::new("tests/fuzz/corpus").join(target);
    let write = env::var_os("MOQSWITCH_WRITE_CORPUS").is_some();
    for (name, bytes) in seeds {
        let path = directory.join(&name);
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
    for entry in fs::read_dir(directory).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable entry").path();
        let input = fs::read(&path).expect("a readable file");
        if let Err(broken) = exercise(&input) {
            panic!("{}: {broken}", path.display());
        }
    }
}
