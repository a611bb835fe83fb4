//! The routes, and who may have a WebSocket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use moqswitch_sip::limits::MESSAGE_BYTES_MAX as SIP_MESSAGE_BYTES_MAX;

use crate::access::peer_of;
use crate::counters::Place;
use crate::gateway::SipWebSocket;
use crate::limits::{MESSAGE_BYTES_MAX, READ_BYTES};
use crate::port::Port;
use crate::rest;

pub(crate) fn router(port: Arc<Port>) -> Router {
    Router::new()
        .route("/signaling", get(upgrade))
        .route("/ws", get(upgrade))
        .route("/sip", get(upgrade_telephone))
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

/// A telephone in a page (RFC 7118).
async fn upgrade_telephone(State(port): State<Arc<Port>>, request: Request) -> Response {
    let counters = Arc::clone(&port.counters);
    let response = open_telephone(port, request).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        counters.refused(Place::Upgrade, response.status().as_u16());
    }
    response
}

async fn open_telephone(port: Arc<Port>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if !port.has_sip() {
        return (StatusCode::NOT_FOUND, "there is no SIP\n").into_response();
    }
    if !port.allows(&parts.headers) {
        return (StatusCode::FORBIDDEN, "pages of this origin may not\n").into_response();
    }
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &port).await {
        Ok(upgrade) => upgrade.protocols(["sip"]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, "the subprotocol is `sip`\n").into_response();
    }
    let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // Who comes by a proxy, or by a name that is not this host's, is nobody of this host.
    let stranger = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), peer.port());
    let peer = peer_of(&parts.extensions, &parts.headers).unwrap_or(stranger);
    let Some(seat) = port.take_seat() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many sockets\n").into_response();
    };
    upgrade
        .read_buffer_size(READ_BYTES)
        .max_message_size(SIP_MESSAGE_BYTES_MAX)
        .max_frame_size(SIP_MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let socket = Box::new(socket);
            port.hand_over_telephone(SipWebSocket { socket, peer, seat });
        })
}
