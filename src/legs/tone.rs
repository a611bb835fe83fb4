//! The tone that says to the peer of a leg that it is recorded: 1400 Hz for 200 ms, at once and again after a while.
//!
//! Over G.711 it is added to what is said. What else is spoken nobody decodes on a shard: the tone takes its place, and
//! that of silence.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_audio::{Codec, Encoder, Rate, Tone, g711};

use crate::codec::LegCodec;

/// The tone in each codec.
#[derive(Debug)]
pub(crate) struct Tones {
    /// At 8 kHz.
    samples: Vec<i16>,
    /// Frames of [`FRAME`], of each codec.
    frames: [Vec<Bytes>; 4],
}

/// When it sounds, and how far it is.
#[derive(Debug)]
pub(crate) struct Announcing {
    tones: Arc<Tones>,
    every: Duration,
    /// When it sounds again.
    next: Instant,
    /// When the last frame came that the peer hears.
    spoken: Option<Instant>,
    playing: Playing,
}

/// How it sounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Playing {
    Rest,
    /// With what is said; so many samples did.
    Over(usize),
    /// By itself, from this frame on, as soon as it is known at what timestamp.
    Begin(usize),
    Alone {
        is_first: bool,
        frame: usize,
        due: Instant,
        timestamp: u32,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before then.
    Wait(Instant),
    /// To say by [`Announcing::begin`] what the timestamp is by now. What waits to be sent of speech is dropped.
    Begin,
    /// To send this.
    Send {
        is_first: bool,
        timestamp: u32,
        frame: Bytes,
    },
}

impl Tones {
    /// Encoded once, and not by a shard.
    pub(crate) fn get() -> Arc<Self> {
        static TONES: OnceLock<Arc<Tones>> = OnceLock::new();
        Arc::clone(TONES.get_or_init(|| Arc::new(Self::new())))
    }

    fn new() -> Self {
        Self {
            samples: Tone::sine(Rate::Hz8000, HERTZ, LENGTH_MS).collect(),
            frames: [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus].map(frames),
        }
    }

    fn frames(&self, codec: LegCodec) -> &[Bytes] {
        let place = match codec {
            LegCodec::Pcmu => 0,
            LegCodec::Pcma => 1,
            LegCodec::G722 => 2,
            LegCodec::Opus => 3,
        };
        &self.frames[place]
    }
}

/// Of a codec that there is no memory for there are none.
fn frames(codec: Codec) -> Vec<Bytes> {
    let rate = codec.rate(Rate::Hz16000);
    let samples: Vec<i16> = Tone::sine(rate, HERTZ, LENGTH_MS).collect();
    let Ok(mut encoder) = Encoder::new(codec, rate) else {
        return Vec::new();
    };
    let encode = |frame: &[i16]| {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload).ok()?;
        Some(Bytes::from(payload))
    };
    samples
        .chunks_exact(rate.samples(FRAME_MS))
        .filter_map(encode)
        .collect()
}

impl Announcing {
    /// It sounds at once.
    pub(crate) fn new(tones: Arc<Tones>, every: Duration, now: Instant) -> Self {
        Self {
            tones,
            every,
            next: now,
            spoken: None,
            playing: Playing::Rest,
        }
    }

    /// From one tone to the next.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    /// What the peer is to hear of a frame. `None`: the tone alone.
    pub(crate) fn speak(&mut self, codec: LegCodec, payload: Bytes, now: Instant) -> Option<Bytes> {
        self.spoken = Some(now);
        match self.playing {
            Playing::Rest => Some(payload),
            Playing::Begin(_) | Playing::Alone { .. } => None,
            Playing::Over(at) => {
                let rest = self.tones.samples.get(at..).unwrap_or_default();
                let mixed = mix(codec, &payload, rest);
                let at = at + payload.len();
                self.playing = match at < self.tones.samples.len() {
                    true => Playing::Over(at),
                    false => Playing::Rest,
                };
                Some(mixed.unwrap_or(payload))
            }
        }
    }

