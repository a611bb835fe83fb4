//! The peer's one-way streams: SETUP and groups. The data path.

use bytes::{Bytes, BytesMut};

use crate::limits::DATAGRAM_BODY_BYTES_MAX;
use crate::wire::chunk::GroupParser;
use crate::wire::{
    DatagramHeader, DecodeError, ErrorCode, GroupHeader, Role, Setup, StreamId, SubscribeId, UniType, Version,
    stream_error, varint,
};

use super::partial::Input;
use super::{GROUP_TOKEN_NONE, MediaEvent, Session, SessionEvent, Side};

#[derive(Debug)]
pub(super) enum Incoming {
    /// The stream type and GROUP message are not complete.
    Header(BytesMut),
    Setup {
        partial: BytesMut,
    },
    /// SETUP came, FIN has not.
    SetupDone,
    Group(Group),
}

#[derive(Debug)]
pub(super) struct Group {
    subscribe: SubscribeId,
    token: u64,
    parser: GroupParser,
}

/// What the first bytes of a stream announce.
enum Header {
    Setup,
    Group(GroupHeader),
    Unknown,
}

impl Session {
    /// A datagram came. It becomes [`MediaEvent::Datagram`] when it is for a live subscription. Else it is dropped and
    /// counted (draft "Datagrams"): before 05, above [`DATAGRAM_BODY_BYTES_MAX`], malformed, or of an unknown
    /// subscription.
    pub fn handle_datagram(&mut self, data: Bytes) {
        if self.is_closed {
            return;
        }
        let version = self.config.version;
        // A larger one, and one for an unknown subscription, is dropped silently (draft
        // "Datagrams").
        let is_sane = version.has_datagrams() && data.len() <= DATAGRAM_BODY_BYTES_MAX;
        match DatagramHeader::decode(version, &data) {
            Ok((header, used)) if is_sane && self.subscriptions.contains(header.subscribe) => {
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
            self.incoming.remove(&stream);
            self.subscriptions.remove_group(subscribe, stream);
            self.outbox.stop_sending(stream, code);
        }
    }

    pub(super) fn handle_incoming(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp: u64) {
        if let Some(Incoming::Group(_)) = self.incoming.get(&stream) {
            return self.handle_group(stream, data, fin, arrival_timestamp);
        }
        let incoming = match self.incoming.remove(&stream) {
            Some(incoming) => incoming,
            None if !self.is_first_sight(stream) => return,
            None => Incoming::Header(BytesMut::new()),
        };
        match incoming {
            Incoming::Header(partial) => self.handle_header(stream, partial, data, fin, arrival_timestamp),
            Incoming::Setup { partial } => self.handle_setup(stream, partial, data, fin),
            Incoming::SetupDone => self.handle_after_setup(stream, &data, fin),
            Incoming::Group(_) => {}
        }
    }

    pub(super) fn reset_incoming(&mut self, stream: StreamId, code: ErrorCode) {
        match self.incoming.remove(&stream) {
            // Told apart from a stream that was never seen so that late bytes of it stay ignored.
            None => {
                self.is_first_sight(stream);
            }
            Some(Incoming::Header(partial)) => self.buffered_bytes -= partial.len(),
            Some(Incoming::Setup { .. }) => self.violate("SETUP was reset"),
            Some(Incoming::SetupDone) => {}
            Some(Incoming::Group(group)) => {
                self.subscriptions.remove_group(group.subscribe, stream);
                let token = group.token;
                self.events.push(MediaEvent::GroupReset { stream, token, code });
            }
        }
    }

    /// Stops the groups of a subscription that is given up.
    pub(super) fn stop_groups(&mut self, groups: &[StreamId], code: ErrorCode) {
        for stream in groups {
            self.incoming.remove(stream);
            self.events.discard_group(*stream);
            self.outbox.stop_sending(*stream, code);
        }
    }

    fn handle_header(&mut self, stream: StreamId, partial: BytesMut, data: Bytes, fin: bool, arrival_timestamp: u64) {
        self.buffered_bytes -= partial.len();
        let mut input = Input::new(partial, data);
        match input.take(|bytes| decode_header(self.config.version, bytes)) {
            // A stream that ends before it says what it is was given up by the peer.
            Ok(None) if fin => {}
            Ok(None) if self.incoming.len() >= self.config.limits.groups_max => self.refuse_group(stream),
            Ok(None) => {
                let partial = input.into_partial();
                self.buffered_bytes += partial.len();
                self.incoming.insert(stream, Incoming::Header(partial));
            }
            // Draft "STREAM_TYPE": never fatal.
            Ok(Some(Header::Unknown)) => {
                self.counters.streams_unknown += 1;
                self.outbox.stop_sending(stream, stream_error::INTERNAL);
            }
            // Draft "Setup": exactly one in each direction.
            Ok(Some(Header::Setup)) if self.is_setup_begun => self.violate("second Setup Stream"),
            Ok(Some(Header::Setup)) => {
                self.is_setup_begun = true;
                self.handle_setup(stream, BytesMut::new(), input.into_bytes(), fin);
            }
            Ok(Some(Header::Group(header))) => {
                if self.start_group(stream, header) {
                    self.handle_group(stream, input.into_bytes(), fin, arrival_timestamp);
                }
            }
            Err(error) => self.violate_message("GROUP", error),
        }
    }

    /// False when the group is not wanted.
    fn start_group(&mut self, stream: StreamId, header: GroupHeader) -> bool {
        if self.incoming.len() >= self.config.limits.groups_max
            || !self.subscriptions.add_group(header.subscribe, stream)
        {
            self.refuse_group(stream);
            return false;
        }
        let group = Group {
            subscribe: header.subscribe,
            token: GROUP_TOKEN_NONE,
            parser: GroupParser::new(self.config.version.frame_form()),
        };
        self.incoming.insert(stream, Incoming::Group(group));
        self.events.push(MediaEvent::GroupStart { stream, header });
        true
    }

    fn refuse_group(&mut self, stream: StreamId) {
        self.counters.groups_refused += 1;
        self.outbox.stop_sending(stream, stream_error::CANCEL);
    }

    fn handle_group(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp: u64) {
        let Some(Incoming::Group(group)) = self.incoming.get_mut(&stream) else {
            return;
        };
        let token = group.token;
        let failure = if data.is_empty() {
            None
        } else {
            match group.parser.push(data, arrival_timestamp) {
                Ok(Some(chunk)) => {
                    self.events.push(MediaEvent::GroupChunk { stream, token, chunk });
                    None
                }
                Ok(None) => None,
                Err(error) => Some(frame_failure(error)),
            }
        };
        let is_whole = group.parser.is_at_boundary();
        let subscribe = group.subscribe;
        match failure {
            None if !fin => return,
            None if is_whole => self.events.push(MediaEvent::GroupEnd { stream, token }),
            // The end came inside a frame: of this group alone it says something.
            None => self.events.push(MediaEvent::GroupReset {
                stream,
                token,
                code: stream_error::WRONG_SIZE,
            }),
            Some(code) => {
                self.events.push(MediaEvent::GroupReset { stream, token, code });
                if !fin {
                    self.outbox.stop_sending(stream, code);
                }
            }
        }
        self.incoming.remove(&stream);
        self.subscriptions.remove_group(subscribe, stream);
    }

    fn handle_setup(&mut self, stream: StreamId, partial: BytesMut, data: Bytes, fin: bool) {
        self.buffered_bytes -= partial.len();
        let mut input = Input::new(partial, data);
        match input.take(|bytes| Setup::decode(self.config.version, bytes)) {
            Ok(Some(setup)) => {
                self.accept_setup(setup);
                if !self.is_closed {
                    self.handle_after_setup(stream, &input.into_bytes(), fin);
                }
            }
            Ok(None) if fin => self.violate("Setup Stream ended inside SETUP"),
            Ok(None) => {
                let partial = input.into_partial();
                self.buffered_bytes += partial.len();
                self.incoming.insert(stream, Incoming::Setup { partial });
            }
            Err(error) => self.violate_message("SETUP", error),
        }
    }

    /// SETUP is the only message of its stream (draft "Setup").
    fn handle_after_setup(&mut self, stream: StreamId, data: &Bytes, fin: bool) {
        if !data.is_empty() {
            self.violate("bytes after SETUP");
        } else if !fin {
            self.incoming.insert(stream, Incoming::SetupDone);
        }
    }

    pub(super) fn accept_setup(&mut self, setup: Setup) {
        // Draft "Path Parameter" and "Role Parameter": only the client sends them.
        if self.config.side == Side::Client && (setup.path.is_some() || setup.role != Role::Both) {
            return self.violate("Path or Role from a server");
        }
        self.peer_setup = Some(setup.clone());
        self.events.push(SessionEvent::Setup(setup));
        self.release_held();
    }
}

/// `Stream Type (i) | GROUP`, or the type alone of other streams.
fn decode_header(version: Version, bytes: &[u8]) -> Result<(Header, usize), DecodeError> {
    let (code, type_bytes) = varint::get(bytes)?;
    match UniType::from_code(version, code) {
        None => Ok((Header::Unknown, type_bytes)),
        Some(UniType::Setup) => Ok((Header::Setup, type_bytes)),
        Some(UniType::Group) => {
            let rest = bytes.get(type_bytes..).unwrap_or_default();
            let (header, used) = GroupHeader::decode(version, rest)?;
            Ok((Header::Group(header), type_bytes + used))
        }
    }
}

fn frame_failure(error: DecodeError) -> ErrorCode {
    match error {
        DecodeError::TooLarge(_) => stream_error::FRAME_TOO_LARGE,
        _ => stream_error::MALFORMED_TRACK,
    }
}
