//! What must hold of the events and transmits of a session, whatever goes in.

use std::collections::{HashMap, HashSet};

use crate::session::{
    AnnouncementEvent, Event, MediaEvent, RequestEvent, SessionEvent, SessionLimits, SessionStats, Transmit,
};
use crate::wire::{BroadcastPath, StreamId};

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) groups: HashSet<StreamId>,
    pub(super) announced: HashSet<(StreamId, BroadcastPath)>,
    /// The peer's requests we were told of, by the name of their kind.
    pub(super) requests: HashMap<StreamId, &'static str>,
    closed: HashSet<StreamId>,
    stopped: HashSet<StreamId>,
    is_violated: bool,
    is_closed: bool,
}

impl Model {
    pub(super) fn is_violated(&self) -> bool {
        self.is_violated
    }

    pub(super) fn handle_event(&mut self, event: &Event) -> Result<(), String> {
        let holds = !self.is_violated
            && match event {
                Event::Media(event) => self.handle_media(event),
                Event::Announcement(event) => self.handle_announcement(event),
                // Of what the caller asked the model keeps nothing.
                Event::Answer(_) => true,
                Event::Request(event) => self.handle_request(event),
                Event::Session(event) => self.handle_session(event),
            };
        holds.then_some(()).ok_or_else(|| format!("unexpected {event:?}"))
    }

    fn handle_media(&mut self, event: &MediaEvent) -> bool {
        match event {
            MediaEvent::GroupStart { stream, .. } => self.groups.insert(*stream),
            MediaEvent::GroupChunk { stream, chunk, .. } => self.groups.contains(stream) && !chunk.bytes.is_empty(),
            MediaEvent::GroupEnd { stream, .. } | MediaEvent::GroupReset { stream, .. } => self.groups.remove(stream),
            MediaEvent::Datagram { .. } => true,
        }
    }

    fn handle_announcement(&mut self, event: &AnnouncementEvent) -> bool {
        match event {
            AnnouncementEvent::Announced { stream, path, .. } => self.announced.insert((*stream, path.clone())),
            AnnouncementEvent::AnnounceReplaced { stream, path, .. } => {
                self.announced.contains(&(*stream, path.clone()))
            }
            AnnouncementEvent::Unannounced { stream, path } => self.announced.remove(&(*stream, path.clone())),
            AnnouncementEvent::AnnounceStreamEnded { stream } => {
                !self.announced.iter().any(|(announced, _)| announced == stream)
            }
            AnnouncementEvent::AnnounceRequest { request, .. } => self.begin(*request, "announce"),
            AnnouncementEvent::AnnounceRequestEnded { request } => self.end(*request, "announce"),
        }
    }

    fn handle_request(&mut self, event: &RequestEvent) -> bool {
        match event {
            RequestEvent::Subscribe { request, .. } => self.begin(*request, "subscribe"),
            RequestEvent::SubscribeUpdate { request, .. } => self.requests.get(request) == Some(&"subscribe"),
            RequestEvent::SubscribeEnded { request } => self.end(*request, "subscribe"),
            RequestEvent::Fetch { request, .. } => self.begin(*request, "fetch"),
            RequestEvent::FetchEnded { request } => self.end(*request, "fetch"),
            RequestEvent::Track { request, .. } => self.begin(*request, "track"),
            RequestEvent::TrackEnded { request } => self.end(*request, "track"),
            RequestEvent::Probe { request, .. } => *self.requests.entry(*request).or_insert("probe") == "probe",
            RequestEvent::ProbeEnded { request } => self.end(*request, "probe"),
        }
    }

    fn handle_session(&mut self, event: &SessionEvent) -> bool {
        match event {
            SessionEvent::Violation { .. } => self.is_violated = true,
            SessionEvent::Setup(_) | SessionEvent::SessionUpdate { .. } | SessionEvent::Goaway { .. } => {}
        }
        true
    }

    pub(super) fn handle_transmit(&mut self, transmit: &Transmit) -> Result<(), String> {
        let holds = !self.is_closed
            && match transmit {
                Transmit::Write { stream, fin, data } => {
                    let is_sensible = *fin || !data.is_empty();
                    let is_open = !self.closed.contains(stream);
                    if *fin {
                        self.closed.insert(*stream);
                    }
                    is_sensible && is_open
                }
                Transmit::Reset { stream, .. } => self.closed.insert(*stream),
                Transmit::StopSending { stream, .. } => self.stopped.insert(*stream),
                Transmit::Close { .. } => {
                    self.is_closed = true;
                    true
                }
            };
        holds.then_some(()).ok_or_else(|| format!("unexpected {transmit:?}"))
    }

    /// The session keeps no more than it may.
    pub(super) fn check(limits: &SessionLimits, stats: &SessionStats) -> Result<(), String> {
        let live = &stats.live;
        let bounds = [
            ("requests", live.requests, limits.requests_max),
            ("requests_held", live.requests_held, limits.requests_held_max),
            ("announced", live.announced, limits.announced_max),
            // SETUP has a place of its own.
            ("incoming", live.incoming, limits.groups_max + 1),
            ("buffered_bytes", live.buffered_bytes, limits.control_bytes_max),
        ];
        match bounds.iter().find(|(_, value, bound)| value > bound) {
            Some((name, value, bound)) => Err(format!("{name} is {value}, above {bound}")),
            None => Ok(()),
        }
    }

    /// What the caller was told of and not yet of its end is alive in the session too.
    pub(super) fn check_known(&self, stats: &SessionStats) -> Result<(), String> {
        let (known, live) = (self.requests.len(), stats.live.requests);
        // A close ends everything at once.
        if self.is_closed || known <= live {
            return Ok(());
        }
        Err(format!("the caller knows of {known} requests, the session of {live}"))
    }

    fn begin(&mut self, request: StreamId, kind: &'static str) -> bool {
        self.requests.insert(request, kind).is_none()
    }

    fn end(&mut self, request: StreamId, kind: &'static str) -> bool {
        self.requests.remove(&request) == Some(kind)
    }
}
