//! Watchers and publishers, whom the test speaks for.

use std::time::Duration;

use super::super::exercise::{PEER, World, flow};
use super::super::{Access, Agent, Host};
use super::*;
use crate::limits::{
    NOTICE_INTERVAL, PUBLICATIONS_PER_USER_MAX, PUBLISHED_BYTES_MAX, SUBSCRIPTIONS_PER_USER_MAX,
    SUBSCRIPTIONS_PER_WATCHER_MAX,
};
use crate::message::{Message, Method};

/// One request of a watcher.
struct Ask<'a> {
    number: u32,
    call: &'a str,
    event: &'a str,
    expires: u32,
    tag: Option<&'a str>,
    from: &'a str,
    more: &'a str,
}

const ASK: Ask<'_> = Ask {
    number: 1,
    call: "s",
    event: "dialog",
    expires: 600,
    tag: None,
    from: "1001",
    more: "",
};

impl Ask<'_> {
    fn text(&self) -> String {
        let Self {
            number,
            call,
            event,
            expires,
            from,
            more,
            ..
        } = self;
        let tag = self.tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        format!(
            "SUBSCRIBE sip:1002@realm SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bK{call}{number};rport\r\n\
             From: <sip:{from}@realm>;tag=w\r\nTo: <sip:1002@realm>{tag}\r\nCall-ID: {call}\r\nCSeq: {number} SUBSCRIBE\r\n\
             Contact: <sip:{from}@192.0.2.100>\r\nEvent: {event}\r\nExpires: {expires}\r\n{more}\r\n"
        )
    }
}

/// What the peer heard of it: its answer.
fn ask(world: &mut World, ask: &Ask<'_>) -> Message {
    world.say(0, &ask.text());
    let at = world.heard.iter().rposition(|message| message.method().is_none());
    world.heard.remove(at.expect("an answer"))
}

fn notice(world: &mut World) -> Message {
    world.answer(0, &Method::Notify, 200, &[])
}

fn body(message: &Message) -> String {
    String::from_utf8(message.body.clone()).unwrap()
}

fn subscribed(world: &mut World) -> Watch {
    let found = world.events[0].iter().find_map(|event| match event {
        Event::Subscribed(watch) => Some((**watch).clone()),
        _ => None,
    });
    let watch = found.expect("somebody watches");
    assert!(world.told(0, &Event::Subscribed(Box::new(watch.clone()))));
    watch
}

fn tag_of(response: &Message) -> String {
    response.to_tag().expect("a tag")
}

fn ringing(stage: DialogStage) -> Watched {
    Watched::Dialogs(vec![WatchedDialog {
        id: "7".to_owned(),
        stage,
        is_caller: false,
        remote: Some(("sip:1003@realm".to_owned(), "Bo".to_owned())),
        leg: None,
    }])
}

fn notify(world: &mut World, id: SubscriptionId, state: Watched) -> bool {
    let done = world.agents[0].notify(world.now, id, state);
    world.settle();
    done
}

