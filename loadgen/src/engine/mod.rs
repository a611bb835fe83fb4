//! The callers: one pinned glommio executor for each shard, on the relay's own UDP ring, QUIC
//! endpoint and session state machine.

mod behaviour;
mod call;
mod controls;
mod ids;
mod lines;
mod listen;
mod lost;
mod paths;
mod person;
mod publish;
mod reasons;
mod redial;
pub(crate) mod shard;
mod time;

pub(crate) use controls::Controls;
pub(crate) use lines::Target;
pub(crate) use time::{Clock, nanoseconds};

use time::{GRID, on_grid};
