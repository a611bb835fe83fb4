//! What a participant sends: frames on their schedule, to whoever subscribed.

use bytes::{Bytes, BytesMut};
use moqswitch_proto::session::RequestEvent;
use moqswitch_proto::wire::{
    Advertisement, BroadcastPath, DatagramHeader, FrameHeader, GroupHeader, GroupSequence, HopId, StreamId,
    SubscribeId, SubscribeOk, TrackInfo,
};
use moqswitch_relay::quic::ConnectionKey;
use rand::RngExt;

use crate::load::{CATALOG, TrackPlan};
use crate::model::codec::Content;
use crate::model::{Purpose, random};
use crate::truth::interval::{Ledger, Measure};
use crate::truth::stamp::{self, Stamp};

use super::call::{Arrival, Call};
use super::lines::{Lines, NO_SUCH_TRACK};
use super::person::{OpenGroup, Published, Subscriber};
use super::{nanoseconds, on_grid};

impl Call {
    /// Sends what a track has at its next frame time. The caller has made sure it is due.
    pub(super) fn send_tick(
        &mut self,
        participant: u16,
        track: u8,
        now_ns: u64,
        lines: &mut Lines,
        ledger: &mut Ledger,
    ) {
        let may_talk = self.may_talk(participant);
        let Some(plan) = self.load.tracks.get(usize::from(track)) else {
            return;
        };
        let person = &mut self.people[usize::from(participant)];
        let (line, audience) = (person.line, person.audience);
        let Some(published) = person.tracks.get_mut(usize::from(track)) else {
            return;
        };
        let tick = published.source.poll_tick();
        let intended_ns = on_grid(published.next_ns);
        published.next_ns += nanoseconds(tick.lasts);
        let Some(content) = tick.frame.filter(|_| may_talk) else {
            // Whoever is silenced in the middle of a group ends it as well.
            if (tick.ends_group || !may_talk) && published.group.as_ref().is_some_and(|group| !group.is_complete) {
                end_group(published, lines);
            }
            return;
        };
        if published.group.as_ref().is_none_or(|group| group.is_complete) {
            begin_group(published);
        }
        let counts = &mut ledger.at(intended_ns).counts;
        counts.frames_offered += audience;
        counts.frames_not_owed += audience.saturating_sub(published.listeners);
        if line.is_none() {
            // The connection is lost: who was to hear it does not.
            published.log.push(intended_ns, None);
            if let Some(group) = &mut published.group {
                group.is_complete = tick.completes_group || plan.datagrams;
            }
            return;
        }
        let payload = match content {
            Content::Synthetic(bytes) => {
                let stamp = Stamp {
                    call: self.id,
                    participant,
                    track,
                    sequence: published.log.push(intended_ns, None),
                    intended_ns,
                };
                stamp::build(stamp, bytes)
            }
            Content::Replayed(index) => {
                published.log.push(intended_ns, Some(index));
                let frame = plan.media.as_ref().map(|media| &media.frames[index as usize]);
                frame.map(|frame| frame.bytes.clone()).unwrap_or_default()
            }
        };
        let timestamp_ms = i64::try_from(intended_ns.saturating_sub(self.intended_ns) / 1_000_000).unwrap_or(i64::MAX);
        let interval = ledger.at(intended_ns);
        interval.counts.frames_sent += 1;
        interval.record(Measure::Lag, now_ns.saturating_sub(intended_ns) / 1000);
        let Some(group) = &mut published.group else { return };
        group.is_complete = tick.completes_group || plan.datagrams;
        group.frames.push((payload, timestamp_ms));
        let mut is_sent = true;
        for subscriber in &mut published.subscribers {
            let delivery = Delivery { plan, group };
            is_sent &= delivery.send(subscriber, group.frames.len() - 1, lines);
        }
        if !is_sent {
            published.log.give_up(group.number);
        }
    }

    /// Tells the relay of a participant's broadcast, if it is below `prefix`.
    pub(super) fn announce(&mut self, at: &Arrival<'_>, request: StreamId, prefix: &BroadcastPath, lines: &mut Lines) {
        let suffix = self
            .path(at.participant)
            .strip_prefix(prefix)
            .filter(|_| self.load.shape.publishes(at.participant));
        let Some(session) = lines.session(at.line) else { return };
        session.announce_ok(request, u64::from(suffix.is_some()));
        if let Some(suffix) = suffix {
            session.announce(request, &suffix, &self.advertisement(at.participant));
            let person = &mut self.people[usize::from(at.participant)];
            person.announced_on.push((at.line, request, suffix));
        }
    }

