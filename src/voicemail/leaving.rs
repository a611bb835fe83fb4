//! Somebody leaves a message: a greeting, a tone, and what is said then. 20 ms after 20 ms, without a clock.

use std::time::Duration;

use moqswitch_audio::level;

use crate::limits::{MESSAGE_MIN, SILENCE_MAX};
use crate::sound::{FRAME_SAMPLES, Playing, Sound};

/// One who leaves a message, or records a greeting.
#[derive(Debug)]
pub struct Leaving {
    stage: Stage,
    playing: Playing,
    message_max: Duration,
    said: Sound,
    /// Up to where something was loud enough to be somebody's voice.
    voice_end: usize,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// A message.
    Message(Sound),
    /// Nothing that is one.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until both hear each other.
    Settling(u32),
    /// The greeting and the tone are played.
    Greeting,
    /// What is said is kept.
    Recording,
    /// It was kept: a tone says so.
    Confirming,
    Over,
}

impl Leaving {
    /// After this greeting. `None` of it: the box is full, and that is all there is to hear.
    pub fn new(greeting: Option<Sound>, message_max: Duration) -> Self {
        let mut playing = Playing::default();
        match greeting {
            Some(greeting) => {
                playing.then(greeting);
                playing.then(tone());
            }
            None => (0..3).for_each(|_| playing.then(Sound::beep(LOW_HZ, 400))),
        }
        Self {
            stage: Stage::Settling(SETTLE_FRAMES),
            playing,
            message_max,
            said: Sound::default(),
            voice_end: 0,
        }
    }

    /// At once, as somebody who is there already does.
    pub(crate) fn at_once(message_max: Duration) -> Self {
        let mut leaving = Self::new(Some(Sound::default()), message_max);
        leaving.stage = Stage::Greeting;
        leaving
    }

    /// There is no room for a message: who calls hears so.
    pub fn full() -> Self {
        Self::new(None, Duration::ZERO)
    }

    /// 20 ms of what the caller says, and what the caller hears meanwhile.
    pub fn step(&mut self, heard: &[i16], says: &mut [i16; FRAME_SAMPLES]) {
        says.fill(0);
        match self.stage {
            Stage::Settling(0) => self.stage = Stage::Greeting,
            Stage::Settling(left) => self.stage = Stage::Settling(left - 1),
            Stage::Greeting => {
                self.playing.next(says);
                if self.playing.is_over() {
                    self.stage = match self.message_max.is_zero() {
                        true => Stage::Over,
                        false => Stage::Recording,
                    };
                }
            }
            Stage::Recording => self.record(heard),
            Stage::Confirming => {
                self.playing.next(says);
                if self.playing.is_over() {
                    self.stage = Stage::Over;
                }
            }
            Stage::Over => {}
        }
    }

    /// A key.
    pub fn press(&mut self, digit: char) {
        match (self.stage, digit) {
            (Stage::Settling(_) | Stage::Greeting, '#') if !self.message_max.is_zero() => {
                self.playing.stop();
                self.playing.then(tone());
                self.stage = Stage::Greeting;
            }
            (Stage::Recording, '#') => self.confirm(),
            _ => {}
        }
    }

    /// Nothing more is to be heard or said.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// What there is of it, now that it is over or the caller has gone.
    pub fn finish(mut self) -> Left {
        // What follows the last word is nobody's.
        self.said.truncate(self.voice_end + TAIL_FRAMES * FRAME_SAMPLES);
        let is_message = self.voice_end > 0 && self.said.duration() >= MESSAGE_MIN;
        match is_message {
            true => Left::Message(self.said),
            false => Left::Nothing,
        }
    }

    fn record(&mut self, heard: &[i16]) {
        self.said.push(heard);
        if level(heard) <= VOICE_LEVEL {
            self.voice_end = self.said.samples().len();
        }
        let silent = (self.said.samples().len() - self.voice_end) / FRAME_SAMPLES;
        let silence_max = usize::try_from(SILENCE_MAX.as_millis() / 20).unwrap_or(usize::MAX);
        if silent >= silence_max || self.said.duration() >= self.message_max {
            self.confirm();
        }
    }

