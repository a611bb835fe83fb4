//! What ends a start, and what must not end a relay that runs: the program itself, as an operator starts it.
#![allow(clippy::unwrap_used, reason = "a failure of a test is a panic")]
#![allow(unsafe_code, reason = "a process gets its seccomp filter between fork and exec")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use moqswitch_relay::certificate::DevelopmentCertificate;

#[path = "startup/calls.rs"]
mod calls;
#[path = "startup/handset.rs"]
mod handset;
#[path = "startup/music.rs"]
mod music;
#[path = "startup/sip.rs"]
mod sip;
#[path = "startup/trunk_tls.rs"]
mod trunk_tls;

#[test]
fn a_host_that_refuses_io_uring_is_told_what_to_change() {
    for (refusal, word) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "ENOSYS")] {
        let mut command = moqswitch();
        // SAFETY: between fork and exec only system calls are made, on memory of this frame.
        unsafe { command.pre_exec(move || refuse_io_uring(refusal)) };
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("io_uring") && said.contains(word), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn too_little_locked_memory_is_told_with_what_to_change() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -l 64 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_moqswitch"),
    ]);
    arguments(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("locked memory") && said.contains("LimitMEMLOCK"),
        "{said}"
    );
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let mut command = moqswitch();
    command.stderr(File::options().write(true).open("/dev/full").unwrap());
    let relay = Running::start(&mut command);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // A packet that is none is worth a line in the log.
    let mut garbage = [0_u8; 1200];
    garbage[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 0xff]);
    for _ in 0..3 {
        socket.send_to(&garbage, relay.udp).unwrap();
    }
    let lost = || relay.metric("moqswitch_log_lines_lost_total");
    relay.until("a line is lost", || lost().is_some_and(|lost| lost > 0.0));
    assert_eq!(relay.get("/healthz"), Some("ok\n".to_owned()));
}

#[test]
fn control_programs_have_an_address_of_their_own() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = moqswitch();
    command.env("MOQSWITCH_MEDIASWITCH_LISTEN", address.to_string());
    let relay = Running::start(&mut command);
    let body = |answer: String| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    let counts = answer_to("127.0.0.1", address, "/dialog").and_then(body);
    assert_eq!(counts, Some(r#"{"count":0,"counter":0}"#.to_owned()));
    assert_eq!(relay.get("/dialog"), None, "it is nowhere else");
    let refused = moqswitch()
        .env("MOQSWITCH_MEDIASWITCH_LISTEN", "0.0.0.0:0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("mediaswitch.key"), "{said}");
}

#[test]
fn every_metric_of_a_switch_is_in_the_manual() {
    let relay = Running::start(&mut moqswitch());
    let figures = || get(relay.admin, "/metrics").unwrap_or_default();
    relay.until("there are figures", || figures().contains("moqswitch_calls "));
    let text = figures();
    let manual = std::fs::read_to_string("src/OPERATING.md").unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.strip_prefix("moqswitch_")?.split(['{', ' ']).next());
    let mut count = 0;
    for name in names {
        let whole = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        let is_told = |name: &str| manual.contains(&format!("`{name}`"));
        assert!(is_told(name) || is_told(whole), "{name} is not explained");
        count += 1;
    }
    assert!(count > 100, "only {count} samples");
}

#[test]
fn a_reader_of_the_ready_line_may_go() {
    // Where it listens is in the line that nobody reads: the port is chosen before.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    let http = port.to_string();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--http",
        &http,
        "--admin",
        "127.0.0.1:0",
        "--shards",
        "1",
    ]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut output = child.stderr.take().unwrap();
    thread::scope(|scope| {
        let log = scope.spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let end = Instant::now() + LIMIT;
        while get(port, "/readyz").is_none_or(|answer| answer != "ready\n") {
            assert_eq!(child.try_wait().unwrap(), None, "it ended with the reader of its line");
            assert!(Instant::now() < end, "it does not become ready");
            thread::park_timeout(STEP);
        }
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(told.unwrap().success());
        let status = child.wait().unwrap();
        let text = log.join().unwrap().unwrap();
        assert!(status.success() && !text.contains("panicked"), "{status}: {text}");
    });
}

