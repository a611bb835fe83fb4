//! The peer's answers on the request streams we opened.

use bytes::{Bytes, BytesMut};

use crate::wire::chunk::GroupParser;
use crate::wire::{
    Advertisement, Announce, AnnounceInit, AnnounceOk, DecodeError, ErrorCode, HandshakeForm, Probe, SessionServer,
    SessionUpdate, StreamId, SubscribeId, SubscribeResponse, TrackInfo, stream_error,
};

use super::announced::{Announced, Outcome};
use super::partial::Input;
use super::{AnnouncementEvent, AnswerEvent, Event, Session, SessionEvent};

#[derive(Debug)]
pub(super) struct Opened {
    pub(super) state: State,
    partial: BytesMut,
    /// The peer does not read our side, which is reset. It may still answer: a released peer
    /// stops reading a request that it has answered, and the answer may be read after that.
    pub(super) is_send_closed: bool,
}

#[derive(Debug)]
pub(super) enum State {
    Session {
        form: HandshakeForm,
        is_answered: bool,
    },
    Announce(Box<Announced>),
    /// Confirmed by the first SUBSCRIBE_OK up to 04, by itself on 05 and later.
    Subscribe {
        id: SubscribeId,
        is_confirmed: bool,
        /// What stands for the publisher's where SUBSCRIBE_OK does not say it.
        priority: u8,
    },
    Fetch(Box<GroupParser>),
    Track,
    Probe,
    Goaway,
}

/// What is to become of the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    /// The answer is complete.
    Finish,
    /// The answer cannot be used.
    Reset(ErrorCode),
    /// The session is closed.
    Closed,
}

impl Opened {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            partial: BytesMut::new(),
            is_send_closed: false,
        }
    }
}

impl Session {
    pub(super) fn handle_opened(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp: u64) {
        // One that is not there has ended; what comes late is ignored.
        let Some(mut opened) = self.opened.remove(&stream) else {
            return;
        };
        self.buffered_bytes -= opened.partial.len();
        // What is out of the map is not counted.
        self.announced_count -= opened.announced_count();
        if let State::Fetch(parser) = &mut opened.state {
            let next = fetch_next(stream, parser, data, fin, arrival_timestamp, &mut self.events);
            return self.settle_opened(stream, opened, next);
        }
        let mut input = Input::new(std::mem::take(&mut opened.partial), data);
        let mut next = self.read_opened(stream, &mut opened.state, &mut input);
        if next == Next::Keep && fin {
            next = match &opened.state {
                // The publisher's promise is TRACK_INFO or a reset (draft "Track").
                State::Track => Next::Reset(stream_error::MALFORMED_TRACK),
                _ if !input.is_empty() => Next::Reset(stream_error::MALFORMED_TRACK),
                _ => Next::Finish,
            };
        }
        if next == Next::Keep {
            opened.partial = input.into_partial();
            self.buffered_bytes += opened.partial.len();
        }
        self.settle_opened(stream, opened, next);
    }

    pub(super) fn reset_opened(&mut self, stream: StreamId, code: ErrorCode) {
        if let Some(opened) = self.remove_opened(stream) {
            if !opened.is_send_closed {
                self.outbox.reset(stream, stream_error::CANCEL);
            }
            self.push_closed(stream, opened.state, Some(code));
        }
    }

    pub(super) fn stop_opened(&mut self, stream: StreamId) {
        if let Some(opened) = self.opened.get_mut(&stream)
            && !opened.is_send_closed
        {
            if matches!(opened.state, State::Session { .. }) {
                return self.end_session_stream();
            }
            opened.is_send_closed = true;
            self.outbox.reset(stream, stream_error::CANCEL);
        }
    }

    /// Forgets a stream we opened, if it is there.
    pub(super) fn remove_opened(&mut self, stream: StreamId) -> Option<Opened> {
        let opened = self.opened.remove(&stream)?;
        self.buffered_bytes -= opened.partial.len();
        self.announced_count -= opened.announced_count();
        Some(opened)
    }