#[test]
fn a_lamp_is_told_at_once_and_of_what_changes() {
    let mut world = World::new(1);
    let answer = ask(&mut world, &ASK);
    assert_eq!((answer.status(), answer.get("Expires")), (200, Some("600")));
    let tag = tag_of(&answer);
    let watch = subscribed(&mut world);
    assert_eq!(
        (watch.package, watch.user.as_str(), watch.watcher.0.as_str(), watch.leg),
        (Package::Dialog, "1002", "1001", None)
    );
    let first = notice(&mut world);
    assert_eq!(first.uri(), "sip:1001@192.0.2.100");
    assert_eq!(
        (first.get("From"), first.get("To")),
        (
            Some(&*format!("<sip:1002@realm>;tag={tag}")),
            Some("<sip:1001@realm>;tag=w")
        )
    );
    assert_eq!(
        (first.get("Event"), first.get("Subscription-State")),
        (Some("dialog"), Some("active;expires=600"))
    );
    assert!(first.get("Contact").is_some() && body(&first).contains("version=\"0\""));
    // Another state: told at once, as a second has gone by.
    world.seconds(1);
    assert!(notify(&mut world, watch.subscription, ringing(DialogStage::Early)));
    let second = notice(&mut world);
    assert!(body(&second).contains("version=\"1\"") && body(&second).contains("<state>early</state>"));
    assert_eq!(second.cseq().unwrap().0, first.cseq().unwrap().0 + 1);
    // The same once more says nothing.
    world.seconds(5);
    assert!(notify(&mut world, watch.subscription, ringing(DialogStage::Early)));
    assert!(world.heard.is_empty());
    assert!(!notify(
        &mut world,
        watch.subscription,
        Watched::Messages(Waiting::default())
    ));
    // Renewed: told again. Given up: told for the last time.
    world.seconds(300);
    let again = Ask {
        number: 2,
        tag: Some(&tag),
        ..ASK
    };
    assert_eq!(ask(&mut world, &again).status(), 200);
    let third = notice(&mut world);
    assert!(body(&third).contains("version=\"2\""));
    assert_eq!(ask(&mut world, &again).status(), 200, "repeated: nothing happens");
    assert!(world.heard.is_empty());
    world.seconds(590);
    let end = Ask {
        number: 3,
        expires: 0,
        ..again
    };
    assert_eq!(ask(&mut world, &end).get("Expires"), Some("0"));
    let last = notice(&mut world);
    assert_eq!(last.get("Subscription-State"), Some("terminated;reason=timeout"));
    let subscription = watch.subscription;
    assert!(world.told(0, &Event::Unsubscribed { subscription }));
    assert!(!notify(&mut world, subscription, ringing(DialogStage::Early)));
    let late = Ask {
        number: 4,
        tag: Some(&tag),
        ..ASK
    };
    assert_eq!(ask(&mut world, &late).status(), 481);
    world.assert_empty();
}

#[test]
fn of_many_changes_in_a_second_the_last_is_told() {
    let mut world = World::new(1);
    ask(&mut world, &ASK);
    let id = subscribed(&mut world).subscription;
    notice(&mut world);
    for stage in [DialogStage::Trying, DialogStage::Early, DialogStage::Confirmed] {
        assert!(notify(&mut world, id, ringing(stage)));
    }
    assert!(world.heard.is_empty(), "not yet");
    world.pass(NOTICE_INTERVAL);
    let told = notice(&mut world);
    assert!(body(&told).contains("confirmed") && world.heard.is_empty());
    // One at a time: while one is not answered none goes out, and then the last.
    world.seconds(2);
    notify(&mut world, id, ringing(DialogStage::Terminated));
    notify(&mut world, id, Watched::Dialogs(Vec::new()));
    world.seconds(2);
    notify(&mut world, id, ringing(DialogStage::Early));
    let calls: BTreeSet<u32> = world.heard.iter().map(|notice| notice.cseq().unwrap().0).collect();
    assert_eq!(calls.len(), 1);
    world.heard.truncate(1);
    assert!(body(&notice(&mut world)).contains("terminated"));
    assert!(body(&notice(&mut world)).contains("early"));
    world.seconds(100);
    assert!(world.heard.is_empty());
    assert!(world.agents[0].end_subscription(world.now, id, Over::NoResource));
    world.settle();
    let last = notice(&mut world);
    assert_eq!(last.get("Subscription-State"), Some("terminated;reason=noresource"));
    assert!(!world.agents[0].end_subscription(world.now, id, Over::NoResource));
    world.assert_empty();
}

#[test]
fn a_subscription_ends_by_time_or_with_its_watcher() {
    let mut world = World::new(1);
    ask(&mut world, &Ask { expires: 60, ..ASK });
    let subscription = subscribed(&mut world).subscription;
    notice(&mut world);
    world.seconds(60);
    assert_eq!(
        notice(&mut world).get("Subscription-State"),
        Some("terminated;reason=timeout")
    );
    assert!(world.told(0, &Event::Unsubscribed { subscription }));
    world.assert_empty();
    // A watcher that knows nothing of it.
    for (status, is_over) in [
        (481, true),
        (489, true),
        (404, true),
        (500, false),
        (603, false),
        (401, false),
    ] {
        let call = format!("c{status}");
        ask(&mut world, &Ask { call: &call, ..ASK });
        let subscription = subscribed(&mut world).subscription;
        world.answer(0, &Method::Notify, status, &[]);
        assert_eq!(
            world.told(0, &Event::Unsubscribed { subscription }),
            is_over,
            "{status}"
        );
        if !is_over {
            assert!(world.agents[0].end_subscription(world.now, subscription, Over::Deactivated));
            world.settle();
            world.heard.clear();
        }
        world.assert_empty();
    }
    // One that is silent: a notice may be lost, a second one is not.
    ask(&mut world, &Ask { call: "lost", ..ASK });
    let subscription = subscribed(&mut world).subscription;
    world.heard.clear();
    world.seconds(33);
    assert!(!world.told(0, &Event::Unsubscribed { subscription }));
    notice(&mut world);
    world.seconds(2);
    notify(&mut world, subscription, ringing(DialogStage::Early));
    world.seconds(65);
    assert!(world.told(0, &Event::Unsubscribed { subscription }));
    world.heard.clear();
    world.assert_empty();
}

