//! What lets telephones of SIP in.

use crate::access::{Guard, Users};

/// What lets telephones in beside the directory of control programs.
#[derive(Debug, Default)]
pub(crate) struct SipEntrance {
    /// Whoever comes from this host is, as any number.
    pub(super) is_open: bool,
    pub(super) users: Option<Users>,
    /// Of addresses of ours, and of the digests of users.
    pub(crate) realm: String,
}

impl SipEntrance {
    /// The same as for others, with the same realm as before.
    pub(crate) fn take(&mut self, guard: &Guard) {
        self.is_open = guard.is_open();
        self.users = guard.users().cloned();
    }
}
