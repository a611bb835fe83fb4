//! Telephones that register, call each other, hold, press keys and hang up at a switch: what is counted adds up, and what
//! the switch or the generator fails to do is said. On a busy machine the generator may be late (exit status 3), which
//! changes nothing of what is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use moqswitch::config::{CallsConfig, Config};
use moqswitch::switch::{Surroundings, Switch};

use crate::finished::Finished;

#[test]
fn phones_talk_hold_press_keys_and_hang_up_and_the_books_balance() {
    let run = Run::start("talk", &["run", "scenario.toml"]).finish();
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    // Four at once, two phones each, and those that are spare.
    assert_eq!(run.phones("registered"), 16, "{}", run.text);
    let established = run.count("calls_established");
    assert!(established >= 3, "{}", run.text);
    for key in ["calls_failed", "connections_lost", "subscriptions_lost", "violations"] {
        assert_eq!(run.count(key), 0, "{key}: {}", run.text);
    }
    assert_eq!(
        run.count("calls_attempted"),
        established + run.count("calls_cut_off"),
        "{}",
        run.text
    );
    assert_eq!(run.count("calls_ended"), established, "{}", run.text);
    for key in [
        "refused",
        "calls_dropped",
        "ends_untold",
        "sockets_lost",
        "holds_failed",
        "digits_lost",
    ] {
        assert_eq!(run.phones(key), 0, "{key}: {}", run.text);
    }
    assert!(run.phones("digits_sent") > 3, "{}", run.text);
    assert_eq!(run.phones("digits_sent"), run.phones("digits_heard"), "{}", run.text);
    assert!(
        run.phones("holds") >= 2 && !run.report["hold_ms"].is_null(),
        "{}",
        run.text
    );
    assert_eq!(run.phones("held_bytes"), 0, "a held leg costs nothing: {}", run.text);
    for key in [
        "register_ms",
        "ringing_ms",
        "accepted_ms",
        "heard_ms",
        "resume_ms",
        "digit_ms",
        "hang_up_ms",
        "setup_ms",
    ] {
        assert!(run.report[key]["p50"].as_f64().unwrap() > 0.0, "{key}: {}", run.text);
    }
    assert!(run.count("frames_expected") > 200, "{}", run.text);
    for fate in ["frames_lost", "frames_skipped", "frames_corrupt", "frames_stray"] {
        assert_eq!(run.count(fate), 0, "{fate}: {}", run.text);
    }
    // Who hears somebody again gets the newest frame first, which it may have had before it held.
    assert!(
        run.count("frames_duplicated") <= run.report["phones"]["holds"].as_u64().unwrap(),
        "{}",
        run.text
    );
    run.assert_adds_up();
}

#[test]
fn phones_reach_the_relay_by_webtransport_and_idle_ones_do_nothing() {
    let switch = Beside::start();
    let url = format!("https://{}/", switch.address);
    let flags = [
        "phone",
        "--calls",
        "1",
        "--idle",
        "20",
        "--duration",
        "4s",
        "--relay",
        &url,
    ];
    let run = Run::start("web", &flags).finish();
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    assert_eq!(run.phones("registered"), 30, "{}", run.text);
    assert_eq!(run.count("calls_established"), 1, "{}", run.text);
    assert!(run.count("frames_expected") > 100, "{}", run.text);
    run.assert_adds_up();
    // They have hung up and gone.
    let calls = switch.get("/api/calls");
    assert!(!calls.contains("70000000"), "{calls}");
}

#[test]
fn a_switch_that_dies_is_reported() {
    let mut switch = Beside::start();
    let url = format!("moql://{}/", switch.address);
    let flags = [
        "phone",
        "--calls",
        "2",
        "--idle",
        "3",
        "--duration",
        "6s",
        "--relay",
        &url,
    ];
    let run = Run::start("killed", &flags);
    // Until both calls are up.
    switch.until_calls_are_up(2);
    switch.process.0.kill().unwrap();
    let run = run.finish();
    assert!(matches!(run.status, Some(1 | 3)), "{}", run.text);
    // Two calls, with those that are spare, and three that do nothing.
    assert_eq!(run.phones("sockets_lost"), 15, "{}", run.text);
    assert!(run.count("connections_lost") > 15, "lines as well: {}", run.text);
    assert!(run.text.contains("signalling: "), "{}", run.text);
    run.assert_adds_up();
}

#[test]
fn where_no_phone_can_register_there_is_no_run() {
    let run = |flags: &[&str]| {
        let output = Command::new(LOADGEN).args(flags).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (status, text) = run(&["phone", "--ws", "ws://127.0.0.1:1/ws", "--relay", "moql://127.0.0.1:1/"]);
    assert!(
        status == Some(2) && text.contains("no switch answers at ws://127.0.0.1:1/ws"),
        "{text}"
    );
    let (status, text) = run(&["phone", "--ws", "wss://127.0.0.1:1/ws"]);
    assert!(status == Some(2) && text.contains("a proxy's matter"), "{text}");
    let (status, text) = run(&["call", "--idle", "3"]);
    assert!(status == Some(2) && text.contains("of telephones"), "{text}");
    // A relay without calls lets nobody register.
    let relay = moqswitch_relay::Relay::start(moqswitch_relay::RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(1),
        ..Default::default()
    })
    .unwrap();
    let (status, text) = run(&["phone", "--relay", &format!("moql://{}/", relay.address())]);
    assert!(status == Some(2) && text.contains("phone 7000000000"), "{text}");
    relay.drain(Duration::ZERO);
    relay.join().unwrap();
}