#[test]
fn notices_come_through_a_path_that_loses() {
    let mut world = World::new(1);
    world.loss = 30;
    let mut id = None;
    for number in 1..20 {
        // The watcher sends until it is answered: the transaction is the same.
        world.say(0, &Ask { expires: 3600, ..ASK }.text());
        if let Some(Event::Subscribed(watch)) = world.events[0].first() {
            id = Some(watch.subscription);
        }
        if world.heard.iter().any(|message| message.status() == 200) {
            break;
        }
        assert!(number < 19, "everything is lost");
    }
    let id = id.expect("somebody watches");
    assert_eq!(world.events[0].len(), 1, "once");
    for round in 0..20 {
        let stage = if round % 2 == 0 {
            DialogStage::Early
        } else {
            DialogStage::Confirmed
        };
        notify(&mut world, id, ringing(stage));
        let wanted = if round % 2 == 0 { "early" } else { "confirmed" };
        let mut known = String::new();
        for second in 0..60 {
            world.seconds(1);
            // Answers are lost, too: each second one.
            if second % 2 == 0 {
                world.heard.clear();
            }
            while !world.heard.is_empty() {
                known = body(&notice(&mut world));
            }
        }
        assert!(known.contains(wanted), "round {round}: {known}");
    }
    assert!(world.agents[0].end_subscription(world.now, id, Over::Deactivated));
    world.assert_empty();
}

#[test]
fn each_kind_has_its_document() {
    let mut world = World::new(1);
    world.houses[0].watched = Ok(Watched::Presence(Presence {
        is_open: true,
        ..Presence::default()
    }));
    let presence = Ask {
        event: "presence;id=4",
        call: "p",
        ..ASK
    };
    assert_eq!(ask(&mut world, &presence).status(), 200);
    let told = notice(&mut world);
    assert_eq!(
        (told.get("Event"), told.get("Content-Type")),
        (Some("presence;id=4"), Some("application/pidf+xml"))
    );
    assert!(body(&told).contains("entity=\"sip:1002@realm\""), "{}", body(&told));
    world.houses[0].watched = Ok(Watched::Messages(Waiting {
        messages: (2, 1),
        ..Waiting::default()
    }));
    let messages = Ask {
        event: "message-summary",
        call: "m",
        ..ASK
    };
    assert_eq!(ask(&mut world, &messages).status(), 200);
    let told = notice(&mut world);
    assert_eq!(told.get("Content-Type"), Some("application/simple-message-summary"));
    assert_eq!(body(&told), "Messages-Waiting: yes\r\nVoice-Message: 2/1 (0/0)\r\n");
    // To be told once: nothing is left.
    let once = Ask {
        event: "message-summary",
        call: "o",
        expires: 0,
        ..ASK
    };
    world.events[0].clear();
    assert_eq!(ask(&mut world, &once).get("Expires"), Some("0"));
    assert_eq!(
        notice(&mut world).get("Subscription-State"),
        Some("terminated;reason=timeout")
    );
    assert!(world.events[0].is_empty());
    world.seconds(601);
    world.heard.clear();
    world.assert_empty();
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let mut world = World::new(1);
    world.houses[0].watched = Err(404);
    let refused = |world: &mut World, number: u32, one: Ask<'_>| {
        let call = format!("n{number}");
        let answer = ask(world, &Ask { call: &call, ..one });
        (answer.status(), answer)
    };
    assert_eq!(refused(&mut world, 1, ASK).0, 404);
    world.houses[0].watched = Ok(Watched::Messages(Waiting::default()));
    assert_eq!(refused(&mut world, 2, ASK).0, 404);
    for (number, event) in (3..).zip(["refer", "presence.winfo", "", "reg"]) {
        let (status, answer) = refused(&mut world, number, Ask { event, ..ASK });
        assert_eq!(
            (status, answer.get("Allow-Events")),
            (489, Some(ALLOW_EVENTS.1)),
            "{event}"
        );
    }
    let (status, answer) = refused(&mut world, 20, Ask { expires: 59, ..ASK });
    assert_eq!((status, answer.get("Min-Expires")), (423, Some("60")));
    let xml = Ask {
        more: "Accept: application/xml, text/*\r\n",
        ..ASK
    };
    let (status, answer) = refused(&mut world, 21, xml);
    assert_eq!(
        (status, answer.get("Accept")),
        (406, Some("application/dialog-info+xml"))
    );
    world.houses[0].watched = Ok(Watched::Dialogs(Vec::new()));
    let both = Ask {
        more: "Accept: application/xml, Application/dialog-info+XML;q=0.3\r\n",
        ..ASK
    };
    let (status, answer) = refused(
        &mut world,
        22,
        Ask {
            expires: 99_999,
            ..both
        },
    );
    assert_eq!((status, answer.get("Expires")), (200, Some("3600")), "it is cut");
    let id = subscribed(&mut world).subscription;
    notice(&mut world);
    assert!(world.agents[0].end_subscription(world.now, id, Over::Rejected));
    world.settle();
    notice(&mut world);
    world.houses[0].access = Access::Password("realm".to_owned());
    assert_eq!(refused(&mut world, 23, ASK).0, 407);
    assert_eq!(refused(&mut world, 24, Ask { tag: Some("x"), ..ASK }).0, 481);
    world.assert_empty();
}

