//! Who may do what: path patterns, the grant that each session holds, and the policy that gives it.
//!
//! Pure: strings and times in, decisions out. A session gets its [`Grant`] from the [`Policy`] when it begins; a command
//! to its shard ([`ShardCommand::SetGrant`](crate::shard::ShardCommand)) replaces it while the session lives. What the
//! new one does not cover ends at once.
//!
//! Begin with [`Pattern`] and [`Grant::of`]: texts such as `call/*/a/**` become [`Patterns`], those become what a session
//! may publish and subscribe. Who a peer is, is decided elsewhere.
#![forbid(unsafe_code)]

mod grant;
pub mod limits;
mod pattern;

pub use grant::{Admission, Grant, Policy};
pub use pattern::{Pattern, PatternError, Patterns};
