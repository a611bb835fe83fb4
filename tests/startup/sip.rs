//! SIP of a switch that nobody has said anything of it to: where telephones look for it, and elsewhere no reason not to start.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;

use super::{LIMIT, Running, STEP, moqswitch};

const USUAL: &str = "127.0.0.1:5060";

#[test]
fn it_is_at_the_usual_port_by_itself_and_a_taken_port_is_a_warning() {
    // In a network of its own no other program has the port. A thread of its own, so that no other test comes into it.
    let done = thread::spawn(|| {
        let is_alone = has_own_network();
        if !is_alone && UdpSocket::bind(USUAL).is_err() {
            eprintln!("skipped: there is no network of its own to be had, and {USUAL} is another program's");
            return;
        }
        let (first, said) = start("first");
        if !is_alone && said().contains("no SIP") {
            eprintln!("skipped: another program has taken {USUAL}");
            return;
        }
        let answer = over_udp();
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        let answer = over_tcp();
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");

        let (second, said) = start("second");
        assert_eq!(second.get("/healthz"), Some("ok\n".to_owned()));
        second.until("the warning", || said().contains("no SIP: set `sip.udp` and `sip.tcp`"));
        let said = said();
        let line = said.lines().find(|line| line.contains("no SIP")).unwrap();
        assert!(line.contains(" WARN ") && line.contains(USUAL), "{line}");
        drop(second);

        // Where it was asked for, it is needed.
        let output = moqswitch().env("MOQSWITCH_SIP_UDP", USUAL).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("sip.udp") && said.contains(USUAL), "{said}");
        drop(first);
    });
    done.join().unwrap();
}

/// A switch, and what it has said so far.
fn start(name: &str) -> (Running, impl Fn() -> String) {
    let log = format!("{}/sip-{}-{name}.log", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let mut command = moqswitch();
    command.stderr(File::create(&log).unwrap());
    (Running::start(&mut command), move || fs::read_to_string(&log).unwrap())
}

fn options(transport: &str, from: impl std::fmt::Display) -> String {
    format!(
        "OPTIONS sip:{USUAL} SIP/2.0\r\nVia: SIP/2.0/{transport} {from};branch=z9hG4bKo;rport\r\nFrom: <sip:a@{USUAL}>;tag=1\r\n\
         To: <sip:{USUAL}>\r\nCall-ID: o-{transport}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Sent again until it is answered, as over UDP it has to be.
fn over_udp() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(STEP * 10)).unwrap();
    let text = options("UDP", socket.local_addr().unwrap());
    let end = std::time::Instant::now() + LIMIT;
    let mut bytes = [0; 2048];
    loop {
        let _ = socket.send_to(text.as_bytes(), USUAL);
        if let Ok((length, _)) = socket.recv_from(&mut bytes) {
            return String::from_utf8_lossy(&bytes[..length]).into_owned();
        }
        assert!(std::time::Instant::now() < end, "nothing is answered at {USUAL}");
    }
}

fn over_tcp() -> String {
    let mut stream = TcpStream::connect(USUAL).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let text = options("TCP", stream.local_addr().unwrap());
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = [0; 2048];
    let length = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Takes this thread, and what it starts, into a network with nothing but a loopback. False: that is not allowed here.
fn has_own_network() -> bool {
    // SAFETY: the call takes no memory; it concerns the thread that makes it.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return false;
    }
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: all bytes of it may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes_with_nul()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap();
    // SAFETY: the request outlives the call, and is of the kind that it takes.
    let is_up = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(is_up, 0, "the loopback of a network of its own");
    true
}
