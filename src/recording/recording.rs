//! One recording: who is on which channel of which file, and what is written of them when.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::audio_file::{AudioFile, Sound};
use crate::counters::Counters;
use crate::desk::{Order, Wanted};
use crate::disk::Disk;
use crate::form::{Form, Spoken};
use crate::frames::Frame;
use crate::limits::{FILES_MAX, FLUSH_INTERVAL, FURTHER_PARTIES_MAX, LEGS_MAX, PAUSES_MAX, SIDECAR_INTERVAL};
use crate::seat::{SLOT_US, Seat, slot_time};
use crate::settings::Format;
use crate::sidecar::{COMPLETE, FAILED, FileOf, LegOf, Party, Pause, RECORDING, RecordingId, Sidecar};

/// Where recordings are written, and how.
pub(crate) struct Place {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) format: Format,
    pub(crate) counters: Arc<Counters>,
}

pub(crate) struct Recording {
    pub(crate) id: RecordingId,
    pub(crate) directory: PathBuf,
    zero: Instant,
    /// The next that is written.
    slot: u64,
    /// The first has two channels, the others one.
    groups: Vec<Group>,
    sidecar: Sidecar,
    pauses: Pauses,
    pub(crate) ended: Option<Instant>,
    flushed: Instant,
    described: Instant,
}

/// Channels of one file.
struct Group {
    /// Of each channel who has it, and who has it next.
    channels: Vec<VecDeque<Seat>>,
    file: Option<AudioFile>,
    /// Which of the files of the description it is.
    index: usize,
}

/// When nothing is recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pauses(Vec<(Instant, Option<Instant>)>);

impl Pauses {
    pub(crate) fn add(&mut self, changes: Vec<(Instant, bool)>) {
        for (at, is_paused) in changes {
            let count = self.0.len();
            match (is_paused, self.0.last_mut()) {
                (true, Some((_, None))) => {}
                // With so many it stays paused.
                (true, Some((_, end))) if count >= PAUSES_MAX => *end = None,
                (false, Some((_, None))) if count >= PAUSES_MAX => {}
                (true, _) => self.0.push((at, None)),
                (false, Some((_, end @ None))) => *end = Some(at),
                (false, _) => {}
            }
        }
    }

    pub(crate) fn contain(&self, at: Instant) -> bool {
        let mut newest_first = self.0.iter().rev();
        newest_first.any(|(from, to)| *from <= at && to.is_none_or(|to| at < to))
    }
}

impl Recording {
    /// It begins now, with what came first.
    pub(crate) fn begin(
        id: RecordingId,
        directory: &Path,
        order: &Order,
        pauses: Pauses,
        (zero, start_ms): (Instant, u64),
    ) -> io::Result<Self> {
        let mut recording = Self {
            id,
            directory: directory.to_owned(),
            zero,
            slot: 0,
            groups: vec![Group::new(2)],
            sidecar: Sidecar {
                id: id.to_string(),
                call_id: order.call.to_string(),
                state: RECORDING.to_owned(),
                start_ms,
                from: Party {
                    dn: order.from.0.clone(),
                    display_name: order.from.1.clone(),
                },
                to: order.dialled.clone(),
                ..Sidecar::default()
            },
            pauses,
            ended: None,
            flushed: zero,
            described: zero,
        };
        recording.seat(&order.legs, zero);
        recording.sidecar.write(&recording.sidecar_path())?;
        Ok(recording)
    }

    /// What is so of it has changed.
    pub(crate) fn follow(&mut self, order: Order) {
        self.pauses.add(order.pauses);
        self.seat(&order.legs, order.at);
        self.ended = self.ended.or(order.ended);
    }

    /// A frame that nobody has a place for is dropped and counted.
    pub(crate) fn place(&mut self, frame: &Frame, counters: &Counters) {
        if self.pauses.contain(frame.came) {
            return;
        }
        let zero = self.zero;
        match self.seats_mut().find(|seat| seat.stream == frame.stream) {
            Some(seat) => seat.place(frame, zero),
            // Who spoke has left.
            None => Counters::add(&counters.dropped, 1),
        }
    }

