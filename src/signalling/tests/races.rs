//! Two who do something at once: whichever the switch hears first, both end up where the contract says.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::Switch;
use crate::innocent::{Innocent, assert_nothing_is_left};
use crate::main_path::connect;

fn count(messages: &[Value], kind: &str) -> usize {
    messages.iter().filter(|message| message["type"] == kind).count()
}

/// onsip/SIP.js#944 and #918: two agents answered, and both were "established". One has the call; the other is told that it
/// was answered elsewhere, once.
async fn two_answer(switch: &Switch, number: usize, rounds: usize) {
    let (from, to) = (format!("1{number:03}"), format!("2{number:03}"));
    let mut caller = switch.phone(&from).await;
    let mut first = switch.phone(&to).await;
    let mut second = switch.phone(&to).await;
    for round in 0..rounds {
        let alias = format!("c-{round}");
        caller.send("call", json!({ "to": to, "callId": alias })).await;
        let call = first.expect("incomingCall").await["callId"].clone();
        second.expect("incomingCall").await;
        let answer = json!({ "callId": call });
        // Each is first about as often.
        if round.is_multiple_of(2) {
            tokio::join!(first.send("answer", answer.clone()), second.send("answer", answer));
        } else {
            tokio::join!(second.send("answer", answer.clone()), first.send("answer", answer));
        }
        caller.expect("callAccepted").await;
        let heard = [first.rest().await, second.rest().await];
        let winners = heard.iter().filter(|heard| count(heard, "callAccepted") == 1).count();
        assert_eq!(winners, 1, "{heard:?}");
        let loser = heard.iter().find(|heard| count(heard, "callAccepted") == 0).unwrap();
        let ends: Vec<&Value> = loser.iter().filter(|message| message["type"] == "callEnded").collect();
        assert_eq!(ends.len(), 1, "{loser:?}");
        assert_eq!(ends[0]["payload"]["reason"], "answered_elsewhere");
        assert_eq!(ends[0]["payload"]["answeredBy"]["dn"], to);
        assert_eq!(count(loser, "participants"), 0, "it hears of nothing more");
        caller.send("hangup", json!({ "callId": alias })).await;
        caller.expect("callEnded").await;
        let told = caller.rest().await;
        assert_eq!(
            (count(&told, "callAccepted"), count(&told, "callEnded")),
            (0, 0),
            "told once"
        );
        for phone in [&mut first, &mut second] {
            let heard = phone.rest().await;
            assert_eq!(count(&heard, "error"), 0, "{heard:?}");
        }
    }
    for phone in [caller, first, second] {
        assert!(switch.grants(&phone).is_empty());
    }
}

#[tokio::test]
async fn of_two_who_answer_at_once_one_has_the_call_a_thousand_times() {
    let switch = Switch::start(Switch::patient()).await;
    let mut innocent = Innocent::talk(&switch).await;
    join_all((0..100).map(|number| two_answer(&switch, number, 10))).await;
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 1001).await;
}

/// versatica/JsSIP#836 and #597: a cancel crossed the answer, and the callee hung for ever. Both end, and there is one record,
/// whichever came first.
async fn cancel_crosses_answer(switch: &Switch, number: usize, rounds: usize) {
    let (from, to) = (format!("1{number:03}"), format!("2{number:03}"));
    let mut caller = switch.phone(&from).await;
    let mut callee = switch.phone(&to).await;
    for round in 0..rounds {
        let alias = format!("c-{round}");
        caller.send("call", json!({ "to": to, "callId": alias })).await;
        let call = callee.expect("incomingCall").await["callId"].clone();
        let (cancel, answer) = (json!({ "callId": alias }), json!({ "callId": call }));
        if (number + round).is_multiple_of(2) {
            tokio::join!(caller.send("hangup", cancel), callee.send("answer", answer));
        } else {
            tokio::join!(callee.send("answer", answer), caller.send("hangup", cancel));
        }
        let ended = caller.expect("callEnded").await;
        let reason = ended["reason"].as_str().unwrap().to_owned();
        assert!(["cancelled", "normal_clearing"].contains(&reason.as_str()), "{reason}");
        assert_eq!(callee.expect("callEnded").await["reason"], reason);
        for phone in [&mut caller, &mut callee] {
            assert_eq!(count(&phone.rest().await, "callEnded"), 0, "told once");
            assert!(switch.grants(phone).is_empty());
        }
        let id = call.as_str().unwrap();
        assert_eq!(switch.get(&format!("/api/call/{id}")).await.json()["reason"], reason);
    }
}

