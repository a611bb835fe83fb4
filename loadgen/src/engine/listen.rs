//! What a participant hears: announcements, subscriptions, frames.

use bytes::BytesMut;
use moqswitch::quic::ConnectionKey;
use moqswitch::session::{Event, SubscribeParameters};
use moqswitch::wire::{Chunk, DatagramHeader, GroupRange, StreamId, SubscribeId};

use crate::truth::interval::Ledger;
use crate::truth::leg::{Leg, Place};
use crate::truth::mos;
use crate::truth::stamp;

use super::call::{Call, CallLeg};
use super::lines::Lines;
use super::publish::CATALOG;

/// A group that is coming in.
#[derive(Debug)]
pub(super) struct Arriving {
    leg: usize,
    group: u64,
    /// Of the frame that is coming in.
    index: u64,
    frame: Option<Incomplete>,
}

#[derive(Debug)]
struct Incomplete {
    size: usize,
    payload: BytesMut,
}

/// Where and when something came in.
pub(super) struct Arrival<'a> {
    pub(super) participant: u16,
    pub(super) line: ConnectionKey,
    pub(super) now_ns: u64,
    pub(super) ledger: &'a mut Ledger,
}

impl Call {
    /// Takes what a session said; false for what is a publisher's affair, or nobody's.
    pub(super) fn handle_heard(&mut self, at: &mut Arrival<'_>, event: &Event, lines: &mut Lines) -> bool {
        match event {
            Event::GroupStart { stream, header } => {
                let person = &mut self.people[usize::from(at.participant)];
                if let Some(Some(leg)) = person.subscriptions.get(&header.subscribe) {
                    let arriving = Arriving {
                        leg: *leg,
                        group: header.sequence.0,
                        index: header.frame_start,
                        frame: None,
                    };
                    person.arriving.insert(*stream, arriving);
                }
            }
            Event::GroupChunk { stream, chunk, .. } => self.handle_chunk(at, *stream, chunk),
            Event::GroupEnd { stream, .. } => {
                self.people[usize::from(at.participant)].arriving.remove(stream);
            }
            Event::GroupReset { stream, .. } => {
                let arriving = self.people[usize::from(at.participant)].arriving.remove(stream);
                if let Some(arriving) = arriving {
                    self.skip(arriving.leg, arriving.group..=arriving.group);
                }
            }
            Event::SubscriptionDrop { id, start, end, .. } => {
                if let Some(leg) = self.leg_of(at.participant, *id) {
                    self.skip(leg, start.0..=end.0);
                }
            }
            Event::Datagram { header, payload } => self.handle_datagram(at, header, payload),
            Event::Announced { path, .. } => {
                if let Some(publisher) = self.participant(path) {
                    self.handle_announced(at, publisher, lines);
                }
            }
            Event::Unannounced { path, .. } => {
                if let Some(publisher) = self.participant(path) {
                    self.handle_unannounced(at, publisher, lines);
                }
            }
            Event::SubscriptionOk { id, .. } | Event::SubscriptionStart { id, .. } => self.accept(at, *id),
            Event::SubscriptionClosed { id, .. } => self.close_subscription(at, *id, lines),
            _ => return false,
        }
        true
    }

    fn handle_announced(&mut self, at: &mut Arrival<'_>, publisher: u16, lines: &mut Lines) {
        let person = &mut self.people[usize::from(at.participant)];
        let is_news = !std::mem::replace(&mut person.sees[usize::from(publisher)], true);
        if !is_news || !self.load.shape.hears(at.participant, publisher) {
            return;
        }
        person.unseen -= 1;
        if self.ending_ns.is_none() && !person.is_leaving {
            self.subscribe(at, publisher, lines);
        }
        self.advance(at.participant, at.now_ns, at.ledger);
    }

    fn subscribe(&mut self, at: &Arrival<'_>, publisher: u16, lines: &mut Lines) {
        let broadcast = self.path(publisher);
        let Some(session) = lines.session(at.line) else { return };
        let parameters = |track: &str, priority, max_latency_ms| SubscribeParameters {
            broadcast: broadcast.clone(),
            track: track.into(),
            epoch: 0,
            priority,
            ordered: false,
            max_latency_ms,
            range: GroupRange::default(),
        };
        if self.load.has_catalog
            && let Some((id, _)) = session.subscribe(parameters(CATALOG, 100, 10_000))
        {
            self.people[usize::from(at.participant)].subscriptions.insert(id, None);
        }
        let is_on_clear_path =
            self.load.has_both_paths() && !self.load.is_impaired(at.participant) && !self.load.is_impaired(publisher);
        for (track, plan) in (0..).zip(&self.load.tracks) {
            let max_latency_ms = u64::try_from(plan.max_latency.as_millis()).unwrap_or(u64::MAX);
            let Some((id, _)) = session.subscribe(parameters(plan.name, plan.priority, max_latency_ms)) else {
                continue;
            };
            let log = &self.people[usize::from(publisher)].tracks[usize::from(track)].log;
            let mut leg = Leg::new(log, mos::impairment(plan.codec.name()), at.now_ns);
            leg.is_on_clear_path = is_on_clear_path;
            let leg = self.legs.insert(CallLeg {
                listener: at.participant,
                publisher,
                track,
                leg,
                is_accepted: false,
                closed_ns: None,
            });
            self.people[usize::from(at.participant)]
                .subscriptions
                .insert(id, Some(leg));
        }
    }

