//! The broadcasts of one shard: an application that plays clips while somebody hears them, in real time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_audio::{Codec, Rate};
use moqswitch_proto::wire::{BroadcastPath, ErrorCode, GroupSequence, SubscribeId, TrackInfo, stream_error};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Application, Delivery, Host, LocalEvent, LocalFrame, LocalTrack};
use serde_json::json;

use crate::clip::{CODECS, Clip};
use crate::ending::Told;
use crate::limits::{COMMANDS_MAX, LATE_FRAMES_MAX, ONCE_MAX, ONCE_TAIL, ONCE_WAIT_MAX};
use crate::shelf::Shelf;
use crate::statistics::Counters;

/// What is to be played.
pub(crate) enum Command {
    /// This broadcast, in place of one of the same name. Without a clip it is there, and the clip is asked for when somebody
    /// wants it.
    Put {
        shelf: Shelf,
        name: String,
        clip: Option<Arc<Clip>>,
    },
    /// The clip that was asked for.
    Fill { name: String, clip: Arc<Clip> },
    /// Not this one any more.
    Remove { shelf: Shelf, name: String },
    /// A file once, as a broadcast of its own: a prompt, or music where no prompt has the name.
    Once {
        id: u64,
        name: String,
        path: BroadcastPath,
        told: Arc<Told>,
    },
    /// What was to be played once is not wanted any more. Nothing is told.
    Stop { path: BroadcastPath },
}

pub(crate) struct Jukebox {
    inbox: Arc<ArrayQueue<Command>>,
    /// Asks for the clip of a title that has none.
    ask: Box<dyn Fn(&str)>,
    counters: Arc<Counters>,
    /// A moment, and what time it was.
    clock: (Instant, Duration),
    /// It publishes all of them. `None`: it is not there yet.
    peer: Option<PeerKey>,
    titles: BTreeMap<u64, Title>,
    by_name: BTreeMap<(Shelf, String), u64>,
    /// Those that are played once.
    once: BTreeMap<BroadcastPath, u64>,
    /// When the next frame of each is.
    due: BTreeSet<(Instant, u64)>,
    begun: u64,
}

struct Title {
    shelf: Shelf,
    path: BroadcastPath,
    clip: Option<Arc<Clip>>,
    /// By place in [`TRACKS`].
    wanted: [Option<SubscribeId>; TRACKS],
    /// The frame that is next, in the clip and on all tracks.
    position: usize,
    number: u64,
    due: Option<Instant>,
    catalogs: u64,
    /// Who is told of its end. `None`: it is played again and again.
    once: Option<(u64, Arc<Told>)>,
}

impl Jukebox {
    pub(crate) fn new(
        inbox: Arc<ArrayQueue<Command>>,
        ask: Box<dyn Fn(&str)>,
        counters: Arc<Counters>,
        wall: Duration,
    ) -> Self {
        Self {
            inbox,
            ask,
            counters,
            clock: (Instant::now(), wall),
            peer: None,
            titles: BTreeMap::new(),
            by_name: BTreeMap::new(),
            once: BTreeMap::new(),
            due: BTreeSet::new(),
            begun: 0,
        }
    }

    fn obey(&mut self, command: Command, host: &mut Host<'_>) {
        match command {
            Command::Put { shelf, name, clip } => {
                self.remove(shelf, &name, host);
                self.put(shelf, name, clip, host);
            }
            Command::Fill { name, clip } => {
                let key = (Shelf::Music, name);
                let Some((key, title)) = self
                    .by_name
                    .get(&key)
                    .and_then(|name| Some((*name, self.titles.get_mut(name)?)))
                else {
                    return;
                };
                if title.clip.is_none() {
                    title.clip = Some(clip);
                    self.begin(key, host);
                }
            }
            Command::Remove { shelf, name } => self.remove(shelf, &name, host),
            Command::Once { id, name, path, told } => {
                if !self.put_once(id, &name, path, &told, host) {
                    told.tell(id, false);
                }
            }
            Command::Stop { path } => {
                if let Some(key) = self.once.get(&path).copied() {
                    self.take_away(key, host);
                }
            }
        }
    }