#[test]
fn the_dialog_of_a_subscription_is_for_that_alone() {
    let mut world = World::new(1);
    let tag = tag_of(&ask(&mut world, &Ask { number: 5, ..ASK }));
    let id = subscribed(&mut world).subscription;
    notice(&mut world);
    let inside = |number: u32| Ask {
        number,
        tag: Some(&tag),
        ..ASK
    };
    assert_eq!(ask(&mut world, &inside(5)).status(), 200, "the same request");
    assert_eq!(ask(&mut world, &inside(4)).status(), 500, "an older one");
    let other = |number: u32, event: &'static str| Ask {
        event,
        ..inside(number)
    };
    assert_eq!(ask(&mut world, &other(6, "presence")).status(), 403);
    assert_eq!(ask(&mut world, &other(7, "dialog;id=1")).status(), 403);
    assert_eq!(ask(&mut world, &other(8, "reg")).status(), 489);
    let short = Ask {
        expires: 5,
        ..inside(9)
    };
    for _ in 0..2 {
        assert_eq!(ask(&mut world, &short).status(), 423, "whether or not it was heard");
    }
    let stranger = inside(10).text().replace(";tag=w", ";tag=v");
    world.say(0, &stranger);
    assert_eq!(world.hear().status(), 481);
    let method = |name: &str, number: u32| inside(number).text().replace("SUBSCRIBE", name);
    for (name, number, status) in [("OPTIONS", 11, 200), ("INFO", 12, 405), ("BYE", 13, 405)] {
        world.say(0, &method(name, number));
        assert_eq!(world.hear().status(), status, "{name}");
    }
    assert!(world.agents[0].end_subscription(world.now, id, Over::Probation));
    world.settle();
    notice(&mut world);
    world.assert_empty();
}

#[test]
fn a_watcher_may_move() {
    let mut world = World::new(1);
    let tag = tag_of(&ask(&mut world, &ASK));
    let id = subscribed(&mut world).subscription;
    notice(&mut world);
    let again = Ask {
        number: 2,
        tag: Some(&tag),
        ..ASK
    };
    let moved = again.text().replace("sip:1001@192.0.2.100", "sip:1001@192.0.2.100;x");
    world.say(0, &moved);
    assert_eq!(notice(&mut world).uri(), "sip:1001@192.0.2.100;x");
    world.heard.clear();
    assert!(world.agents[0].end_subscription(world.now, id, Over::Probation));
    world.settle();
    notice(&mut world);
    world.assert_empty();
}

