//! Webhooks and hooks: a server of the test's own answers.

use std::net::SocketAddr;

use moqswitch_signalling::calls::Dialplan;
use moqswitch_signalling::{Callback, Settings, Webhook};
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Phone, Switch};

pub(crate) struct Server(TcpListener);

impl Server {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self(listener), address)
    }

    /// The next request: its head and its body; it is answered.
    pub(crate) async fn answer(&self, status: u16, body: &str) -> (String, String) {
        answer(&self.0, status, body).await
    }
}

/// The next request that somebody makes there: its head and its body; it is answered.
pub(crate) async fn answer(listener: &TcpListener, status: u16, body: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = read(&mut stream).await;
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    request
}

async fn read(stream: &mut TcpStream) -> (String, String) {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert_ne!(count, 0, "it ended: {text}");
        text += std::str::from_utf8(&bytes[..count]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return (head.to_owned(), body.to_owned());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap()
}

#[tokio::test]
async fn webhooks_are_signed_and_posted_again() {
    let (server, address) = Server::start().await;
    let webhook = Webhook::new(
        &format!("http://{address}/events"),
        b"secret",
        vec!["registration".to_owned()],
    );
    let settings = Settings {
        webhooks: vec![webhook.unwrap()],
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let _alice = switch.phone("5001").await;
    let (first, _) = server.answer(503, "").await;
    let (head, body) = server.answer(200, "").await;
    assert!(head.starts_with("POST /events HTTP/1.0\r\n"), "{head}");
    assert_eq!(
        header(&head, "Moqswitch-Delivery"),
        header(&first, "Moqswitch-Delivery"),
        "the same once more"
    );
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["dn"]),
        (&json!("registration"), &json!("5001"))
    );
    let signed = format!("{}.{body}", header(&head, "Moqswitch-Timestamp"));
    let signature = header(&head, "Moqswitch-Signature").strip_prefix("sha256=").unwrap();
    let bytes: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    hmac::verify(&key, signed.as_bytes(), &bytes).unwrap();
}

