//! What the client of a request may see: what its token grants, or what is public.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moqswitch_relay::auth::token::Refusal;
use moqswitch_relay::auth::{Grant, Moment};

use super::ControlState;

/// An argument of routes that show broadcasts.
pub(super) struct Permit(pub(super) Arc<Grant>);

/// Says why in its body (RFC 6750, section 3, has the header).
pub(super) struct Refused(Refusal);

impl FromRequestParts<ControlState> for Permit {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, Refused> {
        let policy = state.policy.borrow();
        let in_query = policy
            .token_in(parts.uri.query().unwrap_or_default())
            .map_err(Refused)?;
        let token = match (bearer(&parts.headers), in_query.as_deref()) {
            (Some(bearer), Some(in_query)) if bearer != in_query => return Err(Refused(Refusal::TwoTokens)),
            (bearer, in_query) => bearer.or(in_query),
        };
        let moment = Moment(SystemTime::now());
        policy.grant(token, moment).map(Self).map_err(Refused)
    }
}

/// Other schemes are a proxy's affair.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::UNAUTHORIZED, format!("{}\n", self.0)).into_response();
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer error=\"invalid_token\""),
        );
        response
    }
}
