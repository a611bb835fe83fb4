//! Why a request is refused: a closed set, each with a status for messages and for HTTP.

use serde::{Deserialize, Serialize};

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The session is not registered, or not any more: register again.
    #[error("the session is not registered")]
    UnknownSession,
    /// There is no such call, or it is over, or the device has no leg in it.
    #[error("there is no such call")]
    UnknownCall,
    /// There is no such leg in the call.
    #[error("there is no such leg in the call")]
    UnknownLeg,
    /// No device of the number is registered.
    #[error("no device of the number is registered")]
    UnknownNumber,
    /// The leg's state does not allow it.
    #[error("the state of the call does not allow it")]
    WrongState,
    /// It is not for this one to ask.
    #[error("it is not allowed")]
    NotAllowed,
    /// The caller's profile forbids the number.
    #[error("the number is forbidden")]
    Forbidden,
    /// The device cannot be made to answer: its user has to.
    #[error("the device can be answered by its user only")]
    AnswersItself,
    /// Nothing is left of the codecs: the profile allows none of them, or the device does not have them.
    #[error("there is no codec that is allowed")]
    Incompatible,
    /// The id is in use.
    #[error("the id is in use")]
    Duplicate,
    /// Something else of the kind is under way in the call.
    #[error("the call has a transfer or an addition under way")]
    Pending,
    /// It cannot be read, or is too long.
    #[error("the request is malformed")]
    Malformed,
    /// The number has as many devices as it may have.
    #[error("the number has as many devices as it may have")]
    TooManyDevices,
    /// The number, or the device, has as many calls as it may have.
    #[error("there are as many calls of the number as it may have")]
    TooManyCalls,
    /// The number has begun as many calls within an hour as it may.
    #[error("the number has begun as many calls within an hour as it may")]
    TooOften,
    /// The session watches as much as it may.
    #[error("the session watches as much as it may")]
    TooManyWatched,
    /// The call has as many legs as it may have.
    #[error("the call has as many legs as it may have")]
    TooManyLegs,
    /// The switch is full.
    #[error("the switch is full")]
    Full,
    /// The switch stops.
    #[error("the switch stops")]
    Stopping,
    /// The machine that has the call does not answer.
    #[error("the machine that has the call does not answer")]
    Away,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 20] = [
        Self::UnknownSession,
        Self::UnknownCall,
        Self::UnknownLeg,
        Self::UnknownNumber,
        Self::WrongState,
        Self::NotAllowed,
        Self::Forbidden,
        Self::AnswersItself,
        Self::Incompatible,
        Self::Duplicate,
        Self::Pending,
        Self::Malformed,
        Self::TooManyDevices,
        Self::TooManyCalls,
        Self::TooOften,
        Self::TooManyWatched,
        Self::TooManyLegs,
        Self::Full,
        Self::Stopping,
        Self::Away,
    ];

    /// For messages of the signalling: statuses of SIP. 481 is what a late answer gets.
    pub const fn code(self) -> u16 {
        match self {
            Self::UnknownSession | Self::UnknownLeg | Self::UnknownNumber => 404,
            Self::UnknownCall => 481,
            Self::WrongState | Self::AnswersItself | Self::Duplicate => 409,
            Self::NotAllowed | Self::Forbidden => 403,
            Self::Incompatible => 488,
            Self::Pending => 491,
            Self::Malformed => 400,
            Self::TooManyDevices | Self::TooManyCalls | Self::TooOften | Self::TooManyWatched | Self::TooManyLegs => {
                429
            }
            Self::Full | Self::Stopping | Self::Away => 503,
        }
    }

    /// For HTTP.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::UnknownCall => 404,
            Self::Pending | Self::Incompatible => 409,
            Self::UnknownSession
            | Self::UnknownLeg
            | Self::UnknownNumber
            | Self::WrongState
            | Self::NotAllowed
            | Self::Forbidden
            | Self::AnswersItself
            | Self::Duplicate
            | Self::Malformed
            | Self::TooManyDevices
            | Self::TooManyCalls
            | Self::TooOften
            | Self::TooManyWatched
            | Self::TooManyLegs
            | Self::Full
            | Self::Stopping
            | Self::Away => self.code(),
        }
    }

    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownSession => "unknown_session",
            Self::UnknownCall => "unknown_call",
            Self::UnknownLeg => "unknown_leg",
            Self::UnknownNumber => "unknown_number",
            Self::WrongState => "wrong_state",
            Self::NotAllowed => "not_allowed",
            Self::Forbidden => "forbidden",
            Self::AnswersItself => "answers_itself",
            Self::Incompatible => "incompatible",
            Self::Duplicate => "duplicate",
            Self::Pending => "pending",
            Self::Malformed => "malformed",
            Self::TooManyDevices => "too_many_devices",
            Self::TooManyCalls => "too_many_calls",
            Self::TooOften => "too_often",
            Self::TooManyWatched => "too_many_watched",
            Self::TooManyLegs => "too_many_legs",
            Self::Full => "full",
            Self::Stopping => "stopping",
            Self::Away => "away",
        }
    }
}
