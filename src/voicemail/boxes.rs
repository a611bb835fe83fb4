//! Boxes on a disk: `<box>/<message>.wav` with `<message>.json` beside it, and `<box>/greeting.wav`. The directory of a box is its
//! number; what a file system has words of its own for is `%` and two digits.
#![expect(
    clippy::disallowed_types,
    reason = "threads that wait for the disk and the one that decides on calls share it, none of them a shard"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use moqswitch_calls::{Number, Text};
use serde::{Deserialize, Serialize};

use crate::limits::{BOX_NAME_BYTES_MAX, BOXES_MAX, DESCRIPTION_BYTES_MAX, ENTRIES_MAX};
use crate::sound::Sound;

/// What an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Made where there is none. One process alone writes there.
    pub directory: PathBuf,
    /// The longest message.
    pub message_max: Duration,
    /// Messages of a box. A further one is refused.
    pub messages_max: usize,
    /// Bytes of all messages and greetings. Beyond, no message is taken.
    pub bytes_max: u64,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    /// Its name, within its box.
    pub id: String,
    /// The number of who left it.
    pub from: String,
    /// The name for people.
    pub display_name: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it is.
    pub duration_ms: u64,
    /// Somebody has listened to it.
    pub heard: bool,
}

/// How many messages there are in a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nobody has listened to them.
    pub new: u32,
    /// The others.
    pub old: u32,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum BoxError {
    /// There is none of that name.
    #[error("there is no such message")]
    Unknown,
    /// The box has as many messages as it may, or all have as many bytes, or there are as many boxes as there may be.
    #[error("the box is full")]
    Full,
    /// The number is none that a box may have.
    #[error("this number has no box")]
    NoBox,
    /// The disk.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// All of them. But for [`Boxes::tally`], methods wait for the disk.
#[derive(Debug)]
pub struct Boxes {
    settings: Settings,
    known: Mutex<Known>,
    /// Locked as long as this is held. `None`: another process may write there.
    lock: RwLock<Option<File>>,
}

#[derive(Debug, Default)]
struct Known {
    tallies: BTreeMap<Number, Tally>,
    /// Of the messages of each, and of its greeting.
    bytes: BTreeMap<Number, u64>,
    /// Boxes of which something has changed, until it is asked for.
    changed: BTreeSet<Number>,
    /// Names that were given in one millisecond.
    named: u64,
}

impl Boxes {
    /// Opens those of a directory.
    ///
    /// # Errors
    /// It cannot be made or read, or another process has it.
    pub fn open(settings: Settings) -> io::Result<Self> {
        make_directory(&settings.directory)?;
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(settings.directory.join(".lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another process has the boxes there"))?;
        let boxes = Self {
            settings,
            known: Mutex::default(),
            lock: RwLock::new(Some(lock)),
        };
        for entry in fs::read_dir(&boxes.settings.directory)?.take(BOXES_MAX) {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().and_then(number_of) else {
                continue;
            };
            if entry.file_type()?.is_dir() {
                boxes.count(&number)?;
            }
        }
        boxes.known().changed.clear();
        Ok(boxes)
    }

    /// Nothing is written from here on, so that another process may. What there is can still be read.
    pub fn release(&self) {
        *self.lock.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What was decided.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many messages there are.
    pub fn tally(&self, number: &Number) -> Tally {
        self.known().tallies.get(number).copied().unwrap_or_default()
    }

    /// Boxes of which something has changed since this was asked last.
    pub fn take_changed(&self) -> BTreeSet<Number> {
        std::mem::take(&mut self.known().changed)
    }

    /// Whether a message would be taken.
    pub fn has_room(&self, number: &Number) -> bool {
        self.room(number).is_ok()
    }

    /// The messages of a box, the newest first.
    ///
    /// # Errors
    /// The disk.
    pub fn list(&self, number: &Number) -> Result<Vec<Message>, BoxError> {
        let directory = self.directory(number)?;
        let mut messages: Vec<Message> = names(&directory)?
            .iter()
            // One that is removed meanwhile, or was damaged, is none.
            .filter_map(|id| read_description(&directory, id).ok())
            .collect();
        messages.sort_by(|one, other| (other.at_ms, &other.id).cmp(&(one.at_ms, &one.id)));
        Ok(messages)
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none, or the disk.
    pub fn get(&self, number: &Number, id: &str) -> Result<Message, BoxError> {
        let directory = self.directory(number)?;
        check(id)?;
        read_description(&directory, id).map_err(of_io)
    }

    /// The file of a message.
    ///
    /// # Errors
    /// There is none, or the disk.
    pub fn file(&self, number: &Number, id: &str) -> Result<File, BoxError> {
        let directory = self.directory(number)?;
        check(id)?;
        File::open(directory.join(format!("{id}.wav"))).map_err(of_io)
    }

    /// What a message says.
    ///
    /// # Errors
    /// There is none, or the disk.
    pub fn sound(&self, number: &Number, id: &str) -> Result<Sound, BoxError> {
        let mut bytes = Vec::new();
        self.file(number, id)?.read_to_end(&mut bytes)?;
        Sound::read(&bytes).map_err(|error| BoxError::Disk(io::Error::other(error)))
    }

    /// Somebody has left a message.
    ///
    /// # Errors
    /// There is no room, or the disk.
    pub fn add(&self, number: &Number, from: (&Number, &Text), sound: &Sound, at_ms: u64) -> Result<Message, BoxError> {
        let _lock = self.writing()?;
        self.room(number)?;
        let directory = self.directory(number)?;
        make_directory(&directory)?;
        let named = {
            let mut known = self.known();
            known.named = known.named.wrapping_add(1);
            known.named
        };
        let message = Message {
            id: format!("{at_ms:013}-{:04x}", named & 0xffff),
            from: from.0.to_string(),
            display_name: from.1.to_string(),
            at_ms,
            duration_ms: u64::try_from(sound.duration().as_millis()).unwrap_or(u64::MAX),
            heard: false,
        };
        write(&directory.join(format!("{}.wav", message.id)), &sound.write()?)?;
        // The description comes last: what has one is whole.
        write_description(&directory, &message)?;
        self.count(number)?;
        Ok(message)
    }

    /// Somebody has listened to one.
    ///
    /// # Errors
    /// There is none, or the disk.
    pub fn set_heard(&self, number: &Number, id: &str, heard: bool) -> Result<(), BoxError> {
        let _lock = self.writing()?;
        let mut message = self.get(number, id)?;
        if message.heard != heard {
            message.heard = heard;
            write_description(&self.directory(number)?, &message)?;
            self.count(number)?;
        }
        Ok(())
    }

    /// It is not wanted any more.
    ///
    /// # Errors
    /// There is none, or the disk.
    pub fn remove(&self, number: &Number, id: &str) -> Result<(), BoxError> {
        let _lock = self.writing()?;
        let directory = self.directory(number)?;
        check(id)?;
        // The description goes first: what is left is nobody's.
        fs::remove_file(directory.join(format!("{id}.json"))).map_err(of_io)?;
        let _ = fs::remove_file(directory.join(format!("{id}.wav")));
        self.count(number)?;
        Ok(())
    }

    /// What callers of a box hear. `None`: it has none of its own.
    pub fn greeting(&self, number: &Number) -> Option<Sound> {
        let path = self.directory(number).ok()?.join(GREETING);
        let bytes = fs::read(path).ok()?;
        let read = Sound::read(&bytes);
        let read = read.inspect_err(|error| tracing::warn!(%number, %error, "the greeting of a box is not heard"));
        read.ok().map(Sound::for_greeting)
    }

    /// From here on callers of a box hear this.
    ///
    /// # Errors
    /// The disk.
    pub fn set_greeting(&self, number: &Number, sound: &Sound) -> Result<(), BoxError> {
        let _lock = self.writing()?;
        if !self.known().tallies.contains_key(number) && self.known().tallies.len() >= BOXES_MAX {
            return Err(BoxError::Full);
        }
        let directory = self.directory(number)?;
        make_directory(&directory)?;
        write(&directory.join(GREETING), &sound.write()?)?;
        Ok(self.count(number)?)
    }

    fn room(&self, number: &Number) -> Result<(), BoxError> {
        name_of(number).ok_or(BoxError::NoBox)?;
        let known = self.known();
        let tally = known.tallies.get(number);
        let messages = tally.map_or(0, |tally| tally.new.saturating_add(tally.old));
        let is_full = tally.is_none() && known.tallies.len() >= BOXES_MAX
            || usize::try_from(messages).unwrap_or(usize::MAX) >= self.settings.messages_max
            || known.bytes.values().sum::<u64>() >= self.settings.bytes_max;
        if is_full { Err(BoxError::Full) } else { Ok(()) }
    }

    /// Looks what there is in a box.
    fn count(&self, number: &Number) -> io::Result<()> {
        let Some(name) = name_of(number) else { return Ok(()) };
        let directory = self.settings.directory.join(name);
        let size = |name: &str| fs::metadata(directory.join(name)).map_or(0, |data| data.len());
        let (mut tally, mut bytes) = (Tally::default(), size(GREETING));
        for id in names(&directory)? {
            bytes += size(&format!("{id}.wav"));
            match read_description(&directory, &id) {
                Ok(message) if message.heard => tally.old += 1,
                Ok(_) => tally.new += 1,
                Err(_) => {}
            }
        }
        let mut known = self.known();
        let before = known.tallies.insert(number.clone(), tally);
        if before.unwrap_or_default() != tally {
            known.changed.insert(number.clone());
        }
        known.bytes.insert(number.clone(), bytes);
        Ok(())
    }

    fn directory(&self, number: &Number) -> Result<PathBuf, BoxError> {
        let name = name_of(number).ok_or(BoxError::NoBox)?;
        Ok(self.settings.directory.join(name))
    }

    /// As long as this is held, no other process writes: [`release`](Self::release) waits.
    fn writing(&self) -> io::Result<RwLockReadGuard<'_, Option<File>>> {
        let lock = self.lock.read().unwrap_or_else(PoisonError::into_inner);
        match *lock {
            Some(_) => Ok(lock),
            None => Err(io::Error::other("another process has the boxes now")),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages that have a description.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries.take(ENTRIES_MAX) {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(id.filter(|id| check(id).is_ok()).map(str::to_owned));
    }
    Ok(names)
}

fn read_description(directory: &Path, id: &str) -> io::Result<Message> {
    let mut text = Vec::new();
    let file = File::open(directory.join(format!("{id}.json")))?;
    file.take(DESCRIPTION_BYTES_MAX).read_to_end(&mut text)?;
    let mut message: Message = serde_json::from_slice(&text).map_err(io::Error::other)?;
    id.clone_into(&mut message.id);
    Ok(message)
}

fn write_description(directory: &Path, message: &Message) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(message).map_err(io::Error::other)?;
    write(&directory.join(format!("{}.json", message.id)), &text)
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("part");
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let written = options.open(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    let renamed = written.and_then(|()| fs::rename(&unfinished, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    renamed
}

/// What is said there is nobody else's.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Names of messages are ours: digits, and a dash.
fn check(id: &str) -> Result<(), BoxError> {
    let is_own = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    match !id.is_empty() && id.len() <= 32 && id.bytes().all(is_own) {
        true => Ok(()),
        false => Err(BoxError::Unknown),
    }
}

fn of_io(error: io::Error) -> BoxError {
    match error.kind() {
        io::ErrorKind::NotFound => BoxError::Unknown,
        _ => BoxError::Disk(error),
    }
}

/// The name of a box's directory.
fn name_of(number: &Number) -> Option<String> {
    let mut name = String::new();
    for byte in number.as_str().bytes() {
        match byte {
            b'.' | b'*' => name.push_str(&format!("%{byte:02x}")),
            byte => name.push(char::from(byte)),
        }
    }
    (name.len() <= BOX_NAME_BYTES_MAX).then_some(name)
}

fn number_of(name: &str) -> Option<Number> {
    let number = Number::new(&name.replace("%2e", ".").replace("%2a", "*")).ok()?;
    (name_of(&number).as_deref() == Some(name)).then_some(number)
}

const GREETING: &str = "greeting.wav";

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("moqswitch-boxes-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn open(&self) -> Boxes {
            let settings = Settings {
                directory: self.0.clone(),
                message_max: Duration::from_secs(10),
                messages_max: 3,
                bytes_max: 5 * 16_000,
            };
            Boxes::open(settings).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn number(text: &str) -> Number {
        Number::new(text).unwrap()
    }

    fn add(boxes: &Boxes, of: &str, at_ms: u64) -> Result<Message, BoxError> {
        let sound = Sound::new(vec![500; 16_000]);
        boxes.add(&number(of), (&number("5001"), &Text::new("Somebody")), &sound, at_ms)
    }

    #[test]
    fn another_process_has_what_was_released_and_reading_goes_on() {
        let place = Place::new("released");
        let boxes = place.open();
        let message = add(&boxes, "1002", 1000).unwrap();
        boxes.release();
        let next = place.open();
        assert!(boxes.sound(&number("1002"), &message.id).is_ok());
        assert!(matches!(add(&boxes, "1002", 2000), Err(BoxError::Disk(_))));
        assert!(matches!(
            boxes.remove(&number("1002"), &message.id),
            Err(BoxError::Disk(_))
        ));
        next.remove(&number("1002"), &message.id).unwrap();
    }

    #[test]
    fn messages_are_there_until_they_are_removed_and_after_a_restart() {
        let place = Place::new("kept");
        let boxes = place.open();
        let first = add(&boxes, "1002", 1000).unwrap();
        let second = add(&boxes, "1002", 2000).unwrap();
        assert_eq!((first.duration_ms, first.from.as_str()), (2000, "5001"));
        assert_eq!(boxes.take_changed().into_iter().collect::<Vec<_>>(), [number("1002")]);
        assert!(Boxes::open(boxes.settings().clone()).is_err(), "one process alone");
        boxes.set_heard(&number("1002"), &first.id, true).unwrap();
        assert_eq!(boxes.tally(&number("1002")), Tally { new: 1, old: 1 });
        drop(boxes);
        let boxes = place.open();
        assert_eq!(boxes.tally(&number("1002")), Tally { new: 1, old: 1 });
        assert!(boxes.take_changed().is_empty());
        let ids = |boxes: &Boxes| {
            boxes
                .list(&number("1002"))
                .unwrap()
                .into_iter()
                .map(|one| one.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&boxes), [second.id.clone(), first.id.clone()]);
        assert_eq!(
            boxes.sound(&number("1002"), &first.id).unwrap().duration(),
            Duration::from_secs(2)
        );
        boxes.remove(&number("1002"), &first.id).unwrap();
        assert!(matches!(
            boxes.remove(&number("1002"), &first.id),
            Err(BoxError::Unknown)
        ));
        assert!(matches!(boxes.file(&number("1002"), &first.id), Err(BoxError::Unknown)));
        assert_eq!(ids(&boxes), [second.id]);
    }

    #[test]
    fn boxes_have_bounds() {
        let place = Place::new("full");
        let boxes = place.open();
        for at in 0..3 {
            add(&boxes, "1002", at).unwrap();
        }
        assert!(!boxes.has_room(&number("1002")));
        assert!(matches!(add(&boxes, "1002", 9), Err(BoxError::Full)));
        for at in 0..2 {
            add(&boxes, "1003", at).unwrap();
        }
        assert!(
            matches!(add(&boxes, "1004", 9), Err(BoxError::Full)),
            "all have as many bytes as they may"
        );
        assert!(matches!(add(&boxes, &"1".repeat(128), 9), Err(BoxError::Full)));
        assert!(matches!(add(&boxes, &".".repeat(120), 9), Err(BoxError::NoBox)));
    }

    #[test]
    fn names_lead_nowhere_else() {
        let place = Place::new("names");
        let boxes = place.open();
        for odd in ["..", ".", "*97", "a.b", "..%2e".trim_end_matches("%2e")] {
            let kept = add(&boxes, odd, 5).unwrap();
            assert_eq!(boxes.list(&number(odd)).unwrap().first(), Some(&kept), "{odd}");
            boxes.remove(&number(odd), &kept.id).unwrap();
        }
        for bad in ["", "..", "../x", "a/b", "greeting", &"1".repeat(33)] {
            assert!(
                matches!(boxes.get(&number("1002"), bad), Err(BoxError::Unknown)),
                "{bad}"
            );
        }
        for name in ["..", "%2E%2E", "1/2", ".lock"] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_greeting_is_the_boxes_own_and_no_message() {
        let place = Place::new("greeting");
        let boxes = place.open();
        assert_eq!(boxes.greeting(&number("1002")), None);
        boxes
            .set_greeting(&number("1002"), &Sound::new(vec![900; 8000]))
            .unwrap();
        assert_eq!(
            boxes.greeting(&number("1002")).unwrap().duration(),
            Duration::from_secs(1)
        );
        assert_eq!(
            (boxes.tally(&number("1002")), boxes.list(&number("1002")).unwrap()),
            (Tally::default(), Vec::new())
        );
    }
}
