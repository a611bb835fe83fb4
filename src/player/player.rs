//! The thread that reads and encodes files, and tells the shard what to play. It is no shard's, and may take its time.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::SystemTime;

use crossbeam_queue::ArrayQueue;
use moqswitch_audio::Rate;
use moqswitch_relay::shard::local::Installation;
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use tokio::sync::oneshot;

use crate::clip::Clip;
use crate::ending::Told;
use crate::jukebox::{Command, Jukebox};
use crate::limits::{COMMANDS_RETRY, COMMANDS_WAITING_MAX, ENCODED_BYTES_MAX};
use crate::melody::melody;
use crate::once::Announcer;
use crate::shelf::{Fault, Found, Shelf, Shelves, Stamp, fault, find, read};
use crate::sound::Sound;
use crate::statistics::{Counters, PlayerStatistics};

/// Plays music and prompts on a shard. When it is dropped nothing is read any more; what was read is played on.
pub struct Player {
    wishes: Arc<Wishes>,
    loader: Thread,
    counters: Arc<Counters>,
    /// Of the shard and the thread: who asks does not keep it.
    outbox: Weak<ArrayQueue<Command>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// What came of reading the directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files of music that are played.
    pub music: usize,
    /// Prompts that are.
    pub prompts: usize,
    /// What is not.
    pub faults: Vec<Fault>,
}

/// What is asked of the thread. Of each kind the last one counts.
struct Wishes {
    shelves: ArrayQueue<(Shelves, oneshot::Sender<Outcome>)>,
    /// Music of our own is wanted.
    is_melody_wanted: AtomicBool,
    is_over: AtomicBool,
}

struct Loader {
    wishes: Arc<Wishes>,
    outbox: Arc<ArrayQueue<Command>>,
    wake: Arc<dyn Fn() + Send + Sync>,
    counters: Arc<Counters>,
    /// What is played from files, with its bytes.
    loaded: BTreeMap<(Shelf, String), (Stamp, usize)>,
    has_melody: bool,
}