    /// The stream is out of the map: puts it back, or closes our side and says that it ended.
    fn settle_opened(&mut self, stream: StreamId, opened: Opened, next: Next) {
        let code = match next {
            Next::Closed => return,
            Next::Keep => {
                self.announced_count += opened.announced_count();
                self.opened.insert(stream, opened);
                return;
            }
            Next::Finish => None,
            Next::Reset(code) => Some(code),
        };
        match code {
            None if !opened.is_send_closed => self.outbox.finish(stream),
            None => {}
            Some(code) => {
                if !opened.is_send_closed {
                    self.outbox.reset(stream, code);
                }
                self.outbox.stop_sending(stream, code);
            }
        }
        self.push_closed(stream, opened.state, code);
    }

    fn push_closed(&mut self, stream: StreamId, state: State, code: Option<ErrorCode>) {
        let event: Event = match state {
            State::Session { .. } => return self.end_session_stream(),
            State::Announce(announced) => {
                for event in announced.into_unannounced() {
                    self.events.push(event);
                }
                AnnouncementEvent::AnnounceStreamEnded { stream }.into()
            }
            State::Subscribe { id, .. } => {
                match code {
                    None => self.subscriptions.end(id),
                    // Groups under way go on to their own end.
                    Some(_) => {
                        self.subscriptions.remove(id);
                    }
                }
                AnswerEvent::SubscriptionClosed { id, code }.into()
            }
            State::Fetch(_) => AnswerEvent::FetchClosed { stream, code }.into(),
            // Without a code it was answered.
            State::Track => match code {
                Some(code) => AnswerEvent::TrackClosed { stream, code }.into(),
                None => return,
            },
            State::Probe => AnswerEvent::ProbeClosed { stream, code }.into(),
            State::Goaway => return,
        };
        self.events.push(event);
    }

    fn read_opened(&mut self, stream: StreamId, state: &mut State, input: &mut Input) -> Next {
        loop {
            let step = match state {
                State::Session { form, is_answered } => self.read_session(*form, is_answered, input),
                State::Announce(announced) => self.read_announce(announced, input),
                State::Subscribe {
                    id,
                    is_confirmed,
                    priority,
                } => self.read_response(*id, is_confirmed, *priority, input),
                State::Track => self.read_track_info(stream, input),
                State::Probe => match input.take(|bytes| Probe::decode(self.config.version, bytes)) {
                    Ok(Some(report)) => {
                        self.events.push(AnswerEvent::ProbeReport { stream, report });
                        Ok(Some(Next::Keep))
                    }
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                },
                State::Fetch(_) | State::Goaway if input.is_empty() => Ok(None),
                State::Fetch(_) | State::Goaway => {
                    self.violate("message where none is allowed");
                    return Next::Closed;
                }
            };
            match step {
                Ok(Some(Next::Keep)) => {}
                Ok(Some(next)) => return next,
                Ok(None) => return Next::Keep,
                Err(error) => return self.reject_answer(state, error),
            }
        }
    }

    /// Draft "ANNOUNCE_START", "TRACK_INFO": an answer that is wrong in these is a matter of the
    /// stream. Elsewhere a message that cannot be right closes the session (draft "Message
    /// Length").
    fn reject_answer(&mut self, state: &State, error: DecodeError) -> Next {
        if matches!(state, State::Session { .. }) {
            self.reject_handshake(error);
            return Next::Closed;
        }
        let is_stream_matter =
            matches!(error, DecodeError::TooLarge(_)) || matches!(state, State::Announce(_) | State::Track);
        if is_stream_matter {
            return Next::Reset(stream_error::MALFORMED_TRACK);
        }
        self.violate_message("answer", error);
        Next::Closed
    }

    fn read_session(
        &mut self,
        form: HandshakeForm,
        is_answered: &mut bool,
        input: &mut Input,
    ) -> Result<Option<Next>, DecodeError> {
        let version = self.config.version;
        if *is_answered {
            let update = input.take(|bytes| SessionUpdate::decode(version, bytes))?;
            return Ok(update.map(|SessionUpdate { bitrate }| {
                self.events.push(SessionEvent::SessionUpdate { bitrate });
                Next::Keep
            }));
        }
        let Some(server) = input.take(|bytes| SessionServer::decode(form, bytes))? else {
            return Ok(None);
        };
        *is_answered = true;
        self.accept_server(server);
        Ok(Some(if self.is_closed { Next::Closed } else { Next::Keep }))
    }

