//! Errors: problem details (RFC 9457), or `{"error"}` on the paths that had it before.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moqswitch_calls::{Refusal, limits};
use serde_json::json;

use crate::access::Denied;
use crate::media::Busy;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The kind of problem, for programs: the last part of its `type`.
    kind: &'static str,
    detail: String,
    retry_after: Option<u64>,
    is_old: bool,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            retry_after: None,
            is_old: false,
        }
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing-parameter",
            format!("Missing required parameter: {name}"),
        )
    }

    pub(super) fn invalid(name: &str, why: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-parameter",
            format!("Invalid parameter: {name}: {why}"),
        )
    }

    pub(super) fn no_call() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown-call", "Call not found")
    }

    pub(super) fn no_number(dn: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown-number", format!("DN not found: {dn}"))
    }

    /// In the form of the old paths.
    pub(super) fn old(self) -> Self {
        self.in_words_of(true)
    }

    /// In the form of the old paths, or in that of the others.
    pub(super) fn in_words_of(mut self, is_old: bool) -> Self {
        self.is_old = is_old;
        self
    }
}

impl From<Busy> for Problem {
    fn from(Busy: Busy) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The switch is busy");
        problem.retry_after = Some(1);
        problem
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let (status, kind, detail) = match denied {
            Denied::Unknown => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A key is needed: Authorization: Bearer".to_owned(),
            ),
            Denied::Remote => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "Without keys only this host may use the interface".to_owned(),
            ),
            Denied::Scope(scope) => (
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("The key has not the scope {}", scope.name()),
            ),
            Denied::Rate(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests".to_owned(),
            ),
        };
        let mut problem = Self::new(status, kind, detail);
        if let Denied::Rate(seconds) = denied {
            problem.retry_after = Some(seconds);
        }
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if refusal == Refusal::UnknownCall {
            return Self::no_call();
        }
        let status = StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut problem = Self::new(status, refusal.name(), refusal.to_string());
        if matches!(refusal, Refusal::Full | Refusal::TooManyCalls) {
            problem.retry_after = Some(1);
        }
        if refusal == Refusal::TooOften {
            problem.retry_after = Some(limits::BEGUN_SLICE.as_secs());
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (body, kind) = if self.is_old {
            (json!({ "error": self.detail }), "application/json")
        } else {
            let body = json!({
                "type": format!("https://moqswitch.invalid/problems/{}", self.kind),
                "title": self.status.canonical_reason().unwrap_or("Error"),
                "status": self.status.as_u16(),
                "detail": self.detail,
            });
            (body, "application/problem+json")
        };
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
