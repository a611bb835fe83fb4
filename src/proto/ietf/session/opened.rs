//! The peer's answers on the request streams that we opened.

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashSet;

use crate::ietf::codes::{self, session_code};
use crate::ietf::messages::{Message, Namespace, TrackProperties};
use crate::session::partial::Input;
use crate::session::{AnnouncementEvent, AnswerEvent};
use crate::wire::{BroadcastPath, ErrorCode, StreamId, SubscribeId, SubscribeOk, stream_error};

use super::tracks::Track;
use super::{PRIORITY_DEFAULT, Session};

#[derive(Debug)]
pub(super) struct Opened {
    pub(super) state: State,
    partial: BytesMut,
}

#[derive(Debug)]
pub(super) enum State {
    Namespaces {
        prefix: BroadcastPath,
        is_accepted: bool,
        live: FxHashSet<BroadcastPath>,
    },
    Subscribe {
        id: SubscribeId,
        is_accepted: bool,
        /// As it was said last.
        priority: u8,
    },
}

/// What is to become of the stream.
enum Next {
    Keep,
    /// It is over; why, if not as planned.
    End(Option<ErrorCode>),
    /// We do not want what was accepted.
    Cancel(ErrorCode),
}

impl Opened {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            partial: BytesMut::new(),
        }
    }
}

impl Session {
    pub(super) fn handle_opened(&mut self, stream: StreamId, data: Bytes, fin: bool) {
        // One that is not there has ended; what comes late is ignored.
        let Some(mut opened) = self.opened.remove(&stream) else {
            return;
        };
        self.buffered_bytes -= opened.partial.len();
        let mut input = Input::new(std::mem::take(&mut opened.partial), data);
        loop {
            let next = match input.take(Message::decode) {
                Ok(Some(message)) => self.take_answer(stream, &mut opened.state, message),
                Ok(None) => break,
                Err(error) => return self.violate_message("answer", error),
            };
            if self.is_closed {
                return;
            }
            match next {
                Next::Keep => {}
                Next::End(code) => {
                    self.outbox.finish(stream);
                    return self.push_closed(stream, opened.state, code);
                }
                Next::Cancel(code) => {
                    self.abandon(stream, stream_error::CANCEL);
                    return self.push_closed(stream, opened.state, Some(code));
                }
            }
        }
        if fin {
            self.outbox.finish(stream);
            // A subscription that is over says why.
            let code = stream_error::SESSION_CLOSED;
            return self.push_closed(stream, opened.state, Some(code));
        }
        opened.partial = input.into_partial();
        self.buffered_bytes += opened.partial.len();
        self.opened.insert(stream, opened);
    }

    pub(super) fn reset_opened(&mut self, stream: StreamId, code: ErrorCode) {
        if let Some(opened) = self.remove_opened(stream) {
            self.outbox.reset(stream, stream_error::CANCEL);
            self.push_closed(stream, opened.state, Some(code));
        }
    }

    /// Forgets a stream we opened, if it is there.
    pub(super) fn remove_opened(&mut self, stream: StreamId) -> Option<Opened> {
        let opened = self.opened.remove(&stream)?;
        self.buffered_bytes -= opened.partial.len();
        Some(opened)
    }

    /// Namespaces that were told of on a stream are not there any more.
    pub(super) fn drop_namespaces(&mut self, stream: StreamId, prefix: &BroadcastPath, live: FxHashSet<BroadcastPath>) {
        for suffix in live {
            self.unannounce_of_peer(stream, &prefix.join(&suffix));
        }
    }

    fn push_closed(&mut self, stream: StreamId, state: State, code: Option<ErrorCode>) {
        match state {
            State::Namespaces { prefix, live, .. } => {
                self.drop_namespaces(stream, &prefix, live);
                self.events.push(AnnouncementEvent::AnnounceStreamEnded { stream });
            }
            State::Subscribe { id, .. } => {
                match code {
                    None => {
                        self.subscriptions.end(id);
                        self.tracks.end(id);
                    }
                    // Groups under way go on to their own end.
                    Some(_) => {
                        self.subscriptions.remove(id);
                        self.tracks.retire(id);
                    }
                }
                self.events.push(AnswerEvent::SubscriptionClosed { id, code });
            }
        }
    }