    /// The publisher has gone. When it comes back it is subscribed anew.
    fn handle_unannounced(&mut self, at: &Arrival<'_>, publisher: u16, lines: &mut Lines) {
        let person = &mut self.people[usize::from(at.participant)];
        let was_seen = std::mem::replace(&mut person.sees[usize::from(publisher)], false);
        if was_seen && self.load.shape.hears(at.participant, publisher) {
            person.unseen += 1;
        }
        let gone: Vec<SubscribeId> = person
            .subscriptions
            .iter()
            .filter(|(_, leg)| {
                leg.and_then(|leg| self.legs.get(leg))
                    .is_some_and(|leg| leg.publisher == publisher)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.close_subscription(at, id, lines);
        }
    }

    fn accept(&mut self, at: &mut Arrival<'_>, id: SubscribeId) {
        if let Some(leg) = self.leg_of(at.participant, id).and_then(|leg| self.legs.get_mut(leg))
            && !std::mem::replace(&mut leg.is_accepted, true)
        {
            self.advance(at.participant, at.now_ns, at.ledger);
        }
    }

    fn close_subscription(&mut self, at: &Arrival<'_>, id: SubscribeId, lines: &mut Lines) {
        let person = &mut self.people[usize::from(at.participant)];
        if let Some(leg) = person.subscriptions.remove(&id).flatten() {
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.close(at.now_ns);
            }
            person.arriving.retain(|_, arriving| arriving.leg != leg);
        }
        if let Some(session) = lines.session(at.line) {
            session.unsubscribe(id);
        }
    }

    fn leg_of(&self, participant: u16, id: SubscribeId) -> Option<usize> {
        self.people[usize::from(participant)].subscriptions.get(&id).copied()?
    }

    /// The relay says that groups will not come.
    fn skip(&mut self, leg: usize, groups: std::ops::RangeInclusive<u64>) {
        let Some(leg) = self.legs.get_mut(leg) else { return };
        let log = &self.people[usize::from(leg.publisher)].tracks[usize::from(leg.track)].log;
        let known = log.groups();
        let (first, last) = (
            (*groups.start()).max(known.start),
            (*groups.end()).min(known.end.saturating_sub(1)),
        );
        for group in first..=last {
            leg.leg.handle_skip(log, group);
        }
    }

    fn handle_chunk(&mut self, at: &mut Arrival<'_>, stream: StreamId, chunk: &Chunk) {
        let person = &mut self.people[usize::from(at.participant)];
        let Some(mut arriving) = person.arriving.remove(&stream) else {
            return;
        };
        let mut from = 0;
        for mark in &chunk.marks {
            let header = mark.offset as usize;
            self.handle_payload(at, &mut arriving, &chunk.bytes[from..header]);
            from = header + usize::from(mark.header_bytes);
            arriving.frame = Some(Incomplete {
                size: usize::try_from(mark.size).unwrap_or(usize::MAX),
                payload: BytesMut::new(),
            });
        }
        self.handle_payload(at, &mut arriving, &chunk.bytes[from..]);
        self.people[usize::from(at.participant)]
            .arriving
            .insert(stream, arriving);
    }

    /// Takes bytes of the frame that is coming in, and the frame when it is complete.
    fn handle_payload(&mut self, at: &mut Arrival<'_>, arriving: &mut Arriving, bytes: &[u8]) {
        let Some(frame) = &mut arriving.frame else { return };
        // Nearly every frame comes in one piece, and is read where it lies.
        let whole = if frame.payload.is_empty() && bytes.len() >= frame.size {
            bytes
        } else {
            frame.payload.extend_from_slice(bytes);
            if frame.payload.len() < frame.size {
                return;
            }
            &frame.payload
        };
        let place = Place {
            group: arriving.group,
            index: arriving.index,
        };
        self.handle_frame(at, arriving.leg, place, whole);
        arriving.frame = None;
        arriving.index += 1;
    }

    fn handle_datagram(&mut self, at: &mut Arrival<'_>, header: &DatagramHeader, payload: &[u8]) {
        if let Some(leg) = self.leg_of(at.participant, header.subscribe) {
            let place = Place {
                group: header.sequence.0,
                index: 0,
            };
            self.handle_frame(at, leg, place, payload);
        }
    }

    fn handle_frame(&mut self, at: &mut Arrival<'_>, leg: usize, place: Place, payload: &[u8]) {
        let Some(leg) = self.legs.get_mut(leg) else { return };
        let stamp = stamp::read(payload)
            .filter(|stamp| stamp.call == self.id && stamp.participant == leg.publisher && stamp.track == leg.track);
        let log = &self.people[usize::from(leg.publisher)].tracks[usize::from(leg.track)].log;
        let was_silent = !leg.leg.has_heard();
        leg.leg
            .handle_frame(log, place, stamp, payload.len(), at.now_ns, at.ledger);
        leg.is_accepted = true;
        if was_silent && leg.leg.has_heard() {
            self.advance(at.participant, at.now_ns, at.ledger);
        }
    }
}