#[test]
fn a_watcher_that_starts_again_takes_its_own_place() {
    let mut world = World::new(1);
    for call in ["a", "b", "c"] {
        ask(&mut world, &Ask { call, ..ASK });
        notice(&mut world);
    }
    let events: Vec<bool> = world.events[0]
        .iter()
        .map(|event| matches!(event, Event::Subscribed(_)))
        .collect();
    assert_eq!(events, [true, false, true, false, true]);
    assert_eq!(world.agents[0].watching.subscriptions.len(), 1);
    world.seconds(601);
    world.heard.clear();
    world.assert_empty();
}

fn stream() -> Flow {
    Flow {
        transport: crate::flow::Transport::Tcp,
        connection: 5,
        ..flow(PEER)
    }
}

#[test]
fn there_are_bounds() {
    let mut world = World::new(1);
    let mut statuses = HashMap::new();
    // On a stream nothing is repeated, so the test is quick.
    let stream = stream();
    let mut count = |world: &mut World, call: &str, from: &str, number: usize| {
        // Each watches somebody else, from somewhere else.
        let text = Ask { call, from, ..ASK }.text();
        let text = text
            .replace("UDP", "TCP")
            .replace("SUBSCRIBE sip:1002@", &format!("SUBSCRIBE sip:u{number}@"))
            .replace(&format!("{from}@192"), &format!("{from}{number}@192"));
        world.agents[0].receive(world.now, stream, text.as_bytes(), &mut world.houses[0]);
        while let Some((_, bytes)) = world.agents[0].poll_send() {
            let message = Message::parse(&bytes).unwrap();
            *statuses.entry(message.status()).or_insert(0) += 1;
        }
    };
    for number in 0..SUBSCRIPTIONS_PER_WATCHER_MAX + 3 {
        count(&mut world, &format!("w{number}"), "1001", number);
    }
    for number in 0..SUBSCRIPTIONS_PER_USER_MAX + 5 {
        count(&mut world, &format!("x{number}"), &format!("2{number}"), 7777);
    }
    assert_eq!(statuses[&403], 8);
    let (one, other) = (SUBSCRIPTIONS_PER_WATCHER_MAX, SUBSCRIPTIONS_PER_USER_MAX);
    assert_eq!(statuses[&200], one + other);
    assert_eq!(statuses[&0], one + other, "a notice for each");
    world.agents[0].connection_closed(stream.connection, &mut world.houses[0]);
    world.assert_empty();
}

#[test]
fn a_connection_takes_its_watchers_with_it() {
    let mut world = World::new(1);
    let flow = stream();
    let text = ASK.text().replace("UDP", "TCP");
    world.agents[0].receive(world.now, flow, text.as_bytes(), &mut world.houses[0]);
    world.settle();
    let subscription = subscribed(&mut world).subscription;
    notice(&mut world);
    world.agents[0].connection_closed(4, &mut world.houses[0]);
    world.settle();
    assert!(world.events[0].is_empty());
    world.agents[0].connection_closed(5, &mut world.houses[0]);
    world.settle();
    assert!(world.told(0, &Event::Unsubscribed { subscription }));
    world.heard.clear();
    world.assert_empty();
}

#[test]
fn in_a_call_it_is_watched_until_the_call_is_over() {
    let mut world = World::new(2);
    let [own, other] = world.talk(0, 1);
    world.lines();
    let ask = |world: &mut World, event: &str, expires: u32| {
        let leg = world.agents[1].legs.get_mut(&other).unwrap();
        let mut request = leg.dialog.request(Method::Subscribe);
        request.push_front("Via", world.agents[1].via(crate::flow::Transport::Udp));
        request.push("Contact", "<sip:1001@192.0.2.2>");
        request.push("Event", event);
        request.push("Expires", expires.to_string());
        world.agents[0].receive(world.now, flow(1), &request.to_bytes(), &mut world.houses[0]);
        world.settle();
    };
    ask(&mut world, "dialog", 600);
    assert_eq!(world.lines(), ["200", "NOTIFY", "200"]);
    let watch = subscribed(&mut world);
    assert_eq!(
        (watch.leg, watch.user.as_str(), watch.watcher.0.as_str()),
        (Some(own), "1000", "1001")
    );
    ask(&mut world, "dialog;id=2", 600);
    let second = subscribed(&mut world);
    ask(&mut world, "dialog", 600);
    assert!(world.events[0].is_empty(), "the first one goes on");
    world.lines();
    world.seconds(2);
    notify(&mut world, watch.subscription, ringing(DialogStage::Early));
    assert_eq!(world.lines(), ["NOTIFY", "200"]);
    ask(&mut world, "dialog;id=2", 0);
    assert!(world.told(
        0,
        &Event::Unsubscribed {
            subscription: second.subscription
        }
    ));
    ask(&mut world, "refer", 600);
    assert_eq!(world.lines(), ["200", "NOTIFY", "200", "489"]);
    // The call itself goes on as before.
    assert!(world.agents[0].offer(world.now, own, "v=0 hold"));
    world.settle();
    world.agents[1].answer_offer(world.now, other, "v=0 held");
    world.settle();
    world.agents[1].hang_up(world.now, other, 487, None);
    world.settle();
    assert!(world.told(
        0,
        &Event::Unsubscribed {
            subscription: watch.subscription
        }
    ));
    world.assert_empty();
}

