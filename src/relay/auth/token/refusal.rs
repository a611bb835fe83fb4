//! Why somebody is not let in. The text may be sent to whoever is refused: nothing of the token's own text is in it, but
//! names of claims and patterns once its signature has been found right.

use crate::auth::limits::TOKEN_BYTES_MAX;

use super::patterns::PatternsError;

/// Why a session or a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each has its text")]
pub enum Refusal {
    #[error("nothing below this path is public")]
    NotPublic,
    #[error("the query is not well percent-encoded")]
    Query,
    #[error("two tokens that differ; send one")]
    TwoTokens,
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the token does not have three parts")]
    Parts,
    #[error("a part of the token is not base64url without padding")]
    Encoding,
    #[error("the header of the token is no JSON object with `alg`, or repeats a member")]
    Header,
    #[error("the token is not of type JWT")]
    Type,
    #[error("the token demands an extension (`crit`), and none is known")]
    Critical,
    #[error("the token is signed by no known algorithm")]
    UnknownAlgorithm,
    #[error("the token names no key, and there are several")]
    NoKeyId,
    #[error("the key of the token is not known")]
    UnknownKey,
    #[error("the key of the token is not for verifying")]
    NotForVerifying,
    #[error("the token is not signed by the algorithm of its key")]
    AlgorithmMismatch,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the claims of the token are no JSON object, or repeat a member")]
    Claims,
    #[error("the token has the claim `{0}`, which is not known and may narrow it")]
    UnknownClaim(String),
    #[error("the claim `{0}` of the token is no whole number of seconds")]
    Time(&'static str),
    #[error("the token: {0}")]
    Patterns(#[from] PatternsError),
    #[error("the token grants more than the scope of its key")]
    ScopeExceeded,
    #[error("too many wrong tokens came from this address; try again later")]
    TooManyChecks,
    #[error("the key of the token has been removed")]
    KeyRemoved,
    #[error("the field Authorization is not `Bearer` and one token")]
    Authorization,
    #[error("a token and a client certificate; show one")]
    TokenAndCertificate,
    #[error("the client certificate has expired")]
    CertificateExpired,
    #[error("the auth server refused the session")]
    AuthorityRefused,
    #[error("the answer of the auth server cannot be honoured")]
    AuthorityInvalid,
    #[error("the auth server cannot be asked; try again later")]
    AuthorityUnavailable,
    #[error("the relay has too much to do; try again later")]
    Overloaded,
    #[error("the memory of the relay is full; try again later")]
    Full,
    #[error("what was granted has been taken back")]
    Revoked,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token grants nothing at or below this path")]
    Elsewhere,
}

impl Refusal {
    /// The HTTP status that says so: 403 if it is not the credential that is wrong, but where it was used.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotPublic | Self::Elsewhere => 403,
            Self::TooManyChecks => 429,
            Self::AuthorityUnavailable | Self::AuthorityInvalid => 502,
            Self::Overloaded | Self::Full => 503,
            _ => 401,
        }
    }
}