    /// Answers what the relay asks of a publisher.
    pub(super) fn handle_request(&mut self, at: &mut Arrival<'_>, event: RequestEvent, lines: &mut Lines) {
        let (participant, line) = (at.participant, at.line);
        let path = self.path(participant);
        let publishes = self.load.shape.publishes(participant);
        let Some(session) = lines.session(line) else { return };
        let person = &mut self.people[usize::from(participant)];
        match event {
            RequestEvent::Track { request, message } => {
                let plan = self.load.tracks.iter().find(|plan| *plan.name == *message.track);
                match plan.filter(|_| publishes) {
                    Some(plan) => session.track_info(request, &info(plan)),
                    None if &*message.track == CATALOG && self.load.has_catalog => {
                        session.track_info(request, &CATALOG_INFO);
                    }
                    None => session.refuse(request, NO_SUCH_TRACK),
                }
            }
            RequestEvent::Subscribe { request, message } => {
                let wanted = (0..)
                    .zip(&self.load.tracks)
                    .find(|(_, plan)| *plan.name == *message.track && publishes && message.broadcast == path);
                if &*message.track == CATALOG && self.load.has_catalog && publishes {
                    session.subscribe_ok(request, &ACCEPTED);
                    session.subscribe_start(request, GroupSequence(0));
                    return self.send_catalog(line, message.id, lines);
                }
                let Some((track, plan)) = wanted else {
                    return session.refuse(request, NO_SUCH_TRACK);
                };
                session.subscribe_ok(request, &ACCEPTED);
                let track: usize = track;
                let published = &mut person.tracks[track];
                let first = published.group.as_ref().map_or(0, |group| group.number);
                session.subscribe_start(request, GroupSequence(first));
                let mut subscriber = Subscriber {
                    line,
                    id: message.id,
                    request,
                    stream: None,
                };
                if let Some(group) = published.group.as_ref().filter(|_| !plan.datagrams) {
                    let delivery = Delivery { plan, group };
                    if !(0..group.frames.len()).all(|frame| delivery.send(&mut subscriber, frame, lines)) {
                        published.log.give_up(group.number);
                    }
                }
                published.subscribers.push(subscriber);
                self.begin_expecting(participant, u8::try_from(track).unwrap_or(u8::MAX), at.ledger);
            }
            RequestEvent::SubscribeEnded { request } => {
                for track in &mut person.tracks {
                    let is_it = |subscriber: &Subscriber| subscriber.line == line && subscriber.request == request;
                    track.subscribers.retain(|subscriber| !is_it(subscriber));
                }
            }
            RequestEvent::Fetch { request, .. } => session.refuse(request, NO_SUCH_TRACK),
            RequestEvent::SubscribeUpdate { .. }
            | RequestEvent::FetchEnded { .. }
            | RequestEvent::TrackEnded { .. }
            | RequestEvent::Probe { .. }
            | RequestEvent::ProbeEnded { .. } => {}
        }
    }

    /// Says that a participant's broadcast ends.
    pub(super) fn unannounce(&mut self, participant: u16, lines: &mut Lines) {
        let person = &mut self.people[usize::from(participant)];
        for (line, request, suffix) in person.announced_on.drain(..) {
            if let Some(session) = lines.session(line) {
                session.unannounce(request, &suffix);
            }
        }
    }

    /// What is said of a broadcast: whose it is, on whichever connection it is announced.
    fn advertisement(&self, participant: u16) -> Advertisement {
        let id = (u64::from(self.id) << 16) | u64::from(participant);
        let hop = random(self.load.seed, Purpose::Behaviour, id ^ HOPS).random::<u64>() >> 2;
        Advertisement {
            hops: vec![HopId(hop.max(1))],
            ..Advertisement::default()
        }
    }

    fn send_catalog(&self, line: ConnectionKey, subscribe: SubscribeId, lines: &mut Lines) {
        let tracks: Vec<_> = self
            .load
            .tracks
            .iter()
            .map(|plan| serde_json::json!({"name": plan.name, "codec": plan.codec.name(), "priority": plan.priority}))
            .collect();
        let text = serde_json::json!({ "tracks": tracks }).to_string();
        let header = GroupHeader {
            subscribe,
            sequence: GroupSequence(0),
            frame_start: 0,
        };
        if let Some(stream) = open_stream(line, &header, lines) {
            let frame = StreamFrame {
                delta_ms: 0,
                payload: Bytes::from(text),
                is_last: true,
            };
            write_frame(line, stream, frame, lines);
        }
    }
}

