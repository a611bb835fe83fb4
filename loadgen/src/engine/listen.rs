//! What a participant hears: announcements, answers to its subscriptions, frames.

use bytes::BytesMut;
use moqswitch_proto::session::{AnnouncementEvent, AnswerEvent, MediaEvent, SubscribeParameters};
use moqswitch_proto::wire::{Chunk, DatagramHeader, GroupRange, StreamId, SubscribeId};

use crate::load::CATALOG;
use crate::truth::interval::{Ledger, Measure};
use crate::truth::leg::{ArrivedFrame, Place};
use crate::truth::log::SentFrame;
use crate::truth::stamp::{self, Stamp};

use super::call::{Arrival, Call};
use super::lines::Lines;
use super::person::{Arriving, Incomplete};
use super::reasons;

impl Call {
    pub(super) fn handle_media(&mut self, at: &mut Arrival<'_>, event: &MediaEvent) {
        match event {
            MediaEvent::GroupStart { stream, header } => {
                let person = &mut self.people[usize::from(at.participant)];
                if let Some(Some(leg)) = person.subscriptions.get(&(at.line, header.subscribe)) {
                    let arriving = Arriving {
                        leg: *leg,
                        group: header.sequence.0,
                        index: header.frame_start,
                        frame: None,
                    };
                    person.arriving.insert((at.line, *stream), arriving);
                }
            }
            MediaEvent::GroupChunk { stream, chunk, .. } => self.handle_chunk(at, *stream, chunk),
            MediaEvent::GroupEnd { stream, .. } => {
                self.people[usize::from(at.participant)]
                    .arriving
                    .remove(&(at.line, *stream));
            }
            MediaEvent::GroupReset { stream, code, .. } => {
                let person = &mut self.people[usize::from(at.participant)];
                let arriving = person.arriving.remove(&(at.line, *stream));
                if let Some(arriving) = arriving {
                    at.note(&format!("a group was reset with {}", reasons::of_stream(*code)));
                    self.skip(at, arriving.leg, arriving.group..=arriving.group);
                }
            }
            MediaEvent::Datagram { header, payload } => self.handle_datagram(at, header, payload),
        }
    }

    /// Who can be heard, and what the relay wants to be told of it.
    pub(super) fn handle_announcement(&mut self, at: &mut Arrival<'_>, event: AnnouncementEvent, lines: &mut Lines) {
        if self.is_moving_to(at.participant, at.line) && self.handle_announcement_there(at, &event, lines) {
            return;
        }
        match event {
            AnnouncementEvent::Announced { path, .. } => {
                if let Some(publisher) = self.participant(&path) {
                    self.handle_announced(at, publisher, lines);
                }
            }
            AnnouncementEvent::AnnounceReplaced { path, .. } => {
                // Of who came back by another connection; else the subscriptions go on.
                if let Some(publisher) = self.participant(&path)
                    && !self.hears_at_present(at.participant, publisher)
                {
                    self.handle_unannounced(at, publisher, lines);
                    self.handle_announced(at, publisher, lines);
                }
            }
            AnnouncementEvent::Unannounced { path, .. } => {
                if let Some(publisher) = self.participant(&path) {
                    self.handle_unannounced(at, publisher, lines);
                }
            }
            // Each path on it was withdrawn before.
            AnnouncementEvent::AnnounceStreamEnded { .. } => {}
            AnnouncementEvent::AnnounceRequest { request, message } => {
                self.announce(at, request, &message.prefix, lines);
            }
            AnnouncementEvent::AnnounceRequestEnded { request } => {
                let person = &mut self.people[usize::from(at.participant)];
                let before = person.announced_on.len();
                person
                    .announced_on
                    .retain(|(line, announced, _)| (*line, *announced) != (at.line, request));
                let is_refused = person.announced_on.len() < before && person.leaving_ns.is_none();
                if is_refused && self.ending_ns.is_none() {
                    at.note("the relay wants no more announcements of a publisher");
                }
            }
        }
    }

