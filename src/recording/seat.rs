//! What one leg says, in slots of 20 ms, and as the file of the moment wants it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use moqswitch_audio::{Decoder, Rate, Resampler};
use moqswitch_containers::{Slots, opus};

use crate::audio_file::Sound;
use crate::form::{Form, Spoken};
use crate::frames::Frame;
use crate::limits::SAMPLES_AHEAD_MAX;
use crate::sidecar::Dropped;

/// One leg, from when it came to when it left.
pub(crate) struct Seat {
    pub(crate) stream: u64,
    /// Which of the legs of the description it is.
    pub(crate) leg: usize,
    /// The slot of the recording that is its first.
    pub(crate) base: u64,
    /// The first slot that is not its any more.
    pub(crate) left: Option<u64>,
    /// What it spoke last, or is said to speak.
    pub(crate) spoken: Option<Spoken>,
    pub(crate) counts: SeatCounts,
    slots: Slots,
    taken: u64,
    /// Of a byte stream: less than a slot, when it came and when it was said.
    part: Option<(Duration, u64, Spoken, Vec<u8>)>,
    next_group: Option<u64>,
    /// What was decoded or cut and belongs to the next slots, as the file has it.
    ahead: VecDeque<u8>,
    decoding: Option<Decoding>,
}

/// What became of its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeatCounts {
    /// Frames that were taken in, and their bytes.
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Frames that did not come, by their numbers.
    pub(crate) lost: u64,
    /// Frames that are none of the codec's, or of a length that is not recorded.
    pub(crate) unfit: u64,
    /// Frames that found no room on their way to the writer.
    pub(crate) refused: u64,
    /// What was said while there were as many files as there may be.
    pub(crate) no_file: u64,
    /// What was passed over: somebody else had the channel.
    pub(crate) passed_over: u64,
}

struct Decoding {
    spoken: Spoken,
    rate: Rate,
    decoder: Decoder,
    resampler: Option<Resampler>,
}

impl Seat {
    pub(crate) fn new(stream: u64, leg: usize, base: u64, spoken: Option<Spoken>) -> Self {
        Self {
            stream,
            leg,
            base,
            left: None,
            spoken,
            counts: SeatCounts::default(),
            slots: Slots::new(SLOT_US),
            taken: 0,
            part: None,
            next_group: None,
            ahead: VecDeque::new(),
            decoding: None,
        }
    }

    /// A frame, of a recording that began at `zero`.
    pub(crate) fn place(&mut self, frame: &Frame, zero: Instant) {
        self.count(frame);
        let Some(spoken) = Spoken::of(frame.codec) else {
            self.counts.unfit += 1;
            return;
        };
        let begin = zero + slot_time(self.base);
        let arrived = frame.came.saturating_duration_since(begin);
        if spoken == Spoken::Opus {
            self.place_packet(arrived, frame);
        } else {
            self.place_bytes(arrived, frame.time_us, spoken, &frame.payload);
        }
    }

    /// What it says in the next slot.
    pub(crate) fn take(&mut self, slot: u64) -> Option<(Spoken, Vec<u8>)> {
        if slot < self.base {
            return None;
        }
        while self.base + self.taken < slot {
            self.counts.passed_over += u64::from(self.slots.take().is_some());
            self.taken += 1;
        }
        self.taken += 1;
        self.give_up_part(slot);
        let mut said = self.slots.take()?;
        let spoken = spoken_of(said.pop()?)?;
        self.spoken = Some(spoken);
        Some((spoken, said))
    }

    /// As the file has it. What `said` has beyond the slot comes with the next.
    pub(crate) fn sound(&mut self, said: Option<(Spoken, Vec<u8>)>, form: Form) -> Sound {
        let samples = usize::try_from(form.sample_rate() / 50).unwrap_or(0);
        let wanted = match form {
            Form::Opus => return said.map(|(_, packet)| packet),
            Form::Plain(_) => {
                self.ahead.extend(said.into_iter().flat_map(|(_, bytes)| bytes));
                samples
            }
            Form::Samples(rate) => {
                if let Some((spoken, packet)) = said {
                    self.decode(spoken, &packet, rate);
                }
                2 * samples
            }
        };
        if self.ahead.len() > SAMPLES_AHEAD_MAX {
            self.ahead.drain(..self.ahead.len() - wanted);
            self.counts.unfit += 1;
        }
        let count = wanted.min(self.ahead.len());
        (count > 0).then(|| self.ahead.drain(..count).collect())
    }

