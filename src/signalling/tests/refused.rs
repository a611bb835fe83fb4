//! Transcripts of everything that is refused: each refusal, each cause, each end of a socket, in both dialects.

use std::time::{Duration, SystemTime};

use moqswitch_signalling::calls::{Cause, Dialplan};
use moqswitch_signalling::{Callback, Place, Settings, SocketTimes, TokenKey, User, Users};
use serde_json::json;

use crate::harness::{Phone, Switch, compare};
use crate::main_path::connect;

#[tokio::test]
async fn each_refusal_has_a_code_and_a_name() {
    let plan = "[[profiles]]\nfrom = \"5001\"\nforbidden = [\"0900\"]\n[[profiles]]\nfrom = \"5004\"\ncalls = 1\n";
    let mut settings = Settings {
        dialplan: Dialplan::parse(plan).unwrap(),
        ..Switch::settings()
    };
    settings.calls.calls_max = 3;
    settings.calls.calls_per_hour_max = 8;
    let switch = Switch::start(settings).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    let mut dave = switch.phone("5004").await;
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    let eleventh = format!("{call}/11");
    for (kind, payload) in [
        ("call", json!({ "to": "0900123", "callId": "c-1" })),
        ("call", json!({ "to": "5003", "callId": alices })),
        ("dtmf", json!({ "callId": alices, "digit": "x" })),
        (
            "iceCandidate",
            json!({ "callId": alices, "party": eleventh, "candidate": "c" }),
        ),
        ("answer", json!({ "callId": alices })),
        ("barge", json!({ "callId": alices })),
        ("add", json!({ "callId": alices, "to": "5003" })),
        ("add", json!({ "callId": alices, "to": "5004" })),
        ("hold", json!({ "callId": "never", "hold": true })),
    ] {
        alice.send(kind, payload).await;
        alice.sync().await;
    }
    carol.sync().await;
    let numbers: Vec<String> = (0..257).map(|number| number.to_string()).collect();
    carol.send("subscribe", json!({ "dns": numbers })).await;
    carol.sync().await;
    // The second of dave's is one too many for its number, the next for the switch.
    for to in ["5003", "5003"] {
        dave.send("call", json!({ "to": to })).await;
        dave.sync().await;
    }
    // Those that find no room count as well: the ninth is one too many for its number within an hour.
    for to in ["5001"; 9] {
        carol.send("call", json!({ "to": to })).await;
        carol.sync().await;
    }
    let mut eve = Phone::connect(switch.address, "/ws").await;
    eve.send("resume", json!({ "session": format!("{:032x}", 1), "seq": 0 }))
        .await;
    eve.expect("error").await;
    let now = switch.get("/api/stats").await.json()["now"]["refused"].clone();
    let expected = json!({ "400": 1, "403": 2, "404": 2, "409": 2, "429": 3, "481": 1, "491": 1, "503": 7 });
    assert_eq!(now["message"], expected, "each is counted");
    compare(
        "refusals.txt",
        &[("alice", &alice), ("carol", &carol), ("dave", &dave), ("eve", &eve)],
    );
}

/// A conference as large as one may be.
#[tokio::test]
async fn one_party_too_many_is_refused() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut others = Vec::new();
    let mut bob = switch.phone("5002").await;
    let (alices, _) = connect(&mut alice, &mut bob, "5002").await;
    for number in 0..30 {
        let dn = format!("6{number:03}");
        let mut phone = switch.phone(&dn).await;
        alice.send("add", json!({ "callId": alices, "to": dn })).await;
        let call = phone.expect("incomingCall").await["callId"].clone();
        phone.send("answer", json!({ "callId": call })).await;
        while alice.expect("transferProgress").await["state"] != "done" {}
        others.push(phone);
    }
    alice.sync().await;
    alice.said.clear();
    alice.send("add", json!({ "callId": alices, "to": "5002" })).await;
    alice.sync().await;
    compare("full-call.txt", &[("alice", &alice)]);
    assert_eq!(
        switch.get("/api/calls").await.json()["calls"][0]["parties"]
            .as_array()
            .unwrap()
            .len(),
        32
    );
}

