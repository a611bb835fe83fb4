//! What is known of a leg's media: counters of the relay, and what hearers say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::mos;

/// What the relay counted of one broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames that came from the leg.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Gaps in the numbers of frames.
    pub lost: u64,
    /// Of these, those of gaps of half a second and more: nothing may have been said.
    pub paused: u64,
    /// Frames that came too late to be forwarded.
    pub late: u64,
    /// How unevenly they came, in the mean. None: too few came to say.
    pub jitter: Option<Duration>,
    /// Times that frames were handed to a hearer.
    pub delivered: u64,
}

/// What a device says about what it hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Round trip to the relay.
    pub rtt: Duration,
    /// Variation of arrival.
    pub jitter: Duration,
    /// Frames that did not come, of a thousand.
    pub loss_permille: u16,
    /// What waits to be played.
    pub buffer: Duration,
    /// Times that nothing was there to play, since the last report.
    pub underruns: u32,
    /// Mean opinion score by the E-model, 1 to 4.5. None: the device does not estimate it.
    pub mos: Option<f32>,
}

/// The reports of a leg, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QualitySummary {
    /// How many.
    pub reports: u32,
    /// The mean of the round trip.
    pub rtt: Duration,
    /// The mean of the jitter.
    pub jitter: Duration,
    /// The mean of the loss.
    pub loss_permille: f32,
    /// All underruns.
    pub underruns: u32,
    /// The mean of the scores, where there were any.
    pub mos: Option<f32>,
    /// The worst score.
    pub mos_worst: Option<f32>,
    scores: u32,
}

/// The last report of a leg, as who watches calls is told. Whole numbers, so that small changes are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastQuality {
    /// Round trip to the relay in milliseconds.
    pub rtt_ms: u32,
    /// Variation of arrival in milliseconds.
    pub jitter_ms: u32,
    /// Frames that did not come, of a thousand.
    pub loss_permille: u16,
    /// Ten times the score. None: the device does not estimate it.
    pub mos_tenths: Option<u8>,
}

impl LastQuality {
    pub(crate) fn of(quality: &Quality) -> Self {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        // A score is at most 4.5, and not below 1.
        let tenths = |mos: f32| {
            (10_u8..=45)
                .find(|tenths| f32::from(*tenths) + 0.5 > mos * 10.0)
                .unwrap_or(45)
        };
        Self {
            rtt_ms: ms(quality.rtt),
            jitter_ms: ms(quality.jitter),
            loss_permille: quality.loss_permille,
            mos_tenths: quality.mos.map(tenths),
        }
    }

    /// Is the score another one, by so much that who watches is to be told?
    pub(crate) fn differs(self, told: Option<Self>) -> bool {
        match (self.mos_tenths, told.and_then(|told| told.mos_tenths)) {
            (Some(mos), Some(told)) => mos.abs_diff(told) >= TOLD_TENTHS,
            (mos, told) => mos != told,
        }
    }
}

/// What is worth a warning. Names and thresholds are those that phones know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Warning {
    /// Round trip of 400 ms or more.
    HighRtt,
    /// Jitter of 30 ms or more.
    HighJitter,
    /// Loss of 3 % or more.
    HighPacketLoss,
    /// A score below 3.
    LowMos,
}

impl Warning {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HighRtt, Self::HighJitter, Self::HighPacketLoss, Self::LowMos];

    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HighRtt => "high-rtt",
            Self::HighJitter => "high-jitter",
            Self::HighPacketLoss => "high-packet-loss",
            Self::LowMos => "low-mos",
        }
    }

    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Does a report call for it?
    pub fn applies(self, quality: &Quality) -> bool {
        match self {
            Self::HighRtt => quality.rtt >= Duration::from_millis(400),
            Self::HighJitter => quality.jitter >= Duration::from_millis(30),
            Self::HighPacketLoss => quality.loss_permille >= 30,
            Self::LowMos => quality.mos.is_some_and(|mos| mos < 3.0),
        }
    }
}

impl Counters {
    /// Mean opinion score of what came to the relay, 1 to 4.5: what somebody would hear that is right beside it. `codec` is
    /// what it was sent in, `rtt` the round trip of who sent it, where it is known. None: nothing came.
    pub fn mos(&self, codec: Codec, rtt: Duration) -> Option<f32> {
        let lost = self.lost.saturating_sub(self.paused).saturating_add(self.late);
        let wanted = self.frames.saturating_add(lost);
        let share = thousandths(lost.saturating_mul(1000).checked_div(wanted)?);
        // What is played waits for those that come late: for twice the mean, and no less than a frame.
        let wait = (self.jitter.unwrap_or_default() * 2).max(FRAME);
        (self.frames > 0).then(|| mos::estimate(codec, share, rtt / 2 + wait))
    }
}