    /// Another file begins: what waits is not as it has it.
    pub(crate) fn begin_file(&mut self) {
        self.ahead.clear();
        self.decoding = None;
    }

    /// What is in files of it, in slots.
    pub(crate) fn written(&self) -> u64 {
        let not = self.counts.no_file + self.counts.passed_over;
        self.slots.counts().said.saturating_sub(not)
    }

    /// What came and is in no file. Once it is over that is what waits, too.
    pub(crate) fn dropped(&self, is_over: bool) -> Dropped {
        let slots = self.slots.counts();
        let waiting = self.slots.waiting() + usize::from(self.part.is_some());
        let waiting = if is_over { waiting } else { 0 };
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        Dropped {
            late: slots.late,
            doubled: slots.doubled,
            no_room: slots.dropped,
            unfit: self.counts.unfit,
            queue_full: self.counts.refused,
            no_file: self.counts.no_file,
            after_end: waiting.saturating_add(self.counts.passed_over),
        }
    }

    /// Frames that did not come, by their numbers, without those that came and found no room on their way.
    pub(crate) fn lost(&self) -> u64 {
        self.counts.lost.saturating_sub(self.counts.refused)
    }

    /// One that found no room on its way to the writer.
    pub(crate) fn refuse(&mut self) {
        self.counts.frames += 1;
        self.counts.refused += 1;
    }

    /// What was said in a slot found no file.
    pub(crate) fn pass_over(&mut self) {
        self.counts.no_file += 1;
    }

    fn count(&mut self, frame: &Frame) {
        self.counts.frames += 1;
        self.counts.bytes += u64::try_from(frame.payload.len()).unwrap_or(0);
        if frame.is_first {
            self.next_group = None;
        }
        let next = self.next_group.unwrap_or(frame.group);
        match frame.group.checked_sub(next) {
            Some(gap) if gap <= GAP_MAX => self.counts.lost += gap,
            // It was counted when a later one came.
            None if next - frame.group <= GAP_MAX => {
                self.counts.lost = self.counts.lost.saturating_sub(1);
                return;
            }
            // The source has begun anew.
            _ => {}
        }
        self.next_group = Some(frame.group.saturating_add(1));
    }

    fn place_packet(&mut self, arrived: Duration, frame: &Frame) {
        match opus::slots(&frame.payload) {
            Some(packets) => {
                for (packet, index) in packets.into_iter().zip(0..) {
                    let time_us = frame.time_us.saturating_add(index * SLOT_US);
                    self.put(arrived, time_us, Spoken::Opus, packet);
                }
            }
            None if opus::samples(&frame.payload).is_some_and(|samples| samples > opus::SLOT_SAMPLES) => {
                self.put(arrived, frame.time_us, Spoken::LongOpus, frame.payload.clone());
            }
            None => self.counts.unfit += 1,
        }
    }

    /// Of codecs with a byte for each unit of time. Parts of slots are put together.
    fn place_bytes(&mut self, arrived: Duration, time_us: u64, spoken: Spoken, bytes: &[u8]) {
        let (mut time_us, mut bytes) = (time_us, bytes.to_vec());
        if let Some((came, began, of, mut part)) = self.part.take() {
            if of == spoken && began + bytes_time(part.len()) == time_us {
                part.append(&mut bytes);
                (time_us, bytes) = (began, part);
            } else {
                self.put(came, began, of, part);
            }
        }
        let whole = bytes.len() - bytes.len() % SLOT_BYTES;
        let rest = bytes.split_off(whole);
        for (slot, index) in bytes.chunks(SLOT_BYTES).zip(0..) {
            self.put(arrived, time_us.saturating_add(index * SLOT_US), spoken, slot.to_vec());
        }
        if !rest.is_empty() {
            let begins = time_us.saturating_add(bytes_time(whole));
            self.part = Some((arrived, begins, spoken, rest));
        }
    }

