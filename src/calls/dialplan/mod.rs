//! Where dialled numbers go: rules, ring groups, queues, times and caller profiles, read from TOML. A plan is one value;
//! another takes its place as a whole.

mod pattern;
mod plan;
mod route;
mod schedule;
mod target;

pub use plan::{Dialplan, Fallbacks, Group, Hook, Profile, Queue, Strategy};
pub use route::{Destination, Query, Route, Step, Trail};
pub use target::{Target, TargetError};
