//! The IETF's moq-transport (draft-ietf-moq-transport-18): its messages, and one peer of it as a state machine.
//!
//! A room of its own beside [`wire`](crate::wire) and [`session`](crate::session). A [`Session`] speaks moq-transport to
//! its peer, and takes and tells its caller the same as a session of moq-lite does: a namespace is the path of a broadcast,
//! a subgroup 0 is a group, and an object is a frame. So whoever drives sessions needs to know of neither.
//!
//! What cannot be said so is refused with the code that the draft has for it: names that are not UTF-8, subgroups other
//! than 0, groups above 2^62-1, FETCH, SUBSCRIBE_TRACKS. `Section` in comments is one of the draft.

pub(crate) mod codes;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
pub mod limits;
mod messages;
mod session;

pub use session::Session;
