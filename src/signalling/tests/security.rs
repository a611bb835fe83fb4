//! What strangers try: others' numbers and calls, tokens that are over, bombs, names that are more than names, and pages of
//! other sites. Each is refused and counted, and who is beside it does not notice.

use std::time::{Duration, SystemTime};

use moqswitch_signalling::{ApiKey, Place, Scope, Settings, SocketTimes, TokenKey, Webhook};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Phone, Switch};
use crate::innocent::Innocent;
use crate::outward::Server;
use crate::rest::{event, follow};

/// Each message that names a call, with what else it needs.
fn messages_about(call: &str) -> Vec<(&'static str, Value)> {
    let party = format!("{call}/1");
    vec![
        ("ringing", json!({ "callId": call })),
        ("answer", json!({ "callId": call, "sdp": "v=0" })),
        ("reject", json!({ "callId": call })),
        ("hangup", json!({ "callId": call })),
        ("hold", json!({ "callId": call, "hold": true })),
        ("mute", json!({ "callId": call, "muted": true })),
        ("dtmf", json!({ "callId": call, "digit": "1" })),
        (
            "iceCandidate",
            json!({ "callId": call, "candidate": "c", "party": party }),
        ),
        ("sdpOffer", json!({ "callId": call, "sdp": "v=0" })),
        ("sdpAnswer", json!({ "callId": call, "sdp": "v=0" })),
        ("transfer", json!({ "callId": call, "to": "6666" })),
        ("transfer", json!({ "callId": call, "replaces": call })),
        ("add", json!({ "callId": call, "to": "6666" })),
        ("conference", json!({ "callId": call, "to": "6666" })),
        ("conference", json!({ "callId": call, "other": call })),
        ("remove", json!({ "callId": call, "party": party })),
        ("record", json!({ "callId": call })),
        ("listen", json!({ "callId": call })),
        ("whisper", json!({ "callId": call, "party": party })),
        ("barge", json!({ "callId": call })),
        ("stop", json!({ "callId": call })),
        ("disconnect", json!({ "callId": call })),
        ("takeOver", json!({ "callId": call, "party": party })),
        ("quality", json!({ "callId": call, "rtt": 1 })),
    ]
}

/// Somebody knows another's call, and says everything about it that there is to say: while it rings, and while it is up.
#[tokio::test]
async fn no_message_reaches_the_call_of_another() {
    let switch = Switch::plain().await;
    let mut innocent = Innocent::talk(&switch).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut eve = switch.phone("6666").await;
    alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
    let call = bob.expect("incomingCall").await["callId"].as_str().unwrap().to_owned();
    while alice.expect("callProgress").await["state"] != "ringing" {}
    let mut tried = 0;
    for state in ["ringing", "up"] {
        if state == "up" {
            bob.send("answer", json!({ "callId": call })).await;
            alice.expect("callAccepted").await;
        }
        alice.rest().await;
        bob.rest().await;
        let before = switch.get(&format!("/api/call/{call}")).await.json();
        for (kind, payload) in messages_about(&call) {
            // Below the rate of one socket.
            if tried % 40 == 39 {
                eve = switch.phone("6666").await;
            }
            eve.send(kind, payload).await;
            let code = eve.expect("error").await["code"].clone();
            assert!(code == 481 || code == 403, "{state} {kind}: {code}");
            tried += 1;
        }
        let heard = [alice.rest().await, bob.rest().await].concat();
        assert_eq!(heard, Vec::<Value>::new(), "{state}");
        let mut after = switch.get(&format!("/api/call/{call}")).await.json();
        after["duration"] = before["duration"].clone();
        assert_eq!(after, before, "{state}");
    }
    assert!(switch.grants(&eve).is_empty());
    let counted = switch.refused(Place::Message, 481) + switch.refused(Place::Message, 403);
    assert_eq!(counted, tried);
    innocent.is_untouched(&switch).await;
}

