//! What the peer sends that is not known to be the session's: which stream is what, settings,
//! requests and capsules, and what is wrong with them.

use bytes::{Bytes, BytesMut};
use moqswitch_proto::wire::{Read, StreamId, varint};

use crate::quic::ReadArena;
use crate::quic::alpn::version_of;

use super::http::{FieldError, Request, Response, code, frame};
use super::records::{Kinds, Record, Records};
use super::{Held, Quic, Stage, Violation, Web, WebEvent, http, stop, violation};

/// What a stream is.
enum First {
    Carried(StreamId),
    Control,
    Qpack(usize),
    Push,
    Unknown,
    Request,
}

impl Web {
    pub(super) fn read_other(&mut self, quic: &mut Quic, stream: StreamId, arena: &mut ReadArena) -> Read {
        loop {
            let outcome = match arena.read(quic, stream) {
                Read::Data { bytes, fin } => match self.handle(quic, stream, bytes, fin) {
                    Ok(Some(bytes)) => return Read::Data { bytes, fin },
                    Ok(None) if fin => Ok(Read::Nothing),
                    Ok(None) => continue,
                    Err(violation) => Err(violation),
                },
                Read::Reset(_) => self.handle_reset(quic, stream).map(|()| Read::Nothing),
                Read::Nothing => Ok(Read::Nothing),
            };
            return outcome.unwrap_or_else(|violation| {
                self.fail(quic, &violation);
                Read::Nothing
            });
        }
    }

    /// Bytes of a stream that is not known to be the session's; gives back those that are.
    fn handle(
        &mut self,
        quic: &mut Quic,
        stream: StreamId,
        bytes: Bytes,
        fin: bool,
    ) -> Result<Option<Bytes>, Violation> {
        if self.is_over() {
            return Ok(None);
        }
        if self.session_stream() == Some(stream) {
            return self.handle_session(quic, bytes, fin).map(|()| None);
        }
        if let Some((control, _)) = &self.control
            && *control == stream
        {
            return self.handle_control(bytes, fin).map(|()| None);
        }
        if let Some(kind) = self.qpack.iter().position(|known| *known == Some(stream)) {
            return check_qpack(kind, &bytes, fin).map(|()| None);
        }
        if self.requests.contains_key(&stream) {
            return self.handle_request(quic, stream, bytes, fin).map(|()| None);
        }
        let whole = match self.unsorted.remove(&stream) {
            None => bytes,
            Some(mut partial) => {
                partial.extend_from_slice(&bytes);
                partial.freeze()
            }
        };
        let Some((first, used)) = first(stream.is_uni(), &whole) else {
            return self.hold_unsorted(quic, stream, &whole, fin).map(|()| None);
        };
        self.sort(quic, stream, first, whole.slice(used..), &whole, fin)
    }

    /// A stream has said what it is.
    fn sort(
        &mut self,
        quic: &mut Quic,
        stream: StreamId,
        first: First,
        rest: Bytes,
        whole: &Bytes,
        fin: bool,
    ) -> Result<Option<Bytes>, Violation> {
        match first {
            First::Carried(session) => return self.sort_carried(quic, stream, session, rest, fin),
            First::Control if self.control.is_some() => {
                return Err(violation(code::STREAM_CREATION, "a second control stream"));
            }
            First::Control => {
                self.control = Some((stream, Records::new(CONTROL_KINDS)));
                self.handle_control(rest, fin)?;
            }
            First::Qpack(kind) if self.qpack[kind].is_some() => {
                return Err(violation(code::STREAM_CREATION, "a second QPACK stream of one kind"));
            }
            First::Qpack(kind) => {
                self.qpack[kind] = Some(stream);
                check_qpack(kind, &rest, fin)?;
            }
            // Only servers push, and only after they were allowed to (RFC 9114, section 4.6).
            First::Push => return Err(violation(code::STREAM_CREATION, "a push stream")),
            // RFC 9114, section 9: never fatal.
            First::Unknown => self.turn_away(quic, stream, code::STREAM_CREATION),
            // Only clients open request streams (RFC 9114, section 6.1).
            First::Request if !self.is_server => {
                return Err(violation(code::STREAM_CREATION, "a request from a server"));
            }
            First::Request if self.request_count() >= REQUESTS_MAX => {
                self.turn_away(quic, stream, code::REQUEST_REJECTED);
            }
            First::Request => {
                self.requests.insert(stream, Records::new(REQUEST_KINDS));
                self.handle_request(quic, stream, whole.clone(), fin)?;
            }
        }
        Ok(None)
    }