    fn confirm(&mut self) {
        self.playing.stop();
        self.playing.then(Sound::beep(TONE_HZ, 120));
        self.playing.then(Sound::beep(TONE_HZ, 120));
        self.stage = Stage::Confirming;
    }
}

/// After it one speaks.
fn tone() -> Sound {
    let mut tone = Sound::beep(TONE_HZ, 500);
    // Without the pause, in which somebody may begin to speak.
    tone.truncate(500 * 8);
    tone
}

const TONE_HZ: f64 = 1000.0;
pub(crate) const LOW_HZ: f64 = 400.0;
/// Half a second.
pub(crate) const SETTLE_FRAMES: u32 = 25;
/// What is behind the last word is kept for so long.
const TAIL_FRAMES: usize = 25;
/// In decibels below the loudest: what is softer is no voice.
const VOICE_LEVEL: u8 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const LOUD: [i16; FRAME_SAMPLES] = [3000; FRAME_SAMPLES];
    const SILENT: [i16; FRAME_SAMPLES] = [0; FRAME_SAMPLES];

    /// Steps until its tone is over. How many of them were loud.
    fn wait_for_the_tone(leaving: &mut Leaving) -> usize {
        let mut loud = 0;
        for _ in 0..1000 {
            let mut says = SILENT;
            leaving.step(&LOUD, &mut says);
            loud += usize::from(level(&says) < 30);
            if leaving.stage == Stage::Recording {
                return loud;
            }
        }
        panic!("no tone");
    }

    fn step(leaving: &mut Leaving, heard: &[i16; FRAME_SAMPLES], count: usize) {
        for _ in 0..count {
            leaving.step(heard, &mut SILENT.clone());
        }
    }

    #[test]
    fn what_is_said_after_the_tone_is_kept_and_nothing_else() {
        let greeting = Sound::new(vec![5000; 40 * FRAME_SAMPLES]);
        let mut leaving = Leaving::new(Some(greeting), Duration::from_secs(60));
        assert_eq!(wait_for_the_tone(&mut leaving), 40 + 25);
        step(&mut leaving, &LOUD, 100);
        step(&mut leaving, &SILENT, 200);
        let Left::Message(said) = leaving.finish() else {
            panic!("no message")
        };
        assert_eq!(said.duration(), Duration::from_millis(2500));
    }

    #[test]
    fn a_key_leads_to_the_tone_and_another_ends_the_message() {
        let greeting = Sound::new(vec![5000; 4000 * FRAME_SAMPLES]);
        let mut leaving = Leaving::new(Some(greeting), Duration::from_secs(60));
        step(&mut leaving, &SILENT, 100);
        leaving.press('1');
        leaving.press('#');
        assert_eq!(wait_for_the_tone(&mut leaving), 25);
        step(&mut leaving, &LOUD, 60);
        leaving.press('#');
        step(&mut leaving, &LOUD, 40);
        assert!(leaving.is_over());
        assert!(matches!(leaving.finish(), Left::Message(said) if said.duration() == Duration::from_millis(1200)));
    }

    #[test]
    fn silence_and_length_end_it_and_too_little_is_no_message() {
        let begin = || {
            let mut leaving = Leaving::new(Some(Sound::default()), Duration::from_secs(20));
            wait_for_the_tone(&mut leaving);
            leaving
        };
        let mut silent = begin();
        step(&mut silent, &SILENT, 600);
        assert!(silent.is_over());
        assert_eq!(silent.finish(), Left::Nothing);
        let mut long = begin();
        step(&mut long, &LOUD, 1100);
        assert!(long.is_over());
        assert!(matches!(long.finish(), Left::Message(said) if said.duration() == Duration::from_secs(20)));
        let mut short = begin();
        step(&mut short, &LOUD, 20);
        assert_eq!(short.finish(), Left::Nothing);
    }

    #[test]
    fn a_full_box_says_so_and_keeps_nothing() {
        let mut leaving = Leaving::full();
        step(&mut leaving, &LOUD, 30);
        leaving.press('#');
        step(&mut leaving, &LOUD, 100);
        assert!(leaving.is_over());
        assert_eq!(leaving.finish(), Left::Nothing);
    }
}
