//! What people do in calls, over which carrier and path, and what ends a run: short runs of the program. On a busy
//! machine the generator may be late (exit status 3), which changes nothing of what is counted; that it is not always
//! late has a test of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::Deserializer;
use moqswitch_relay::auth::{Grant, Patterns};
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
use serde_json::Value;

#[test]
fn a_small_load_of_a_scenario_is_a_result() {
    let attempts = 5;
    let run = || Run::of("valid", &[&["run", "two-party", "--calls", "2"][..], &SHORT].concat());
    // A busy machine may make it late, but not every time.
    let valid = (0..attempts).map(|_| run()).find(|run| run.status != Some(3));
    let run = valid.unwrap_or_else(|| panic!("late in all of {attempts} runs"));
    assert_eq!(run.status, Some(0), "{}", run.text);
    assert_eq!((run.text("verdict"), run.count("calls_established")), ("pass", 2));
    let generator = &run.report["generator"];
    assert!(generator["valid"].as_bool().unwrap() && generator["lag_ms_p99"].as_f64().unwrap() < 5.0);
    assert!(run.report["ended_early"] == false && run.text.ends_with("verdict    pass\n"));
}

#[test]
fn the_floor_goes_round_and_only_who_has_it_is_heard() {
    let people = ["push-to-talk", "--people", "4", "--turn", "500ms", "--calls", "1"];
    // Paths of two are told apart, to see who talks.
    let flags = ["--no-pauses", "--impair", "delay=1ms", "--impaired", "2"];
    let run = Run::of("floor", &[&people[..], &SHORT, &flags].concat());
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    // Three listeners, and a turn begins seven times in four seconds.
    let floors = run.values("floor_us");
    assert!((9..=24).contains(&floors), "{floors} times somebody else was heard");
    assert!(run.report["floor_ms"]["p50"].as_f64().unwrap() < 500.0);
    // 50 frames a second, whoever talks, and three who hear them.
    let (sent, expected) = (run.count("frames_sent"), run.count("frames_expected"));
    assert!((100..=210).contains(&sent), "{sent} frames sent");
    assert!(expected > sent * 2 && expected <= sent * 3, "{expected} of {sent}");
    // Half of the time one of the two on clear paths talks, and one of its three listeners is the other.
    let clear = run.count("clear_path_expected") * 100 / expected;
    assert!((10..=24).contains(&clear), "{clear} %");
    run.assert_nothing_lost();
}

#[test]
fn who_leaves_comes_back_and_is_heard_again() {
    let run = Run::of_scenario("leave", "behaviour = { leave_every = \"1s\", away = \"200ms\" }", &[]);
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    let gone = run.count("reconnects");
    // The first three, and everyone who came back before the end.
    let handshakes = run.values("handshake_us");
    assert!(
        gone >= 2 && handshakes > 3,
        "{gone} went, {handshakes} connections came up"
    );
    assert_eq!(run.count("connections_lost"), 0, "they hung up themselves");
    assert!(run.count("frames_expected") > 100);
    run.assert_nothing_lost();
}

#[test]
fn who_loses_its_connection_dials_again() {
    let run = Run::of_scenario("reconnect", "behaviour = { reconnect_every = \"1s\" }", &[]);
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    let (lost, handshakes) = (run.count("reconnects"), run.values("handshake_us"));
    assert!(
        lost >= 2 && handshakes > 3,
        "{lost} were lost, {handshakes} connections came up"
    );
    assert_eq!(run.count("connections_lost"), 0, "the relay ended none");
    assert!(run.count("frames_expected") > 100);
    run.assert_nothing_lost();
}

#[test]
fn who_is_muted_sends_nothing() {
    let run = Run::of_scenario("mute", "behaviour = { mute_every = \"300ms\" }", &[]);
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    // Three people, 50 frames a second, four seconds: 600, of which about half is not said.
    let sent = run.count("frames_sent");
    assert!((60..500).contains(&sent), "{sent}");
    assert_eq!(run.count("reconnects"), 0);
    run.assert_nothing_lost();
}

#[test]
fn keys_are_pressed_beside_the_talk() {
    let run = Run::of_scenario("dtmf", &format!("dtmf_rate = 20.0\n[audio]\n{FEW_FRAMES}"), &[]);
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    // Of three people in four seconds 12 frames, and 240 keys.
    let sent = run.count("frames_sent");
    assert!((150..=260).contains(&sent), "{sent}");
    assert!(run.count("frames_expected") > sent, "two hear each key");
    run.assert_nothing_lost();
}

