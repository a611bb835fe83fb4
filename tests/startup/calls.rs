//! A phone system as an operator sets it up: users, keys, a dialplan; what is changed while it runs, and what outlives it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use moqswitch_signalling::User;
use serde_json::{Value, json};

use super::{LIMIT, Running, moqswitch};

#[test]
fn calls_beyond_this_host_need_to_know_who_may_register() {
    let start = |variables: &[(&str, &str)]| {
        let mut command = program();
        command.args(["--listen", "0.0.0.0:0"]).envs(variables.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = start(&[("MOQSWITCH_CALLS_ENABLED", "true"), ("MOQSWITCH_AUTH_PUBLIC", "a/**")]);
    assert_eq!(code, Some(1), "{said}");
    for word in [
        "MOQSWITCH_CALLS_ENABLED",
        "0.0.0.0:0",
        "`calls.users`",
        "`calls.tokens`",
        "`calls.callback`",
    ] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    // A file that is not there is named.
    let (code, said) = start(&[("MOQSWITCH_CALLS_USERS", "/nowhere/users.toml")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/nowhere/users.toml: cannot be read"), "{said}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one office, and what changes there in a day")]
fn users_keys_and_origins_decide_and_are_reloaded() {
    let office = Office::new("office");
    let (alice, bob) = (User::hash("alice's").unwrap(), User::hash("bob's").unwrap());
    let user = |number: &str, hash: &str| format!("[users.{number}]\nname = \"User {number}\"\nhash = \"{hash}\"\n");
    office.write("users.toml", &(user("5001", &alice) + &user("5002", &bob)));
    office.write("board.key", "a key of some length\n");
    office.write(
        "keys.toml",
        "[keys.board]\nsecret_file = \"board.key\"\nscopes = [\"read\"]\n",
    );
    office.write("dialplan.toml", "[[rules]]\nto = \"100\"\ntarget = \"number/5002\"\n");
    let webhook = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = webhook.local_addr().unwrap();
    office.write(
        "webhooks.toml",
        &format!(
            "[webhooks.crm]\nurl = \"http://{address}/\"\nsecret_file = \"board.key\"\nevents = [\"registration\"]\n"
        ),
    );
    office.configure("");
    let relay = office.start();
    // The auth default of who has users: nothing is public.
    assert_eq!(super::status(relay.http, "/fetch/a/b"), Some(401));

    let mut wrong = Phone::connect(relay.http);
    wrong.send("register", &json!({ "dn": "5001", "password": "bob's" }));
    assert_eq!(wrong.expect("registrationFailed")["code"], 403);
    let mut alices = Phone::register(relay.http, "5001", "alice's");
    let mut bobs = Phone::register(relay.http, "5002", "bob's");
    let told = answer_one(&webhook);
    assert!(told.contains("\"dn\":\"5001\""), "{told}");
    alices.send("call", &json!({ "to": "100", "callId": "c" }));
    assert_eq!(bobs.expect("incomingCall")["displayName"], "User 5001");
    let ask = |key: &str| request(relay.http, "/api/calls", &format!("Authorization: Bearer {key}\r\n"));
    assert!(ask("a key of some length").starts_with("HTTP/1.1 200"));
    assert!(ask("another").starts_with("HTTP/1.1 401"));
    let page = |origin: &str| request(relay.http, "/api/health", &format!("Origin: {origin}\r\n"));
    assert!(page("https://intranet.example").starts_with("HTTP/1.1 403"));
    assert_eq!(relay.metric("moqswitch_calls_devices"), Some(2.0));
    assert_eq!(relay.metric("moqswitch_calls_attempts_total"), Some(1.0));
    assert_eq!(
        relay.metric("moqswitch_calls_refused_total{place=\"registration\",code=\"403\"}"),
        Some(1.0)
    );
    assert_eq!(relay.metric("moqswitch_calls_answering"), Some(1.0));

    // A fault in one file: it goes on as it was, and the others are taken over.
    office.write("users.toml", "[users.5001]\nhash = \"nonsense\"\n");
    office.write("dialplan.toml", "[[rules]]\nto = \"100\"\ntarget = \"group/none\"\n");
    office.write(
        "keys.toml",
        &format!("[keys.board]\nsha256 = \"{}\"\nscopes = [\"read\"]\n", "0".repeat(64)),
    );
    office.configure("origins = [\"https://intranet.example\"]\nring = \"20s\"\n");
    relay.signal("-HUP");
    relay.until("keys are reloaded", || {
        office.logged("API keys reloaded") && office.logged("limits of calls reloaded")
    });
    for words in [
        "users not reloaded: ",
        "users.toml:2: `hash`",
        "dialplan not reloaded: ",
        "dialplan.toml:3: there is no group `none`",
        "origins reloaded",
    ] {
        assert!(office.logged(words), "`{words}` is not in\n{}", office.log());
    }
    assert!(!office.log().contains("need a restart"), "{}", office.log());
    assert!(ask("a key of some length").starts_with("HTTP/1.1 401"));
    assert!(page("https://intranet.example").starts_with("HTTP/1.1 200"));
    bobs.send("hangup", &json!({ "callId": "x" }));
    assert_eq!(bobs.expect("error")["code"], 481, "bob is still registered");

    // Without the fault: bob is gone, alice is not.
    office.write("users.toml", &user("5001", &alice));
    office.write("dialplan.toml", "[[rules]]\nto = \"200\"\ntarget = \"number/5001\"\n");
    relay.signal("-HUP");
    bobs.expect("unregistered");
    relay.until("it is said", || {
        office.logged("1 users") && office.log().matches("dialplan reloaded").count() == 1
    });
    alices.send("call", &json!({ "to": "5002", "callId": "d" }));
    assert_eq!(alices.expect("callEnded")["callId"], "c");
    assert_eq!(alices.expect("callEnded")["reason"], "unallocated");
    assert!(
        !office.log().contains("alice's") && !office.log().contains(&alice),
        "secrets are in no log"
    );
}

#[test]
fn checks_read_every_file_of_calls() {
    let office = Office::new("check");
    office.write("users.toml", "[users.5001]\nname = \"x\"\n");
    office.write("keys.toml", "[keys.board]\nscopes = [\"everything\"]\n");
    office.write(
        "webhooks.toml",
        "[webhooks.crm]\nurl = \"ftp://x\"\nsecret_file = \"nowhere\"\n",
    );
    office.write("dialplan.toml", "[[rules]]\nto = 7\n");
    office.configure("");
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
        command.args(["check", "--json", "--config", &office.path("moqswitch.toml")]);
        command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
        let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        report["checks"].as_array().unwrap().clone()
    };
    let of = |checks: &[Value], name: &str| checks.iter().find(|check| check["name"] == name).unwrap().clone();
    let checks = check();
    for (name, words) in [
        ("callers", "users.toml:1: 5001 needs one of"),
        ("API keys", "keys.toml:2: there is no scope `everything`"),
        ("webhooks", "webhooks.toml:3: `secret_file`: "),
        ("dialplan", "dialplan.toml:2: "),
    ] {
        let check = of(&checks, name);
        assert_eq!(check["status"], "fail", "{check}");
        assert!(check["reason"].as_str().unwrap().contains(words), "{check}");
    }
    for name in ["users.toml", "keys.toml", "webhooks.toml", "dialplan.toml"] {
        office.write(name, "");
    }
    let checks = check();
    for name in ["callers", "API keys", "webhooks", "dialplan", "call records"] {
        assert_eq!(of(&checks, name)["status"], "pass", "{name}");
    }
}

#[test]
fn a_password_is_hashed() {
    let run = |arguments: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
        let command = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (is_done, hash, _) = run(&["user", "hash"], "correct horse\n");
    assert!(
        is_done && hash.starts_with("$argon2id$v=19$") && hash.ends_with('\n'),
        "{hash}"
    );
    assert!(User::new(hash.trim(), false).is_ok());
    for empty in ["", "\n"] {
        let (is_done, _, said) = run(&["user", "hash"], empty);
        assert!(!is_done && said.contains("no password"), "{said}");
    }
}

#[test]
fn where_a_number_goes_is_explained() {
    let office = Office::new("dial");
    office.write(
        "dialplan.toml",
        "[times.office]\ndays = [\"mon-fri\"]\nhours = [\"08:00-18:00\"]\n\n\
         [[rules]]\nname = \"day\"\nto = \"100\"\nwhen = \"office\"\ntarget = \"number/1003\"\n\n\
         [[rules]]\nname = \"night\"\nto = \"100\"\ntarget = \"reject/no_answer\"\n",
    );
    let plan = office.path("dialplan.toml");
    let mut asked = vec![
        "dial",
        "--explain",
        "100",
        "--from",
        "5001",
        "--dialplan",
        &plan,
        "--at",
    ];
    let explain = |asked: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
        let output = command
            .args(asked)
            .env("MOQSWITCH_CALLS_TIME_ZONE", "Europe/Berlin")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &said)
    };
    // A Thursday; in winter Berlin is an hour ahead.
    asked.push("2026-12-24T17:30");
    let (code, said) = explain(&asked);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("5001 dials 100, Thu 2026-12-24 17:30 +01:00, by "),
        "{said}"
    );
    assert!(said.ends_with("rule day (line 5): rings 1003\n"), "{said}");
    asked.pop();
    asked.extend(["2026-12-24T17:30:00Z", "--json"]);
    let (_, said) = explain(&asked);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["at"], "2026-12-24T18:30:00+01:00");
    assert_eq!(said["rule"], json!({ "name": "night", "line": 11 }));
    assert_eq!(said["destination"], json!({ "kind": "reject", "name": "no_answer" }));
    for (at, from, plan, words) in [
        ("tomorrow", "5001", plan.as_str(), "--at tomorrow: write"),
        ("2026-12-24T17:30", "50 01", &plan, "--from 50 01"),
        ("2026-12-24T17:30", "5001", "/nowhere", "/nowhere: cannot be read"),
    ] {
        let (code, said) = explain(&[
            "dial",
            "--explain",
            "100",
            "--from",
            from,
            "--at",
            at,
            "--dialplan",
            plan,
        ]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn devices_come_back_to_a_switch_that_was_killed_and_calls_have_records() {
    let office = Office::new("killed");
    for name in ["users.toml", "keys.toml", "webhooks.toml", "dialplan.toml"] {
        office.write(name, "");
    }
    let users = format!(
        "[users.5001]\nhash = \"{0}\"\n[users.5002]\nhash = \"{0}\"\n",
        User::hash("x").unwrap()
    );
    office.write("users.toml", &users);
    office.configure(&format!("records = \"{}\"\n", office.path("records")));
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let start = || {
        let mut command = office.command(program());
        command
            .args(["--listen", &port, "--admin", "127.0.0.1:0", "--shards", "1"])
            .env("MOQSWITCH_STATE_DIRECTORY", office.path("state"));
        Running::start(&mut command)
    };
    let mut relay = start();
    let mut alice = Phone::register(relay.http, "5001", "x");
    let mut bob = Phone::register(relay.http, "5002", "x");
    alice.send("call", &json!({ "to": "5002", "callId": "c" }));
    let call = bob.expect("incomingCall")["callId"].as_str().unwrap().to_owned();
    bob.send("answer", &json!({ "callId": call }));
    alice.expect("callAccepted");
    let journal = office.path(&format!("state/calls-{port}/journal.ndjson"));
    relay.until("the call is noted", || {
        fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"answeredBy\":{"))
    });
    relay.signal("-KILL");
    relay.child.wait().unwrap();
    let relay = start();
    let mut back = Phone::connect(relay.http);
    back.send("resume", &json!({ "session": alice.session, "seq": alice.seq }));
    let resumed = back.expect("resumed");
    assert_eq!(
        (&resumed["dn"], &resumed["calls"][0]["to"]),
        (&json!("5001"), &json!("5002")),
        "{resumed}"
    );
    assert!(!resumed["media"]["token"].as_str().unwrap().is_empty());
    let secret = alice.session.clone().unwrap();
    assert!(
        !fs::read_to_string(&journal).unwrap().contains(&secret),
        "sessions are noted by their hash"
    );
    // Bob does not come back: his hang-up is told for him by alice's.
    back.send("hangup", &json!({ "callId": "c" }));
    assert_eq!(back.expect("callEnded")["reason"], "normal_clearing");
    let recorded = || request(relay.http, "/api/cdr", "");
    relay.until("there is a record", || recorded().contains(&call));
    drop(relay);
}

/// Without arguments.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Files of an operator. Gone when the test is.
struct Office(PathBuf);

impl Office {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!(
            "{}/calls-{}-{name}",
            env!("CARGO_TARGET_TMPDIR"),
            std::process::id()
        ));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Writes the configuration: all files, and what else is said of `calls`.
    fn configure(&self, more: &str) {
        let mut text = String::from("[calls]\n");
        for name in ["users", "keys", "webhooks", "dialplan"] {
            text += &format!("{name} = \"{}\"\n", self.path(&format!("{name}.toml")));
        }
        self.write("moqswitch.toml", &(text + more));
    }

    fn command(&self, mut command: Command) -> Command {
        command.args(["--config", &self.path("moqswitch.toml")]);
        command.stderr(fs::File::create(self.path("log")).unwrap());
        command
    }

    fn start(&self) -> Running {
        Running::start(&mut self.command(moqswitch()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn logged(&self, text: &str) -> bool {
        self.log().contains(text)
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A phone's signalling: as much of RFC 6455 as it takes.
struct Phone {
    stream: TcpStream,
    session: Option<String>,
    seq: u64,
}

impl Phone {
    fn connect(http: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(http).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(
            stream,
            "GET /ws HTTP/1.1\r\nHost: {http}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self {
            stream,
            session: None,
            seq: 0,
        }
    }

    fn register(http: SocketAddr, number: &str, password: &str) -> Self {
        let mut phone = Self::connect(http);
        phone.send("register", &json!({ "dn": number, "password": password }));
        phone.session = phone.expect("registered")["session"].as_str().map(str::to_owned);
        phone
    }

    fn send(&mut self, kind: &str, payload: &Value) {
        let text = json!({ "type": kind, "payload": payload }).to_string();
        let length = u16::try_from(text.len()).unwrap();
        // Masked by zeros, as a client has to mask; the length in two bytes.
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.stream.write_all(&frame).unwrap();
    }

    /// The payload of the next message of a kind.
    fn expect(&mut self, kind: &str) -> Value {
        loop {
            let mut head = [0; 2];
            self.stream
                .read_exact(&mut head)
                .unwrap_or_else(|error| panic!("no {kind}: {error}"));
            let length = match head[1] {
                126 => {
                    let mut bytes = [0; 2];
                    self.stream.read_exact(&mut bytes).unwrap();
                    usize::from(u16::from_be_bytes(bytes))
                }
                short => usize::from(short),
            };
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).unwrap();
            match head[0] & 0x0f {
                1 => {
                    let message: Value = serde_json::from_slice(&body).unwrap();
                    self.seq = message["seq"].as_u64().unwrap_or(self.seq);
                    if message["type"] == kind {
                        return message["payload"].clone();
                    }
                }
                8 => panic!("closed, waiting for {kind}: {}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }
}

fn request(http: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Takes one event, and says what it was.
fn answer_one(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut text = String::new();
    while !text.contains("}}") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "it ended: {text}");
        text += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    text
}
