use super::*;
use crate::truth::interval::Counts;
use crate::truth::stamp::{self, Stamp};

#[test]
fn every_expected_frame_has_one_fate() {
    let mut test = Test::new(1, Some("pcmu"));
    for frame in 0..100 {
        test.send();
        match frame {
            10 => {}
            20 => test.damage(20, 1),
            30 => {
                test.hear(30, 1);
                test.hear(30, 2);
            }
            40 => {}
            41 => {
                test.hear(41, 1);
                test.hear(40, 22);
            }
            50 => test.leg.handle_skip(&test.log, 50, &mut test.ledger),
            60 => test.hear(60, 400),
            _ => test.hear(frame, 1),
        }
    }
    let interval = test.finish();
    assert_eq!(
        interval.counts,
        Counts {
            frames_offered: 100,
            frames_expected: 100,
            frames_delivered: 96,
            frames_lost: 1,
            frames_corrupt: 1,
            frames_skipped: 1,
            frames_late: 1,
            frames_duplicated: 1,
            frames_reordered: 1,
            groups_lost: 1,
            bytes_delivered: 97 * 160,
            ..Counts::default()
        }
    );
    assert_eq!(interval.of(Measure::OneWay).len(), 97);
    assert_eq!(interval.of(Measure::OneWay).max() / 1000, 400);
}

#[test]
fn a_damaged_stamp_is_known_by_its_place_and_a_misplaced_frame_is_corrupt() {
    let mut test = Test::new(5, None);
    for _ in 0..10 {
        test.send();
    }
    test.hear(0, 1);
    // Frame 7 where frame 8 belongs.
    let stamp = test.stamp(7);
    let now = test.now(1);
    test.receive_at(Place { group: 1, index: 3 }, Some(stamp), now);
    let counts = test.finish().counts;
    assert_eq!((counts.frames_expected, counts.frames_delivered), (10, 1));
    assert_eq!((counts.frames_corrupt, counts.frames_lost), (1, 8));
}

#[test]
fn a_late_joiner_is_owed_what_came_from_the_cache_on_and_its_delay_does_not_count() {
    let mut test = Test::new(10, Some("opus"));
    test.is_heard = false;
    test.send_many(25);
    test.listen(&[]);
    // The cached group 2 holds frames 20 to 24.
    for frame in 20..25 {
        test.hear(frame, 3);
    }
    for frame in 25..40 {
        test.send();
        test.hear(frame, 2);
    }
    let interval = test.finish();
    assert_eq!(
        (interval.counts.frames_expected, interval.counts.frames_delivered),
        (20, 20)
    );
    assert_eq!(interval.of(Measure::OneWay).len(), 15);
    assert!(interval.of(Measure::OneWay).max() <= 2100);
    let counts = interval.counts;
    assert_eq!((counts.frames_offered, counts.frames_not_owed), (40, 20));
}

#[test]
fn what_is_offered_is_expected_or_not_owed_whoever_comes_and_goes() {
    let mut test = Test::new(10, None);
    test.is_heard = false;
    test.send_many(5);
    test.listen(&[]);
    test.send_many(3);
    // Accepted at frame 8, and the group that is open comes from the relay's cache, its end first.
    test.leg.begin_expecting(&test.log, &mut test.ledger);
    for frame in [6, 2, 3, 4, 5, 7] {
        test.hear(frame, 9);
    }
    test.send_many(20);
    test.hear(20, 9);
    test.leave();
    test.send_many(4);
    // Who comes back is owed nothing of the time when it was owed it before.
    let first = std::mem::replace(&mut test.leg, Leg::new(&test.log, None, 0));
    test.listen(&[&first]);
    test.send_many(2);
    test.leg.begin_expecting(&test.log, &mut test.ledger);
    for frame in 20..30 {
        test.hear(frame, 9);
    }
    test.send_many(6);
    test.leave();
    test.send_many(1);
    let second = std::mem::replace(&mut test.leg, first);
    let now = test.now(0);
    test.leg.settle(&test.log, now, true, &mut test.ledger);
    test.leg = second;
    let counts = test.finish().counts;
    assert_eq!(counts.frames_offered, 41);
    // From 2 to 28 by the first, from 28 to 40 by the second, which had what the relay kept of them.
    assert_eq!((counts.frames_expected, counts.frames_not_owed), (26 + 12, 3));
    assert_eq!((counts.frames_delivered, counts.frames_duplicated), (7 + 2, 8));
}

#[test]
fn who_leaves_before_it_was_accepted_is_owed_nothing_of_what_follows() {
    let mut test = Test::new(1, None);
    test.is_heard = false;
    test.listen(&[]);
    test.send_many(4);
    test.leave();
    test.send_many(6);
    test.leg.begin_expecting(&test.log, &mut test.ledger);
    test.hear(8, 1);
    let counts = test.finish().counts;
    assert_eq!((counts.frames_offered, counts.frames_not_owed), (10, 10));
    assert_eq!(counts.frames_expected, 0);
}

