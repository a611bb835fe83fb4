//! REST: the eight paths that were there before, those beyond them, records and events.

use moqswitch_signalling::{ApiKey, Scope, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::{Normal, Switch, compare_text};
use crate::main_path::connect;

/// As the documents of the call centre print it, path by path.
#[tokio::test]
async fn old_paths_answer_as_they_did() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let health = switch.get("/api/health").await.json();
    assert_eq!(health["status"], "ok");
    assert!(health["timestamp"].is_string() && health["uptime"].is_u64());
    assert_eq!(health["registered_agents"], 2);

    let found = switch.get("/api/dn/5001").await.json();
    assert_eq!(
        (&found["dn"], &found["status"], &found["sip_uri"]),
        (&json!("5001"), &json!("available"), &json!("sip:5001@127.0.0.1"))
    );
    let missing = switch.get("/api/dn/7777").await;
    assert_eq!(
        (missing.status, missing.json()),
        (404, json!({ "error": "DN not found: 7777" }))
    );
    let list = switch.get("/api/dn/list").await.json();
    assert_eq!(list["dns"][0]["dn"], "5001");
    assert_eq!(list["dns"][1]["status"], "registered");
    let trunk = switch.get("/api/genesys/status").await;
    assert_eq!(
        (trunk.status, trunk.json()),
        (503, json!({ "error": "Genesys server unreachable" }))
    );

    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    let active = switch.get("/api/calls/active").await.json();
    assert_eq!((&active["active_calls"], &active["count"]), (&json!(1), &json!(1)));
    assert_eq!(active["calls"][0]["call_id"], call);
    let of = switch.get("/api/calls/dn/5002").await.json();
    assert_eq!(of["active_calls"][0]["state"], "confirmed");
    assert_eq!(of["active_calls"][0]["from"], "sip:5001@127.0.0.1");
    assert_eq!(switch.get("/api/calls/dn/7777").await.status, 404);

    for (body, status, error) in [
        (json!({ "to": "5002" }), 400, "Missing required parameter: from"),
        (json!({ "from": "5001" }), 400, "Missing required parameter: to"),
        (json!({ "from": "7777", "to": "5002" }), 404, "DN not found: 7777"),
    ] {
        let answer = switch.post("/api/call/make", &body).await;
        assert_eq!(
            (answer.status, answer.json()),
            (status, json!({ "error": error })),
            "{body}"
        );
    }
    assert_eq!(switch.get("/api/call/make").await.status, 405);
    assert_eq!(switch.get("/api/call/hangup").await.status, 405);
    assert_eq!(switch.post("/api/call/hangup", &json!({})).await.status, 400);

    // It ends in any state, once.
    let answer = switch.post("/api/call/hangup", &json!({ "call_id": call })).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "status": "terminated", "call_id": call }))
    );
    assert_eq!(bob.expect("callEnded").await["by"], "system");
    let answer = switch.post("/api/call/hangup", &json!({ "call_id": call })).await;
    assert_eq!(
        (answer.status, answer.json()),
        (404, json!({ "error": "Call not found" }))
    );
}

