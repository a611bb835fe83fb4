//! A load as every shard runs it: who calls whom, with what, for how long.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::link::Impairment;
use crate::media::Media;
use crate::model::arrivals::Arrivals;
use crate::model::codec::Codec;
use crate::model::hold::Hold;

/// Who is in a call, and who hears whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Shape {
    TwoParty {},
    /// Everyone hears everyone, or the next `hears` only.
    Conference {
        people: u16,
        hears: Option<u16>,
    },
    /// One is heard by many.
    Broadcast {
        listeners: u16,
    },
    /// One at a time talks, in turn; all others hear.
    PushToTalk {
        people: u16,
        #[serde(with = "humantime_serde")]
        turn: Duration,
    },
}

/// A track that participants publish.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrackPlan {
    pub(crate) name: &'static str,
    pub(crate) codec: Codec,
    /// Of a replay.
    pub(crate) media: Option<Arc<Media>>,
    pub(crate) frames_per_group: u32,
    /// A datagram for each group instead of a stream.
    pub(crate) datagrams: bool,
    /// Higher is more important.
    pub(crate) priority: u8,
    pub(crate) max_latency: Duration,
    /// Pauses between talk spurts.
    pub(crate) has_pauses: bool,
}

/// What participants do beside talking. Times are exponentially distributed with these means, if
/// nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    /// Participants come evenly spread over this time instead of all at once.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) join_over: Option<Duration>,
    /// Time from one mute to the next, which lasts as long on average.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) mute_every: Option<Duration>,
    /// How long a participant stays before it leaves; another comes in its place.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) leave_every: Option<Duration>,
    /// How long a participant's place is empty then.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) away: Option<Duration>,
    /// Time from one loss of a participant's connection to the next; it dials again at once.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) reconnect_every: Option<Duration>,
    /// Who loses its connection, or is told that the relay goes away, dials again until it is back. What is said meanwhile
    /// is owed.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) redials: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Behaviour {
    pub(crate) fn check(&self) -> Result<(), String> {
        let periods = [
            ("mute_every", self.mute_every),
            ("leave_every", self.leave_every),
            ("reconnect_every", self.reconnect_every),
        ];
        for (name, period) in periods {
            if period.is_some_and(|period| !PERIODS.contains(&period)) {
                return Err(format!("`{name}` {PERIODS_TEXT}"));
            }
        }
        for (name, time) in [("join_over", self.join_over), ("away", self.away)] {
            if time.is_some_and(|time| time > *PERIODS.end()) {
                return Err(format!("`{name}` is at most a day"));
            }
        }
        Ok(())
    }
}

/// What periods of people may be.
const PERIODS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);
const PERIODS_TEXT: &str = "is 100 ms to a day";

/// Calls are made by telephones: by signalling, and media beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PhonePlan {
    /// How long a phone rings before it is answered.
    pub(crate) answer: Hold,
    /// Phones that are registered and do nothing. They have no session at the relay.
    pub(crate) idle: u64,
    /// Time of talk from one hold to the next, of either side. None: nobody holds.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) hold_every: Option<Duration>,
    /// How long one lasts.
    #[serde(with = "humantime_serde")]
    pub(crate) hold_for: Duration,
    /// Time from one key to the next, of either side. None: nobody presses any.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) key_every: Option<Duration>,
    /// The number of the first phone; the others follow it.
    pub(crate) first_number: u64,
}

impl Default for PhonePlan {
    fn default() -> Self {
        Self {
            answer: Hold::Exponential {
                mean: Duration::from_millis(500),
            },
            idle: 0,
            hold_every: None,
            hold_for: Duration::from_secs(2),
            key_every: None,
            first_number: 7_000_000_000,
        }
    }
}

impl PhonePlan {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.answer.check()?;
        if self.answer == (Hold::Forever {}) {
            return Err("a phone that is never answered is in no call: `answer`".to_owned());
        }
        for (name, time) in [("hold_every", self.hold_every), ("key_every", self.key_every)] {
            if time.is_some_and(|time| !PERIODS.contains(&time)) {
                return Err(format!("`{name}` {PERIODS_TEXT}"));
            }
        }
        if !PERIODS.contains(&self.hold_for) {
            return Err(format!("`hold_for` {PERIODS_TEXT}"));
        }
        if self.idle > PHONES_MAX || self.first_number > FIRST_NUMBER_MAX {
            return Err(format!(
                "`idle` is at most {PHONES_MAX}, and `first_number` has at most 15 digits"
            ));
        }
        Ok(())
    }
}

/// As many as a switch has room for.
const PHONES_MAX: u64 = 65_536;
const FIRST_NUMBER_MAX: u64 = 999_999_999_999_999;

/// Telephones speak SIP and RTP, instead of messages by WebSocket and moq-lite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SipPlan {
    pub(crate) transport: Transport,
    /// Nobody calls: what arrives are registrations, each of a telephone that begins anew.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) registers_only: bool,
    /// Sessions at the relay by which every call is heard beside.
    #[serde(skip_serializing_if = "is_none_of")]
    pub(crate) listeners: u16,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none_of(count: &u16) -> bool {
    *count == 0
}

