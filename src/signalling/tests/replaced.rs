//! What an operator changes while calls go on, and the figures.

use moqswitch_signalling::calls::Text;
use moqswitch_signalling::{ApiKey, Entrance, Figures, Place, Scope, Settings, TokenKey, User, Users, Webhook};
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{Phone, Switch};
use crate::main_path::connect;

/// Numbers with their passwords and the names that others are shown.
fn users(list: &[(&str, &str)]) -> Users {
    let mut users = Users::default();
    for (number, password) in list {
        let user = User::new(&User::hash(password).unwrap(), false).unwrap();
        users.insert(
            number.parse().unwrap(),
            user.named(Text::new(&format!("User {number}"))),
        );
    }
    users
}

fn entrance(users: &Users) -> Entrance {
    Entrance {
        users: Some(users.clone()),
        ..Entrance::default()
    }
}

async fn register(switch: &Switch, number: &str, password: &str) -> Phone {
    let mut phone = Phone::connect(switch.address, "/ws").await;
    let payload = json!({ "dn": number, "password": password, "displayName": "A lie" });
    phone.send("register", payload).await;
    phone
}

#[tokio::test]
async fn users_who_are_gone_or_have_another_password_are_unregistered_and_no_others() {
    let before = users(&[("5001", "a"), ("5002", "b"), ("5003", "c"), ("5004", "d")]);
    let switch = Switch::start(Settings {
        users: Some(before.clone()),
        ..Switch::settings()
    })
    .await;
    let mut phones = Vec::new();
    for (number, password) in [("5001", "a"), ("5002", "b"), ("5003", "c"), ("5004", "d")] {
        let mut phone = register(&switch, number, password).await;
        phone.expect("registered").await;
        phones.push(phone);
    }
    let [alice, bob, carol, dave] = &mut phones[..] else {
        panic!("four of them")
    };
    alice.send("call", json!({ "to": "5002", "callId": "c1" })).await;
    let incoming = bob.expect("incomingCall").await;
    assert_eq!(incoming["displayName"], "User 5001", "not what the device says");
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    alice.expect("callAccepted").await;

    // The hashes of those who stay are the same: it is not a new list for them.
    let mut after = before.clone();
    after.remove(&"5003".parse().unwrap());
    let changed = users(&[("5004", "other")]);
    after.extend(changed);
    switch.handle().replace_entrance(entrance(&after)).unwrap();
    assert_eq!(carol.expect("unregistered").await["reason"], "requested");
    assert_eq!((carol.closed().await, dave.closed().await), (4401, 4401));
    alice.send("hold", json!({ "callId": "c1", "hold": true })).await;
    alice.expect("held").await;
    bob.expect("held").await;

    for (number, password, is_in) in [("5003", "c", false), ("5004", "d", false), ("5004", "other", true)] {
        let mut phone = register(&switch, number, password).await;
        let told = if is_in { "registered" } else { "registrationFailed" };
        phone.expect(told).await;
    }
    // A user who is not registered is there all the same; one who is gone is not.
    alice.send("call", json!({ "to": "5004", "callId": "c2" })).await;
    assert_ne!(alice.expect("callEnded").await["reason"], "unallocated");
    alice.send("call", json!({ "to": "5003", "callId": "c3" })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "unallocated");
}

#[tokio::test]
async fn tokens_may_take_the_place_of_passwords() {
    let switch = Switch::start(Settings {
        users: Some(users(&[("5001", "a")])),
        ..Switch::settings()
    })
    .await;
    let tokens = TokenKey::new(b"a secret of at least thirty-two bytes");
    let entrance = Entrance {
        tokens: Some(tokens.clone()),
        ..Entrance::default()
    };
    switch.handle().replace_entrance(entrance).unwrap();
    let mut phone = register(&switch, "5001", "a").await;
    assert_eq!(phone.expect("registrationFailed").await["code"], 401);
    let until = std::time::SystemTime::now() + std::time::Duration::from_secs(600);
    let token = tokens.sign(&"5001".parse().unwrap(), false, until);
    phone.send("register", json!({ "dn": "5001", "token": token })).await;
    phone.expect("registered").await;
}

