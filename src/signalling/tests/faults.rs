//! What clients and networks do wrong, by accident or not.

use std::time::{Duration, SystemTime};

use moqswitch_signalling::{Settings, SocketTimes, TokenKey, User, Users};
use serde_json::{Value, json};

use crate::harness::{Phone, Switch, compare};
use crate::main_path::connect;

fn short_first_message() -> Settings {
    let times = SocketTimes {
        first_message: Duration::from_millis(200),
        ..SocketTimes::default()
    };
    Settings {
        times,
        ..Switch::settings()
    }
}

#[tokio::test]
async fn who_says_nothing_first_is_closed() {
    let switch = Switch::start(short_first_message()).await;
    let mut phone = Phone::connect(switch.address, "/ws").await;
    assert_eq!(phone.closed().await, 4401);
}

#[tokio::test]
async fn who_says_something_else_first_is_closed() {
    let switch = Switch::plain().await;
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone.send("call", json!({ "to": "5002" })).await;
    assert_eq!(phone.expect("error").await["code"], 401);
    assert_eq!(phone.closed().await, 4401);
}

#[tokio::test]
async fn silent_sockets_are_closed_and_may_come_back() {
    let times = SocketTimes {
        silence: Duration::from_millis(2000),
        ..SocketTimes::default()
    };
    let switch = Switch::start(Settings {
        times,
        ..Switch::settings()
    })
    .await;
    let mut alice = switch.phone("5001").await;
    assert_eq!(alice.closed().await, 4408);
    let mut back = Phone::connect(switch.address, "/ws").await;
    back.send("resume", json!({ "session": alice.session, "seq": 1 })).await;
    assert_eq!(back.expect("resumed").await["dn"], "5001");
}

#[tokio::test]
async fn pings_keep_a_socket_that_says_nothing() {
    let times = SocketTimes {
        ping: Duration::from_millis(100),
        silence: Duration::from_millis(3000),
        ..SocketTimes::default()
    };
    let switch = Switch::start(Settings {
        times,
        ..Switch::settings()
    })
    .await;
    let mut alice = switch.phone("5001").await;
    let said = tokio::time::timeout(Duration::from_secs(5), alice.next()).await;
    assert!(said.is_err(), "{said:?}");
}

