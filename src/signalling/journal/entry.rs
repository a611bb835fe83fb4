//! Lines of the journal, and what they come to.

use std::collections::BTreeMap;
use std::fmt;

use moqswitch_calls::{CallId, CallView, LegRole, LegState, LegView, SessionId};
use ring::digest;
use serde::{Deserialize, Serialize};

/// A session by its SHA-256: who reads the file can be nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionHash([u8; digest::SHA256_OUTPUT_LEN]);

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Entry {
    /// A device is registered, or is what it is from here on.
    Device(Box<DeviceEntry>),
    /// It is not registered any more.
    Gone(String),
    /// A call goes on.
    Call(Box<CallEntry>),
    /// It is over, and has its record.
    Over(String),
}

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceEntry {
    pub(crate) session: String,
    pub(crate) dn: String,
    pub(crate) device: String,
    pub(crate) display_name: String,
    pub(crate) ringable: bool,
    pub(crate) supervisor: bool,
    pub(crate) codecs: Vec<String>,
    pub(crate) rings_itself: bool,
    /// It is offered WebRTC by who has none.
    #[serde(default)]
    pub(crate) speaks_webrtc: bool,
    /// Of its password. None: it was let in by something else.
    pub(crate) proof: Option<String>,
    /// For how long it is registered.
    pub(crate) expires_ms: u64,
    pub(crate) until_ms: u64,
    /// What let it in is valid until then. None: for as long as it is registered.
    #[serde(default)]
    pub(crate) valid_until_ms: Option<u64>,
}

/// A call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallEntry {
    pub(crate) call: String,
    pub(crate) from: PartyEntry,
    pub(crate) to: String,
    pub(crate) start_ms: u64,
    pub(crate) ring_ms: Option<u64>,
    pub(crate) answer_ms: Option<u64>,
    pub(crate) answered_by: Option<PartyEntry>,
    pub(crate) queue: Option<String>,
    pub(crate) recorded: bool,
    /// Those that are up and are no supervisor's.
    pub(crate) legs: Vec<LegEntry>,
}

/// A leg that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LegEntry {
    /// `<call>/<number>`: it may have begun in another call.
    pub(crate) leg: String,
    pub(crate) session: String,
    pub(crate) role: String,
    pub(crate) alias: Option<String>,
    pub(crate) hold: bool,
    pub(crate) muted: bool,
    pub(crate) start_ms: u64,
    pub(crate) ring_ms: Option<u64>,
    pub(crate) answer_ms: Option<u64>,
}

/// Who is at one end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartyEntry {
    pub(crate) dn: String,
    pub(crate) name: String,
    pub(crate) device: String,
}

/// What was in force.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) devices: BTreeMap<String, Box<DeviceEntry>>,
    pub(crate) calls: BTreeMap<String, Box<CallEntry>>,
}

impl SessionHash {
    pub(crate) fn of(session: SessionId) -> Self {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, session.to_string().as_bytes()).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for SessionHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl CallEntry {
    pub(crate) fn of(view: &CallView) -> Self {
        let party = |party: &moqswitch_calls::Party| PartyEntry {
            dn: party.number.to_string(),
            name: party.name.to_string(),
            device: party.device.to_string(),
        };
        let is_kept = |leg: &&LegView| leg.state == LegState::Up && !matches!(leg.role, LegRole::Supervisor(_));
        let leg = |leg: &LegView| LegEntry {
            leg: leg.leg.to_string(),
            session: SessionHash::of(leg.session).to_string(),
            role: leg.role.name().to_owned(),
            alias: leg.alias.as_ref().map(ToString::to_string),
            hold: leg.holds,
            muted: leg.muted,
            start_ms: leg.start_ms,
            ring_ms: leg.ring_ms,
            answer_ms: leg.answer_ms,
        };
        Self {
            call: view.call.to_string(),
            from: party(&view.from),
            to: view.dialled.to_string(),
            start_ms: view.start_ms,
            ring_ms: view.ring_ms,
            answer_ms: view.answer_ms,
            answered_by: view.answered_by.as_ref().map(party),
            queue: view.queue.as_ref().map(ToString::to_string),
            recorded: view.recorded,
            legs: view.legs.iter().filter(is_kept).map(leg).collect(),
        }
    }
}

impl Entry {
    pub(crate) fn over(call: CallId) -> Self {
        Self::Over(call.to_string())
    }

    pub(crate) fn gone(session: SessionId) -> Self {
        Self::Gone(SessionHash::of(session).to_string())
    }
}

impl Found {
    pub(super) fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Device(device) => {
                self.devices.insert(device.session.clone(), device);
            }
            Entry::Gone(session) => {
                self.devices.remove(&session);
            }
            Entry::Call(call) => {
                self.calls.insert(call.call.clone(), call);
            }
            Entry::Over(call) => {
                self.calls.remove(&call);
            }
        }
    }

    /// Everything as entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let devices = self.devices.values().cloned().map(Entry::Device);
        devices.chain(self.calls.values().cloned().map(Entry::Call))
    }
}
