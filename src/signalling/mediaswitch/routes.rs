//! Every path: who may ask, what is asked, and who answers it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::answer::Answer;
use super::body::Fields;
use super::{channels, dialogs, directory};
use crate::access::{ApiKey, peer_of};
use crate::counters::Place;
use crate::exchange::Exchange;
use crate::limits::{BODY_BYTES_MAX, BODY_WAIT_MAX, DIRECTORY_BODY_BYTES_MAX, DIRECTORY_VALUES_MAX, JSON_VALUES_MAX};
use crate::port::Port;

/// What a request needs.
#[derive(Clone)]
struct Desk {
    port: Arc<Port>,
    keys: Arc<[ApiKey]>,
}

/// Routes for a listener of their own.
pub(crate) fn router(port: Arc<Port>, keys: Arc<[ApiKey]>) -> Router {
    Router::new().fallback(serve).with_state(Desk { port, keys })
}

async fn serve(State(desk): State<Desk>, request: Request) -> Response {
    let answer = match desk.admit(&request) {
        Ok(()) => desk.answer(request).await,
        Err(denied) => denied,
    };
    if answer.status >= 400 {
        desk.port.counters.refused(Place::Request, answer.status);
    }
    answer.into_response()
}

impl Desk {
    /// Who has a key may ask; without keys whoever is on this host. No page of another origin may, whatever it sends.
    fn admit(&self, request: &Request) -> Result<(), Answer> {
        let headers = request.headers();
        if !self.port.allows(headers) {
            return Err(Answer::new(403, "Forbidden"));
        }
        if !self.keys.is_empty() {
            let is_known = self.keys.iter().any(|key| key.is_sent(headers));
            return if is_known {
                Ok(())
            } else {
                Err(Answer::new(401, "Unauthorized"))
            };
        }
        let peer = peer_of(request.extensions(), headers);
        if peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
            Ok(())
        } else {
            Err(Answer::new(403, "Forbidden"))
        }
    }

    async fn answer(&self, request: Request) -> Answer {
        let Some(path) = segments(request.uri()) else {
            return Answer::BAD_PATH;
        };
        let is_directory = path.first().is_some_and(|first| first == "dir");
        let (bytes_max, values_max) = if is_directory {
            (DIRECTORY_BODY_BYTES_MAX, DIRECTORY_VALUES_MAX)
        } else {
            (BODY_BYTES_MAX, JSON_VALUES_MAX)
        };
        let method = request.method().clone();
        let body = match read(request.into_body(), bytes_max).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let Some(fields) = Fields::read(&body, values_max) else {
            return Answer::UNREADABLE;
        };
        let asked = self
            .port
            .ask(move |exchange| dispatch(exchange, &method, &path, fields))
            .await;
        asked.unwrap_or(Answer::BUSY)
    }
}

fn dispatch(exchange: &mut Exchange, method: &Method, path: &[String], fields: Fields) -> Answer {
    if exchange.is_stopping() {
        return Answer::BUSY;
    }
    let (first, rest) = match path.split_first() {
        Some((first, rest)) => (first.as_str(), rest),
        None => ("", path),
    };
    let is_change = *method == Method::POST || *method == Method::PUT;
    match first {
        "dir" => match method.as_str() {
            "GET" => directory::serve(exchange, directory::Wanted::Show, rest),
            "PUT" | "POST" => directory::serve(exchange, directory::Wanted::Replace(fields), rest),
            "PATCH" => directory::serve(exchange, directory::Wanted::Merge(fields), rest),
            "DELETE" => directory::serve(exchange, directory::Wanted::Remove, rest),
            _ => Answer::NO_METHOD,
        },
        "reg" if *method == Method::GET => directory::registrations(exchange, rest),
        "dialog" if *method == Method::GET && rest.is_empty() => dialogs::counts(exchange),
        "dialog" if is_change => match rest {
            [action] => dialogs::act(exchange, action, &fields),
            _ => Answer::NOT_FOUND,
        },
        "invite" if is_change && rest.is_empty() => dialogs::act(exchange, "invite", &fields),
        "" | "channel" => serve_channel(exchange, method, rest, fields),
        "reg" | "dialog" | "invite" => Answer::NO_METHOD,
        _ => Answer::NOT_FOUND,
    }
}

fn serve_channel(exchange: &mut Exchange, method: &Method, rest: &[String], fields: Fields) -> Answer {
    let Some(board) = exchange.board_mut() else {
        return Answer::NOT_FOUND;
    };
    if let (Some(Ok(control)), "POST", []) = (fields.control(), method.as_str(), rest)
        && !board.reaches_for_channels(&control)
    {
        return Answer::new(503, "Too many control servers");
    }
    let pool = &mut *board.channels;
    match (method.as_str(), rest) {
        ("POST", []) => channels::open(pool, &fields),
        ("DELETE", [channel]) => channels::close(pool, channel),
        ("PUT" | "POST", [channel, rest @ ..]) => channels::command(pool, channel, rest, fields.into_value()),
        _ => Answer::NO_METHOD,
    }
}

/// The parts of a path; empty ones are none. `None`: one cannot be read.
fn segments(uri: &Uri) -> Option<Vec<String>> {
    let parts = uri.path().split('/').filter(|part| !part.is_empty());
    let decoded = parts.map(|part| percent_decode_str(part).decode_utf8().ok());
    decoded.map(|part| Some(part?.into_owned())).collect()
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Answer> {
    match timeout(BODY_WAIT_MAX, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Answer::new(413, "Too large")),
        Err(_) => Err(Answer::new(408, "Too slow")),
    }
}