    fn take_answer(&mut self, stream: StreamId, state: &mut State, message: Message) -> Next {
        match state {
            State::Namespaces {
                prefix,
                is_accepted,
                live,
            } => self.take_namespace(stream, (prefix, is_accepted, live), message),
            State::Subscribe { id, is_accepted, .. } => match message {
                Message::SubscribeOk { alias, properties, .. } if !*is_accepted => {
                    *is_accepted = true;
                    self.accept_track(*id, alias, properties)
                }
                Message::RequestError { code } if !*is_accepted => Next::End(Some(codes::refused(code))),
                Message::PublishDone { status } if *is_accepted => Next::End(codes::ended(status)),
                // Of a REQUEST_UPDATE; when that fails, PUBLISH_DONE follows.
                Message::RequestOk | Message::RequestError { .. } if *is_accepted => Next::Keep,
                Message::Goaway { .. } => Next::Keep,
                _ => self.unexpected(),
            },
        }
    }

    fn unexpected(&mut self) -> Next {
        self.violate("answer that is none to the request");
        Next::Keep
    }

    fn take_namespace(
        &mut self,
        stream: StreamId,
        (prefix, is_accepted, live): (&BroadcastPath, &mut bool, &mut FxHashSet<BroadcastPath>),
        message: Message,
    ) -> Next {
        match message {
            Message::RequestOk => {
                *is_accepted = true;
                Next::Keep
            }
            Message::RequestError { code } => Next::End(Some(codes::refused(code))),
            Message::Namespace { suffix } if *is_accepted => {
                // What no path can stand for is not there for us.
                let Some((suffix, path)) = named(prefix, suffix) else {
                    self.counters.announcements_discarded += 1;
                    return Next::Keep;
                };
                if !self.has_room_for(&path) {
                    return Next::End(Some(stream_error::INTERNAL));
                }
                if live.insert(suffix) {
                    self.announce_of_peer(stream, &path);
                }
                Next::Keep
            }
            Message::NamespaceDone { suffix } if *is_accepted => {
                if let Some((suffix, path)) = named(prefix, suffix) {
                    if !live.remove(&suffix) {
                        return self.unexpected();
                    }
                    self.unannounce_of_peer(stream, &path);
                }
                Next::Keep
            }
            Message::Goaway { .. } => Next::Keep,
            _ => self.unexpected(),
        }
    }

    /// SUBSCRIBE_OK: groups that name the alias are for this subscription.
    fn accept_track(&mut self, id: SubscribeId, alias: u64, properties: TrackProperties) -> Next {
        let track = Track {
            subscribe: Some(id),
            timescale: properties.timescale,
        };
        if !self.tracks.bind(alias, track) {
            let reason = "track alias of another track".to_owned();
            self.violate_with(session_code::DUPLICATE_TRACK_ALIAS, reason);
            return Next::Keep;
        }
        if let Some(refusal) = properties.refusal {
            self.tracks.retire(id);
            self.release_unbound(alias);
            return Next::Cancel(refusal.code());
        }
        self.push_accepted(id, properties);
        self.release_unbound(alias);
        Next::Keep
    }

    pub(super) fn push_accepted(&mut self, id: SubscribeId, properties: TrackProperties) {
        let ok = SubscribeOk {
            priority: u8::MAX - properties.priority.unwrap_or(PRIORITY_DEFAULT),
            ordered: false,
            max_latency_ms: 0,
            start: None,
            end: None,
            timescale: None,
        };
        let properties = properties.bytes;
        self.events.push(AnswerEvent::TrackProperties { id, properties });
        self.events.push(AnswerEvent::SubscriptionOk { id, ok });
    }
}

/// A suffix and the whole path, if they can be said here.
fn named(prefix: &BroadcastPath, suffix: Namespace) -> Option<(BroadcastPath, BroadcastPath)> {
    let suffix = suffix.path?;
    let path = prefix.join(&suffix);
    path.is_within_limits().then_some((suffix, path))
}