impl Player {
    /// Starts it on a shard. What is to be played is said by [`Self::load`].
    pub fn start(shard: &ShardPort) -> io::Result<Self> {
        let wishes = Arc::new(Wishes {
            shelves: ArrayQueue::new(1),
            is_melody_wanted: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let outbox = Arc::new(ArrayQueue::new(COMMANDS_WAITING_MAX));
        let counters = Arc::new(Counters::default());
        let mut loader = Loader {
            wishes: Arc::clone(&wishes),
            outbox: Arc::clone(&outbox),
            wake: Arc::clone(&shard.wake),
            counters: Arc::clone(&counters),
            loaded: BTreeMap::new(),
            has_melody: false,
        };
        let builder = thread::Builder::new().name("player".to_owned());
        let loader = builder.spawn(move || loader.run())?.thread().clone();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (asked, thread, counted) = (Arc::clone(&wishes), loader.clone(), Arc::clone(&counters));
        let (reply, _) = oneshot::channel();
        let own = Arc::downgrade(&outbox);
        let install = ShardCommand::Install {
            application: Installation::new(move || {
                let ask = move |_: &str| {
                    asked.is_melody_wanted.store(true, Ordering::Release);
                    thread.unpark();
                };
                Jukebox::new(outbox, Box::new(ask), counted, wall.unwrap_or_default())
            }),
            reply,
        };
        let player = Self {
            wishes,
            loader,
            counters,
            outbox: own,
            wake: Arc::clone(&shard.wake),
        };
        match shard.send(install) {
            Ok(()) => Ok(player),
            Err(_) => Err(io::Error::other("the shard takes no further command")),
        }
    }

    /// Reads the directories, at first or anew: what is not there any more is not played any more, what has changed is
    /// played from its beginning, and the rest goes on. The answer comes when all is encoded, and what is wrong is logged;
    /// none comes if it is asked again before.
    pub fn load(&self, shelves: Shelves) -> oneshot::Receiver<Outcome> {
        let (reply, answer) = oneshot::channel();
        // Who asked before is not answered.
        self.wishes.shelves.force_push((shelves, reply));
        self.loader.unpark();
        answer
    }

    /// Has files played once. What it is told of are ends of its own.
    pub fn announcer(&self) -> Announcer {
        Announcer {
            outbox: Weak::clone(&self.outbox),
            wake: Arc::clone(&self.wake),
            told: Told::new(),
        }
    }

    /// What is played, and was.
    pub fn statistics(&self) -> PlayerStatistics {
        self.counters.read()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.wishes.is_over.store(true, Ordering::Release);
        self.loader.unpark();
    }
}

impl Loader {
    fn run(&mut self) {
        loop {
            if self.wishes.is_over.load(Ordering::Acquire) {
                return;
            }
            if self.wishes.is_melody_wanted.swap(false, Ordering::AcqRel) {
                self.fill_melody();
            }
            match self.wishes.shelves.pop() {
                Some((shelves, reply)) => {
                    let outcome = self.load(&shelves);
                    // Who asked may be gone.
                    let _ = reply.send(outcome);
                }
                None if self.wishes.is_melody_wanted.load(Ordering::Acquire) => {}
                None => thread::park(),
            }
        }
    }

    fn load(&mut self, shelves: &Shelves) -> Outcome {
        let mut faults = Vec::new();
        let mut found = BTreeMap::new();
        for shelf in Shelf::ALL {
            let Some(directory) = shelves.directory(shelf) else {
                continue;
            };
            match find(directory, &mut faults) {
                Ok(files) => found.extend(files.into_iter().map(|(name, file)| ((shelf, name), file))),
                Err(fault) => {
                    faults.push(fault);
                    // What was there is not gone because nobody can look.
                    self.keep(shelf, &mut found);
                }
            }
        }
        let gone: Vec<(Shelf, String)> = self
            .loaded
            .keys()
            .filter(|key| !found.contains_key(key))
            .cloned()
            .collect();
        for key in gone {
            self.take_away(key);
        }
        for (key, file) in found {
            if self.loaded.get(&key).is_some_and(|(stamp, _)| *stamp == file.stamp) {
                continue;
            }
            if self.wishes.is_over.load(Ordering::Acquire) {
                break;
            }
            if let Err(fault) = self.put(key, &file) {
                faults.push(fault);
            }
        }
        self.show_melody(shelves.has_tones);
        self.counters.faults.store(faults.len(), Ordering::Relaxed);
        for fault in &faults {
            tracing::warn!(%fault, "not played");
        }
        let count = |shelf| self.loaded.keys().filter(|(other, _)| *other == shelf).count();
        let (music, prompts) = (count(Shelf::Music), count(Shelf::Prompts));
        if shelves.music.is_some() || shelves.prompts.is_some() {
            tracing::info!(music, prompts, "files of music and prompts are read");
        }
        Outcome { music, prompts, faults }
    }

    fn keep(&self, shelf: Shelf, found: &mut BTreeMap<(Shelf, String), Found>) {
        for (key, (stamp, _)) in self.loaded.iter().filter(|((other, _), _)| *other == shelf) {
            let file = Found {
                file: key.1.clone().into(),
                stamp: *stamp,
            };
            found.insert(key.clone(), file);
        }
    }

    /// A file that cannot be played takes away what it was before.
    fn put(&mut self, key: (Shelf, String), file: &Found) -> Result<(), Fault> {
        let encoded = read(&file.file).and_then(|sound| {
            let clip = Clip::encode(&sound).map_err(|error| fault(&file.file, error.to_string()))?;
            let others: usize = self
                .loaded
                .iter()
                .filter(|(other, _)| **other != key)
                .map(|(_, (_, bytes))| bytes)
                .sum();
            match others + clip.bytes() <= ENCODED_BYTES_MAX {
                true => Ok(clip),
                false => Err(fault(
                    &file.file,
                    format!(
                        "no room: all files together may take {} MiB when they are encoded",
                        ENCODED_BYTES_MAX >> 20
                    ),
                )),
            }
        });
        let clip = match encoded {
            Ok(clip) => clip,
            Err(fault) => {
                self.take_away(key);
                return Err(fault);
            }
        };
        let (shelf, name) = key.clone();
        self.loaded.insert(key, (file.stamp, clip.bytes()));
        self.count_bytes();
        let clip = Some(Arc::new(clip));
        self.tell(Command::Put { shelf, name, clip });
        Ok(())
    }

    fn take_away(&mut self, key: (Shelf, String)) {
        if self.loaded.remove(&key).is_some() {
            let (shelf, name) = key;
            self.count_bytes();
            self.tell(Command::Remove { shelf, name });
        }
    }

    /// Music of our own is there where it is wanted, unless a file that can be played has its name.
    fn show_melody(&mut self, is_wanted: bool) {
        let (shelf, name) = (Shelf::Music, MELODY.to_owned());
        let has_file = self.loaded.contains_key(&(shelf, name.clone()));
        let had = std::mem::replace(&mut self.has_melody, is_wanted && !has_file);
        match (had, self.has_melody) {
            (false, true) => self.tell(Command::Put {
                shelf,
                name,
                clip: None,
            }),
            // A file takes its place by itself.
            (true, false) if !has_file => self.tell(Command::Remove { shelf, name }),
            _ => {}
        }
    }

    fn fill_melody(&mut self) {
        let sound = Sound::of_samples(MELODY_RATE, melody(MELODY_RATE));
        let clip = sound.and_then(|sound| Clip::encode(&sound));
        match clip {
            Ok(clip) => self.tell(Command::Fill {
                name: MELODY.to_owned(),
                clip: Arc::new(clip),
            }),
            Err(error) => tracing::error!(%error, "there is no music without files"),
        }
    }

    fn count_bytes(&self) {
        let bytes = self.loaded.values().map(|(_, bytes)| bytes).sum();
        self.counters.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Waits for room. A shard that is gone has let go of the queue.
    fn tell(&self, command: Command) {
        let mut command = command;
        while let Err(back) = self.outbox.push(command) {
            if Arc::strong_count(&self.outbox) == 1 || self.wishes.is_over.load(Ordering::Acquire) {
                return;
            }
            command = back;
            thread::park_timeout(COMMANDS_RETRY);
        }
        (self.wake)();
    }
}

/// What the call plane names where nobody named anything else.
const MELODY: &str = "default";
const MELODY_RATE: Rate = Rate::Hz16000;
