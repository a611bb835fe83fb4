//! The control library for Node against this switch: the example that it was asked for by, and what scripts do with calls.
//! Without Node these tests say so, and try nothing.

use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::control::{DOMAIN, Edge};
use crate::harness::{Phone, beside};

/// Nothing in a test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each program has an address of its own on this host, and so the port that the library has by default.
static PROGRAMS: AtomicU8 = AtomicU8::new(1);

/// A script that runs.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn node() -> Option<Command> {
    let is_there = std::process::Command::new("node").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("SKIPPED: there is no node; `tuning/prepare.sh` installs it");
        return None;
    }
    let mut node = Command::new("node");
    node.current_dir(beside("../control-library")).kill_on_drop(true);
    Some(node)
}

impl Program {
    /// Starts a script. `None`: there is no Node.
    async fn start(edge: &Edge, script: &str) -> Option<Self> {
        let process = std::process::id().to_le_bytes();
        let own = PROGRAMS.fetch_add(1, Ordering::Relaxed);
        let us = format!("127.{}.{}.{own}", process[0] | 1, process[1]);
        let mut child = node()?
            .args(["--require", "./test/setup.js", script])
            .env("SWITCH", edge.address().to_string())
            .env("US", us)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self { child, lines };
        // Either may be first.
        let mut ready = [program.next().await, program.next().await];
        ready.sort();
        assert_eq!(ready, ["directory 201", "listening"]);
        Some(program)
    }

    /// The next line that it writes.
    async fn next(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("a line in time").unwrap().expect("the script goes on")
    }

    async fn says(&mut self, expected: &str) {
        assert_eq!(self.next().await, expected);
    }

    /// Passes over what it says up to a line.
    async fn says_at_last(&mut self, expected: &str) {
        let mut passed = Vec::new();
        loop {
            let line = self.next().await;
            if line == expected {
                return;
            }
            passed.push(line);
            assert!(passed.len() < 100, "{expected} is not among {passed:#?}");
        }
    }
}

async fn call(phone: &mut Phone, to: &str) -> String {
    let name = format!("to-{to}");
    phone.send("call", json!({ "to": to, "callId": name })).await;
    name
}

async fn answer(phone: &mut Phone) -> String {
    let incoming = phone.expect("incomingCall").await;
    let call = incoming["callId"].as_str().unwrap().to_owned();
    phone.send("answer", json!({ "callId": call })).await;
    phone.expect("callAccepted").await;
    call
}

async fn hang_up(phone: &mut Phone, call: &str) {
    phone.send("hangup", json!({ "callId": call })).await;
    phone.expect("callEnded").await;
}

/// Each of them hears nobody but the other.
fn hear_each_other(edge: &Edge, one: &Phone, other: &Phone) {
    for (phone, other) in [(one, other), (other, one)] {
        let publishes = edge.switch.grants(other).publish;
        assert_eq!(publishes.len(), 1);
        assert_eq!(edge.switch.grants(phone).subscribe, publishes);
    }
}

/// What is left when everybody has gone.
async fn is_empty(edge: &Edge) {
    assert_eq!(edge.live().await, (json!(0), json!([])));
}

#[tokio::test]
async fn example_of_the_manual_rings_calls_and_connects() {
    let edge = Edge::plain().await;
    let Some(mut program) = Program::start(&edge, "./test/example.js").await else {
        return;
    };
    // The example has one user; who calls is another.
    let user = format!("/dir/{DOMAIN}/1000");
    assert_eq!(edge.put(&user, &json!({ "secret": "s" })).await.status, 200);
    let mut alice = edge.phone("1000").await;
    let mut bob = Phone::connect(edge.switch.address, "/ws").await;
    let credentials = json!({ "dn": format!("1003@{DOMAIN}"), "password": "1123654789" });
    bob.send("register", credentials).await;
    bob.session = bob.expect("registered").await["session"].as_str().map(str::to_owned);
    let name = call(&mut alice, "3").await;
    program.says("new call").await;
    loop {
        let progress = alice.expect("callProgress").await;
        if progress["state"] == "ringing" {
            break;
        }
    }
    let second = answer(&mut bob).await;
    alice.expect("callAccepted").await;
    bob.expect("participants").await;
    while edge.switch.grants(&bob).subscribe.is_empty() {
        bob.expect("participants").await;
    }
    hear_each_other(&edge, &alice, &bob);
    hang_up(&mut bob, &second).await;
    let ended = alice.expect("callEnded").await;
    assert_eq!(
        (&ended["callId"], &ended["reason"]),
        (&json!(name), &json!("normal_clearing"))
    );
    program.says("hung up").await;
    is_empty(&edge).await;
    // Any other destination rings, and nobody is called: the caller gives up.
    let name = call(&mut alice, "4").await;
    program.says("new call").await;
    alice.expect("callProgress").await;
    hang_up(&mut alice, &name).await;
    program.says("hung up").await;
    is_empty(&edge).await;
}

