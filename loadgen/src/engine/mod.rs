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
mod moving;
mod paths;
mod person;
mod phone;
mod publish;
mod reasons;
mod redial;
mod registering;
mod settled;
pub(crate) mod shard;
mod time;

pub(crate) use controls::Controls;
pub(crate) use gate::Gate;
pub(crate) use ids::CallId;
pub(crate) use lines::{AckHabit, Happening, Lines, NO_SUCH_TRACK, Target};
pub(crate) use phone::PhonesPlan;
pub(crate) use settled::Settled;
pub(crate) use shard::share;
pub(crate) use time::{Clock, GRID, Readings, nanoseconds, on_grid};