/// Whoever says that it is another is still itself.
#[tokio::test]
async fn numbers_of_others_are_not_believed() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut eve = switch.phone("6666").await;
    eve.send(
        "call",
        json!({ "to": "5002", "from": "5001", "dn": "5001", "displayName": "5001", "callId": "c" }),
    )
    .await;
    let incoming = bob.expect("incomingCall").await;
    assert_eq!(
        (&incoming["from"], &incoming["displayName"]),
        (&json!("6666"), &json!("Agent 6666"))
    );
    eve.send("register", json!({ "dn": "5001" })).await;
    assert_eq!(eve.expect("registrationFailed").await["code"], 409);
    // It is its own registration that goes, whatever number it says.
    eve.send("unregister", json!({ "dn": "5001" })).await;
    eve.expect("unregistered").await;
    assert_eq!(bob.expect("callEnded").await["reason"], "cancelled");
    alice.sync().await;
    assert_eq!(switch.get("/api/dn/5001").await.json()["status"], "available");
    assert_eq!(switch.get("/api/dn/6666").await.status, 404);
    // The secret of a session that is over, and one that never was.
    for session in [eve.session.clone().unwrap(), format!("{:032x}", 5)] {
        let mut back = Phone::connect(switch.address, "/ws").await;
        back.send("resume", json!({ "session": session, "seq": 0 })).await;
        assert_eq!(back.expect("error").await["code"], 404);
    }
    let mut guesser = Phone::connect(switch.address, "/ws").await;
    for session in 1..=5 {
        guesser
            .send("resume", json!({ "session": format!("{session:032x}"), "seq": 0 }))
            .await;
    }
    assert_eq!(guesser.closed().await, 4401);
}

/// A token lets in for as long as it is valid, and so does the registration that was made by it; coming back does not prolong it.
#[tokio::test]
async fn registration_ends_with_its_token() {
    let key = TokenKey::new(b"secret");
    let switch = Switch::start(Settings {
        tokens: Some(key.clone()),
        ..Switch::settings()
    })
    .await;
    let sign = |seconds: i64| {
        let (now, by) = (SystemTime::now(), Duration::from_secs(seconds.unsigned_abs()));
        let expires = if seconds < 0 { now - by } else { now + by };
        key.sign(&"5001".parse().unwrap(), false, expires)
    };
    // Clocks may differ by a minute.
    for (token, code) in [(sign(-3600), 403), (sign(-61), 403), (sign(-1000) + "x", 403)] {
        let mut phone = Phone::connect(switch.address, "/ws").await;
        phone.send("register", json!({ "dn": "5001", "token": token })).await;
        assert_eq!(phone.expect("registrationFailed").await["code"], code);
    }
    assert_eq!(switch.refused(Place::Registration, 403), 3);
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone
        .send(
            "register",
            json!({ "dn": "5001", "token": sign(600), "expires": 86_400 }),
        )
        .await;
    let registered = phone.expect("registered").await;
    let expires = registered["expires"].as_u64().unwrap();
    assert!((600..=660).contains(&expires), "{expires}");
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone
        .send("register", json!({ "dn": "5001", "token": sign(-57) }))
        .await;
    let registered = phone.expect("registered").await;
    assert_eq!(phone.expect("unregistered").await["reason"], "expired");
    assert_eq!(phone.closed().await, 4401);
    let mut back = Phone::connect(switch.address, "/ws").await;
    back.send("resume", json!({ "session": registered["session"], "seq": 1 }))
        .await;
    assert_eq!(back.expect("error").await["code"], 404, "what it knew is of no use");
}

