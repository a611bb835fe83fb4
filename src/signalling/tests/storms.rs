//! Much at once, and what stands still: the thread of the calls, a disk, a program that is told of events.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use moqswitch_signalling::calls::{CallId, Dialplan, Grants, LegCodecs, LegId, SessionId};
use moqswitch_signalling::{
    BeforeSync, Busy, Media, MediaPlane, Place, RecordSettings, RecordingMedia, Settings, StateSettings, Webhook,
};
use serde_json::{Value, json};

use crate::harness::{Phone, Switch};
use crate::innocent::{Innocent, assert_nothing_is_left};
use crate::main_path::connect;

/// One socket, on which one number after the other registers and goes.
async fn register_many(switch: &Switch, socket: usize, count: usize) {
    let mut phone = Phone::connect(switch.address, "/ws").await;
    for number in 0..count {
        phone.register(&format!("1{socket:04}{number:02}")).await;
        if number + 1 < count {
            phone.send("unregister", json!({})).await;
            phone.expect("unregistered").await;
        }
    }
    phone.sync().await;
}

/// Ten thousand registrations, as fast as they go. What it took is said, not asserted: the machine may be busy.
#[tokio::test]
async fn ten_thousand_registrations_are_all_answered() {
    let switch = Switch::start(Switch::patient()).await;
    let mut innocent = Innocent::talk(&switch).await;
    let began = Instant::now();
    join_all((0..500).map(|socket| register_many(&switch, socket, 20))).await;
    println!("10 000 registrations on 500 sockets took {:?}", began.elapsed());
    innocent.is_untouched(&switch).await;
    // Their sockets are gone, so they are lost, and each of them is there once.
    let agents = switch.get("/api/health").await.json()["registered_agents"].clone();
    assert_eq!(agents, 502);
    assert_eq!(switch.get("/api/stats").await.json()["now"]["slowClients"], 0);
    assert_eq!(switch.refused(Place::Command, 503), 0);
    innocent.hang_up(&switch).await;
}

/// Told of anything, it stands still for a while if it is told to: and so does the thread of the calls.
struct Stalling {
    media: RecordingMedia,
    stalls: Arc<AtomicBool>,
}

impl MediaPlane for Stalling {
    fn grants(&mut self, session: SessionId, grants: &Grants) -> Result<(), Busy> {
        if self.stalls.swap(false, Ordering::SeqCst) {
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(100));
            }
        }
        self.media.grants(session, grants)
    }

    fn media(&mut self, session: SessionId) -> Media {
        self.media.media(session)
    }

    fn over(&mut self, session: SessionId) {
        MediaPlane::over(&mut self.media, session);
    }

    fn codecs(&mut self, _call: CallId, _legs: &[LegCodecs]) {}

    fn record(&mut self, _call: CallId, _on: bool) {}

    fn count(&mut self, _leg: LegId) {}
}

