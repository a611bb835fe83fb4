//! What all subscribers of a track together want of its publisher.

use moqswitch_proto::wire::{GroupRange, GroupSequence, SubscribeUpdate, Version};

/// The parameters of the one upstream subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The highest that anyone asked for.
    pub priority: u8,
    /// The longest that anyone allows, in milliseconds.
    pub max_latency_ms: u64,
    /// The earliest group that anyone asked for; `None`: the latest is enough.
    pub start: Option<GroupSequence>,
    /// The last group that anyone wants, inclusive; `None`: no end.
    pub end: Option<GroupSequence>,
}

impl Demand {
    /// What one subscriber with these preferences wants.
    pub fn of(preferences: &SubscribeUpdate) -> Self {
        Self {
            priority: preferences.priority,
            max_latency_ms: preferences.max_latency_ms,
            start: preferences.range.start,
            end: preferences.range.end,
        }
    }

    /// The least that serves both. A start is a floor: it binds those who named none only
    /// when it is no later than the track's latest group.
    pub(super) fn merge(self, other: Self, latest: Option<GroupSequence>) -> Self {
        Self {
            priority: self.priority.max(other.priority),
            max_latency_ms: self.max_latency_ms.max(other.max_latency_ms),
            start: match (self.start, other.start) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one
                    .or(two)
                    .filter(|start| latest.is_some_and(|latest| *start <= latest)),
            },
            end: self.end.zip(other.end).map(|(one, two)| one.max(two)),
        }
    }

    /// As the parameters of a subscription.
    pub fn update(self) -> SubscribeUpdate {
        SubscribeUpdate {
            priority: self.priority,
            ordered: false,
            max_latency_ms: self.max_latency_ms,
            range: GroupRange {
                start: self.start,
                end: self.end,
                frame_start: 0,
                frame_end: None,
            },
        }
    }
}

/// Whether a subscription without a start begins at the latest group (drafts up to 05), or
/// as far back as its maximum latency reaches (06, released form).
pub(super) fn starts_at_latest(version: Version) -> bool {
    !version.has_frame_bounds()
}
