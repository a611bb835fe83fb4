//! Reads operations and does them to one session.

use bytes::{Bytes, BytesMut};

use crate::session::{
    Event, MediaEvent, Session, SessionConfig, SessionLimits, SessionLive, Side, SubscribeParameters,
};
use crate::wire::{
    Advertisement, Announce, AnnounceInit, AnnounceOk, AnnounceRequest, BidiType, BroadcastPath, DatagramHeader,
    EncodeError, ErrorCode, Fetch, FrameHeader, Goaway, GroupHeader, GroupRange, GroupSequence, HandshakeForm, HopId,
    Probe, ProbeLevel, SessionClient, SessionServer, Setup, StreamHeads, StreamId, Subscribe, SubscribeId, SubscribeOk,
    SubscribeResponse, SubscribeUpdate, TrackInfo, TrackRequest, UniType, Version, session_error, stream_error,
};

use super::Outcome;
use super::model::Model;

/// How many operations there are; a byte picks one by its remainder.
pub(super) const OPERATIONS: u8 = 14;

#[derive(Debug)]
pub(super) struct Performer<'a> {
    input: &'a [u8],
    session: Session,
    limits: SessionLimits,
    model: Model,
    outcome: Outcome,
    /// Of the peer.
    bidi_count: u64,
    uni_count: u64,
    /// Of ours, as far as the caller still has them.
    opened: Vec<(StreamId, BidiType)>,
    subscriptions: Vec<SubscribeId>,
    subscribe_id: u64,
}

impl<'a> Performer<'a> {
    /// The first byte picks version, side, limits and whether the peer's SETUP came.
    pub(super) fn new(input: &'a [u8]) -> Self {
        let (&head, input) = input.split_first().unwrap_or((&0, &[]));
        let versions = if head & 0b10_0000 == 0 {
            &Version::ALL[..]
        } else {
            &Version::IN_BAND
        };
        let version = versions[usize::from(head & 0b11) % versions.len()];
        let side = if head & 0b100 == 0 { Side::Client } else { Side::Server };
        let limits = if head & 0b1000 == 0 {
            SessionLimits::default()
        } else {
            SMALL_LIMITS
        };
        let config = SessionConfig {
            side,
            version,
            setup: Setup {
                probe: ProbeLevel::Report,
                ..Setup::default()
            },
            hop: HopId(3),
            limits: limits.clone(),
            heads: StreamHeads::default(),
        };
        let mut performer = Self {
            input,
            session: Session::new(config),
            limits,
            model: Model::default(),
            outcome: Outcome::default(),
            bidi_count: 0,
            uni_count: 0,
            opened: Vec::new(),
            subscriptions: Vec::new(),
            subscribe_id: 0,
        };
        if head & 0b1_0000 == 0 && (version.has_setup() || version.is_in_band()) {
            performer.send_setup();
        }
        performer
    }

    /// Does one operation; false when there is none left.
    pub(super) fn step(&mut self) -> Result<bool, String> {
        let Some((&operation, rest)) = self.input.split_first() else {
            return Ok(false);
        };
        self.input = rest;
        self.outcome.operations += 1;
        match operation % OPERATIONS {
            0 => self.raw_bytes(),
            1 => {
                let stream = self.any_stream();
                self.session.handle_reset(stream, stream_error::CANCEL);
            }
            2 => {
                let stream = self.any_stream();
                self.session.handle_stop_sending(stream);
            }
            3 => self.datagram(),
            4 | 5 => self.whole_request(),
            6 | 7 => self.whole_answer(),
            8 | 9 => self.group(),
            10 => self.command()?,
            11 => self.answer_command()?,
            12 => {
                self.drain()?;
                self.model.check_known(&self.session.stats())?;
            }
            _ => {
                // A second SETUP ends the session, so there are few.
                if self.byte() > 0xe0 || self.session.peer_setup().is_none() {
                    self.send_setup();
                }
            }
        }
        Model::check(&self.limits, &self.session.stats())?;
        Ok(true)
    }

