//! Tokens: JSON Web Tokens that say what their bearer may publish and subscribe, and the keys they are checked by.
//!
//! They are those of moq-token and moq-auth, older and newer ones. Pure: texts and times in, decisions out; signatures by
//! `ring`. [`Keys::verify`] says what a token grants, [`Claims::grant`] whether it does so now.
//!
//! Where to look: `jwt` the parts of a token and its header; `key` and `set` keys; `claims` and `patterns` what is granted;
//! `refusal` why not; `sign` makes tokens and keys.

mod algorithm;
mod base64;
mod claims;
mod jwt;
mod key;
mod members;
mod patterns;
mod refusal;
mod set;
mod sign;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::Claims;
pub use key::{Key, KeyError, KeyPrint};
pub use patterns::{PatternsError, grant_below};
pub use refusal::Refusal;
pub use set::{Keys, KeysError, Verified};
pub use sign::SignError;
