//! What two ends of RTP tell each other of how they are heard (RFC 3550, section 6): when a report is due, what is in it,
//! and what the peer's say.

use std::time::Duration;

use crate::egress::EgressStatistics;
use crate::ingress::Reception;
use crate::quality;
use crate::rtcp::{self, Block, Metrics, Played, Report, Sent, Told};

/// The reports of one end.
#[derive(Debug)]
pub struct Reports {
    ssrc: u32,
    name: String,
    random: u64,
    due: Option<Duration>,
    /// Packets that had been sent at the last two reports.
    sent: [u64; 2],
    /// The last report of what the peer sends, and when it came.
    last: Option<(Sent, Duration)>,
    peer: PeerStatistics,
    written: u64,
}

/// What the peer says of what it hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatistics {
    /// Its reports so far. Without one nothing else is known.
    pub reports: u64,
    /// Packets that it missed.
    pub lost: u32,
    /// Of 256, as of the last report.
    pub fraction_lost: u8,
    /// Variation of arrival, in units of the clock of what is sent.
    pub jitter: u32,
    /// There and back, as of the last report that says. `None`: none did.
    pub rtt: Option<Duration>,
    /// What it has told of what it plays, last. `None`: it does not.
    pub played: Option<Played>,
}

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// On any clock that does not go back.
    pub since: Duration,
    /// The same moment since 1970, for who plays several sources in step. It must not go back, either.
    pub wall: Duration,
}

/// What a report says of this end.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// What was sent.
    pub sent: EgressStatistics,
    /// The timestamp of what is said at this moment.
    pub timestamp: u32,
    /// How the peer is heard.
    pub heard: Option<Reception>,
    /// Units of the clock of what is heard in a second.
    pub clock_hz: u32,
    /// The peer wants to know more of that: the metrics of RFC 3611, section 4.7.
    pub has_metrics: bool,
}

impl Reports {
    /// Of the source `ssrc`, with a name that tells it from all others and nothing else (RFC 7022). `seed` decides on the
    /// moments of its reports: random, so that those of many sources do not come at once.
    pub fn new(ssrc: u32, name: String, seed: u64) -> Self {
        Self {
            ssrc,
            name,
            // Of 0 comes nothing else.
            random: seed | 1,
            due: None,
            sent: [0; 2],
            last: None,
            peer: PeerStatistics::default(),
            written: 0,
        }
    }

    /// There is somebody to report to. The first report is due in half the time (section 6.2).
    pub fn begin(&mut self, now: Duration) {
        if self.due.is_none() {
            self.due = Some(now + self.spread(INTERVAL / 2));
        }
    }

    /// There is nobody.
    pub fn stop(&mut self) {
        self.due = None;
    }

    /// When [`Self::write`] is to be called.
    pub fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// What the peer says.
    pub fn peer(&self) -> PeerStatistics {
        self.peer
    }

    /// Reports written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// A datagram of the peer.
    pub fn take(&mut self, datagram: &[u8], now: Now) {
        let (ssrc, mut last, mut peer) = (self.ssrc, self.last, self.peer);
        rtcp::read(datagram, |told| match told {
            Told::Sent(sent) => last = Some((sent, now.since)),
            Told::Heard(block) if block.ssrc == ssrc => peer.take(&block, now.wall),
            Told::Played(played) if played.ssrc == ssrc => peer.played = Some(played),
            Told::Heard(_) | Told::Played(_) => {}
            Told::Over { ssrc } => last = last.filter(|(sent, _)| sent.ssrc != ssrc),
        });
        (self.last, self.peer) = (last, peer);
    }

    /// Writes a report in place of what `out` has. `is_over`: it is the last one.
    pub fn write(&mut self, own: &Own, is_over: bool, now: Now, out: &mut Vec<u8>) {
        let [before, last] = self.sent;
        // Who has sent nothing since the last report but one only hears (section 6.4).
        let is_sender = own.sent.packets > before;
        self.sent = [last, own.sent.packets];
        let sent = Sent {
            ssrc: self.ssrc,
            ntp: ntp(now.wall),
            timestamp: own.timestamp,
            packets: low(own.sent.packets),
            bytes: low(own.sent.bytes),
        };
        let last = |heard: &Reception| self.last.filter(|(sent, _)| sent.ssrc == heard.ssrc);
        let block = |heard: Reception| Block {
            ssrc: heard.ssrc,
            fraction_lost: heard.fraction_lost,
            lost: i32::try_from(heard.lost).unwrap_or(i32::MAX),
            highest: heard.highest,
            jitter: heard.jitter,
            last_sent: last(&heard).map_or(0, |(sent, _)| middle(sent.ntp)),
            delay: last(&heard).map_or(0, |(_, came)| middle(fixed(now.since.saturating_sub(came)))),
        };
        let report = Report {
            ssrc: self.ssrc,
            sent: is_sender.then_some(sent),
            heard: own.heard.map(block),
            name: &self.name,
            metrics: own
                .heard
                .filter(|_| own.has_metrics)
                .map(|heard| self.metrics(&heard, own.clock_hz)),
            is_over,
        };
        report.write(out);
        self.written += 1;
        self.due = (!is_over).then(|| now.since + self.spread(INTERVAL));
    }