    /// It begins when somebody hears it, and without anybody a little later: whoever waits for its end goes on. False: there
    /// is nothing of that name, or no room.
    fn put_once(&mut self, id: u64, name: &str, path: BroadcastPath, told: &Arc<Told>, host: &mut Host<'_>) -> bool {
        let mut shelves = [Shelf::Prompts, Shelf::Music].into_iter();
        let found = shelves.find_map(|shelf| {
            let title = self.titles.get(self.by_name.get(&(shelf, name.to_owned()))?)?;
            title.clip.clone()
        });
        let (Some(clip), Some(peer)) = (found, self.peer) else {
            return false;
        };
        if self.once.len() >= ONCE_MAX || self.once.contains_key(&path) {
            return false;
        }
        let key = self.begun;
        if let Err(error) = host.publish(peer, &path, tracks(key)) {
            tracing::warn!(%error, path = path.as_str(), "a file is not played once");
            return false;
        }
        self.begun += 1;
        let mut title = Title::new(Shelf::Prompts, path.clone(), Some(clip));
        title.once = Some((id, Arc::clone(told)));
        self.once.insert(path, key);
        self.titles.insert(key, title);
        self.wait(key, host.now() + ONCE_WAIT_MAX, host);
        true
    }

    /// One that is played once is over, or not wanted any more.
    fn take_away(&mut self, key: u64, host: &mut Host<'_>) {
        let Some(title) = self.titles.remove(&key) else { return };
        self.once.remove(&title.path);
        if let Some(due) = title.due {
            self.due.remove(&(due, key));
        }
        if let Some(peer) = self.peer {
            host.unpublish(peer, &title.path);
        }
    }

    /// From then on it is played.
    fn wait(&mut self, key: u64, due: Instant, host: &Host<'_>) {
        let wall = self.clock.1 + host.now().saturating_duration_since(self.clock.0);
        let Some(title) = self.titles.get_mut(&key) else { return };
        // Above all that the tracks have had: no number is used in less than the time of a frame, and a process that comes
        // after this one goes on behind it.
        let number = u64::try_from(wall.as_millis() / FRAME.as_millis()).unwrap_or(0);
        title.number = number.max(title.number + 1);
        if let Some(before) = title.due.replace(due) {
            self.due.remove(&(before, key));
        }
        self.due.insert((due, key));
    }

    fn put(&mut self, shelf: Shelf, name: String, clip: Option<Arc<Clip>>, host: &mut Host<'_>) {
        let Some(peer) = self.peer else { return };
        let key = self.begun;
        self.begun += 1;
        let path = BroadcastPath::new(&format!("{}/{name}", shelf.prefix()));
        if let Err(error) = host.publish(peer, &path, tracks(key)) {
            tracing::warn!(%error, path = path.as_str(), "a broadcast is not played");
            return;
        }
        self.titles.insert(key, Title::new(shelf, path, clip));
        self.by_name.insert((shelf, name), key);
    }

    fn remove(&mut self, shelf: Shelf, name: &str, host: &mut Host<'_>) {
        let key = (shelf, name.to_owned());
        let Some(title) = self.by_name.remove(&key).and_then(|key| {
            let title = self.titles.remove(&key)?;
            self.due.retain(|(_, other)| *other != key);
            Some(title)
        }) else {
            return;
        };
        if let Some(peer) = self.peer {
            host.unpublish(peer, &title.path);
        }
    }

