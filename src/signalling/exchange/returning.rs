//! Who may come back to a switch that was started again.

use std::collections::BTreeMap;

use moqswitch_calls::SessionId;

use crate::journal::{ContactEntry, DeviceEntry};

/// Devices that may come back, each by the session that stands in for it until then.
#[derive(Debug, Default)]
pub(super) struct Returning {
    pub(super) devices: BTreeMap<SessionId, Box<DeviceEntry>>,
    pub(super) by_hash: BTreeMap<String, SessionId>,
    /// Telephones of SIP, which need not come back: they are rung where they are.
    pub(super) contacts: Vec<ContactEntry>,
}
