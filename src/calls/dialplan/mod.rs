//! Where dialled numbers go: rules, ring groups, queues, times and caller profiles, read from TOML. A plan is one value;
//! another takes its place as a whole.
//!
//! ```
//! use moqswitch_calls::{Dialplan, Now, Number};
//!
//! let plan = Dialplan::parse(r#"
//!     [[rules]]
//!     name = "outside"
//!     to = "_0."
//!     strip = 1
//!     prepend = "+49"
//!     target = "trunk/city"
//! "#)?;
//! let explanation = plan.explain(&Number::new("030123")?, &Number::new("5001")?, Now::default().local());
//! assert!(explanation.to_string().ends_with("rule outside (line 2): +4930123 by trunk city"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod explain;
mod parse;
mod pattern;
mod plan;
mod route;
mod schedule;
mod table;
mod target;

pub use error::{DialplanError, Fault};
pub use explain::Explanation;
pub use pattern::PatternError;
pub use plan::{Dialplan, Fallbacks, Group, Hook, Profile, Queue, Strategy};
pub use route::{Destination, Query, Route, Step, Trail};
pub use schedule::ScheduleError;
pub use target::{Target, TargetError};

#[cfg(test)]
mod tests;