    /// What is due. `may`: something may be sent, and nothing else is that would be disturbed.
    pub(crate) fn poll(&mut self, codec: LegCodec, may: bool, now: Instant) -> Step {
        if !may && (self.playing != Playing::Rest || self.next <= now) {
            // Who is on hold hears it afterwards, and one that was cut once more.
            self.next = match self.playing {
                Playing::Rest => self.next.max(now + AGAIN),
                _ => now + AGAIN,
            };
            self.playing = Playing::Rest;
        }
        if self.playing == Playing::Rest {
            if self.next > now {
                return Step::Wait(self.next);
            }
            self.next = now + self.every;
            self.playing = match matches!(codec, LegCodec::Pcmu | LegCodec::Pcma) {
                true => Playing::Over(0),
                false => Playing::Begin(0),
            };
        }
        if let Playing::Over(at) = self.playing {
            match self.spoken.map(|spoken| spoken + SILENCE).filter(|until| *until > now) {
                Some(until) => return Step::Wait(until),
                None => self.playing = Playing::Begin(at / Rate::Hz8000.samples(FRAME_MS)),
            }
        }
        self.poll_alone(codec, now)
    }

    fn poll_alone(&mut self, codec: LegCodec, now: Instant) -> Step {
        let Playing::Alone {
            is_first,
            frame,
            due,
            timestamp,
        } = self.playing
        else {
            return Step::Begin;
        };
        let Some(payload) = self.tones.frames(codec).get(frame) else {
            self.playing = Playing::Rest;
            return Step::Wait(self.next);
        };
        if due > now {
            return Step::Wait(due);
        }
        self.playing = Playing::Alone {
            is_first: false,
            frame: frame + 1,
            // A shard that was held up does not send all of it at once.
            due: (due + FRAME).max(now),
            timestamp: timestamp.wrapping_add(codec.clock_hz() / FRAMES_PER_SECOND),
        };
        Step::Send {
            is_first,
            timestamp,
            frame: payload.clone(),
        }
    }

    /// By itself, from now on, at that timestamp.
    pub(crate) fn begin(&mut self, timestamp: u32, now: Instant) {
        if let Playing::Begin(frame) = self.playing {
            self.playing = Playing::Alone {
                is_first: true,
                frame,
                due: now,
                timestamp,
            };
        }
    }
}

/// G.711 with the tone. `None`: it is none.
fn mix(codec: LegCodec, payload: &[u8], tone: &[i16]) -> Option<Bytes> {
    let is_ulaw = match codec {
        LegCodec::Pcmu => true,
        LegCodec::Pcma => false,
        LegCodec::G722 | LegCodec::Opus => return None,
    };
    let mut samples = vec![0; payload.len()];
    match is_ulaw {
        true => g711::decode_ulaw(payload, &mut samples),
        false => g711::decode_alaw(payload, &mut samples),
    };
    for (sample, tone) in samples.iter_mut().zip(tone) {
        *sample = sample.saturating_add(*tone);
    }
    let mut mixed = vec![0; payload.len()];
    match is_ulaw {
        true => g711::encode_ulaw(&samples, &mut mixed),
        false => g711::encode_alaw(&samples, &mut mixed),
    };
    Some(mixed.into())
}