    /// What becomes of subscriptions. Nothing else is asked of a relay.
    pub(super) fn handle_answer(&mut self, at: &mut Arrival<'_>, event: &AnswerEvent, lines: &mut Lines) {
        match event {
            AnswerEvent::SubscriptionOk { id, .. } | AnswerEvent::SubscriptionStart { id, .. } => {
                if let Some(leg) = self.leg_of(at, *id) {
                    self.accept(at, leg);
                    self.note_accepted(at.participant, at.line, *id);
                }
            }
            AnswerEvent::SubscriptionDrop {
                id, start, end, code, ..
            } => {
                if let Some(leg) = self.leg_of(at, *id) {
                    at.note(&format!("groups were dropped with {}", reasons::of_stream(*code)));
                    self.skip(at, leg, start.0..=end.0);
                }
            }
            AnswerEvent::SubscriptionClosed { id, code } => {
                let why = match code {
                    Some(code) => format!("a subscription was refused or ended with {}", reasons::of_stream(*code)),
                    None => "a subscription was finished although its publisher talks".to_owned(),
                };
                self.end_subscription(at, *id, &why, lines);
            }
            AnswerEvent::TrackProperties { .. }
            | AnswerEvent::SubscriptionEnd { .. }
            | AnswerEvent::TrackInfo { .. }
            | AnswerEvent::TrackClosed { .. }
            | AnswerEvent::FetchChunk { .. }
            | AnswerEvent::FetchClosed { .. }
            | AnswerEvent::ProbeReport { .. }
            | AnswerEvent::ProbeClosed { .. } => {}
        }
    }

    fn handle_announced(&mut self, at: &mut Arrival<'_>, publisher: u16, lines: &mut Lines) {
        // Until it misses a connection that vanished, the relay may announce it once more: who has not said yet that it
        // is there again is heard by nobody.
        if self.people[usize::from(publisher)].announced_on.is_empty() {
            return;
        }
        let person = &mut self.people[usize::from(at.participant)];
        let is_news = !std::mem::replace(&mut person.sees[usize::from(publisher)], true);
        if !is_news || !self.load.shape.hears(at.participant, publisher) {
            return;
        }
        person.unseen -= 1;
        if self.ending_ns.is_none() && person.leaving_ns.is_none() {
            self.subscribe(at, publisher, lines);
        }
        self.advance(at.participant, at.now_ns, at.ledger);
    }

