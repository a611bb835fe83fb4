//! What ends a start, and what must not end a relay that runs: the program itself, as an operator starts it.
#![allow(clippy::unwrap_used, reason = "a failure of a test is a panic")]
#![allow(unsafe_code, reason = "a process gets its seccomp filter between fork and exec")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
fn a_reader_of_the_ready_line_may_go() {
    // Where it listens is in the line that nobody reads: the port is chosen before.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
    command.args(["--listen", "127.0.0.1:0", "--http", &port.to_string(), "--shards", "1"]);
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

struct Running {
    child: Child,
    udp: SocketAddr,
    http: SocketAddr,
}

impl Running {
    fn start(command: &mut Command) -> Self {
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
            child,
        }
    }

    fn get(&self, path: &str) -> Option<String> {
        get(self.http, path)
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics")?;
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
    let mut stream = TcpStream::connect(http).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn moqswitch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
    arguments(&mut command);
    command
}

/// On loopback, on ports that the kernel chooses.
fn arguments(command: &mut Command) {
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