#[tokio::test]
async fn keys_and_origins_are_replaced() {
    let key = |secret: &str| vec![ApiKey::new("board", secret, [Scope::Read].into_iter().collect())];
    let switch = Switch::start(Settings {
        keys: key("old"),
        ..Switch::settings()
    })
    .await;
    let ask = async |secret: &str| {
        let bearer = format!("Bearer {secret}");
        let headers = [("Authorization", bearer.as_str())];
        switch.http("GET", "/api/calls", &headers, "").await.status
    };
    assert_eq!((ask("old").await, ask("new").await), (200, 401));
    switch.handle().replace_keys(key("new"), None).unwrap();
    assert_eq!((ask("old").await, ask("new").await), (401, 200));

    let page = [("Origin", "https://phone.example")];
    assert_eq!(switch.http("GET", "/api/health", &page, "").await.status, 403);
    switch
        .handle()
        .replace_origins(vec!["https://phone.example".to_owned()]);
    assert_eq!(switch.http("GET", "/api/health", &page, "").await.status, 200);
}

#[tokio::test]
async fn webhooks_are_replaced_and_those_that_stay_miss_nothing() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let webhook = |index: usize| {
        let url = format!("http://{}/", servers[index].local_addr().unwrap());
        Webhook::new(&url, b"secret", vec!["registration".to_owned()]).unwrap()
    };
    let switch = Switch::start(Settings {
        webhooks: vec![webhook(0), webhook(1)],
        ..Switch::settings()
    })
    .await;
    let _alice = switch.phone("5001").await;
    // Neither has taken it yet. The second is a webhook no longer; what waits for it is posted all the same.
    switch.handle().replace_webhooks(vec![webhook(0), webhook(2)]).unwrap();
    let _bob = switch.phone("5002").await;
    let told = async |server: &TcpListener| crate::outward::answer(server, 200, "").await.1;
    let about = |text: &str, number: &str| assert!(text.contains(&format!("\"dn\":\"{number}\"")), "{text}");
    about(&told(&servers[0]).await, "5001");
    about(&told(&servers[0]).await, "5002");
    about(&told(&servers[1]).await, "5001");
    about(&told(&servers[2]).await, "5002");
    let _carol = switch.phone("5003").await;
    about(&told(&servers[0]).await, "5003");
    about(&told(&servers[2]).await, "5003");
    // The second was told of one registration and of nothing that came after its end.
    let mut figures = figures(&switch).await;
    while figures.webhook_events[0] != ("taken", 6) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        figures = switch.handle().figures().await.unwrap();
    }
    assert_eq!(figures.webhook_events_waiting, 0);
}

async fn figures(switch: &Switch) -> Figures {
    switch.handle().figures().await.unwrap()
}

#[tokio::test]
async fn figures_say_what_calls_came_to() {
    let switch = Switch::plain().await;
    let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
    let (alices, _) = connect(&mut alice, &mut bob, "5002").await;
    let up = figures(&switch).await;
    assert_eq!((up.devices, up.sockets, up.calls, up.calls_up), (2, 2, 1, 1));
    assert_eq!((up.attempts, up.registered, up.answer.count()), (1, 2, 0));
    let quality =
        json!({ "callId": alices, "rtt": 10, "jitter": 1, "buffer": 20, "loss": 0, "underruns": 0, "mos": 4.2 });
    alice.send("quality", quality).await;
    alice.send("hangup", json!({ "callId": alices })).await;
    alice.expect("callEnded").await;
    alice.send("call", json!({ "to": "999", "callId": "no" })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "unallocated");
    alice.send("hangup", json!({ "callId": "nothing" })).await;
    assert_eq!(alice.expect("error").await["code"], 481);
    alice.text("{").await;
    alice.expect("error").await;
    let over = figures(&switch).await;
    assert_eq!((over.calls, over.calls_up, over.attempts), (0, 0, 2));
    let of = |cause: &str| over.ended.iter().find(|(name, _)| *name == cause).unwrap().1;
    assert_eq!((of("normal_clearing"), of("unallocated"), of("busy")), (1, 1, 0));
    assert_eq!((over.answer.count(), over.duration.count()), (1, 1));
    let scores: Vec<(f64, u64)> = over.mos.buckets().filter(|(_, count)| *count > 0).collect();
    assert_eq!(scores, [(4.5, 1)]);
    let refused = |place, code| {
        over.refused
            .iter()
            .any(|refused| (refused.place, refused.code) == (place, code))
    };
    assert!(
        refused(Place::Message, 481) && refused(Place::Message, 400),
        "{:?}",
        over.refused
    );
    assert!(over.records.is_none());
}