/// A group on its way to subscribers.
struct Delivery<'a> {
    plan: &'a TrackPlan,
    group: &'a OpenGroup,
}

impl Delivery<'_> {
    /// Sends one frame of the group; frames are sent in order. False when the group is given up.
    fn send(&self, subscriber: &mut Subscriber, frame: usize, lines: &mut Lines) -> bool {
        let (payload, timestamp_ms) = &self.group.frames[frame];
        let sequence = GroupSequence(self.group.number);
        if self.plan.datagrams {
            let header = DatagramHeader {
                subscribe: subscriber.id,
                sequence,
                timestamp: u64::try_from(*timestamp_ms).unwrap_or(0),
            };
            return lines.send_datagram(subscriber.line, &header, payload);
        }
        let is_last = self.group.is_complete && frame + 1 == self.group.frames.len();
        let previous_ms = frame.checked_sub(1).map_or(0, |before| self.group.frames[before].1);
        if frame == 0 {
            let header = GroupHeader {
                subscribe: subscriber.id,
                sequence,
                frame_start: 0,
            };
            subscriber.stream = open_stream(subscriber.line, &header, lines);
        }
        let Some(stream) = subscriber.stream else {
            return frame > 0;
        };
        let frame = StreamFrame {
            delta_ms: timestamp_ms - previous_ms,
            payload: payload.clone(),
            is_last,
        };
        let is_taken = write_frame(subscriber.line, stream, frame, lines);
        if is_last || !is_taken {
            subscriber.stream = None;
        }
        is_taken
    }
}

fn begin_group(published: &mut Published) {
    published.group = Some(OpenGroup {
        number: published.log.begin_group(),
        frames: Vec::new(),
        is_complete: false,
    });
}

/// A group that is not complete ends where it is.
pub(super) fn end_group(published: &mut Published, lines: &mut Lines) {
    if let Some(group) = &mut published.group {
        group.is_complete = true;
    }
    for subscriber in &mut published.subscribers {
        if let Some(stream) = subscriber.stream.take() {
            // Nothing is nothing too much.
            lines.write(subscriber.line, stream, Bytes::new(), true);
        }
    }
}

fn open_stream(line: ConnectionKey, header: &GroupHeader, lines: &mut Lines) -> Option<StreamId> {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let session = lines.session(line)?;
    let stream = session.open_uni();
    session.group_header(header, &mut head);
    lines.write(line, stream, head.freeze(), false).then_some(stream)
}

/// A frame on the stream of its group.
struct StreamFrame {
    /// From the one before.
    delta_ms: i64,
    payload: Bytes,
    /// The group ends with it.
    is_last: bool,
}

/// False when the stream was given up.
fn write_frame(line: ConnectionKey, stream: StreamId, frame: StreamFrame, lines: &mut Lines) -> bool {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let header = FrameHeader {
        timestamp_delta: frame.delta_ms,
        size: frame.payload.len() as u64,
    };
    header
        .encode(lines.draft().frame_form(), &mut head)
        .expect("sizes and timestamps of a run are small");
    lines.write(line, stream, head.freeze(), false) && lines.write(line, stream, frame.payload, frame.is_last)
}

fn info(plan: &TrackPlan) -> TrackInfo {
    TrackInfo {
        epoch: 0,
        priority: plan.priority,
        ordered: false,
        max_latency_ms: u64::try_from(plan.max_latency.as_millis()).unwrap_or(u64::MAX),
        timescale: 1000,
    }
}

const CATALOG_INFO: TrackInfo = TrackInfo {
    epoch: 0,
    priority: 100,
    ordered: true,
    max_latency_ms: 10_000,
    timescale: 1000,
};

/// How drafts 03 and 04 accept a subscription.
const ACCEPTED: SubscribeOk = SubscribeOk {
    priority: 0,
    ordered: false,
    max_latency_ms: 1000,
    start: None,
    end: None,
    timescale: None,
};

/// Tells what publishers are called from what else is drawn for them.
const HOPS: u64 = 0x4855_0000_0000_0000;

/// A stream type and GROUP, or a frame header.
const HEAD_BYTES: usize = 64;
