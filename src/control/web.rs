//! Requests that came by HTTP/3: the routes answer them as they do those of TCP.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use axum::{Router, body};
use bytes::Bytes;
use moqswitch_relay::ratelimit::RateLimit;
use moqswitch_relay::shard::{WebRequest, WebResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time;
use tower::ServiceExt;

use crate::limits;

use super::remote::{Certified, Client};
use super::{ShardCommand, ShardPort};

/// Answers as many at once as there may be connections over TCP; further ones wait in the queue.
pub(super) async fn answer(mut requests: mpsc::Receiver<WebRequest>, router: Router, shards: Vec<ShardPort>) {
    let mut complaints = RateLimit::new(COMPLAINT_PERIOD, 1);
    let mut answers = JoinSet::new();
    loop {
        let request = tokio::select! {
            Some(answered) = answers.join_next() => {
                if answered.is_ok_and(|is_delivered: bool| !is_delivered)
                    && let Some(suppressed) = complaints.allow(Instant::now())
                {
                    tracing::warn!(suppressed, "an answer to an HTTP/3 request found no room in its shard's queue");
                }
                continue;
            }
            request = requests.recv(), if answers.len() < limits::HTTP_CONNECTIONS_MAX => request,
        };
        let Some(request) = request else { return };
        let Some(port) = shards.get(request.shard).cloned() else {
            continue;
        };
        let router = router.clone();
        answers.spawn(async move {
            let at = request.at;
            let response = ask(router, request).await;
            deliver(&port, ShardCommand::Respond { at, response }).await
        });
    }
}

async fn ask(router: Router, request: WebRequest) -> WebResponse {
    let mut builder = Request::builder()
        .method(request.method.as_str())
        .uri(request.path.as_str())
        .extension(Client(request.remote));
    if let Some(authorization) = &request.authorization {
        builder = builder.header(header::AUTHORIZATION, authorization.as_slice());
    }
    if let Some(identity) = request.identity {
        builder = builder.extension(Certified(identity));
    }
    let Ok(request) = builder.body(Body::empty()) else {
        return bare(StatusCode::BAD_REQUEST);
    };
    let answered = async {
        let Ok(response) = router.oneshot(request).await;
        collect(response).await
    };
    time::timeout(limits::HTTP_CONNECTION_AGE_MAX, answered)
        .await
        .unwrap_or_else(|_| bare(StatusCode::GATEWAY_TIMEOUT))
}

async fn collect(response: Response) -> WebResponse {
    let (head, body) = response.into_parts();
    let Ok(body) = body::to_bytes(body, limits::HTTP3_BODY_BYTES_MAX).await else {
        return bare(StatusCode::INSUFFICIENT_STORAGE);
    };
    let fields = head
        .headers
        .iter()
        // These are the transport's to say.
        .filter(|(name, _)| ![header::CONTENT_LENGTH, header::CONNECTION].contains(*name))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    WebResponse {
        status: head.status.as_u16(),
        fields: fields.collect(),
        body,
    }
}

fn bare(status: StatusCode) -> WebResponse {
    WebResponse {
        status: status.as_u16(),
        fields: Vec::new(),
        body: Bytes::new(),
    }
}

/// Whether it was. A shard whose commands are full for so long has other worries; the client gives up
/// by itself.
async fn deliver(port: &ShardPort, mut command: ShardCommand) -> bool {
    for _ in 0..DELIVERIES_MAX {
        match port.offer(command) {
            Ok(()) => return true,
            Err(refused) => command = refused,
        }
        time::sleep(DELIVERY_INTERVAL).await;
    }
    false
}

const DELIVERIES_MAX: usize = 100;
const DELIVERY_INTERVAL: Duration = Duration::from_millis(10);
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
