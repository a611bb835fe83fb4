//! Telephones of SIP that register, call each other, talk by RTP, hold, press keys and hang up at a switch: what is counted
//! adds up. On a busy machine the generator may be late (exit status 3), which changes nothing of what is counted.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use moqswitch::config::{AuthConfig, CallsConfig, Config, SipConfig};
use moqswitch::switch::{Surroundings, Switch};

use crate::finished::Finished;

#[test]
fn telephones_talk_press_keys_and_hang_up_and_the_books_balance() {
    let run = Run::new("keys").with(&format!("{SCENARIO}key_every = '400ms'\n"));
    let run = run.finish(&["run", "scenario.toml"]);
    run.assert_all_is_well();
    assert!(run.phones("digits_sent") > 3, "{}", run.text);
    assert_eq!(run.phones("digits_sent"), run.phones("digits_heard"), "{}", run.text);
    assert_eq!(run.count("frames_duplicated"), 0, "{}", run.text);
    for key in ["register_ms", "connected_ms", "accepted_ms", "digit_ms", "hang_up_ms"] {
        assert!(run.has(key), "{key}: {}", run.text);
    }
    let workload = run.report["workload"].as_str().unwrap();
    assert!(workload.contains("by SIP (UDP), pcmu"), "{}", run.text);
}

#[test]
fn telephones_hold_and_go_on() {
    let run = Run::new("holds").with(&format!("{SCENARIO}hold_every = '700ms'\nhold_for = '300ms'\n"));
    let run = run.finish(&["run", "scenario.toml"]);
    run.assert_all_is_well();
    let holds = run.phones("holds");
    assert!(holds >= 2, "{}", run.text);
    // Who hears somebody again may get the newest frame first, which it had before it held.
    assert!(run.count("frames_duplicated") <= 2 * holds, "{}", run.text);
    for key in ["hold_ms", "resume_ms"] {
        assert!(run.has(key), "{key}: {}", run.text);
    }
}

#[test]
fn telephones_speak_by_tcp_and_a_law() {
    let scenario = SCENARIO.replace("udp", "tcp").replace("pcmu", "pcma");
    let run = Run::new("tcp").with(&scenario).finish(&["run", "scenario.toml"]);
    run.assert_all_is_well();
    let workload = run.report["workload"].as_str().unwrap();
    assert!(workload.contains("by SIP (TCP), pcma"), "{}", run.text);
}

#[test]
fn telephones_answer_what_they_are_asked_for() {
    let run = Run::new("digest");
    let (_switch, address) = closed_switch(&run.directory, 16);
    let address = address.to_string();
    let with = |flags: &'static [&'static str]| {
        let mut flags: Vec<&str> = flags.to_vec();
        flags.extend(["--relay-sip", address.as_str()]);
        flags
    };
    let calls = Run::new("digest-calls").finish(&with(&[
        "sip",
        "--calls",
        "1",
        "--duration",
        "4s",
        "--password",
        "right",
    ]));
    assert!(matches!(calls.status, Some(0 | 3)), "{}", calls.text);
    assert_eq!(
        (calls.phones("registered"), calls.count("calls_established")),
        (10, 1),
        "{}",
        calls.text
    );
    calls.assert_adds_up();
    let flags = &[
        "sip",
        "--register-only",
        "--closed",
        "--calls",
        "4",
        "--duration",
        "3s",
        "--password",
        "right",
    ];
    let registrations = run.finish(&with(flags));
    assert!(matches!(registrations.status, Some(0 | 3)), "{}", registrations.text);
    let sip = &registrations.report["sip"];
    let count = sip["registrations"].as_u64().unwrap();
    assert!(count > 20, "{}", registrations.text);
    assert_eq!(
        sip["registrations_challenged"].as_u64(),
        Some(count),
        "{}",
        registrations.text
    );
    assert_eq!(sip["registrations_failed"], 0, "{}", registrations.text);
    assert!(registrations.report["registrations_per_s"].as_f64().unwrap() > 10.0);
    assert!(registrations.report["register_ms"]["p99"].as_f64().unwrap() > 0.0);
    for flags in [
        &["sip", "--calls", "1", "--password", "wrong"][..],
        &["sip", "--calls", "1"],
    ] {
        let (status, text) = fail(&with(flags));
        assert!(
            status == Some(2) && text.contains("telephone 70000000") && text.contains("--password"),
            "{text}"
        );
    }
}

#[test]
fn calls_are_heard_by_moq_beside() {
    let run = Run::new("listeners").with(&SCENARIO.replace("'udp'", "'udp', listeners = 2"));
    let (switch, sip) = closed_switch(&run.directory, 24);
    let (sip, relay) = (sip.to_string(), format!("moql://{}/?jwt={TOKEN}", switch.address()));
    let flags = [
        "run",
        "scenario.toml",
        "--password",
        "right",
        "--relay-sip",
        &sip,
        "--relay",
        &relay,
    ];
    let finished = run.finish(&flags);
    finished.assert_all_is_well();
    assert!(finished.has("listened_ms"), "{}", finished.text);
    // The other telephone and two beside.
    let sent = finished.count("frames_sent");
    assert_eq!(finished.count("frames_offered"), 3 * sent, "{}", finished.text);
    assert!(finished.count("frames_delivered") > 2 * sent, "{}", finished.text);
    let (status, text) = fail(&["sip", "--moq-listeners", "1"]);
    assert!(status == Some(2) && text.contains("let in by a token"), "{text}");
}

