mod connections;
mod socket;
mod upgrade;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;

use bytes::Bytes;
use moqswitch_proto::wire::StreamId;
use moqswitch_relay::auth::token::{Algorithm, Key, Keys};
use moqswitch_relay::auth::{Grant, Pattern, Patterns};
use moqswitch_relay::quic::ConnectionKey;
use moqswitch_relay::shard::statistics::{DropCause, QueueKind, QueueSnapshot, ShardSnapshot};
use moqswitch_relay::shard::{WebRequest, WebStream};

use crate::limits;

use super::*;

#[test]
fn live_and_ready_follow_the_lifecycle() {
    let fixture = Fixture::start(Behaviour::Answers);
    assert_eq!(fixture.get("/healthz").status, 200);
    assert_eq!(fixture.get("/readyz").status, 503);
    fixture.lifecycle.set(Phase::Ready);
    assert_eq!(fixture.get("/readyz").status, 200);
    fixture.lifecycle.set(Phase::Draining);
    fixture.lifecycle.set(Phase::Ready);
    let answer = fixture.get("/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
    assert_eq!(fixture.get("/healthz").status, 200);
}

#[test]
fn metrics_label_every_shard_queue_and_cause() {
    let fixture = Fixture::start(Behaviour::Answers);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = Fixture::request_at(
        fixture.admin,
        &format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{accept}\r\n\r\n"),
    );
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    for line in [
        "moqswitch_frames_out_total{shard=\"0\"} 100",
        "moqswitch_frames_out_total{shard=\"1\"} 101",
        "moqswitch_connections{shard=\"1\"} 7",
        "moqswitch_datagrams_per_send{shard=\"0\"} 4.0",
        "moqswitch_datagrams_per_receive{shard=\"0\"} 0.0",
        "moqswitch_drops_total{shard=\"0\",cause=\"slow_subscriber\"} 3",
        "moqswitch_drops_total{shard=\"0\",cause=\"expired\"} 0",
        "moqswitch_queue_depth{shard=\"1\",queue=\"lane\",from=\"0\"} 5",
        "moqswitch_queue_overflows_total{shard=\"0\",queue=\"lane\",from=\"1\"} 2",
        "# TYPE moqswitch_queue_overflows counter",
        "# EOF",
    ] {
        assert!(
            answer.body.lines().any(|found| found == line),
            "{line}\n{}",
            answer.body
        );
    }
    let version = format!("moqswitch_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(answer.body.contains(&version), "{}", answer.body);
}

#[test]
fn metrics_for_who_does_not_ask_for_openmetrics_are_of_the_older_format() {
    let fixture = Fixture::start(Behaviour::Answers);
    let answer = fixture.get_admin("/metrics");
    assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
    let mut families = Vec::new();
    for line in answer.body.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            families.push(name);
        } else if !line.starts_with("# HELP ") {
            // Every sample is of the family before it.
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(Some(&name), families.last(), "{line}");
        }
    }
    assert!(families.contains(&"moqswitch_frames_out_total") && families.contains(&"moqswitch_build_info"));
}

#[test]
fn full_queue_is_503() {
    let fixture = Fixture::start(Behaviour::QueueFull);
    let answer = fixture.get_admin("/metrics");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("shard 0"), "{}", answer.body);
    assert_eq!(fixture.get("/fetch/room/cam").status, 503);
    assert_eq!(fixture.get("/healthz").status, 200);
}

#[test]
fn silent_shard_is_503() {
    let fixture = Fixture::start(Behaviour::Silent);
    let answer = fixture.get_admin("/metrics");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("does not answer"), "{}", answer.body);
}

#[test]
fn stopped_shard_is_503() {
    let fixture = Fixture::start(Behaviour::Drops);
    assert_eq!(fixture.get_admin("/metrics").status, 503);
    assert_eq!(fixture.get("/fetch/room/cam").status, 503);
}

#[test]
fn certificate_hash_follows_a_reload() {
    let fixture = Fixture::start(Behaviour::Answers);
    assert_eq!(fixture.get("/certificate.sha256").body, "aa11");
    fixture.certificate.send_replace("bb22".into());
    assert_eq!(fixture.get("/certificate.sha256").body, "bb22");
}

