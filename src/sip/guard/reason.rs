//! Why messages are refused, how often, and what is said of it.

use std::net::IpAddr;
use std::time::Duration;

use super::table::Table;
use crate::limits::{GUARD_LOG_LINES_MAX, GUARD_LOG_PERIOD, GUARD_SOURCES_MAX};

/// Why a message goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its source is banned.
    Banned,
    /// Its source sends too much.
    TooOften,
    /// It is too long.
    MessageTooLong,
    /// On a stream: what stands before the body is too long.
    HeaderTooLong,
    /// It has too many lines before its body.
    TooManyLines,
    /// It says that a scanner sent it.
    Scanner,
    /// It was answered 503: there is too much to do.
    Busy,
    /// There is too much to do even for an answer.
    Overloaded,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Banned,
        Self::TooOften,
        Self::MessageTooLong,
        Self::HeaderTooLong,
        Self::TooManyLines,
        Self::Scanner,
        Self::Busy,
        Self::Overloaded,
    ];

    /// As metrics and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::TooOften => "too_often",
            Self::MessageTooLong => "message_too_long",
            Self::HeaderTooLong => "header_too_long",
            Self::TooManyLines => "too_many_lines",
            Self::Scanner => "scanner",
            Self::Busy => "busy",
            Self::Overloaded => "overloaded",
        }
    }
}

/// One thing for each reason.
#[derive(Debug)]
pub(super) struct ByReason<T>([T; Reason::ALL.len()]);

impl<T: Default> ByReason<T> {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }

    pub(super) const fn of(&mut self, reason: Reason) -> &mut T {
        &mut self.0[reason as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Reason, &T)> {
        Reason::ALL.into_iter().zip(&self.0)
    }
}

/// Which refusals are logged.
#[derive(Debug)]
pub(super) struct Log {
    lines: ByReason<Lines>,
    /// When a line last told of an address.
    told: Table<(Reason, IpAddr), Duration>,
}

/// Of one reason.
#[derive(Debug, Default)]
struct Lines {
    period_start: Option<Duration>,
    passed: u32,
    held_back: u64,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            lines: ByReason::new(),
            told: Table::new(GUARD_SOURCES_MAX),
        }
    }

    /// `Some(n)`: log this one, `n` of its reason were held back since the last.
    pub(super) fn allow(&mut self, reason: Reason, address: IpAddr, now: Duration) -> Option<u64> {
        let is_over = |since: &Duration| now.saturating_sub(*since) >= GUARD_LOG_PERIOD;
        let lines = self.lines.of(reason);
        if lines.period_start.as_ref().is_none_or(is_over) {
            lines.period_start = Some(now);
            lines.passed = 0;
        }
        let is_told = self.told.get(&(reason, address)).is_some_and(|since| !is_over(since));
        if is_told || lines.passed >= GUARD_LOG_LINES_MAX {
            lines.held_back += 1;
            return None;
        }
        lines.passed += 1;
        self.told.put((reason, address), now);
        Some(std::mem::take(&mut lines.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place_and_its_name() {
        let mut names = std::collections::BTreeSet::new();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(names.insert(reason.name()));
        }
    }

    #[test]
    fn lines_are_few_and_tell_of_the_rest() {
        let mut log = Log::new();
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let seconds = Duration::from_secs;
        assert_eq!(log.allow(Reason::Banned, address(0), seconds(0)), Some(0));
        assert_eq!(
            log.allow(Reason::Banned, address(0), seconds(1)),
            None,
            "the same address"
        );
        assert_eq!(
            log.allow(Reason::Scanner, address(0), seconds(1)),
            Some(0),
            "another reason"
        );
        let lines = (1..100).filter(|last| log.allow(Reason::Banned, address(*last), seconds(2)).is_some());
        assert_eq!(lines.count(), 9);
        assert_eq!(log.allow(Reason::Banned, address(200), seconds(59)), None);
        assert_eq!(log.allow(Reason::Banned, address(0), seconds(60)), Some(91));
        assert_eq!(
            log.allow(Reason::Banned, address(1), seconds(61)),
            None,
            "told 59 seconds ago"
        );
        assert_eq!(log.allow(Reason::Banned, address(1), seconds(62)), Some(1));
    }
}
