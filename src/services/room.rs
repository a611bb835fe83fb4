//! Who hears several at once: each source is decoded once, and each hearer gets all that it hears in one stream, in its own
//! codec. It has no clock: whoever has calls it every [`FRAME_MS`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use moqswitch_audio::{
    Codec, CodecError, Decoder, Encoder, JitterBuffer, Mixer, OpusSettings, Played, Rate, Resampler, Tone,
};

use crate::limits::{
    LOUDEST_MAX, ROOM_DEPTH_MAX, ROOM_HEARERS_MAX, ROOM_PLAYED_PER_TICK_MAX, ROOM_SOURCES_MAX, ROOM_WAITING_MS_MAX,
};

/// All that a room is to be. The latest one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Who is heard, by a name that is another one's never, and in what codec.
    pub(crate) sources: Vec<(u64, Codec)>,
    pub(crate) hearers: Vec<PlannedHearer>,
}

/// Who hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedHearer {
    pub(crate) name: u64,
    pub(crate) codec: Codec,
    /// Names of sources.
    pub(crate) hears: Vec<u64>,
    /// What it says itself, if that is one of the sources.
    pub(crate) own: Option<u64>,
    /// The number of its first frame.
    pub(crate) number: u64,
    /// How often whom it hears has changed, and how at last: it hears a tone then.
    pub(crate) changes: (u64, Change),
}

/// Of whom somebody hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Change {
    #[default]
    Joined,
    Left,
}

/// A frame for a hearer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mixed {
    pub(crate) hearer: u64,
    pub(crate) number: u64,
    /// In units of its codec's clock.
    pub(crate) timestamp: u64,
    pub(crate) payload: Bytes,
}

/// One call's.
pub(crate) struct Room {
    rate: Rate,
    sources: BTreeMap<u64, Source>,
    hearers: BTreeMap<u64, Hearer>,
    groups: Vec<Group>,
    /// Of this frame, what was encoded once for all who hear the same in the same codec.
    common: Vec<((usize, Codec), Bytes)>,
    malformed: u64,
    samples: Vec<i16>,
}

struct Source {
    codec: Codec,
    waiting: JitterBuffer<Bytes>,
    ear: Ear,
    /// At the room's rate, decoded and not heard yet.
    decoded: Vec<i16>,
    /// What it says in this frame. Empty: nothing.
    frame: Vec<i16>,
}

/// From payloads to samples at the room's rate.
struct Ear {
    decoder: Decoder,
    resampler: Option<Resampler>,
    samples: Vec<i16>,
}

struct Hearer {
    codec: Codec,
    hears: Vec<u64>,
    own: Option<u64>,
    number: u64,
    group: usize,
    mouth: Mouth,
    changes: u64,
    /// Says that somebody came or went.
    tone: Option<Tone>,
}

/// From samples at the room's rate to payloads.
struct Mouth {
    resampler: Option<Resampler>,
    encoder: Encoder,
    samples: Vec<i16>,
}