    fn subscribe(&mut self, at: &mut Arrival<'_>, publisher: u16, lines: &mut Lines) {
        let broadcast = self.path(publisher);
        let subscribed_ns = lines.present_ns();
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
            let person = &mut self.people[usize::from(at.participant)];
            person.subscriptions.insert((at.line, id), None);
        }
        let load = self.load.clone();
        for (track, plan) in (0..).zip(&load.tracks) {
            let max_latency_ms = u64::try_from(plan.max_latency.as_millis()).unwrap_or(u64::MAX);
            // What the relay had taken away is heard again.
            let leg = self.open(at.participant, publisher, track, subscribed_ns);
            match session.subscribe(parameters(plan.name, plan.priority, max_latency_ms)) {
                Some((id, _)) => {
                    let person = &mut self.people[usize::from(at.participant)];
                    person.subscriptions.insert((at.line, id), Some(leg));
                }
                // Nothing can come: what is sent from here on is lost.
                None => lose(at, "a subscription could not be asked for: the session is ending"),
            }
        }
    }

    /// The publisher has gone. When it comes back it is subscribed anew.
    fn handle_unannounced(&mut self, at: &mut Arrival<'_>, publisher: u16, lines: &mut Lines) {
        let person = &mut self.people[usize::from(at.participant)];
        let was_seen = std::mem::replace(&mut person.sees[usize::from(publisher)], false);
        if was_seen && self.load.shape.hears(at.participant, publisher) {
            person.unseen += 1;
        }
        let gone: Vec<SubscribeId> = person
            .subscriptions
            .iter()
            .filter(|((line, _), leg)| {
                let leg = leg.and_then(|leg| self.legs.get(leg));
                *line == at.line && leg.is_some_and(|leg| leg.publisher == publisher)
            })
            .map(|((_, id), _)| *id)
            .collect();
        for id in gone {
            let why = "a broadcast was withdrawn although its publisher talks";
            self.end_subscription(at, id, why, lines);
        }
    }

    /// A subscription has come to an end, by the relay's fault or because somebody hung up.
    fn end_subscription(&mut self, at: &mut Arrival<'_>, id: SubscribeId, why: &str, lines: &mut Lines) {
        // Where it is moving to, it is not yet, and it is heard by the other line.
        if self.people[usize::from(at.participant)].moving.is_some() {
            return self.forget_subscription(at, id, lines);
        }
        if !self.loses(at, id) {
            return self.close_subscription(at, id, lines);
        }
        let leg = self.leg_of(at, id).and_then(|leg| self.legs.get(leg));
        // The loss of a connection is counted as that.
        if leg.is_some_and(|leg| !self.people[usize::from(leg.publisher)].is_lost) {
            lose(at, why);
        }
        // What is missed from here on is lost, until it is announced anew.
        self.forget_subscription(at, id, lines);
    }

    /// Whether a listener has subscribed to what a publisher sends by the line it has.
    fn hears_at_present(&self, listener: u16, publisher: u16) -> bool {
        let line = self.people[usize::from(publisher)].line;
        self.legs.iter().any(|(_, leg)| {
            leg.listener == listener
                && leg.publisher == publisher
                && leg.publisher_line == line
                && leg.closed_ns.is_none()
        })
    }

    /// Whether the end of a subscription is the relay's fault: nobody at either end has hung up
    /// since.
    fn loses(&self, at: &Arrival<'_>, id: SubscribeId) -> bool {
        let listener = at.participant;
        let leg = self.leg_of(at, id).and_then(|leg| self.legs.get(leg));
        self.ending_ns.is_none()
            && leg.is_some_and(|leg| {
                leg.closed_ns.is_none()
                    && [leg.publisher, listener]
                        .iter()
                        .all(|who| self.people[usize::from(*who)].leaving_ns.is_none())
            })
    }

    fn accept(&mut self, at: &mut Arrival<'_>, leg: usize) {
        if let Some(leg) = self.legs.get_mut(leg)
            && !std::mem::replace(&mut leg.is_accepted, true)
        {
            let published = &self.people[usize::from(leg.publisher)].tracks[usize::from(leg.track)];
            if !published.subscribers.is_empty() {
                leg.leg.begin_expecting(&published.log, at.ledger);
            }
            self.advance(at.participant, at.now_ns, at.ledger);
        }
    }

    /// A track has a subscriber: who was accepted is owed what is sent from here on.
    pub(super) fn begin_expecting(&mut self, publisher: u16, track: u8, ledger: &mut Ledger) {
        let log = &self.people[usize::from(publisher)].tracks[usize::from(track)].log;
        let hearing = self
            .people
            .iter()
            .filter_map(|person| person.hearing.get(&(publisher, track)));
        for leg in hearing {
            if let Some(leg) = self.legs.get_mut(*leg)
                && leg.is_accepted
                && leg.closed_ns.is_none()
            {
                leg.leg.begin_expecting(log, ledger);
            }
        }
    }

    /// The subscription is over, and nothing more is owed.
    fn close_subscription(&mut self, at: &Arrival<'_>, id: SubscribeId, lines: &mut Lines) {
        if let Some(leg) = self.leg_of(at, id) {
            self.close(leg, at.now_ns);
        }
        self.forget_subscription(at, id, lines);
    }

    fn forget_subscription(&mut self, at: &Arrival<'_>, id: SubscribeId, lines: &mut Lines) {
        let person = &mut self.people[usize::from(at.participant)];
        if let Some(leg) = person.subscriptions.remove(&(at.line, id)).flatten() {
            person
                .arriving
                .retain(|(line, _), arriving| *line != at.line || arriving.leg != leg);
        }
        if let Some(session) = lines.session(at.line) {
            session.unsubscribe(id);
        }
    }

    fn leg_of(&self, at: &Arrival<'_>, id: SubscribeId) -> Option<usize> {
        let person = &self.people[usize::from(at.participant)];
        person.subscriptions.get(&(at.line, id)).copied()?
    }

    /// The relay says that groups will not come.
    fn skip(&mut self, at: &mut Arrival<'_>, leg: usize, groups: std::ops::RangeInclusive<u64>) {
        let Some(leg) = self.legs.get_mut(leg) else { return };
        let log = &self.people[usize::from(leg.publisher)].tracks[usize::from(leg.track)].log;
        let known = log.groups();
        let (first, last) = (
            (*groups.start()).max(known.start),
            (*groups.end()).min(known.end.saturating_sub(1)),
        );
        for group in first..=last {
            leg.leg.handle_skip(log, group, at.ledger);
        }
    }

    fn handle_chunk(&mut self, at: &mut Arrival<'_>, stream: StreamId, chunk: &Chunk) {
        let person = &mut self.people[usize::from(at.participant)];
        let Some(mut arriving) = person.arriving.remove(&(at.line, stream)) else {
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
            .insert((at.line, stream), arriving);
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
        if let Some(leg) = self.leg_of(at, header.subscribe) {
            let place = Place {
                group: header.sequence.0,
                index: 0,
            };
            self.handle_frame(at, leg, place, payload);
        }
    }

    fn handle_frame(&mut self, at: &mut Arrival<'_>, leg: usize, place: Place, payload: &[u8]) {
        let call = self.id;
        // Where no message says that a subscription was accepted, its first frame does.
        self.accept(at, leg);
        let Some(leg) = self.legs.get_mut(leg) else { return };
        let (participant, track) = (leg.publisher, leg.track);
        let log = &self.people[usize::from(participant)].tracks[usize::from(track)].log;
        let was_silent = !leg.leg.has_heard();
        let media = self.load.tracks[usize::from(track)].media.as_ref();
        let is_whole = |sequence, sent: SentFrame| {
            if let Some((media, index)) = media.zip(sent.replayed) {
                return media.frames[index as usize].bytes == payload;
            }
            let stamp = Stamp {
                call,
                participant,
                track,
                sequence,
                intended_ns: sent.intended_ns,
            };
            stamp::read(payload) == Some(stamp)
        };
        let arrived = ArrivedFrame {
            place,
            bytes: payload.len(),
            now_ns: at.now_ns,
        };
        leg.leg.handle_frame(log, arrived, is_whole, at.ledger);
        let has_begun = was_silent && leg.leg.has_heard();
        // The first that was heard of who took the floor.
        if track == 0
            && self.is_established
            && self.floor == Some(participant)
            && leg.heard_floor_ns != self.floor_ns
            && log
                .sequence_at(place.group, place.index)
                .and_then(|sequence| log.get(sequence))
                .is_some_and(|sent| sent.intended_ns >= self.floor_ns)
        {
            leg.heard_floor_ns = self.floor_ns;
            let elapsed = at.now_ns.saturating_sub(self.floor_ns) / 1000;
            at.ledger.at(self.floor_ns).record(Measure::Floor, elapsed);
        }
        if has_begun {
            self.advance(at.participant, at.now_ns, at.ledger);
        }
    }
}

/// The relay took something away that was to be there.
fn lose(at: &mut Arrival<'_>, why: &str) {
    let interval = at.ledger.at(at.now_ns);
    interval.counts.subscriptions_lost += 1;
    interval.note(why, 1);
}