    fn sort_carried(
        &mut self,
        quic: &mut Quic,
        stream: StreamId,
        session: StreamId,
        rest: Bytes,
        fin: bool,
    ) -> Result<Option<Bytes>, Violation> {
        // Sessions are named by the CONNECT streams of clients.
        if session.is_uni() || !session.is_client() {
            return Err(violation(code::ID, "a session id that is no request stream"));
        }
        if self.is_open() && self.session_stream() == Some(session) {
            if !fin {
                self.carried.insert(stream);
            }
            return Ok(Some(rest));
        }
        let may_come = matches!(self.stage, Stage::Idle) || self.session_stream() == Some(session);
        if may_come && self.held.len() < HELD_MAX {
            self.held.push_back(Held {
                stream,
                session,
                bytes: rest,
                fin,
            });
        } else {
            let code = if may_come {
                code::BUFFERED_STREAM_REJECTED
            } else {
                code::SESSION_GONE
            };
            self.turn_away(quic, stream, code);
        }
        Ok(None)
    }

    /// Requests that are read, wait for their answer or wait for it to leave.
    fn request_count(&self) -> usize {
        self.requests.len() + self.unanswered + self.outgoing.len()
    }

    fn hold_unsorted(&mut self, quic: &mut Quic, stream: StreamId, whole: &Bytes, fin: bool) -> Result<(), Violation> {
        // One that ends before it says what it is was given up by the peer.
        if fin {
            self.turn_away(quic, stream, code::REQUEST_INCOMPLETE);
            return Ok(());
        }
        if self.unsorted.len() >= UNSORTED_MAX {
            return Err(violation(
                code::EXCESSIVE_LOAD,
                "too many streams that do not say what they are",
            ));
        }
        self.unsorted.insert(stream, BytesMut::from(&whole[..]));
        Ok(())
    }

    fn handle_control(&mut self, mut bytes: Bytes, fin: bool) -> Result<(), Violation> {
        let Some((_, records)) = &mut self.control else {
            return Ok(());
        };
        let mut is_first = false;
        while let Some(record) = records.poll(&mut bytes)? {
            match record {
                Record::Gathered { value, .. } if !self.has_settings => {
                    if !http::check_settings(&value) {
                        return Err(violation(code::SETTINGS, "SETTINGS with what may not be there"));
                    }
                    self.has_settings = true;
                    is_first = true;
                }
                // RFC 9114, section 6.2.1.
                _ if !self.has_settings => {
                    return Err(violation(code::MISSING_SETTINGS, "no SETTINGS at first"));
                }
                Record::Gathered { .. } => return Err(violation(code::FRAME_UNEXPECTED, "SETTINGS twice")),
                Record::Skipped(frame::DATA | frame::HEADERS) => {
                    return Err(violation(code::FRAME_UNEXPECTED, "a message on the control stream"));
                }
                Record::Skipped(_) | Record::Streamed(_) => {}
            }
        }
        if fin {
            return Err(violation(code::CLOSED_CRITICAL_STREAM, "the control stream ended"));
        }
        if is_first {
            self.ask();
        }
        Ok(())
    }