#[test]
fn who_asks_in_a_call_is_whom_it_is_with_and_asks_for_whom_it_talks_to() {
    let mut world = World::new(2);
    let [own, other] = world.talk(0, 1);
    world.lines();
    // Whatever is said: nobody checks it.
    for (name, own, forged, expected) in [
        ("To", "1000", "1007", "403"),
        ("To", "realm", "other.example", "403"),
        ("From", "1001", "1007", "200"),
    ] {
        let dialog = &mut world.agents[1].legs.get_mut(&other).unwrap().dialog;
        let mut request = dialog.request(Method::Subscribe);
        request.push("Contact", "<sip:1001@192.0.2.2>");
        request.push("Event", "dialog");
        request.push_front("Via", world.agents[1].via(crate::flow::Transport::Udp));
        let changed = request.get(name).unwrap().replace(own, forged);
        request.set(name, changed);
        world.agents[0].receive(world.now, flow(1), &request.to_bytes(), &mut world.houses[0]);
        world.settle();
        assert_eq!(world.lines()[0], expected, "{name}");
    }
    let watch = subscribed(&mut world);
    assert_eq!((watch.user.as_str(), watch.watcher.0.as_str()), ("1000", "1001"));
    world.agents[0].hang_up(world.now, own, 487, None);
    world.settle();
    world.assert_empty();
}

#[test]
fn a_call_is_named_to_who_may_take_it() {
    let mut world = World::new(2);
    let [own, _] = world.talk(0, 1);
    ask(&mut world, &ASK);
    let id = subscribed(&mut world).subscription;
    notice(&mut world);
    world.seconds(1);
    let Watched::Dialogs(mut dialogs) = ringing(DialogStage::Confirmed) else {
        panic!()
    };
    dialogs[0].leg = Some(own);
    notify(&mut world, id, Watched::Dialogs(dialogs));
    let told = body(&notice(&mut world));
    let dialog = &world.agents[0].legs[&own].dialog;
    let remote = dialog.remote_tag.as_ref().unwrap();
    let names = format!(
        "call-id=\"{}\" local-tag=\"{remote}\" remote-tag=\"{}\"",
        dialog.call_id, dialog.local_tag
    );
    assert!(told.contains(&names), "{told}");
    world.agents[0].hang_up(world.now, own, 487, None);
    assert!(world.agents[0].end_subscription(world.now, id, Over::Deactivated));
    world.settle();
    world.heard.clear();
    world.assert_empty();
}

#[test]
fn a_call_that_rings_is_named_as_well() {
    let mut world = World::new(2);
    let (own, other) = world.ring(0, 1);
    ask(&mut world, &ASK);
    let id = subscribed(&mut world).subscription;
    notice(&mut world);
    world.seconds(1);
    let Watched::Dialogs(mut dialogs) = ringing(DialogStage::Early) else {
        panic!()
    };
    dialogs[0].leg = Some(own);
    notify(&mut world, id, Watched::Dialogs(dialogs));
    let told = body(&notice(&mut world));
    let theirs = world.agents[1].legs[&other].dialog.local_tag.clone();
    let dialog = &world.agents[0].legs[&own].dialog;
    let names = format!(
        "call-id=\"{}\" local-tag=\"{theirs}\" remote-tag=\"{}\"",
        dialog.call_id, dialog.local_tag
    );
    assert!(told.contains(&names), "{told}");
    // By that name a telephone may take it.
    let value = format!(
        "{};to-tag={theirs};from-tag={};early-only",
        dialog.call_id, dialog.local_tag
    );
    let mut invite = Message::request(Method::Invite, "sip:1002@realm");
    invite.push("Replaces", value);
    assert_eq!(world.agents[0].replaced(&invite), Ok(Some(own)));
    world.agents[0].hang_up(world.now, own, 487, None);
    assert!(world.agents[0].end_subscription(world.now, id, Over::Deactivated));
    world.settle();
    world.events[1].clear();
    world.heard.clear();
    world.assert_empty();
}