#[tokio::test]
async fn click_to_dial_rings_who_calls_first() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let answer = switch
        .post("/api/call/make", &json!({ "from": "5001", "to": "5002" }))
        .await;
    let made = answer.json();
    assert_eq!((answer.status, &made["status"]), (202, &json!("initiated")));
    let incoming = alice.expect("incomingCall").await;
    assert_eq!(
        (&incoming["callId"], &incoming["from"]),
        (&made["call_id"], &json!("5002"))
    );
    alice.send("answer", json!({ "callId": made["call_id"] })).await;
    let incoming = bob.expect("incomingCall").await;
    assert_eq!(incoming["from"], "5001");
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    bob.expect("callAccepted").await;
    let call = switch
        .get(&format!("/api/call/{}", made["call_id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(
        (&call["state"], &call["from"]["dn"], &call["to"]),
        (&json!("up"), &json!("5001"), &json!("5002"))
    );
}

#[tokio::test]
async fn programs_change_calls_and_are_told_why_they_may_not() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    let path = |verb: &str| format!("/api/call/{call}/{verb}");
    assert_eq!(switch.post(&path("hold"), &json!({ "hold": true })).await.status, 200);
    assert_eq!(bob.expect("held").await["by"], "remote");
    assert_eq!(switch.post(&path("hold"), &json!({ "hold": false })).await.status, 200);
    assert_eq!(switch.post(&path("dtmf"), &json!({ "digit": "7" })).await.status, 200);
    assert_eq!(bob.expect("dtmf").await["digit"], "7");
    let problem = switch.post(&path("dtmf"), &json!({ "digit": "x" })).await;
    assert_eq!(problem.status, 400);
    assert!(problem.head.contains("application/problem+json"), "{}", problem.head);
    assert_eq!(problem.json()["status"], 400);
    for (verb, body, status) in [
        ("dtmf", json!({}), 400),
        ("remove", json!({}), 400),
        ("hold", json!({ "party": "nonsense" }), 400),
        ("hold", json!({ "party": format!("{call}/9") }), 404),
        ("hangup", json!({ "reason": "because" }), 400),
        ("dance", json!({}), 404),
        ("listen", json!({}), 400),
        ("listen", json!({ "dn": "9999" }), 404),
    ] {
        assert_eq!(switch.post(&path(verb), &body).await.status, status, "{verb} {body}");
    }
    assert_eq!(
        switch
            .post(&format!("/api/call/{:032x}/hold", 7), &json!({}))
            .await
            .status,
        404
    );
    assert_eq!(switch.get("/api/nonsense").await.status, 404);

    assert_eq!(switch.post(&path("listen"), &json!({ "dn": "5003" })).await.status, 200);
    let accepted = carol.expect("callAccepted").await;
    assert_eq!(accepted["media"]["publish"], Value::Null);
    assert_eq!(switch.grants(&carol).publish, Vec::<String>::new());
    assert_eq!(switch.post(&path("disconnect"), &json!({})).await.status, 200);
    assert!(switch.grants(&carol).is_empty());
    let record = switch.get(&format!("/api/call/{call}")).await.json();
    assert_eq!(
        (&record["by"], &record["reason"]),
        (&json!("api"), &json!("normal_clearing"))
    );
}

#[tokio::test]
async fn records_are_found_and_come_to_something() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    alice.send("hangup", json!({ "callId": alices })).await;
    alice.expect("callEnded").await;
    alice.send("call", json!({ "to": "7777" })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "unallocated");
    let found = switch.get("/api/cdr?dn=5002").await.json();
    assert_eq!(found["count"], 1);
    let mut normal = Normal::default();
    let record = serde_json::to_string_pretty(&normal.value(&found["records"][0])).unwrap();
    assert_eq!(found["records"][0]["callId"], call);
    compare_text("record.json", &(record + "\n"));
    assert_eq!(switch.get("/api/cdr?cause=unallocated").await.json()["count"], 1);
    let first = switch.get("/api/cdr?limit=1").await.json();
    assert_eq!(
        (&first["records"][0]["reason"], &first["more"]),
        (&json!("unallocated"), &json!(true))
    );
    assert_eq!(switch.get("/api/cdr?since=x").await.status, 400);
    let table = switch.get("/api/cdr?format=csv").await;
    assert!(table.head.contains("text/csv"));
    assert_eq!(table.body.lines().count(), 3);
    let stats = switch.get("/api/stats").await.json();
    assert_eq!(
        (&stats["calls"], &stats["answered"], &stats["answerSeizureRatio"]),
        (&json!(2), &json!(1), &json!(0.5))
    );
    assert_eq!(stats["causes"], json!({ "normal_clearing": 1, "unallocated": 1 }));
}