/// Sources that some hearers hear, or are.
struct Group {
    sources: Vec<u64>,
    mixer: Mixer,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            rate: Rate::Hz8000,
            sources: BTreeMap::new(),
            hearers: BTreeMap::new(),
            groups: Vec::new(),
            common: Vec::new(),
            malformed: 0,
            samples: Vec::new(),
        }
    }

    /// What it is to be from here on. What stays goes on as it was. Beyond what a room has at most, none is heard or hears.
    pub(crate) fn set(&mut self, plan: &Plan) -> Result<(), CodecError> {
        let hearers = || plan.hearers.iter().take(ROOM_HEARERS_MAX);
        // Nothing is resampled for those who have no more than telephones ever had.
        let is_narrow = |codec: Codec| matches!(codec, Codec::Pcmu | Codec::Pcma);
        let rate = match hearers().all(|hearer| is_narrow(hearer.codec)) {
            true => Rate::Hz8000,
            false => Rate::Hz16000,
        };
        if std::mem::replace(&mut self.rate, rate) != rate {
            self.sources.clear();
            self.groups.clear();
            for hearer in self.hearers.values_mut() {
                hearer.mouth = Mouth::new(hearer.codec, rate)?;
            }
        }
        let sources: BTreeMap<u64, Codec> = plan.sources.iter().take(ROOM_SOURCES_MAX).copied().collect();
        self.sources
            .retain(|name, source| sources.get(name) == Some(&source.codec));
        for (name, codec) in sources {
            if let Entry::Vacant(entry) = self.sources.entry(name) {
                entry.insert(Source::new(codec, rate)?);
            }
        }
        self.hearers
            .retain(|name, own| hearers().any(|hearer| hearer.name == *name && hearer.codec == own.codec));
        for hearer in hearers() {
            self.set_hearer(hearer)?;
        }
        self.group();
        Ok(())
    }

    fn set_hearer(&mut self, wanted: &PlannedHearer) -> Result<(), CodecError> {
        let rate = self.rate;
        let (changes, change) = wanted.changes;
        let hearer = match self.hearers.entry(wanted.name) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Hearer {
                codec: wanted.codec,
                hears: Vec::new(),
                own: None,
                number: wanted.number,
                group: 0,
                mouth: Mouth::new(wanted.codec, rate)?,
                changes,
                tone: None,
            }),
        };
        hearer.hears.clone_from(&wanted.hears);
        hearer.own = wanted.own;
        if std::mem::replace(&mut hearer.changes, changes) != changes {
            hearer.tone = Some(match change {
                Change::Joined => Tone::join(rate),
                Change::Left => Tone::leave(rate),
            });
        }
        Ok(())
    }

    /// A payload of a source. Without its turn, or of no source, it is dropped.
    pub(crate) fn push(&mut self, source: u64, number: u64, payload: Bytes) {
        if let Some(source) = self.sources.get_mut(&source) {
            source.waiting.push(number, payload);
        }
    }

    /// The next frame of each hearer.
    pub(crate) fn tick(&mut self, mut out: impl FnMut(Mixed)) {
        let size = self.rate.samples(FRAME_MS);
        for source in self.sources.values_mut() {
            self.malformed += source.say(size);
        }
        for group in &mut self.groups {
            let frame = |name: &u64| self.sources.get(name).map_or(&[][..], |source| &source.frame);
            let frames: Vec<&[i16]> = group.sources.iter().map(frame).collect();
            group.mixer.handle_frames(&frames);
        }
        self.common.clear();
        for (name, hearer) in &mut self.hearers {
            let Some(payload) = hearer.hear(&self.groups, &self.sources, &mut self.common, size, &mut self.samples)
            else {
                continue;
            };
            let number = hearer.number;
            hearer.number += 1;
            let units = u64::from(hearer.codec.clock(self.rate)) * FRAME_MS as u64 / 1000;
            out(Mixed {
                hearer: *name,
                number,
                timestamp: number.saturating_mul(units),
                payload,
            });
        }
    }

    /// Payloads that were none, since this was asked.
    pub(crate) fn take_malformed(&mut self) -> u64 {
        std::mem::take(&mut self.malformed)
    }

    /// Those who hear the same have one mixer: what one says itself is taken away from what it hears.
    fn group(&mut self) {
        let mut groups: Vec<Group> = Vec::new();
        for hearer in self.hearers.values_mut() {
            let mut sources = hearer.hears.clone();
            sources.extend(hearer.own.filter(|own| self.sources.contains_key(own)));
            sources.sort_unstable();
            sources.dedup();
            hearer.group = match groups.iter().position(|group| group.sources == sources) {
                Some(place) => place,
                None => {
                    let before = self.groups.iter().find(|group| group.sources == sources);
                    let mixer = before.map_or_else(|| Mixer::new(LOUDEST_MAX), |group| group.mixer.clone());
                    groups.push(Group { sources, mixer });
                    groups.len() - 1
                }
            };
        }
        self.groups = groups;
    }
}

impl Source {
    fn new(codec: Codec, rate: Rate) -> Result<Self, CodecError> {
        let own = codec.rate(rate);
        Ok(Self {
            codec,
            waiting: JitterBuffer::new(1, ROOM_DEPTH_MAX),
            ear: Ear {
                decoder: Decoder::new(codec, own)?,
                resampler: (own != rate).then(|| Resampler::new(own, rate)),
                samples: Vec::new(),
            },
            decoded: Vec::new(),
            frame: Vec::with_capacity(rate.samples(FRAME_MS)),
        })
    }

