//! Who is registered and who is free.

use std::collections::VecDeque;

use crate::engine::CallId;

/// What a shard's telephones are.
#[derive(Clone, Debug)]
pub(crate) struct TelephonesPlan {
    /// The number of the first one; the others follow it.
    pub(crate) first_number: u64,
    /// So many of them make calls, the first ones.
    pub(crate) talking: usize,
    pub(crate) idle: usize,
    pub(crate) password: Option<String>,
}

impl TelephonesPlan {
    pub(super) fn count(&self) -> usize {
        self.talking + self.idle
    }

    /// Where they register again and again each agent has less to remember.
    pub(super) fn groups(&self, registers_only: bool) -> usize {
        let least = if registers_only { GROUPS_OF_REGISTRATIONS } else { 1 };
        self.count().div_ceil(GROUP_PHONES).clamp(least, GROUPS_MAX)
    }

    /// Sockets of RTP.
    pub(super) fn sockets(&self) -> usize {
        self.talking.div_ceil(SOCKET_LEGS).clamp(1, SOCKETS_MAX)
    }
}

pub(super) struct Telephones {
    pub(super) all: Vec<Telephone>,
    first_number: u64,
    /// Those that may call or be called, the one that has been free for the longest time first.
    free: VecDeque<usize>,
    /// Calls that are over, of which not every telephone was told so.
    pub(super) parting: usize,
}

pub(super) struct Telephone {
    pub(super) number: String,
    pub(super) group: usize,
    /// It makes calls.
    is_talking: bool,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is not registered, or does so anew.
    Away,
    Free,
    Busy(CallId, u16),
    /// The other has hung up, and it was not told that the call is over.
    Parting {
        call: CallId,
        since_ns: u64,
    },
    /// Its connection was lost, or the switch does not tell it what it should.
    Gone,
}

impl Telephones {
    pub(super) fn new(plan: &TelephonesPlan, groups: usize) -> Self {
        let phone = |index: usize| Telephone {
            number: (plan.first_number + index as u64).to_string(),
            group: index % groups,
            is_talking: index < plan.talking,
            state: State::Away,
        };
        Self {
            all: (0..plan.count()).map(phone).collect(),
            first_number: plan.first_number,
            free: VecDeque::new(),
            parting: 0,
        }
    }

    /// Whose number it is.
    pub(super) fn find(&self, number: &str) -> Option<usize> {
        let index = number.parse::<u64>().ok()?.checked_sub(self.first_number)?;
        let index = usize::try_from(index).ok()?;
        (index < self.all.len()).then_some(index)
    }

    /// It may call and be called.
    pub(super) fn set_free(&mut self, phone: usize) {
        self.leave_parting(phone, State::Free);
        if self.all[phone].is_talking {
            self.free.push_back(phone);
        }
    }

    pub(super) fn set_gone(&mut self, phone: usize) {
        self.leave_parting(phone, State::Gone);
    }

    pub(super) fn set_parting(&mut self, phone: usize, call: CallId, since_ns: u64) {
        self.all[phone].state = State::Parting { call, since_ns };
        self.parting += 1;
    }

    fn leave_parting(&mut self, phone: usize, state: State) {
        if let State::Parting { .. } = std::mem::replace(&mut self.all[phone].state, state) {
            self.parting -= 1;
        }
    }

    /// Two for a call.
    pub(super) fn take_two(&mut self) -> Option<[usize; 2]> {
        let caller = self.take_one()?;
        match self.take_one() {
            Some(callee) => Some([caller, callee]),
            None => {
                self.free.push_front(caller);
                None
            }
        }
    }

    /// The one that has been free for the longest time. It is not free any more, whatever its state says.
    pub(super) fn take_one(&mut self) -> Option<usize> {
        loop {
            let phone = self.free.pop_front()?;
            if self.all[phone].state == State::Free {
                return Some(phone);
            }
        }
    }

    pub(super) fn has_two(&self) -> bool {
        let is_free = |phone: &&usize| self.all[**phone].state == State::Free;
        self.free.iter().filter(is_free).nth(1).is_some()
    }
}

/// Telephones of one user agent, as long as there are not too many groups. An agent remembers each request for half a
/// minute, and some thousands of them in all.
const GROUP_PHONES: usize = 250;
const GROUPS_MAX: usize = 64;
const GROUPS_OF_REGISTRATIONS: usize = 16;
/// Legs that share a socket of RTP.
const SOCKET_LEGS: usize = 64;
const SOCKETS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_free_for_the_longest_time_is_next_and_idle_ones_do_nothing() {
        let mut phones = Telephones::new(
            &TelephonesPlan {
                first_number: 7_000,
                talking: 3,
                idle: 300,
                password: None,
            },
            2,
        );
        assert_eq!((phones.all.len(), phones.all[302].group), (303, 0));
        (0..303).for_each(|phone| phones.set_free(phone));
        assert_eq!(phones.find("7302"), Some(302));
        assert_eq!([phones.find("7303"), phones.find("6999"), phones.find("a")], [None; 3]);
        assert!(phones.has_two());
        assert_eq!(phones.take_two(), Some([0, 1]));
        assert!(!phones.has_two());
        assert_eq!(phones.take_two(), None);
        phones.all[0].state = State::Busy(1, 0);
        phones.set_parting(0, 1, 5);
        phones.set_free(0);
        assert_eq!((phones.parting, phones.take_two()), (0, Some([2, 0])));
        phones.set_free(1);
        phones.set_gone(1);
        assert_eq!(phones.take_one(), None);
    }
}
