//! Answers: a status with the phrase of the contract, and JSON or nothing. Errors have no body.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::ext::ReasonPhrase;
use serde_json::Value;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    phrase: &'static str,
    body: String,
}

impl Answer {
    pub(super) const NOT_FOUND: Self = Self::new(404, "Not found");
    pub(super) const BAD_PATH: Self = Self::new(400, "Bad path");
    pub(super) const UNREADABLE: Self = Self::new(500, "Unknown error in request");
    pub(super) const BUSY: Self = Self::new(503, "Busy");
    pub(super) const NO_METHOD: Self = Self::new(405, "Method not allowed");

    pub(super) const fn new(status: u16, phrase: &'static str) -> Self {
        Self {
            status,
            phrase,
            body: String::new(),
        }
    }

    pub(super) fn json(body: &Value) -> Self {
        Self::text(body.to_string())
    }

    pub(super) fn text(body: String) -> Self {
        Self {
            status: 200,
            phrase: "Ok",
            body,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static("text/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if !self.phrase.is_empty() {
            let phrase = ReasonPhrase::from_static(self.phrase.as_bytes());
            response.extensions_mut().insert(phrase);
        }
        response
    }
}
