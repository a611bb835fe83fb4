//! The routes, and who may have a WebSocket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::peer_of;
use crate::limits::MESSAGE_BYTES_MAX;
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
    let (mut parts, _) = request.into_parts();
    if !port.allows(&parts.headers) {
        port.refused.origin.fetch_add(1, Ordering::Relaxed);
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
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move { port.hand_over(socket, peer, seat) })
}
