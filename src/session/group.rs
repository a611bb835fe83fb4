//! Groups and datagrams: the data path. Payload is passed on as it came.

use bytes::{Bytes, BytesMut};

use crate::wire::{DatagramHeader, DecodeError, ErrorCode, GroupHeader, GroupParser, StreamId, UniType, stream_error};

use super::inbound::Step;
use super::streams::{Group, Inbox, Stream};
use super::{Event, Session};

impl Session {
    pub(super) fn handle_group_head(&mut self, stream: StreamId, mut inbox: Inbox, data: Bytes, fin: bool) -> Step {
        let version = self.config.version;
        let (header, rest) = if inbox.is_empty() {
            match GroupHeader::decode(version, &data) {
                Ok((header, used)) => (header, data.slice(used..)),
                Err(DecodeError::Truncated) if !fin => {
                    inbox.push(&data);
                    return Step::Keep(Stream::GroupHead(inbox));
                }
                Err(error) => return self.refuse_group(stream, fin, error),
            }
        } else {
            inbox.push(&data);
            match inbox.take(|bytes| GroupHeader::decode(version, bytes)) {
                Ok(Some(header)) => (header, inbox.take_all()),
                Ok(None) if !fin => return Step::Keep(Stream::GroupHead(inbox)),
                Ok(None) => return self.refuse_group(stream, fin, DecodeError::Truncated),
                Err(error) => return self.refuse_group(stream, fin, error),
            }
        };
        // A group may be on its way while its subscription ends; part of a group is never
        // asked for, so one that begins later is no use (06, Frame Start).
        if !self.subscriptions.contains_key(&header.subscribe) || header.frame_start != 0 {
            self.unwanted += 1;
            return self.drop_group(stream, fin, stream_error::CANCEL);
        }
        self.events.push_back(Event::GroupStart { stream, header });
        let group = Group {
            token: 0,
            parser: GroupParser::new(version.frame_form()),
        };
        // The caller answers the event with a token; content waits for that in its own
        // event, so it must come with a later call or behind the token.
        self.streams.insert(stream, Stream::Group(group));
        self.deferred_group(stream, rest, fin)
    }

    /// Content that came with the GROUP message: kept back until the owner has named the
    /// group, which it does on the event before.
    fn deferred_group(&mut self, stream: StreamId, rest: Bytes, fin: bool) -> Step {
        let Some(Stream::Group(group)) = self.streams.remove(&stream) else {
            return Step::Done;
        };
        if rest.is_empty() && !fin {
            return Step::Keep(Stream::Group(group));
        }
        Step::Again(Stream::Group(group), rest)
    }

    pub(super) fn handle_group(
        &mut self,
        stream: StreamId,
        mut group: Group,
        data: Bytes,
        fin: bool,
        timestamp_ms: u64,
    ) -> Step {
        match group.parser.push(data, timestamp_ms) {
            Ok(Some(chunk)) => self.events.push_back(Event::GroupChunk {
                stream,
                token: group.token,
                chunk,
            }),
            Ok(None) => {}
            Err(_) => {
                self.events.push_back(Event::GroupReset {
                    stream,
                    token: group.token,
                    code: stream_error::MALFORMED_TRACK,
                });
                return self.drop_group(stream, fin, stream_error::MALFORMED_TRACK);
            }
        }
        if !fin {
            return Step::Keep(Stream::Group(group));
        }
        let token = group.token;
        self.events.push_back(if group.parser.is_at_boundary() {
            Event::GroupEnd { stream, token }
        } else {
            Event::GroupReset {
                stream,
                token,
                code: stream_error::WRONG_SIZE,
            }
        });
        Step::Done
    }

    fn refuse_group(&mut self, stream: StreamId, fin: bool, error: DecodeError) -> Step {
        self.violate(
            crate::wire::session_error::PROTOCOL_VIOLATION,
            &format!("GROUP on stream {}: {error}", stream.0),
        );
        self.drop_group(stream, fin, stream_error::MALFORMED_TRACK)
    }

    fn drop_group(&mut self, stream: StreamId, fin: bool, code: ErrorCode) -> Step {
        if fin {
            return Step::Done;
        }
        self.stop_sending(stream, code);
        Step::Keep(Stream::Discarded)
    }

    /// Names an incoming group; its later events carry the name.
    pub fn set_group_token(&mut self, stream: StreamId, token: u64) {
        if let Some(Stream::Group(group)) = self.streams.get_mut(&stream) {
            group.token = token;
        }
        // Events of this group that are queued already.
        for event in &mut self.events {
            match event {
                Event::GroupChunk {
                    stream: of,
                    token: name,
                    ..
                }
                | Event::GroupEnd {
                    stream: of,
                    token: name,
                }
                | Event::GroupReset {
                    stream: of,
                    token: name,
                    ..
                } if *of == stream => {
                    *name = token;
                }
                _ => {}
            }
        }
    }

    /// The owner does not want this group: its stream is stopped and its events are gone.
    pub fn discard_group(&mut self, stream: StreamId, code: ErrorCode) {
        if let Some(state @ Stream::Group(_)) = self.streams.get_mut(&stream) {
            *state = Stream::Discarded;
            self.stop_sending(stream, code);
        }
        self.events.retain(|event| {
            !matches!(event, Event::GroupChunk { stream: of, .. }
                | Event::GroupEnd { stream: of, .. }
                | Event::GroupReset { stream: of, .. } if *of == stream)
        });
    }

    /// Draft, "Datagrams": what is of no live subscription, or too large, is dropped in
    /// silence.
    pub fn handle_datagram(&mut self, data: Bytes) {
        if self.is_closed {
            return;
        }
        match DatagramHeader::decode(self.config.version, &data) {
            Ok((header, used)) if self.subscriptions.contains_key(&header.subscribe) => {
                self.events.push_back(Event::Datagram {
                    header,
                    payload: data.slice(used..),
                });
            }
            _ => self.unwanted += 1,
        }
    }

    /// Stream type and GROUP message of a group we are about to send.
    pub fn group_header(&self, header: &GroupHeader, out: &mut BytesMut) {
        let version = self.config.version;
        UniType::Group
            .encode(version, out)
            .and_then(|()| header.encode(version, out))
            .expect("ids and sequences came off the wire, so they fit it; frame bounds are 0 before 06");
    }
}