#[test]
fn a_group_that_the_publisher_gave_up_is_lost_and_not_skipped() {
    let mut test = Test::new(5, None);
    test.send_many(15);
    (0..5).chain(10..15).for_each(|frame| test.hear(frame, 1));
    test.log.give_up(1);
    // As the relay passes the reset on.
    test.leg.handle_skip(&test.log, 1, &mut test.ledger);
    let counts = test.finish().counts;
    assert_eq!((counts.frames_delivered, counts.frames_lost), (10, 5));
    assert_eq!((counts.frames_skipped, counts.groups_lost), (0, 1));
}

#[test]
fn what_never_came_is_lost_from_the_subscription_on() {
    let mut test = Test::new(1, None);
    for _ in 0..10 {
        test.send();
    }
    test.leg = Leg::new(&test.log, None, test.now(0));
    for _ in 10..30 {
        test.send();
    }
    let counts = test.finish().counts;
    assert_eq!(
        (counts.frames_expected, counts.frames_lost, counts.groups_lost),
        (20, 20, 20)
    );
}

#[test]
fn who_leaves_is_owed_nothing_more() {
    let mut test = Test::new(1, None);
    for frame in 0..10 {
        test.send();
        test.hear(frame, 1);
    }
    assert!(test.leg.leave(&test.log));
    assert!(test.leg.is_complete(&test.log));
    for _ in 10..20 {
        test.send();
    }
    assert!(test.leg.is_complete(&test.log));
    let counts = test.finish().counts;
    assert_eq!((counts.frames_expected, counts.frames_delivered), (10, 10));
}

#[test]
fn frames_settle_after_their_time_and_not_before() {
    let mut test = Test::new(1, Some("pcmu"));
    for frame in 0..500 {
        test.send();
        if frame != 100 {
            test.hear(frame, 1);
        }
        let now = test.now(0);
        test.leg.settle(&test.log, now, false, &mut test.ledger);
    }
    assert_eq!(test.leg.settled, Some(249 + 1), "5 s of 500 frames of 20 ms wait");
    assert_eq!(test.leg.outcomes.len(), 250);
    // A frame that comes so late is not counted twice.
    test.hear(100, 6000);
    let counts = test.finish().counts;
    assert_eq!((counts.frames_expected, counts.frames_lost), (500, 1));
    assert_eq!(counts.frames_delivered, 499);
}

#[test]
fn what_is_missing_at_the_beginning_is_lost_once_both_ends_know_of_the_subscription() {
    for silent in [50, 245, 300] {
        let mut test = Test::new(1, Some("pcmu"));
        for frame in 0..400 {
            if frame == 5 {
                test.leg.begin_expecting(&test.log, &mut test.ledger);
            }
            test.send();
            if frame >= silent {
                test.hear(frame, 1);
            }
            let now = test.now(0);
            test.leg.settle(&test.log, now, false, &mut test.ledger);
        }
        let counts = test.finish().counts;
        assert_eq!((counts.frames_expected, counts.frames_lost), (395, silent - 5));
    }
}

#[test]
fn a_group_given_up_while_it_is_open_is_skipped_to_its_end() {
    let mut test = Test::new(60, None);
    for frame in 0..120 {
        test.send();
        match frame {
            0..30 | 60.. => test.hear(frame, 1),
            30 => test.leg.handle_skip(&test.log, 0, &mut test.ledger),
            _ => {}
        }
    }
    let counts = test.finish().counts;
    assert_eq!((counts.frames_delivered, counts.frames_skipped), (90, 30));
    assert_eq!((counts.frames_lost, counts.groups_lost), (0, 0));
}

#[test]
fn frames_of_no_group_and_of_another_run_are_not_delivered() {
    let mut test = Test::new(1, None);
    for frame in 0..100 {
        test.send();
        let (stamp, now) = (test.stamp(frame), test.now(1));
        if frame < 50 {
            // The next group has not begun yet.
            test.receive_at(
                Place {
                    group: frame + 1,
                    index: 0,
                },
                Some(stamp),
                now,
            );
        } else {
            let old = Stamp {
                intended_ns: stamp.intended_ns - 600_000_000_000,
                ..stamp
            };
            test.receive_at(Place { group: frame, index: 0 }, Some(old), now);
        }
    }
    let counts = test.finish().counts;
    assert_eq!(
        (counts.frames_delivered, counts.frames_stray, counts.frames_corrupt),
        (0, 50, 50)
    );
}

#[test]
fn an_estimate_rests_on_the_delay_that_each_frame_was_played_with() {
    let mut test = Test::new(1, Some("pcmu"));
    for frame in 0..500 {
        test.send();
        // A stall near the end, after which the buffer is long.
        let delay = if (470..495).contains(&frame) {
            500 - (frame - 470) * 20
        } else {
            2
        };
        test.hear(frame, delay);
    }
    let mos = test.finish().of(Measure::Mos).max() as f64 / 1000.0;
    // 4.4 % silence, and long delays for 30 frames of 500.
    assert!((3.8..4.2).contains(&mos), "{mos}");
}

