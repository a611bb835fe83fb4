//! SIP over WebSocket (RFC 7118): each message of the WebSocket is one of SIP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures_util::{SinkExt, StreamExt};
use moqswitch_sip::flow::Flow;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time;

use super::sockets::{Came, Inbox, stranger};
use crate::limits::SIP_CONNECT_WAIT;

/// One that came by HTTP.
pub(crate) struct SipWebSocket {
    pub(crate) socket: Box<WebSocket>,
    pub(crate) peer: SocketAddr,
    /// Given back when it ends.
    pub(crate) seat: OwnedSemaphorePermit,
}

/// Reads and writes it until it ends, or nothing comes for long.
pub(super) async fn serve_websocket(websocket: SipWebSocket, flow: Flow, outbox: Inbox, tell: mpsc::Sender<Came>) {
    let SipWebSocket { socket, seat, .. } = websocket;
    let (mut sink, mut stream) = (*socket).split();
    let Inbox {
        messages: mut outbox,
        is_proven,
        idle,
    } = outbox;
    let (pong, mut pongs) = mpsc::channel::<()>(1);
    let reading = async {
        while let Ok(Some(Ok(message))) = time::timeout(idle, stream.next()).await {
            let bytes = match message {
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Binary(bytes) => bytes.to_vec(),
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => return,
            };
            // Empty lines keep it alive (RFC 5626, section 3.5.1); one answer is enough for what comes at once.
            if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                let _ = pong.try_send(());
            } else if tell.send(Came::Message(flow, bytes)).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        loop {
            let message = tokio::select! {
                bytes = outbox.recv() => match bytes {
                    Some(bytes) => message_of(&bytes),
                    None => return,
                },
                Some(()) = pongs.recv() => Message::Text(Utf8Bytes::from_static("\r\n")),
            };
            let written = time::timeout(SIP_CONNECT_WAIT, sink.send(message)).await;
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        () = stranger(&is_proven) => {}
    }
    drop(seat);
    // Nobody is there when the gateway has ended.
    let _ = tell.send(Came::Closed(flow.connection)).await;
}

/// Text, as far as it is: programs in pages expect it.
fn message_of(bytes: &Arc<[u8]>) -> Message {
    match std::str::from_utf8(bytes) {
        Ok(text) => Message::Text(text.into()),
        Err(_) => Message::Binary(bytes.to_vec().into()),
    }
}