fn publish(number: u32, expires: u32, state: Option<&Presence>, more: &str) -> String {
    let body = state
        .map(|state| bodies::presence("sip:1002@realm", state))
        .unwrap_or_default();
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/pidf+xml\r\n"
    };
    format!(
        "PUBLISH sip:1002@realm SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bKp{number};rport\r\n\
         From: <sip:1002@realm>;tag=p\r\nTo: <sip:1002@realm>\r\nCall-ID: p{number}\r\nCSeq: 1 PUBLISH\r\n\
         Event: presence\r\nExpires: {expires}\r\n{kind}{more}\r\n{body}"
    )
}

fn away() -> Presence {
    Presence {
        is_open: true,
        activity: Activity::Away,
        note: "Lunch".to_owned(),
    }
}

fn published(state: Option<Presence>) -> Event {
    Event::Published {
        user: "1002".to_owned(),
        domain: "realm".to_owned(),
        state,
    }
}

#[test]
fn what_is_published_is_renewed_changed_and_taken_back_by_its_tag() {
    let mut world = World::new(1);
    let say = |world: &mut World, text: &str| {
        world.say(0, text);
        world.hear()
    };
    let first = say(&mut world, &publish(1, 600, Some(&away()), ""));
    let tag = first.get("SIP-ETag").unwrap().to_owned();
    assert_eq!((first.status(), first.get("Expires")), (200, Some("600")));
    assert!(world.told(0, &published(Some(away()))));
    let matching = |tag: &str| format!("SIP-If-Match: {tag}\r\n");
    let second = say(&mut world, &publish(2, 600, None, &matching(&tag)));
    let renewed = second.get("SIP-ETag").unwrap().to_owned();
    assert!(second.status() == 200 && renewed != tag);
    assert_eq!(
        say(&mut world, &publish(3, 600, None, &matching(&tag))).status(),
        412,
        "the old tag"
    );
    assert!(world.events[0].is_empty(), "nothing else");
    let third = say(
        &mut world,
        &publish(4, 600, Some(&Presence::default()), &matching(&renewed)),
    );
    let changed = third.get("SIP-ETag").unwrap().to_owned();
    assert!(world.told(0, &published(Some(Presence::default()))));
    // A second telephone: what was said last counts, and when it goes the other does.
    let other = say(&mut world, &publish(5, 60, Some(&away()), ""));
    assert!(world.told(0, &published(Some(away()))));
    assert_eq!(other.status(), 200);
    world.seconds(61);
    assert!(world.told(0, &published(Some(Presence::default()))));
    let gone = say(&mut world, &publish(6, 0, None, &matching(&changed)));
    assert_eq!((gone.status(), gone.get("Expires")), (200, Some("0")));
    assert!(world.told(0, &published(None)));
    assert_eq!(say(&mut world, &publish(7, 0, None, &matching(&changed))).status(), 412);
    world.assert_empty();
}

#[test]
fn what_cannot_be_published_is_refused() {
    let mut world = World::new(1);
    let mut number = 10;
    let mut say = |world: &mut World, change: &dyn Fn(String) -> String| {
        number += 1;
        world.say(0, &change(publish(number, 600, Some(&away()), "")));
        world.hear()
    };
    let dialog = say(&mut world, &|text| text.replace("Event: presence", "Event: dialog"));
    assert_eq!((dialog.status(), dialog.get("Allow-Events")), (489, Some("presence")));
    assert_eq!(
        say(&mut world, &|text| text.replace("From: <sip:1002", "From: <sip:1001")).status(),
        403
    );
    let text = say(&mut world, &|text| text.replace("application/pidf+xml", "text/plain"));
    assert_eq!((text.status(), text.get("Accept")), (415, Some("application/pidf+xml")));
    assert_eq!(say(&mut world, &|text| text.replace("</tuple>", "")).status(), 400);
    assert_eq!(
        say(&mut world, &|text| text.replace("Expires: 600", "Expires: 3")).status(),
        423
    );
    assert_eq!(
        say(&mut world, &|_| publish(99, 600, None, "")).status(),
        400,
        "nothing is said"
    );
    let long = " ".repeat(PUBLISHED_BYTES_MAX);
    assert_eq!(say(&mut world, &|text| format!("{text}{long}")).status(), 413);
    world.houses[0].publishes = Err(404);
    assert_eq!(say(&mut world, &|text| text).status(), 404);
    world.houses[0].publishes = Ok(());
    for _ in 0..PUBLICATIONS_PER_USER_MAX {
        assert_eq!(say(&mut world, &|text| text).status(), 200);
    }
    assert_eq!(say(&mut world, &|text| text).status(), 403);
    world.houses[0].access = Access::Password("realm".to_owned());
    assert_eq!(say(&mut world, &|text| text).status(), 407);
    world.seconds(600);
    assert_eq!(world.events[0].last(), Some(&published(None)));
    world.assert_empty();
}