    /// What would have made a whole of it has not come, as where silence follows.
    fn give_up_part(&mut self, slot: u64) {
        let until = slot_time((slot - self.base).saturating_add(PART_SLOTS));
        if let Some((came, began, of, part)) = self.part.take_if(|(came, ..)| *came <= until) {
            self.put(came, began, of, part);
        }
    }

    fn put(&mut self, arrived: Duration, time_us: u64, spoken: Spoken, mut packet: Vec<u8>) {
        packet.push(spoken as u8);
        self.slots.place(arrived, time_us, packet);
    }

    fn decode(&mut self, spoken: Spoken, packet: &[u8], rate: Rate) {
        let is_ready = |decoding: &Decoding| decoding.spoken.codec() == spoken.codec() && decoding.rate == rate;
        if !self.decoding.as_ref().is_some_and(is_ready) {
            self.decoding = Decoding::new(spoken, rate);
        }
        let Some(decoding) = &mut self.decoding else {
            self.counts.unfit += 1;
            return;
        };
        match decoding.decode(packet) {
            Some(samples) => self.ahead.extend(samples.into_iter().flat_map(i16::to_le_bytes)),
            None => self.counts.unfit += 1,
        }
    }
}

impl Decoding {
    fn new(spoken: Spoken, rate: Rate) -> Option<Self> {
        let codec = spoken.codec();
        let own = codec.rate(rate);
        let decoder = Decoder::new(codec, own).ok()?;
        Some(Self {
            spoken,
            rate,
            decoder,
            resampler: (own != rate).then(|| Resampler::new(own, rate)),
        })
    }

    fn decode(&mut self, packet: &[u8]) -> Option<Vec<i16>> {
        let mut samples = Vec::new();
        self.decoder.decode(packet, &mut samples).ok()?;
        let Some(resampler) = &mut self.resampler else {
            return Some(samples);
        };
        let mut resampled = Vec::new();
        resampler.process(&samples, &mut resampled);
        Some(resampled)
    }
}

/// From the beginning of a recording to that of a slot.
pub(crate) fn slot_time(slot: u64) -> Duration {
    Duration::from_micros(slot.saturating_mul(SLOT_US))
}

fn bytes_time(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(0).saturating_mul(BYTE_US)
}

fn spoken_of(tag: u8) -> Option<Spoken> {
    use Spoken::{G722, LongOpus, Opus, Pcma, Pcmu};
    [Opus, LongOpus, Pcmu, Pcma, G722]
        .into_iter()
        .find(|spoken| *spoken as u8 == tag)
}

