//! Why legs and calls end: a closed set, each with its SIP status and its number of Q.850.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a leg or a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Somebody hung up.
    Normal,
    /// The callee is in another call, or said so.
    Busy,
    /// It rang, and nobody answered.
    NoAnswer,
    /// Nothing rang in time.
    NoReply,
    /// The callee declined.
    Rejected,
    /// There is no such number.
    Unallocated,
    /// The number has no device that could ring, or the device was lost.
    Unreachable,
    /// The caller may not call this.
    Forbidden,
    /// Somebody has to pay first, as a program says.
    PaymentRequired,
    /// A limit is reached.
    Congestion,
    /// Another device was first.
    AnsweredElsewhere,
    /// The caller gave up before an answer.
    Cancelled,
    /// No media came either way.
    MediaTimeout,
    /// The call lasted as long as calls may.
    DurationExceeded,
    /// The leg's part was taken over by another.
    Transferred,
    /// Two called each other at once; the other of the two calls goes on.
    Glare,
    /// A forward led back to where the call had been.
    LoopDetected,
    /// Too many forwards.
    TooManyHops,
    /// The switch stops.
    Shutdown,
    /// Both have no codec in common.
    Incompatible,
    /// A peer broke the protocol.
    ProtocolError,
    /// The switch is at fault.
    Internal,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 22] = [
        Self::Normal,
        Self::Busy,
        Self::NoAnswer,
        Self::NoReply,
        Self::Rejected,
        Self::Unallocated,
        Self::Unreachable,
        Self::Forbidden,
        Self::PaymentRequired,
        Self::Congestion,
        Self::AnsweredElsewhere,
        Self::Cancelled,
        Self::MediaTimeout,
        Self::DurationExceeded,
        Self::Transferred,
        Self::Glare,
        Self::LoopDetected,
        Self::TooManyHops,
        Self::Shutdown,
        Self::Incompatible,
        Self::ProtocolError,
        Self::Internal,
    ];

    /// Name, SIP status (RFC 3261, section 21) and cause value (ITU-T Q.850, table 1), in one place.
    const fn entry(self) -> (&'static str, u16, u8) {
        match self {
            Self::Normal => ("normal_clearing", 200, 16),
            Self::Busy => ("busy", 486, 17),
            Self::NoAnswer => ("no_answer", 480, 19),
            Self::NoReply => ("no_reply", 480, 18),
            Self::Rejected => ("rejected", 603, 21),
            Self::Unallocated => ("unallocated", 404, 1),
            Self::Unreachable => ("unreachable", 480, 20),
            Self::Forbidden => ("forbidden", 403, 21),
            Self::PaymentRequired => ("payment_required", 402, 21),
            Self::Congestion => ("congestion", 503, 42),
            Self::AnsweredElsewhere => ("answered_elsewhere", 200, 26),
            Self::Cancelled => ("cancelled", 487, 16),
            Self::MediaTimeout => ("media_timeout", 408, 102),
            Self::DurationExceeded => ("duration_exceeded", 408, 102),
            Self::Transferred => ("transferred", 200, 16),
            Self::Glare => ("glare", 491, 16),
            Self::LoopDetected => ("loop_detected", 482, 25),
            Self::TooManyHops => ("too_many_hops", 483, 25),
            Self::Shutdown => ("shutdown", 503, 41),
            Self::Incompatible => ("incompatible", 488, 88),
            Self::ProtocolError => ("protocol_error", 400, 111),
            Self::Internal => ("internal", 500, 41),
        }
    }

    /// As messages and records have it.
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    /// The status of a SIP response. 200: a BYE, or a CANCEL with the reason.
    pub const fn sip_status(self) -> u16 {
        self.entry().1
    }

    /// The cause value of Q.850.
    pub const fn q850(self) -> u8 {
        self.entry().2
    }

    /// Why somebody was not reached. What says that nothing failed says it of a device's own end: its user hung up, or it went.
    pub(crate) const fn of_failure(self) -> Self {
        match self {
            Self::Normal | Self::AnsweredElsewhere | Self::Transferred => Self::Unreachable,
            Self::Busy
            | Self::NoAnswer
            | Self::NoReply
            | Self::Rejected
            | Self::Unallocated
            | Self::Unreachable
            | Self::Forbidden
            | Self::PaymentRequired
            | Self::Congestion
            | Self::Cancelled
            | Self::MediaTimeout
            | Self::DurationExceeded
            | Self::Glare
            | Self::LoopDetected
            | Self::TooManyHops
            | Self::Shutdown
            | Self::Incompatible
            | Self::ProtocolError
            | Self::Internal => self,
        }
    }

    /// Of the causes of several forks, the one that the caller is told is the greatest.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Busy => 5,
            Self::Rejected => 4,
            Self::NoAnswer => 3,
            Self::NoReply | Self::Cancelled => 2,
            Self::Unreachable => 1,
            Self::Normal
            | Self::Unallocated
            | Self::Forbidden
            | Self::PaymentRequired
            | Self::Congestion
            | Self::AnsweredElsewhere
            | Self::MediaTimeout
            | Self::DurationExceeded
            | Self::Transferred
            | Self::Glare
            | Self::LoopDetected
            | Self::TooManyHops
            | Self::Shutdown
            | Self::Incompatible
            | Self::ProtocolError
            | Self::Internal => 0,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::str::FromStr for Cause {
    type Err = UnknownCause;

    fn from_str(text: &str) -> Result<Self, UnknownCause> {
        Self::ALL
            .into_iter()
            .find(|cause| cause.name() == text)
            .ok_or(UnknownCause)
    }
}

/// The text names no cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such cause")]
pub struct UnknownCause;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_there_once_and_is_read_as_it_is_written() {
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause.name().parse(), Ok(cause));
            assert_eq!(cause as usize, index, "{cause} is out of order");
            assert!((1..=127).contains(&cause.q850()), "{cause}");
        }
        assert!("".parse::<Cause>().is_err());
    }

    #[test]
    fn no_failure_looks_like_success() {
        for cause in Cause::ALL {
            assert!(cause.of_failure().sip_status() >= 300, "{cause}");
            assert!(cause.of_failure() == cause || cause.sip_status() < 300, "{cause}");
        }
    }

    #[test]
    fn the_contract_has_these_numbers() {
        let numbers = |cause: Cause| (cause.q850(), cause.sip_status());
        assert_eq!(numbers(Cause::Busy), (17, 486));
        assert_eq!(numbers(Cause::NoReply), (18, 480));
        assert_eq!(numbers(Cause::NoAnswer), (19, 480));
        assert_eq!(numbers(Cause::Rejected), (21, 603));
        assert_eq!(numbers(Cause::Unallocated), (1, 404));
        assert_eq!(numbers(Cause::Unreachable), (20, 480));
        assert_eq!(numbers(Cause::Congestion), (42, 503));
        assert_eq!(numbers(Cause::AnsweredElsewhere).0, 26);
        assert_eq!(Cause::Cancelled.sip_status(), 487);
    }
}