/// The thread of the calls stands still for two seconds. What was asked meanwhile is answered afterwards, nobody is closed for
/// having been silent, and nothing that was asked for is lost.
#[tokio::test]
async fn thread_that_stood_still_goes_on_where_it_was() {
    let (media, stalls) = (RecordingMedia::default(), Arc::new(AtomicBool::new(false)));
    let plane = Stalling {
        media: media.clone(),
        stalls: Arc::clone(&stalls),
    };
    let switch = Switch::with_media(Switch::patient(), media, Box::new(plane)).await;
    let mut innocent = Innocent::talk(&switch).await;
    let mut phones = Vec::new();
    for number in 0..20 {
        let caller = switch.phone(&format!("1{number:03}")).await;
        let callee = switch.phone(&format!("2{number:03}")).await;
        phones.push((caller, callee));
    }
    let mut stopper = switch.phone("9001").await;
    let mut other = switch.phone("9002").await;
    stalls.store(true, Ordering::SeqCst);
    let (stoppers, _) = connect(&mut stopper, &mut other, "9002").await;
    stopper.send("hangup", json!({ "callId": stoppers })).await;
    stalls.store(true, Ordering::SeqCst);
    // It stands still in this moment, or will in the next.
    let calls = phones.iter_mut().enumerate().map(async |(number, (caller, callee))| {
        caller
            .send("call", json!({ "to": format!("2{number:03}"), "callId": "c" }))
            .await;
        let call = callee.expect("incomingCall").await["callId"].clone();
        callee.send("answer", json!({ "callId": call })).await;
        callee.expect("callAccepted").await;
        caller.expect("callAccepted").await;
        caller.send("hangup", json!({ "callId": "c" })).await;
        assert_eq!(callee.expect("callEnded").await["reason"], "normal_clearing");
        assert_eq!(caller.expect("callEnded").await["reason"], "normal_clearing");
    });
    let asked = (0..20).map(|_| switch.get("/api/health"));
    let (_, asked) = tokio::join!(join_all(calls), join_all(asked));
    assert!(asked.iter().all(|answer| answer.status == 200), "who asked waited");
    assert!(!stalls.load(Ordering::SeqCst), "it stood still");
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 22).await;
    let closed = switch
        .handle()
        .refused()
        .into_iter()
        .filter(|one| one.place == Place::Socket);
    assert_eq!(closed.collect::<Vec<_>>(), [], "nobody was closed");
}

/// A program that is told of events is dead: more events come than wait for it. Calls do not notice, and what it was not told
/// is counted.
#[tokio::test]
async fn dead_webhook_costs_calls_nothing_and_is_counted() {
    // It takes connections, and says nothing.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = dead.local_addr().unwrap();
    let webhook = Webhook::new(&format!("http://{address}/"), b"secret", Vec::new()).unwrap();
    let gone = Webhook::new("http://127.0.0.1:1/", b"secret", Vec::new()).unwrap();
    let settings = Settings {
        webhooks: vec![webhook, gone],
        ..Switch::patient()
    };
    let switch = Switch::start(settings).await;
    let mut innocent = Innocent::talk(&switch).await;
    // Each call is some ten events, and a queue has room for a thousand.
    join_all((0..20).map(|number| talk_often(&switch, number, 12))).await;
    let now = switch.get("/api/stats").await.json()["now"].clone();
    assert!(now["webhooksDropped"].as_u64().unwrap() > 500, "{now}");
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 241).await;
    // Who is not told does not hold up the end.
    switch.handle().stop();
    tokio::time::timeout(Duration::from_secs(600), switch.handle().ended())
        .await
        .expect("it ends");
}

async fn talk_often(switch: &Switch, number: usize, rounds: usize) {
    let (from, to) = (format!("1{number:03}"), format!("2{number:03}"));
    let (mut caller, mut callee) = (switch.phone(&from).await, switch.phone(&to).await);
    for _ in 0..rounds {
        let (alias, _) = connect(&mut caller, &mut callee, &to).await;
        caller.send("hangup", json!({ "callId": alias })).await;
        callee.expect("callEnded").await;
        caller.expect("callEnded").await;
    }
}

/// Gone when the test is.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moqswitch-storms-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Calls to nobody, as many as a socket may make at once. Each has a record.
async fn dial_nobody(switch: &Switch, number: usize, count: usize) {
    let mut phone = switch.phone(&format!("1{number:04}")).await;
    for call in 0..count {
        phone
            .send("call", json!({ "to": "7777", "callId": format!("c-{call}") }))
            .await;
        phone.expect("callEnded").await;
    }
}