    /// What the peer sounds like here: as it sounds to who hears it without further loss.
    fn metrics(&self, heard: &Reception, clock_hz: u32) -> Metrics {
        let loss = f32::from(heard.lost_of_all) / 256.0;
        let jitter = Duration::from_secs(1).saturating_mul(heard.jitter) / clock_hz.max(1);
        let rtt = self.peer.rtt.unwrap_or_default();
        let delay = quality::mouth_to_ear(rtt, jitter);
        Metrics {
            ssrc: heard.ssrc,
            lost: heard.lost_of_all,
            bursts: heard.bursts,
            rtt,
            rating: whole(quality::rating(delay, loss)),
            listening: whole(quality::mos(Duration::ZERO, loss) * 10.0),
            conversation: whole(quality::mos(delay, loss) * 10.0),
        }
    }

    /// Half as long to one and a half times as long (section 6.3.1).
    fn spread(&mut self, interval: Duration) -> Duration {
        // Marsaglia's generator.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let thousandths = u32::try_from(500 + self.random % 1000).unwrap_or(1000);
        interval * thousandths / 1000
    }
}

impl PeerStatistics {
    fn take(&mut self, block: &Block, wall: Duration) {
        self.reports += 1;
        self.lost = u32::try_from(block.lost).unwrap_or(0);
        self.fraction_lost = block.fraction_lost;
        self.jitter = block.jitter;
        if block.last_sent != 0 {
            let passed = middle(ntp(wall))
                .wrapping_sub(block.last_sent)
                .wrapping_sub(block.delay);
            // A little less than nothing is what rounding makes of it; more is of a peer that counts from elsewhere.
            let passed = match passed.cast_signed() {
                ROUNDING..0 => 0,
                passed => passed.cast_unsigned(),
            };
            let rtt = Duration::from_micros(u64::from(passed) * 1_000_000 / 65_536);
            if rtt <= RTT_MAX {
                self.rtt = Some(rtt);
            }
        }
    }
}

/// Since 1900, of a time since 1970.
fn ntp(wall: Duration) -> u64 {
    fixed(wall).wrapping_add(UNIX_EPOCH_NTP << 32)
}

/// Seconds with 32 bits of fraction.
fn fixed(time: Duration) -> u64 {
    let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
    (time.as_secs() << 32) | fraction
}

/// Seconds modulo 2^16 with 16 bits of fraction.
fn middle(fixed: u64) -> u32 {
    low(fixed >> 16)
}

/// Of a score, which is neither less than nothing nor beyond a byte.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is from 0 to 100"
)]
fn whole(score: f32) -> u8 {
    score.round().clamp(0.0, 100.0) as u8
}

fn low(count: u64) -> u32 {
    (count & 0xffff_ffff) as u32
}

