//! The callers: one pinned glommio executor for each shard, on the relay's own UDP ring, QUIC
//! endpoint and session state machine.

mod behaviour;
mod call;
mod calling;
mod controls;
mod gate;
mod holding;
mod ids;
mod lines;
mod listen;
mod lost;
mod paths;
mod person;
mod phone;
mod publish;
mod reasons;
mod redial;
mod registering;
pub(crate) mod shard;
mod time;

pub(crate) use controls::Controls;
pub(crate) use gate::Gate;
pub(crate) use lines::Target;
pub(crate) use phone::PhonesPlan;
pub(crate) use time::{Clock, nanoseconds};

use time::{GRID, on_grid};
