//! REST below `/api`. One table has every path; the document that describes them is compared with it by a test.

mod answer;
mod caller;
mod calls;
mod events;
mod guard;
mod problem;
mod recordings;
mod records;
mod seed;
mod trunks;
mod voicemail;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, any, on};

use crate::limits::BODY_BYTES_MAX;
use crate::port::Port;

use answer::json_text;
use problem::Problem;

/// The methods that there are.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Get,
    Post,
    Delete,
}

/// A path, its method, and who serves it.
struct Route {
    method: Verb,
    path: &'static str,
    serve: fn(MethodFilter) -> MethodRouter<Arc<Port>>,
}

const fn route(method: Verb, path: &'static str, serve: fn(MethodFilter) -> MethodRouter<Arc<Port>>) -> Route {
    Route { method, path, serve }
}

const ROUTES: &[Route] = &[
    route(Verb::Get, "/api/health", |method| on(method, seed::health)),
    route(Verb::Get, "/api/dn/list", |method| on(method, seed::numbers)),
    route(Verb::Get, "/api/dn/{dn}", |method| on(method, seed::number)),
    route(Verb::Get, "/api/genesys/status", |method| on(method, seed::genesys)),
    route(Verb::Get, "/api/calls/active", |method| on(method, seed::active_calls)),
    route(Verb::Get, "/api/calls/dn/{dn}", |method| on(method, seed::calls_of)),
    route(Verb::Post, "/api/call/make", |method| on(method, seed::make)),
    route(Verb::Post, "/api/call/hangup", |method| on(method, seed::hang_up)),
    route(Verb::Get, "/api/trunks/{name}/status", |method| on(method, seed::trunk)),
    route(Verb::Get, "/api/trunks", |method| on(method, trunks::list)),
    route(Verb::Get, "/api/numbers/{dn}", |method| on(method, calls::number)),
    route(Verb::Get, "/api/queues/{name}", |method| on(method, calls::queue)),
    route(Verb::Get, "/api/calls", |method| on(method, calls::list)),
    route(Verb::Get, "/api/call/{id}", |method| on(method, calls::one)),
    route(Verb::Post, "/api/call/{id}/{verb}", |method| on(method, calls::act)),
    route(Verb::Get, "/api/cdr", |method| on(method, records::list)),
    route(Verb::Get, "/api/recordings", |method| on(method, recordings::list)),
    route(Verb::Get, "/api/recordings/{id}", |method| on(method, recordings::one)),
    route(Verb::Delete, "/api/recordings/{id}", |method| {
        on(method, recordings::remove)
    }),
    route(Verb::Get, "/api/recordings/{id}/audio", |method| {
        on(method, recordings::audio)
    }),
    route(Verb::Get, "/api/voicemail/{dn}", |method| on(method, voicemail::list)),
    route(Verb::Delete, "/api/voicemail/{dn}/{id}", |method| {
        on(method, voicemail::remove)
    }),
    route(Verb::Get, "/api/voicemail/{dn}/{id}/audio", |method| {
        on(method, voicemail::audio)
    }),
    route(Verb::Get, "/api/stats", |method| on(method, records::stats)),
    route(Verb::Get, "/api/events", |method| on(method, events::follow)),
    route(Verb::Get, "/api/openapi.json", |method| on(method, document)),
];

/// What a program may want of a call: the last part of its path.
#[cfg(any(test, feature = "exercise"))]
const VERBS: &[&str] = &[
    "hangup",
    "hold",
    "mute",
    "dtmf",
    "transfer",
    "add",
    "remove",
    "lecture",
    "record",
    "listen",
    "whisper",
    "barge",
    "stop",
    "disconnect",
    "takeover",
];

pub(crate) fn router(port: &Arc<Port>) -> Router<Arc<Port>> {
    let add = |router: Router<Arc<Port>>, route: &Route| {
        let method = match route.method {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        };
        router.route(route.path, (route.serve)(method))
    };
    let routes = ROUTES.iter().fold(Router::new(), add);
    routes
        .route(
            "/api/{*rest}",
            any(async || Problem::new(StatusCode::NOT_FOUND, "unknown-path", "There is no such path")),
        )
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(port), guard::guard))
}

/// Is it a body that some path takes? For the fuzzer.
#[cfg(any(test, feature = "exercise"))]
pub(crate) fn reads(body: &[u8]) -> bool {
    let Ok(fields) = caller::Fields::read(&axum::body::Bytes::copy_from_slice(body)) else {
        return false;
    };
    let is_call = fields.number("from").is_ok() && fields.number("to").is_ok() && fields.whole("timeout").is_ok();
    let acts = VERBS.iter().any(|verb| calls::is_for(verb, &fields));
    is_call || acts || fields.call("call_id").is_ok()
}

/// The document, for whoever asks.
async fn document() -> Response {
    json_text(DOCUMENT.to_owned())
}

const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn document_has_every_route_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut documented = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                documented.insert((method.clone(), path.clone()));
                assert!(
                    !operation["responses"].as_object().unwrap().is_empty(),
                    "{method} {path}"
                );
                assert!(operation["summary"].is_string(), "{method} {path}");
                let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
                for name in path.split(['{', '}']).skip(1).step_by(2) {
                    assert!(
                        parameters.iter().any(|parameter| parameter["name"] == name),
                        "{path}: {name}"
                    );
                }
            }
        }
        let mut routed = BTreeSet::new();
        for route in ROUTES {
            if route.path.ends_with("/{verb}") {
                let paths = VERBS.iter().map(|verb| route.path.replace("{verb}", verb));
                routed.extend(paths.map(|path| (format!("{:?}", route.method).to_lowercase(), path)));
            } else {
                routed.insert((format!("{:?}", route.method).to_lowercase(), route.path.to_owned()));
            }
        }
        assert_eq!(documented, routed);
    }
}
