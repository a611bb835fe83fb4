//! The peer's one-way streams: its control stream and subgroups; and its datagrams. The data path.

use bytes::{Bytes, BytesMut};

use crate::ietf::limits::{UNBOUND_BYTES_MAX, UNBOUND_STREAMS_MAX};
use crate::ietf::messages::{ObjectDatagram, SubgroupHeader, UniStream};
use crate::limits::{DATAGRAM_BODY_BYTES_MAX, VARINT_MAX};
use crate::session::partial::Input;
use crate::session::{GROUP_TOKEN_NONE, MediaEvent};
use crate::wire::chunk::{GroupParser, OBJECT_TIMESCALE, rescaled};
use crate::wire::{
    DatagramHeader, DecodeError, ErrorCode, FrameForm, GroupHeader, GroupSequence, StreamId, SubscribeId, stream_error,
    vi64,
};

use super::Session;
use super::tracks::Alias;

#[derive(Debug)]
pub(super) enum Incoming {
    /// What the stream is for is not known in full.
    Header(BytesMut),
    Control(BytesMut),
    /// A group whose track alias is not known yet.
    Unbound {
        header: SubgroupHeader,
        bytes: BytesMut,
        fin: bool,
    },
    /// A group of which the first object's id has not come.
    Beginning {
        header: SubgroupHeader,
        track: (SubscribeId, Option<u64>),
        bytes: BytesMut,
    },
    Group(Group),
    Padding,
}

#[derive(Debug)]
pub(super) struct Group {
    subscribe: SubscribeId,
    token: u64,
    parser: GroupParser,
}

