//! Calls whose participants are at different relays, which have a link: everything is counted as at one.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use moqswitch::config::{Config, MeshConfig};
use moqswitch::switch::{Surroundings, Switch};
use moqswitch_relay::auth::Patterns;
use serde_json::Value;

#[test]
fn who_calls_is_at_one_relay_and_who_is_called_at_another() {
    let first = switch(None);
    let second = switch(Some(first.address()));
    let relays = [first.address(), second.address()].map(|address| format!("moql://{address}/"));
    let report = std::env::temp_dir().join(format!("loadgen-relays-{}.json", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "call",
            "--calls",
            "3",
            "--duration",
            "6s",
            "--warm-up",
            "0s",
            "--no-pauses",
        ])
        .args(["--relay", &relays[0], "--relay", &relays[1], "--json"])
        .arg(&report)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{text}");
    let run: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let _ = std::fs::remove_file(&report);
    let count = |key: &str| run[key].as_u64().unwrap_or_else(|| panic!("no {key}: {text}"));
    assert_eq!((count("calls_established"), count("calls_failed")), (3, 0), "{text}");
    assert!(count("frames_expected") > 200, "{text}");
    assert_eq!((count("frames_lost"), count("frames_corrupt")), (0, 0), "{text}");
    assert_eq!(
        count("frames_offered"),
        count("frames_expected") + count("frames_not_owed"),
        "{text}"
    );
    assert_eq!(run["relay"], relays.join(" "), "{text}");
    first.stop().unwrap();
    second.stop().unwrap();
}

#[test]
fn several_relays_are_refused_where_one_is_loaded() {
    let refused = |arguments: &[&str], why: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(why), "{text}");
    };
    let (one, other) = ("moql://127.0.0.1:1/", "https://127.0.0.1:2/");
    refused(
        &["call", "--relay", one, "--relay", other],
        "all moql:// or all https://",
    );
    refused(
        &["survive", "--relay", one, "--relay", one],
        "the one that is disturbed",
    );
    refused(
        &["phone", "--relay", one, "--relay", one, "--ws", "ws://127.0.0.1:1/ws"],
        "as many, in the same order",
    );
}

/// One that links to another.
fn switch(peer: Option<SocketAddr>) -> Switch {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config {
        listen: any,
        http: any,
        admin: None,
        shards: NonZeroUsize::new(1),
        calls: None,
        state_directory: Some(PathBuf::new()),
        mesh: MeshConfig {
            peers: peer
                .iter()
                .map(|peer| format!("moql://{peer}").parse().unwrap())
                .collect(),
            is_insecure: true,
            is_accepting: true,
            ..MeshConfig::default()
        },
        ..Config::default()
    };
    config.auth.public = Patterns::everything();
    let surroundings = Surroundings {
        is_hosted: true,
        ..Surroundings::default()
    };
    Switch::start(&config, surroundings).unwrap()
}
