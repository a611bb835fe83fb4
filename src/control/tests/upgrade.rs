//! Connections that become something other than plain HTTP: WebSockets and TLS.

use crate::limits;

use std::time::SystemTime;

use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
use moqswitch_relay::certificate::DevelopmentCertificate;
use moqswitch_relay::quic::{ServerCertificate, TlsContext};
use moqswitch_relay::shard::Attachment;

use super::*;

#[test]
fn upgrade_agrees_on_a_subprotocol_and_hands_the_connection_to_a_shard() {
    let (fixture, ports) = fixture(None);
    let offered = "webtransport, qmux-01.moq-lite-04,qmux-02.moq-lite-05";
    let (status, head, _socket) = upgrade(&fixture, "/room/7?jwt=abc", offered);
    assert_eq!(status, 101, "{head}");
    assert!(
        head.contains("sec-websocket-protocol: qmux-02.moq-lite-05\r\n"),
        "{head}"
    );
    assert!(head.to_lowercase().contains("\r\nconnection: upgrade\r\n"), "{head}");
    let attached = attachment(&ports);
    assert_eq!(attached.path, "/room/7?jwt=abc");
    assert_eq!(attached.subprotocol.to_string(), "qmux-02.moq-lite-05");
    assert!(attached.remote.ip().is_loopback());
}

#[test]
fn upgrade_goes_before_a_route_of_the_same_path() {
    let (fixture, ports) = fixture(None);
    let (status, _, _socket) = upgrade(&fixture, "/announced", "moq-lite-05");
    assert_eq!(status, 101);
    assert_eq!(attachment(&ports).path, "/announced");
}

#[test]
fn upgrade_without_a_known_subprotocol_is_refused() {
    let (fixture, _ports) = fixture(None);
    for offered in ["chat", "qmux-03", "webtransport", ""] {
        assert_eq!(upgrade(&fixture, "/", offered).0, 400, "{offered:?}");
    }
    let long = format!("/{}", "x".repeat(moqswitch_proto::limits::SETUP_PATH_BYTES_MAX));
    assert_eq!(upgrade(&fixture, &long, "moq-lite-05").0, 414);
}

#[test]
fn upgrade_takes_a_bearer_and_nothing_that_looks_like_one() {
    let (fixture, ports) = fixture(None);
    let keys = Key::generate(Algorithm::HS256, "a", &ring::rand::SystemRandom::new()).unwrap();
    let keys = Keys::parse(&keys.to_json()).unwrap();
    fixture
        .shards
        .policy
        .0
        .send_modify(|policy| *policy = policy.clone().with_keys(Some(Arc::new(keys))));
    let with = |path: &str, field: &str| upgrade_with(&fixture, path, "moq-lite-05", field);
    for field in [
        "Authorization: Bearer\r\n",
        "Authorization: Basic YTpi\r\n",
        "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n",
    ] {
        assert_eq!(with("/room", field).0, 401, "{field}");
    }
    assert_eq!(with("/room?jwt=a.b.c", "Authorization: Bearer x.y.z\r\n").0, 401);
    let (status, _, _socket) = with("/room", "Authorization: Bearer a.b.c\r\n");
    assert_eq!(status, 101);
    assert_eq!(attachment(&ports).bearer.as_deref(), Some("a.b.c"));
}

#[test]
fn busy_shard_has_the_client_come_again_and_refusals_are_counted() {
    let fixture = Fixture::start(Behaviour::Answers);
    fixture.lifecycle.set(Phase::Ready);
    assert_eq!(upgrade(&fixture, "/", "chat").0, 400);
    let metrics = fixture.get_admin("/metrics").body;
    for line in ["reason=\"subprotocol\"} 1", "reason=\"shard_busy\"} 0"] {
        let line = format!("moqswitch_websockets_refused_total{{{line}");
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let fixture = Fixture::start(Behaviour::QueueFull);
    fixture.lifecycle.set(Phase::Ready);
    let (status, _, mut socket) = upgrade(&fixture, "/", "moq-lite-05");
    assert_eq!(status, 101);
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0x88, 2, 0x03, 0xf5], "a close frame with code 1013");
}

#[test]
fn upgrade_is_refused_while_draining_and_beyond_the_limit() {
    let (fixture, ports) = fixture(None);
    let _first = upgrade(&fixture, "/", "moq-lite-05");
    let _second = upgrade(&fixture, "/", "moq-lite-05");
    let attached = [attachment(&ports), attachment(&ports)];
    assert_eq!(upgrade(&fixture, "/", "moq-lite-05").0, 503, "two is the limit");
    drop(attached);
    fixture.lifecycle.set(Phase::Draining);
    assert_eq!(upgrade(&fixture, "/", "moq-lite-05").0, 503);
}

