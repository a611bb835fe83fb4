//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 section 22): what a registrar asks of its telephones, and what a
//! carrier asks of us.
//!
//! [`Challenger`] asks and checks; a challenge costs it no memory. [`Client`] answers, and never for ever. Both know MD5
//! and SHA-256, with `qop=auth` and, of old peers, without any `qop`. `auth-int` and the `-sess` algorithms are neither
//! offered nor taken.
#![forbid(unsafe_code)]

mod algorithm;
mod challenger;
mod client;
mod ha1;
mod nonce;
mod parameters;
mod response;
mod target;
mod uses;

pub use algorithm::Algorithm;
pub use challenger::{Challenger, Settings, Verdict};
pub use client::{Attempt, Client, Credentials, GiveUp, Place, Secret};
pub use ha1::Ha1;
pub use parameters::Fault;

#[cfg(test)]
mod tests;