#[test]
fn a_user_of_one_domain_says_nothing_of_another_one() {
    let mut world = World::new(1);
    let text = publish(1, 60, Some(&away()), "").replace("PUBLISH sip:1002@realm", "PUBLISH sip:1002@other");
    world.say(0, &text);
    assert_eq!(world.hear().status(), 200);
    assert!(world.told(0, &published(Some(away()))), "of whom it showed to be");
    world.assert_empty();
}

/// Requests with some bytes changed: whatever is done with them, nothing is left in the end.
#[test]
fn noise_is_borne() {
    let mut world = World::new(1);
    let all = [
        ASK.text(),
        Ask {
            event: "presence",
            ..ASK
        }
        .text(),
        publish(1, 600, Some(&away()), "SIP-If-Match: x\r\n"),
        publish(2, 600, Some(&away()), ""),
        publish(3, 600, None, "").replace("PUBLISH", "MESSAGE"),
        ASK.text().replace("SUBSCRIBE", "NOTIFY"),
        ASK.text().replace("SUBSCRIBE", "REFER"),
    ];
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    for round in 0..4000 {
        let mut bytes = all[random(all.len())]
            .replace("z9hG4bK", &format!("z9hG4bK{round}-"))
            .into_bytes();
        for _ in 0..random(4) {
            let (at, from) = (random(bytes.len()), random(bytes.len()));
            match random(3) {
                0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                1 => bytes[at] = bytes[from],
                _ => drop(bytes.remove(at)),
            }
        }
        world.agents[0].receive(world.now, flow(PEER), &bytes, &mut world.houses[0]);
        while world.agents[0].poll_send().is_some() {}
        while world.agents[0].poll_event().is_some() {}
        if round % 100 == 0 {
            assert_eq!(world.agents[0].check(), Ok(()));
        }
    }
    for _ in 0..80 {
        world.now += Duration::from_secs(60);
        world.agents[0].handle_timeout(world.now, &mut world.houses[0]);
        while world.agents[0].poll_send().is_some() {}
    }
    world.events[0].clear();
    world.assert_empty();
}

#[test]
fn a_host_that_knows_nothing_of_it_has_nobody_watched() {
    struct Plain;
    impl Host for Plain {
        fn access(&mut self, _: &str, _: &str, _: Flow) -> Access {
            Access::Open
        }
        fn secret(&mut self, _: &str, _: &str, _: crate::digest::Algorithm) -> Option<crate::digest::Ha1> {
            None
        }
        fn register(
            &mut self,
            _: super::super::BindingId,
            _: &super::super::Binding,
            _: Duration,
        ) -> Result<Duration, u16> {
            Err(404)
        }
        fn unregister(&mut self, _: super::super::BindingId) {}
        fn weigh(&mut self, _: crate::guard::Traffic, _: crate::guard::Load) -> crate::guard::Verdict {
            crate::guard::Verdict::Accept
        }
    }
    let mut world = World::new(1);
    let agent: &mut Agent = &mut world.agents[0];
    for (text, status) in [(ASK.text(), 489), (publish(1, 600, Some(&away()), ""), 489)] {
        agent.receive(world.now, flow(PEER), text.as_bytes(), &mut Plain);
        let (_, bytes) = agent.poll_send().expect("an answer");
        assert_eq!(Message::parse(&bytes).unwrap().status(), status);
    }
    world.assert_empty();
}
