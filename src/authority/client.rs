//! Asks by HTTP: one POST for each event, on connections that are kept for the next.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use axum::body::{self, Body};
use axum::http::{Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use moqswitch_relay::auth::token::Refusal;

use crate::config::ServiceUrl;
use crate::connector::{Connector, Credentials};
use crate::limits;

pub(super) struct Client {
    http: legacy::Client<Connector, Body>,
    uri: Uri,
}

/// Why there is no answer that counts.
#[derive(Debug)]
pub(super) struct Failure {
    reason: String,
    /// The server has answered, and what it said cannot be honoured.
    is_answer: bool,
    /// It granted nothing, which is a refusal.
    is_useless: bool,
}

impl Client {
    pub(super) fn new(url: &ServiceUrl, ca: Option<&Path>) -> anyhow::Result<Self> {
        let credentials = Credentials { ca, own: None };
        let connector = Connector::new(url, &credentials).context("auth.url, auth.url_ca")?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(limits::AUTHORITY_REQUESTS_MAX)
            .build(connector);
        let uri = url.request_uri().parse().context("auth.url")?;
        Ok(Self { http, uri })
    }

    /// The text of the grant; `None` if the session is refused.
    pub(super) async fn ask(&self, body: &Bytes) -> Result<Option<Bytes>, Failure> {
        let response = self.post(body).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
            status if status.is_success() => {
                let text = body::to_bytes(Body::new(response.into_body()), limits::AUTHORITY_ANSWER_BYTES_MAX).await;
                text.map(Some).map_err(|error| Failure::outage(error.to_string()))
            }
            status => Err(Failure::outage(format!("it answered {status}"))),
        }
    }

    /// Whatever is answered does not matter.
    pub(super) async fn tell(&self, body: &Bytes) -> Result<(), Failure> {
        let status = self.post(body).await?.status();
        match status.is_success() {
            true => Ok(()),
            false => Err(Failure::outage(format!("it answered {status}"))),
        }
    }

    async fn post(&self, body: &Bytes) -> Result<axum::http::Response<hyper::body::Incoming>, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.clone()));
        let request = request.map_err(|error| Failure::outage(error.to_string()))?;
        self.http.request(request).await.map_err(|error| {
            // The cause says more than that a connection failed.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Failure::outage(cause.unwrap_or_else(|| error.to_string()))
        })
    }
}

impl Failure {
    fn outage(reason: String) -> Self {
        Self {
            reason,
            is_answer: false,
            is_useless: false,
        }
    }

    pub(super) fn answer(reason: String) -> Self {
        Self {
            is_answer: true,
            ..Self::outage(reason)
        }
    }

    pub(super) fn useless() -> Self {
        Self {
            is_useless: true,
            ..Self::answer("it granted nothing".to_owned())
        }
    }

    pub(super) fn late() -> Self {
        Self::outage(format!("no answer within {:?}", limits::AUTHORITY_WAIT_MAX))
    }

    pub(super) fn closed() -> Self {
        Self::outage("the relay is going away".to_owned())
    }

    /// What a session is told.
    pub(super) fn refusal(&self) -> Refusal {
        match (self.is_useless, self.is_answer) {
            (true, _) => Refusal::AuthorityRefused,
            (false, true) => Refusal::AuthorityInvalid,
            (false, false) => Refusal::AuthorityUnavailable,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

/// A connection that is not used is closed then.
const IDLE_MAX: Duration = Duration::from_secs(30);