#[test]
fn an_idle_relay_outlives_a_lack_of_files() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 64 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_moqswitch"),
    ]);
    arguments(&mut command);
    let mut relay = Running::start(&mut command);
    // They say nothing. Those that find no file wait in the kernel's queue.
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(relay.http).unwrap());
    }
    // Idle shards park after 0.2 s, and look around once a second.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert_eq!(relay.child.try_wait().unwrap(), None, "the relay has ended");
        thread::park_timeout(STEP);
    }
    drop(silent);
    relay.until("it answers again", || relay.get("/healthz").is_some());
    let failed = relay.metric("moqswitch_parks_failed_total");
    assert!(
        failed.is_some_and(|failed| failed > 0.0),
        "it had files enough to park: {failed:?}"
    );
}

#[test]
fn listings_may_be_cut_short() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_moqswitch"))
        .arg("config")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_relay_may_be_started_again_at_once() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
        // Of several shards there are several sockets and rings to let go of.
        command.args(["--listen", &free, "--admin", "127.0.0.1:0", "--shards", "2"]);
        Running::start(&mut command)
    };
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
        let arguments = ["check", "--json", "--listen", &free, "--admin", "127.0.0.1:0"];
        let output = command.args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut relay = start();
    for signal in ["-TERM", "-KILL"].into_iter().cycle().take(12) {
        relay.signal(signal);
        relay.child.wait().unwrap();
        let said = check();
        assert_eq!(said.matches("is free").count(), 3, "after {signal}: {said}");
        relay = start();
        relay.signal(signal);
        relay.child.wait().unwrap();
        relay = start();
    }
}