/// A page binds its own name to this host's address: its origin is the request's host, and it comes from this host.
#[tokio::test]
async fn pages_that_bound_their_name_to_this_host_are_not_this_host() {
    let switch = Switch::plain().await;
    let mut page = Phone::named(switch.address, "evil.example", "http://evil.example").await;
    page.send("register", json!({ "dn": "5001" })).await;
    assert_eq!(page.expect("registrationFailed").await["code"], 403);
    assert_eq!(
        switch
            .http("GET", "/api/calls", &[("X-Forwarded-For", "1.2.3.4")], "")
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn tokens_let_their_number_in() {
    let key = TokenKey::new(b"secret");
    let token = |dn: &str| key.sign(&dn.parse().unwrap(), false, SystemTime::now() + Duration::from_secs(60));
    let switch = Switch::start(Settings {
        tokens: Some(key.clone()),
        ..Switch::settings()
    })
    .await;
    let mut phone = Phone::connect(switch.address, "/ws").await;
    for (payload, code) in [
        (json!({ "dn": "5001" }), 401),
        (json!({ "dn": "5001", "token": token("5002") }), 403),
        (json!({ "dn": "5001", "token": "nonsense" }), 403),
    ] {
        phone.send("register", payload).await;
        assert_eq!(phone.expect("registrationFailed").await["code"], code);
    }
    phone
        .send("register", json!({ "dn": "5001", "token": token("5001") }))
        .await;
    phone.expect("registered").await;
}

/// Every error that a message may have, in one transcript.
#[tokio::test]
async fn errors_are_clear_and_nothing_else_happens() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let call = format!("{:032x}", 7);
    for (kind, payload) in [
        ("nonsense", json!({})),
        ("call", json!({})),
        ("call", json!({ "to": 5 })),
        ("call", json!({ "to": "a\r\nb" })),
        ("call", json!({ "to": "5002", "timeout": -1 })),
        ("call", json!({ "to": "9999", "callId": "c-1" })),
        ("answer", json!({ "callId": call })),
        ("answer", json!({ "callId": "never-heard-of" })),
        ("hold", json!({ "callId": call })),
        ("hold", json!({ "callId": call, "hold": "yes" })),
        ("hold", json!({ "hold": true })),
        ("reject", json!({ "callId": call, "reason": "bored" })),
        ("reject", json!({ "callId": call, "scope": "world" })),
        ("dtmf", json!({ "callId": call, "digit": "" })),
        ("transfer", json!({ "callId": call })),
        ("transfer", json!({ "callId": call, "to": "5003" })),
        ("remove", json!({ "callId": call, "party": "x" })),
        ("conference", json!({ "callId": call, "to": "5003" })),
        ("iceCandidate", json!({ "callId": call })),
        ("iceCandidate", json!({ "callId": call, "candidate": {} })),
        ("subscribe", json!({})),
        ("subscribe", json!({ "dns": [1] })),
        ("subscribe", json!({ "calls": true })),
        ("agent", json!({ "state": "asleep" })),
        ("listen", json!({ "callId": call })),
        ("whisper", json!({ "callId": call })),
        ("quality", json!({ "callId": call, "rtt": "long" })),
        ("resume", json!({ "session": call })),
        ("register", json!({ "dn": "5002" })),
        ("register", json!({})),
    ] {
        alice.send(kind, payload).await;
    }
    alice.sync().await;
    alice.raw(json!({ "type": "call", "payload": [1], "id": "list" })).await;
    alice
        .raw(json!({ "type": "call", "payload": { "to": "5002" }, "id": { "a": 1 } }))
        .await;
    alice.raw(json!({ "payload": {} })).await;
    alice.raw(json!([1, 2])).await;
    alice.sync().await;
    assert_eq!(switch.get("/api/calls/active").await.json()["active_calls"], 0);
    compare("errors.txt", &[("alice", &alice)]);
}

#[tokio::test]
async fn json_bombs_are_bad_json() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let deep = format!(
        r#"{{"type":"call","payload":{{"metadata":{}1{}}}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let wide = format!(
        r#"{{"type":"subscribe","payload":{{"dns":[{}]}}}}"#,
        vec!["1"; 5000].join(",")
    );
    let long = format!(r#"{{"type":"quality","payload":{{"rtt":{}}}}}"#, "9".repeat(5000));
    let huge = r#"{"type":"quality","payload":{"rtt":1e999}}"#.to_owned();
    let texts = [
        deep,
        wide,
        long,
        huge,
        "{".to_owned(),
        "\u{0}".to_owned(),
        String::new(),
        "nul".to_owned(),
    ];
    for text in &texts {
        alice.text(text).await;
    }
    for text in &texts {
        let error = alice.expect("error").await;
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!(400), &json!("Invalid JSON")),
            "{text:.40}"
        );
    }
    alice.sync().await;
}

#[tokio::test]
async fn too_long_too_many_and_binary_messages_close_the_socket() {
    let switch = Switch::plain().await;
    let mut long = switch.phone("5001").await;
    long.text(&" ".repeat(16 * 1024 + 1)).await;
    assert_eq!(long.closed().await, 4409);
    let mut binary = switch.phone("5002").await;
    binary.binary(vec![1]).await;
    assert_eq!(binary.closed().await, 4409);
    let mut chatty = switch.phone("5003").await;
    for _ in 0..2000 {
        chatty.text("{}").await;
    }
    assert_eq!(chatty.closed().await, 4429);
}

#[tokio::test]
async fn sockets_of_other_origins_are_refused() {
    let switch = Switch::start(Settings {
        origins: vec!["https://phone.example".to_owned()],
        ..Switch::settings()
    })
    .await;
    let own = format!("http://{}", switch.address);
    for origin in [None, Some(own.as_str()), Some("https://phone.example")] {
        assert!(
            Phone::try_connect(switch.address, "/ws", origin).await.is_ok(),
            "{origin:?}"
        );
    }
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert!(
            Phone::try_connect(switch.address, "/ws", Some(origin)).await.is_err(),
            "{origin}"
        );
    }
}

