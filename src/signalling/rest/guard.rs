//! What every request passes: pages of other origins are refused, who sends or is answered too slowly is not waited for,
//! and each refusal is counted and told in the words of its path, whoever found it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::problem::Problem;
use crate::counters::Place;
use crate::port::Port;

pub(super) async fn guard(State(port): State<Arc<Port>>, request: Request, next: Next) -> Response {
    let is_old = OLD.iter().any(|start| request.uri().path().starts_with(start));
    let mut response = if port.allows(request.headers()) {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = serve(&port, request, next, is_old).await;
        if let Some(origin) = origin {
            response
                .headers_mut()
                .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        response
    } else {
        Problem::new(StatusCode::FORBIDDEN, "origin", "Pages of this origin may not").into_response()
    };
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        port.counters.refused(Place::Request, status.as_u16());
    }
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    // Names of strangers are in it: it is what it says it is.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What is true of calls is true for a moment.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn serve(port: &Port, request: Request, next: Next, is_old: bool) -> Response {
    if request.method() == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static("Content-Type, Authorization, Last-Event-ID, Range");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        return response;
    }
    // Events that follow the answer take as long as they take.
    let Ok(response) = timeout(port.patience, next.run(request)).await else {
        let late = Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long");
        let mut response = late.in_words_of(is_old).into_response();
        // The rest of it is not read.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    };
    in_own_words(response, is_old)
}

/// What the framework refused, it refused in a text of its own.
fn in_own_words(response: Response, is_old: bool) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/"));
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let (kind, detail) = match status {
        StatusCode::BAD_REQUEST => ("unreadable", "The path or the query cannot be read"),
        StatusCode::METHOD_NOT_ALLOWED => ("method-not-allowed", "Method not allowed"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-long", "The body is too long"),
        other => ("refused", other.canonical_reason().unwrap_or("Refused")),
    };
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut told = Problem::new(status, kind, detail).in_words_of(is_old).into_response();
    if let Some(allow) = allow {
        told.headers_mut().insert(header::ALLOW, allow);
    }
    told
}

/// How paths begin that have `{"error"}`.
const OLD: [&str; 8] = [
    "/api/health",
    "/api/dn/",
    "/api/genesys/",
    "/api/calls/active",
    "/api/calls/dn/",
    "/api/call/make",
    "/api/call/hangup",
    "/api/trunks/",
];
