//! A switch that was started again: devices come back, and calls go on or have records.

use std::path::PathBuf;
use std::time::Duration;

use moqswitch_signalling::sip::message::Method;
use moqswitch_signalling::{MediaswitchSettings, RecordSettings, Settings, StateSettings, User, Users};
use serde_json::{Value, json};

use crate::control::{Control, DOMAIN, Edge};
use crate::gateway::House;
use crate::harness::{Phone, Switch};
use crate::main_path::connect;

/// What several switches keep, one after the other. Gone when the test is.
struct Host(PathBuf);

impl Host {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moqswitch-restart-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    /// The switch of a run, on what the one before left behind.
    fn settings(&self, run: u32) -> Settings {
        Settings {
            records: Some(RecordSettings::below(self.0.join(format!("records-{run}")))),
            state: Some(StateSettings {
                directory: self.0.join(format!("state-{run}")),
                is_required: true,
            }),
            ..Switch::settings()
        }
    }

    /// Takes what is on the disk now to the next run, as it would be if this moment were the last of the one before.
    async fn crash(&self, run: u32, noted: impl Fn(&str) -> bool) {
        let journal = |run: u32| self.0.join(format!("state-{run}/journal.ndjson"));
        let mut text = String::new();
        for _ in 0..6000 {
            text = std::fs::read_to_string(journal(run)).unwrap();
            if noted(&text) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(noted(&text), "it is not noted: {text}");
        std::fs::create_dir_all(self.0.join(format!("state-{}", run + 1))).unwrap();
        std::fs::write(journal(run + 1), text).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn resume(switch: &Switch, session: &str, seq: u64) -> Phone {
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone.send("resume", json!({ "session": session, "seq": seq })).await;
    phone
}

async fn records(switch: &Switch, count: u64) -> Vec<Value> {
    loop {
        let found = switch.get("/api/cdr").await.json();
        if found["count"].as_u64().unwrap() >= count {
            return found["records"].as_array().unwrap().clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn devices_come_back_to_their_call() {
    let host = Host::new("call");
    let switch = Switch::start(host.settings(1)).await;
    let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
    let carol = switch.phone("5003").await;
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    bob.send("hold", json!({ "callId": call, "hold": true })).await;
    bob.expect("held").await;
    host.crash(1, |text| {
        text.contains("\"hold\":true") && text.contains("\"dn\":\"5003\"")
    })
    .await;

    let switch = Switch::start(host.settings(2)).await;
    let before = (alice.session.clone().unwrap(), alice.last_seq());
    let mut alice = resume(&switch, &before.0, before.1).await;
    let resumed = alice.expect_whole("resumed").await;
    assert_eq!(resumed["seq"], before.1, "what follows goes on behind it");
    let resumed = &resumed["payload"];
    assert_eq!((&resumed["dn"], &resumed["complete"]), (&json!("5001"), &json!(false)));
    assert_eq!(resumed["session"], *before.0);
    assert_eq!(resumed["calls"].as_array().unwrap().len(), 1, "{resumed}");
    let mut bob = resume(&switch, bob.session.as_deref().unwrap(), bob.last_seq()).await;
    let resumed = bob.expect("resumed").await;
    assert_eq!(resumed["calls"][0]["state"], "held", "{resumed}");
    // Both are in the same call, each knows it by the name that it had, and it is on hold.
    bob.send("hold", json!({ "callId": call, "hold": false })).await;
    bob.expect("held").await;
    assert_eq!(alice.expect("held").await["callId"], *alices);
    let grants = switch.media.grants_of(before.0.parse().unwrap());
    assert!(grants.publish.iter().any(|path| path.contains(&*call)), "{grants:?}");
    alice.send("hangup", json!({ "callId": alices })).await;
    alice.expect("callEnded").await;
    assert_eq!(bob.expect("callEnded").await["callId"], *call);
    let record = records(&switch, 1).await.remove(0);
    assert_eq!(
        (&record["callId"], &record["reason"]),
        (&json!(call), &json!("normal_clearing"))
    );
    assert_eq!(record["answeredBy"]["dn"], "5002");
    assert!(record["durationMs"].as_u64().unwrap() >= 1, "{record}");

    // Who has a session may come back once; with another secret nobody may.
    let mut again = resume(&switch, &"0".repeat(32), 0).await;
    assert_eq!(again.expect("error").await["code"], 404);
    let mut carol = resume(&switch, carol.session.as_deref().unwrap(), carol.last_seq()).await;
    carol.expect("resumed").await;
    carol.send("call", json!({ "to": "5001", "callId": "new" })).await;
    alice.expect("incomingCall").await;
}

#[tokio::test]
async fn calls_that_nobody_comes_back_to_have_records() {
    let host = Host::new("nobody");
    let switch = Switch::start(host.settings(1)).await;
    let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
    let (mut carol, mut dave) = (switch.phone("5003").await, switch.phone("5004").await);
    let (_, up) = connect(&mut alice, &mut bob, "5002").await;
    carol.send("call", json!({ "to": "5004", "callId": "rings" })).await;
    let rings = dave.expect("incomingCall").await["callId"].clone();
    host.crash(1, |text| {
        text.contains(rings.as_str().unwrap()) && text.contains("\"answeredBy\":{")
    })
    .await;

    let mut settings = host.settings(2);
    settings.calls.grace_up = Duration::from_millis(500);
    let switch = Switch::start(settings).await;
    let found = records(&switch, 2).await;
    let of = |call: &Value| found.iter().find(|record| record["callId"] == *call).unwrap();
    assert_eq!(of(&rings)["reason"], "internal");
    assert_eq!(
        (&of(&json!(up))["reason"], &of(&json!(up))["by"]),
        (&json!("unreachable"), &json!("system"))
    );
    let figures = switch.handle().figures().await.unwrap();
    assert_eq!((figures.calls, figures.devices), (0, 0), "nothing is left behind");
    // Nor for the run after that.
    host.crash(2, |text| {
        text.matches("\"over\"").count() == 2 && text.matches("\"gone\"").count() == 4
    })
    .await;
    let mut settings = host.settings(3);
    settings.records = None;
    let switch = Switch::start(settings).await;
    let figures = switch.handle().figures().await.unwrap();
    assert_eq!((figures.calls, figures.devices, figures.attempts), (0, 0, 0));
}

#[tokio::test]
async fn who_may_no_longer_register_may_not_come_back() {
    let host = Host::new("revoked");
    let user = |password: &str| User::new(&User::hash(password).unwrap(), false).unwrap();
    let users = |list: &[(&str, &User)]| {
        let mut users = Users::default();
        for (number, user) in list {
            users.insert(number.parse().unwrap(), (*user).clone());
        }
        Some(users)
    };
    let (alice, bob, other) = (user("x"), user("x"), user("x"));
    let mut settings = host.settings(1);
    settings.users = users(&[("5001", &alice), ("5002", &bob)]);
    let switch = Switch::start(settings).await;
    let mut phones = [switch.phone("5001").await, switch.phone("5002").await];
    host.crash(1, |text| text.contains("5001") && text.contains("5002"))
        .await;
    let mut settings = host.settings(2);
    settings.users = users(&[("5001", &alice), ("5002", &other)]);
    let switch = Switch::start(settings).await;
    for (phone, told) in phones.iter_mut().zip(["resumed", "error"]) {
        let mut back = resume(&switch, phone.session.as_deref().unwrap(), phone.last_seq()).await;
        back.expect(told).await;
    }
}

#[tokio::test]
async fn devices_come_back_after_a_stop_and_those_that_left_do_not() {
    let host = Host::new("stop");
    let switch = Switch::start(host.settings(1)).await;
    let alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let bobs = bob.session.clone().unwrap();
    bob.send("unregister", json!({})).await;
    bob.expect("unregistered").await;
    switch.handle().stop();
    switch.handle().ended().await;
    host.crash(1, |_| true).await;
    let switch = Switch::start(host.settings(2)).await;
    let mut alice = resume(&switch, alice.session.as_deref().unwrap(), 99).await;
    assert_eq!(alice.expect("resumed").await["calls"], json!([]));
    let mut bob = resume(&switch, &bobs, 0).await;
    assert_eq!(bob.expect("error").await["code"], 404);
}

#[tokio::test]
async fn what_control_programs_pushed_stands_until_it_is_pushed_again() {
    let host = Host::new("directory");
    let mut control = Control::start().await;
    let edge = Edge::with(MediaswitchSettings::default(), host.settings(1)).await;
    let domain = format!("/dir/{DOMAIN}");
    edge.push(&control.url(), &["1000", "1001"]).await;
    // Users beside them, one that goes, another secret, and domains that come and go.
    let many: Vec<Value> = (2000..3100)
        .map(|user| json!({ "username": user.to_string(), "secret": "s" }))
        .collect();
    for (method, path, body) in [
        ("PATCH", domain.clone(), json!({ "users": many })),
        ("DELETE", format!("{domain}/1001"), json!({})),
        ("PUT", format!("{domain}/2000"), json!({ "secret": "another" })),
        ("PUT", "/dir/gone.example".to_owned(), json!({ "users": [] })),
        ("DELETE", "/dir/gone.example".to_owned(), json!({})),
        (
            "PUT",
            "/dir/last.example".to_owned(),
            json!({ "users": [{ "username": "9", "secret": "s" }] }),
        ),
    ] {
        let answer = edge.ask(method, &path, &body.to_string()).await;
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
    }
    let before = edge.get(&domain).await.body;
    host.crash(1, |text| text.contains("last.example")).await;
    let noted = std::fs::read_to_string(host.0.join("state-2/journal.ndjson")).unwrap();
    assert!(!noted.contains("another"), "no secret is in it");

    // Twice, as the file is written anew at a start.
    for run in [2, 3] {
        let edge = Edge::with(MediaswitchSettings::default(), host.settings(run)).await;
        assert_eq!(edge.get(&domain).await.body, before);
        assert_eq!(edge.get("/dir/gone.example").await.status, 404);
        // Its user registers by the secret that was pushed, and its program decides on calls.
        let mut phone = edge.phone("3000").await;
        let (what, _) = control.next().await;
        assert_eq!(what, format!("PUT /reg/{DOMAIN}/3000"));
        phone.send("call", json!({ "to": format!("1000@{DOMAIN}") })).await;
        let (what, _) = control.next().await;
        assert!(what.starts_with("PUT /dialog/"), "{what}");
        let mut old = Phone::connect(edge.switch.address, "/ws").await;
        let as_before = json!({ "dn": format!("2000@{DOMAIN}"), "password": "s" });
        old.send("register", as_before).await;
        assert_eq!(old.expect("registrationFailed").await["code"], 403);
        phone.send("unregister", json!({})).await;
        phone.expect("unregistered").await;
        while !control.next().await.0.starts_with("DELETE /reg/") {}
        host.crash(run, |text| text.contains("\"over\"")).await;
    }
    // What is pushed takes the place of all that.
    let edge = Edge::with(MediaswitchSettings::default(), host.settings(4)).await;
    edge.push(&control.url(), &["1000"]).await;
    assert_eq!(edge.get(&domain).await.json()["users"], json!(["1000"]));
}

#[tokio::test]
async fn a_page_that_spoke_webrtc_before_is_offered_it_after() {
    use moqswitch_signalling::RecordingRtp;
    let host = Host::new("webrtc");
    let settings = |run| Settings {
        browsers: Box::new(RecordingRtp::default().with_browsers()),
        ..host.settings(run)
    };
    let switch = Switch::start(settings(1)).await;
    let mut alice = Phone::connect(switch.address, "/ws").await;
    alice
        .send("register", json!({ "dn": "5001", "device": "page", "webrtc": true }))
        .await;
    let registered = alice.expect("registered").await;
    alice.session = registered["session"].as_str().map(str::to_owned);
    // Another one says so by what it calls with.
    let mut bob = switch.phone("5002").await;
    bob.send("call", json!({ "to": "4242", "sdp": "an offer" })).await;
    bob.expect("callEnded").await;
    host.crash(1, |text| text.matches("\"speaksWebrtc\":true").count() >= 2)
        .await;

    let switch = Switch::start(settings(2)).await;
    for (page, number) in [(&alice, "5001"), (&bob, "5002")] {
        let mut page = resume(&switch, &page.session.clone().unwrap(), page.last_seq()).await;
        page.expect("resumed").await;
        let mut carol = switch.phone("5003").await;
        carol.send("call", json!({ "to": number })).await;
        assert_eq!(page.expect("incomingCall").await["sdp"], "an offer", "{number}");
    }
}

/// Telephones of SIP do not know that the switch was started again: they are rung where they were. Who has gone by then is not.
#[tokio::test]
async fn telephones_of_sip_are_rung_after_a_restart() {
    let host = Host::new("sip");
    let house = House::of(host.settings(1)).await;
    let desk = house.telephone("5002").await;
    let mut gone = house.telephone("5003").await;
    let contact = gone.contact();
    let mut leaving = gone.request(Method::Register, "sip:moqswitch", "5003");
    leaving.push("Contact", contact);
    leaving.push("Expires", "0");
    gone.send(&leaving).await;
    assert_eq!(gone.status().await, 200);
    host.crash(1, |text| {
        text.matches("\"contact\":{").count() == 2 && text.contains("\"noContact\"")
    })
    .await;
    // Twice, as the file is written anew at a start.
    for run in [2, 3] {
        let house = House::of(host.settings(run)).await;
        let mut alice = house.switch.phone("5001").await;
        alice.send("call", json!({ "to": "5003", "callId": "nobody" })).await;
        assert_eq!(alice.expect("callEnded").await["reason"], "unallocated");
        alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
        desk.incoming(&Method::Invite).await;
        alice.send("hangup", json!({ "callId": "c" })).await;
        alice.expect("callEnded").await;
        host.crash(run, |text| text.contains("\"5002 ")).await;
    }
    // Users are another matter: who would not be let in is not rung.
    let settings = Settings {
        users: Some(Users::default()),
        ..host.settings(4)
    };
    let _house = House::of(settings).await;
    host.crash(4, |text| text.rfind("\"noContact\"") > text.rfind("\"contact\":{"))
        .await;
}

/// Clients of the other dialect have no word for coming back: they register anew, and are then what they were.
#[tokio::test]
async fn clients_of_the_other_dialect_register_anew_after_a_restart() {
    let host = Host::new("flat");
    let switch = Switch::start(host.settings(1)).await;
    let register = async |switch: &Switch| {
        let mut bob = Phone::connect(switch.address, "/ws").await;
        bob.raw(json!({ "type": "register", "user_id": "5002" })).await;
        bob.expect("registered").await;
        bob
    };
    let _bob = register(&switch).await;
    let _alice = switch.phone("5001").await;
    host.crash(1, |text| text.contains("5001")).await;
    let switch = Switch::start(host.settings(2)).await;
    let mut alice = switch.phone("5001").await;
    alice.send("call", json!({ "to": "5002", "callId": "early" })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "unallocated");
    let mut bob = register(&switch).await;
    alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
    while bob.next().await.unwrap()["type"] != "incoming_call" {}
}
