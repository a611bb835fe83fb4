//! Who may register, who may use REST, and which web pages may do either.

mod addresses;
mod keys;
mod origin;
mod scope;
mod token;
mod users;

pub use keys::ApiKey;
pub use scope::{Scope, Scopes};
pub use token::TokenKey;
pub use users::{Entrance, HashError, User, Users};

pub(crate) use addresses::Addresses;
pub(crate) use keys::{Bucket, Denied, Gate};
pub(crate) use origin::{Origins, peer_of};
pub(crate) use users::{Admission, Credentials, Door, Guard, Proof};
