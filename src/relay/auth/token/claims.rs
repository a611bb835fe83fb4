//! What a token says. Unknown claims are refused: one may be there to narrow what is granted.

use serde_json::Value;

use crate::auth::grant::Grant;
use crate::auth::moment::{Moment, time_of};
use crate::auth::pattern::Patterns;

use super::members::Members;
use super::patterns::{Granted, Prefixes};
use super::refusal::Refusal;

/// The claims of a token. Patterns are of full paths: the root is part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What the patterns were written below.
    pub root: String,
    /// Broadcasts that may be announced.
    pub publish: Patterns,
    /// Broadcasts that may be subscribed, fetched and heard of.
    pub subscribe: Patterns,
    /// `exp`, seconds since 1970: from then on the token is refused, and what it granted has lapsed.
    pub expires: Option<i64>,
    /// `nbf`, seconds since 1970: before it the token is refused.
    pub not_before: Option<i64>,
    /// `iat`, seconds since 1970. Nothing follows from it.
    pub issued: Option<i64>,
    /// `cluster`: the session is of another relay of the mesh, see [`Grant::is_peer`].
    pub is_peer: bool,
    /// `sub`: who the token was given to. Nothing follows from it but for a [device's](crate::auth::Policy::with_devices).
    pub subject: Option<String>,
}

impl Claims {
    /// Reads the second part of a token.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let mut members = Members::parse(text).ok_or(Refusal::Claims)?;
        let expires = take_time(&mut members, "exp")?;
        let not_before = take_time(&mut members, "nbf")?;
        let issued = take_time(&mut members, "iat")?;
        // The issuer's own affair; they narrow nothing.
        for name in ["iss", "jti"] {
            members.take(name);
        }
        let subject = match members.take("sub") {
            Some(Value::String(subject)) => Some(subject),
            _ => None,
        };
        let is_peer = match members.take("cluster") {
            None | Some(Value::Null) => false,
            Some(value) => value.as_bool().ok_or(Refusal::Claims)?,
        };
        let granted = Granted::take(&mut members, Prefixes::OneOrMany);
        if let Some(name) = members.left() {
            return Err(Refusal::UnknownClaim(name.chars().take(CLAIM_SHOWN_MAX).collect()));
        }
        let granted = granted?;
        Ok(Self {
            root: granted.root,
            publish: granted.publish,
            subscribe: granted.subscribe,
            expires,
            not_before,
            issued,
            is_peer,
            subject,
        })
    }

    /// What the claims grant at this moment. Exact: clocks that differ get no time to spare.
    pub fn grant(&self, moment: Moment) -> Result<Grant, Refusal> {
        if self.expires.is_some_and(|at| !moment.is_before(at)) {
            return Err(Refusal::Expired);
        }
        if self.not_before.is_some_and(|at| !moment.has_reached(at)) {
            return Err(Refusal::NotYetValid);
        }
        Ok(Grant {
            publish: self.publish.clone(),
            subscribe: self.subscribe.clone(),
            without_calls: false,
            is_peer: self.is_peer,
            until: None,
            expires: self.expires.and_then(time_of),
        })
    }
}

/// As other readers have it, `null` is no time at all.
fn take_time(members: &mut Members, name: &'static str) -> Result<Option<i64>, Refusal> {
    match members.take(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or(Refusal::Time(name)),
    }
}

const CLAIM_SHOWN_MAX: usize = 64;