    /// A frame of this stream found no room on its way.
    pub(crate) fn refuse(&mut self, stream: u64, counters: &Counters) {
        match self.seats_mut().find(|seat| seat.stream == stream) {
            Some(seat) => seat.refuse(),
            None => Counters::add(&counters.dropped, 1),
        }
    }

    /// Whether somebody of this stream has a place.
    pub(crate) fn has(&self, stream: u64) -> bool {
        let mut seats = self.groups.iter().flat_map(|group| group.channels.iter().flatten());
        seats.any(|seat| seat.stream == stream)
    }

    /// Writes what was said until then. Whether it is over.
    pub(crate) fn advance(&mut self, until: Instant, now: Instant, place: &Place) -> io::Result<bool> {
        let until = self.ended.map_or(until, |ended| until.min(ended));
        while self.zero + slot_time(self.slot + 1) <= until {
            self.step(place)?;
            self.slot += 1;
        }
        if now.saturating_duration_since(self.flushed) >= FLUSH_INTERVAL {
            self.flushed = now;
            for file in self.groups.iter_mut().filter_map(|group| group.file.as_mut()) {
                file.flush()?;
            }
        }
        if now.saturating_duration_since(self.described) >= SIDECAR_INTERVAL {
            self.described = now;
            self.describe(false);
            self.sidecar.write(&self.sidecar_path())?;
        }
        Ok(self.ended.is_some_and(|ended| ended <= until))
    }

    /// Ends it as it should be: what is written is whole.
    pub(crate) fn finish(mut self, end_ms: u64, place: &Place) -> io::Result<()> {
        let mut outcome = Ok(());
        for group in &mut self.groups {
            outcome = outcome.and(group.end_file(&mut self.sidecar));
        }
        let ended = match outcome {
            Ok(()) => self.close(COMPLETE, None, end_ms, place),
            Err(error) => {
                // What is in the file is there, and the description says that it is not all.
                let _ = self.close(FAILED, Some(reason_of(&error)), end_ms, place);
                Err(error)
            }
        };
        let counter = match &ended {
            Ok(()) => &place.counters.finished,
            Err(_) => &place.counters.failed,
        };
        Counters::add(counter, 1);
        ended
    }

    /// Ends it because nothing more can be written. What was is there.
    pub(crate) fn fail(mut self, reason: &str, end_ms: u64, place: &Place) {
        for group in &mut self.groups {
            // Perhaps some of it can still be had.
            let _ = group.end_file(&mut self.sidecar);
        }
        if let Err(error) = self.close(FAILED, Some(reason), end_ms, place) {
            tracing::warn!(recording = %self.id, %error, "a recording that failed cannot say so; the next start will");
        }
        Counters::add(&place.counters.failed, 1);
    }

    fn close(&mut self, state: &str, reason: Option<&str>, end_ms: u64, place: &Place) -> io::Result<()> {
        self.describe(true);
        let counters = &place.counters;
        Counters::add(&counters.lost, self.sidecar.legs.iter().map(|leg| leg.lost).sum());
        Counters::add(&counters.dropped, self.sidecar.legs.iter().map(|leg| leg.dropped).sum());
        state.clone_into(&mut self.sidecar.state);
        self.sidecar.reason = reason.map(str::to_owned);
        self.sidecar.end_ms = Some(end_ms);
        self.sidecar.write(&self.sidecar_path())
    }

    fn sidecar_path(&self) -> PathBuf {
        self.directory.join(format!("{}.json", self.id))
    }

    /// Who is not among these leaves, who is there for the first time gets a channel.
    fn seat(&mut self, legs: &[Wanted], at: Instant) {
        let at = self.slot_at(at);
        for seat in self.seats_mut() {
            if seat.left.is_none() && !legs.iter().any(|leg| leg.stream == seat.stream) {
                seat.left = Some(at);
            }
        }
        for leg in legs {
            let is_there = self.seats_mut().any(|seat| seat.stream == leg.stream);
            if !is_there && self.sidecar.legs.len() < LEGS_MAX {
                self.add(leg, at);
            }
        }
    }

