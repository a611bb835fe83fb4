//! Several machines as one phone system: what they tell each other, and who of them is there. Nothing of it is needed on one.
//!
//! A device is registered at one machine and known at all. A call is of one machine, that of who called: legs of devices of
//! others are legs as any, whose notices and requests travel as messages. What is kept here has no socket and no clock.

mod link;
mod message;
mod peers;
mod state;

pub use link::{FromEngine, NodeEngine, NodeLink, NodeName, NodeSettings, NodeTimes, ToEngine, node_link};
pub(crate) use message::{Answer, Asked, Body, Change, Fact, Order, SharedDevice};
pub(crate) use peers::{News, Remains};
pub(crate) use state::{Awaited, AwayLeg, Nodes, OwnDevice, Shadow, leg_of_notice};

#[cfg(test)]
mod tests;