#[tokio::test]
async fn scripts_ring_answer_and_refuse() {
    let edge = Edge::plain().await;
    let Some(mut program) = Program::start(&edge, "./test/scenarios.js").await else {
        return;
    };
    let mut alice = edge.phone("1000").await;
    program.says("registered 1000").await;
    let name = call(&mut alice, "answer").await;
    alice.expect("callAccepted").await;
    for line in ["ringing 1000", "mine true true ", "answered 1000", "late"] {
        program.says_at_last(line).await;
    }
    hang_up(&mut alice, &name).await;
    program.says_at_last("ended 1000 0").await;
    for (to, reason, code) in [
        ("busy", "busy", 486),
        ("busytoo", "busy", 486),
        ("nothing", "unallocated", 404),
        ("pay", "payment_required", 402),
        ("declined", "rejected", 603),
    ] {
        call(&mut alice, to).await;
        let ended = alice.expect("callEnded").await;
        assert_eq!((&ended["reason"], &ended["code"]), (&json!(reason), &json!(code)));
        program.says_at_last(&format!("ended 1000 {code}")).await;
    }
    // A fault of the script is answered 500: the switch ends the call.
    call(&mut alice, "fault").await;
    assert_eq!(alice.expect("callEnded").await["code"], 480);
    let name = call(&mut alice, "play").await;
    program.says_at_last("play 501 Not supported yet").await;
    hang_up(&mut alice, &name).await;
    // There is no such trunk.
    call(&mut alice, "gateway").await;
    assert_eq!(alice.expect("callEnded").await["code"], 404);
    program.says_at_last("ended 0301234 404").await;
    alice.send("unregister", json!({})).await;
    program.says_at_last("gone 1000").await;
    is_empty(&edge).await;
}

#[tokio::test]
async fn groups_ring_and_the_first_answer_has_the_call() {
    let edge = Edge::plain().await;
    let Some(mut program) = Program::start(&edge, "./test/scenarios.js").await else {
        return;
    };
    let mut alice = edge.phone("1000").await;
    let (mut bob, mut carol) = (edge.phone("1003").await, edge.phone("1004").await);
    let name = call(&mut alice, "group").await;
    bob.expect("incomingCall").await;
    let second = answer(&mut carol).await;
    let ended = bob.expect("callEnded").await;
    assert_eq!(ended["duration"], 0, "it was never up");
    alice.expect("callAccepted").await;
    program.says_at_last("answered 1004").await;
    program.says_at_last("answered 1000").await;
    while edge.switch.grants(&carol).subscribe.is_empty() {
        carol.expect("participants").await;
    }
    hear_each_other(&edge, &alice, &carol);
    hang_up(&mut alice, &name).await;
    assert_eq!(carol.expect("callEnded").await["callId"], json!(second));
    program.says_at_last("ended 1004 0").await;
    is_empty(&edge).await;
    // Nobody wants it: the caller hears the first of the reasons that counts.
    call(&mut alice, "group").await;
    for (phone, reason) in [(&mut bob, "declined"), (&mut carol, "busy")] {
        let incoming = phone.expect("incomingCall").await;
        phone
            .send("reject", json!({ "callId": incoming["callId"], "reason": reason }))
            .await;
        phone.expect("callEnded").await;
    }
    assert_eq!(alice.expect("callEnded").await["code"], 486);
    program.says_at_last("ended 1000 486").await;
    is_empty(&edge).await;
}

/// Alice and Bob talk; what each calls the call.
async fn talk(edge: &Edge, alice: &mut Phone, bob: &mut Phone, to: &str) -> (String, String) {
    let first = call(alice, to).await;
    let second = answer(bob).await;
    alice.expect("callAccepted").await;
    while edge.switch.grants(bob).subscribe.is_empty() {
        bob.expect("participants").await;
    }
    (first, second)
}

