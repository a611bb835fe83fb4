//! What begins when there is too much to do already.

use std::time::Duration;

use super::settings::Ceilings;
use crate::limits::{GUARD_RETRY_AFTER_S_MAX, GUARD_RETRY_AFTER_S_MIN};

/// What is in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Transactions of both sides without their final response. Those that only wait for retransmissions do not count.
    pub transactions: usize,
    /// Legs: sides of calls, and of those that are being made.
    pub legs: usize,
    /// For how long there has been something to read all the time: the longest that a message may have waited.
    pub behind: Duration,
}

/// What a message is, as far as it matters when there is too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Of something in progress, which to end costs less than to let it hang: it always passes.
    Ongoing,
    /// A new call.
    Invite,
    /// Another request that begins something.
    Other,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Accept,
    /// It is answered 503, without a transaction.
    Unavailable {
        /// For `Retry-After` (RFC 3261, section 21.5.4), in seconds.
        retry_after_s: u32,
    },
    /// It is not answered. The sender tries again, at longer and longer intervals.
    Drop,
}

impl Traffic {
    /// Of a request: within a dialog it has a tag in `To`. Whoever puts one there without a dialog gets past, to a 481.
    /// Responses are [`Traffic::Ongoing`].
    pub fn of_request(method: &str, has_to_tag: bool) -> Self {
        match method {
            "ACK" | "BYE" | "CANCEL" => Self::Ongoing,
            _ if has_to_tag => Self::Ongoing,
            "INVITE" => Self::Invite,
            _ => Self::Other,
        }
    }
}

/// `jitter` is any random number: not everybody should come back at once.
pub(super) fn weigh(traffic: Traffic, load: Load, ceilings: &Ceilings, jitter: u32) -> Verdict {
    let is_busy = match traffic {
        Traffic::Ongoing => return Verdict::Accept,
        Traffic::Invite => load.legs >= ceilings.legs_max || load.behind >= ceilings.behind_invite_max,
        Traffic::Other => load.behind >= ceilings.behind_max,
    };
    if load.transactions >= ceilings.transactions_max {
        return Verdict::Drop;
    }
    if !is_busy && load.transactions < ceilings.transactions_busy {
        return Verdict::Accept;
    }
    let range = GUARD_RETRY_AFTER_S_MAX - GUARD_RETRY_AFTER_S_MIN + 1;
    Verdict::Unavailable {
        retry_after_s: GUARD_RETRY_AFTER_S_MIN + jitter % range,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILINGS: Ceilings = Ceilings {
        transactions_busy: 10,
        transactions_max: 20,
        legs_max: 5,
        behind_invite_max: Duration::from_millis(40),
        behind_max: Duration::from_millis(250),
    };

    #[test]
    fn what_begins_is_refused_and_then_dropped() {
        let weigh = |traffic, transactions, legs, behind_ms| {
            let load = Load {
                transactions,
                legs,
                behind: Duration::from_millis(behind_ms),
            };
            weigh(traffic, load, &CEILINGS, 0)
        };
        let busy = Verdict::Unavailable { retry_after_s: 5 };
        for (traffic, transactions, legs, behind_ms, verdict) in [
            (Traffic::Invite, 9, 4, 39, Verdict::Accept),
            (Traffic::Invite, 0, 5, 0, busy),
            (Traffic::Invite, 10, 0, 0, busy),
            (Traffic::Invite, 0, 0, 40, busy),
            (Traffic::Invite, 20, 0, 40, Verdict::Drop),
            (Traffic::Other, 9, 5, 249, Verdict::Accept),
            (Traffic::Other, 19, 0, 0, busy),
            (Traffic::Other, 0, 0, 250, busy),
            (Traffic::Other, 20, 0, 0, Verdict::Drop),
            (Traffic::Ongoing, 1000, 1000, 1000, Verdict::Accept),
        ] {
            assert_eq!(
                weigh(traffic, transactions, legs, behind_ms),
                verdict,
                "{traffic:?} {transactions} {legs} {behind_ms}"
            );
        }
    }

    #[test]
    fn who_is_refused_comes_back_at_different_times() {
        let load = Load {
            transactions: 15,
            ..Load::default()
        };
        let mut seconds = std::collections::BTreeSet::new();
        for jitter in (0..1000).chain([u32::MAX]) {
            let Verdict::Unavailable { retry_after_s } = weigh(Traffic::Other, load, &CEILINGS, jitter) else {
                panic!("it is busy");
            };
            seconds.insert(retry_after_s);
        }
        assert!(seconds.into_iter().eq(5..=30));
    }

    #[test]
    fn what_goes_on_is_told_from_what_begins() {
        for method in ["ACK", "BYE", "CANCEL"] {
            assert_eq!(Traffic::of_request(method, false), Traffic::Ongoing, "{method}");
        }
        for method in ["INVITE", "UPDATE", "PRACK", "REFER", "INFO"] {
            assert_eq!(Traffic::of_request(method, true), Traffic::Ongoing, "{method}");
        }
        assert_eq!(Traffic::of_request("INVITE", false), Traffic::Invite);
        assert_eq!(Traffic::of_request("REGISTER", false), Traffic::Other);
        assert_eq!(
            Traffic::of_request("invite", false),
            Traffic::Other,
            "methods have letter case"
        );
    }
}
