//! Calls through a relay that is disturbed: everybody comes back, and how long they heard nothing is said.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::process::Command;
use std::thread;

use moqswitch_relay::{Relay, RelayOptions, ResetKey};
use serde_json::Value;

#[test]
fn everybody_comes_back_and_the_gap_is_said() {
    // Where the relay is to be is known before it is there.
    let free: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = std::env::current_exe().unwrap();
    let command = format!(
        "env {RELAY}={free} {} --ignored --exact survive::relay_of_another_test",
        program.display()
    );
    let file = std::env::temp_dir().join(format!("loadgen-survive-{}.json", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "survive",
            "--only",
            "nothing,kill,rebind",
            "--calls",
            "2",
            "--duration",
            "10s",
        ])
        .args(["--relay", &format!("moql://{free}/"), "--command", &command, "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    // A busy machine may make the generator late (3), which changes nothing of who came back.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{text}{errors}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    std::fs::remove_file(file).unwrap();
    let outcomes = report["outcomes"].as_array().unwrap();
    let names: Vec<&str> = outcomes
        .iter()
        .map(|one| one["disturbance"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["nothing", "kill -9 and restart", "new port each second"]);
    let count = |at: usize, key: &str| outcomes[at][key].as_u64().unwrap();
    for (at, lost) in [(0, 0), (1, 4), (2, 0)] {
        assert_eq!(outcomes[at]["is_back"], true, "{report}");
        assert_eq!(
            (count(at, "connections_lost"), count(at, "reconnects")),
            (lost, lost),
            "{report}"
        );
        let gap = outcomes[at]["gap_ms"]["max"].as_f64().unwrap();
        // At the end of the run it is over.
        assert!(gap > 0.0 && gap < 5000.0, "{report}");
    }
    assert!(text.contains("kill -9 and restart") && text.contains("p99"), "{text}");
}

#[test]
fn what_cannot_be_tried_is_said() {
    let relay = start("127.0.0.1:0".parse().unwrap());
    let url = format!("moql://{}/", relay.address());
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["survive", "--only", "drain,family", "--relay", &url])
        .output()
        .unwrap();
    relay.drain(std::time::Duration::ZERO);
    relay.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for reason in ["to be started by --command", "not at ::1 and 127.0.0.1 both"] {
        assert!(text.contains(&format!("not tried: the relay is {reason}")), "{text}");
    }
}

/// A process that can be killed. With the key of the one before, clients learn of its death at once.
#[test]
#[ignore = "the relay of another test"]
fn relay_of_another_test() {
    let listen = std::env::var(RELAY).expect("another test says where").parse().unwrap();
    let _relay = start(listen);
    loop {
        thread::park();
    }
}

fn start(listen: SocketAddr) -> moqswitch_relay::RelayHandle {
    Relay::start(RelayOptions {
        listen,
        shards: NonZeroUsize::new(1),
        reset_key: Some(ResetKey::new([7; ResetKey::BYTES])),
        ..RelayOptions::default()
    })
    .unwrap()
}

const RELAY: &str = "LOADGEN_TEST_RELAY";