    fn handle_request(
        &mut self,
        quic: &mut Quic,
        stream: StreamId,
        mut bytes: Bytes,
        fin: bool,
    ) -> Result<(), Violation> {
        let Some(mut records) = self.requests.remove(&stream) else {
            return Ok(());
        };
        while let Some(record) = records.poll(&mut bytes)? {
            match record {
                Record::Gathered { value, .. } => match Request::decode(&value) {
                    Ok(request) if request.is_web_transport() => {
                        return self.handle_connect(quic, stream, request, records, bytes, fin);
                    }
                    Ok(request) => {
                        // What else it says does not matter (RFC 9114, section 4.1).
                        stop(quic, stream, code::NO_ERROR);
                        self.unanswered += 1;
                        self.events.push_back(WebEvent::Request {
                            stream,
                            method: request.method,
                            path: request.path,
                            authorization: request.authorization,
                        });
                        return Ok(());
                    }
                    Err(error) => return self.refuse_head(quic, stream, error),
                },
                Record::Streamed(_) => return Err(violation(code::FRAME_UNEXPECTED, "a body before its head")),
                Record::Skipped(frame::SETTINGS) => {
                    return Err(violation(code::FRAME_UNEXPECTED, "SETTINGS on a request stream"));
                }
                Record::Skipped(_) => {}
            }
        }
        if fin {
            self.turn_away(quic, stream, code::REQUEST_INCOMPLETE);
        } else {
            self.requests.insert(stream, records);
        }
        Ok(())
    }

    fn refuse_head(&mut self, quic: &mut Quic, stream: StreamId, error: FieldError) -> Result<(), Violation> {
        match error {
            FieldError::Compression => Err(violation(
                code::QPACK_DECOMPRESSION_FAILED,
                "a field section that cannot be read",
            )),
            FieldError::Malformed => {
                self.turn_away(quic, stream, code::MESSAGE);
                Ok(())
            }
        }
    }

    fn handle_connect(
        &mut self,
        quic: &mut Quic,
        stream: StreamId,
        request: Request,
        records: Records,
        rest: Bytes,
        fin: bool,
    ) -> Result<(), Violation> {
        if !matches!(self.stage, Stage::Idle) || fin {
            // One session for a connection, as SETTINGS said.
            self.turn_away(quic, stream, code::REQUEST_REJECTED);
            return Ok(());
        }
        self.stage = Stage::Asked {
            stream,
            records,
            available: request.available,
        };
        self.path = Some(request.path);
        self.authorization = request.authorization;
        self.ask();
        self.handle_session(quic, rest, fin)
    }

    /// Tells of the session that is asked for, once the client's SETTINGS are there
    /// (draft-ietf-webtrans-http3, section 3.1): without them no request for one is processed.
    fn ask(&mut self) {
        if self.is_server
            && self.has_settings
            && matches!(self.stage, Stage::Asked { .. })
            && let Some(path) = self.path.clone()
        {
            let authorization = self.authorization.take();
            self.events
                .push_back(WebEvent::SessionRequested { path, authorization });
        }
    }

    /// Bytes of the CONNECT stream behind the request.
    fn handle_session(&mut self, quic: &mut Quic, mut bytes: Bytes, fin: bool) -> Result<(), Violation> {
        loop {
            let records = match &mut self.stage {
                Stage::Asked { records, .. } | Stage::Open { records, .. } => records,
                _ => return Ok(()),
            };
            let Some(record) = records.poll(&mut bytes)? else { break };
            match record {
                Record::Streamed(part) => self.handle_capsules(quic, part)?,
                Record::Gathered { value, .. } if !self.is_server && !self.is_open() => {
                    self.handle_response(quic, &value)?;
                }
                Record::Skipped(frame::SETTINGS) => {
                    return Err(violation(code::FRAME_UNEXPECTED, "SETTINGS on a request stream"));
                }
                // Trailers, and what is unknown.
                Record::Gathered { .. } | Record::Skipped(_) => {}
            }
        }
        if fin {
            // Without a capsule it stands for code 0 (draft-ietf-webtrans-http3, section 6).
            self.end(quic, "the peer ended the session");
        }
        Ok(())
    }

    fn handle_response(&mut self, quic: &mut Quic, block: &[u8]) -> Result<(), Violation> {
        let Ok(response) = Response::decode(block) else {
            return Err(violation(
                code::QPACK_DECOMPRESSION_FAILED,
                "a response that cannot be read",
            ));
        };
        match response.status {
            // Informational ones come before the final one.
            100..=199 => {}
            200..=299 => {
                let named = response.protocol.as_deref().map(str::as_bytes);
                let draft = version_of(named.unwrap_or(super::IN_BAND));
                self.open(quic, draft);
            }
            status => self.end(quic, &format!("the session was refused with status {status}")),
        }
        Ok(())
    }