    pub(super) fn finish(mut self) -> Result<Outcome, String> {
        self.drain()?;
        self.session.close(session_error::NO_ERROR, "done");
        self.drain()?;
        if self.session.stats().live != SessionLive::default() {
            return Err(format!("left after close: {:?}", self.session.stats()));
        }
        self.outcome.is_violated = self.model.is_violated();
        Ok(self.outcome)
    }

    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.input.split_first() else {
            return 0;
        };
        self.input = rest;
        byte
    }

    fn small(&mut self) -> u64 {
        u64::from(self.byte() % 8)
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(event) = self.session.poll_event() {
            self.outcome.events += 1;
            self.model.handle_event(&event)?;
            let Event::Media(event) = event else { continue };
            match event {
                MediaEvent::GroupStart { stream, .. } => self.session.set_group_token(stream, stream.0),
                MediaEvent::GroupChunk { stream, token, .. } if token != stream.0 => {
                    return Err(format!("{stream:?} has token {token}"));
                }
                MediaEvent::GroupChunk { .. }
                | MediaEvent::GroupEnd { .. }
                | MediaEvent::GroupReset { .. }
                | MediaEvent::Datagram { .. } => {}
            }
        }
        while let Some(transmit) = self.session.poll_transmit() {
            self.outcome.transmits += 1;
            self.model.handle_transmit(&transmit)?;
        }
        Ok(())
    }

    /// A stream of either end and direction, with an ordinal that is mostly small.
    fn any_stream(&mut self) -> StreamId {
        let byte = u64::from(self.byte());
        let far = if byte >= 0xf8 { u64::from(self.byte()) << 50 } else { 0 };
        StreamId(byte.wrapping_add(far) & ((1 << 62) - 1))
    }

    fn peer_stream(&self, index: u64, is_uni: bool) -> StreamId {
        let opener = u64::from(self.session.side() == Side::Client);
        StreamId(index << 2 | u64::from(is_uni) << 1 | opener)
    }

    fn raw_bytes(&mut self) {
        let stream = self.any_stream();
        let length = self.byte();
        let (data, rest) = self.input.split_at(usize::from(length & 0x3f).min(self.input.len()));
        self.input = rest;
        self.session
            .handle_stream(stream, Bytes::copy_from_slice(data), length & 0x80 != 0, 5);
    }

    fn datagram(&mut self) {
        let header = DatagramHeader {
            subscribe: SubscribeId(self.small()),
            sequence: GroupSequence(self.small()),
            timestamp: self.small(),
        };
        let mut out = BytesMut::new();
        if header.encode(self.session.version(), &mut out).is_err() || self.byte() > 0xf0 {
            out.truncate(1);
        }
        out.resize(out.len() + usize::from(self.byte()) * 8, 0);
        self.session.handle_datagram(out.freeze());
    }

    fn send_setup(&mut self) {
        let mut out = BytesMut::new();
        let version = self.session.version();
        if version.is_in_band() {
            return self.send_handshake(version);
        }
        let setup = Setup {
            probe: ProbeLevel::Report,
            ..Setup::default()
        };
        let encoded = UniType::Setup
            .encode(version, &mut out)
            .and_then(|()| setup.encode(version, &mut out));
        if encoded.is_ok() {
            let stream = self.peer_stream(self.uni_count, true);
            self.uni_count += 1;
            self.session.handle_stream(stream, out.freeze(), true, 0);
        }
    }

    fn send_handshake(&mut self, version: Version) {
        let form = HandshakeForm::of(version);
        let code = version.code().unwrap_or_default();
        let mut out = BytesMut::new();
        let (stream, encoded) = match self.session.side() {
            Side::Client => {
                let server = SessionServer { version: code };
                (StreamId(0), server.encode(form, &mut out))
            }
            Side::Server => {
                let client = SessionClient {
                    versions: [code].as_slice().into(),
                    path: None,
                };
                let stream = self.peer_stream(self.bidi_count, false);
                self.bidi_count += 1;
                let encoded = form
                    .stream_type()
                    .encode(version, &mut out)
                    .and_then(|()| client.encode(form, &mut out));
                (stream, encoded)
            }
        };
        if encoded.is_ok() {
            self.session.handle_stream(stream, out.freeze(), false, 0);
        }
    }

    /// A request with its type, of which the last bytes may be missing.
    fn whole_request(&mut self) {
        let version = self.session.version();
        // A second GOAWAY ends the session, so there are few.
        let kind = match self.byte() {
            0xf0.. => BidiType::Goaway,
            byte => KINDS[usize::from(byte) % KINDS.len()],
        };
        let mut out = BytesMut::new();
        let encoded = kind
            .encode(version, &mut out)
            .and_then(|()| self.request(kind, &mut out));
        if encoded.is_err() {
            return;
        }
        let ending = self.byte();
        if ending & 0b111 == 1 {
            out.truncate(out.len() - 1);
        }
        let stream = self.peer_stream(self.bidi_count, false);
        self.bidi_count += 1;
        self.session.handle_stream(stream, out.freeze(), ending & 0x80 != 0, 0);
    }

    fn request(&mut self, kind: BidiType, out: &mut BytesMut) -> Result<(), EncodeError> {
        let version = self.session.version();
        match kind {
            BidiType::Session | BidiType::SessionCompat => Ok(()),
            BidiType::Announce => AnnounceRequest {
                prefix: path(self.small()),
                exclude_hop: HopId(self.small()),
                ended: false,
            }
            .encode(version, out),
            BidiType::Subscribe => {
                self.subscribe_id += 1;
                // One in sixteen repeats an id.
                let id = self.subscribe_id - u64::from(self.byte() > 0xf0);
                let update = update(self.small());
                Subscribe {
                    id: SubscribeId(id),
                    broadcast: path(self.small()),
                    track: "t".into(),
                    epoch: 0,
                    priority: update.priority,
                    ordered: update.ordered,
                    max_latency_ms: update.max_latency_ms,
                    range: update.range,
                }
                .encode(version, out)?;
                if self.byte() & 1 == 1 {
                    update.encode(version, out)
                } else {
                    Ok(())
                }
            }
            BidiType::Fetch => fetch(self.small()).encode(version, out),
            BidiType::Track => track(self.small()).encode(version, out),
            BidiType::Probe => Probe {
                bitrate: Some(self.small()),
                rtt_ms: None,
            }
            .encode(version, out),
            BidiType::Goaway => Goaway {
                uri: "moqt://a".to_owned(),
            }
            .encode(version, out),
        }
    }

    /// What the peer could say on a stream of ours, more or less.
    fn whole_answer(&mut self) {
        let version = self.session.version();
        let number = u64::from(self.byte());
        let Some((stream, kind)) = pick(&self.opened, number) else {
            return;
        };
        let choice = self.byte();
        let group = GroupSequence(self.small());
        let mut out = BytesMut::new();
        let encoded = match kind {
            BidiType::Announce => self.announcement(choice, &mut out),
            BidiType::Subscribe => match choice % 4 {
                0 => SubscribeResponse::Ok(ok()).encode(version, &mut out),
                1 => SubscribeResponse::Start { group }.encode(version, &mut out),
                2 => SubscribeResponse::End { group }.encode(version, &mut out),
                _ => SubscribeResponse::Drop {
                    start: group,
                    end: group,
                    code: ErrorCode(0),
                }
                .encode(version, &mut out),
            },
            BidiType::Fetch => frame(version, choice, &mut out),
            BidiType::Track => info().encode(version, &mut out),
            BidiType::Probe => Probe {
                bitrate: Some(group.0),
                rtt_ms: None,
            }
            .encode(version, &mut out),
            BidiType::Goaway | BidiType::Session | BidiType::SessionCompat => Ok(()),
        };
        if encoded.is_ok() {
            let fin = choice & 0xc0 == 0xc0;
            self.session.handle_stream(stream, out.freeze(), fin, 0);
        }
    }

    fn announcement(&mut self, choice: u8, out: &mut BytesMut) -> Result<(), EncodeError> {
        let version = self.session.version();
        let id = self.small();
        let advertisement = Advertisement {
            hops: (0..self.small()).map(HopId).collect(),
            ..Advertisement::default()
        };
        match choice % 4 {
            1 if version.has_announce_ids() => Announce::EndId { id }.encode(version, out),
            1 => Announce::EndSuffix { suffix: path(id) }.encode(version, out),
            2 if version.has_announce_ids() => Announce::Update { id, advertisement }.encode(version, out),
            _ => Announce::Start {
                suffix: path(id),
                advertisement,
            }
            .encode(version, out),
        }
    }

    fn group(&mut self) {
        let version = self.session.version();
        let header = GroupHeader {
            subscribe: SubscribeId(self.small()),
            sequence: GroupSequence(self.small()),
            frame_start: 0,
        };
        let mut out = BytesMut::new();
        let ending = self.byte();
        let encoded = UniType::Group
            .encode(version, &mut out)
            .and_then(|()| header.encode(version, &mut out))
            .and_then(|()| frame(version, ending, &mut out));
        if encoded.is_ok() {
            let stream = self.peer_stream(self.uni_count, true);
            self.uni_count += 1;
            self.session.handle_stream(stream, out.freeze(), ending & 0x80 != 0, 0);
        }
    }

    /// The caller asks or gives up. It has taken all events before it does.
    fn command(&mut self) -> Result<(), String> {
        self.drain()?;
        let choice = self.byte();
        let number = self.small();
        let opened = match choice % 10 {
            0 => self.request_announce(choice, number),
            1 => {
                let subscribed = self.session.subscribe(parameters(number));
                self.subscriptions.extend(subscribed.map(|(id, _)| id));
                subscribed.map(|(_, stream)| (stream, BidiType::Subscribe))
            }
            2 => self
                .session
                .fetch(&fetch(number))
                .map(|stream| (stream, BidiType::Fetch)),
            3 => self
                .session
                .track(&track(number))
                .map(|stream| (stream, BidiType::Track)),
            4 => self.session.probe(Some(number)).map(|stream| (stream, BidiType::Probe)),
            5 => {
                self.session.goaway("moqt://b");
                None
            }
            6 => {
                if let Some(id) = pick(&self.subscriptions, number) {
                    self.session.unsubscribe(id);
                    // Its groups go unheard.
                    self.forget_groups();
                }
                None
            }
            7 => {
                if let Some(id) = pick(&self.subscriptions, number) {
                    self.session.update_subscription(id, &update(number));
                }
                None
            }
            8 => {
                if let Some((stream, _)) = pick(&self.opened, number) {
                    self.session.cancel(stream, stream_error::CANCEL);
                    self.model.announced.retain(|(announced, _)| *announced != stream);
                    self.forget_groups();
                }
                None
            }
            _ => {
                let group = self.model.groups.iter().min().copied();
                if let Some(stream) = group {
                    self.session.discard_group(stream, stream_error::CANCEL);
                    self.model.groups.remove(&stream);
                }
                None
            }
        };
        self.opened.extend(opened);
        Ok(())
    }

    fn request_announce(&mut self, choice: u8, number: u64) -> Option<(StreamId, BidiType)> {
        let stream = self.session.request_announce(&path(number))?;
        let mut out = BytesMut::new();
        let ok = AnnounceOk {
            hop: HopId(7),
            active_count: 0,
        };
        let version = self.session.version();
        let encoded = if version.has_announce_init() {
            let suffixes = vec![path(number + 1)];
            AnnounceInit { suffixes }.encode(version, &mut out)
        } else {
            ok.encode(version, &mut out)
        };
        if choice & 0x40 == 0 && encoded.is_ok() {
            self.session.handle_stream(stream, out.freeze(), false, 0);
        }
        Some((stream, BidiType::Announce))
    }

    fn forget_groups(&mut self) {
        // The model does not know which group is whose; a group it forgets wrongly would be an
        // error, so those that are left are discarded.
        for stream in std::mem::take(&mut self.model.groups) {
            self.session.discard_group(stream, stream_error::CANCEL);
        }
    }

    /// The caller answers one of the peer's requests, or the wrong one.
    fn answer_command(&mut self) -> Result<(), String> {
        self.drain()?;
        let choice = self.byte();
        let number = self.small();
        let mut requests: Vec<StreamId> = self.model.requests.keys().copied().collect();
        requests.sort_unstable();
        let Some(request) = pick(&requests, u64::from(choice >> 4)) else {
            return Ok(());
        };
        let group = GroupSequence(number);
        match choice % 13 {
            0 => self.session.announce_ok(request, number),
            1 | 2 => {
                let advertisement = Advertisement {
                    hops: (5..5 + number * 5).map(HopId).collect(),
                    ..Advertisement::default()
                };
                self.session.announce(request, &path(number), &advertisement);
            }
            3 => self.session.unannounce(request, &path(number)),
            4 => self.session.subscribe_ok(request, &ok()),
            5 => self.session.subscribe_start(request, group),
            6 => self.session.subscribe_end(request, group),
            7 => self.session.subscribe_drop(request, group, group, stream_error::OLD),
            8 => self.session.track_info(request, &info()),
            9 => {
                let report = Probe {
                    bitrate: Some(number),
                    rtt_ms: None,
                };
                self.session.probe_report(request, &report);
                self.session.update_bitrate(report.bitrate);
            }
            10 => self.session.finish(request),
            11 => self.session.finished_elsewhere(request),
            _ => self.session.refuse(request, stream_error::NOT_FOUND),
        }
        let is_answered = choice % 13 == 8 && self.model.requests.get(&request) == Some(&"track");
        if is_answered || choice % 13 >= 10 {
            self.model.requests.remove(&request);
        }
        Ok(())
    }
}