#[test]
fn in_a_closed_loop_a_call_follows_another() {
    let flags = ["call", "--closed", "--calls", "2", "--hold", "300ms", "--rate", "0.1"];
    let run = Run::of("closed", &[&flags[..], &SHORT].concat());
    assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
    // By the schedule it were one call in ten seconds.
    let attempted = run.count("calls_attempted");
    assert!((4..200).contains(&attempted), "{attempted}");
    assert_eq!((run.count("calls_blocked"), run.count("calls_failed")), (0, 0));
    assert_eq!(
        run.count("calls_established") + run.count("calls_cut_off"),
        attempted,
        "each came to an end"
    );
    assert_eq!(run.count("calls_ended"), run.count("calls_established"));
    run.assert_nothing_lost();
}

#[test]
fn every_draft_and_carrier_is_spoken() {
    let relay = start_relay();
    let web = format!("https://{}/", relay.address());
    // Each other with a relay of its own: their calls have the same names.
    let runs: Vec<Started> = [("3", None), ("4", None), ("5", None), ("6", None), ("6", Some(&*web))]
        .iter()
        .map(|(draft, url)| {
            let flags = [
                "call",
                "--calls",
                "1",
                "--codec",
                "pcmu",
                "--no-pauses",
                "--draft",
                draft,
            ];
            let relay: Vec<&str> = url.iter().flat_map(|url| ["--relay", *url]).collect();
            let name = format!("draft-{draft}-{}", relay.len());
            Started::new(&name, &[&flags[..], &SHORT, &relay].concat())
        })
        .collect();
    for run in runs.into_iter().map(Started::finish) {
        assert!(matches!(run.status, Some(0 | 3)), "{}", run.text);
        assert_eq!(run.count("calls_established"), 1, "{}", run.text);
        // Two who talk for four seconds, but for the first moments.
        let expected = run.count("frames_expected");
        assert!((250..=410).contains(&expected), "{expected}: {}", run.text);
        run.assert_nothing_lost();
    }
    relay.drain(Duration::from_secs(1));
    relay.join().unwrap();
}

#[test]
fn impaired_paths_delay_and_lose_datagrams_on_their_way_to_and_from_the_socket() {
    let run = Run::of_scenario("impair", DATAGRAMS, &["--impair", BAD_PATH]);
    assert_bad_path(&run);
    assert_eq!(run.count("path_datagrams_dropped"), 0);
}