    /// Its next frame, of as many samples. How many payloads were none.
    fn say(&mut self, size: usize) -> u64 {
        let mut malformed = 0;
        for _ in 0..ROOM_PLAYED_PER_TICK_MAX {
            if self.decoded.len() >= size {
                break;
            }
            match self.waiting.play() {
                Played::Frame(payload) => malformed += u64::from(!self.ear.hear(&payload, &mut self.decoded)),
                Played::Lost => {
                    let next = self.waiting.peek().cloned();
                    self.ear.conceal(next.as_deref(), &mut self.decoded);
                }
                Played::Nothing => break,
            }
        }
        self.frame.clear();
        if self.decoded.is_empty() {
            return malformed;
        }
        // Who says more than there is time for is not heard later and later.
        let longest = size / FRAME_MS * ROOM_WAITING_MS_MAX;
        self.decoded.truncate(longest);
        let count = size.min(self.decoded.len());
        self.frame.extend(self.decoded.drain(..count));
        self.frame.resize(size, 0);
        malformed
    }
}

impl Ear {
    fn hear(&mut self, payload: &[u8], out: &mut Vec<i16>) -> bool {
        self.samples.clear();
        let is_heard = self.decoder.decode(payload, &mut self.samples).is_ok();
        self.resample(out);
        is_heard
    }

    fn conceal(&mut self, next: Option<&[u8]>, out: &mut Vec<i16>) {
        self.samples.clear();
        self.decoder.conceal(next, &mut self.samples);
        self.resample(out);
    }

    fn resample(&mut self, out: &mut Vec<i16>) {
        match &mut self.resampler {
            Some(resampler) => resampler.process(&self.samples, out),
            None => out.extend_from_slice(&self.samples),
        }
    }
}

impl Hearer {
    /// Its next payload.
    fn hear(
        &mut self,
        groups: &[Group],
        sources: &BTreeMap<u64, Source>,
        common: &mut Vec<((usize, Codec), Bytes)>,
        size: usize,
        samples: &mut Vec<i16>,
    ) -> Option<Bytes> {
        let group = groups.get(self.group)?;
        let own = self.own.and_then(|own| group.sources.binary_search(&own).ok());
        let is_heard = own.is_some_and(|place| group.mixer.is_heard(place));
        // Nothing of what was said before is in it, so it is the same for all.
        let key = (self.group, self.codec);
        let is_plain = matches!(self.codec, Codec::Pcmu | Codec::Pcma) && self.mouth.resampler.is_none();
        let is_common = is_plain && !is_heard && self.tone.is_none();
        if let Some((_, payload)) = common.iter().find(|(other, _)| is_common && *other == key) {
            return Some(payload.clone());
        }
        samples.clear();
        let said = self.own.and_then(|own| sources.get(&own));
        let said = said.map_or(&[][..], |source| &source.frame);
        group.mixer.mix(own.unwrap_or(usize::MAX), said, samples);
        samples.resize(size, 0);
        if let Some(tone) = &mut self.tone {
            let mut is_over = true;
            for (sample, tone) in samples.iter_mut().zip(tone) {
                *sample = sample.saturating_add(tone);
                is_over = false;
            }
            if is_over {
                self.tone = None;
            }
        }
        let payload = self.mouth.say(samples)?;
        if is_common {
            common.push((key, payload.clone()));
        }
        Some(payload)
    }
}

impl Mouth {
    fn new(codec: Codec, rate: Rate) -> Result<Self, CodecError> {
        let own = codec.rate(rate);
        Ok(Self {
            resampler: (own != rate).then(|| Resampler::new(rate, own)),
            encoder: Encoder::with(codec, own, OpusSettings::default())?,
            samples: Vec::new(),
        })
    }

    fn say(&mut self, samples: &[i16]) -> Option<Bytes> {
        let resampled = match &mut self.resampler {
            Some(resampler) => {
                self.samples.clear();
                resampler.process(samples, &mut self.samples);
                &self.samples
            }
            None => samples,
        };
        let mut payload = Vec::new();
        self.encoder.encode(resampled, &mut payload).ok()?;
        Some(payload.into())
    }
}

