//! Who may register, who may use REST, and which web pages may do either.

mod keys;
mod origin;
mod users;

pub use keys::{ApiKey, Scope, Scopes};
pub use users::{User, Users};

pub(crate) use keys::{Bucket, Gate};
pub(crate) use origin::Origins;
pub(crate) use users::Door;