    /// Somebody hears it: it is played, if there is something to play.
    fn begin(&mut self, key: u64, host: &mut Host<'_>) {
        let Some(title) = self.titles.get_mut(&key) else { return };
        let waits_for_somebody = title.once.is_some() && title.position == 0;
        if (title.due.is_some() && !waits_for_somebody) || title.wanted[..CATALOG].iter().all(Option::is_none) {
            return;
        }
        if title.clip.is_none() {
            let name = self.by_name.iter().find(|(_, other)| **other == key);
            if let Some(((_, name), _)) = name {
                (self.ask)(name);
            }
            return;
        }
        if title.shelf == Shelf::Prompts {
            title.position = 0;
        }
        self.wait(key, host.now(), host);
    }

    /// Sends what is due of a title.
    fn play(&mut self, key: u64, host: &mut Host<'_>) {
        let (Some(peer), Some(title)) = (self.peer, self.titles.get_mut(&key)) else {
            return;
        };
        let (Some(clip), Some(mut due)) = (title.clip.clone(), title.due.take()) else {
            return;
        };
        let now = host.now();
        if title.position >= clip.frames()
            && let Some((id, told)) = title.once.clone()
        {
            title.end(peer, host);
            self.take_away(key, host);
            return told.tell(id, true);
        }
        let mut sent = 0;
        while due <= now {
            if sent == LATE_FRAMES_MAX {
                let late = now.saturating_duration_since(due).as_nanos() / FRAME.as_nanos() + 1;
                let late = u32::try_from(late).unwrap_or(u32::MAX);
                self.counters.left_out.fetch_add(late.into(), Ordering::Relaxed);
                title.position += late as usize;
                title.number += u64::from(late);
                due += FRAME * late;
            } else {
                title.send(peer, &clip, host);
                self.counters.frames.fetch_add(1, Ordering::Relaxed);
                title.position += 1;
                title.number += 1;
                due += FRAME;
                sent += 1;
            }
            if title.position >= clip.frames() {
                match title.shelf {
                    Shelf::Music => title.position %= clip.frames().max(1),
                    // What is on its way is heard first.
                    Shelf::Prompts if title.once.is_some() => {
                        due = now + ONCE_TAIL;
                        break;
                    }
                    Shelf::Prompts => return title.end(peer, host),
                }
            }
        }
        title.due = Some(due);
        self.due.insert((due, key));
    }

    fn set_wanted(&mut self, tag: u64, id: Option<SubscribeId>, host: &mut Host<'_>) {
        let (key, track) = (tag / TAGS, usize::try_from(tag % TAGS).unwrap_or(TRACKS));
        let Some(title) = self.titles.get_mut(&key) else { return };
        let Some(wanted) = title.wanted.get_mut(track) else {
            return;
        };
        *wanted = id;
        if track == CATALOG {
            if let (Some(id), Some(peer)) = (id, self.peer) {
                title.catalogs += 1;
                let frame = LocalFrame {
                    group: GroupSequence(title.catalogs),
                    timestamp: 0,
                    payload: catalog(),
                };
                host.send(peer, id, frame, Delivery::Stream);
            }
        } else if id.is_some() {
            self.begin(key, host);
        } else if title.once.is_none()
            && title.wanted[..CATALOG].iter().all(Option::is_none)
            && let Some(due) = title.due.take()
        {
            self.due.remove(&(due, key));
        }
    }

    fn count(&self) {
        self.counters.broadcasts.store(self.titles.len(), Ordering::Relaxed);
        self.counters.playing.store(self.due.len(), Ordering::Relaxed);
    }
}

impl Title {
    fn new(shelf: Shelf, path: BroadcastPath, clip: Option<Arc<Clip>>) -> Self {
        Self {
            shelf,
            path,
            clip,
            wanted: [None; TRACKS],
            position: 0,
            number: 0,
            due: None,
            catalogs: 0,
            once: None,
        }
    }

    fn send(&self, peer: PeerKey, clip: &Clip, host: &mut Host<'_>) {
        for (codec, id) in self.wanted[..CATALOG]
            .iter()
            .enumerate()
            .filter_map(|(track, id)| Some((codec_of(track), (*id)?)))
        {
            let Some(payload) = clip.frame(codec, self.position) else {
                continue;
            };
            let frame = LocalFrame {
                group: GroupSequence(self.number),
                timestamp: self.number * clock_of(codec) / FRAMES_PER_SECOND,
                payload,
            };
            host.send(peer, id, frame, Delivery::Stream);
        }
    }

