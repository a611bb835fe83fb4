//! The clock on the wall is set while calls go on: what lasts is measured by another one, and tokens are judged by this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use moqswitch_signalling::{Settings, TokenKey, WallClock};
use serde_json::{Value, json};

use crate::harness::{Phone, Switch};
use crate::innocent::{Innocent, assert_nothing_is_left};
use crate::main_path::connect;

/// A clock that somebody sets.
#[derive(Clone, Default)]
struct Wall(Arc<AtomicI64>);

impl Wall {
    fn clock(&self) -> WallClock {
        let own = self.clone();
        WallClock::new(move || own.now())
    }

    fn now(&self) -> SystemTime {
        let ahead = self.0.load(Ordering::SeqCst);
        let (now, by) = (SystemTime::now(), Duration::from_secs(ahead.unsigned_abs()));
        if ahead < 0 { now - by } else { now + by }
    }

    fn unix_ms(&self) -> u64 {
        let since = self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    }

    fn set_ahead(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

async fn register(switch: &Switch, dn: &str, token: &str, expires: u64) -> (Phone, Value) {
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone
        .send("register", json!({ "dn": dn, "token": token, "expires": expires }))
        .await;
    let told = phone.next().await.unwrap();
    (phone, told)
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_changes_no_duration_and_no_registration() {
    for jump in [3600, -3600] {
        let wall = Wall::default();
        let settings = Settings {
            clock: wall.clock(),
            ..Switch::patient()
        };
        let switch = Switch::start(settings).await;
        let mut innocent = Innocent::talk(&switch).await;
        let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
        let mut short = Phone::connect(switch.address, "/ws").await;
        let began = Instant::now();
        short.send("register", json!({ "dn": "5003", "expires": 5 })).await;
        short.expect("registered").await;
        let started = wall.unix_ms();
        let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
        wall.set_ahead(jump);
        // Who is registered for an hour is so still, and whose time is over by the other clock is not.
        while switch.get("/api/health").await.json()["registered_agents"] != 4 {
            switch.breathe().await;
        }
        assert!(
            began.elapsed() >= Duration::from_secs(4),
            "it lived {:?}",
            began.elapsed()
        );
        innocent.is_untouched(&switch).await;
        alice.send("hold", json!({ "callId": alices, "hold": true })).await;
        assert_eq!(bob.expect("held").await["hold"], true);
        bob.send("hangup", json!({ "callId": call })).await;
        let ended = alice.expect("callEnded").await;
        assert_eq!(ended["reason"], "normal_clearing");
        let most = u64::try_from(began.elapsed().as_millis()).unwrap();
        let record = switch.get(&format!("/api/call/{call}")).await.json();
        let of = |key: &str| record[key].as_u64().unwrap_or_else(|| panic!("{key} of {record}"));
        assert!((1..=most).contains(&of("durationMs")), "{record}, of {most} ms");
        assert!(of("startMs").abs_diff(started) <= most, "{record}");
        innocent.hang_up(&switch).await;
        assert_nothing_is_left(&switch, 2).await;
        assert_eq!(switch.get("/api/health").await.json()["registered_agents"], 2);
    }
}

#[tokio::test]
async fn tokens_are_judged_by_the_clock_on_the_wall_and_who_is_in_stays_in() {
    let wall = Wall::default();
    let key = TokenKey::new(b"secret").with_clock(wall.clock());
    let settings = Settings {
        clock: wall.clock(),
        tokens: Some(key.clone()),
        ..Switch::patient()
    };
    let switch = Switch::start(settings).await;
    let token = |dn: &str, minutes: u64| {
        let expires = SystemTime::now() + Duration::from_secs(60 * minutes);
        key.sign(&dn.parse().unwrap(), false, expires)
    };
    let (mut alice, told) = register(&switch, "5001", &token("5001", 10), 3600).await;
    assert_eq!(told["type"], "registered", "{told}");
    wall.set_ahead(3600);
    let (_, told) = register(&switch, "5002", &token("5002", 10), 3600).await;
    assert_eq!(
        (&told["type"], &told["payload"]["code"]),
        (&json!("registrationFailed"), &json!(403))
    );
    let (mut bob, told) = register(&switch, "5002", &token("5002", 90), 3600).await;
    assert_eq!(told["type"], "registered", "{told}");
    // Who was let in before is in.
    connect(&mut alice, &mut bob, "5002").await;
    wall.set_ahead(-3600);
    let (mut carol, told) = register(&switch, "5003", &token("5003", 10), 3600).await;
    assert_eq!(told["type"], "registered", "{told}");
    carol.sync().await;
    alice.sync().await;
    assert_eq!(switch.get("/api/health").await.json()["registered_agents"], 3);
}
