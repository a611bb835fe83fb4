//! The states of a leg, and the one table of what may follow what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a leg is. The names are those of the channel driver's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LegState {
    /// It exists; nobody was told.
    Down,
    /// The caller dialled, or the callee was told of the call.
    Calling,
    /// The callee's phone rings. The caller's leg is in it as soon as one phone rings.
    Ringing,
    /// Answered: media flows.
    Up,
    /// Over, with a cause. Nothing follows.
    Hangup,
}

/// What may follow what. All else is refused.
pub const TRANSITIONS: &[(LegState, LegState)] = &[
    (LegState::Down, LegState::Calling),
    (LegState::Down, LegState::Hangup),
    (LegState::Calling, LegState::Ringing),
    (LegState::Calling, LegState::Up),
    (LegState::Calling, LegState::Hangup),
    (LegState::Ringing, LegState::Up),
    (LegState::Ringing, LegState::Hangup),
    (LegState::Up, LegState::Hangup),
];

impl LegState {
    /// Every state, the first first.
    pub const ALL: [Self; 5] = [Self::Down, Self::Calling, Self::Ringing, Self::Up, Self::Hangup];

    /// May `next` follow?
    pub fn allows(self, next: Self) -> bool {
        TRANSITIONS.contains(&(self, next))
    }

    /// As messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Calling => "calling",
            Self::Ringing => "ringing",
            Self::Up => "up",
            Self::Hangup => "hangup",
        }
    }
}

impl fmt::Display for LegState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table: row by row what may follow, in the order of `ALL`.
    #[test]
    fn each_pair_of_states_is_allowed_or_refused() {
        let expected = [
            // down  calling ringing up     hangup
            [false, true, false, false, true],  // down
            [false, false, true, true, true],   // calling
            [false, false, false, true, true],  // ringing
            [false, false, false, false, true], // up
            [false; 5],                         // hangup
        ];
        for (from, row) in LegState::ALL.into_iter().zip(expected) {
            for (to, allowed) in LegState::ALL.into_iter().zip(row) {
                assert_eq!(from.allows(to), allowed, "{from} to {to}");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_channel_driver() {
        let names = LegState::ALL.map(LegState::name);
        assert_eq!(names, ["down", "calling", "ringing", "up", "hangup"]);
    }
}