#[tokio::test]
async fn keys_say_who_may_and_how_often() {
    let settings = Settings {
        keys: vec![
            ApiKey::new("board", "reader", [Scope::Read].into_iter().collect()),
            ApiKey::new("dialler", "caller", [Scope::Read, Scope::Call].into_iter().collect()),
        ],
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let reader = [("Authorization", "Bearer reader")];
    let caller = [("Authorization", "Bearer caller")];
    assert_eq!(switch.get("/api/health").await.status, 200);
    let refused = switch.get("/api/calls").await;
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: bearer"));
    assert_eq!(
        switch
            .http("GET", "/api/calls", &[("Authorization", "Bearer nobody")], "")
            .await
            .status,
        401
    );
    assert_eq!(switch.http("GET", "/api/calls", &reader, "").await.status, 200);
    let body = r#"{"from":"1","to":"2"}"#;
    assert_eq!(switch.http("POST", "/api/call/make", &reader, body).await.status, 403);
    assert_eq!(switch.http("POST", "/api/call/make", &caller, body).await.status, 404);
    assert_eq!(
        switch
            .http("POST", &format!("/api/call/{:032x}/listen", 1), &caller, "{}")
            .await
            .status,
        403
    );
    let mut last = switch.http("GET", "/api/calls", &reader, "").await;
    for _ in 0..100_000 {
        if last.status == 429 {
            break;
        }
        let many = (0..50).map(|_| switch.http("GET", "/api/calls", &reader, ""));
        last = futures_util::future::join_all(many).await.pop().unwrap();
    }
    assert_eq!(last.status, 429);
    assert!(last.head.contains("retry-after: 1"), "{}", last.head);
}

#[tokio::test]
async fn pages_of_other_origins_and_other_names_are_refused() {
    let switch = Switch::plain().await;
    let body = r#"{"from":"1","to":"2"}"#;
    let evil = [("Origin", "https://evil.example")];
    assert_eq!(switch.http("POST", "/api/call/make", &evil, body).await.status, 403);
    assert_eq!(switch.http("GET", "/api/calls", &evil, "").await.status, 403);
    // What a proxy on this host hands on came from elsewhere.
    assert_eq!(
        switch
            .http("GET", "/api/calls", &[("X-Forwarded-For", "10.1.2.3")], "")
            .await
            .status,
        403
    );
    let own = format!("http://{}", switch.address);
    let allowed = switch.http("OPTIONS", "/api/calls", &[("Origin", &own)], "").await;
    assert_eq!(allowed.status, 204);
    assert!(
        allowed
            .head
            .contains("access-control-allow-methods: get, post, delete, options"),
        "{}",
        allowed.head
    );
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let switch = Switch::plain().await;
    for body in [
        "{",
        "[]",
        "\"x\"",
        &("[".repeat(64) + &"]".repeat(64)),
        r#"{"from":1e999999999999999999999999999,"to":"1"}"#,
    ] {
        assert_eq!(
            switch.http("POST", "/api/call/make", &[], body).await.status,
            400,
            "{body}"
        );
    }
    assert_eq!(
        switch
            .http("POST", "/api/call/make", &[], &" ".repeat(100_000))
            .await
            .status,
        413
    );
}

/// Reads events until one of these kinds comes: its id, its kind and its data.
pub(crate) async fn event(reader: &mut BufReader<TcpStream>, kinds: &[&str]) -> (String, String, Value) {
    let (mut id, mut name) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).await.unwrap(), 0, "the stream ended");
        if let Some(text) = line.strip_prefix("id: ") {
            text.trim().clone_into(&mut id);
        } else if let Some(text) = line.strip_prefix("event: ") {
            text.trim().clone_into(&mut name);
        } else if let Some(text) = line.strip_prefix("data: ")
            && kinds.contains(&name.as_str())
        {
            return (id, name, serde_json::from_str(text).unwrap());
        }
    }
}

pub(crate) async fn follow(switch: &Switch, last: Option<&str>) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(switch.address).await.unwrap();
    let last = last
        .map(|last| format!("Last-Event-ID: {last}\r\n"))
        .unwrap_or_default();
    let request = format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n{last}\r\n", switch.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).await.unwrap();
    }
    reader
}

#[tokio::test]
async fn events_come_in_order_and_go_on_where_they_stopped() {
    let switch = Switch::plain().await;
    let mut events = follow(&switch, None).await;
    let mut alice = switch.phone("5001").await;
    let (first, _, told) = event(&mut events, &["registration"]).await;
    assert_eq!((&told["dn"], &told["registered"]), (&json!("5001"), &json!(true)));
    drop(events);
    let mut bob = switch.phone("5002").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    let mut events = follow(&switch, Some(&first)).await;
    let (_, _, told) = event(&mut events, &["registration"]).await;
    assert_eq!(told["dn"], "5002", "not 5001 again");
    let mut states = Vec::new();
    while states.len() < 6 {
        let (_, _, leg) = event(&mut events, &["leg"]).await;
        assert_eq!(leg["call"], call);
        states.push(format!(
            "{} {}",
            leg["dn"].as_str().unwrap(),
            leg["state"].as_str().unwrap()
        ));
    }
    assert_eq!(
        states,
        [
            "5001 calling",
            "5002 calling",
            "5002 ringing",
            "5001 ringing",
            "5002 up",
            "5001 up"
        ]
    );
    bob.send("hangup", json!({ "callId": call })).await;
    let (_, _, record) = event(&mut events, &["callRecord"]).await;
    assert_eq!(record["by"], format!("{call}/2"));
    let mut events = follow(&switch, Some("1-1")).await;
    event(&mut events, &["gap"]).await;
}
