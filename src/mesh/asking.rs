//! Asks a URL for a list of peers, within bounds of time and size.

use anyhow::Context;
use axum::body::{self, Body};
use axum::http::{HeaderValue, Request, StatusCode, Uri, header};
use bytes::Bytes;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::{MeshConfig, ServiceUrl};
use crate::connector::{Connector, Credentials};
use crate::limits;

pub(super) struct Asking {
    http: legacy::Client<Connector, Body>,
    uri: Uri,
    shown: String,
    /// Of the last good answer: it need not be sent again.
    kept: Option<HeaderValue>,
}

/// A list that is not read yet.
pub(super) struct Answer {
    pub(super) text: Bytes,
    tag: Option<HeaderValue>,
}

impl Asking {
    /// The certificate of links is shown, if the server asks for one: it may want to know who asks.
    pub(super) fn new(url: &ServiceUrl, config: &MeshConfig) -> anyhow::Result<Self> {
        let own = config.identity.as_ref();
        let credentials = Credentials {
            ca: config.source_ca.as_deref(),
            own: own.map(|(certificate, key)| (certificate.as_path(), key.as_path())),
        };
        let connector = Connector::new(url, &credentials)?;
        let mut uri = url.request_uri();
        if let Some(node) = &config.node {
            let mark = if uri.contains('?') { '&' } else { '?' };
            let name = utf8_percent_encode(&node.name, NON_ALPHANUMERIC);
            uri = format!("{uri}{mark}node={name}");
        }
        Ok(Self {
            // From one time to the next the server may be another.
            http: legacy::Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            uri: uri.parse().context("it is no URL of a request")?,
            shown: url.shown(),
            kept: None,
        })
    }

    /// `None`: the last good one still holds.
    pub(super) async fn ask(&self) -> anyhow::Result<Option<Answer>> {
        let asked = tokio::time::timeout(limits::PEER_LIST_WAIT_MAX, self.get()).await;
        let asked = asked.map_err(|_| anyhow::anyhow!("no answer within {:?}", limits::PEER_LIST_WAIT_MAX));
        asked.flatten().with_context(|| self.shown.clone())
    }

    /// The list in this answer was good.
    pub(super) fn keep(&mut self, answer: Answer) {
        self.kept = answer.tag;
    }

    async fn get(&self) -> anyhow::Result<Option<Answer>> {
        let mut request = Request::get(self.uri.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("moqswitch/", env!("CARGO_PKG_VERSION")));
        if let Some(tag) = &self.kept {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let response = self.http.request(request.body(Body::empty())?).await;
        let response = response.map_err(|error| {
            // The cause says more than that a connection failed.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            anyhow::anyhow!(cause.unwrap_or_else(|| error.to_string()))
        })?;
        match response.status() {
            StatusCode::OK => (),
            StatusCode::NOT_MODIFIED if self.kept.is_some() => return Ok(None),
            status => anyhow::bail!("it answered {status}"),
        }
        let tag = response.headers().get(header::ETAG).cloned();
        let text = body::to_bytes(Body::new(response.into_body()), limits::PEER_LIST_BYTES_MAX).await;
        let text = text.map_err(|error| match error.to_string() {
            reason if reason.contains("length limit") => {
                anyhow::anyhow!("it is longer than {} bytes", limits::PEER_LIST_BYTES_MAX)
            }
            reason => anyhow::anyhow!(reason),
        })?;
        Ok(Some(Answer { text, tag }))
    }
}
