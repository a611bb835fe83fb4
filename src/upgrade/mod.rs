//! An upgrade of a relay that serves: the process starts the program file that it was started from once more, hands it its sockets and
//! secrets, and ends when its sessions have followed.
//!
//! ```text
//! command    `moqswitch upgrade`: asks the process, and says what came of it
//! keeper     the process that is asked: starts the other, sends clients to it, and takes over again if it dies
//! takeover   the process that is started: takes what it is given, and joins both processes' media by a link
//! lineage    what all of them have in common
//! offer      what goes between both
//! ```
//!
//! Invariant: until the other says that it is ready, nothing has changed for clients; whichever process dies, the sockets
//! stay open in the other.
#![forbid(unsafe_code)]

pub mod command;
mod keeper;
mod lineage;
mod offer;
mod takeover;

#[cfg(test)]
mod tests;

pub(crate) use keeper::{Keeper, Parts};
pub(crate) use lineage::Lineage;
pub(crate) use offer::Kind;
pub use takeover::Takeover;
