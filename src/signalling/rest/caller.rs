//! Who asks, and how it is asked of the calls thread.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use moqswitch_calls::{CallId, Event, Number, Reply, RequestId};
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::problem::Problem;
use crate::access::{Scope, peer_of};
use crate::exchange::Exchange;
use crate::mailboxes::Mailboxes;
use crate::messages;
use crate::port::Port;
use crate::recordings::Recordings;

/// Who asks.
#[derive(Clone)]
pub(super) struct Caller {
    port: Arc<Port>,
    headers: HeaderMap,
    peer: Option<IpAddr>,
}

impl FromRequestParts<Arc<Port>> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<Port>) -> Result<Self, Infallible> {
        Ok(Self {
            port: Arc::clone(port),
            headers: parts.headers.clone(),
            peer: peer_of(&parts.extensions, &parts.headers).map(|peer| peer.ip()),
        })
    }
}

impl Caller {
    /// Asks the exchange, if the caller may.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        scope: Scope,
        question: impl FnOnce(&mut Exchange) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (headers, peer) = (self.headers.clone(), self.peer);
        let answer = self.port.ask(move |exchange| {
            exchange.gate.admit(&headers, peer, scope, Instant::now())?;
            Ok(question(exchange))
        });
        answer.await?.map_err(|denied: crate::access::Denied| denied.into())
    }

    /// Asks the exchange, whoever asks.
    pub(super) async fn ask_freely<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Exchange) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.port.ask(question).await?)
    }

    /// Asks the plane for something to be done.
    pub(super) async fn request(
        &self,
        scope: Scope,
        event: impl FnOnce(&Exchange, RequestId) -> Result<Event, Problem> + Send + 'static,
    ) -> Result<Reply, Problem> {
        let asked = self.ask(scope, move |exchange| {
            // Looked at first, so that what is no event costs no request.
            let event = event(exchange, RequestId(0))?;
            Ok::<_, Problem>(exchange.ask(|request| numbered(event, request)))
        });
        let replied = asked.await??;
        match self.port.wait(replied).await? {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }

    /// What was recorded. None: nothing is.
    pub(super) fn recordings(&self) -> Option<&Arc<dyn Recordings>> {
        self.port.recordings.as_ref()
    }

    /// Boxes of voice mail. None: there are none.
    pub(super) fn mailboxes(&self) -> Option<&Arc<dyn Mailboxes>> {
        self.port.mailboxes.as_ref()
    }

    /// A place to wait for the disk.
    pub(super) fn recording_place(&self) -> Option<OwnedSemaphorePermit> {
        self.port.recording_place()
    }

    /// The host that the caller knows the switch by, for addresses.
    pub(super) fn host(&self) -> String {
        let host = self
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        let end = if host.ends_with(']') {
            host.len()
        } else {
            host.rfind(':').unwrap_or(host.len())
        };
        let host = host.get(..end).unwrap_or(host);
        let is_plain = |character: char| character.is_ascii_alphanumeric() || ".-[]:".contains(character);
        if host.chars().all(is_plain) {
            host.to_owned()
        } else {
            "localhost".to_owned()
        }
    }

    pub(super) fn accepts(&self, kind: &str) -> bool {
        let accept = self.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains(kind))
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    }
}

/// The request's own number is drawn by the exchange.
fn numbered(event: Event, id: RequestId) -> Event {
    match event {
        Event::Call { actor, event, .. } => Event::Call {
            request: id,
            actor,
            event,
        },
        Event::Supervise { actor, event, .. } => Event::Supervise {
            request: id,
            actor,
            event,
        },
        other => other,
    }
}

/// A body: a JSON object, within the bounds. None at all is an empty one.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn read(body: &Bytes) -> Result<Self, Problem> {
        let bad = |why: &str| Problem::new(StatusCode::BAD_REQUEST, "bad-json", format!("Invalid JSON: {why}"));
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        let text = std::str::from_utf8(body).map_err(|_| bad("it is no UTF-8"))?;
        if !messages::is_bounded(text) {
            return Err(bad("too deep, too many values or too long a number"));
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(bad("an object is needed")),
            Err(_) => Err(bad("it is none")),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::invalid(name, "a string is needed")),
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Problem> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Problem::missing(name))
    }

    pub(super) fn number(&self, name: &str) -> Result<Number, Problem> {
        Number::new(self.required(name)?).map_err(|error| Problem::invalid(name, &error.to_string()))
    }

    pub(super) fn flag(&self, name: &str, otherwise: bool) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(otherwise),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Problem::invalid(name, "true or false is needed")),
        }
    }

    pub(super) fn whole(&self, name: &str) -> Result<Option<u64>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| Problem::invalid(name, "a whole number is needed")),
        }
    }

    pub(super) fn call(&self, name: &str) -> Result<CallId, Problem> {
        call_id(self.required(name)?)
    }
}

/// An id of a call: with or without the `call-` that some clients put before it.
pub(super) fn call_id(text: &str) -> Result<CallId, Problem> {
    text.strip_prefix("call-")
        .unwrap_or(text)
        .parse()
        .map_err(|_| Problem::no_call())
}