    fn handle_capsules(&mut self, quic: &mut Quic, mut part: Bytes) -> Result<(), Violation> {
        loop {
            let Stage::Open { capsules, .. } = &mut self.stage else {
                // Before it is open nothing can be said of it.
                return Ok(());
            };
            match capsules.poll(&mut part)? {
                None => return Ok(()),
                Some(Record::Gathered { value, .. }) => {
                    let Some((code, reason)) = http::read_close(&value) else {
                        return Err(violation(code::MESSAGE, "a close without a code"));
                    };
                    self.end(
                        quic,
                        &format!("the peer closed the session with code {code:#x} {reason}"),
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn handle_reset(&mut self, quic: &mut Quic, stream: StreamId) -> Result<(), Violation> {
        let is_control = self.control.as_ref().is_some_and(|(control, _)| *control == stream);
        if is_control || self.qpack.contains(&Some(stream)) {
            return Err(violation(code::CLOSED_CRITICAL_STREAM, "a critical stream was reset"));
        }
        self.unsorted.remove(&stream);
        self.requests.remove(&stream);
        if self.session_stream() == Some(stream) {
            self.end(quic, "the peer reset the session");
        } else {
            // Nobody waits for an answer to half a request.
            self.turn_away(quic, stream, code::REQUEST_CANCELLED);
        }
        Ok(())
    }
}

/// What a stream says that it is, and in how many bytes. `None` while it has not.
fn first(is_uni: bool, bytes: &[u8]) -> Option<(First, usize)> {
    let (kind, used) = varint::get(bytes).ok()?;
    let carried = |used| {
        let (session, more) = varint::get(&bytes[used..]).ok()?;
        Some((First::Carried(StreamId(session)), used + more))
    };
    let first = match (is_uni, kind) {
        (true, http::stream::WEB_TRANSPORT) | (false, frame::WEB_TRANSPORT) => return carried(used),
        (true, http::stream::CONTROL) => First::Control,
        (true, http::stream::QPACK_ENCODER) => First::Qpack(0),
        (true, http::stream::QPACK_DECODER) => First::Qpack(1),
        (true, http::stream::PUSH) => First::Push,
        (true, _) => First::Unknown,
        (false, _) => First::Request,
    };
    Some((first, used))
}

/// We allow no dynamic table, so that there is nothing to say about one (RFC 9204, section 3.2.3):
/// the encoder may set its capacity to zero, and the decoder cancel streams.
fn check_qpack(kind: usize, bytes: &[u8], fin: bool) -> Result<(), Violation> {
    if fin {
        return Err(violation(code::CLOSED_CRITICAL_STREAM, "a QPACK stream ended"));
    }
    if kind == 0 && bytes.iter().any(|byte| *byte != QPACK_CAPACITY_ZERO) {
        return Err(violation(
            code::QPACK_ENCODER_STREAM,
            "an entry for a table that is not there",
        ));
    }
    Ok(())
}

pub(super) const CONTROL_KINDS: Kinds = Kinds {
    gathered: &[frame::SETTINGS],
    gathered_bytes_max: 4096,
    streamed: None,
};
pub(super) const REQUEST_KINDS: Kinds = Kinds {
    gathered: &[frame::HEADERS],
    gathered_bytes_max: http::FIELD_SECTION_BYTES_MAX,
    streamed: Some(frame::DATA),
};
pub(super) const CAPSULE_KINDS: Kinds = Kinds {
    gathered: &[http::CLOSE_SESSION],
    gathered_bytes_max: 4 + http::CLOSE_REASON_BYTES_MAX as u64,
    streamed: None,
};

/// Set Dynamic Table Capacity, to zero (RFC 9204, section 4.3.1).
const QPACK_CAPACITY_ZERO: u8 = 0b0010_0000;

/// Streams whose first bytes are not complete. With more the connection is closed.
const UNSORTED_MAX: usize = 64;
/// Streams of a session that is not accepted yet. Further ones are rejected.
const HELD_MAX: usize = 64;
/// Requests at once on one connection. Further ones are rejected.
const REQUESTS_MAX: usize = 16;
