//! What a publisher may not publish any more, and what a peer may not hear of any more.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use moqswitch_proto::wire::Advertisement;

fn is_refused(shard: &Shard, index: u32) -> bool {
    let is_refusal = |action: &Action| matches!(action, Action::Refuse { peer: of, .. } if *of == peer(index));
    shard.actions.iter().any(is_refusal)
}

fn revoke(shard: &mut Shard) {
    let source = shard.source();
    shard.tracks.handle_revoked(source, |_| false);
    shard.settle();
}

#[test]
fn its_tracks_end_for_who_has_them_announced_or_not() {
    for is_announced in [true, false] {
        let mut shard = shard_with_publisher();
        shard.subscribe(1, Version::Lite06, |_| {});
        let open = shard.start(0).unwrap();
        shard
            .tracks
            .group_chunk(open, chunks(FrameForm::Timed, 0, &[b"first"], 99).remove(0));
        let mut wire = Wire::open();
        shard.pump(1, &mut wire);
        if !is_announced {
            let path = BroadcastPath::new("room/alice");
            let now = shard.now;
            shard.tracks.handle_route_changed(&path, now, |_| RouteFate::Ended);
            shard.settle();
            assert!(
                !is_refused(&shard, 1),
                "the end of an announcement ends no subscription"
            );
        }
        let (source, path) = (shard.source(), BroadcastPath::new("room/alice"));
        shard.tracks.handle_revoked(source, |other| *other == path);
        shard.settle();
        assert!(!is_refused(&shard, 1), "it may still publish this one");
        revoke(&mut shard);
        shard.pump(1, &mut wire);
        assert!(is_refused(&shard, 1));
        assert!(wire.group(0).unwrap().reset.is_some());
        assert!(shard.start(1).is_none(), "nothing more is taken of it");
    }
}

#[test]
fn its_subscribers_gone_by_revocation_it_is_left_at_once() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.subscribe(2, Version::Lite06, |_| {});
    let is_left = |shard: &Shard| {
        let mut actions = shard.actions.iter();
        actions.any(|action| matches!(action, Action::Unsubscribe { .. }))
    };
    shard.tracks.handle_request_revoked(peer(1), REQUEST, shard.now);
    shard.settle();
    assert!(!is_left(&shard), "another hears it");
    shard.tracks.handle_request_revoked(peer(2), REQUEST, shard.now);
    shard.settle();
    assert!(is_left(&shard));
    assert_eq!(shard.tracks.statistics().tracks, 0);
}

#[test]
fn a_fetch_that_it_has_not_answered_is_refused() {
    let mut shard = shard_with_publisher();
    shard.tracks.handle_peer(peer(1), Version::Lite06, true);
    let source = shard.source();
    shard
        .tracks
        .handle_fetch(peer(1), REQUEST, &fetch_message(3), Some(source));
    let Some(Action::Fetch { peer: asked, fetch, .. }) = shard.tracks.poll_action() else {
        panic!("the publisher was not asked")
    };
    shard.tracks.on_fetching(asked, fetch, StreamId(8));
    revoke(&mut shard);
    assert!(is_refused(&shard, 1));
    shard.tracks.handle_peer_gone(peer(1), shard.now);
    shard.tracks.handle_peer_gone(peer(PUBLISHER), shard.now);
    assert_empty(&shard.tracks);
}

#[test]
fn what_another_shard_asks_for_too_late_is_refused() {
    let requests = |other: &mut Shard| {
        other.subscribe(2, Version::Lite06, |_| {});
        let source = other.source();
        other
            .tracks
            .handle_fetch(peer(2), StreamId(4), &fetch_message(3), Some(source));
        other.settle();
        std::mem::take(&mut other.remote)
    };
    let mut owner = shard_with_publisher();
    let mut other = Shard::numbered(1, TrackLimits::default());
    let asked = requests(&mut other);
    assert!(asked.len() >= 2);
    for (_, message) in asked {
        let (source, path) = message.asked().expect("they are all requests");
        assert_eq!((source, path.as_str()), (owner.source(), "room/alice"));
        owner.tracks.refuse_remote(ShardId(1), &message);
    }
    owner.settle();
    assert!(owner.upstream.is_empty(), "the publisher was asked");
    for (_, message) in std::mem::take(&mut owner.remote) {
        assert!(message.asked().is_none());
        other.tracks.handle_remote(ShardId(0), message, other.now);
    }
    other.settle();
    let refused = |request: StreamId| {
        let is_it = |action: &Action| matches!(action, Action::Refuse { request: of, .. } if *of == request);
        other.actions.iter().any(is_it)
    };
    assert!(refused(REQUEST) && refused(StreamId(4)));
}