#[test]
fn connections_go_to_the_shard_that_has_the_fewest() {
    let (fixture, ports) = fixture(None);
    let _first = upgrade(&fixture, "/", "moq-lite-05");
    let _attached = attachment(&ports[..1]);
    let _second = upgrade(&fixture, "/", "moq-lite-05");
    attachment(&ports[1..]);
}

#[test]
fn shard_that_drops_a_connection_closes_it() {
    let (fixture, ports) = fixture(None);
    let (_, _, mut socket) = upgrade(&fixture, "/", "moq-lite-05");
    drop(attachment(&ports));
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    // Perhaps a ping; then a close frame with code 1000.
    assert!(rest.ends_with(&[0x88, 2, 0x03, 0xe8]), "{rest:?}");
}

#[test]
fn pings_without_end_close_the_connection() {
    let (fixture, ports) = fixture(None);
    let (_, _, mut socket) = upgrade(&fixture, "/", "moq-lite-05");
    let _attached = attachment(&ports);
    // Empty, final and masked with zeros: a binary message, then pings.
    socket.write_all(&[0x82, 0x80, 0, 0, 0, 0]).unwrap();
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[7; 125]].concat();
    let pings = usize::try_from(limits::WEBSOCKET_CONTROL_FRAMES_MAX).unwrap() * 4;
    socket.write_all(&ping.repeat(pings)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    // A close frame with code 1008, and perhaps the answer to the last ping.
    let is_close = |bytes: &[u8]| bytes == [0x88, 2, 0x03, 0xf0];
    assert!(rest.windows(4).any(is_close), "{} bytes", rest.len());
    assert!(rest.len() < ping.len() * pings, "most went unanswered");
}

#[test]
fn one_port_serves_tls_and_plain_http() {
    let (fixture, _ports) = fixture(Some(false));
    assert_eq!(fixture.get("/healthz").status, 200);
    assert_eq!(secure_get(fixture.address, "localhost", "/healthz"), 200);
}

#[test]
fn certificate_of_each_name_comes_with_the_protocol() {
    let (fixture, _ports) = fixture(Some(false));
    for name in ["localhost", OTHER_NAME] {
        assert_eq!(secure_get(fixture.address, name, "/healthz"), 200);
    }
}

#[test]
fn required_tls_drops_plain_http() {
    let (fixture, _ports) = fixture(Some(true));
    assert_eq!(secure_get(fixture.address, "localhost", "/healthz"), 200);
    let mut stream = TcpStream::connect(fixture.address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // The connection may be reset, as its request is not read.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{answer:?}");
}

/// Without threads for its shards: the test takes what they are sent. `tls`: whether it is required.
fn fixture(tls: Option<bool>) -> (Fixture, Vec<ShardPort>) {
    let (mut state, shards) = state(Behaviour::Answers, Vec::new());
    state.shards = (0..2).map(|_| ShardPort::new(Arc::new(|| {}))).collect();
    state.lifecycle.set(Phase::Ready);
    let made = DevelopmentCertificate::generate(&[], SystemTime::now()).unwrap();
    let first = ServerCertificate::from_der(&[made.certificate_der], &made.key_der).unwrap();
    let made = rcgen::generate_simple_self_signed([OTHER_NAME.to_owned()]).unwrap();
    let other = ServerCertificate::from_der(&[made.cert.der().to_vec()], &made.signing_key.serialize_der()).unwrap();
    let (_, context) = watch::channel(TlsContext::http_server(&[first, other], None).unwrap());
    state.tls = tls.map(|is_required| Tls { context, is_required });
    let ports = state.shards.clone();
    let fixture = Fixture::of(state, shards);
    (fixture, ports)
}

/// Waits for what a shard is handed.
fn attachment(ports: &[ShardPort]) -> Box<Attachment> {
    loop {
        for port in ports {
            match port.queue.pop() {
                Some(ShardCommand::Attach(attachment)) => return attachment,
                Some(other) => panic!("{other:?}"),
                None => thread::yield_now(),
            }
        }
    }
}

/// Status and head of the answer, and the socket behind it.
fn upgrade(fixture: &Fixture, path: &str, offered: &str) -> (u16, String, TcpStream) {
    upgrade_with(fixture, path, offered, "")
}

/// With further lines in the request.
fn upgrade_with(fixture: &Fixture, path: &str, offered: &str, lines: &str) -> (u16, String, TcpStream) {
    let mut stream = TcpStream::connect(fixture.address).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {offered}\r\n{lines}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, stream)
}

fn secure_get(address: SocketAddr, name: &str, path: &str) -> u16 {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let mut stream = connector.build().connect(name, stream).unwrap();
    let certificate = stream.ssl().peer_certificate().unwrap();
    let names = certificate.subject_alt_names().unwrap();
    assert!(names.iter().any(|entry| entry.dnsname() == Some(name)), "{name}");
    assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[9..]).parse().unwrap()
}

const OTHER_NAME: &str = "other.test";