#[test]
fn a_generator_that_was_held_up_has_no_result() {
    let switch = Beside::start();
    let url = format!("moql://{}/", switch.address);
    let run = Run::start("late", &["phone", "--calls", "2", "--duration", "5s", "--relay", &url]);
    switch.until_calls_are_up(2);
    let process = run.process.0.id().to_string();
    let script = "for turn in 1 2 3 4; do kill -STOP $0; sleep 0.3; kill -CONT $0; sleep 0.3; done";
    assert!(
        Command::new("sh")
            .args(["-c", script, &process])
            .status()
            .unwrap()
            .success()
    );
    let run = run.finish();
    assert_eq!(run.status, Some(3), "{}", run.text);
    assert_eq!(run.report["verdict"], "invalid", "{}", run.text);
    run.assert_adds_up();
}

#[test]
fn a_capacity_of_phones_is_found() {
    let objective =
        "thresholds = ['calls_failed == 0']\nrepeats = 1\ncalls_min = 2\ncalls_max = 2\nramp = '1s'\nmeasure = '2s'\n";
    let flags = [
        "capacity",
        "--scenario",
        "busy-hour-phone",
        "--idle",
        "2",
        "--slo",
        "scenario.toml",
    ];
    let run = Run::start_with("capacity", &flags, objective).finish();
    // All that there is room for in the objective: a lower bound. Or the machine was too busy.
    assert!(matches!(run.status, Some(1 | 3)), "{}", run.text);
    let trials = run.report["trials"].as_array().unwrap();
    assert!(
        !trials.is_empty() && trials.iter().all(|trial| trial["calls"] == 2),
        "{}",
        run.text
    );
    assert!(run.text.contains("calls of telephones"), "{}", run.text);
}

/// A process with a switch, which can be killed.
#[test]
#[ignore = "the switch of other tests"]
fn switch_of_another_test() {
    let listen: SocketAddr = std::env::var(SWITCH).expect("another test says where").parse().unwrap();
    let config = Config {
        listen,
        http: listen,
        admin: None,
        shards: NonZeroUsize::new(1),
        calls: Some(CallsConfig::default()),
        state_directory: Some(PathBuf::new()),
        ..Config::default()
    };
    let surroundings = Surroundings {
        is_hosted: true,
        ..Surroundings::default()
    };
    let _switch = Switch::start(&config, surroundings).unwrap();
    loop {
        thread::park();
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn wait() {
    thread::sleep(Duration::from_millis(20));
}

/// A switch in a process of its own.
struct Beside {
    process: Process,
    address: SocketAddr,
}

impl Beside {
    fn start() -> Self {
        // Where it is to be is known before it is there; one number for UDP and TCP.
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "phone::switch_of_another_test"])
            .env(SWITCH, address.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let switch = Self {
            process: Process(process),
            address,
        };
        while TcpStream::connect(address).is_err() {
            wait();
        }
        switch
    }

    fn until_calls_are_up(&self, calls: usize) {
        // Of each the call itself, and two legs.
        while self.get("/api/calls").matches("\"state\":\"up\"").count() < 3 * calls {
            wait();
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

/// A run of the program, in a directory of its own.
struct Run {
    process: Process,
    directory: PathBuf,
}

impl Run {
    fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_with(name, arguments, SCENARIO)
    }

    fn start_with(name: &str, arguments: &[&str], file: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("loadgen-phone-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("scenario.toml"), file).unwrap();
        let output = std::fs::File::create(directory.join("text")).unwrap();
        let process = Command::new(LOADGEN)
            .current_dir(&directory)
            .args(arguments)
            .args(["--json", "run.json"])
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .spawn()
            .unwrap();
        Self {
            process: Process(process),
            directory,
        }
    }

    fn finish(mut self) -> Finished {
        let status = self.process.0.wait().unwrap().code();
        let text = std::fs::read_to_string(self.directory.join("text")).unwrap();
        Finished::read(status, text, &self.directory.join("run.json"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Does not outlive a test that fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");
const SWITCH: &str = "LOADGEN_TEST_SWITCH";

/// Short calls, in which something happens all the time.
const SCENARIO: &str = "
duration = '6s'
warm_up = '0s'
arrivals = { pattern = 'constant', rate = 2.0 }
hold = { distribution = 'fixed', time = '2s' }
shape = { kind = 'two-party' }
audio = { media = { codec = 'pcmu' } }

[limits]
concurrent = 4

[phone]
answer = { distribution = 'exponential', mean = '200ms' }
hold_every = '500ms'
hold_for = '300ms'
key_every = '300ms'
";