#[test]
fn clients_of_a_relay_that_died_learn_so_by_their_first_packet_to_the_next() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let state = format!("{}/state-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
        command.env("MOQSWITCH_STATE_DIRECTORY", &state);
        command.args(["--listen", &free, "--admin", "127.0.0.1:0", "--shards", "1"]);
        Running::start(&mut command)
    };
    let mut relay = start();
    let mut client = Client::connect(relay.udp);
    // The relay gives it another id once it knows that the handshake is over.
    client.until("it is connected", |connection| {
        connection.is_established() && connection.available_dcids() > 0
    });
    relay.signal("-KILL");
    relay.child.wait().unwrap();
    let _relay = start();
    client.connection.send_ack_eliciting().unwrap();
    client.until("it knows", |connection| {
        connection.is_draining() || connection.is_closed()
    });
    assert!(!client.connection.is_timed_out());
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn an_address_that_stays_taken_is_a_clear_error() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let addresses = [
        ("--listen", udp_address),
        ("--http", tcp_address),
        ("--admin", tcp_address),
    ];
    for (flag, address) in addresses {
        let address = address.to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
        command.args(["--shards", "1"]);
        for (known, _) in addresses.iter() {
            let value = if *known == flag {
                address.as_str()
            } else {
                "127.0.0.1:0"
            };
            command.args([*known, value]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let words = [address.as_str(), "already in use", flag];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

#[test]
fn a_limit_that_is_too_low_is_named_with_what_to_do() {
    let limited = |limit: &str| {
        let mut command = Command::new("sh");
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_moqswitch")]);
        command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
        arguments(&mut command);
        command.output().unwrap()
    };
    for (limit, words) in [
        ("-l 64", ["locked memory", "LimitMEMLOCK=infinity"]),
        ("-n 8", ["open files", "LimitNOFILE=65536"]),
        ("-n 12", ["open files", "LimitNOFILE=65536"]),
        ("-n 16", ["open files", "LimitNOFILE=65536"]),
        ("-n 18", ["open files", "LimitNOFILE=65536"]),
    ] {
        let output = limited(limit);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{limit}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{limit}: {said}");
        assert!(!said.contains("panicked"), "{limit}: {said}");
    }
}

#[test]
fn a_key_of_another_certificate_is_named() {
    let directory = format!("{}/mismatch-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::create_dir_all(&directory).unwrap();
    let made = || DevelopmentCertificate::generate(&[], SystemTime::now()).unwrap();
    let (chain, key) = (format!("{directory}/chain.pem"), format!("{directory}/key.pem"));
    std::fs::write(&chain, made().certificate_pem).unwrap();
    std::fs::write(&key, made().key_pem).unwrap();
    let mut command = moqswitch();
    let output = command
        .args(["--tls-cert", &chain, "--tls-key", &key])
        .output()
        .unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let words = [chain.as_str(), &key, "another certificate", "it was issued for"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn the_service_manager_is_told_what_happens() {
    let path = std::env::temp_dir().join(format!("moqswitch-notify-{}", std::process::id()));
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let told = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).expect("something is said in time");
        String::from_utf8_lossy(&text[..length])
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut command = moqswitch();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let mut relay = Running::start(&mut command);
    let but_pings = || std::iter::repeat_with(told).find(|said| said != "WATCHDOG=1").unwrap();
    let mut said = vec![told()];
    while said.len() < 4 {
        said.push(told());
    }
    // A ping may come before the start has come to its end.
    assert!(said.contains(&"READY=1".to_owned()), "{said:?}");
    assert!(
        said.iter().filter(|said| *said == "WATCHDOG=1").count() >= 3,
        "{said:?}"
    );
    relay.signal("-HUP");
    assert_eq!([but_pings(), but_pings()], ["RELOADING=1", "READY=1"]);
    relay.signal("-TERM");
    assert_eq!(but_pings(), "STOPPING=1");
    assert!(relay.child.wait().unwrap().success());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_hangup_takes_over_what_is_right_and_says_what() {
    let directory = format!("{}/reload-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::create_dir_all(&directory).unwrap();
    let (file, log) = (format!("{directory}/moqswitch.toml"), format!("{directory}/log"));
    let configure = |text: &str| std::fs::write(&file, text).unwrap();
    let logged = |text: &str| std::fs::read_to_string(&log).unwrap().contains(text);
    configure("[auth]\npublic = [\"a/**\"]\n");
    let mut command = moqswitch();
    command.args(["--config", &file]).stderr(File::create(&log).unwrap());
    let relay = Running::start(&mut command);
    let allows = |path: &str| status(relay.http, &format!("/fetch/{path}/x/track")) == Some(404);
    relay.until("a is public", || allows("a") && !allows("b"));

    configure(
        "batch_window = \"1ms\"\n[auth]\npublic = [\"b/**\"]\n[limits]\nconnections = 7\ncache_age = \"1s\"\n\
         [log]\nlevel = \"debug\"\n",
    );
    relay.signal("-HUP");
    relay.until("b is public", || allows("b") && !allows("a"));
    relay.until("the rest is said", || {
        logged("certificates reloaded") && logged("need a restart")
    });
    for text in [
        "patterns reloaded",
        "auth.public a/** \u{2192} b/**",
        "limits reloaded",
        "limits.connections 10000 \u{2192} 7",
        "log level reloaded",
        "batch_window, limits.cache_age",
    ] {
        assert!(
            logged(text),
            "`{text}` is not in\n{}",
            std::fs::read_to_string(&log).unwrap()
        );
    }

    // Nothing of a configuration that is wrong.
    configure("[auth]\npublic = [\"a/**\"]\n[limits]\nconnections = 0\n");
    relay.signal("-HUP");
    relay.until("it says so", || {
        logged("configuration not reloaded") && logged("moqswitch.toml:4")
    });
    assert!(allows("b") && !allows("a"));
    drop(relay);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_ready_line_is_json_where_logs_are() {
    let mut command = moqswitch();
    command
        .env("MOQSWITCH_LOG_FORMAT", "json")
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    let page = ready["http"].as_str().and_then(|http| {
        let http: SocketAddr = http.parse().ok()?;
        // It is what the line says, on this host.
        let path = ready["phone"].as_str()?.strip_prefix(&format!("http://{http}"))?;
        answer_to(&http.to_string(), http, path)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    read.unwrap();
    let page = page.unwrap_or_else(|| panic!("no page of the phone: {line}"));
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "{page}");
    assert_eq!(
        (&ready["message"], &ready["level"]),
        (&"ready".into(), &"INFO".into()),
        "{line}"
    );
    for key in ["udp", "http", "admin"] {
        assert!(
            ready[key].as_str().unwrap().parse::<SocketAddr>().is_ok(),
            "{key}: {line}"
        );
    }
    assert_eq!(ready["shards"], 1);
}

/// A connection and no more.
struct Client {
    socket: UdpSocket,
    connection: quiche::Connection,
}

impl Client {
    fn connect(remote: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(STEP)).unwrap();
        let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).unwrap();
        config.verify_peer(false);
        config.set_application_protos(&[b"moq-lite-04"]).unwrap();
        // Longer than the test waits: silence tells it nothing.
        config.set_max_idle_timeout(10 * 60 * 1000);
        let id = quiche::ConnectionId::from_ref(&[7; 16]);
        let local = socket.local_addr().unwrap();
        let connection = quiche::connect(Some("localhost"), &id, local, remote, &mut config).unwrap();
        Self { socket, connection }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&quiche::Connection) -> bool) {
        let end = Instant::now() + LIMIT;
        let mut buffer = [0; 2048];
        while !is_so(&self.connection) {
            assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
            while let Ok((length, to)) = self.connection.send(&mut buffer) {
                // Nobody may be there.
                let _ = self.socket.send_to(&buffer[..length], to.to);
            }
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let to = self.socket.local_addr().unwrap();
                    let _ = self
                        .connection
                        .recv(&mut buffer[..length], quiche::RecvInfo { from, to });
                }
                Err(_) => self.connection.on_timeout(),
            }
        }
    }
}

struct Running {
    child: Child,
    udp: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        // Not the state of who runs the tests.
        command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = |name: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.unwrap_or_else(|| panic!("no {name} in `{line}`")).parse().unwrap()
        };
        Self {
            udp: address("udp="),
            http: address("http="),
            admin: address("admin="),
            child,
        }
    }

    fn get(&self, path: &str) -> Option<String> {
        get(self.http, path)
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = get(self.admin, "/metrics")?;
        // Its name, labels if it has any, its value.
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
            thread::park_timeout(STEP);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(http: SocketAddr, path: &str) -> Option<String> {
    let answer = answer(http, path)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn status(http: SocketAddr, path: &str) -> Option<u16> {
    answer(http, path)?.split(' ').nth(1)?.parse().ok()
}

fn answer(http: SocketAddr, path: &str) -> Option<String> {
    answer_to("x", http, path)
}

/// Of who knows the host by a name.
fn answer_to(host: &str, http: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn moqswitch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
    arguments(&mut command);
    command
}

/// On loopback, on ports that the kernel chooses.
fn arguments(command: &mut Command) {
    // Not the state of who runs the tests.
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--shards", "1"]);
}

/// A filter as containers have it: io_uring_setup fails with `refusal`, all else is allowed.
fn refuse_io_uring(refusal: i32) -> std::io::Result<()> {
    let step = |code: u32, jump_true, jump_false, k| libc::sock_filter {
        code: u16::try_from(code).expect("codes of BPF have 16 bits"),
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let setup = u32::try_from(libc::SYS_io_uring_setup).expect("numbers of system calls are small");
    let filter = [
        // The number of the system call is the first word.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, setup),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | refusal.unsigned_abs(),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the arguments are those that prctl(2) has; the program outlives the call.
    let is_set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if is_set {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

const LIMIT: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(50);
