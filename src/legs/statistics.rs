//! What is counted of a leg.

use std::time::Duration;

use moqswitch_media::{EgressStatistics, IngressStatistics, PeerStatistics, quality};

/// What was counted of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegStatistics {
    /// What came from the peer.
    pub received: IngressStatistics,
    /// Its jitter.
    pub jitter: Duration,
    /// What went to it.
    pub sent: EgressStatistics,
    /// What the peer says of that by RTCP.
    pub peer: PeerStatistics,
    /// The jitter that it tells.
    pub peer_jitter: Duration,
    /// Datagrams that were not the peer's.
    pub foreign: u64,
    /// Datagrams that were no packets, of no payload type that was agreed on, too long, or too many.
    pub unusable: u64,
    /// Datagrams, RTCP among them, that were not protected by the key of the peer, or that had come before.
    pub unauthentic: u64,
    /// Packets of comfort noise. Who hears the leg has silence instead.
    pub comfort: u64,
    /// Packets of another codec than the leg speaks.
    pub of_other_codec: u64,
    /// Packets that came when none were to be received.
    pub held: u64,
    /// Datagrams of RTCP.
    pub reports: u64,
    /// Digits that came.
    pub digits: u64,
    /// Frames of whom it hears that are too long for a packet.
    pub too_long: u64,
    /// Somebody hears it.
    pub is_wanted: bool,
    /// Somebody hears its digits.
    pub are_digits_wanted: bool,
    /// Since the last packet of the peer; since the leg began, if there was none.
    pub silent: Duration,
}

impl LegStatistics {
    /// What was lost on the way from the peer, 0 to 1.
    pub fn loss(&self) -> f32 {
        let received = &self.received;
        share(received.lost, received.packets + received.passed + received.lost)
    }

    /// What was lost on the way to the peer, as it tells. One that tells of what it plays counts what came too late as well.
    pub fn peer_loss(&self) -> f32 {
        match self.peer.played {
            Some(played) => share(u64::from(played.lost) + u64::from(played.discarded), 256),
            None => share(self.peer.lost.into(), self.sent.packets),
        }
    }

    /// What is heard of the peer, 1 to 4.5; see [`quality::mos`]. `None`: nothing was.
    pub fn mos(&self) -> Option<f32> {
        let delay = quality::mouth_to_ear(self.peer.rtt.unwrap_or_default(), self.jitter);
        (self.received.packets > 0).then(|| quality::mos(delay, self.loss()))
    }

    /// What the peer hears. `None`: it does not tell.
    pub fn peer_mos(&self) -> Option<f32> {
        let played = self.peer.played;
        let told = played.and_then(|played| played.conversation.or(played.listening));
        let told = told.map(|tenths| f32::from(tenths) / 10.0);
        // It knows its own player best.
        if let Some(mos) = told.or_else(|| Some(quality::of_rating(played?.rating?.into()))) {
            return Some(mos);
        }
        let delay = quality::mouth_to_ear(self.peer.rtt.unwrap_or_default(), self.peer_jitter);
        (self.peer.reports > 0 && self.sent.packets > 0).then(|| quality::mos(delay, self.peer_loss()))
    }
}

/// Of units of a clock.
pub(crate) fn duration(units: u32, clock_hz: u32) -> Duration {
    Duration::from_micros(u64::from(units) * 1_000_000 / u64::from(clock_hz.max(1)))
}

#[expect(clippy::cast_precision_loss, reason = "a share of some thousands is good enough")]
fn share(part: u64, whole: u64) -> f32 {
    match whole {
        0 => 0.0,
        _ => (part as f32 / whole as f32).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use moqswitch_media::rtcp::Played;

    use super::*;

    #[test]
    fn a_leg_is_judged_by_what_came_and_by_what_its_peer_tells() {
        let mut statistics = LegStatistics::default();
        assert_eq!((statistics.mos(), statistics.peer_mos()), (None, None));
        statistics.received = IngressStatistics {
            packets: 900,
            passed: 50,
            lost: 50,
            ..IngressStatistics::default()
        };
        statistics.sent.packets = 1000;
        assert!((statistics.loss() - 0.05).abs() < 1e-6);
        assert_eq!(statistics.peer_mos(), None);
        statistics.peer = PeerStatistics {
            reports: 1,
            lost: 10,
            rtt: Some(duration(16_000, 8000)),
            ..PeerStatistics::default()
        };
        assert!((statistics.peer_loss() - 0.01).abs() < 1e-6);
        let slow = statistics.mos();
        statistics.peer.rtt = Some(Duration::from_millis(20));
        assert!(statistics.mos() > slow && statistics.peer_mos() > statistics.mos());
        // Who plays it knows better: by its opinion, or by its rating.
        let mut played = Played {
            ssrc: 1,
            lost: 32,
            discarded: 32,
            rating: Some(50),
            listening: Some(35),
            conversation: Some(31),
        };
        let by = |played: Played| {
            let mut statistics = statistics;
            statistics.peer.played = Some(played);
            (statistics.peer_loss(), statistics.peer_mos().unwrap_or_default())
        };
        let is = |found: f32, wanted: f32| assert!((found - wanted).abs() < 0.01, "{found}, not {wanted}");
        let (loss, mos) = by(played);
        is(loss, 0.25);
        is(mos, 3.1);
        played.conversation = None;
        is(by(played).1, 3.5);
        played.listening = None;
        is(by(played).1, 2.58);
        played.rating = None;
        assert!(by(played).1 < statistics.peer_mos().unwrap_or_default());
    }
}
