//! The routes, and who may have a WebSocket.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::peer_of;
use crate::counters::Place;
use crate::limits::{MESSAGE_BYTES_MAX, READ_BYTES};
use crate::port::Port;
use crate::rest;

pub(crate) fn router(port: Arc<Port>) -> Router {
    Router::new()
        .route("/signaling", get(upgrade))
        .route("/ws", get(upgrade))
        .merge(rest::router(&port))
        .with_state(port)
}

async fn upgrade(State(port): State<Arc<Port>>, request: Request) -> Response {
    let counters = Arc::clone(&port.counters);
    let response = open(port, request).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        counters.refused(Place::Upgrade, response.status().as_u16());
    }
    response
}

async fn open(port: Arc<Port>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if !port.allows(&parts.headers) {
        return (StatusCode::FORBIDDEN, "pages of this origin may not\n").into_response();
    }
    let peer = peer_of(&parts.extensions, &parts.headers);
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &port).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let Some(seat) = port.take_seat() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many sockets\n").into_response();
    };
    upgrade
        .read_buffer_size(READ_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move { port.hand_over(socket, peer, seat) })
}
