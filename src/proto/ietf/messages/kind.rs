//! Types of messages (section 9).

pub(in crate::ietf) const REQUEST_UPDATE: u64 = 0x02;
pub(in crate::ietf) const SUBSCRIBE: u64 = 0x03;
pub(in crate::ietf) const SUBSCRIBE_OK: u64 = 0x04;
pub(in crate::ietf) const REQUEST_ERROR: u64 = 0x05;
pub(in crate::ietf) const PUBLISH_NAMESPACE: u64 = 0x06;
pub(in crate::ietf) const REQUEST_OK: u64 = 0x07;
pub(in crate::ietf) const NAMESPACE: u64 = 0x08;
pub(in crate::ietf) const PUBLISH_DONE: u64 = 0x0b;
pub(in crate::ietf) const TRACK_STATUS: u64 = 0x0d;
pub(in crate::ietf) const NAMESPACE_DONE: u64 = 0x0e;
pub(in crate::ietf) const GOAWAY: u64 = 0x10;
pub(in crate::ietf) const FETCH: u64 = 0x16;
pub(in crate::ietf) const FETCH_OK: u64 = 0x18;
pub(in crate::ietf) const PUBLISH: u64 = 0x1d;
pub(in crate::ietf) const PUBLISH_OK: u64 = 0x1e;
pub(in crate::ietf) const SUBSCRIBE_NAMESPACE: u64 = 0x50;
pub(in crate::ietf) const SUBSCRIBE_TRACKS: u64 = 0x51;
pub(in crate::ietf) const SETUP: u64 = 0x2f00;