/// What carries SIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    #[default]
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Whose path is worse than the host's own, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathPlan {
    pub(crate) impairment: Option<Impairment>,
    /// How many participants of each call are behind such a path, the last ones first.
    pub(crate) impaired: u16,
}

/// Everything a shard needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) interval: Duration,
    /// Intervals before this one are warm-up.
    pub(crate) measured_from: u64,
    pub(crate) arrivals: Arrivals,
    pub(crate) hold: Hold,
    /// Begin a call whenever one ends, instead of when the schedule says.
    pub(crate) is_closed: bool,
    pub(crate) concurrent_max: u64,
    pub(crate) total_max: u64,
    pub(crate) shape: Shape,
    pub(crate) tracks: Vec<TrackPlan>,
    pub(crate) has_catalog: bool,
    pub(crate) behaviour: Behaviour,
    pub(crate) setup_max: Duration,
    pub(crate) ack_every: u32,
    pub(crate) ack_delay: Duration,
    pub(crate) paths: PathPlan,
    /// None: participants come and find each other without signalling.
    pub(crate) phone: Option<PhonePlan>,
    /// Those telephones speak SIP.
    pub(crate) sip: Option<SipPlan>,
    /// Shards of all processes together, which share the calls out among them.
    pub(crate) shards: u64,
}

impl Load {
    pub(crate) fn is_impaired(&self, participant: u16) -> bool {
        self.paths.impairment.is_some() && participant >= self.shape.people().saturating_sub(self.paths.impaired)
    }

    /// Whether some paths are impaired and others are not.
    pub(crate) fn has_both_paths(&self) -> bool {
        self.is_impaired(self.shape.people() - 1) && !self.is_impaired(0)
    }
}

impl Shape {
    pub(crate) fn people(&self) -> u16 {
        match *self {
            Self::TwoParty {} => 2,
            Self::Conference { people, .. } | Self::PushToTalk { people, .. } => people,
            Self::Broadcast { listeners } => listeners.saturating_add(1),
        }
    }

    /// Whether participant `listener` is to hear participant `publisher`.
    pub(crate) fn hears(&self, listener: u16, publisher: u16) -> bool {
        if listener == publisher {
            return false;
        }
        match *self {
            Self::TwoParty {} | Self::PushToTalk { .. } | Self::Conference { hears: None, .. } => true,
            Self::Conference {
                people,
                hears: Some(hears),
            } => (publisher + people - listener) % people <= hears,
            Self::Broadcast { .. } => publisher == 0,
        }
    }

    /// How many others a participant is to hear.
    pub(crate) fn heard_by(&self, listener: u16) -> usize {
        (0..self.people())
            .filter(|publisher| self.hears(listener, *publisher))
            .count()
    }

    /// How many others are to hear a participant.
    pub(crate) fn audience(&self, publisher: u16) -> usize {
        (0..self.people())
            .filter(|listener| self.hears(*listener, publisher))
            .count()
    }

    pub(crate) fn publishes(&self, participant: u16) -> bool {
        !matches!(self, Self::Broadcast { .. }) || participant == 0
    }

    /// People of whom each talks as in a conversation.
    pub(crate) fn talkers(&self) -> usize {
        match *self {
            Self::TwoParty {} => 2,
            Self::Conference { people, .. } => usize::from(people),
            // Nobody interrupts.
            Self::Broadcast { .. } | Self::PushToTalk { .. } => 1,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {
            Self::TwoParty {} => Ok(()),
            Self::Conference { people, .. } | Self::PushToTalk { people, .. }
                if !(2..=PEOPLE_MAX).contains(&people) =>
            {
                Err(format!("a call has 2 to {PEOPLE_MAX} people"))
            }
            Self::PushToTalk { turn, .. } if !PERIODS.contains(&turn) => Err(format!("`turn` {PERIODS_TEXT}")),
            Self::Broadcast { listeners } if !(1..PEOPLE_MAX).contains(&listeners) => {
                Err(format!("a broadcast has 1 to {} listeners", PEOPLE_MAX - 1))
            }
            _ => Ok(()),
        }
    }
}

/// The track that describes the others.
pub(crate) const CATALOG: &str = "catalog.json";

const PEOPLE_MAX: u16 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_everyone_hears_the_next_and_is_heard_as_often() {
        let shape = Shape::Conference {
            people: 5,
            hears: Some(3),
        };
        for listener in 0..5 {
            let heard: Vec<u16> = (0..5).filter(|publisher| shape.hears(listener, *publisher)).collect();
            assert_eq!(heard.len(), 3);
            assert!(!heard.contains(&listener));
        }
        for publisher in 0..5 {
            assert_eq!(shape.audience(publisher), 3);
        }
    }

    #[test]
    fn in_a_broadcast_only_the_first_is_heard() {
        let shape = Shape::Broadcast { listeners: 3 };
        assert_eq!(shape.people(), 4);
        for listener in 0..4 {
            for publisher in 0..4 {
                assert_eq!(shape.hears(listener, publisher), publisher == 0 && listener != 0);
            }
        }
    }
}
