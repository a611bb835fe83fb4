//! What others say, in any order and with gaps: what is known of them is what they have.

use std::time::{Duration, Instant};

use moqswitch_calls::{Codecs, Number, SessionId, Text};

use super::link::NodeName;
use super::message::{Body, Change, Envelope, FORM, SharedDevice};
use super::peers::{News, Peers};

#[test]
fn a_table_is_asked_for_until_it_is_there_and_changes_wait_for_it() {
    let (mut peers, now) = (Peers::default(), Instant::now());
    let news = take(&mut peers, 1, 0, Body::Beat { version: 7 }, now);
    assert!(matches!(news[..], [News::Joined, News::AskTable]), "{news:?}");
    // Not at each sign of life.
    let news = take(&mut peers, 1, 0, Body::Beat { version: 7 }, now);
    assert!(news.is_empty(), "{news:?}");
    let later = now + Duration::from_secs(4);
    let news = take(&mut peers, 1, 0, Body::Beat { version: 7 }, later);
    assert!(matches!(news[..], [News::AskTable]), "{news:?}");

    let first = table(7, 0, false, vec![device(1)]);
    assert_eq!(devices(&mut peers, 1, 1, first, later), [1]);
    // Between the parts.
    let change = Body::Changes {
        version: 8,
        changes: vec![device(9)],
    };
    assert_eq!(devices(&mut peers, 1, 0, change, later), []);
    let last = table(7, 1, true, vec![device(2)]);
    assert_eq!(devices(&mut peers, 1, 2, last, later), [2, 9]);
    assert!(peers.get(&name()).unwrap().is_known());
    // What is known is not asked for.
    let news = take(&mut peers, 1, 0, Body::Beat { version: 8 }, later);
    assert!(news.is_empty(), "{news:?}");
}

#[test]
fn what_a_table_does_not_have_any_more_is_gone() {
    let (mut peers, now) = (Peers::default(), Instant::now());
    take(&mut peers, 1, 0, Body::Beat { version: 1 }, now);
    devices(&mut peers, 1, 0, table(1, 0, true, vec![device(1), device(2)]), now);
    // One change was lost.
    let change = Body::Changes {
        version: 3,
        changes: vec![device(3)],
    };
    let news = take(&mut peers, 1, 0, change, now);
    assert!(matches!(news[..], [News::AskTable]), "{news:?}");
    let news = take(&mut peers, 1, 0, table(3, 0, true, vec![device(2), device(3)]), now);
    let gone = news
        .iter()
        .any(|news| matches!(news, News::Changed(changes) if matches!(changes[..], [Change::Gone(SessionId(1))])));
    assert!(gone, "{news:?}");
}

#[test]
fn a_table_with_a_part_missing_is_none() {
    let (mut peers, now) = (Peers::default(), Instant::now());
    take(&mut peers, 1, 0, Body::Beat { version: 1 }, now);
    take(&mut peers, 1, 0, table(1, 0, false, vec![device(1)]), now);
    take(&mut peers, 1, 0, table(1, 2, true, vec![device(3)]), now);
    assert!(!peers.get(&name()).unwrap().is_known());
    let later = now + Duration::from_secs(4);
    let news = take(&mut peers, 1, 0, Body::Beat { version: 1 }, later);
    assert!(matches!(news[..], [News::AskTable]), "{news:?}");
}

#[test]
fn messages_that_are_missing_are_noticed_and_a_new_run_is_another_machine() {
    let (mut peers, now) = (Peers::default(), Instant::now());
    take(&mut peers, 1, 4, Body::AskLegs, now);
    let news = take(&mut peers, 1, 5, Body::AskLegs, now);
    assert!(matches!(news[..], [News::Message(_)]), "{news:?}");
    let news = take(&mut peers, 1, 7, Body::AskLegs, now);
    assert!(matches!(news[..], [News::Missed, News::Message(_)]), "{news:?}");
    devices(&mut peers, 1, 0, table(0, 0, true, vec![device(1)]), now);
    let news = take(&mut peers, 2, 1, Body::AskLegs, now);
    let [News::Left(remains), News::Joined, News::Message(_)] = &news[..] else {
        panic!("{news:?}")
    };
    assert_eq!(remains.devices.len(), 1);
    // What an older one says at its end is not about this one.
    assert!(take(&mut peers, 1, 0, Body::Bye, now).is_empty());
    let gone = peers.silent(now + Duration::from_secs(9), Duration::from_secs(8));
    assert_eq!(gone.len(), 1);
}

#[test]
fn there_are_no_more_machines_than_may_be() {
    let (mut peers, now) = (Peers::default(), Instant::now());
    for number in 0..=crate::limits::NODES_MAX {
        let envelope = Envelope {
            form: FORM,
            from: format!("n{number}").parse().unwrap(),
            run: 1,
            number: 0,
            body: Body::Beat { version: 0 },
        };
        let is_taken = peers.take(envelope, now).is_some();
        assert_eq!(is_taken, number < crate::limits::NODES_MAX);
    }
}

#[test]
fn names_are_parts_of_subjects() {
    for good in ["a", "node-1", "Berlin_2"] {
        assert!(good.parse::<NodeName>().is_ok());
    }
    for bad in ["", "a.b", "a b", "*", ">", "ä", &"x".repeat(65)] {
        assert!(bad.parse::<NodeName>().is_err(), "{bad}");
    }
}

fn name() -> NodeName {
    "b".parse().unwrap()
}

/// As the exchange does: what has changed is noted.
fn take(peers: &mut Peers, run: u64, number: u64, body: Body, now: Instant) -> Vec<News> {
    let envelope = Envelope {
        form: FORM,
        from: name(),
        run,
        number,
        body,
    };
    let news = peers.take(envelope, now).unwrap();
    for news in &news {
        if let News::Changed(changes) = news {
            changes.iter().for_each(|change| drop(peers.note(&name(), change)));
        }
    }
    news
}

fn devices(peers: &mut Peers, run: u64, number: u64, body: Body, now: Instant) -> Vec<u128> {
    let changed = take(peers, run, number, body, now)
        .into_iter()
        .filter_map(|news| match news {
            News::Changed(changes) => Some(changes),
            _ => None,
        });
    let devices = changed.flatten().filter_map(|change| match change {
        Change::Device(device) => Some(device.session.0),
        _ => None,
    });
    devices.collect()
}

fn table(version: u64, part: u32, is_last: bool, changes: Vec<Change>) -> Body {
    Body::Table {
        version,
        part,
        is_last,
        changes,
    }
}

fn device(session: u128) -> Change {
    Change::Device(Box::new(SharedDevice {
        session: SessionId(session),
        number: Number::new("5001").unwrap(),
        device: Text::new("desk"),
        display_name: Text::default(),
        ringable: true,
        meets: true,
        supervisor: false,
        codecs: Codecs::all(),
        contact: Text::default(),
        agent: Text::default(),
        since_ms: 1,
        begins_anew: true,
    }))
}