#[tokio::test]
async fn names_of_strangers_add_no_header() {
    let switch = Switch::plain().await;
    let mut bob = switch.phone("5002").await;
    let mut eve = Phone::connect(switch.address, "/ws").await;
    let name = "Eve\r\nX-Injected: 1\u{0}<script>";
    eve.send("register", json!({ "dn": "6666", "displayName": name })).await;
    eve.expect("registered").await;
    eve.send("call", json!({ "to": "5002" })).await;
    assert_eq!(
        bob.expect("incomingCall").await["displayName"],
        "Eve  X-Injected: 1 <script>"
    );
    for dn in ["5001\r\nX: 1", "<b>", "../etc", "", &"1".repeat(1000)] {
        let mut phone = Phone::connect(switch.address, "/ws").await;
        phone.send("register", json!({ "dn": dn })).await;
        assert_eq!(phone.expect("error").await["code"], 400, "{dn}");
    }
}

#[tokio::test]
async fn passwords_are_checked_and_others_numbers_are_refused() {
    let mut users = Users::default();
    let hash = User::hash("correct horse").unwrap();
    users.insert("5001".parse().unwrap(), User::new(&hash, false).unwrap());
    let switch = Switch::start(Settings {
        users: Some(users),
        ..Switch::settings()
    })
    .await;
    let mut phone = Phone::connect(switch.address, "/ws").await;
    for (payload, code) in [
        (json!({ "dn": "5001" }), 401),
        (json!({ "dn": "5001", "password": "wrong" }), 403),
        (json!({ "dn": "9999", "password": "correct horse" }), 403),
    ] {
        phone.send("register", payload).await;
        assert_eq!(phone.expect("registrationFailed").await["code"], code);
    }
    phone
        .send(
            "register",
            json!({ "dn": "5001", "password": "correct horse", "role": "supervisor" }),
        )
        .await;
    phone.expect("registered").await;
    // Its account is no supervisor's.
    phone.send("subscribe", json!({ "calls": true })).await;
    assert_eq!(phone.expect("error").await["code"], 403);
    // Another number on the same socket takes its own password.
    phone
        .send("register", json!({ "dn": "5002", "password": "correct horse" }))
        .await;
    assert_eq!(phone.expect("registrationFailed").await["code"], 403);
    let mut guesser = Phone::connect(switch.address, "/ws").await;
    for _ in 0..5 {
        guesser
            .send("register", json!({ "dn": "5001", "password": "guess" }))
            .await;
        guesser.expect("registrationFailed").await;
    }
    assert_eq!(guesser.closed().await, 4401);
    // The longer it guesses the longer it waits.
    let mut code = json!(403);
    for _ in 0..20 {
        let mut guesser = Phone::connect(switch.address, "/ws").await;
        guesser
            .send("register", json!({ "dn": "5001", "password": "guess" }))
            .await;
        code = guesser.expect("registrationFailed").await["code"].clone();
        if code == 429 {
            break;
        }
    }
    assert_eq!(code, 429);
}

#[tokio::test]
async fn another_device_of_the_same_name_takes_the_call_over() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = Phone::connect(switch.address, "/ws").await;
    bob.send("register", json!({ "dn": "5002", "device": "laptop" })).await;
    bob.expect("registered").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    let mut reloaded = Phone::connect(switch.address, "/ws").await;
    reloaded
        .send("register", json!({ "dn": "5002", "device": "laptop" }))
        .await;
    let registered = reloaded.expect("registered").await;
    assert_eq!(
        (&registered["calls"][0]["callId"], &registered["calls"][0]["state"]),
        (&json!(call), &json!("up"))
    );
    assert_eq!(bob.expect("unregistered").await["reason"], "replaced");
    assert_eq!(bob.closed().await, 4403);
    reloaded.send("hangup", json!({ "callId": call })).await;
    assert_eq!(alice.expect("callEnded").await["by"], "remote");
}

