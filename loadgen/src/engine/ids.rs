//! How calls and those in them are named.

/// Number of a call, the same whatever shard or process makes it.
pub(crate) type CallId = u32;

/// One participant as long as it has one line: what is due for an earlier line is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    pub(super) call: CallId,
    pub(super) participant: u16,
    pub(super) generation: u32,
}