#[tokio::test]
async fn cancel_that_crosses_an_answer_ends_both_once() {
    let switch = Switch::start(Switch::patient()).await;
    let mut innocent = Innocent::talk(&switch).await;
    // REST is asked by one address: fewer than its rate.
    join_all((0..4).map(|number| cancel_crosses_answer(&switch, number, 12))).await;
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 49).await;
}

/// Both hang up at once: each is told once, and there is one record.
async fn both_hang_up(switch: &Switch, number: usize, rounds: usize) {
    let (from, to) = (format!("1{number:03}"), format!("2{number:03}"));
    let mut caller = switch.phone(&from).await;
    let mut callee = switch.phone(&to).await;
    for _ in 0..rounds {
        let (alias, call) = connect(&mut caller, &mut callee, &to).await;
        tokio::join!(
            caller.send("hangup", json!({ "callId": alias })),
            callee.send("hangup", json!({ "callId": call }))
        );
        let (mine, yours) = (caller.expect("callEnded").await, callee.expect("callEnded").await);
        assert_eq!(
            (&mine["reason"], &yours["reason"]),
            (&json!("normal_clearing"), &json!("normal_clearing"))
        );
        let by = [mine["by"].as_str().unwrap(), yours["by"].as_str().unwrap()];
        assert!(
            by.contains(&"local") && by.contains(&"remote"),
            "one of them was first: {by:?}"
        );
        for phone in [&mut caller, &mut callee] {
            let heard = phone.rest().await;
            assert_eq!(count(&heard, "callEnded"), 0, "told once");
            // Who was second is told that there is no such call any more.
            assert!(
                heard
                    .iter()
                    .all(|message| message["type"] != "error" || message["payload"]["code"] == 481)
            );
        }
    }
}

#[tokio::test]
async fn both_hang_up_at_once_and_each_is_told_once() {
    let switch = Switch::start(Switch::patient()).await;
    let mut innocent = Innocent::talk(&switch).await;
    join_all((0..20).map(|number| both_hang_up(&switch, number, 10))).await;
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    assert_nothing_is_left(&switch, 201).await;
}

/// Two who call each other at once talk, by one of the two calls.
async fn both_call(switch: &Switch, number: usize, rounds: usize) {
    let (one, other) = (format!("1{number:03}"), format!("2{number:03}"));
    let mut alice = switch.phone(&one).await;
    let mut bob = switch.phone(&other).await;
    for round in 0..rounds {
        let alias = format!("c-{round}");
        tokio::join!(
            alice.send("call", json!({ "to": other, "callId": alias })),
            bob.send("call", json!({ "to": one, "callId": alias }))
        );
        let (a, b) = (alice.expect("callAccepted").await, bob.expect("callAccepted").await);
        assert_eq!(a["call"], b["call"]);
        // Of the other call, whoever made it was told that it ended.
        alice.send("hangup", json!({ "callId": a["callId"] })).await;
        while alice.expect("callEnded").await["call"] != a["call"] {}
        while bob.expect("callEnded").await["call"] != b["call"] {}
        alice.rest().await;
        bob.rest().await;
    }
}

#[tokio::test]
async fn two_who_call_each_other_at_once_talk() {
    let switch = Switch::start(Switch::patient()).await;
    let mut innocent = Innocent::talk(&switch).await;
    join_all((0..20).map(|number| both_call(&switch, number, 8))).await;
    innocent.is_untouched(&switch).await;
    innocent.hang_up(&switch).await;
    let stats = switch.get("/api/stats").await.json();
    assert_eq!(stats["now"]["calls"], 0);
    assert_eq!(stats["causes"]["normal_clearing"], 161);
    assert_eq!(stats["causes"]["glare"], 160);
}

#[tokio::test]
async fn whoever_answers_twice_has_one_call() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    bob.sync().await;
    bob.heard();
    bob.send("answer", json!({ "callId": call })).await;
    let error = bob.expect("error").await;
    assert_eq!(
        (&error["code"], &error["details"]),
        (&json!(409), &json!("wrong_state"))
    );
    assert_eq!(count(&alice.rest().await, "callAccepted"), 0, "told already");
    bob.send("hangup", json!({ "callId": call })).await;
    bob.expect("callEnded").await;
    bob.send("answer", json!({ "callId": call })).await;
    assert_eq!(bob.expect("error").await["code"], 481);
    assert_nothing_is_left(&switch, 1).await;
}