#[tokio::test]
async fn lost_sockets_come_back_to_what_they_missed() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    bob.sync().await;
    let (session, seq) = (bob.session.clone(), bob.last_seq());
    bob.cut();
    alice.send("hold", json!({ "callId": alices, "hold": true })).await;
    alice.send("dtmf", json!({ "callId": alices, "digit": "9" })).await;
    alice.sync().await;
    let mut back = Phone::connect(switch.address, "/signaling").await;
    back.send("resume", json!({ "session": session, "seq": seq })).await;
    let resumed = back.expect_whole("resumed").await;
    assert_eq!(resumed["payload"]["calls"][0]["callId"], call);
    assert_eq!(resumed["payload"]["calls"][0]["state"], "held");
    assert_eq!(
        (&resumed["payload"]["complete"], &resumed["seq"]),
        (&json!(true), &json!(seq))
    );
    let missed = resumed["payload"]["missed"].as_u64().unwrap();
    for number in 1..=missed {
        assert_eq!(back.next().await.unwrap()["seq"], seq + number);
    }
    back.send("hangup", json!({ "callId": call })).await;
    assert_eq!(alice.expect("callEnded").await["by"], "remote");
    let mut stranger = Phone::connect(switch.address, "/ws").await;
    stranger
        .send("resume", json!({ "session": format!("{:032x}", 1), "seq": 0 }))
        .await;
    assert_eq!(stranger.expect("error").await["code"], 404);
    stranger.register("5003").await;
}

/// A call comes while the socket is lost: it rings as soon as the phone is back, and not before.
#[tokio::test]
async fn call_to_a_lost_socket_rings_when_it_is_back() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let bob = switch.phone("5002").await;
    let (session, seq) = (bob.session.clone(), bob.last_seq());
    bob.cut();
    while switch.get("/api/numbers/5002").await.json()["devices"][0]["lost"] == false {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    alice.send("call", json!({ "to": "5002" })).await;
    alice.sync().await;
    assert!(
        alice
            .heard()
            .iter()
            .all(|message| message["payload"]["state"] != "ringing")
    );
    let mut back = Phone::connect(switch.address, "/ws").await;
    back.send("resume", json!({ "session": session, "seq": seq })).await;
    assert_eq!(back.expect("resumed").await["missed"], 1);
    let incoming = back.expect("incomingCall").await;
    while alice.expect("callProgress").await["state"] != "ringing" {}
    back.send("answer", json!({ "callId": incoming["callId"] })).await;
    alice.expect("callAccepted").await;
}

/// The socket of each side is cut in each state, and nobody comes back. The other is told, and nothing is left.
#[tokio::test]
async fn sockets_cut_in_each_state_leave_nothing_behind() {
    let mut settings = Switch::settings();
    settings.calls.grace_alerting = Duration::from_millis(50);
    settings.calls.grace_up = Duration::from_millis(100);
    let switch = Switch::start(settings).await;
    for state in ["calling", "ringing", "up", "held"] {
        for cut_caller in [true, false] {
            let mut alice = switch.phone("5001").await;
            let mut bob = Phone::connect(switch.address, "/ws").await;
            // It says itself that it rings.
            bob.send("register", json!({ "dn": "5002", "device": "one" })).await;
            bob.expect("registered").await;
            alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
            let call = bob.expect("incomingCall").await["callId"].clone();
            if state != "calling" {
                bob.send("ringing", json!({ "callId": call })).await;
                while alice.expect("callProgress").await["state"] != "ringing" {}
            }
            if state == "up" || state == "held" {
                bob.send("answer", json!({ "callId": call })).await;
                alice.expect("callAccepted").await;
            }
            if state == "held" {
                alice.send("hold", json!({ "callId": "c", "hold": true })).await;
                bob.expect("held").await;
            }
            let mut left = if cut_caller {
                alice.cut();
                bob
            } else {
                bob.cut();
                alice
            };
            let ended = left.expect("callEnded").await;
            let is_cancelled = cut_caller && matches!(state, "calling" | "ringing");
            let reason = if is_cancelled { "cancelled" } else { "unreachable" };
            assert_eq!(ended["reason"], reason, "{state} {cut_caller}");
            left.send("unregister", json!({})).await;
            left.expect("unregistered").await;
        }
    }
    while switch.get("/api/health").await.json()["registered_agents"] != 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(switch.get("/api/calls/active").await.json()["active_calls"], 0);
    assert_eq!(switch.get("/api/cdr").await.json()["count"], 8);
    assert!(
        switch
            .media
            .history()
            .iter()
            .all(|(session, _)| switch.media.over().contains(session))
    );
}