#[test]
fn announced_lists_paths_relative_to_whole_segments() {
    let fixture = Fixture::start(Behaviour::Answers);
    let all = "private/y\nroom\nroom/alice\nroom/bob\nroomy/x";
    assert_eq!(fixture.get_admin("/announced").body, all);
    assert_eq!(fixture.get_admin("/announced/").body, all);
    assert_eq!(fixture.get_admin("/announced/room/").body, "\nalice\nbob");
    let none = fixture.get_admin("/announced/nobody/here");
    assert_eq!((none.status, none.body.as_str()), (200, ""));
    assert_eq!(fixture.get_admin("/announced/private").body, "y");
}

/// The public address has what clients need, that of operators what they need.
#[test]
fn each_address_has_its_routes() {
    let fixture = Fixture::start(Behaviour::Answers);
    for path in ["/healthz", "/certificate.sha256"] {
        assert_eq!(
            (fixture.get(path).status, fixture.get_admin(path).status),
            (200, 200),
            "{path}"
        );
    }
    for path in ["/metrics", "/announced", "/announced/", "/announced/room"] {
        let public = fixture.get(path);
        assert_eq!(public.status, 404, "{path}");
        assert!(public.body.contains("admin.listen"), "{path}: {}", public.body);
        let admin = fixture.get_admin(path);
        assert_eq!(admin.status, 200, "{path}");
        assert!(!admin.head.contains("access-control-allow-origin"), "{}", admin.head);
    }
    assert_eq!(fixture.get("/metricsx").body, "");
    assert_eq!(fixture.get("/fetch/room/cam").status, 200);
    assert_eq!(fixture.get_admin("/fetch/room/cam").status, 404);
    let long = format!("/announced/{}", "x".repeat(limits::HTTP_PATH_BYTES_MAX));
    assert_eq!(fixture.get_admin(&long).status, 414);
}

#[test]
fn a_token_shows_what_it_grants_and_nothing_else() {
    let fixture = Fixture::start(Behaviour::Answers);
    let random = ring::rand::SystemRandom::new();
    let key = Key::generate(Algorithm::ES256, "a", &random).unwrap();
    let keys = Keys::parse(&key.to_json()).unwrap();
    let token = key.sign(r#"{"subscribe":["private/**"]}"#, &random).unwrap();
    // Without keys nobody looks at a token.
    assert_eq!(fixture.get("/fetch/private/y/cam?jwt=x").status, 401);
    assert_eq!(fixture.get("/fetch/room/cam?jwt=x").status, 200);
    fixture
        .shards
        .policy
        .0
        .send_modify(|policy| *policy = policy.clone().with_keys(Some(Arc::new(keys))));
    assert_eq!(fixture.get(&format!("/fetch/private/y/cam?jwt={token}")).status, 200);
    let bearer = |path: &str, token: &str| {
        fixture.request(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: bearer {token}\r\n\r\n"
        ))
    };
    assert_eq!(bearer("/fetch/private/y/cam", &token).status, 200);
    assert_eq!(bearer("/fetch/room/cam", &token).status, 401);
    assert_eq!(fixture.get("/fetch/room/cam").status, 200);
    let refused = bearer("/fetch/room/cam", "a.b.c");
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: Bearer"), "{}", refused.head);
    assert!(
        refused.body.contains("part of the token") && !refused.body.contains("a.b.c"),
        "{}",
        refused.body
    );
    assert!(
        bearer(&format!("/fetch/room/cam?jwt={token}"), "other")
            .body
            .contains("two tokens")
    );
    assert_eq!(bearer("/healthz", "a.b.c").status, 200);
    // Half a credential is not as good as none.
    for odd in ["Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer \u{e4}"] {
        let request = format!("GET /fetch/room/cam HTTP/1.1\r\nHost: x\r\nAuthorization: {odd}\r\n\r\n");
        assert_eq!(fixture.request(&request).status, 401, "{odd}");
    }
    let twice = format!("Authorization: Bearer {token}\r\n").repeat(2);
    let request = format!("GET /fetch/room/cam HTTP/1.1\r\nHost: x\r\n{twice}\r\n");
    assert_eq!(fixture.request(&request).status, 401);
}