#[tokio::test]
async fn calls_are_transferred_blindly_and_attended() {
    let edge = Edge::plain().await;
    let Some(mut program) = Program::start(&edge, "./test/scenarios.js").await else {
        return;
    };
    let mut alice = edge.phone("1000").await;
    let (mut bob, mut carol) = (edge.phone("1003").await, edge.phone("1004").await);
    // Bob sends Alice to Carol.
    let (first, second) = talk(&edge, &mut alice, &mut bob, "1003").await;
    bob.send("transfer", json!({ "callId": second, "to": "1004" })).await;
    assert_eq!(bob.expect("callEnded").await["reason"], "transferred");
    let third = answer(&mut carol).await;
    while edge.switch.grants(&carol).subscribe.is_empty() {
        carol.expect("participants").await;
    }
    hear_each_other(&edge, &alice, &carol);
    hang_up(&mut carol, &third).await;
    assert_eq!(alice.expect("callEnded").await["callId"], json!(first));
    program.says_at_last("ended 1000 0").await;
    is_empty(&edge).await;
    // Bob asks Carol first, then puts both together.
    let (first, second) = talk(&edge, &mut alice, &mut bob, "1003").await;
    bob.send("hold", json!({ "callId": second, "hold": true })).await;
    bob.expect("held").await;
    let consulted = call(&mut bob, "1004").await;
    answer(&mut carol).await;
    bob.expect("callAccepted").await;
    while edge.switch.grants(&carol).subscribe.is_empty() {
        carol.expect("participants").await;
    }
    bob.send("transfer", json!({ "callId": second, "replaces": consulted }))
        .await;
    bob.expect("callEnded").await;
    bob.expect("callEnded").await;
    let publishes = edge.switch.grants(&carol).publish;
    while edge.switch.grants(&alice).subscribe != publishes {
        alice.expect("participants").await;
    }
    hear_each_other(&edge, &alice, &carol);
    hang_up(&mut alice, &first).await;
    carol.expect("callEnded").await;
    is_empty(&edge).await;
}

#[tokio::test]
async fn callers_wait_in_a_queue_for_agents() {
    let edge = Edge::plain().await;
    let Some(mut program) = Program::start(&edge, "./test/scenarios.js").await else {
        return;
    };
    let (mut alice, mut eve) = (edge.phone("1000").await, edge.phone("1001").await);
    let (mut dave, mut bob) = (edge.phone("1002").await, edge.phone("1003").await);
    let first = call(&mut alice, "queue").await;
    alice.expect("callAccepted").await;
    program.says_at_last("place 1000 1").await;
    let second = call(&mut eve, "queue").await;
    program.says_at_last("place 1001 2").await;
    eve.expect("callAccepted").await;
    // An agent comes, declines at first, and is rung again.
    call(&mut dave, "agents").await;
    dave.expect("callEnded").await;
    let incoming = bob.expect("incomingCall").await;
    bob.send("reject", json!({ "callId": incoming["callId"], "reason": "busy" }))
        .await;
    bob.expect("callEnded").await;
    let agent = answer(&mut bob).await;
    program.says_at_last("place 1001 1").await;
    while edge.switch.grants(&bob).subscribe.is_empty() {
        bob.expect("participants").await;
    }
    hear_each_other(&edge, &alice, &bob);
    hang_up(&mut bob, &agent).await;
    assert_eq!(alice.expect("callEnded").await["callId"], json!(first));
    // The next caller is the next one; it gives up while the agent's phone rings.
    bob.expect("incomingCall").await;
    hang_up(&mut eve, &second).await;
    bob.expect("callEnded").await;
    program.says_at_last("ended 1003 487").await;
    is_empty(&edge).await;
}

#[tokio::test]
async fn program_that_dies_leaves_nothing_behind() {
    let edge = Edge::plain().await;
    let Some(program) = Program::start(&edge, "./test/scenarios.js").await else {
        return;
    };
    let mut alice = edge.phone("1000").await;
    let mut bob = edge.phone("1003").await;
    let (_, second) = talk(&edge, &mut alice, &mut bob, "1003").await;
    let mut child = program.child;
    child.kill().await.unwrap();
    hang_up(&mut bob, &second).await;
    assert_eq!(alice.expect("callEnded").await["code"], 480);
    is_empty(&edge).await;
}

#[tokio::test]
async fn library_alone_does_as_its_manual_says() {
    let Some(mut node) = node() else { return };
    let output = node.args(["--test", "test/library.test.js"]).output();
    let output = tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