#[tokio::test]
async fn first_of_two_devices_has_the_call() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut first = switch.phone("5002").await;
    let mut second = switch.phone("5002").await;
    alice.send("call", json!({ "to": "5002" })).await;
    let call = first.expect("incomingCall").await["callId"].clone();
    second.expect("incomingCall").await;
    first.send("answer", json!({ "callId": call })).await;
    second.send("answer", json!({ "callId": call })).await;
    let results = [outcome(&mut first).await, outcome(&mut second).await];
    assert_eq!(
        results.iter().filter(|kind| *kind == "callAccepted").count(),
        1,
        "{results:?}"
    );
    assert!(results.contains(&"answered_elsewhere".to_owned()), "{results:?}");
    alice.expect("callAccepted").await;
    alice.sync().await;
    assert!(
        alice
            .said
            .iter()
            .filter(|(_, message)| message["type"] == "callAccepted")
            .count()
            == 1
    );
}

async fn outcome(phone: &mut Phone) -> String {
    loop {
        let message = phone.next().await.unwrap();
        match message["type"].as_str().unwrap() {
            "callAccepted" => return "callAccepted".to_owned(),
            "callEnded" => return message["payload"]["reason"].as_str().unwrap().to_owned(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn answers_that_come_too_late_get_481() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
    let call = bob.expect("incomingCall").await["callId"].clone();
    alice.send("hangup", json!({ "callId": "c" })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "cancelled");
    bob.send("answer", json!({ "callId": call })).await;
    assert_eq!(bob.expect("callEnded").await["reason"], "cancelled");
    assert_eq!(bob.expect("error").await["code"], 481);
    assert!(switch.grants(&alice).is_empty() && switch.grants(&bob).is_empty());
    assert_eq!(switch.get("/api/cdr").await.json()["count"], 1);
}

#[tokio::test]
async fn calls_of_others_are_nobodys_business() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut eve = switch.phone("6666").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    for (kind, payload) in [
        ("hangup", json!({ "callId": call })),
        ("hold", json!({ "callId": call, "hold": true })),
        ("transfer", json!({ "callId": call, "to": "6666" })),
        ("add", json!({ "callId": call, "to": "6666" })),
        ("dtmf", json!({ "callId": call, "digit": "1" })),
        ("iceCandidate", json!({ "callId": call, "candidate": {} })),
        ("listen", json!({ "callId": call })),
    ] {
        eve.send(kind, payload).await;
        let code = eve.expect("error").await["code"].clone();
        assert!(code == 481 || code == 403, "{kind}: {code}");
    }
    assert!(switch.grants(&eve).is_empty());
    // Nothing that others are told of a device lets them take its session.
    let session = bob.session.clone().unwrap();
    bob.sync().await;
    alice.sync().await;
    assert!(!Value::from(alice.heard()).to_string().contains(&session));
    assert!(!switch.get("/api/calls").await.body.contains(&session));
    assert!(!switch.get("/api/numbers/5002").await.body.contains(&session));
}

#[tokio::test]
async fn repeated_requests_are_done_once() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let request = json!({ "type": "call", "payload": { "to": "5002" }, "id": "once" });
    alice.raw(request.clone()).await;
    let first = alice.next().await.unwrap();
    while alice.next().await.unwrap()["payload"]["state"] != "ringing" {}
    alice.raw(request).await;
    assert_eq!(alice.next().await.unwrap(), first);
    bob.expect("incomingCall").await;
    bob.sync().await;
    assert_eq!(switch.get("/api/calls/active").await.json()["active_calls"], 1);
}

#[tokio::test]
async fn transfer_connects_the_others() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    bob.send("transfer", json!({ "callId": call, "to": "5003" })).await;
    assert_eq!(bob.expect("transferProgress").await["state"], "trying");
    let incoming = carol.expect("incomingCall").await;
    carol.send("answer", json!({ "callId": incoming["callId"] })).await;
    carol.expect("callAccepted").await;
    assert_eq!(bob.expect("callEnded").await["reason"], "transferred");
    assert!(switch.grants(&bob).is_empty());
    assert_eq!(switch.grants(&carol).publish, [format!("call/{call}/3/**")]);
    alice.send("hangup", json!({ "callId": "call-1" })).await;
    carol.expect("callEnded").await;
    let record = switch.get(&format!("/api/call/{call}")).await.json();
    assert_eq!(record["transfers"][0]["by"], "5002");
    assert_eq!(record["parties"].as_array().unwrap().len(), 3);
}