#[test]
fn signatures_are_checked_so_often_for_an_address() {
    let fixture = Fixture::start(Behaviour::Answers);
    let random = ring::rand::SystemRandom::new();
    let [key, other] = ["a", "b"].map(|id| Key::generate(Algorithm::ES256, id, &random).unwrap());
    let keys = Keys::parse(&key.to_json()).unwrap();
    fixture
        .shards
        .policy
        .0
        .send_modify(|policy| *policy = policy.clone().with_keys(Some(Arc::new(keys))));
    let get = |key: &Key| {
        let token = key.sign(r#"{"subscribe":["private/**"]}"#, &random).unwrap();
        fixture.get(&format!("/fetch/private/cam?jwt={token}"))
    };
    // Good ones cost nothing.
    for _ in 0..30 {
        assert_eq!(get(&key).status, 200);
    }
    let begun = Instant::now();
    let refused = loop {
        let answer = get(&other);
        if answer.status != 401 {
            break answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "they never end");
    };
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    // What needs no computation is told as ever, and who has no token is served.
    assert_eq!(fixture.get("/fetch/room/cam?jwt=a.b.c").status, 401);
    assert_eq!(fixture.get("/fetch/room/cam").status, 200);
    let metrics = fixture.get_admin("/metrics").body;
    let refused = metrics
        .lines()
        .find_map(|line| line.strip_prefix("moqswitch_http_tokens_refused_total "));
    assert!(refused.is_some_and(|count| count != "0"), "{metrics}");
}

#[test]
fn announced_paths_are_one_line_each_whatever_is_in_them() {
    let paths = ["room/x\ny", "room/nul\0", "room/\u{1b}[2Jescape", "room/back\\slash"];
    let fixture = Fixture::start_with(Behaviour::Answers, paths.map(str::to_owned).to_vec());
    let lines = [r"\u{1b}[2Jescape", r"back\\slash", r"nul\0", r"x\ny"];
    assert_eq!(fixture.get_admin("/announced/room").body, lines.join("\n"));
}

#[test]
fn announced_is_bounded_and_says_so() {
    let count = limits::ANNOUNCED_RESULTS_MAX + 5;
    let fixture = Fixture::start_with(Behaviour::Answers, (0..count).map(|n| format!("room/{n}")).collect());
    let answer = fixture.get_admin("/announced/room");
    assert_eq!(answer.body.lines().count(), limits::ANNOUNCED_RESULTS_MAX);
    assert!(answer.head.contains("moqswitch-truncated: 10000"), "{}", answer.head);
}

#[test]
fn fetch_returns_payloads_joined() {
    let fixture = Fixture::start(Behaviour::Answers);
    let answer = fixture.get("/fetch/room/alice/cam");
    assert_eq!((answer.status, answer.body.as_str()), (200, "room/alice cam Latest"));
    assert!(answer.head.contains("moqswitch-group: 42"), "{}", answer.head);
    assert!(
        answer.head.contains("access-control-allow-origin: *"),
        "{}",
        answer.head
    );
    let numbered = fixture.get("/fetch//room/al%69ce/cam?group=7");
    assert_eq!(numbered.body, "room/alice cam Sequence(7)");
    // A track's name is any text.
    let slashed = fixture.get("/fetch/room/alice/video%2Fhd%20%c3%bc");
    assert_eq!(slashed.body, "room/alice video/hd \u{fc} Latest");
    assert_eq!(fixture.get("/fetch/room%2Falice/cam").body, "room/alice cam Latest");
}

#[test]
fn fetch_errors_have_their_status() {
    let fixture = Fixture::start(Behaviour::Answers);
    assert_eq!(fixture.get("/fetch/room/missing").status, 404);
    assert_eq!(fixture.get("/fetch/room/late").status, 504);
    assert_eq!(fixture.get("/fetch/room/busy").status, 503);
    assert_eq!(fixture.get("/fetch/room/failed").status, 502);
    assert_eq!(fixture.get("/fetch/private/cam").status, 401);
    assert_eq!(fixture.get("/fetch/cam").status, 400);
    assert_eq!(fixture.get("/fetch/room/").status, 400);
    for broken in ["/fetch/room/%ff", "/fetch/room%c3/cam", "/fetch/room/%ed%a0%80"] {
        assert_eq!(fixture.get(broken).status, 400, "{broken}");
    }
    assert_eq!(fixture.get("/fetch/room/cam?group=newest").status, 400);
    let long = format!("/fetch/{}/cam", "x".repeat(limits::HTTP_PATH_BYTES_MAX));
    assert_eq!(fixture.get(&long).status, 414);
    assert_eq!(fixture.get("/elsewhere").status, 404);
}

#[test]
fn silent_shard_times_a_fetch_out() {
    let state = state(Behaviour::Silent, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let status = runtime.block_on(async {
        use tower::ServiceExt;
        let request = axum::http::Request::get("/fetch/room/cam")
            .body(axum::body::Body::empty())
            .unwrap();
        routes::public(state.0).oneshot(request).await.unwrap().status()
    });
    assert_eq!(status, 504);
}

#[test]
fn preflight_allows_get() {
    let fixture = Fixture::start(Behaviour::Answers);
    let answer = fixture.request(
        "OPTIONS /fetch/room/cam HTTP/1.1\r\nHost: x\r\nAccess-Control-Request-Method: GET\r\n\
         Access-Control-Request-Headers: x-a\r\n\r\n",
    );
    assert_eq!(answer.status, 204);
    for header in [
        "access-control-allow-origin: *",
        "access-control-allow-methods: GET",
        "access-control-allow-headers: x-a",
    ] {
        assert!(answer.head.contains(header), "{}", answer.head);
    }
    assert_eq!(fixture.request("POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 405);
}

#[test]
fn drain_reaches_a_shard_whose_queue_was_full() {
    let (state, shards) = state(Behaviour::QueueFull, Vec::new());
    let lifecycle = Arc::clone(&state.lifecycle);
    let ports = state.shards.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let free = async {
            tokio::task::yield_now().await;
            for port in &ports {
                port.queue.pop();
            }
        };
        tokio::join!(state.drain(Duration::from_secs(60)), free);
    });
    assert_eq!(lifecycle.phase(), Phase::Draining);
    for port in &ports {
        let commands: Vec<_> = std::iter::from_fn(|| port.queue.pop()).collect();
        assert!(matches!(commands.last(), Some(ShardCommand::Drain { .. })));
    }
    drop(shards);
}

#[test]
fn background_task_runs_and_stop_joins() {
    let (state, _shards) = state(Behaviour::Answers, Vec::new());
    let (ran, running) = mpsc::sync_channel(1);
    let server = ControlListener::bind("127.0.0.1:0".parse().unwrap())
        .unwrap()
        .serve(state);
    let handle = server
        .spawn(async move {
            ran.send(thread::current().name().map(str::to_owned)).unwrap();
            std::future::pending().await
        })
        .unwrap();
    assert_eq!(running.recv().unwrap().as_deref(), Some("control"));
    let address = handle.address();
    // A client that sends nothing does not hold up the stop for long.
    let _idle = TcpStream::connect(address).unwrap();
    handle.stop().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

/// The clock is paused and so runs ahead whenever the server has only timers left to wait for.
#[test]
fn client_that_never_ends_its_request_head_is_disconnected() {
    let (state, _shards) = state(Behaviour::Answers, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (stop, stopped) = watch::channel(false);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            stop.send_replace(true);
            answer
        });
        server::serve(listener, server::Serving::new(state, stopped, watch::channel(true).1)).await;
        let answer = client.join().unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    });
}