fn pick<T: Copy>(from: &[T], number: u64) -> Option<T> {
    let index = number % u64::try_from(from.len()).ok()?.max(1);
    from.get(usize::try_from(index).ok()?).copied()
}

fn path(number: u64) -> BroadcastPath {
    BroadcastPath::new(PATHS[usize::try_from(number).unwrap_or(0) % PATHS.len()])
}

fn parameters(number: u64) -> SubscribeParameters {
    let update = update(number);
    SubscribeParameters {
        broadcast: path(number),
        track: "t".into(),
        epoch: 0,
        priority: update.priority,
        ordered: update.ordered,
        max_latency_ms: update.max_latency_ms,
        range: update.range,
    }
}

fn update(number: u64) -> SubscribeUpdate {
    SubscribeUpdate {
        priority: 4,
        ordered: number & 1 == 1,
        max_latency_ms: number,
        range: GroupRange {
            start: (number & 2 == 2).then_some(GroupSequence(number)),
            ..GroupRange::default()
        },
    }
}

fn fetch(number: u64) -> Fetch {
    Fetch {
        broadcast: path(number),
        track: "t".into(),
        epoch: 0,
        priority: 1,
        group: GroupSequence(number),
        frame_start: 0,
        frame_end: None,
    }
}

fn track(number: u64) -> TrackRequest {
    TrackRequest {
        broadcast: path(number),
        track: "t".into(),
        epoch: 0,
    }
}

