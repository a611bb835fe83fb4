//! What the thread that decides on calls has of the recorder. Nothing here waits.

use std::any::Any;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use std::{io, thread};

use moqswitch_audio::Codec;
use moqswitch_calls::{CallId, CallView, LegId, LegRole, LegState, LegView, SuperviseMode};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::archive::Archive;
use crate::counters::{Counters, Statistics};
use crate::desk::{Desk, Order, Wanted};
use crate::disk::Disk;
use crate::form::Spoken;
use crate::frames::Frames;
use crate::keeping::keep;
use crate::limits::{NOTICES_PERIOD, REFUSED_CALLS_MAX};
use crate::pending::Pending;
use crate::settings::Settings;
use crate::writer::Writer;

/// Whoever listens to legs.
pub trait Ears: Send {
    /// From now on frames of the leg's audio are pushed under this stream, until what is given back is dropped. `codec`: what
    /// it is said to speak. `None`: that cannot be had now; it is asked for again when something of the call changes.
    fn listen(&mut self, call: CallId, stream: u64, leg: LegId, codec: Option<Codec>) -> Option<Ear>;
}

/// Somebody listens as long as there is this.
pub struct Ear(#[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Any + Send>);

/// Records calls.
pub struct Recorder {
    ears: Box<dyn Ears>,
    desk: Arc<Desk>,
    counters: Arc<Counters>,
    calls: FxHashMap<CallId, Running>,
    calls_max: usize,
    /// Calls that are not recorded though they were to be.
    refused: FxHashSet<CallId>,
    named: u64,
    noticed: Option<Instant>,
    writer: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// What others see of the recorder.
#[derive(Clone)]
pub struct RecorderView {
    counters: Arc<Counters>,
    archive: Arc<Archive>,
    desk: Arc<Desk>,
}

/// A call that is recorded.
struct Running {
    recording: u64,
    order: Order,
    legs: FxHashMap<LegId, Listening>,
    is_paused: bool,
}

struct Listening {
    stream: u64,
    ear: Option<Ear>,
}

impl Ear {
    /// Who listens until this is dropped.
    pub fn new(listening: impl Any + Send) -> Self {
        Self(Box::new(listening))
    }
}

impl Recorder {
    /// Starts the threads that write and tidy up. `ears` is made of the queue for frames.
    ///
    /// # Errors
    /// The directory cannot be made, or another process writes there.
    pub fn start<E: Ears + 'static>(
        settings: Settings,
        disk: impl Disk + 'static,
        ears: impl FnOnce(Frames) -> E,
    ) -> io::Result<(Self, RecorderView)> {
        let calls_max = settings.calls_max;
        let desk = Arc::new(Desk::default());
        let counters = Arc::new(Counters::default());
        let archive = Arc::new(Archive::open(&settings.directory, Arc::clone(&desk))?);
        let frames = Frames::new(Arc::clone(&counters));
        let ears = Box::new(ears(frames.clone()));
        let mut writer = Writer::new(
            settings.clone(),
            Box::new(disk),
            Arc::clone(&desk),
            Arc::clone(&counters),
            frames,
        );
        let writing = thread::Builder::new().name("recording".to_owned());
        let writing = writing.spawn(move || writer.run())?;
        let view = RecorderView {
            counters: Arc::clone(&counters),
            archive: Arc::clone(&archive),
            desk: Arc::clone(&desk),
        };
        let keeping = thread::Builder::new().name("recordings".to_owned());
        let (of_keeper, also_counted) = (Arc::clone(&desk), Arc::clone(&counters));
        let keeping = keeping.spawn(move || keep(&settings, &archive, &of_keeper, &also_counted))?;
        desk.set_threads([writing.thread().clone(), keeping.thread().clone()]);
        let recorder = Self {
            ears,
            calls: FxHashMap::default(),
            calls_max,
            refused: FxHashSet::default(),
            named: 0,
            noticed: None,
            writer: Some(writing),
            keeper: Some(keeping),
            desk,
            counters,
        };
        Ok((recorder, view))
    }

    /// A call that is to be recorded is like this now.
    pub fn update(&mut self, view: &CallView, now: Instant) {
        if !self.calls.contains_key(&view.call) && !self.begin(view, now) {
            return;
        }
        let Some(running) = self.calls.get_mut(&view.call) else {
            return;
        };
        let present: Vec<&LegView> = view.legs.iter().filter(|leg| is_recorded(leg)).collect();
        running
            .legs
            .retain(|leg, _| present.iter().any(|there| there.leg == *leg));
        for leg in &present {
            running.legs.entry(leg.leg).or_insert_with(|| {
                self.named += 1;
                Listening {
                    stream: self.named,
                    ear: None,
                }
            });
        }
        let wanted = present.iter().filter_map(|leg| {
            let stream = running.legs.get(&leg.leg)?.stream;
            Some(wanted(leg, stream))
        });
        running.order = Order {
            legs: wanted.collect(),
            at: now,
            ..running.order.clone()
        };
        // The writer knows of a stream before there is anything of it.
        self.desk.put(running.recording, running.order.clone());
        let is_heard = |leg: &LegView| {
            let mut others = present.iter().filter(|other| other.leg != leg.leg);
            !leg.holds && !leg.muted && others.any(|other| !other.holds)
        };
        for leg in present.iter().copied() {
            let Some(listening) = running.legs.get_mut(&leg.leg) else {
                continue;
            };
            if !is_heard(leg) {
                listening.ear = None;
            } else if listening.ear.is_none() {
                let codec = leg.sends.map(codec_of);
                listening.ear = self.ears.listen(view.call, listening.stream, leg.leg, codec);
            }
        }
        // It may have been paused before it began here.
        self.pause(view.call, view.recording_paused, now);
    }

    /// Whether anything is written of a call that is recorded.
    pub fn pause(&mut self, call: CallId, is_paused: bool, now: Instant) {
        let Some(running) = self.calls.get_mut(&call) else {
            return;
        };
        if running.is_paused == is_paused {
            return;
        }
        running.is_paused = is_paused;
        let order = &running.order;
        self.desk
            .change(running.recording, || order.clone(), |order| order.pause(now, is_paused));
    }

    /// A call is not recorded any more.
    pub fn end(&mut self, call: CallId, now: Instant) {
        self.refused.remove(&call);
        let Some(running) = self.calls.remove(&call) else {
            return;
        };
        let order = running.order;
        self.desk
            .change(running.recording, || order, |order| order.ended = Some(now));
    }

    fn begin(&mut self, view: &CallView, now: Instant) -> bool {
        let is_full = self.desk.is_full();
        if is_full || self.calls.len() >= self.calls_max {
            let is_known = self.refused.len() >= REFUSED_CALLS_MAX;
            if self.refused.insert(view.call) {
                Counters::add(&self.counters.refused, 1);
            }
            if is_known {
                self.refused.remove(&view.call);
            }
            let is_quiet = self
                .noticed
                .is_some_and(|noticed| now.saturating_duration_since(noticed) < NOTICES_PERIOD);
            if !is_quiet {
                self.noticed = Some(now);
                let why = if is_full {
                    "no room on the disk"
                } else {
                    "too many at once"
                };
                tracing::warn!(call = %view.call, why, "a call is not recorded");
            }
            return false;
        }
        self.refused.remove(&view.call);
        self.named += 1;
        let party = |party: &moqswitch_calls::Party| (party.number.to_string(), party.name.to_string());
        let order = Order {
            call: view.call,
            from: party(&view.from),
            dialled: view.dialled.to_string(),
            legs: Vec::new(),
            at: now,
            pauses: Vec::new(),
            ended: None,
        };
        let running = Running {
            recording: self.named,
            order,
            legs: FxHashMap::default(),
            is_paused: false,
        };
        self.calls.insert(view.call, running);
        true
    }
}

impl Drop for Recorder {
    /// Ends what goes on, and waits until it is written.
    fn drop(&mut self) {
        self.calls.clear();
        self.desk.end();
        // One that panicked has said so.
        let _ = self.writer.take().map(JoinHandle::join);
        self.desk.set_written();
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}

impl RecorderView {
    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }

    /// What waits to be uploaded. One at most takes from it.
    pub fn pending(&self) -> Pending {
        Pending::new(self.archive(), Arc::clone(&self.desk))
    }

    /// What was recorded.
    pub fn archive(&self) -> Arc<Archive> {
        Arc::clone(&self.archive)
    }
}

/// What a supervisor says to one of them is not part of the call, and who only listens says nothing.
fn is_recorded(leg: &LegView) -> bool {
    let speaks = match leg.role {
        LegRole::Caller | LegRole::Callee | LegRole::Member | LegRole::Supervisor(SuperviseMode::Barge) => true,
        LegRole::Supervisor(SuperviseMode::Listen | SuperviseMode::Whisper(_)) => false,
    };
    speaks && leg.state == LegState::Up
}

fn wanted(leg: &LegView, stream: u64) -> Wanted {
    Wanted {
        stream,
        leg: leg.leg,
        number: leg.party.number.to_string(),
        name: leg.party.name.to_string(),
        role: leg.role.name(),
        spoken: leg.sends.map(codec_of).and_then(Spoken::of),
    }
}

fn codec_of(codec: moqswitch_calls::Codec) -> Codec {
    match codec {
        moqswitch_calls::Codec::Opus => Codec::Opus,
        moqswitch_calls::Codec::Pcmu => Codec::Pcmu,
        moqswitch_calls::Codec::Pcma => Codec::Pcma,
        moqswitch_calls::Codec::G722 => Codec::G722,
    }
}