const HERTZ: f64 = 1400.0;
const LENGTH_MS: usize = 200;
const FRAME_MS: usize = 20;
const FRAME: Duration = Duration::from_millis(20);
const FRAMES_PER_SECOND: u32 = 50;
/// Nobody speaks who has said nothing for so long.
const SILENCE: Duration = Duration::from_millis(60);
/// After that it is tried again.
const AGAIN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(15);
    const SPEECH: [u8; 160] = [0xff; 160];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn is_loud(payload: &[u8]) -> bool {
        let mut samples = vec![0; payload.len()];
        g711::decode_ulaw(payload, &mut samples);
        samples.iter().any(|sample| sample.unsigned_abs() > 8000)
    }

    #[test]
    fn over_g711_it_is_added_for_a_fifth_of_a_second_and_again_after_a_while() {
        let now = Instant::now();
        let mut announcing = Announcing::new(Tones::get(), EVERY, now);
        let (mut loud, mut at) = (Vec::new(), now);
        announcing.speak(LegCodec::Pcmu, Bytes::from_static(&SPEECH), at);
        for frame in 0..1600_u64 {
            at = now + ms(frame * 20);
            assert!(matches!(announcing.poll(LegCodec::Pcmu, true, at), Step::Wait(until) if until > at));
            let said = announcing
                .speak(LegCodec::Pcmu, Bytes::from_static(&SPEECH), at)
                .unwrap();
            assert_eq!(said.len(), 160);
            if is_loud(&said) {
                loud.push(frame);
            } else {
                assert_eq!(said, SPEECH[..], "what is said besides is untouched");
            }
        }
        let tone = |first: u64| first..first + 10;
        let expected: Vec<u64> = tone(0).chain(tone(750)).chain(tone(1500)).collect();
        assert_eq!(loud, expected);
    }

    #[test]
    fn it_takes_the_place_of_silence_and_of_what_nobody_decodes() {
        for (codec, speaks) in [
            (LegCodec::Pcma, false),
            (LegCodec::G722, true),
            (LegCodec::Opus, true),
            (LegCodec::Opus, false),
        ] {
            let now = Instant::now();
            let mut announcing = Announcing::new(Tones::get(), EVERY, now);
            let mut sent = Vec::new();
            for tick in 0..60_u64 {
                let at = now + ms(tick * 10);
                let is_heard = speaks && announcing.speak(codec, Bytes::from_static(b"speech"), at).is_some();
                assert!(!is_heard || sent.is_empty() || sent.len() == 10, "{codec:?}");
                loop {
                    match announcing.poll(codec, true, at) {
                        Step::Wait(_) => break,
                        Step::Begin => announcing.begin(u32::MAX - 100, at),
                        Step::Send {
                            is_first,
                            timestamp,
                            frame,
                        } => sent.push((is_first, timestamp, frame)),
                    }
                }
            }
            assert_eq!(sent.len(), 10, "{codec:?}");
            assert!(sent[0].0 && sent[1..].iter().all(|(is_first, ..)| !is_first));
            let step = codec.clock_hz() / 50;
            assert_eq!(sent[9].1, (u32::MAX - 100).wrapping_add(9 * step));
            assert!(sent.iter().all(|(_, _, frame)| !frame.is_empty()));
        }
    }

    #[test]
    fn who_falls_silent_under_it_hears_the_rest_alone() {
        let now = Instant::now();
        let mut announcing = Announcing::new(Tones::get(), EVERY, now);
        announcing.speak(LegCodec::Pcmu, Bytes::from_static(&SPEECH), now);
        announcing.poll(LegCodec::Pcmu, true, now);
        for frame in 0..3 {
            announcing.speak(LegCodec::Pcmu, Bytes::from_static(&SPEECH), now + ms(frame * 20));
        }
        let silent = now + ms(40) + SILENCE;
        assert_eq!(
            announcing.poll(LegCodec::Pcmu, true, silent - ms(1)),
            Step::Wait(silent)
        );
        assert_eq!(announcing.poll(LegCodec::Pcmu, true, silent), Step::Begin);
        announcing.begin(0, silent);
        let mut frames = 0;
        for tick in 0..20 {
            while matches!(
                announcing.poll(LegCodec::Pcmu, true, silent + ms(tick * 20)),
                Step::Send { .. }
            ) {
                frames += 1;
            }
        }
        assert_eq!(frames, 7);
    }

    #[test]
    fn who_holds_or_presses_keys_hears_it_afterwards() {
        let now = Instant::now();
        let mut announcing = Announcing::new(Tones::get(), EVERY, now);
        for tick in 0..20 {
            let at = now + ms(tick * 100);
            assert!(matches!(announcing.poll(LegCodec::Opus, false, at), Step::Wait(until) if until > at));
        }
        let later = now + ms(2300);
        assert_eq!(announcing.poll(LegCodec::Opus, true, later), Step::Begin);
        // A key in the middle of it ends it.
        announcing.begin(0, later);
        assert!(matches!(announcing.poll(LegCodec::Opus, false, later), Step::Wait(_)));
        assert_eq!(announcing.playing, Playing::Rest);
    }
}