/// From one report to the next (section 6.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// Seconds from 1900 to 1970.
const UNIX_EPOCH_NTP: u64 = 2_208_988_800;
/// A longer round trip is none.
const RTT_MAX: Duration = Duration::from_secs(30);
/// So much less than nothing may a round trip be, in 1/65536 s: 50 ms.
const ROUNDING: i32 = -3277;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bursts;

    const SECOND: Duration = Duration::from_secs(1);
    /// Beyond 2^16 seconds, and a moment before the middle of the fraction wraps.
    const WALL: Duration = Duration::new(1_790_000_000, 999_990_000);

    fn at(ms: u64) -> Now {
        let since = Duration::from_millis(ms);
        Now {
            since,
            wall: WALL + since,
        }
    }

    fn own(packets: u64, heard: Option<Reception>) -> Own {
        Own {
            sent: EgressStatistics {
                packets,
                bytes: packets * 160,
                ..EgressStatistics::default()
            },
            timestamp: 77,
            heard,
            clock_hz: 8000,
            has_metrics: false,
        }
    }

    const HEARD: Reception = Reception {
        ssrc: 2,
        fraction_lost: 12,
        lost: 30_000_000,
        highest: 70_000,
        jitter: 40,
        lost_of_all: 26,
        bursts: Bursts {
            burst_density: 0,
            gap_density: 26,
            burst: Duration::ZERO,
            gap: Duration::from_secs(9),
        },
    };

    #[test]
    fn two_ends_find_out_how_far_apart_they_are() {
        let (mut one, mut two) = (
            Reports::new(1, "one".to_owned(), 5),
            Reports::new(2, "two".to_owned(), 6),
        );
        let mut out = Vec::new();
        one.write(&own(10, None), false, at(1000), &mut out);
        two.take(&out, at(1030));
        assert_eq!(two.peer(), PeerStatistics::default());
        let of_one = Reception { ssrc: 1, ..HEARD };
        two.write(&own(20, Some(of_one)), false, at(3030), &mut out);
        one.take(&out, at(3070));
        let peer = one.peer();
        assert_eq!((peer.reports, peer.fraction_lost, peer.jitter), (1, 12, 40));
        assert_eq!(peer.lost, (1 << 23) - 1, "no more can be said");
        let rtt = peer.rtt.unwrap();
        assert!(
            rtt.abs_diff(Duration::from_millis(70)) < Duration::from_millis(1),
            "{rtt:?}"
        );
        // Of another source nothing is said of this one.
        two.write(&own(30, Some(HEARD)), false, at(4000), &mut out);
        one.take(&out, at(4040));
        assert_eq!(one.peer().reports, 1);
        // Where they are on one host, rounding makes it less than nothing.
        let block = Block {
            ssrc: 1,
            fraction_lost: 0,
            lost: -5,
            highest: 0,
            jitter: 0,
            last_sent: middle(ntp(at(5000).wall)),
            delay: 2,
        };
        one.peer.take(&block, at(5000).wall);
        assert_eq!((one.peer().rtt, one.peer().lost), (Some(Duration::ZERO), 0));
        // A peer that counts from elsewhere is not believed.
        one.peer.take(&Block { last_sent: 9, ..block }, at(5000).wall);
        assert_eq!(one.peer().rtt, Some(Duration::ZERO));
    }

    #[test]
    fn who_sends_says_so_and_who_does_not_hears() {
        let mut reports = Reports::new(1, "one".to_owned(), 5);
        let mut out = Vec::new();
        let mut kinds = Vec::new();
        for packets in [0, 0, 5, 5, 5, 6] {
            reports.write(&own(packets, Some(HEARD)), false, at(0), &mut out);
            kinds.push(out[1]);
        }
        assert_eq!(kinds, [201, 201, 200, 200, 201, 200]);
        reports.write(&own(6, None), true, at(0), &mut out);
        let mut over = Vec::new();
        rtcp::read(&out, |told| {
            over.extend(matches!(told, Told::Over { ssrc: 1 }).then_some(told))
        });
        assert_eq!((over.len(), reports.deadline(), reports.written()), (1, None, 7));
    }

    #[test]
    fn who_wants_metrics_has_them_and_nobody_else_does() {
        let mut reports = Reports::new(1, "one".to_owned(), 5);
        let mut out = Vec::new();
        let mut told = |has_metrics, heard| {
            let own = Own {
                has_metrics,
                ..own(5, heard)
            };
            reports.write(&own, false, at(0), &mut out);
            let mut played = None;
            rtcp::read(&out, |told| {
                if let Told::Played(one) = told {
                    played = Some(one);
                }
            });
            played
        };
        assert_eq!(told(false, Some(HEARD)), None);
        assert_eq!(told(true, None), None, "it is not heard");
        let played = told(true, Some(HEARD)).unwrap();
        assert_eq!((played.ssrc, played.lost, played.discarded), (2, 26, 0));
        // 10 % are lost: the same as everywhere else.
        assert_eq!(
            (played.rating, played.listening, played.conversation),
            (Some(43), Some(23), Some(22))
        );
    }

    #[test]
    fn reports_come_at_other_moments_of_other_sources() {
        let mut out = Vec::new();
        let mut all = Vec::new();
        for seed in 0..200 {
            let mut reports = Reports::new(1, "one".to_owned(), seed * 77);
            reports.begin(SECOND);
            let first = reports.deadline().unwrap();
            reports.begin(2 * SECOND);
            assert_eq!(reports.deadline(), Some(first));
            assert!((SECOND * 9 / 4..SECOND * 19 / 4).contains(&first), "{first:?}");
            reports.write(&own(0, None), false, at(10_000), &mut out);
            let next = reports.deadline().unwrap() - 10 * SECOND;
            assert!((SECOND * 5 / 2..SECOND * 15 / 2).contains(&next), "{next:?}");
            all.push(next);
            reports.stop();
            assert_eq!(reports.deadline(), None);
        }
        let mean = all.iter().sum::<Duration>() / 200;
        assert!((SECOND * 45 / 10..SECOND * 55 / 10).contains(&mean), "{mean:?}");
    }
}
