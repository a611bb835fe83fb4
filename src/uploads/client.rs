//! HTTP to the store, by the same TLS as everything else.

use std::io;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};

use crate::config::UploadConfig;
use crate::connector::{Connector, Credentials};
use crate::limits::{UPLOAD_ANSWER_BYTES_MAX, UPLOAD_REQUEST_TIME_MAX};

/// Of one store.
#[derive(Clone)]
pub(super) struct Connections(legacy::Client<Connector, HttpRequestBody>);

impl Connections {
    pub(super) fn new(config: &UploadConfig) -> anyhow::Result<Self> {
        let credentials = Credentials {
            ca: config.ca.as_deref(),
            own: None,
        };
        let connector = Connector::new(&config.url(), &credentials).context("recording.upload")?;
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self(client))
    }
}

/// What it is made of says nothing to anybody.
impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Connections")
    }
}

impl HttpConnector for Connections {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connections {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = async {
            let response = self.0.request(request).await;
            let response = response.map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
            let (parts, body) = response.into_parts();
            let bytes = to_bytes(Body::new(body), UPLOAD_ANSWER_BYTES_MAX).await;
            let bytes = bytes.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
            Ok(HttpResponse::from_parts(parts, bytes.into()))
        };
        match tokio::time::timeout(UPLOAD_REQUEST_TIME_MAX, answered).await {
            Ok(answered) => answered,
            Err(_) => {
                let late = io::Error::from(io::ErrorKind::TimedOut);
                Err(HttpError::new(HttpErrorKind::Timeout, late))
            }
        }
    }
}

/// A connection that nobody uses is closed after that.
const IDLE_MAX: Duration = Duration::from_secs(20);