    /// All of it was played: those who hear it are told. By a code, since a track that has ended well is served from the
    /// cache to who comes next, all at once.
    fn end(&mut self, peer: PeerKey, host: &mut Host<'_>) {
        for wanted in &mut self.wanted[..CATALOG] {
            if let Some(id) = wanted.take() {
                host.close_track(peer, id, Some(PLAYED));
            }
        }
    }
}

impl Application for Jukebox {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        match event {
            LocalEvent::Wanted { tag, id, .. } => self.set_wanted(tag, Some(id), host),
            LocalEvent::Unwanted { tag, .. } => self.set_wanted(tag, None, host),
            LocalEvent::DemandChanged { .. }
            | LocalEvent::Frame { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::Info { .. }
            | LocalEvent::Closed { .. }
            | LocalEvent::Announced { .. }
            | LocalEvent::Unannounced { .. }
            | LocalEvent::WatchClosed { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
        self.count();
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        if self.peer.is_none() {
            self.peer = host.open_peer().ok();
        }
        if self.peer.is_some() {
            for _ in 0..COMMANDS_MAX {
                let Some(command) = self.inbox.pop() else { break };
                self.obey(command, host);
            }
        }
        let now = host.now();
        while let Some((due, key)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, key));
            self.play(key, host);
        }
        self.count();
    }

    fn wants_turn(&self, now: Instant) -> bool {
        self.is_due(now) || self.peer.is_none()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn has_work(&self) -> bool {
        !self.inbox.is_empty()
    }
}

fn tracks(key: u64) -> Vec<LocalTrack> {
    let track = |name: &str, timescale: u64, place: usize| LocalTrack {
        name: name.into(),
        info: TrackInfo {
            epoch: 0,
            priority: 200,
            ordered: true,
            max_latency_ms: LATENCY_MS_MAX,
            timescale,
        },
        tag: key * TAGS + place as u64,
    };
    let mut tracks: Vec<LocalTrack> = CODECS
        .iter()
        .enumerate()
        .map(|(place, (codec, name))| track(&format!("audio.{name}"), clock_of(*codec), place))
        .collect();
    tracks.push(track("audio", clock_of(AUDIO_CODEC), AUDIO));
    tracks.push(track("catalog.json", 1000, CATALOG));
    tracks
}

/// In the form of hang's catalog.
fn catalog() -> Bytes {
    let track = json!({
        "codec": "opus",
        "sampleRate": Rate::Hz48000.hertz(),
        "numberOfChannels": 1,
        "container": { "kind": "raw" },
    });
    let catalog = json!({ "audio": { "renditions": { "audio": track } } });
    catalog.to_string().into_bytes().into()
}

fn codec_of(track: usize) -> Codec {
    CODECS.get(track).map_or(AUDIO_CODEC, |(codec, _)| *codec)
}

fn clock_of(codec: Codec) -> u64 {
    u64::from(codec.clock(Rate::Hz48000))
}

/// What is older is dropped: who comes later is not given much of the time before.
const LATENCY_MS_MAX: u64 = 300;
/// What the tracks of a prompt end with.
const PLAYED: ErrorCode = stream_error::CANCEL;
/// Who gets music without a word of its codec, as web phones do, expects this one.
const AUDIO_CODEC: Codec = Codec::Opus;
/// Places of tracks: those of [`CODECS`], then these.
const AUDIO: usize = CODECS.len();
const CATALOG: usize = AUDIO + 1;
const TRACKS: usize = CATALOG + 1;
/// Tags of one title.
const TAGS: u64 = 8;
const FRAME: Duration = Duration::from_millis(20);
const FRAMES_PER_SECOND: u64 = 50;

const _: () = assert!(TRACKS as u64 <= TAGS);