#[tokio::test]
async fn hooks_decide_where_calls_go() {
    let (server, address) = Server::start().await;
    let plan = format!(
        "[[rules]]\nto = \"_0800.\"\nhook = \"http://{address}/route\"\nhook_timeout_ms = 30000\nhook_fallback = \"number/5003\"\n"
    );
    let settings = Settings {
        dialplan: Dialplan::parse(&plan).unwrap(),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    alice.send("call", json!({ "to": "08001" })).await;
    let (_, body) = server.answer(200, r#"{"target":"number/5002"}"#).await;
    let asked: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&asked["from"], &asked["to"]), (&json!("5001"), &json!("08001")));
    bob.expect("incomingCall").await;
    alice.send("call", json!({ "to": "08002" })).await;
    server.answer(200, r#"{"reject":"busy"}"#).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "busy");
    alice.send("call", json!({ "to": "08003" })).await;
    server.answer(500, "").await;
    carol.expect("incomingCall").await;
}

#[tokio::test]
async fn hook_that_does_not_answer_in_time_leaves_it_to_the_fallback() {
    let (server, address) = Server::start().await;
    let plan = format!(
        "[[rules]]\nto = \"_0800.\"\nhook = \"http://{address}/route\"\nhook_timeout_ms = 200\nhook_fallback = \"number/5003\"\n"
    );
    let settings = Settings {
        dialplan: Dialplan::parse(&plan).unwrap(),
        ..Switch::patient()
    };
    let switch = Switch::start(settings).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    alice.send("call", json!({ "to": "08001", "callId": "c" })).await;
    let (mut asked, _) = server.0.accept().await.unwrap();
    read(&mut asked).await;
    // It is asked, and says nothing until the fallback rings.
    let incoming = carol.expect("incomingCall").await;
    let body = r#"{"target":"number/5002"}"#;
    let late = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // It may be closed by now.
    let _ = asked.write_all(late.as_bytes()).await;
    carol.send("answer", json!({ "callId": incoming["callId"] })).await;
    assert_eq!(alice.expect("callAccepted").await["peer"]["dn"], "5003");
    assert!(bob.rest().await.is_empty(), "it was too late");
}

#[tokio::test]
async fn hook_says_more_than_where_a_call_goes() {
    let (server, address) = Server::start().await;
    let plan = format!("[[rules]]\nto = \"_0800.\"\nhook = \"http://{address}/route\"\nhook_timeout_ms = 30000\n");
    let settings = Settings {
        dialplan: Dialplan::parse(&plan).unwrap(),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    alice.send("call", json!({ "to": "08001", "callId": "c" })).await;
    let body = r#"{"target":"number/5002","timeout":1,"record":true,"codecs":["pcmu"],"displayName":"ACME Ltd"}"#;
    server.answer(200, body).await;
    let incoming = bob.expect("incomingCall").await;
    assert_eq!(
        (&incoming["displayName"], &incoming["lifetime"]),
        (&json!("ACME Ltd"), &json!(1))
    );
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    alice.expect("callAccepted").await;
    let told = alice.expect("participants").await;
    let codecs: Vec<&Value> = told["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["codec"])
        .collect();
    assert_eq!(codecs, ["pcmu", "pcmu"], "{told}");
    let call = switch
        .get(&format!("/api/call/{}", incoming["callId"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(
        (&call["recording"], &call["from"]["displayName"]),
        (&json!(true), &json!("ACME Ltd"))
    );
    alice.send("hangup", json!({ "callId": "c" })).await;
    alice.expect("callEnded").await;
    // What nobody has, nobody can speak.
    let plain = json!({ "dn": "5004", "codecs": ["opus"] });
    let mut dave = Phone::connect(switch.address, "/ws").await;
    dave.send("register", plain).await;
    dave.expect("registered").await;
    dave.send("call", json!({ "to": "08002" })).await;
    server
        .answer(200, r#"{"target":"number/5002","codecs":["g722"]}"#)
        .await;
    assert_eq!(dave.expect("callEnded").await["reason"], "incompatible");
}

#[tokio::test]
async fn what_a_webhook_refuses_for_what_it_is_is_not_posted_again() {
    let (server, address) = Server::start().await;
    let webhook = Webhook::new(&format!("http://{address}/"), b"s", vec!["registration".to_owned()]);
    let settings = Settings {
        webhooks: vec![webhook.unwrap()],
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let _alice = switch.phone("5001").await;
    let _bob = switch.phone("5002").await;
    let (_, first) = server.answer(404, "").await;
    let (_, second) = server.answer(200, "").await;
    let dn = |body: &str| serde_json::from_str::<Value>(body).unwrap()["data"]["dn"].clone();
    assert_eq!((dn(&first), dn(&second)), (json!("5001"), json!("5002")));
    let counted = || async { switch.handle().figures().await.unwrap().webhook_events };
    while counted().await[0].1 + counted().await[1].1 < 2 {
        switch.breathe().await;
    }
    assert_eq!(counted().await, [("taken", 1), ("refused", 1), ("dropped", 0)]);
}

#[tokio::test]
async fn program_says_who_may_register() {
    let (server, address) = Server::start().await;
    let settings = Settings {
        callback: Callback::new(&format!("http://{address}/who")),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let mut phone = Phone::connect(switch.address, "/ws").await;
    for (status, code) in [(403, 403), (500, 503)] {
        phone.send("register", json!({ "dn": "5001", "password": "p" })).await;
        let (_, body) = server.answer(status, "").await;
        let asked: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            asked,
            json!({ "dn": "5001", "password": "p", "token": null, "peer": "127.0.0.1" })
        );
        assert_eq!(phone.expect("registrationFailed").await["code"], code);
    }
    phone
        .send("register", json!({ "dn": "5001", "role": "supervisor" }))
        .await;
    server.answer(200, r#"{"supervisor":true}"#).await;
    phone.expect("registered").await;
    phone.send("subscribe", json!({ "calls": true })).await;
    phone.expect("ok").await;
}