fn ok() -> SubscribeOk {
    SubscribeOk {
        priority: 1,
        ordered: false,
        max_latency_ms: 3,
        start: None,
        end: None,
        timescale: None,
    }
}

fn info() -> TrackInfo {
    TrackInfo {
        epoch: 0,
        priority: 1,
        ordered: false,
        max_latency_ms: 2,
        timescale: 1000,
    }
}

/// A frame, of which the last bytes may be missing.
fn frame(version: Version, choice: u8, out: &mut BytesMut) -> Result<(), EncodeError> {
    let header = FrameHeader {
        timestamp_delta: 0,
        size: u64::from(choice & 0b111),
    };
    header.encode(version.frame_form(), out)?;
    let present = if choice & 0b1000 == 0 {
        choice & 0b111
    } else {
        choice & 0b11
    };
    out.resize(out.len() + usize::from(present), 0);
    Ok(())
}

const KINDS: [BidiType; 5] = [
    BidiType::Announce,
    BidiType::Subscribe,
    BidiType::Fetch,
    BidiType::Track,
    BidiType::Probe,
];

const PATHS: [&str; 8] = ["", "a", "a/b", "a/b/c", "b", "room/ali", "room/bob", "x/y"];

/// Low enough that a short input reaches them.
const SMALL_LIMITS: SessionLimits = SessionLimits {
    subscriptions_max: 2,
    announce_requests_max: 2,
    fetches_max: 2,
    track_requests_max: 2,
    probes_max: 1,
    requests_max: 5,
    requests_held_max: 2,
    announced_max: 3,
    groups_max: 3,
    control_buffer_bytes_max: 32,
    control_bytes_max: 64,
    events_queued_max: 64,
};