#[test]
fn a_datagram_of_a_subscription_that_ended_in_the_same_turn_is_not_sent() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.datagram(0, b"one");
    shard.tracks.handle_subscribe_ended(peer(1), REQUEST, shard.now);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert!(wire.datagrams.is_empty());
}

/// What an announce stream knows, by what it was told.
#[derive(Default)]
struct Known {
    promised: u64,
    paths: BTreeSet<String>,
}

struct View {
    announcer: Announcer,
    key: RequestKey,
    known: Known,
}

impl View {
    fn new(count: usize) -> Self {
        let table = Arc::new(AnnounceTable::new());
        for number in 0..count {
            let source = Source {
                shard: ShardId(0),
                peer: peer(9),
            };
            let path = BroadcastPath::new(&format!("room/{number:05}"));
            table
                .insert(&path, source, Holder::OURS, Advertisement::default(), 1)
                .unwrap();
        }
        let mut announcer = Announcer::new(table, ShardId(0), HopId(1000));
        let prefix = BroadcastPath::new("room");
        announcer
            .handle_request(peer(1), REQUEST, prefix, HopId::UNKNOWN, false, None)
            .unwrap();
        Self {
            announcer,
            key: request(1, REQUEST),
            known: Known::default(),
        }
    }

    /// Tells at most `room` of what there is to be told.
    fn tell(&mut self, room: usize) {
        for _ in 0..room {
            match self.announcer.next_action(self.key) {
                Some(AnnounceAction::Ok { active_count, .. }) => self.known.promised = active_count,
                Some(AnnounceAction::Announce { suffix, .. }) => {
                    assert!(self.known.paths.insert(suffix.as_str().to_owned()), "told twice");
                }
                Some(AnnounceAction::Unannounce { suffix, .. }) => {
                    assert!(self.known.paths.remove(suffix.as_str()), "an end of something not told");
                }
                Some(AnnounceAction::Reset { .. }) => panic!("a stream was reset"),
                None => return,
            }
        }
    }

    fn see(&mut self, may_see: impl Fn(&str) -> bool + 'static) {
        let visible: Visible = Rc::new(move |path: &BroadcastPath| may_see(path.as_str()));
        self.announcer.set_visible(peer(1), &visible);
    }

    /// Turns of `limit` paths each until nothing is left; how many it took.
    fn settle(&mut self, limit: usize) -> usize {
        let mut turns = 0;
        while self.announcer.has_rescans() {
            self.announcer.rescan(limit);
            while self.announcer.poll_ready().is_some() {
                self.tell(usize::MAX);
            }
            turns += 1;
            assert!(turns < 10_000, "it does not come to an end");
        }
        turns
    }
}

#[test]
fn a_peer_hears_what_begins_and_what_ends_by_another_view_a_part_in_each_turn() {
    let mut view = View::new(3000);
    view.tell(usize::MAX);
    assert_eq!((view.known.promised, view.known.paths.len()), (3000, 3000));
    view.see(|path| path.ends_with('7'));
    assert!(view.settle(100) >= 30);
    assert_eq!(view.known.paths.len(), 300);
    view.see(|_| false);
    view.settle(100);
    assert!(view.known.paths.is_empty());
    // Another change before the first was told.
    view.see(|_| true);
    view.announcer.rescan(100);
    view.see(|path| path.ends_with("00"));
    view.settle(100);
    assert_eq!(view.known.paths.len(), 30);
}

#[test]
fn so_many_come_first_as_were_promised() {
    let mut view = View::new(300);
    view.tell(100);
    assert_eq!((view.known.promised, view.known.paths.len()), (300, 99));
    view.see(|path| path < "room/00150");
    // What was promised is said, and what is not visible any more taken back after it.
    view.tell(201);
    assert_eq!(view.known.paths.len(), 300);
    view.settle(64);
    assert_eq!(view.known.paths.len(), 150);

    let mut view = View::new(300);
    view.see(|path| path < "room/00150");
    view.tell(usize::MAX);
    view.settle(64);
    assert_eq!((view.known.promised, view.known.paths.len()), (150, 150));
}
