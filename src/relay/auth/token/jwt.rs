//! A JSON Web Token before its signature has been looked at (RFC 7515, section 7.1; RFC 7519).

use serde_json::Value;

use crate::auth::limits::TOKEN_BYTES_MAX;

use super::algorithm::Algorithm;
use super::base64;
use super::members::Members;
use super::refusal::Refusal;

/// The parts of a token, and what its header says. Nothing of it is to be believed yet.
pub(super) struct Jwt<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// Header and claims as they are signed.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
    claims: &'a str,
}

impl<'a> Jwt<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Parts)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Parts)?;
        if claims.contains('.') {
            return Err(Refusal::Parts);
        }
        let mut header = Members::parse(&decode(header)?).ok_or(Refusal::Header)?;
        // RFC 7515, section 4.1.11: what is not understood must be refused.
        if header.take("crit").is_some() {
            return Err(Refusal::Critical);
        }
        let Some(Value::String(algorithm)) = header.take("alg") else {
            return Err(Refusal::Header);
        };
        match header.take("typ") {
            None => {}
            Some(Value::String(kind)) if kind.eq_ignore_ascii_case("JWT") => {}
            Some(_) => return Err(Refusal::Type),
        }
        let key_id = match header.take("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(Refusal::Header),
        };
        // Other members say where a key might be had from. Keys come from the operator.
        Ok(Self {
            algorithm: algorithm.parse().map_err(|_| Refusal::UnknownAlgorithm)?,
            key_id,
            signed,
            signature: decode(signature)?,
            claims,
        })
    }

    /// To be asked for when the signature has been found right.
    pub(super) fn claims(&self) -> Result<Vec<u8>, Refusal> {
        decode(self.claims)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    base64::decode(part).ok_or(Refusal::Encoding)
}