/// Of each path of REST: nobody gets in without a key, with a wrong one, with one that is over, or with one for something else.
#[tokio::test]
async fn no_path_is_open_to_who_has_no_key_for_it() {
    let (key, other) = (TokenKey::new(b"secret"), TokenKey::new(b"other"));
    let only = |scope: Scope| [scope].into_iter().collect();
    let settings = Settings {
        keys: vec![
            ApiKey::new("reader", "read", only(Scope::Read)),
            ApiKey::new("dialler", "call", only(Scope::Call)),
        ],
        api_tokens: Some(key.clone()),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let later = SystemTime::now() + Duration::from_secs(60);
    let before = SystemTime::now() - Duration::from_secs(600);
    let strangers = [
        String::new(),
        "Bearer nobody".to_owned(),
        "Basic cmVhZDpyZWFk".to_owned(),
        format!("Bearer {}", key.sign_scopes("late", &[Scope::Admin], before)),
        format!("Bearer {}", other.sign_scopes("forged", &[Scope::Admin], later)),
        // Of a phone, not of a program.
        format!("Bearer {}", key.sign(&"5001".parse().unwrap(), true, later)),
    ];
    let document: Value = serde_json::from_str(include_str!("../rest/openapi.json")).unwrap();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if ["/api/health", "/api/openapi.json"].contains(&path.as_str()) {
            continue;
        }
        let filled = path
            .replace("{id}", &format!("{:032x}", 7))
            .replace("{dn}", "5001")
            .replace("{name}", "x");
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            for stranger in &strangers {
                let headers = [("Authorization", stranger.as_str())];
                let headers = if stranger.is_empty() { &[][..] } else { &headers };
                let answer = switch.http(&method, &filled, headers, "{\"dn\":\"1\",\"digit\":\"1\",\"to\":\"1\",\"from\":\"1\",\"call_id\":\"00000000000000000000000000000007\",\"party\":\"00000000000000000000000000000007/1\"}").await;
                // Strangers wait when they ask too often.
                assert!(
                    answer.status == 401 || answer.status == 429,
                    "{method} {path} {stranger}: {answer:?}"
                );
                asked += 1;
            }
            let scope = operation["description"].as_str().unwrap();
            let wrong = if scope.contains("`read`") {
                "Bearer call"
            } else {
                "Bearer read"
            };
            let body = "{\"dn\":\"1\",\"digit\":\"1\",\"to\":\"1\",\"from\":\"1\",\"call_id\":\"00000000000000000000000000000007\",\"party\":\"00000000000000000000000000000007/1\"}";
            let answer = switch.http(&method, &filled, &[("Authorization", wrong)], body).await;
            assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
            asked += 1;
        }
    }
    let counted: u64 = [401, 403, 429]
        .iter()
        .map(|code| switch.refused(Place::Request, *code))
        .sum();
    assert_eq!(counted, asked);
    assert!(asked > 150, "{asked}");
}