#[test]
fn a_link_delays_and_loses_datagrams_of_other_clients_and_says_how_many() {
    let relay = start_relay();
    let mut link = Process(
        Command::new(LOADGEN)
            .args(["link", "--listen", "127.0.0.1:0", "--impair", BAD_PATH])
            .args(["--to", &relay.address().to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut output = BufReader::new(link.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let listens = line.split(' ').nth(2).unwrap_or_else(|| panic!("{line}"));
    let url = format!("moql://{listens}/");
    let run = Run::of_scenario("link", DATAGRAMS, &["--relay", &url]);
    assert_bad_path(&run);

    shell(&link, "kill -TERM $0");
    let mut last = String::new();
    output.read_to_string(&mut last).unwrap();
    assert_eq!(link.0.wait().unwrap().code(), Some(0), "{last}");
    let counts: Vec<u64> = last.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [clients, datagrams, _, lost, dropped, overflowed, _] = counts[..] else {
        panic!("{last}");
    };
    assert_eq!((clients, dropped, overflowed), (1, 0, 0), "one core's clients: {last}");
    assert!(lost * 1000 > datagrams * 10 && lost * 1000 < datagrams * 35, "{last}");
    relay.drain(Duration::from_secs(1));
    relay.join().unwrap();
}

/// Calls that are not let through do not wait to their end without a word.
#[test]
fn what_a_relay_does_not_let_through_is_said() {
    let relay = Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(1),
        grant: Grant::of(Patterns::new(vec!["anon/**".parse().unwrap()])),
        ..RelayOptions::default()
    })
    .unwrap();
    let url = format!("moql://{}/", relay.address());
    let run = Run::of(
        "refused",
        &[&["call", "--calls", "2", "--relay", &url][..], &SHORT].concat(),
    );
    relay.drain(Duration::ZERO);
    relay.join().unwrap();
    assert_eq!(run.count("calls_established"), 0, "{}", run.text);
    let reasons = run.report["reasons"].to_string();
    assert!(reasons.contains("announcement was not passed on"), "{reasons}");
    assert!(run.text.contains("announcement was not passed on"), "{}", run.text);
}

/// Nobody ends the connections, and the run is over before they time out.
#[test]
fn a_path_that_dies_is_a_loss_of_connections_with_its_silence() {
    let relay = start_relay();
    let to = relay.address().to_string();
    let arguments = ["link", "--listen", "127.0.0.1:0", "--to", &to, "--impair", "delay=1ms"];
    let mut link = Command::new(LOADGEN)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(link.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    let mut link = Process(link);
    let address = ready.split_whitespace().nth(2).unwrap().to_owned();
    let url = format!("moql://{address}/");
    let run = std::thread::spawn(move || {
        let flags = ["--duration", "9s", "--warm-up", "0s", "--no-pauses"];
        Run::of(
            "dead",
            &[&["call", "--calls", "2", "--relay", &url][..], &flags].concat(),
        )
    });
    // Calls are up by then, or not; the rest of the run is longer than the least silence.
    std::thread::park_timeout(Duration::from_secs(5));
    link.0.kill().unwrap();
    let run = run.join().unwrap();
    relay.drain(Duration::ZERO);
    relay.join().unwrap();
    assert_eq!(run.count("calls_established"), 2, "{}", run.text);
    assert_eq!(run.count("connections_lost"), 4, "{}", run.text);
    assert!(
        run.report["reasons"].to_string().contains("nothing came any more"),
        "{}",
        run.text
    );
    let silence = run.report["silence_ms"]["p50"].as_f64().unwrap();
    assert!((1500.0..9000.0).contains(&silence), "{silence}");
}

#[test]
fn a_search_for_the_capacity_says_what_it_found() {
    let lenient = Search::new("capacity", LENIENT, 1);
    let impossible = Search::new("no-capacity", "\"one_way_ms.p50 < 0.001\"", 1);

    let (status, found) = lenient.finish();
    // One was asked for at most: there may be room beyond.
    assert_eq!(
        (status, &found["is_lower_bound"]),
        (Some(3), &Value::Bool(true)),
        "{found}"
    );
    if !verdicts(&found).contains(&"invalid") {
        assert_eq!(
            (&found["calls"], &found["runs_passed"]),
            (&1.into(), &1.into()),
            "{found}"
        );
        assert_eq!(verdicts(&found), ["pass", "pass"]);
    }

    let (status, found) = impossible.finish();
    assert!(found["calls"].is_null(), "{found}");
    if !verdicts(&found).contains(&"invalid") {
        assert_eq!((status, verdicts(&found)), (Some(1), vec!["fail"]), "{found}");
    }
}

#[test]
fn an_interrupted_search_says_what_it_knew() {
    let search = Search::new("interrupted", LENIENT, 100);
    let seconds_max = 30;
    let wait = format!(
        "for second in $(seq {seconds_max}); do grep -q calls {}/found.err && break; sleep 1; done; kill -INT $0",
        search.directory.0.display()
    );
    shell(&search.process, &wait);
    let (status, found) = search.finish();
    assert_eq!(
        (status, &found["ended_early"]),
        (Some(3), &Value::Bool(true)),
        "{found}"
    );
    assert!(!verdicts(&found).is_empty(), "{found}");
    if verdicts(&found)[0] == "pass" {
        assert_eq!(found["calls"], 1, "{found}");
    }
}

#[test]
fn a_generator_that_does_not_get_its_time_has_no_result() {
    let relay = start_relay();
    let url = format!("moql://{}/", relay.address());
    let flags = ["call", "--calls", "2", "--codec", "pcmu", "--no-pauses"];
    let started = Started::new("starved", &[&flags[..], &SHORT, &["--relay", &url]].concat());
    // In the middle of its four seconds.
    shell(&started.process, "sleep 2; kill -STOP $0; sleep 0.4; kill -CONT $0");
    let run = started.finish();
    assert_eq!((run.status, run.text("verdict")), (Some(3), "invalid"), "{}", run.text);
    assert!(run.text.contains("it was the bottleneck, this is not a result"));
    let generator = &run.report["generator"];
    assert_eq!(generator["valid"], false);
    let late = generator["lag_ms"]["max"].as_f64().unwrap();
    assert!((350.0..3000.0).contains(&late), "{late}");
    relay.drain(Duration::from_secs(1));
    relay.join().unwrap();
}

#[test]
fn a_signal_ends_a_run_with_a_report_and_a_second_one_at_once() {
    let began = Instant::now();
    let flags = ["call", "--calls", "1", "--duration", "60s", "--warm-up", "0s"];
    let started = Started::new("signal", &flags);
    shell(&started.process, "sleep 3; kill -TERM $0");
    let run = started.finish();
    assert!(began.elapsed() < Duration::from_secs(40));
    assert!(matches!(run.status, Some(0 | 3)), "{:?} {}", run.status, run.text);
    assert!(run.report["ended_early"] == true && run.text.contains("ended early"));
    assert_eq!((run.count("calls_established"), run.count("calls_ended")), (1, 1));
    let merged = run.directory.loadgen(&["merge", "run.jsonl", "--json", "merged.json"]);
    assert_eq!(merged.status.code(), run.status, "{merged:?}");
    let merged = run.directory.json("merged.json");
    assert_eq!(merged["frames_expected"], run.report["frames_expected"]);
    assert_eq!(merged["ended_early"], true);

    let mut started = Started::new("signals", &flags);
    shell(&started.process, "sleep 2; kill -TERM $0; kill -INT $0");
    let status = started.process.0.wait().unwrap();
    assert!(matches!(status.code(), Some(130 | 143)), "{status}");
}

/// Datagrams that are lost permanently, and come by two paths.
fn assert_bad_path(run: &Run) {
    assert!(matches!(run.status, Some(1 | 3)), "{}", run.text);
    assert_eq!(run.count("calls_established"), 1, "{}", run.text);
    let p50 = run.report["one_way_ms"]["p50"].as_f64().unwrap();
    assert!((40.0..80.0).contains(&p50), "{p50}");
    // 2 % each way are 3.96 %; what finds no room in a congestion window that shrank for it is lost too.
    let (lost, expected) = (run.count("frames_lost"), run.count("frames_expected"));
    assert!(expected > 200, "{expected}");
    assert!(
        lost * 1000 > expected * 15 && lost * 2 < expected,
        "{lost} of {expected}"
    );
    run.assert_adds_up();
}

/// A run of the program that goes on.
struct Started {
    directory: Directory,
    process: Process,
}

/// What it left.
struct Run {
    directory: Directory,
    status: Option<i32>,
    text: String,
    report: Value,
}

impl Started {
    fn new(name: &str, arguments: &[&str]) -> Started {
        Started::within(Directory::new(name), arguments)
    }

    fn within(directory: Directory, arguments: &[&str]) -> Started {
        let process = Command::new(LOADGEN)
            .current_dir(&directory.0)
            .args(arguments)
            .args(["--json", "run.json", "--jsonl", "run.jsonl"])
            .stdin(Stdio::null())
            .stdout(File::create(directory.0.join("run.out")).unwrap())
            .stderr(File::create(directory.0.join("run.err")).unwrap())
            .spawn()
            .unwrap();
        Started {
            directory,
            process: Process(process),
        }
    }

    fn finish(mut self) -> Run {
        let status = self.process.0.wait().unwrap();
        let read = |file: &str| std::fs::read_to_string(self.directory.0.join(file)).unwrap_or_default();
        let report = serde_json::from_str(&read("run.json"));
        Run {
            report: report.unwrap_or_else(|error| panic!("{error}: {}", read("run.err"))),
            text: read("run.out"),
            directory: self.directory,
            status: status.code(),
        }
    }
}

impl Run {
    fn of(name: &str, arguments: &[&str]) -> Run {
        Started::new(name, arguments).finish()
    }

    /// Four seconds of one conference of three, with a change and flags.
    fn of_scenario(name: &str, change: &str, flags: &[&str]) -> Run {
        let directory = Directory::new(name);
        let audio = if change.contains("[audio]") {
            ""
        } else {
            // Nothing is skipped when the machine holds the relay up for a second.
            "[audio]\nmedia = { codec = \"pcmu\" }\nmax_latency = \"5s\""
        };
        let text = format!(
            "duration = \"4s\"\nwarm_up = \"0s\"\nhold = {{ distribution = \"forever\" }}\nlimits = {{ concurrent = 1, setup = \"20s\" }}\n\
             shape = {{ kind = \"conference\", people = 3 }}\n{change}\n{audio}\n"
        );
        std::fs::write(directory.0.join("scenario.toml"), text).unwrap();
        Started::within(directory, &[&["run", "scenario.toml"], flags].concat()).finish()
    }

    fn count(&self, key: &str) -> u64 {
        self.report[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {}", self.report))
    }

    fn text(&self, key: &str) -> &str {
        self.report[key].as_str().unwrap()
    }

    /// How often something was measured, of all intervals.
    fn values(&self, measure: &str) -> u64 {
        let lines = std::fs::read_to_string(self.directory.0.join("run.jsonl")).unwrap();
        let count = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let Some(text) = line["histograms"][measure].as_str() else {
                return 0;
            };
            let bytes = STANDARD.decode(text).unwrap();
            let histogram = Deserializer::new()
                .deserialize::<u64, _>(&mut bytes.as_slice())
                .unwrap();
            histogram.len()
        };
        lines.lines().map(count).sum()
    }

    fn assert_nothing_lost(&self) {
        for key in ["calls_failed", "subscriptions_lost", "violations"] {
            assert_eq!(self.count(key), 0, "{key}: {}", self.text);
        }
        // Who subscribes anew gets what the relay still has, so frames may come twice.
        for fate in ["lost", "corrupt", "skipped", "stray"] {
            assert_eq!(self.count(&format!("frames_{fate}")), 0, "{fate}: {}", self.text);
        }
        assert!(self.count("frames_delivered") > 0);
        self.assert_adds_up();
    }

    fn assert_adds_up(&self) {
        let sum: u64 = ["delivered", "late", "lost", "skipped", "corrupt"]
            .iter()
            .map(|fate| self.count(&format!("frames_{fate}")))
            .sum();
        assert_eq!(sum, self.count("frames_expected"), "{}", self.text);
        // What publishers sent to those who were to hear it, counted by them.
        let offered = self.count("frames_expected") + self.count("frames_not_owed");
        assert_eq!(offered, self.count("frames_offered"), "{}", self.text);
    }
}

/// What any relay meets.
const LENIENT: &str = "\"calls_failed == 0\", \"frames_lost == 0\"";

/// A search for a capacity of one call at most.
struct Search {
    directory: Directory,
    process: Process,
}

impl Search {
    fn new(name: &str, thresholds: &str, repeats: u32) -> Search {
        let directory = Directory::new(name);
        // Times that are no whole intervals.
        let objective = format!(
            "thresholds = [{thresholds}]\nrepeats = {repeats}\ncalls_min = 1\ncalls_max = 1\nramp = \"1100ms\"\nmeasure = \"2s\"\n"
        );
        std::fs::write(directory.0.join("objective.toml"), objective).unwrap();
        let process = Command::new(LOADGEN)
            .current_dir(&directory.0)
            .args(["capacity", "--slo", "objective.toml", "--json", "found.json"])
            .stdout(Stdio::null())
            .stderr(File::create(directory.0.join("found.err")).unwrap())
            .spawn()
            .unwrap();
        Search {
            directory,
            process: Process(process),
        }
    }

    /// Its exit status and what it found.
    fn finish(mut self) -> (Option<i32>, Value) {
        let status = self.process.0.wait().unwrap();
        let errors = std::fs::read_to_string(self.directory.0.join("found.err")).unwrap();
        assert_ne!(status.code(), Some(2), "{errors}");
        (status.code(), self.directory.json("found.json"))
    }
}

fn verdicts(found: &Value) -> Vec<&str> {
    let trials = found["trials"].as_array().unwrap();
    trials.iter().map(|trial| trial["verdict"].as_str().unwrap()).collect()
}

fn start_relay() -> RelayHandle {
    Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(1),
        ..RelayOptions::default()
    })
    .unwrap()
}

/// Does something to a process, `$0`.
fn shell(process: &Process, script: &str) {
    let status = Command::new("sh")
        .args(["-c", script, &process.0.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

/// Does not outlive a test that fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gone at the end of the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let directory = std::env::temp_dir().join(format!("moqswitch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Directory(directory)
    }

    fn loadgen(&self, arguments: &[&str]) -> Output {
        Command::new(LOADGEN)
            .current_dir(&self.0)
            .args(arguments)
            .output()
            .unwrap()
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.0.join(file)).unwrap()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

const SHORT: [&str; 4] = ["--duration", "4s", "--warm-up", "0s"];
const DATAGRAMS: &str = "[audio]\nmedia = { codec = \"pcmu\" }\ndatagrams = true";
const BAD_PATH: &str = "delay=20ms,loss=2%";
const FEW_FRAMES: &str = "media = { codec = \"fixed\", bytes = 40, rate = 1.0 }\nmax_latency = \"5s\"";