/// What comes by HTTP/3 is answered by the same routes, to the shard it came from.
#[test]
fn requests_over_http3_are_answered_to_their_shard() {
    let (mut state, shards) = state(Behaviour::Answers, vec!["room/bob".to_owned()]);
    let port = ShardPort::new(Arc::new(|| {}));
    state.shards.push(port.clone());
    let shard = state.shards.len() - 1;
    let listener = ControlListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let requests = listener.web_requests();
    let server = listener.serve(state);
    let handle = server.spawn(std::future::pending()).unwrap();
    for (index, (method, path, status, body)) in [
        ("GET", "/healthz", 200, "ok\n"),
        ("GET", "/fetch/room/missing", 404, ""),
        ("GET", "/fetch/private/cam", 401, ""),
        ("POST", "/healthz", 405, ""),
        ("GET", "/nothing", 404, ""),
        ("GET", "/metrics", 404, ELSEWHERE),
        ("GET", "/announced/room", 404, ELSEWHERE),
        ("NO METHOD", "/healthz", 400, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let at = WebStream {
            connection: ConnectionKey {
                index: 7,
                generation: 1,
            },
            stream: StreamId(4 * index as u64),
        };
        let (method, path) = (method.to_owned(), path.to_owned());
        let request = WebRequest {
            shard,
            at,
            method,
            path,
            authorization: None,
            identity: None,
            remote: ([127, 0, 0, 1], 9).into(),
        };
        requests.blocking_send(request).unwrap();
        let ShardCommand::Respond { at: to, response } = wait_for(&port) else {
            panic!("no answer");
        };
        assert_eq!(to, at);
        let text = String::from_utf8_lossy(&response.body);
        assert_eq!((response.status, &*text), (status, body), "{index}");
        assert!(
            response
                .fields
                .iter()
                .all(|(name, _)| name != "content-length" && name != "connection")
        );
    }
    handle.stop().unwrap();
    drop(shards);
}

const ELSEWHERE: &str = "this is at the address of `admin.listen`\n";

fn wait_for(port: &ShardPort) -> ShardCommand {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(command) = port.queue.pop() {
            return command;
        }
        thread::yield_now();
    }
    panic!("the shard was told nothing");
}