    fn add(&mut self, leg: &Wanted, at: u64) {
        let of_group = |group: &Group| group.channels.iter().position(Group::is_free);
        let mut free = self.groups.iter().enumerate();
        let found = free.find_map(|(index, group)| Some((index, of_group(group)?)));
        let (group, channel) = match found {
            Some(found) => found,
            None if self.groups.len() <= FURTHER_PARTIES_MAX => {
                self.groups.push(Group::new(1));
                (self.groups.len() - 1, 0)
            }
            None => return,
        };
        let index = self.sidecar.legs.len();
        self.sidecar.legs.push(LegOf {
            party: leg.leg.to_string(),
            dn: leg.number.clone(),
            display_name: leg.name.clone(),
            role: leg.role.to_owned(),
            channel,
            from_ms: ms(at),
            ..LegOf::default()
        });
        let group = &mut self.groups[group];
        group.channels[channel].push_back(Seat::new(leg.stream, index, at, leg.spoken));
    }

    /// The slot that begins then, or the next that is written.
    fn slot_at(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.zero).as_micros() / u128::from(SLOT_US);
        u64::try_from(passed).unwrap_or(u64::MAX).max(self.slot)
    }

    fn step(&mut self, place: &Place) -> io::Result<()> {
        let slot = self.slot;
        for (number, group) in self.groups.iter_mut().enumerate() {
            group.vacate(slot, &mut self.sidecar);
            let mut said: Vec<Option<(Spoken, Vec<u8>)>> = group
                .channels
                .iter_mut()
                .map(|seats| seats.front_mut().and_then(|seat| seat.take(slot)))
                .collect();
            let spoken = said.iter().flatten().map(|(spoken, _)| *spoken);
            let spoken: Vec<Spoken> = spoken.collect();
            let fits = |file: &AudioFile| !file.is_full() && spoken.iter().all(|spoken| file.form.holds(*spoken));
            // A file of one who has left is not silent to the end of the call.
            if number > 0 && group.is_empty() {
                group.end_file(&mut self.sidecar)?;
                continue;
            }
            if !group.file.as_ref().is_some_and(fits) {
                if spoken.is_empty() && group.file.is_none() {
                    continue;
                }
                if !group.begin_file(&spoken, slot, self.id, &self.directory, &mut self.sidecar, place)? {
                    group.pass_over(&said);
                    said.fill(None);
                }
            }
            group.list_legs(slot, &mut self.sidecar);
            Counters::add(&place.counters.frames, said.iter().flatten().count() as u64);
            group.write(said)?;
        }
        Ok(())
    }

    fn seats_mut(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.groups
            .iter_mut()
            .flat_map(|group| group.channels.iter_mut().flatten())
    }

    fn describe(&mut self, is_over: bool) {
        self.sidecar.duration_ms = ms(self.slot);
        let zero = self.zero;
        let offset = |at: Instant| {
            let passed = at.saturating_duration_since(zero).as_millis();
            u64::try_from(passed).unwrap_or(u64::MAX)
        };
        let pauses = self.pauses.0.iter().map(|(from, to)| Pause {
            from_ms: offset(*from),
            to_ms: to.map(offset),
        });
        self.sidecar.pauses = pauses.collect();
        for seat in self.groups.iter().flat_map(|group| group.channels.iter().flatten()) {
            note(seat, is_over, &mut self.sidecar);
        }
    }
}

impl Group {
    fn new(channels: usize) -> Self {
        Self {
            channels: (0..channels).map(|_| VecDeque::new()).collect(),
            file: None,
            index: 0,
        }
    }

    /// Nobody has it, or who has it leaves and nobody waits for it.
    fn is_free(seats: &VecDeque<Seat>) -> bool {
        seats.back().is_none_or(|seat| seat.left.is_some())
    }

    fn is_empty(&self) -> bool {
        self.channels.iter().all(VecDeque::is_empty)
    }

    /// Who is on its channels now has a part in its file.
    fn list_legs(&self, slot: u64, sidecar: &mut Sidecar) {
        let file = self.file.as_ref().and_then(|_| sidecar.files.get_mut(self.index));
        let Some(file) = file else { return };
        let seats = self.channels.iter().filter_map(VecDeque::front);
        for seat in seats.filter(|seat| seat.base <= slot) {
            if !file.legs.contains(&seat.leg) {
                file.legs.push(seat.leg);
            }
        }
    }

