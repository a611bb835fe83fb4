//! Who may do what: path patterns, the grant that each session holds, the tokens that say what to grant, and the policy
//! that gives it.
//!
//! Pure: strings and times in, decisions out. A session gets its [`Grant`] from the [`Policy`] when it begins: that of the
//! token in the query of its path, else what is public. A command to its shard
//! ([`ShardCommand::SetGrant`](crate::shard::ShardCommand)) replaces it while the session lives. What the new one does not
//! cover ends at once.
//!
//! Begin with [`Pattern`] and [`Grant::of`]: texts such as `call/*/a/**` become [`Patterns`], those become what a session
//! may publish and subscribe. [`token`] has the keys that tokens are checked by.
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
mod grant;
mod identity;
pub mod limits;
mod moment;
mod pattern;
mod policy;
pub mod token;

pub use grant::Grant;
pub(crate) use grant::is_of_a_call;
pub use identity::ClientIdentity;
pub use moment::Moment;
pub use pattern::{Pattern, PatternError, Patterns, Root};
pub use policy::{Admission, Credentials, Policy};