impl Session {
    /// A datagram came. An object that is no group by itself, or of a subscription that is not live, is dropped and counted.
    pub fn handle_datagram(&mut self, data: Bytes) {
        if self.is_closed {
            return;
        }
        let (header, used) = match ObjectDatagram::decode(&data) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            // Section 11.3: it closes the session.
            Err(error) => return self.violate_message("datagram", error),
        };
        let is_group = header.object == 0 && header.is_normal && header.group <= VARINT_MAX;
        match self.tracks.find(header.alias) {
            Alias::Of(subscribe, timescale) if is_group && data.len() <= DATAGRAM_BODY_BYTES_MAX => {
                let said = header.timestamp.zip(timescale);
                let timestamp = said.map_or_else(
                    || self.arrival_ms.saturating_mul(OBJECT_TIMESCALE / 1000),
                    |(timestamp, timescale)| rescaled(timestamp, timescale),
                );
                let header = DatagramHeader {
                    subscribe,
                    sequence: GroupSequence(header.group),
                    timestamp: timestamp.min(VARINT_MAX),
                };
                let payload = data.slice(used.min(data.len())..);
                self.events.push(MediaEvent::Datagram { header, payload });
            }
            _ => self.counters.datagrams_dropped += 1,
        }
        self.check_growth();
    }

    /// The caller's name for an incoming group, carried by its events from here on.
    pub fn set_group_token(&mut self, stream: StreamId, token: u64) {
        if let Some(Incoming::Group(group)) = self.incoming.get_mut(&stream) {
            group.token = token;
        }
        self.events.set_token(stream, token);
    }

    /// The caller does not want this incoming group: no event of it follows.
    pub fn discard_group(&mut self, stream: StreamId, code: ErrorCode) {
        self.events.discard_group(stream);
        if let Some(Incoming::Group(group)) = self.incoming.get(&stream) {
            let subscribe = group.subscribe;
            self.remove_group(stream);
            self.subscriptions.remove_group(subscribe, stream);
            self.outbox.stop_sending(stream, code);
        }
    }

    pub(super) fn handle_incoming(&mut self, stream: StreamId, data: Bytes, fin: bool) {
        if let Some(Incoming::Group(_)) = self.incoming.get(&stream) {
            return self.handle_group(stream, data, fin);
        }
        match self.incoming.remove(&stream) {
            None if !self.is_first_sight(stream) => {}
            None => self.handle_header(stream, BytesMut::new(), data, fin),
            Some(Incoming::Header(partial)) => self.handle_header(stream, partial, data, fin),
            Some(Incoming::Control(partial)) => self.handle_control(stream, partial, data, fin),
            Some(Incoming::Padding) => self.keep_padding(stream, fin),
            Some(Incoming::Unbound { header, mut bytes, .. }) => {
                self.buffered_bytes -= bytes.len();
                self.unbound.retain(|unbound| *unbound != stream);
                bytes.extend_from_slice(&data);
                self.hold_unbound(stream, header, bytes, fin);
            }
            Some(Incoming::Beginning { header, track, bytes }) => {
                self.buffered_bytes -= bytes.len();
                let joined = Input::new(bytes, data).into_bytes();
                self.begin_group(stream, header, track, joined, fin);
            }
            Some(Incoming::Group(_)) => {}
        }
    }

    pub(super) fn reset_incoming(&mut self, stream: StreamId, code: ErrorCode) {
        match self.incoming.remove(&stream) {
            None => {
                self.is_first_sight(stream);
            }
            Some(Incoming::Control(_)) => self.violate("the control stream was reset"),
            Some(Incoming::Header(bytes) | Incoming::Beginning { bytes, .. }) => self.buffered_bytes -= bytes.len(),
            Some(Incoming::Unbound { bytes, .. }) => {
                self.buffered_bytes -= bytes.len();
                self.unbound.retain(|unbound| *unbound != stream);
            }
            Some(Incoming::Padding) => {}
            Some(Incoming::Group(group)) => {
                self.buffered_bytes -= group.parser.held_bytes();
                self.subscriptions.remove_group(group.subscribe, stream);
                let token = group.token;
                self.events.push(MediaEvent::GroupReset { stream, token, code });
            }
        }
    }

    /// An alias is known from here on: groups that waited for it go on.
    pub(super) fn release_unbound(&mut self, alias: u64) {
        let incoming = &self.incoming;
        let is_released = |stream: &mut StreamId| matches!(incoming.get(stream), Some(Incoming::Unbound { header, .. }) if header.alias == alias);
        let mut streams: Vec<StreamId> = self.unbound.extract_if(.., is_released).collect();
        streams.sort_unstable();
        for stream in streams {
            if let Some(Incoming::Unbound { header, bytes, fin }) = self.incoming.remove(&stream) {
                self.buffered_bytes -= bytes.len();
                self.route_group(stream, header, bytes.freeze(), fin);
            }
        }
    }

    /// Stops the groups of a subscription that is given up.
    pub(super) fn stop_groups(&mut self, groups: &[StreamId], code: ErrorCode) {
        for stream in groups {
            self.remove_group(*stream);
            self.events.discard_group(*stream);
            self.outbox.stop_sending(*stream, code);
        }
    }

    fn handle_header(&mut self, stream: StreamId, partial: BytesMut, data: Bytes, fin: bool) {
        self.buffered_bytes -= partial.len();
        let mut input = Input::new(partial, data);
        match input.take(UniStream::decode) {
            Ok(None) if fin => {}
            Ok(None) if self.incoming.len() >= self.config.limits.groups_max => self.refuse_group(stream),
            Ok(None) => {
                let partial = input.into_partial();
                self.buffered_bytes += partial.len();
                self.incoming.insert(stream, Incoming::Header(partial));
            }
            Ok(Some(UniStream::Control)) if self.is_control_begun => self.violate("second control stream"),
            Ok(Some(UniStream::Control)) => {
                self.is_control_begun = true;
                self.handle_control(stream, BytesMut::new(), input.into_bytes(), fin);
            }
            Ok(Some(UniStream::Padding)) => self.keep_padding(stream, fin),
            // Nothing is fetched from here.
            Ok(Some(UniStream::Fetch)) => {
                self.counters.streams_unknown += 1;
                self.outbox.stop_sending(stream, stream_error::CANCEL);
            }
            Ok(Some(UniStream::Subgroup(header))) => self.route_group(stream, header, input.into_bytes(), fin),
            // Section 3.4: an unknown type closes the session.
            Err(error) => self.violate_message("one-way stream", error),
        }
    }

    /// Padding is read and dropped (section 11.5).
    fn keep_padding(&mut self, stream: StreamId, fin: bool) {
        if fin {
            return;
        }
        if self.incoming.len() >= self.config.limits.groups_max {
            return self.refuse_group(stream);
        }
        self.incoming.insert(stream, Incoming::Padding);
    }

    fn route_group(&mut self, stream: StreamId, header: SubgroupHeader, data: Bytes, fin: bool) {
        match self.tracks.find(header.alias) {
            Alias::Of(id, timescale) => self.begin_group(stream, header, (id, timescale), data, fin),
            Alias::Unwanted => self.refuse_group(stream),
            Alias::Unknown => self.hold_unbound(stream, header, BytesMut::from(&data[..]), fin),
        }
    }

    fn hold_unbound(&mut self, stream: StreamId, header: SubgroupHeader, bytes: BytesMut, fin: bool) {
        if self.unbound.len() >= UNBOUND_STREAMS_MAX || bytes.len() > UNBOUND_BYTES_MAX {
            return self.refuse_group(stream);
        }
        self.unbound.push(stream);
        self.buffered_bytes += bytes.len();
        self.incoming.insert(stream, Incoming::Unbound { header, bytes, fin });
    }

    /// What is no group 0 to 2^62-1 with its subgroup 0 is not wanted.
    fn begin_group(
        &mut self,
        stream: StreamId,
        header: SubgroupHeader,
        track: (SubscribeId, Option<u64>),
        data: Bytes,
        fin: bool,
    ) {
        let first = match vi64::get(&data) {
            Ok((first, _)) => Some(first),
            Err(_) if fin => None,
            Err(_) => {
                if self.incoming.len() >= self.config.limits.groups_max {
                    return self.refuse_group(stream);
                }
                self.buffered_bytes += data.len();
                let bytes = BytesMut::from(&data[..]);
                self.incoming
                    .insert(stream, Incoming::Beginning { header, track, bytes });
                return;
            }
        };
        let subgroup = header.subgroup.or(first).unwrap_or(0);
        let is_full = self.incoming.len() >= self.config.limits.groups_max;
        let (subscribe, timescale) = track;
        if subgroup != 0 || header.group > VARINT_MAX || is_full || !self.subscriptions.add_group(subscribe, stream) {
            return self.refuse_group(stream);
        }
        let form = match header.has_properties {
            true => FrameForm::Objects,
            false => FrameForm::BareObjects,
        };
        let group = Group {
            subscribe,
            token: GROUP_TOKEN_NONE,
            parser: GroupParser::with_timescale(form, timescale),
        };
        self.incoming.insert(stream, Incoming::Group(group));
        // Objects that were sent before are missing, unless the publisher says that there are none.
        let frame_start = first.filter(|_| !header.is_first_object).unwrap_or(0);
        let header = GroupHeader {
            subscribe,
            sequence: GroupSequence(header.group),
            frame_start,
        };
        self.events.push(MediaEvent::GroupStart { stream, header });
        self.handle_group(stream, data, fin);
    }

    fn remove_group(&mut self, stream: StreamId) {
        if let Some(Incoming::Group(group)) = self.incoming.remove(&stream) {
            self.buffered_bytes -= group.parser.held_bytes();
        }
    }

    fn refuse_group(&mut self, stream: StreamId) {
        self.counters.groups_refused += 1;
        self.outbox.stop_sending(stream, stream_error::CANCEL);
    }

    fn handle_group(&mut self, stream: StreamId, data: Bytes, fin: bool) {
        let Some(Incoming::Group(group)) = self.incoming.get_mut(&stream) else {
            return;
        };
        let token = group.token;
        let failure = if data.is_empty() {
            None
        } else {
            self.buffered_bytes -= group.parser.held_bytes();
            let pushed = group.parser.push(data, self.arrival_ms);
            self.buffered_bytes += group.parser.held_bytes();
            match pushed {
                Ok(Some(chunk)) => {
                    self.events.push(MediaEvent::GroupChunk { stream, token, chunk });
                    None
                }
                Ok(None) => None,
                Err(DecodeError::TooLarge(_)) => Some(stream_error::FRAME_TOO_LARGE),
                Err(error) => return self.violate_message("object", error),
            }
        };
        let is_whole = group.parser.is_at_boundary();
        let subscribe = group.subscribe;
        let code = match failure {
            None if !fin => return,
            None if is_whole => None,
            None => Some(stream_error::WRONG_SIZE),
            Some(code) => {
                if !fin {
                    self.outbox.stop_sending(stream, stream_error::CANCEL);
                }
                Some(code)
            }
        };
        self.events.push(match code {
            None => MediaEvent::GroupEnd { stream, token },
            Some(code) => MediaEvent::GroupReset { stream, token, code },
        });
        self.remove_group(stream);
        self.subscriptions.remove_group(subscribe, stream);
    }
}
