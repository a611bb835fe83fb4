//! What a caller does with a connection that speaks HTTP/3.

use bytes::Bytes;
use moqswitch_proto::wire::{StreamHeads, StreamId, Version};

use super::connection::Connection;
use super::web::WebEvent;

impl Connection {
    /// What the client asks for next. Comes of reading its streams.
    pub fn poll_web(&mut self) -> Option<WebEvent> {
        self.web.as_mut()?.poll_event()
    }

    /// Path and query that a client asked for its session at.
    pub fn request_path(&self) -> Option<&str> {
        self.web.as_ref()?.path()
    }

    /// Accepts the session that was asked for, in the first of `versions` that the client offered.
    /// False when it offered none of them: it is refused then.
    pub fn accept_session(&mut self, versions: &[Version]) -> bool {
        let web = self.web.as_mut();
        web.is_some_and(|web| web.accept(&mut self.quic, versions))
    }

    /// Refuses the session that was asked for, with a status of HTTP.
    pub fn refuse_session(&mut self, status: u16) {
        if let Some(web) = &mut self.web {
            web.refuse(&mut self.quic, status);
        }
    }

    /// Answers an ordinary request. What the client does not take at once waits for it.
    pub fn respond(&mut self, stream: StreamId, status: u16, fields: &[(&str, &str)], body: &Bytes) {
        if let Some(web) = &mut self.web {
            web.respond(&mut self.quic, stream, status, fields, body);
        }
    }

    /// Ends the connection at once, whether the peer has heard of its session's end or not.
    pub fn abandon(&mut self) {
        if let Some(web) = &mut self.web {
            web.abandon(&mut self.quic);
        }
    }

    /// Asks the peer to end its session soon, where HTTP/3 has a way to.
    pub fn drain_session(&mut self) {
        if let Some(web) = &mut self.web {
            web.drain(&mut self.quic);
        }
    }

    /// What surrounds the session's streams; nothing unless it shares the connection with HTTP/3.
    pub fn stream_heads(&self) -> StreamHeads {
        self.web
            .as_ref()
            .map_or_else(StreamHeads::default, |web| web.stream_heads())
    }

    /// Streams that HTTP/3 turned away since this was last asked: for a session that is not there, half
    /// a request or one too many, of an unknown type.
    pub fn take_web_turned_away(&mut self) -> u64 {
        self.web.as_mut().map_or(0, |web| web.take_turned_away())
    }

    /// Whether HTTP/3 itself has written something since this was last asked.
    pub fn take_web_written(&mut self) -> bool {
        self.web.as_mut().is_some_and(|web| web.take_written())
    }
}