/// The dialplan may end a call by any cause.
#[tokio::test]
async fn each_cause_has_a_code_and_a_name() {
    let rule = |cause: &Cause| format!("[[rules]]\nto = \"{0}\"\ntarget = \"reject/{0}\"\n", cause.name());
    let plan: String = Cause::ALL.iter().map(rule).collect();
    let settings = Settings {
        dialplan: Dialplan::parse(&plan).unwrap(),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let mut alice = switch.phone("5001").await;
    for cause in Cause::ALL {
        alice
            .send("call", json!({ "to": cause.name(), "callId": cause.name() }))
            .await;
        let ended = alice.expect("callEnded").await;
        assert_eq!(
            (&ended["reason"], &ended["code"], &ended["q850"]),
            (&json!(cause.name()), &json!(cause.sip_status()), &json!(cause.q850()))
        );
    }
    assert_eq!(switch.get("/api/cdr?limit=100").await.json()["count"], Cause::ALL.len());
    compare("causes.txt", &[("alice", &alice)]);
}

#[tokio::test]
async fn each_refused_registration_has_a_code_and_a_reason() {
    let mut users = Users::default();
    let hash = User::hash("correct horse").unwrap();
    users.insert("5001".parse().unwrap(), User::new(&hash, false).unwrap());
    let key = TokenKey::new(b"secret");
    // Nobody is at this address, so nobody can say who may register.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let settings = Settings {
        users: Some(users),
        tokens: Some(key.clone()),
        callback: Callback::new(&format!("http://{address}/who")),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let expired = key.sign(
        &"5001".parse().unwrap(),
        true,
        SystemTime::now() - Duration::from_secs(3600),
    );
    let mut phone = Phone::connect(switch.address, "/ws").await;
    for payload in [
        json!({ "dn": "5001" }),
        json!({ "dn": "5001", "password": "wrong" }),
        json!({ "dn": "5001", "token": "nonsense" }),
        json!({ "dn": "5003", "password": "any" }),
    ] {
        phone.send("register", payload).await;
        phone.expect("registrationFailed").await;
    }
    phone
        .send("register", json!({ "dn": "5001", "password": "correct horse" }))
        .await;
    phone.expect("registered").await;
    phone
        .send(
            "register",
            json!({ "dn": "5001", "password": "correct horse", "device": "x" }),
        )
        .await;
    phone.expect("registrationFailed").await;
    // A token that is over is no token. It is not in the transcript, as it is another each time.
    phone.sync().await;
    let mut late = Phone::connect(switch.address, "/ws").await;
    late.send("register", json!({ "dn": "5001", "token": expired })).await;
    assert_eq!(late.expect("registrationFailed").await["code"], 403);
    let now = switch.get("/api/stats").await.json()["now"]["refused"]["registration"].clone();
    assert_eq!(now, json!({ "401": 1, "403": 3, "409": 1, "503": 1 }));
    compare("registrations.txt", &[("phone", &phone)]);
}

#[tokio::test]
async fn one_device_too_many_is_refused() {
    let switch = Switch::plain().await;
    let mut phones = Vec::new();
    for _ in 0..4 {
        phones.push(switch.phone("5001").await);
    }
    let mut fifth = Phone::connect(switch.address, "/ws").await;
    fifth.send("register", json!({ "dn": "5001", "device": "fifth" })).await;
    assert_eq!(fifth.expect("registrationFailed").await["code"], 429);
    compare("fifth-device.txt", &[("fifth", &fifth)]);
    // One of them is lost: the fifth has its place, and what was lost does not come back.
    let lost = phones.remove(0);
    let session = lost.session.clone();
    lost.cut();
    loop {
        fifth.send("register", json!({ "dn": "5001", "device": "fifth" })).await;
        match fifth.next().await {
            Ok(message) if message["type"] == "registered" => break,
            Ok(_) => {}
            // As often as a socket may try.
            Err(_) => fifth = Phone::connect(switch.address, "/ws").await,
        }
    }
    let mut back = Phone::connect(switch.address, "/ws").await;
    back.send("resume", json!({ "session": session, "seq": 1 })).await;
    assert_eq!(back.expect("error").await["code"], 404);
}

#[tokio::test]
async fn each_end_of_a_socket_has_a_code() {
    let timed = |times| Settings {
        times,
        ..Switch::settings()
    };
    let hasty = Switch::start(timed(SocketTimes {
        first_message: Duration::from_millis(200),
        ..SocketTimes::default()
    }))
    .await;
    let mut mute = Phone::connect(hasty.address, "/ws").await;
    mute.closed().await;
    // No ping comes in that time.
    let deaf = Switch::start(timed(SocketTimes {
        silence: Duration::from_millis(1500),
        ..SocketTimes::default()
    }))
    .await;
    let mut silent = deaf.phone("5001").await;
    silent.said.clear();
    silent.closed().await;
    let switch = Switch::plain().await;
    let mut rude = Phone::connect(switch.address, "/ws").await;
    rude.send("call", json!({ "to": "5002" })).await;
    rude.closed().await;
    let mut long = switch.phone("5001").await;
    long.said.clear();
    long.text(&" ".repeat(16 * 1024 + 1)).await;
    long.closed().await;
    let mut chatty = switch.phone("5002").await;
    for _ in 0..2000 {
        chatty.text("{}").await;
    }
    chatty.closed().await;
    chatty.said.retain(|(_, message)| message["close"].is_u64());
    let mut replaced = Phone::connect(switch.address, "/ws").await;
    replaced
        .send("register", json!({ "dn": "5003", "device": "one" }))
        .await;
    replaced.expect("registered").await;
    replaced.said.clear();
    let mut again = Phone::connect(switch.address, "/ws").await;
    again.send("register", json!({ "dn": "5003", "device": "one" })).await;
    again.expect("registered").await;
    replaced.closed().await;
    let mut ends = Vec::new();
    for switch in [&hasty, &deaf, &switch] {
        // A socket is counted when its task ends, a moment after its client was told.
        while switch.handle().refused().iter().all(|one| one.place != Place::Socket) {
            tokio::task::yield_now().await;
        }
        let refused = switch.handle().refused().into_iter();
        ends.extend(refused.filter(|one| one.place == Place::Socket).map(|one| one.code));
    }
    ends.sort_unstable();
    assert!(
        [4401, 4408].iter().all(|code| ends.contains(code)),
        "each is counted: {ends:?}"
    );
    compare(
        "closed.txt",
        &[
            ("mute", &mute),
            ("rude", &rude),
            ("silent", &silent),
            ("long", &long),
            ("chatty", &chatty),
            ("replaced", &replaced),
        ],
    );
}

/// What the older of the two dialects says when something is refused.
#[tokio::test]
async fn other_dialect_is_told_why_too() {
    let key = TokenKey::new(b"secret");
    let switch = Switch::start(Settings {
        tokens: Some(key.clone()),
        ..Switch::settings()
    })
    .await;
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone.raw(json!({"type":"register","user_id":"alice"})).await;
    phone.next().await.unwrap();
    compare("flat-registration.txt", &[("phone", &phone)]);

    let switch = Switch::plain().await;
    let mut alice = Phone::connect(switch.address, "/ws").await;
    for message in [
        json!({"type":"register","user_id":"a b"}),
        json!({"type":"register","user_id":"alice"}),
        json!({"type":"call","session_id":"s-1"}),
        json!({"type":"answer","session_id":"nobody's"}),
        json!({"type":"answer"}),
        json!({"type":"dance"}),
        json!({"type":"unregister"}),
        json!({"type":"register","user_id":"alice"}),
    ] {
        alice.raw(message).await;
        alice.next().await.unwrap();
    }
    switch.handle().stop();
    alice.closed().await;
    compare("flat-errors.txt", &[("alice", &alice)]);
}