/// The disk takes nothing, and more calls end than records wait for it. Calls go on; what waits comes when the disk is back,
/// and what found no room is still found by queries, and counted.
#[tokio::test]
async fn store_that_is_full_loses_no_call_and_says_what_it_lost() {
    let directory = Directory::new("full");
    let settings = Settings {
        records: Some(RecordSettings::below(&directory.0)),
        ..Switch::patient()
    };
    let switch = Switch::start(settings).await;
    let mut innocent = Innocent::talk(&switch).await;
    // A file is where the directory was: nothing can be made in it, whoever tries.
    std::fs::remove_dir_all(&directory.0).unwrap();
    std::fs::write(&directory.0, "").unwrap();
    let sockets = 200;
    join_all((0..sockets).map(|number| dial_nobody(&switch, number, 45))).await;
    let store = switch.get("/api/stats").await.json()["now"]["store"].clone();
    let ended = sockets as u64 * 45;
    let lost = store["lost"].as_u64().unwrap();
    assert_eq!(
        (&store["failing"], &store["stored"]),
        (&json!(true), &json!(0)),
        "{store}"
    );
    // 8192 wait, and a batch of up to 256 is being tried.
    assert!(lost >= ended - 8192 - 256 && lost <= ended - 8192, "{store}");
    assert_eq!(
        switch.get("/api/stats").await.json()["calls"],
        lost,
        "what is lost on disk is found all the same"
    );
    innocent.is_untouched(&switch).await;
    std::fs::remove_file(&directory.0).unwrap();
    std::fs::create_dir_all(&directory.0).unwrap();
    while switch.get("/api/stats").await.json()["calls"] != ended {
        switch.breathe().await;
    }
    innocent.hang_up_later(&switch).await;
    while switch.get("/api/stats").await.json()["calls"] != ended + 1 {
        switch.breathe().await;
    }
    let store = switch.get("/api/stats").await.json()["now"]["store"].clone();
    assert_eq!(
        (&store["failing"], &store["lost"]),
        (&json!(false), &json!(lost)),
        "{store}"
    );
}

/// The disk takes what it is given, and does not come back from it for as long as more calls begin and end than records wait for
/// it. No call waits; what finds no room is counted, and found by queries all the same; the rest is stored when the disk is done.
#[tokio::test]
async fn store_that_is_slow_holds_no_call_up_and_loses_what_it_says() {
    let directory = Directory::new("slow");
    let (is_slow, waits) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (slow, told) = (Arc::clone(&is_slow), Arc::clone(&waits));
    let settings = Settings {
        records: Some(RecordSettings {
            before_sync: BeforeSync::new(move || {
                while slow.load(Ordering::SeqCst) {
                    told.store(true, Ordering::SeqCst);
                    std::thread::park_timeout(Duration::from_millis(10));
                }
            }),
            ..RecordSettings::below(directory.0.join("records"))
        }),
        state: Some(StateSettings {
            directory: directory.0.join("state"),
            is_required: true,
        }),
        ..Switch::patient()
    };
    let switch = Switch::start(settings).await;
    let mut innocent = Innocent::talk(&switch).await;
    // The first record is on its way to the disk from here on.
    dial_nobody(&switch, 9999, 1).await;
    while !waits.load(Ordering::SeqCst) {
        switch.breathe().await;
    }
    let sockets = 200;
    join_all((0..sockets).map(|number| dial_nobody(&switch, number, 45))).await;
    let store = switch.get("/api/stats").await.json()["now"]["store"].clone();
    let ended = sockets as u64 * 45 + 1;
    let lost = store["lost"].as_u64().unwrap();
    // Slow is not broken.
    assert_eq!(
        (&store["failing"], &store["stored"]),
        (&json!(false), &json!(0)),
        "{store}"
    );
    // 8192 wait, and the first is being written.
    assert_eq!(lost, ended - 8192 - 1, "{store}");
    assert_eq!(
        switch.get("/api/stats").await.json()["calls"],
        lost + 1,
        "what is lost on disk is found all the same, and what is in the file but not safe yet"
    );
    innocent.is_untouched(&switch).await;
    // Whole calls begin, are answered and end meanwhile.
    talk_often(&switch, 1, 3).await;
    is_slow.store(false, Ordering::SeqCst);
    while switch.get("/api/stats").await.json()["calls"] != ended + 3 {
        switch.breathe().await;
    }
    innocent.hang_up_later(&switch).await;
    while switch.get("/api/stats").await.json()["now"]["store"]["stored"] != 8192 + 1 + 1 {
        switch.breathe().await;
    }
    let store = switch.get("/api/stats").await.json()["now"]["store"].clone();
    assert_eq!((&store["failing"], &store["lost"]), (&json!(false), &json!(lost + 3)));
}

