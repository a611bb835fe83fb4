//! The document of REST and what is answered: each status that the one has for a path, the other gives, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use moqswitch_signalling::calls::Dialplan;
use moqswitch_signalling::{Scope, Settings, TokenKey};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::{Phone, Switch};
use crate::main_path::connect;
use crate::recordings::Shelf;

/// A method in small letters, and a path as the document has it.
type Operation = (String, String);

/// Kinds of contents that a status may have.
type Contents = BTreeSet<String>;

/// Statuses that nothing in this crate can bring about: no trunk registers by it.
const ELSEWHERE: [(&str, u16); 2] = [("/api/genesys/status", 200), ("/api/trunks/{name}/status", 200)];

fn documented() -> BTreeMap<(Operation, u16), Contents> {
    let document: Value = serde_json::from_str(include_str!("../rest/openapi.json")).unwrap();
    let mut documented = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let contents = response["content"].as_object().unwrap().keys().cloned().collect();
                let operation = (method.clone(), path.clone());
                documented.insert((operation, status.parse().unwrap()), contents);
            }
        }
    }
    documented
}

struct Client {
    switch: Switch,
    key: TokenKey,
    seen: BTreeMap<(Operation, u16), Contents>,
    names: u32,
}

impl Client {
    fn token(&self, name: &str, scope: Scope) -> String {
        let later = SystemTime::now() + Duration::from_secs(600);
        format!("Bearer {}", self.key.sign_scopes(name, &[scope], later))
    }

    /// Asks as a program of its own, so that no rate is in the way.
    async fn ask(&mut self, operation: &Operation, fill: &str, body: &Value) -> u16 {
        self.names += 1;
        let token = self.token(&format!("program-{}", self.names), Scope::Admin);
        self.ask_as(Some(&token), operation, fill, body).await
    }

    async fn ask_as(&mut self, token: Option<&str>, operation: &Operation, fill: &str, body: &Value) -> u16 {
        let (status, kind) = asked(&self.switch, token, operation, fill, body).await;
        self.seen.entry((operation.clone(), status)).or_default().insert(kind);
        status
    }

    async fn call(&mut self, verb: &str, call: &str, body: Value) -> u16 {
        let operation = ("post".to_owned(), format!("/api/call/{{id}}/{verb}"));
        self.ask(&operation, call, &body).await
    }
}

/// The status of an answer, and the kind of its contents. `fill` takes the place of what stands between braces; behind a
/// question mark comes a query.
async fn asked(switch: &Switch, token: Option<&str>, operation: &Operation, fill: &str, body: &Value) -> (u16, String) {
    let (method, path) = operation;
    let (fill, query) = fill.split_once('?').unwrap_or((fill, ""));
    let mut filled = path.clone();
    // What stands between further braces comes behind a semicolon.
    for fill in fill.split(';') {
        if let (Some(from), Some(to)) = (filled.find('{'), filled.find('}')) {
            filled.replace_range(from..=to, fill);
        }
    }
    let filled = filled.replace(['{', '}'], "");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let token = token
        .map(|token| format!("Authorization: {token}\r\n"))
        .unwrap_or_default();
    let request = format!(
        "{} {filled}?{query} HTTP/1.1\r\nHost: {}\r\n{token}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        method.to_uppercase(),
        switch.address,
        body.len()
    );
    let mut stream = TcpStream::connect(switch.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut status, mut kind) = (0, String::new());
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-type: ") {
            value.split(';').next().unwrap().clone_into(&mut kind);
        }
    }
    (status, kind)
}

