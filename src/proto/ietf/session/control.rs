//! The two control streams: SETUP, then GOAWAY (sections 3.3, 9.3 and 9.4).

use bytes::{Bytes, BytesMut};

use crate::ietf::messages::{Message, Setup, message};
use crate::session::partial::Input;
use crate::session::{SessionEvent, Side};
use crate::wire::{self, StreamId};

use super::Session;
use super::incoming::Incoming;

impl Session {
    pub(super) fn send_setup(&mut self) {
        self.control = self.open_uni();
        let is_client = self.config.side == Side::Client;
        let setup = Setup {
            path: self.config.setup.path.clone().filter(|_| is_client),
            ..Setup::default()
        };
        let head = self.config.heads.uni.clone();
        let sent = self.outbox.write(self.control, |out| {
            out.extend_from_slice(&head);
            message::put_setup(out, &setup)
        });
        self.count_unsendable(sent);
    }

    /// Asks the peer to leave, once.
    pub fn goaway(&mut self, uri: &str) {
        if self.is_closed || std::mem::replace(&mut self.is_goaway_sent, true) {
            return;
        }
        // Section 9.4: a client names no place.
        let uri = if self.config.side == Side::Client { "" } else { uri };
        let next = self.peer_request_id;
        let sent = self
            .outbox
            .write(self.control, |out| message::put_goaway(out, uri, next));
        self.count_unsendable(sent);
    }

    /// The peer's control stream has more.
    pub(super) fn handle_control(&mut self, stream: StreamId, partial: BytesMut, data: Bytes, fin: bool) {
        self.buffered_bytes -= partial.len();
        let mut input = Input::new(partial, data);
        loop {
            match input.take(Message::decode) {
                Ok(Some(message)) => self.take_control(message),
                Ok(None) => break,
                Err(error) => self.violate_message("control stream", error),
            }
            if self.is_closed {
                return;
            }
        }
        if fin {
            return self.violate("the control stream ended");
        }
        let partial = input.into_partial();
        self.buffered_bytes += partial.len();
        self.incoming.insert(stream, Incoming::Control(partial));
    }

    fn take_control(&mut self, message: Message) {
        match message {
            Message::Setup(setup) if self.peer_setup.is_none() => self.accept_setup(setup),
            Message::Goaway { uri } if self.peer_setup.is_some() => {
                if std::mem::replace(&mut self.is_going_away, true) {
                    return self.violate("second GOAWAY");
                }
                if self.config.side == Side::Server && !uri.is_empty() {
                    return self.violate("a client says where to go");
                }
                self.events.push(SessionEvent::Goaway { uri });
            }
            _ => self.violate("message on a control stream that is not for it"),
        }
    }

    fn accept_setup(&mut self, setup: Setup) {
        if self.config.side == Side::Client && (setup.path.is_some() || setup.has_authority) {
            return self.violate("path or authority from a server");
        }
        let setup = wire::Setup {
            path: path_with_token(setup.path, setup.token),
            ..wire::Setup::default()
        };
        self.peer_setup = Some(setup.clone());
        self.events.push(SessionEvent::Setup(setup));
        self.release_held();
    }
}

/// A token stands in the query of a path, as it does in URLs; one that the query has already counts.
fn path_with_token(path: Option<String>, token: Option<String>) -> Option<String> {
    let (Some(path), Some(token)) = (&path, token) else {
        return path;
    };
    let (_, query) = path.split_once('?').unwrap_or((path, ""));
    if query.split('&').any(|pair| pair.starts_with("jwt=")) {
        return Some(path.clone());
    }
    let sign = if path.contains('?') { '&' } else { '?' };
    Some(format!("{path}{sign}jwt={token}"))
}