/// A directory of records that cannot be used ends the start, and says so; it is nothing that is found out later.
#[tokio::test]
async fn place_for_records_that_is_none_ends_the_start() {
    let directory = Directory::new("file");
    std::fs::write(&directory.0, "").unwrap();
    let settings = Settings {
        records: Some(RecordSettings::below(&directory.0)),
        ..Switch::patient()
    };
    let media = Box::new(RecordingMedia::default());
    assert!(moqswitch_signalling::Signalling::start(settings, media).is_err());
}

#[tokio::test]
async fn call_to_oneself_rings_the_other_device_or_is_busy() {
    let switch = Switch::start(Switch::patient()).await;
    let mut innocent = Innocent::talk(&switch).await;
    let mut alice = switch.phone("5001").await;
    alice.send("call", json!({ "to": "5001" })).await;
    let ended = alice.expect("callEnded").await;
    assert_eq!((&ended["reason"], &ended["code"]), (&json!("busy"), &json!(486)));
    let mut tablet = switch.phone("5001").await;
    let (_, call) = connect(&mut alice, &mut tablet, "5001").await;
    tablet.send("hangup", json!({ "callId": call })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "normal_clearing");
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 3).await;
}

#[tokio::test]
async fn forwards_that_lead_back_end_the_call_for_its_cause() {
    let mut plan = String::new();
    for (from, to) in [("101", "102"), ("102", "103"), ("103", "101"), ("201", "201")] {
        plan += &format!("[[rules]]\nto = \"{from}\"\ntarget = \"dial/{to}\"\n");
    }
    for number in 300..320 {
        plan += &format!("[[rules]]\nto = \"{number}\"\ntarget = \"dial/{}\"\n", number + 1);
    }
    // Nobody answers at the first, and its fallback leads back to it.
    plan += "[[rules]]\nto = \"400\"\ntarget = \"number/5002\"\nbusy = \"dial/400\"\n";
    let settings = Settings {
        dialplan: Dialplan::parse(&plan).unwrap(),
        ..Switch::patient()
    };
    let switch = Switch::start(settings).await;
    let mut innocent = Innocent::talk(&switch).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    for (to, reason, code) in [
        ("101", "loop_detected", 482),
        ("201", "loop_detected", 482),
        ("300", "too_many_hops", 483),
        ("400", "loop_detected", 482),
    ] {
        alice.send("call", json!({ "to": to })).await;
        if to == "400" {
            let incoming = bob.expect("incomingCall").await;
            bob.send("reject", json!({ "callId": incoming["callId"], "reason": "busy" }))
                .await;
        }
        let ended = alice.expect("callEnded").await;
        assert_eq!(
            (&ended["reason"], &ended["code"]),
            (&json!(reason), &json!(code)),
            "{to}"
        );
    }
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 5).await;
}