/// What is done and refused of a call, verb by verb.
async fn use_calls(client: &mut Client) {
    let mut alice = client.switch.phone("5001").await;
    let mut bob = client.switch.phone("5002").await;
    let mut carol = client.switch.phone("5003").await;
    let mut chief = Phone::connect(client.switch.address, "/ws").await;
    chief
        .send(
            "register",
            json!({ "dn": "5009", "device": "desk", "role": "supervisor" }),
        )
        .await;
    chief.expect("registered").await;
    let chiefs = json!({ "dn": "5009" });
    // While it rings.
    alice.send("call", json!({ "to": "5002", "callId": "rings" })).await;
    let call = bob.expect("incomingCall").await["callId"].as_str().unwrap().to_owned();
    let callee = json!({ "dn": "5009", "party": format!("{call}/2") });
    for (verb, body) in [
        ("hold", json!({})),
        ("mute", json!({})),
        ("dtmf", json!({ "digit": "1" })),
        ("transfer", json!({ "to": "5003" })),
        ("add", json!({ "to": "5003" })),
        ("record", json!({ "paused": true })),
        ("listen", chiefs.clone()),
        ("whisper", callee),
        ("barge", chiefs.clone()),
    ] {
        assert_eq!(client.call(verb, &call, body).await, 409, "{verb}");
    }
    bob.send("answer", json!({ "callId": call })).await;
    alice.expect("callAccepted").await;
    for (verb, body) in [
        ("hold", json!({ "hold": true })),
        ("hold", json!({ "hold": false })),
        ("mute", json!({})),
        ("dtmf", json!({ "digit": "1" })),
        ("record", json!({})),
        ("record", json!({ "paused": true })),
        ("listen", chiefs.clone()),
        ("whisper", chiefs.clone()),
        ("barge", chiefs.clone()),
        ("stop", chiefs.clone()),
        ("add", json!({ "to": "5003" })),
    ] {
        assert_eq!(client.call(verb, &call, body).await, 200, "{verb}");
    }
    let over = json!({ "dn": "5009", "party": format!("{call}/1") });
    assert_eq!(
        client.call("takeover", &call, over.clone()).await,
        409,
        "somebody is being called"
    );
    let incoming = carol.expect("incomingCall").await;
    carol.send("answer", json!({ "callId": incoming["callId"] })).await;
    carol.expect("callAccepted").await;
    assert_eq!(client.call("takeover", &call, over).await, 200);
    let lecture = json!({ "speakers": [format!("{call}/2")] });
    assert_eq!(client.call("lecture", &call, lecture).await, 200);
    assert_eq!(client.call("lecture", &call, json!({ "speakers": "all" })).await, 400);
    let out = json!({ "party": format!("{call}/2") });
    assert_eq!(client.call("remove", &call, out).await, 200);
    assert_eq!(client.call("disconnect", &call, json!({})).await, 200);
    for phone in [&mut alice, &mut bob, &mut carol] {
        phone.sync().await;
    }
    look_at_calls(client, [alice, bob, carol, chief]).await;
}

/// What else a call may end by, how one is made, and one that is kept, to be looked at.
async fn look_at_calls(client: &mut Client, phones: [Phone; 4]) {
    let [mut alice, mut bob, mut carol, mut chief] = phones;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    assert_eq!(client.call("transfer", &call, json!({ "to": "5003" })).await, 200);
    assert_eq!(client.call("hangup", &call, json!({})).await, 200);
    for phone in [&mut alice, &mut bob, &mut carol] {
        phone.sync().await;
    }
    let make = ("post".to_owned(), "/api/call/make".to_owned());
    assert_eq!(
        client.ask(&make, "", &json!({ "from": "5001", "to": "5002" })).await,
        202
    );
    let made = alice.expect("incomingCall").await["callId"].clone();
    let hang_up = ("post".to_owned(), "/api/call/hangup".to_owned());
    assert_eq!(client.ask(&hang_up, "", &json!({ "call_id": made })).await, 200);
    // It is kept: the one to look at.
    let (_, call) = connect(&mut carol, &mut chief, "5009").await;
    let one = ("get".to_owned(), "/api/call/{id}".to_owned());
    assert_eq!(client.ask(&one, &call, &Value::Null).await, 200);
    let number = ("get".to_owned(), "/api/dn/{dn}".to_owned());
    for path in ["/api/dn/{dn}", "/api/calls/dn/{dn}", "/api/numbers/{dn}"] {
        let operation = (number.0.clone(), path.to_owned());
        assert_eq!(client.ask(&operation, "5001", &Value::Null).await, 200, "{path}");
    }
    let queue = ("get".to_owned(), "/api/queues/{name}".to_owned());
    assert_eq!(client.ask(&queue, "support", &Value::Null).await, 200);
}

