//! The routes, and who may have a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::limits::MESSAGE_BYTES_MAX;
use crate::start::Port;

pub(crate) fn router(port: Arc<Port>) -> Router {
    Router::new()
        .route("/signaling", get(upgrade))
        .route("/ws", get(upgrade))
        .with_state(port)
}

/// Whom a request came from. What a proxy on this host hands on came from elsewhere.
pub(crate) fn peer(extensions: &axum::http::Extensions, headers: &HeaderMap) -> Option<SocketAddr> {
    let is_proxied = ["forwarded", "x-forwarded-for", "x-real-ip"]
        .iter()
        .any(|name| headers.contains_key(*name));
    let ConnectInfo(address) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(*address).filter(|address| !(is_proxied && address.ip().to_canonical().is_loopback()))
}

async fn upgrade(State(port): State<Arc<Port>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if !port.origins.allow(&parts.headers) {
        port.refused.origin.fetch_add(1, Ordering::Relaxed);
        return (StatusCode::FORBIDDEN, "pages of this origin may not\n").into_response();
    }
    let peer = peer(&parts.extensions, &parts.headers);
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