/// Microseconds of a slot.
pub(crate) const SLOT_US: u64 = 20_000;
/// Of G.711 and of G.722: 64 kbit/s.
const SLOT_BYTES: usize = 160;
const BYTE_US: u64 = 125;
/// So many slots before its own is written part of one is put there: some after it came, which is long enough for the rest.
const PART_SLOTS: u64 = 5;
/// Numbers that may be missing between two. A source that jumps further has begun anew.
const GAP_MAX: u64 = 250;

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "numbers of tests are small")]

    use moqswitch_audio::Codec;

    use super::*;

    fn frame(codec: Codec, number: u64, ms: u64, zero: Instant, payload: Vec<u8>) -> Frame {
        Frame {
            stream: 1,
            codec,
            group: number,
            is_first: false,
            time_us: 7_000_000 + ms * 1000,
            came: zero + Duration::from_millis(ms),
            payload,
        }
    }

    /// Bytes that count up, over so many slots.
    fn heard(seat: &mut Seat, form: Form, slots: u64) -> Vec<u8> {
        (0..slots)
            .flat_map(|slot| {
                let said = seat.take(slot);
                seat.sound(said, form).unwrap_or_default()
            })
            .collect()
    }

    #[test]
    fn packets_of_any_length_are_heard_without_a_gap() {
        let form = Form::Plain(moqswitch_containers::Encoding::Mulaw);
        for ms in [5, 10, 20, 30, 40, 60] {
            let zero = Instant::now();
            let mut seat = Seat::new(1, 0, 0, None);
            let said: Vec<u8> = (0..9600u32).map(|n| (n % 251) as u8).collect();
            for (index, packet) in said.chunks(8 * ms).enumerate() {
                let at = (index * ms) as u64;
                seat.place(&frame(Codec::Pcmu, index as u64, at, zero, packet.to_vec()), zero);
            }
            let heard = heard(&mut seat, form, 60);
            assert_eq!(heard, said, "{ms} ms");
            assert_eq!(
                (seat.counts.lost, seat.dropped(true)),
                (0, Dropped::default()),
                "{ms} ms"
            );
        }
    }

    #[test]
    fn a_part_that_nothing_follows_is_in_its_place() {
        let form = Form::Plain(moqswitch_containers::Encoding::Mulaw);
        let zero = Instant::now();
        let mut seat = Seat::new(1, 0, 0, None);
        seat.place(&frame(Codec::Pcmu, 0, 0, zero, vec![1; 160]), zero);
        seat.place(&frame(Codec::Pcmu, 1, 20, zero, vec![2; 40]), zero);
        let before = heard(&mut seat, form, 10);
        assert_eq!(before, [[1; 160].as_slice(), &[2; 40]].concat());
        seat.place(&frame(Codec::Pcmu, 2, 400, zero, vec![3; 160]), zero);
        let said = (10..30).find_map(|slot| seat.take(slot));
        assert_eq!(said, Some((Spoken::Pcmu, vec![3; 160])));
        assert_eq!(seat.dropped(true), Dropped::default());
    }

    #[test]
    fn loss_is_counted_and_order_is_none() {
        let zero = Instant::now();
        let mut seat = Seat::new(1, 0, 0, None);
        for number in [0, 1, 4, 3, 5, 9] {
            seat.place(&frame(Codec::Pcma, number, number * 20, zero, vec![1; 160]), zero);
        }
        assert_eq!(seat.counts.lost, 4);
        // Whoever is listened to anew has lost nothing meanwhile.
        let mut anew = frame(Codec::Pcma, 5000, 200, zero, vec![1; 160]);
        anew.is_first = true;
        seat.place(&anew, zero);
        assert_eq!((seat.counts.lost, seat.counts.frames), (4, 7));
    }

    #[test]
    fn opus_is_cut_where_it_can_be_and_known_where_it_cannot() {
        let zero = Instant::now();
        let mut seat = Seat::new(1, 0, 0, None);
        // Two frames of 20 ms of CELT; one of 60 ms of SILK; one of 10 ms.
        seat.place(&frame(Codec::Opus, 0, 0, zero, vec![0xf9, 1, 2, 3, 4]), zero);
        seat.place(&frame(Codec::Opus, 1, 40, zero, vec![0x18, 1, 2]), zero);
        seat.place(&frame(Codec::Opus, 2, 100, zero, vec![0xf0, 1, 2]), zero);
        let taken: Vec<_> = (0..6).map(|slot| seat.take(slot)).collect();
        assert_eq!(taken[0], Some((Spoken::Opus, vec![0xf8, 1, 2])));
        assert_eq!(taken[1], Some((Spoken::Opus, vec![0xf8, 3, 4])));
        assert_eq!(taken[2], Some((Spoken::LongOpus, vec![0x18, 1, 2])));
        assert_eq!(taken[3..], [None, None, None]);
        assert_eq!(seat.counts.unfit, 1);
    }

    #[test]
    fn another_codec_is_decoded_to_as_many_samples() {
        let zero = Instant::now();
        for codec in [Codec::Pcmu, Codec::G722] {
            let mut seat = Seat::new(1, 0, 0, None);
            for number in 0..50 {
                seat.place(&frame(codec, number, number * 20, zero, vec![0x55; 160]), zero);
            }
            let heard = heard(&mut seat, Form::Samples(Rate::Hz16000), 50);
            // But for the delay of resampling.
            assert!(
                heard.len() >= 31_900 && heard.len() <= 32_000,
                "{codec:?}: {}",
                heard.len()
            );
        }
    }
}
