//! What the client of a request may see: what its token grants, or what is public.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moqswitch_relay::auth::token::Refusal;
use moqswitch_relay::auth::{ClientIdentity, Grant, Moment, Policy};
use moqswitch_relay::ratelimit::PrefixBuckets;

use crate::authority::{Authority, HttpRequest};

use super::ControlState;
use super::remote::{Certified, Client};

/// An argument of routes that show broadcasts.
pub(super) struct Permit(pub(super) Arc<Grant>);

/// Says why in its body (RFC 6750, section 3, has the header).
pub(super) struct Refused(Refusal);

/// How many signatures of tokens are checked for each address prefix. Shards have the same for sessions.
#[derive(Debug)]
pub struct TokenChecks {
    #[expect(clippy::disallowed_types, reason = "only tasks of the control thread take it")]
    buckets: std::sync::Mutex<PrefixBuckets>,
    refused: AtomicU64,
}

impl TokenChecks {
    /// So many of wrong tokens in a second, see [`PrefixBuckets`].
    pub fn new(rate_per_second: u32) -> Arc<Self> {
        Arc::new(Self {
            #[expect(clippy::disallowed_types, reason = "as above")]
            buckets: std::sync::Mutex::new(PrefixBuckets::new(rate_per_second, Instant::now())),
            refused: AtomicU64::new(0),
        })
    }

    /// Tokens that were refused unchecked.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn grant(
        &self,
        policy: &Policy,
        token: Option<&str>,
        identity: Option<&ClientIdentity>,
        client: IpAddr,
    ) -> Result<Arc<Grant>, Refusal> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_checked = false;
        let granted = policy.grant(token, identity, Moment(SystemTime::now()), || {
            is_checked = buckets.take(client, Instant::now());
            is_checked
        });
        match &granted {
            Ok(_) if is_checked => buckets.give_back(client),
            Err(Refusal::TooManyChecks) => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        granted
    }
}

impl FromRequestParts<ControlState> for Permit {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, Refused> {
        let client = parts.extensions.get::<Client>().map(|client| client.0);
        if let Some(authority) = state.authority.clone() {
            return ask(authority, parts, state, client).await.map(Self).map_err(Refused);
        }
        let client = client.map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.ip());
        let policy = state.policy.borrow();
        let authorization = authorization(&parts.headers);
        let granted = policy.bearer(authorization.as_deref()).and_then(|bearer| {
            let token = policy.choose_token(bearer, parts.uri.query().unwrap_or_default())?;
            let identity = parts.extensions.get::<Certified>().map(|certified| &certified.0);
            state.token_checks.grant(&policy, token.as_deref(), identity, client)
        });
        granted.map(Self).map_err(Refused)
    }
}

/// What the auth server grants for this request: at the prefix of `/announced`, at the broadcast of `/fetch`.
async fn ask(
    authority: Arc<Authority>,
    parts: &mut Parts,
    state: &ControlState,
    remote: Option<SocketAddr>,
) -> Result<Arc<Grant>, Refusal> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    let path = path.map_or_else(|_| String::new(), |Path(path)| path);
    let path = match parts.uri.path().starts_with("/fetch/") {
        true => path.rsplit_once('/').map_or("", |(broadcast, _)| broadcast),
        false => &path,
    };
    let authorization = authorization(&parts.headers);
    let bearer = state.policy.borrow().bearer(authorization.as_deref())?;
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let request = HttpRequest {
        path,
        query: parts.uri.query(),
        bearer,
        host,
        identity: parts.extensions.get::<Certified>().map(|certified| &certified.0),
        remote,
    };
    authority.permit(request).await
}

/// The field Authorization. Several are a list (RFC 9110, section 5.3), which is no token.
pub(super) fn authorization(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let first = values.next()?;
    Some(values.fold(Cow::Borrowed(first), |joined, value| {
        [&joined, value].join(&b", "[..]).into()
    }))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let mut response = (status, format!("{}\n", self.0)).into_response();
        let (name, value) = match self.0 {
            Refusal::TooManyChecks => (header::RETRY_AFTER, "1"),
            _ => (header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}