#[test]
fn where_no_telephone_can_register_there_is_no_run() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    // It is there, and says nothing.
    let (status, text) = fail(&["sip", "--relay-sip", &address]);
    assert!(
        status == Some(2) && text.contains(&format!("no switch answers at {address} (UDP): no answer to REGISTER")),
        "{text}"
    );
    drop(nobody);
    for transport in ["udp", "tcp"] {
        let (status, text) = fail(&["sip", "--relay-sip", &address, "--transport", transport]);
        assert!(
            status == Some(2) && text.contains(&format!("no switch answers at {address}")),
            "{text}"
        );
    }
    for (flags, why) in [
        (&["sip", "--relay", "moql://127.0.0.1:1/"][..], "--relay-sip says where"),
        (&["call", "--relay-sip", "127.0.0.1:1"], "of telephones of SIP"),
        (&["sip", "--codec", "opus"], "pcmu or pcma"),
        (&["sip", "--impair", "loss=1%"], "no `impair`"),
        (&["sip", "--relay-sip", "here and there"], "no host:port"),
    ] {
        let (status, text) = fail(flags);
        assert!(status == Some(2) && text.contains(why), "{flags:?}: {text}");
    }
}

/// A switch in this process, in which each of so many telephones has the password `right`.
fn closed_switch(directory: &Path, telephones: u64) -> (Switch, SocketAddr) {
    std::fs::write(directory.join("secret"), "right\n").unwrap();
    let users: String = (0..telephones)
        .map(|number| format!("[users.\"{}\"]\npassword_file = \"secret\"\n", 7_000_000_000 + number))
        .collect();
    std::fs::write(directory.join("users.toml"), users).unwrap();
    std::fs::write(directory.join("key.jwk"), KEY).unwrap();
    let sip = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap();
    let calls = CallsConfig::default();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        http: "127.0.0.1:0".parse().unwrap(),
        admin: None,
        shards: NonZeroUsize::new(1),
        calls: Some(CallsConfig {
            users: Some(directory.join("users.toml")),
            sip: calls.sip.clone().map(|own| SipConfig {
                udp: Some(sip),
                tcp: Some(sip),
                ..own
            }),
            ..calls
        }),
        state_directory: Some(PathBuf::new()),
        auth: AuthConfig {
            key: Some(directory.join("key.jwk")),
            ..Config::default().auth
        },
        ..Config::default()
    };
    let surroundings = Surroundings {
        is_hosted: true,
        ..Surroundings::default()
    };
    (Switch::start(&config, surroundings).unwrap(), sip)
}

fn fail(flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(LOADGEN).args(flags).stdin(Stdio::null()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A run of the program, in a directory of its own.
struct Run {
    directory: PathBuf,
}

impl Run {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("loadgen-sip-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    fn with(self, scenario: &str) -> Self {
        std::fs::write(self.directory.join("scenario.toml"), scenario).unwrap();
        self
    }

    fn finish(&self, arguments: &[&str]) -> Finished {
        let output = Command::new(LOADGEN)
            .current_dir(&self.directory)
            .args(arguments)
            .args(["--json", "run.json"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Finished::read(output.status.code(), text, &self.directory.join("run.json"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Finished {
    fn has(&self, key: &str) -> bool {
        self.report[key]["p50"].as_f64().is_some_and(|p50| p50 > 0.0)
    }

    /// Calls came up and ended, and nothing of them was lost.
    fn assert_all_is_well(&self) {
        assert!(matches!(self.status, Some(0 | 3)), "{}", self.text);
        // Eight at once, two telephones each, and those that are spare.
        assert_eq!(self.phones("registered"), 24, "{}", self.text);
        let established = self.count("calls_established");
        assert!(established >= 3, "{}", self.text);
        let attempted = established + self.count("calls_cut_off");
        assert_eq!(self.count("calls_attempted"), attempted, "{}", self.text);
        assert_eq!(self.count("calls_ended"), established, "{}", self.text);
        for key in [
            "calls_failed",
            "connections_lost",
            "frames_lost",
            "frames_skipped",
            "frames_corrupt",
        ] {
            assert_eq!(self.count(key), 0, "{key}: {}", self.text);
        }
        for key in [
            "refused",
            "calls_dropped",
            "ends_untold",
            "sockets_lost",
            "holds_failed",
            "held_bytes",
            "digits_lost",
        ] {
            assert_eq!(self.phones(key), 0, "{key}: {}", self.text);
        }
        for key in ["ringing_ms", "heard_ms", "setup_ms", "one_way_ms"] {
            assert!(self.has(key), "{key}: {}", self.text);
        }
        assert!(self.count("frames_expected") > 200, "{}", self.text);
        // A packet may overtake the answer that says where it will come from.
        let foreign = self.report["sip"]["packets_foreign"].as_u64().unwrap();
        assert!(foreign <= established, "{}", self.text);
        assert_eq!(self.report["refused_by_status"], serde_json::json!({}), "{}", self.text);
        self.assert_adds_up();
    }
}

/// Made by `moqswitch token generate` and `sign`: who has the token may subscribe to all calls, for ever.
const KEY: &str = r#"{"alg":"HS256","k":"h6ugUPR6CRIKN9xSnRPDhVnaNcVwqjlOmKbSu6WZ1s8","key_ops":["sign","verify"],"kid":"test","kty":"oct"}"#;
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InRlc3QiLCJ0eXAiOiJKV1QifQ.eyJnZXQiOlsiY2FsbCJdfQ.\
                     B7dT2IIInRmsS_HNt3C9z1mXphJbIjHXd4tAXOnO9ek";

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// Short calls, in which something happens all the time.
const SCENARIO: &str = "
duration = '8s'
warm_up = '0s'
arrivals = { pattern = 'constant', rate = 2.0 }
hold = { distribution = 'fixed', time = '3s' }
shape = { kind = 'two-party' }
audio = { media = { codec = 'pcmu' } }
sip = { transport = 'udp' }

[limits]
concurrent = 8

[phone]
answer = { distribution = 'exponential', mean = '200ms' }
";