    /// There is no file for what was said.
    fn pass_over(&mut self, said: &[Option<(Spoken, Vec<u8>)>]) {
        let channels = self.channels.iter_mut().zip(said);
        for (seats, _) in channels.filter(|(_, said)| said.is_some()) {
            seats.front_mut().into_iter().for_each(Seat::pass_over);
        }
    }

    fn vacate(&mut self, slot: u64, sidecar: &mut Sidecar) {
        for seats in &mut self.channels {
            while let Some(seat) = seats.pop_front_if(|seat| seat.left.is_some_and(|left| left <= slot)) {
                note(&seat, true, sidecar);
                if let Some(leg) = sidecar.legs.get_mut(seat.leg) {
                    leg.to_ms = Some(ms(slot));
                }
            }
        }
    }

    /// A further file, for what is spoken now. False: there are too many.
    fn begin_file(
        &mut self,
        spoken: &[Spoken],
        slot: u64,
        id: RecordingId,
        directory: &Path,
        sidecar: &mut Sidecar,
        place: &Place,
    ) -> io::Result<bool> {
        self.end_file(sidecar)?;
        // Whoever is silent now is likely to speak as before.
        let seats = self.channels.iter().filter_map(VecDeque::front);
        let others = seats.clone().filter_map(|seat| seat.spoken);
        let all: Vec<Spoken> = spoken.iter().copied().chain(others).collect();
        let Some(form) = Form::of(&all, place.format).filter(|_| sidecar.files.len() < FILES_MAX) else {
            return Ok(false);
        };
        let name = match sidecar.files.len() {
            0 => format!("{id}.{}", form.extension()),
            before => format!("{id}.{}.{}", before + 1, form.extension()),
        };
        let path = directory.join(&name);
        let sink = place.disk.create(&path)?;
        let channels = u16::try_from(self.channels.len()).unwrap_or(1);
        self.index = sidecar.files.len();
        sidecar.files.push(FileOf {
            name,
            encoding: form.encoding().to_owned(),
            sample_rate: form.sample_rate(),
            channels,
            at_ms: ms(slot),
            bytes: 0,
            legs: seats.filter(|seat| seat.base <= slot).map(|seat| seat.leg).collect(),
        });
        let file = AudioFile::begin(sink, form, channels, &[("TITLE", &id.to_string())], &place.counters)?;
        for seat in self.channels.iter_mut().filter_map(VecDeque::front_mut) {
            seat.begin_file();
        }
        self.file = Some(file);
        sidecar.write(&directory.join(format!("{id}.json")))?;
        Ok(true)
    }

    fn write(&mut self, said: Vec<Option<(Spoken, Vec<u8>)>>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let sounds = self.channels.iter_mut().zip(said);
        let sounds: Vec<Sound> = sounds
            .map(|(seats, said)| seats.front_mut()?.sound(said, file.form))
            .collect();
        file.write(&sounds)
    }

    fn end_file(&mut self, sidecar: &mut Sidecar) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let bytes = file.finish()?;
        if let Some(file) = sidecar.files.get_mut(self.index) {
            file.bytes = bytes;
        }
        Ok(())
    }
}

/// What is known of a leg by now.
fn note(seat: &Seat, is_over: bool, sidecar: &mut Sidecar) {
    let Some(leg) = sidecar.legs.get_mut(seat.leg) else {
        return;
    };
    leg.frames = seat.counts.frames;
    leg.bytes = seat.counts.bytes;
    leg.lost = seat.lost();
    leg.written = seat.written();
    leg.dropped_as = seat.dropped(is_over);
    leg.dropped = leg.dropped_as.sum();
    leg.codec = seat.spoken.map(|spoken| spoken.name().to_owned());
}

fn ms(slot: u64) -> u64 {
    slot.saturating_mul(SLOT_US / 1000)
}

pub(crate) fn reason_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FULL,
        _ => DISK,
    }
}

/// Why recordings fail.
pub(crate) const FULL: &str = "full";
const DISK: &str = "disk";