#[test]
fn taken_port_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = ControlListener::bind(taken.local_addr().unwrap()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Answers,
    /// Takes commands and never answers.
    Silent,
    /// Takes commands and drops them.
    Drops,
    /// Takes nothing; the queue is full from the start.
    QueueFull,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

struct Fixture {
    address: SocketAddr,
    admin: SocketAddr,
    lifecycle: Arc<Lifecycle>,
    certificate: watch::Sender<Arc<str>>,
    handle: Option<ControlHandle>,
    shards: Shards,
}

struct Shards {
    certificate: Option<watch::Sender<Arc<str>>>,
    policy: (watch::Sender<Policy>, watch::Receiver<Policy>),
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Fixture {
    fn start(behaviour: Behaviour) -> Self {
        let paths = ["room", "room/bob", "room/alice", "roomy/x", "private/y"];
        Self::start_with(behaviour, paths.map(str::to_owned).to_vec())
    }

    fn start_with(behaviour: Behaviour, paths: Vec<String>) -> Self {
        let (state, shards) = state(behaviour, paths);
        Self::of(state, shards)
    }

    fn of(state: ControlState, mut shards: Shards) -> Self {
        let lifecycle = Arc::clone(&state.lifecycle);
        let free = "127.0.0.1:0".parse().unwrap();
        let mut listener = ControlListener::bind(free).unwrap();
        listener.answer_operators(bind(free).unwrap());
        let handle = listener.serve(state).spawn(std::future::pending()).unwrap();
        Self {
            address: handle.address(),
            admin: handle.admin_address().unwrap(),
            lifecycle,
            certificate: shards.certificate.take().unwrap(),
            handle: Some(handle),
            shards,
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn request(&self, request: &str) -> Answer {
        Self::request_at(self.address, request)
    }

    /// As operators are answered.
    fn get_admin(&self, path: &str) -> Answer {
        Self::request_at(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn request_at(address: SocketAddr, request: &str) -> Answer {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if head.contains("transfer-encoding: chunked") {
            unchunk(body)
        } else {
            body.to_owned()
        };
        Answer {
            status,
            head: head.to_owned(),
            body,
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.handle.take().unwrap().stop().unwrap();
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }
}

/// Two shards; `room/**` and `roomy/**` are public.
fn state(behaviour: Behaviour, paths: Vec<String>) -> (ControlState, Shards) {
    let (certificate, receiver) = watch::channel(Arc::from("aa11"));
    let public = ["room/**", "roomy/**"].map(|text| text.parse::<Pattern>().unwrap());
    let mut shards = Shards {
        certificate: Some(certificate),
        policy: watch::channel(Policy::uniform(Grant::of(Patterns::new(public.to_vec())))),
        stop: Arc::default(),
        threads: Vec::new(),
    };
    let ports = (0..2).map(|shard| shards.add(shard, behaviour)).collect();
    let state = ControlState {
        endpoints: None,
        mesh: MeshState {
            hop: HopId(7),
            board: Arc::default(),
            routes: Arc::new(|_| Vec::new()),
        },
        calls: None,
        mediaswitch: None,
        signalling: None,
        audio: None,
        music: None,
        shards: ports,
        certificate_sha256: receiver,
        lifecycle: Arc::default(),
        announcements: Arc::new(move |prefix: &str, visit: &mut moqswitch_relay::Visitor<'_>| {
            let below = |path: &&String| path.starts_with(prefix);
            let _ = paths.iter().filter(below).try_for_each(|path| visit(path));
        }),
        policy: shards.policy.1.clone(),
        authority: None,
        token_checks: TokenChecks::new(1),
        websockets: WebSockets::new(2, 2, Duration::from_secs(30)),
        tls: None,
    };
    (state, shards)
}

impl Shards {
    fn add(&mut self, shard: usize, behaviour: Behaviour) -> ShardPort {
        let slot: Arc<std::sync::OnceLock<thread::Thread>> = Arc::default();
        let sleeper = Arc::clone(&slot);
        let port = ShardPort::new(Arc::new(move || {
            if let Some(thread) = sleeper.get() {
                thread.unpark();
            }
        }));
        if behaviour == Behaviour::QueueFull {
            let deadline = Instant::now();
            while port.queue.push(ShardCommand::Drain { deadline }).is_ok() {}
            return port;
        }
        let (queue, stop) = (Arc::clone(&port.queue), Arc::clone(&self.stop));
        let thread = thread::spawn(move || {
            let mut unanswered = Vec::new();
            while !stop.load(Ordering::Acquire) {
                while let Some(command) = queue.pop() {
                    match behaviour {
                        Behaviour::Answers => answer(shard, command),
                        Behaviour::Silent => unanswered.push(command),
                        Behaviour::Drops | Behaviour::QueueFull => drop(command),
                    }
                }
                thread::park();
            }
        });
        slot.set(thread.thread().clone()).unwrap();
        self.threads.push(thread);
        port
    }
}

fn answer(shard: usize, command: ShardCommand) {
    match command {
        ShardCommand::Snapshot(reply) => drop(reply.send(snapshot(shard))),
        ShardCommand::Fetch(request) => {
            let reply = match request.track.as_str() {
                "missing" => Err(FetchError::NotFound),
                "late" => Err(FetchError::Timeout),
                "busy" => Err(FetchError::Busy),
                "failed" => Err(FetchError::Failed),
                track => Ok(FetchReply {
                    group_sequence: 42,
                    payload: vec![
                        Bytes::from(format!("{} ", request.broadcast)),
                        Bytes::from(format!("{track} ")),
                        Bytes::from(format!("{:?}", request.group)),
                    ],
                }),
            };
            drop(request.reply.send(reply));
        }
        _ => {}
    }
}

fn snapshot(shard: usize) -> ShardSnapshot {
    let mut snapshot = ShardSnapshot::default();
    let statistics = &mut snapshot.statistics;
    statistics.media.frames_out = 100 + shard as u64;
    statistics.connections.open_now = 7;
    statistics.network.datagrams_sent = 40;
    statistics.network.sends = 10;
    statistics.drops.add(DropCause::SlowSubscriber, 3);
    let queue = |kind, from_shard, depth_now, overflows| QueueSnapshot {
        kind,
        from_shard,
        depth_now,
        overflows,
    };
    snapshot.queues = vec![
        queue(QueueKind::Lane, Some(1 - u8::try_from(shard).unwrap()), 5, Some(2)),
        queue(QueueKind::Command, None, 0, None),
    ];
    snapshot
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        text.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    text
}