#[test]
fn an_estimate_is_not_of_the_warm_up() {
    let mut test = Test::new(1, Some("pcmu"));
    test.ledger = Ledger::new(START_NS, 1_000_000_000, 1);
    for frame in 0..500 {
        test.send();
        // Much is lost in the first second.
        if frame >= 50 || frame % 2 == 0 {
            test.hear(frame, 1);
        }
    }
    let now = test.now(0);
    test.leg.settle(&test.log, now, true, &mut test.ledger);
    let mos: Vec<f64> = std::iter::from_fn(|| test.ledger.poll_before(now + 1_000_000_000))
        .map(|interval| interval.of(Measure::Mos).max() as f64 / 1000.0)
        .filter(|mos| *mos > 0.0)
        .take(2)
        .collect();
    assert!(mos[0] < 3.0 && mos[1] > 4.3, "{mos:?}");
}

#[test]
fn ten_seconds_make_one_estimate_and_loss_lowers_it() {
    let estimate = |keeps: fn(u64) -> bool| {
        let mut test = Test::new(1, Some("pcmu"));
        for frame in 0..1001 {
            test.send();
            if keeps(frame) {
                test.hear(frame, 1);
            }
        }
        let interval = test.finish();
        assert_eq!(interval.of(Measure::Mos).len(), 2);
        interval.of(Measure::Mos).max() as f64 / 1000.0
    };
    let clean = estimate(|_| true);
    assert!((clean - 4.37).abs() < 0.02, "{clean}");
    let lossy = estimate(|frame| frame % 20 != 0);
    assert!((3.8..4.1).contains(&lossy), "{lossy}");
}

struct Test {
    log: TrackLog,
    leg: Leg,
    ledger: Ledger,
    frames_per_group: u64,
    /// Somebody has a subscription.
    is_heard: bool,
}

impl Test {
    fn new(frames_per_group: u64, codec: Option<&str>) -> Self {
        let log = TrackLog::default();
        Self {
            leg: Leg::new(&log, codec.and_then(mos::impairment), START_NS),
            log,
            // Everything in one interval.
            ledger: Ledger::new(START_NS, 1 << 60, 0),
            frames_per_group,
            is_heard: true,
        }
    }

    /// Subscribes anew, after earlier legs.
    fn listen(&mut self, earlier: &[&Leg]) {
        self.leg = Leg::new(&self.log, mos::impairment("opus"), self.now(1));
        earlier.iter().for_each(|earlier| self.leg.follow(earlier));
        self.is_heard = true;
    }

    fn leave(&mut self) {
        assert!(self.leg.leave(&self.log) && !self.leg.leave(&self.log));
        self.is_heard = false;
    }

    fn send_many(&mut self, frames: u64) {
        (0..frames).for_each(|_| self.send());
    }

    /// 20 ms a frame. Counts as a publisher does.
    fn send(&mut self) {
        let counts = &mut self.ledger.at(self.now(0)).counts;
        counts.frames_offered += 1;
        counts.frames_not_owed += u64::from(!self.is_heard);
        if self.log.len().is_multiple_of(self.frames_per_group) {
            self.log.begin_group();
        }
        self.log.push(START_NS + self.log.len() * FRAME_NS, None);
    }

    /// Now is when the last frame was sent, and so much later.
    fn now(&self, later_ms: u64) -> u64 {
        START_NS + self.log.len().saturating_sub(1) * FRAME_NS + later_ms * 1_000_000
    }

    fn hear(&mut self, frame: u64, delay_ms: u64) {
        self.receive(frame, delay_ms, true);
    }

    fn damage(&mut self, frame: u64, delay_ms: u64) {
        self.receive(frame, delay_ms, false);
    }

    fn receive(&mut self, frame: u64, delay_ms: u64, is_whole: bool) {
        let place = Place {
            group: frame / self.frames_per_group,
            index: frame % self.frames_per_group,
        };
        let stamp = is_whole.then(|| self.stamp(frame));
        self.receive_at(place, stamp, START_NS + frame * FRAME_NS + delay_ms * 1_000_000);
    }

    fn receive_at(&mut self, place: Place, stamp: Option<Stamp>, now_ns: u64) {
        let is_whole = |sequence, sent: SentFrame| {
            stamp.is_some_and(|stamp| (stamp.sequence, stamp.intended_ns) == (sequence, sent.intended_ns))
        };
        let arrived = ArrivedFrame {
            place,
            bytes: 160,
            now_ns,
        };
        self.leg.handle_frame(&self.log, arrived, is_whole, &mut self.ledger);
    }

    fn stamp(&self, frame: u64) -> Stamp {
        let stamp = Stamp {
            call: 1,
            participant: 0,
            track: 0,
            sequence: frame,
            intended_ns: START_NS + frame * FRAME_NS,
        };
        stamp::read(&stamp::build(stamp, 160)).unwrap()
    }

    fn finish(mut self) -> Interval {
        let now = self.now(0);
        self.leg.settle(&self.log, now, true, &mut self.ledger);
        self.ledger.poll_before(u64::MAX).unwrap()
    }
}

const START_NS: u64 = 1_000_000_000_000;
const FRAME_NS: u64 = 20_000_000;