/// Who guesses keys is slowed down, and who has one is not.
#[tokio::test]
async fn who_guesses_keys_waits_and_others_do_not() {
    let settings = Settings {
        keys: vec![ApiKey::new("board", "reader", [Scope::Read].into_iter().collect())],
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let mut status = 401;
    for _ in 0..1000 {
        if status == 429 {
            break;
        }
        let guesses = (0..50).map(|_| switch.http("GET", "/api/calls", &[("Authorization", "Bearer guess")], ""));
        status = futures_util::future::join_all(guesses).await.pop().unwrap().status;
    }
    assert_eq!(status, 429);
    let reader = [("Authorization", "Bearer reader")];
    assert_eq!(switch.http("GET", "/api/calls", &reader, "").await.status, 200);
}

/// JSON that is meant to hurt, by both ways in: it is bad JSON, or it says what it says, and nothing else happens.
#[tokio::test]
async fn json_is_bounded_and_read_in_one_way() {
    let switch = Switch::plain().await;
    let mut innocent = Innocent::talk(&switch).await;
    let mut eve = switch.phone("6666").await;
    let many = vec!["\"a\":1"; 2000].join(",");
    let long = "9".repeat(4000);
    for bomb in [
        r#"{"type":"call","payload":{"to":"\ud800"}}"#.to_owned(),
        r#"{"type":"call","payload":{"to":"\udc00\ud800"}}"#.to_owned(),
        format!(r#"{{"type":"call","payload":{{{many}}}}}"#),
        format!(r#"{{"type":"call","payload":{{"to":"1","timeout":{long}}}}}"#),
        r#"{"type":"call","payload":{"to":"1","timeout":1e9999}}"#.to_owned(),
        r#"{"type":"call","payload":{"to":"1","timeout":-0x10}}"#.to_owned(),
        r#"{"type":"call","payload":{"to":"1"}} {}"#.to_owned(),
        r#"{"type":"call","payload":{"to":"1",}}"#.to_owned(),
        r#"{"type":"call","payload":{"to":NaN}}"#.to_owned(),
        "\u{feff}{\"type\":\"unregister\"}".to_owned(),
        format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)),
    ] {
        eve.text(&bomb).await;
        let error = eve.expect("error").await;
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!(400), &json!("Invalid JSON")),
            "{bomb:.60}"
        );
    }
    assert_eq!(switch.refused(Place::Message, 400), 11);
    // Of a key that is there twice the last counts, for everybody alike.
    eve.text(r#"{"type":"hangup","type":"dtmf","payload":{"callId":"a"},"payload":{"callId":"b","digit":"1"}}"#)
        .await;
    assert_eq!(eve.expect("error").await["callId"], "b");
    for (id, code) in [
        ("-1", 400),
        ("1.5", 400),
        ("18446744073709551616", 400),
        ("18446744073709551615", 481),
    ] {
        eve.text(&format!(r#"{{"type":"hangup","payload":{{"callId":"a"}},"id":{id}}}"#))
            .await;
        assert_eq!(eve.expect("error").await["code"], code, "{id}");
    }
    for body in [
        r#"{"from":"\ud800","to":"1"}"#.to_owned(),
        format!("{{{many}}}"),
        format!(r#"{{"from":"1","to":"2","timeout":{long}}}"#),
        r#"{"from":"1","to":"2"}{}"#.to_owned(),
        r#"{"from":"1","to":"2","timeout":1e9999}"#.to_owned(),
    ] {
        let answer = switch.http("POST", "/api/call/make", &[], &body).await;
        assert_eq!(
            (answer.status, answer.json()["error"].is_string()),
            (400, true),
            "{body:.60}"
        );
    }
    innocent.is_untouched(&switch).await;
}

/// What is handed on as text is not made into a bomb on its way: neither by depth nor by number.
#[tokio::test]
async fn text_that_is_handed_on_becomes_no_bomb() {
    let switch = Switch::plain().await;
    let mut bob = switch.phone("5002").await;
    let mut eve = switch.phone("6666").await;
    for text in [
        "[".repeat(100) + &"]".repeat(100),
        format!("[{}]", vec!["1"; 4000].join(",")),
    ] {
        eve.send("call", json!({ "to": "5002", "metadata": text, "callId": "c" }))
            .await;
        assert_eq!(bob.expect("incomingCall").await["metadata"], text);
        eve.send("iceCandidate", json!({ "callId": "c", "candidate": text }))
            .await;
        assert_eq!(bob.expect("iceCandidate").await["candidate"], text);
        eve.send("hangup", json!({ "callId": "c" })).await;
        eve.expect("callEnded").await;
    }
}

/// A name that would be a header, a terminal's command, a formula, a tag, or turn around what stands beside it.
const NAME: &str =
    "=cmd|' /C calc'!A0\r\nX-Injected: 1\u{0}\u{1b}[2J\u{202e}evil\u{2066}\u{200f}<script>alert(1)</script>\u{feff}";

/// Has the text nothing that controls how it is shown?
fn is_plain(text: &str) -> bool {
    !text
        .chars()
        .any(|one| one.is_control() || "\u{202e}\u{2066}\u{200f}\u{feff}".contains(one))
}

/// What the parties of a record are called.
fn names_in(record: &Value) -> Vec<String> {
    let parties = record["parties"].as_array().unwrap().iter();
    let names = parties.flat_map(|party| [&party["device"], &party["displayName"]]);
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn names_are_names_wherever_they_are_told() {
    let (server, address) = Server::start().await;
    let webhook = Webhook::new(&format!("http://{address}/"), b"secret", vec!["callRecord".to_owned()]);
    let settings = Settings {
        webhooks: vec![webhook.unwrap()],
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let mut events = follow(&switch, None).await;
    let mut bob = switch.phone("5002").await;
    let mut eve = Phone::connect(switch.address, "/ws").await;
    let device = "laptop\r\n\u{202e}";
    eve.send(
        "register",
        json!({ "dn": "6666", "displayName": NAME, "device": device }),
    )
    .await;
    eve.expect("registered").await;
    let metadata = json!({ "note": NAME, "nested": { "=1+1": [NAME] } });
    eve.send(
        "call",
        json!({ "to": "5002", "callId": "c\r\nd", "metadata": metadata }),
    )
    .await;
    let incoming = bob.expect("incomingCall").await;
    let shown = incoming["displayName"].as_str().unwrap().to_owned();
    assert!(
        shown.starts_with("=cmd|' /C calc'!A0  X-Injected: 1  [2J evil  <script>"),
        "{shown:?}"
    );
    assert_eq!(
        incoming["metadata"], metadata,
        "what is the caller's own comes as it was"
    );
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    eve.expect("callAccepted").await;
    bob.send("hangup", json!({ "callId": incoming["callId"] })).await;
    eve.expect("callEnded").await;
    let (_, _, told) = event(&mut events, &["callRecord"]).await;
    assert!(names_in(&told).iter().all(|name| is_plain(name)), "{told}");
    let (head, body) = server.answer(200, "").await;
    assert!(!head.contains("X-Injected") && head.lines().count() == 8, "{head}");
    let posted: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(posted["data"], told);
    let call = told["callId"].as_str().unwrap();
    let found = switch.get(&format!("/api/call/{call}")).await;
    assert_eq!(found.json(), told);
    assert!(found.head.contains("x-content-type-options: nosniff"), "{}", found.head);
    let table = switch.get("/api/cdr?format=csv").await;
    assert_eq!(table.body.lines().count(), 2, "one line for one call");
    assert!(
        table.body.contains("\"'=cmd|") && is_plain(table.body.replace("\r\n", "").as_str()),
        "{}",
        table.body
    );
    // A path that is not found is said again, and is no header either.
    let missing = switch.get("/api/dn/%0d%0aX-Injected:%201").await;
    assert!(
        missing.status == 404 && !missing.head.contains("x-injected"),
        "{}",
        missing.head
    );
    assert!(is_plain(missing.json()["error"].as_str().unwrap()));
}

/// Pages of other sites, and those that make themselves look like the switch's own.
#[tokio::test]
async fn pages_of_other_sites_may_nothing() {
    let switch = Switch::start(Settings {
        origins: vec!["https://phone.example".to_owned()],
        ..Switch::settings()
    })
    .await;
    let port = switch.address.port();
    let own = format!("http://127.0.0.1:{port}");
    let others = [
        "null".to_owned(),
        String::new(),
        "https://evil.example".to_owned(),
        "https://phone.example.evil.example".to_owned(),
        "https://phone.example:444".to_owned(),
        "http://phone.example".to_owned(),
        "https://evil.example/https://phone.example".to_owned(),
        format!("http://127.0.0.1:{}", port ^ 1),
        "http://127.0.0.1".to_owned(),
        format!("http://127.0.0.1:{port}.evil.example"),
        format!("http://evil@127.0.0.1:{port}"),
        format!("file://127.0.0.1:{port}/x"),
    ];
    // What a page may send without having asked first, and what it may not.
    let kinds = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json",
    ];
    let body = r#"{"from":"1","to":"2"}"#;
    for (tried, origin) in others.iter().enumerate() {
        for kind in kinds {
            let headers = [("Origin", origin.as_str()), ("Content-Type", kind)];
            let answer = switch.http("POST", "/api/call/make", &headers, body).await;
            assert_eq!(answer.status, 403, "{origin} {kind}");
            assert!(!answer.head.contains("access-control-allow-origin"), "{}", answer.head);
        }
        assert!(
            Phone::try_connect(switch.address, "/ws", Some(origin)).await.is_err(),
            "{origin}"
        );
        assert_eq!(switch.refused(Place::Upgrade, 403), tried as u64 + 1);
    }
    assert_eq!(switch.refused(Place::Request, 403), (others.len() * kinds.len()) as u64);
    for origin in [own.as_str(), "https://phone.example", "HTTPS://PHONE.EXAMPLE"] {
        let answer = switch.http("POST", "/api/call/make", &[("Origin", origin)], body).await;
        assert_eq!(answer.status, 404, "{origin}: it may ask, and there is no such number");
        assert!(
            answer
                .head
                .contains(&format!("access-control-allow-origin: {}", origin.to_ascii_lowercase()))
        );
        assert!(
            Phone::try_connect(switch.address, "/ws", Some(origin)).await.is_ok(),
            "{origin}"
        );
    }
    // Two origins are none.
    let two = [("Origin", own.as_str()), ("Origin", "https://evil.example")];
    assert_eq!(switch.http("GET", "/api/calls", &two, "").await.status, 403);
    // A browser says of a picture or a script of another page where it comes from, but gives no origin.
    for (mode, status) in [("no-cors", 403), ("cors", 403), ("navigate", 200)] {
        let headers = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", mode)];
        assert_eq!(
            switch.http("GET", "/api/calls", &headers, "").await.status,
            status,
            "{mode}"
        );
    }
    let headers = [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")];
    assert_eq!(switch.http("GET", "/api/calls", &headers, "").await.status, 200);
}

/// One request, letter by letter.
async fn raw(switch: &Switch, request: &str) -> String {
    let mut stream = TcpStream::connect(switch.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A page bound its own name to this host's address, or a proxy hands on what comes from elsewhere: without keys neither may
/// anything.
#[tokio::test]
async fn this_host_by_another_name_is_another_host() {
    let switch = Switch::plain().await;
    let port = switch.address.port();
    for host in [
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        "0.0.0.0".to_owned(),
        format!("[::2]:{port}"),
        "".to_owned(),
    ] {
        let request = format!("GET /api/calls HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert!(raw(&switch, &request).await.starts_with("HTTP/1.1 403"), "{host}");
    }
    for host in [
        format!("localhost:{port}"),
        format!("LOCALHOST:{port}"),
        format!("[::1]:{port}"),
        "127.0.0.7".to_owned(),
    ] {
        let request = format!("GET /api/calls HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert!(raw(&switch, &request).await.starts_with("HTTP/1.1 200"), "{host}");
    }
    for header in [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Real-IP",
        "CF-Connecting-IP",
    ] {
        assert_eq!(
            switch.http("GET", "/api/calls", &[(header, "x")], "").await.status,
            403,
            "{header}"
        );
    }
    assert_eq!(switch.refused(Place::Request, 403), 12);
}

/// Whoever sends a body letter by letter, or never, is not waited for.
#[tokio::test]
async fn slow_bodies_are_not_waited_for() {
    let times = SocketTimes {
        request: Duration::from_millis(300),
        ..SocketTimes::default()
    };
    let switch = Switch::start(Settings {
        times,
        ..Switch::settings()
    })
    .await;
    let mut streams = Vec::new();
    for path in ["/api/call/make", "/api/call/00000000000000000000000000000007/hold"] {
        let mut stream = TcpStream::connect(switch.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000\r\n\r\n{{",
            switch.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let mut kinds = Vec::new();
    for mut stream in streams {
        let mut answer = String::new();
        // It ends: the connection is not kept for the rest.
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        kinds.push(answer.contains("application/problem+json"));
    }
    assert_eq!(kinds, [false, true], "each in the words of its path");
    assert_eq!(switch.refused(Place::Request, 408), 2);
}