fn thousandths(count: u64) -> f32 {
    f32::from(u16::try_from(count.min(1000)).unwrap_or(1000)) / 1000.0
}

impl Quality {
    /// A report of a stranger, within what can be.
    pub(crate) fn sane(self) -> Self {
        Self {
            rtt: self.rtt.min(REPORTED_MAX),
            jitter: self.jitter.min(REPORTED_MAX),
            loss_permille: self.loss_permille.min(1000),
            buffer: self.buffer.min(REPORTED_MAX),
            underruns: self.underruns,
            mos: self.mos.filter(|mos| mos.is_finite()).map(|mos| mos.clamp(1.0, 4.5)),
        }
    }
}

impl QualitySummary {
    /// Takes one more report.
    pub(crate) fn add(&mut self, quality: &Quality) {
        self.reports = self.reports.saturating_add(1);
        let mean = |old: Duration, new: Duration, count: u32| (old * (count - 1) + new) / count;
        // The mean of the last thousand or so: sums stay small however long the call is.
        let count = self.reports.min(1000);
        self.rtt = mean(self.rtt, quality.rtt, count);
        self.jitter = mean(self.jitter, quality.jitter, count);
        self.loss_permille += (f32::from(quality.loss_permille) - self.loss_permille) / share(count);
        self.underruns = self.underruns.saturating_add(quality.underruns);
        if let Some(mos) = quality.mos {
            self.scores = self.scores.saturating_add(1);
            let old = self.mos.unwrap_or(mos);
            self.mos = Some(old + (mos - old) / share(self.scores.min(1000)));
            self.mos_worst = Some(self.mos_worst.map_or(mos, |worst| worst.min(mos)));
        }
    }
}

fn share(count: u32) -> f32 {
    f32::from(u16::try_from(count).unwrap_or(u16::MAX))
}

/// What a frame is long.
const FRAME: Duration = Duration::from_millis(20);

/// Who watches is told of a score that changed by so much, in tenths.
const TOLD_TENTHS: u8 = 2;

/// No report has more.
const REPORTED_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_are_told_of_scores_that_changed() {
        let of = |mos| {
            let quality = Quality {
                mos,
                ..Quality::default()
            };
            LastQuality::of(&quality.sane())
        };
        assert_eq!(of(Some(4.27)).mos_tenths, Some(43));
        assert_eq!(of(Some(9.0)).mos_tenths, Some(45));
        assert_eq!(of(Some(0.0)).mos_tenths, Some(10));
        assert!(of(Some(4.2)).differs(None));
        assert!(!of(Some(4.2)).differs(Some(of(Some(4.3)))));
        assert!(of(Some(4.2)).differs(Some(of(Some(4.0)))));
        assert!(!of(None).differs(Some(of(None))));
    }

    #[test]
    fn summaries_are_means_of_what_can_be() {
        let mut summary = QualitySummary::default();
        for (rtt, mos) in [(10, Some(4.0)), (30, None), (20, Some(2.0)), (20, Some(f32::NAN))] {
            let quality = Quality {
                rtt: Duration::from_millis(rtt),
                loss_permille: 60_000,
                mos,
                ..Quality::default()
            };
            summary.add(&quality.sane());
        }
        assert_eq!(summary.rtt.as_millis(), 20);
        assert_eq!((summary.mos, summary.mos_worst), (Some(3.0), Some(2.0)));
        assert!((summary.loss_permille - 1000.0).abs() < 0.1);
        for _ in 0..5000 {
            let longest = Quality {
                rtt: Duration::MAX,
                underruns: u32::MAX,
                ..Quality::default()
            };
            summary.add(&longest.sane());
        }
        assert!(summary.rtt > Duration::from_secs(58));
    }

    #[test]
    fn scores_of_counters_fall_with_loss_and_jitter_and_not_with_silence() {
        let counters = Counters {
            frames: 980,
            jitter: Some(Duration::from_millis(2)),
            ..Counters::default()
        };
        let score = |counters: Counters| counters.mos(Codec::Pcmu, Duration::from_millis(20)).unwrap();
        let clean = score(counters);
        assert!((4.3..4.5).contains(&clean), "{clean}");
        let silent = Counters {
            lost: 500,
            paused: 500,
            ..counters
        };
        assert_eq!(score(silent), clean);
        let lossy = Counters { lost: 20, ..counters };
        assert!(score(lossy) < clean - 0.1, "{}", score(lossy));
        let uneven = Counters {
            jitter: Some(Duration::from_millis(200)),
            ..counters
        };
        assert!(score(uneven) < clean - 0.5, "{}", score(uneven));
        assert_eq!(Counters::default().mos(Codec::Opus, Duration::ZERO), None);
    }
}