/// The socket of each side is cut in each state, and comes back: the call goes on as if nothing had been, and ends as calls do.
#[tokio::test]
async fn sockets_that_come_back_in_any_state_have_their_call() {
    let switch = Switch::start(Switch::patient()).await;
    let mut innocent = Innocent::talk(&switch).await;
    let states = ["calling", "ringing", "up", "held"];
    for state in states {
        for of_caller in [true, false] {
            let mut alice = named(&switch, "5001").await;
            let mut bob = named(&switch, "5002").await;
            alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
            let call = bob.expect("incomingCall").await["callId"].clone();
            let bobs = json!({ "callId": call });
            if state != "calling" {
                bob.send("ringing", bobs.clone()).await;
                while alice.expect("callProgress").await["state"] != "ringing" {}
            }
            if ["up", "held"].contains(&state) {
                bob.send("answer", bobs.clone()).await;
                alice.expect("callAccepted").await;
                bob.expect("callAccepted").await;
            }
            if state == "held" {
                alice.send("hold", json!({ "callId": "c", "hold": true })).await;
                bob.expect("held").await;
                alice.expect("held").await;
            }
            let cut = if of_caller { &mut alice } else { &mut bob };
            cut.sync().await;
            let (session, seq) = (cut.session.clone(), cut.last_seq());
            let back = Phone::connect(switch.address, "/ws").await;
            std::mem::replace(cut, back).cut();
            cut.send("resume", json!({ "session": session, "seq": seq })).await;
            let resumed = cut.expect("resumed").await;
            let own: Vec<Value> = resumed["calls"][0]["parties"].as_array().unwrap().clone();
            let dn = if of_caller { "5001" } else { "5002" };
            let leg = own.iter().find(|leg| leg["dn"] == dn).unwrap();
            let expected = if state == "held" { "up" } else { state };
            assert_eq!(leg["state"], expected, "{state} {of_caller}");
            if ["calling", "ringing"].contains(&state) {
                bob.send("answer", bobs.clone()).await;
                alice.expect("callAccepted").await;
                bob.expect("callAccepted").await;
            }
            bob.send("hangup", bobs).await;
            assert_eq!(bob.expect("callEnded").await["reason"], "normal_clearing");
            assert_eq!(alice.expect("callEnded").await["reason"], "normal_clearing");
            for mut phone in [alice, bob] {
                phone.send("unregister", json!({})).await;
                phone.expect("unregistered").await;
            }
        }
    }
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 9).await;
}

/// A device that says itself that it rings.
async fn named(switch: &Switch, dn: &str) -> Phone {
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone.send("register", json!({ "dn": dn, "device": "one" })).await;
    let registered = phone.expect("registered").await;
    phone.session = registered["session"].as_str().map(str::to_owned);
    phone
}

/// A supervisor begins to watch more calls than a socket has room for at once: it has all of them, each once, page by page.
#[tokio::test]
async fn supervisor_has_every_call_page_by_page() {
    let switch = Switch::start(Switch::patient()).await;
    // Two who talk in each: more than half a megabyte of calls.
    let mut pairs = Vec::new();
    for number in 0..75 {
        let (from, to) = (format!("1{number:04}"), format!("2{number:04}"));
        let (mut caller, mut callee) = (switch.phone(&from).await, switch.phone(&to).await);
        for call in 0..8 {
            caller
                .send("call", json!({ "to": to, "callId": format!("c-{call}") }))
                .await;
            let call = callee.expect("incomingCall").await["callId"].clone();
            callee.send("answer", json!({ "callId": call })).await;
            caller.expect("callAccepted").await;
        }
        pairs.push((caller, callee));
    }
    let mut chief = Phone::connect(switch.address, "/ws").await;
    chief
        .send(
            "register",
            json!({ "dn": "5009", "device": "desk", "role": "supervisor" }),
        )
        .await;
    chief.expect("registered").await;
    let mut ids = Vec::new();
    let mut pages = 0;
    let mut after = Value::Null;
    loop {
        chief.send("subscribe", json!({ "calls": true, "after": after })).await;
        chief.expect("ok").await;
        let told = chief.rest().await;
        let states: Vec<&Value> = told.iter().filter(|message| message["type"] == "callStates").collect();
        for message in &states {
            let calls = message["payload"]["calls"].as_array().unwrap();
            assert!(calls.len() <= 32 && message.to_string().len() <= 66 * 1024);
            ids.extend(calls.iter().map(|call| call["callId"].as_str().unwrap().to_owned()));
        }
        pages += 1;
        after = states
            .last()
            .map(|message| message["payload"]["next"].clone())
            .unwrap_or_default();
        if after.is_null() {
            break;
        }
    }
    assert!(pages > 1, "one request told all {} calls", ids.len());
    assert_eq!(ids.len(), 600);
    assert!(ids.is_sorted_by(|one, next| one < next), "each once, in order");
    assert_eq!(switch.get("/api/stats").await.json()["now"]["slowClients"], 0);
    chief.send("subscribe", json!({ "calls": true, "after": "x" })).await;
    assert_eq!(chief.expect("error").await["code"], 400);
}