    fn read_announce(&mut self, announced: &mut Announced, input: &mut Input) -> Result<Option<Next>, DecodeError> {
        let version = self.config.version;
        if announced.is_ok_due() {
            let ok = input.take(|bytes| AnnounceOk::decode(version, bytes))?;
            return Ok(ok.map(|ok| {
                announced.handle_ok(&ok);
                Next::Keep
            }));
        }
        if announced.is_init_due() {
            let Some(init) = input.take(|bytes| AnnounceInit::decode(version, bytes))? else {
                return Ok(None);
            };
            announced.handle_init();
            for suffix in init.suffixes {
                let advertisement = Advertisement::default();
                let next = self.take_announce(announced, Announce::Start { suffix, advertisement });
                if next != Next::Keep {
                    return Ok(Some(next));
                }
            }
            return Ok(Some(Next::Keep));
        }
        let message = input.take(|bytes| Announce::decode(version, bytes))?;
        Ok(message.map(|message| self.take_announce(announced, message)))
    }

    fn take_announce(&mut self, announced: &mut Announced, message: Announce) -> Next {
        let Ok(outcome) = announced.handle(message) else {
            return Next::Reset(stream_error::MALFORMED_TRACK);
        };
        match outcome {
            Outcome::Event(event) => self.events.push(event),
            Outcome::Discarded => self.counters.announcements_discarded += 1,
            Outcome::Nothing => {}
        }
        if self.announced_count + announced.len() > self.config.limits.announced_max {
            return Next::Reset(stream_error::INTERNAL);
        }
        Next::Keep
    }

    fn read_response(
        &mut self,
        id: SubscribeId,
        is_confirmed: &mut bool,
        asked_priority: u8,
        input: &mut Input,
    ) -> Result<Option<Next>, DecodeError> {
        let version = self.config.version;
        let Some(response) = input.take(|bytes| SubscribeResponse::decode(version, bytes))? else {
            return Ok(None);
        };
        let event = match response {
            SubscribeResponse::Ok(mut ok) => {
                *is_confirmed = true;
                if !version.has_publisher_priority() {
                    ok.priority = asked_priority;
                }
                AnswerEvent::SubscriptionOk { id, ok }
            }
            _ if !*is_confirmed => {
                self.violate("response before SUBSCRIBE_OK");
                return Ok(Some(Next::Closed));
            }
            SubscribeResponse::Start { group } => AnswerEvent::SubscriptionStart { id, group },
            SubscribeResponse::End { group } => AnswerEvent::SubscriptionEnd { id, end: group },
            SubscribeResponse::Drop { start, end, code } => AnswerEvent::SubscriptionDrop { id, start, end, code },
        };
        self.events.push(event);
        Ok(Some(Next::Keep))
    }

    fn read_track_info(&mut self, stream: StreamId, input: &mut Input) -> Result<Option<Next>, DecodeError> {
        let version = self.config.version;
        let info = input.take(|bytes| TrackInfo::decode(version, bytes))?;
        Ok(info.map(|info| {
            self.events.push(AnswerEvent::TrackInfo { stream, info });
            Next::Finish
        }))
    }
}

impl Opened {
    fn announced_count(&self) -> usize {
        match &self.state {
            State::Announce(announced) => announced.len(),
            _ => 0,
        }
    }
}

/// The answer to a FETCH is the frames of a group, bare.
fn fetch_next(
    stream: StreamId,
    parser: &mut GroupParser,
    data: Bytes,
    fin: bool,
    arrival_timestamp: u64,
    events: &mut super::EventQueue,
) -> Next {
    if !data.is_empty() {
        match parser.push(data, arrival_timestamp) {
            Ok(Some(chunk)) => events.push(AnswerEvent::FetchChunk { stream, chunk }),
            Ok(None) => {}
            Err(DecodeError::TooLarge(_)) => return Next::Reset(stream_error::FRAME_TOO_LARGE),
            Err(_) => return Next::Reset(stream_error::MALFORMED_TRACK),
        }
    }
    match (fin, parser.is_at_boundary()) {
        (false, _) => Next::Keep,
        (true, true) => Next::Finish,
        (true, false) => Next::Reset(stream_error::WRONG_SIZE),
    }
}