/// The time of each frame.
pub(crate) const FRAME_MS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of 20 ms each of a sine.
    fn said(codec: Codec, hertz: f64) -> Vec<Bytes> {
        let rate = codec.rate(Rate::Hz16000);
        let mut encoder = Encoder::new(codec, rate).unwrap();
        let step = hertz * std::f64::consts::TAU / f64::from(rate.hertz());
        #[expect(clippy::cast_possible_truncation, reason = "of 8000 at most")]
        let sample = |n: usize| ((n as f64 * step).sin() * 8000.0) as i16;
        let samples: Vec<i16> = (0..rate.samples(1000)).map(sample).collect();
        let frames = samples.chunks(rate.samples(20)).map(|frame| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload).unwrap();
            payload.into()
        });
        frames.collect()
    }

    /// How much of a sine there is in what somebody heard after its first 300 ms, of 8000.
    fn loud(codec: Codec, heard: &[Bytes], hertz: f64) -> f64 {
        let rate = codec.rate(Rate::Hz16000);
        let mut decoder = Decoder::new(codec, rate).unwrap();
        let mut samples = Vec::new();
        for payload in heard {
            decoder.decode(payload, &mut samples).unwrap();
        }
        let samples = &samples[rate.samples(300)..];
        let step = hertz * std::f64::consts::TAU / f64::from(rate.hertz());
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let at = n as f64 * step;
            sine += at.sin() * f64::from(*sample);
            cosine += at.cos() * f64::from(*sample);
        }
        sine.hypot(cosine) * 2.0 / samples.len() as f64
    }

    fn hearer(name: u64, codec: Codec, hears: &[u64], own: Option<u64>) -> PlannedHearer {
        PlannedHearer {
            name,
            codec,
            hears: hears.to_vec(),
            own,
            number: 100,
            changes: (0, Change::Joined),
        }
    }

    /// What each hears while sources speak for a second.
    fn heard(room: &mut Room, speaks: &[(u64, Vec<Bytes>)], since: u64) -> BTreeMap<u64, Vec<Bytes>> {
        let mut heard: BTreeMap<u64, Vec<Bytes>> = BTreeMap::new();
        for turn in 0..50 {
            for (name, payloads) in speaks {
                room.push(*name, since + turn as u64, payloads[turn].clone());
            }
            room.tick(|mixed| heard.entry(mixed.hearer).or_default().push(mixed.payload));
        }
        heard
    }

    const VOICES: [(u64, Codec, f64); 4] = [
        (1, Codec::Pcmu, 500.0),
        (2, Codec::Pcma, 900.0),
        (3, Codec::G722, 1300.0),
        (4, Codec::Opus, 1700.0),
    ];

    #[test]
    fn each_hears_all_others_and_not_itself_in_its_own_codec() {
        for narrow in [false, true] {
            let codec_of = |codec: Codec| if narrow { Codec::Pcmu } else { codec };
            let all: Vec<u64> = VOICES.iter().map(|(name, ..)| *name).collect();
            let others = |own: u64| all.iter().copied().filter(|name| *name != own).collect::<Vec<_>>();
            let hearers = VOICES
                .iter()
                .map(|(name, codec, _)| hearer(10 + name, codec_of(*codec), &others(*name), Some(*name)));
            let plan = Plan {
                sources: VOICES.iter().map(|(name, codec, _)| (*name, *codec)).collect(),
                hearers: hearers
                    .chain([hearer(15, codec_of(Codec::Opus), &[2, 3], None)])
                    .collect(),
            };
            let mut room = Room::new();
            room.set(&plan).unwrap();
            let speaks: Vec<_> = VOICES
                .iter()
                .map(|(name, codec, hertz)| (*name, said(*codec, *hertz)))
                .collect();
            let heard = heard(&mut room, &speaks, 0);
            assert_eq!(room.take_malformed(), 0);
            for PlannedHearer { name, codec, hears, .. } in &plan.hearers {
                assert_eq!(heard[name].len(), 50);
                for (source, _, hertz) in VOICES {
                    let loud = loud(*codec, &heard[name], hertz);
                    match hears.contains(&source) {
                        true => assert!(loud > 5000.0, "{name} hears {source} at {loud}"),
                        false => assert!(loud < 400.0, "{name} hears {source} at {loud}"),
                    }
                }
            }
        }
    }

    #[test]
    fn when_one_goes_the_others_are_heard_as_before() {
        let all = [
            (1, Codec::Opus, 500.0),
            (2, Codec::Opus, 900.0),
            (3, Codec::Opus, 1300.0),
        ];
        let telephones = [(4, Codec::Pcmu, 1700.0), (5, Codec::G722, 2100.0)];
        let voices: Vec<_> = all.into_iter().chain(telephones).collect();
        let plan = |present: &[u64]| Plan {
            sources: voices
                .iter()
                .filter(|(name, ..)| present.contains(name))
                .map(|(name, codec, _)| (*name, *codec))
                .collect(),
            hearers: telephones
                .iter()
                .map(|(own, codec, _)| {
                    let hears: Vec<u64> = present.iter().copied().filter(|name| name != own).collect();
                    hearer(10 + own, *codec, &hears, Some(*own))
                })
                .collect(),
        };
        let mut room = Room::new();
        let speaks: Vec<_> = voices
            .iter()
            .map(|(name, codec, hertz)| (*name, said(*codec, *hertz)))
            .collect();
        for (since, present) in [(0, &[3, 1, 2, 5, 4][..]), (50, &[3, 1, 5, 4])] {
            room.set(&plan(present)).unwrap();
            let heard = heard(&mut room, &speaks, since);
            for (own, codec, _) in telephones {
                for (name, _, hertz) in &voices {
                    let loud = loud(codec, &heard[&(10 + own)], *hertz);
                    assert_eq!(
                        loud > 2000.0,
                        present.contains(name) && *name != own,
                        "{own} hears {name} at {loud}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_the_same_for_many_is_encoded_once() {
        let plan = Plan {
            sources: vec![(1, Codec::Pcmu), (2, Codec::Pcmu)],
            hearers: (10..60).map(|name| hearer(name, Codec::Pcmu, &[1, 2], None)).collect(),
        };
        let mut room = Room::new();
        room.set(&plan).unwrap();
        let mut told = Vec::new();
        room.push(1, 0, said(Codec::Pcmu, 500.0)[3].clone());
        room.tick(|mixed| told.push(mixed));
        assert_eq!(told.len(), 50);
        assert!(
            told.iter()
                .all(|mixed| mixed.payload.as_ptr() == told[0].payload.as_ptr())
        );
        assert!(
            told.iter()
                .all(|mixed| (mixed.number, mixed.timestamp) == (100, 16_000))
        );
    }

    #[test]
    fn who_comes_and_goes_is_told_by_tones_and_the_rest_goes_on() {
        let mut plan = Plan {
            sources: vec![(1, Codec::Pcmu)],
            hearers: vec![hearer(10, Codec::Pcmu, &[1], None)],
        };
        let mut room = Room::new();
        room.set(&plan).unwrap();
        let silence = |room: &mut Room| {
            let mut payload = Bytes::new();
            room.tick(|mixed| payload = mixed.payload);
            payload.iter().all(|byte| *byte | 0x80 == 0xff)
        };
        assert!(silence(&mut room));
        for change in [Change::Joined, Change::Left] {
            plan.hearers[0].changes.0 += 1;
            plan.hearers[0].changes.1 = change;
            room.set(&plan).unwrap();
            assert!(!silence(&mut room), "{change:?}");
            let quiet_again = (0..50).any(|_| silence(&mut room));
            assert!(quiet_again, "{change:?}");
        }
        // A third hears more than telephones had: all goes on at another rate.
        plan.hearers.push(hearer(11, Codec::G722, &[1], None));
        room.set(&plan).unwrap();
        let mut numbers = BTreeMap::new();
        room.tick(|mixed| {
            numbers.insert(mixed.hearer, mixed.number);
        });
        assert!(numbers[&10] > 102 && numbers[&11] == 100);
        room.set(&Plan::default()).unwrap();
        room.tick(|mixed| panic!("{mixed:?} without hearers"));
    }

    #[test]
    fn whatever_sources_send_a_room_stays_small_and_goes_on() {
        let plan = Plan {
            sources: vec![(1, Codec::Opus), (2, Codec::Pcmu), (2, Codec::G722)],
            hearers: vec![hearer(10, Codec::Pcma, &[1, 2, 2, 77], Some(99))],
        };
        let mut room = Room::new();
        room.set(&plan).unwrap();
        let mut frames = 0;
        for turn in 0..500_u64 {
            for (source, number) in [(1, turn), (2, u64::MAX - turn), (2, turn * 3), (3, 0)] {
                let length = usize::try_from(turn * 37 % 2000).unwrap();
                room.push(source, number, vec![turn.to_le_bytes()[0]; length].into());
            }
            room.tick(|_| frames += 1);
            let decoded = room.sources.values().map(|source| source.decoded.len()).max();
            assert!(decoded.is_some_and(|count| count <= room.rate.samples(1) * ROOM_WAITING_MS_MAX));
        }
        assert_eq!(frames, 500);
        assert!(room.take_malformed() > 0);
    }
}