/// Of what was recorded: what is there, what is not, what goes on, and parts of a file.
async fn use_recordings(client: &mut Client) {
    let of = |method: &str, path: &str| (method.to_owned(), format!("/api/recordings{path}"));
    let ask_for = ["/{id}", "/{id}/audio"].map(|path| of("get", path));
    let remove = of("delete", "/{id}");
    for operation in ask_for.iter().chain([&remove]) {
        assert_eq!(client.ask(operation, "none", &Value::Null).await, 404);
    }
    assert_eq!(client.ask(&remove, Shelf::ACTIVE, &Value::Null).await, 409);
    let token = client.token("listener", Scope::Supervise);
    for (file, range, status) in [
        (0, "", 200),
        (1, "", 200),
        (0, "bytes=0-3", 206),
        (1, "bytes=0-3", 206),
        (0, "bytes=9999-", 416),
    ] {
        let path = format!("/api/recordings/{}/audio?file={file}", Shelf::OVER);
        let headers = [("Authorization", token.as_str()), ("Range", range)];
        let answer = client.switch.http("GET", &path, &headers, "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        let kind = answer.head.split("content-type: ").nth(1).unwrap();
        let kind = kind.split("\r\n").next().unwrap().to_owned();
        let seen = client.seen.entry((ask_for[1].clone(), status));
        seen.or_default().insert(kind);
    }
    // Where nothing is recorded.
    let other = Switch::plain().await;
    let list = of("get", "");
    let (status, kind) = asked(&other, None, &list, "", &Value::Null).await;
    assert_eq!(status, 404);
    client.seen.entry((list, status)).or_default().insert(kind);
}

/// Of a box of voice mail.
async fn use_voicemail(client: &mut Client) {
    let of = |method: &str, path: &str| (method.to_owned(), format!("/api/voicemail{path}"));
    let (list, sound, remove) = (
        of("get", "/{dn}"),
        of("get", "/{dn}/{id}/audio"),
        of("delete", "/{dn}/{id}"),
    );
    let message = format!("5001;{}", Shelf::MESSAGE);
    assert_eq!(client.ask(&list, "5001", &Value::Null).await, 200);
    assert_eq!(client.ask(&sound, "5001;7", &Value::Null).await, 404);
    assert_eq!(client.ask(&remove, "5001;7", &Value::Null).await, 404);
    assert_eq!(client.ask(&sound, &message, &Value::Null).await, 200);
    let token = client.token("another listener", Scope::Supervise);
    for (range, status) in [("bytes=0-3", 206), ("bytes=9999-", 416)] {
        let path = format!("/api/voicemail/5001/{}/audio", Shelf::MESSAGE);
        let headers = [("Authorization", token.as_str()), ("Range", range)];
        let answer = client.switch.http("GET", &path, &headers, "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        let kind = answer.head.split("content-type: ").nth(1).unwrap();
        let kind = kind.split("\r\n").next().unwrap().to_owned();
        client.seen.entry((sound.clone(), status)).or_default().insert(kind);
    }
    assert_eq!(client.ask(&remove, &message, &Value::Null).await, 200);
    let other = Switch::plain().await;
    let (status, kind) = asked(&other, None, &list, "5001", &Value::Null).await;
    assert_eq!(status, 404);
    client.seen.entry((list, status)).or_default().insert(kind);
}

/// One request more than may be, again and again until it is one too many.
async fn flood(client: &mut Client, operation: &Operation) {
    let token = client.token(&format!("flood of {operation:?}"), Scope::Admin);
    for _ in 0..1000 {
        let nobody = format!("{:032x}", 7);
        let body = full_body();
        let many = (0..40).map(|_| asked(&client.switch, Some(&token), operation, &nobody, &body));
        let answers = join_all(many).await;
        if let Some((_, kind)) = answers.into_iter().find(|(status, _)| *status == 429) {
            client.seen.entry((operation.clone(), 429)).or_default().insert(kind);
            return;
        }
    }
    panic!("{operation:?} has no rate");
}

/// What every verb takes: whether there is such a call is another matter.
fn full_body() -> Value {
    let call = format!("{:032x}", 7);
    json!({ "digit": "1", "to": "1", "from": "1", "dn": "5009", "party": format!("{call}/1"), "call_id": call })
}

/// Each status of a path that a request can bring about.
async fn ask_everything(client: &mut Client, operation: &Operation, documented: &BTreeMap<(Operation, u16), Contents>) {
    let has = |status: u16| documented.contains_key(&(operation.clone(), status));
    let nobody = format!("{:032x}", 7);
    let (method, path) = operation;
    let is_get = method == "get";
    let body = if is_get { Value::Null } else { full_body() };
    client.ask(operation, &nobody, &body).await;
    if path.ends_with("/cdr") {
        client.ask(operation, "?format=csv", &body).await;
    }
    if has(400) {
        // No path: what is behind the percent sign is no UTF-8; a query that is none; a body that is none.
        let fill = if path.contains('{') {
            "%ff"
        } else {
            "?limit=1&limit=2&since=x&after=x&types=a&types=b"
        };
        let (fill, body) = if is_get {
            (fill, Value::Null)
        } else {
            (nobody.as_str(), json!([1]))
        };
        assert_eq!(client.ask(operation, fill, &body).await, 400, "{operation:?}");
    }
    if has(401) {
        assert_eq!(
            client.ask_as(None, operation, &nobody, &body).await,
            401,
            "{operation:?}"
        );
    }
    if has(403) {
        let read = [Scope::Read, Scope::Call];
        let wrong = if is_get { read[1] } else { read[0] };
        let token = client.token("wrong", wrong);
        assert_eq!(
            client.ask_as(Some(&token), operation, &nobody, &body).await,
            403,
            "{operation:?}"
        );
    }
    if has(429) {
        flood(client, operation).await;
    }
}

#[tokio::test]
async fn every_status_of_the_document_is_given_and_no_other() {
    let documented = documented();
    let operations: BTreeSet<Operation> = documented.keys().map(|(operation, _)| operation.clone()).collect();
    let key = TokenKey::new(b"secret");
    let shelf = Arc::new(Shelf::new("contract"));
    let plan = "[queues.support]\nagents = [\"5002\"]\n";
    let switch = Switch::start(Settings {
        api_tokens: Some(key.clone()),
        dialplan: Dialplan::parse(plan).unwrap(),
        recordings: Some(Arc::clone(&shelf) as _),
        mailboxes: Some(shelf as _),
        ..Switch::settings()
    })
    .await;
    let mut client = Client {
        switch,
        key,
        seen: BTreeMap::new(),
        names: 0,
    };
    use_calls(&mut client).await;
    use_recordings(&mut client).await;
    use_voicemail(&mut client).await;
    let has = |operation: &Operation, status: u16| documented.contains_key(&(operation.clone(), status));
    let nobody = format!("{:032x}", 7);
    for operation in &operations {
        ask_everything(&mut client, operation, &documented).await;
    }
    client.switch.handle().stop();
    client.switch.handle().ended().await;
    for operation in operations.iter().filter(|operation| has(operation, 503)) {
        let body = if operation.0 == "get" { Value::Null } else { full_body() };
        assert_eq!(client.ask(operation, &nobody, &body).await, 503, "{operation:?}");
    }
    for ((operation, status), contents) in &documented {
        if ELSEWHERE.contains(&(operation.1.as_str(), *status)) {
            continue;
        }
        let seen = client.seen.get(&(operation.clone(), *status));
        assert_eq!(seen, Some(contents), "{operation:?} {status}: given, and documented");
    }
    let undocumented: Vec<_> = client
        .seen
        .keys()
        .filter(|seen| !documented.contains_key(seen))
        .collect();
    assert!(undocumented.is_empty(), "given, and not documented: {undocumented:?}");
}

/// What holds for every path and is not said for each: the wrong method, and a body that is too long.
#[tokio::test]
async fn what_holds_for_every_path_is_told_in_its_words() {
    let switch = Switch::plain().await;
    for (path, is_old) in [("/api/health", true), ("/api/cdr", false), ("/api/call/make", true)] {
        let method = if path.ends_with("make") { "GET" } else { "POST" };
        let answer = switch.http(method, path, &[], "").await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.head.contains("allow: "), "{}", answer.head);
        assert_eq!(answer.json()["error"].is_string(), is_old, "{path}");
    }
    let long = " ".repeat(100_000);
    for (path, is_old) in [("/api/call/make", true), ("/api/call/x/hold", false)] {
        let answer = switch.http("POST", path, &[], &long).await;
        assert_eq!(
            (answer.status, answer.json()["error"].is_string()),
            (413, is_old),
            "{path}"
        );
    }
    let answer = switch.get("/api/nonsense").await;
    assert_eq!((answer.status, answer.json()["status"].clone()), (404, json!(404)));
}
