//! How SIP does, for REST and for metrics.

use std::time::Duration;

use moqswitch_calls::Number;

use crate::figures::SipFigures;

/// As it was told last.
#[derive(Debug, Default)]
pub(crate) struct SipView {
    /// There is SIP.
    pub(crate) is_on: bool,
    pub(crate) trunks: Vec<TrunkState>,
    /// Contacts of telephones.
    pub(crate) telephones: u64,
    /// Legs of calls.
    pub(crate) legs: u64,
    /// Messages that were refused without an answer, or with 503, by why.
    pub(crate) refused: Vec<(&'static str, u64)>,
}

/// How a trunk is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrunkState {
    pub(crate) number: Number,
    /// Trunks of a group. Empty: it is none.
    pub(crate) members: Vec<Number>,
    /// Calls can go by it.
    pub(crate) is_there: bool,
    pub(crate) contact: String,
    /// None: it is not registered with.
    pub(crate) is_registered: Option<bool>,
    /// What was answered to the last registration that failed; 408: nothing.
    pub(crate) status: Option<u16>,
    /// None: it is not asked.
    pub(crate) answers: Option<bool>,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) calls: u32,
    /// 0: no limit.
    pub(crate) calls_max: u32,
}

impl SipView {
    pub(crate) fn figures(&self) -> Option<SipFigures> {
        let trunk = |state: &TrunkState| (state.number.to_string(), state.is_there, state.calls.into());
        self.is_on.then(|| SipFigures {
            telephones: self.telephones,
            legs: self.legs,
            refused: self.refused.clone(),
            trunks: self.trunks.iter().map(trunk).collect(),
        })
    }
}
