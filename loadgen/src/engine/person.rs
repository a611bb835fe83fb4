//! One participant of a call: its line, what it publishes, what it hears, and how far it has come.

use bytes::{Bytes, BytesMut};
use moqswitch_proto::wire::{BroadcastPath, StreamId, SubscribeId};
use moqswitch_relay::quic::ConnectionKey;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::load::{Load, TrackPlan};
use crate::model::codec::Source;
use crate::model::speech::{Means, Speech};
use crate::model::{Purpose, random};
use crate::truth::log::TrackLog;

use super::ids::CallId;

/// One participant's place in the call.
pub(super) struct Person {
    pub(super) line: Option<ConnectionKey>,
    /// The line that is to take the place of that one, while both carry what it says and hears.
    pub(super) moving: Option<Moving>,
    /// How many lines it has had: what is due for an earlier one is stale.
    pub(super) generation: u32,
    /// The relay or the network ended its connection. What it would say and hear is still owed, until
    /// it hangs up by its own plan.
    pub(super) is_lost: bool,
    /// When it was to come.
    pub(super) joined_ns: u64,
    pub(super) tracks: Vec<Published>,
    /// The relay's requests for announcements, on which the end of this one's broadcast is announced too.
    pub(super) announced_on: Vec<(ConnectionKey, StreamId, BroadcastPath)>,
    /// Our subscriptions, with the leg that each feeds; `None` for a catalog.
    pub(super) subscriptions: FxHashMap<(ConnectionKey, SubscribeId), Option<usize>>,
    /// Who is announced at present, and how many are not that it is to hear.
    pub(super) sees: Vec<bool>,
    pub(super) unseen: usize,
    /// Its latest leg of each publisher's tracks, as long as that is kept.
    pub(super) hearing: FxHashMap<(u16, u8), usize>,
    /// How many others are to hear it.
    pub(super) audience: u64,
    pub(super) arriving: FxHashMap<(ConnectionKey, StreamId), Arriving>,
    pub(super) is_muted: bool,
    /// How often it muted or spoke again.
    pub(super) mutes: u32,
    /// Since when it is about to hang up, and says nothing more.
    pub(super) leaving_ns: Option<u64>,
    /// Packets that had come on its line when more had come than before.
    pub(super) received: usize,
    /// When that was seen, and how often by then an answer had not come in its time.
    pub(super) received_ns: u64,
    pub(super) timeouts: usize,
    /// Answers are missing since.
    pub(super) is_unanswered: bool,
    pub(super) phase: Phase,
    /// When it came into this phase.
    pub(super) phase_began_ns: u64,
}

/// The way of a participant from one connection to another.
pub(super) struct Moving {
    pub(super) line: ConnectionKey,
    pub(super) is_established: bool,
    /// Who is announced there.
    pub(super) sees: Vec<bool>,
    /// Subscriptions there that were accepted.
    pub(super) accepted: FxHashSet<SubscribeId>,
    /// Since when it hears all there.
    pub(super) complete_ns: Option<u64>,
}

/// How far a participant has come since it dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Dialling,
    /// Waiting for the others to be announced.
    Connected,
    /// Waiting for its subscriptions to be accepted.
    Announced,
    /// Waiting for the first frame of each.
    Subscribed,
    Hearing,
}

/// A track and what its subscribers are sent.
pub(super) struct Published {
    pub(super) source: Source,
    pub(super) log: TrackLog,
    /// Intended time of the next frame, and whether one is due at all.
    pub(super) next_ns: u64,
    /// Legs that are to hear what is sent.
    pub(super) listeners: u64,
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) group: Option<OpenGroup>,
}

/// The latest group, for who comes in the middle of it.
pub(super) struct OpenGroup {
    pub(super) number: u64,
    pub(super) frames: Vec<(Bytes, i64)>,
    pub(super) is_complete: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Subscriber {
    pub(super) line: ConnectionKey,
    pub(super) id: SubscribeId,
    pub(super) request: StreamId,
    /// The stream of the group that is open.
    pub(super) stream: Option<StreamId>,
}

/// A group that is coming in.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) leg: usize,
    pub(super) group: u64,
    /// Of the frame that is coming in.
    pub(super) index: u64,
    pub(super) frame: Option<Incomplete>,
}

#[derive(Debug)]
pub(super) struct Incomplete {
    pub(super) size: usize,
    pub(super) payload: BytesMut,
}

impl Person {
    pub(super) fn new(call: CallId, index: u16, load: &Load, joined_ns: u64) -> Self {
        let id = (u64::from(call) << 16) | u64::from(index);
        let tracks: &[TrackPlan] = if load.shape.publishes(index) { &load.tracks } else { &[] };
        Self {
            line: None,
            moving: None,
            generation: 0,
            is_lost: false,
            joined_ns,
            tracks: (0..)
                .zip(tracks)
                .map(|(track, plan)| Published::new(plan, load, id, track))
                .collect(),
            announced_on: Vec::new(),
            subscriptions: FxHashMap::default(),
            sees: vec![false; usize::from(load.shape.people())],
            unseen: load.shape.heard_by(index),
            hearing: FxHashMap::default(),
            audience: load.shape.audience(index) as u64,
            arriving: FxHashMap::default(),
            is_muted: false,
            mutes: 0,
            leaving_ns: None,
            received: 0,
            received_ns: 0,
            timeouts: 0,
            is_unanswered: false,
            phase: Phase::Dialling,
            phase_began_ns: joined_ns,
        }
    }
}

impl Published {
    fn new(plan: &TrackPlan, load: &Load, person: u64, track: u64) -> Self {
        let means = plan.has_pauses.then(|| Means::of_conversation(load.shape.talkers()));
        // Tracks of one person share its speech.
        let speech = Speech::new(means, random(load.seed, Purpose::Speech, person));
        let random = random(load.seed, Purpose::Codec, (track << 48) | person);
        Self {
            source: Source::new(
                plan.codec.clone(),
                plan.media.clone(),
                plan.frames_per_group,
                speech,
                random,
            ),
            log: TrackLog::default(),
            next_ns: 0,
            listeners: 0,
            subscribers: Vec::new(),
            group: None,
        }
    }
}
