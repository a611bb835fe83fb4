//! A mixer: each hears all others, and not itself.

use crate::level::{SILENCE, level};

/// The voices of one conference. Frame by frame it is given what each says, and gives what each hears.
#[derive(Clone, Debug)]
pub struct Mixer {
    /// How many are heard at once.
    loudest_max: usize,
    /// Of each voice, how loud it has been.
    voices: Vec<Voice>,
    /// Of the frame before last, to add up.
    sum: Vec<i32>,
}

#[derive(Clone, Copy, Debug)]
struct Voice {
    /// In decibels below the loudest; falls slowly, so that no word is cut off.
    level: f32,
    is_heard: bool,
}

/// Voices of one mixer.
pub const VOICES_MAX: usize = 256;

impl Mixer {
    /// A mixer that lets so many voices through at once: the loudest. At least one.
    pub fn new(loudest_max: usize) -> Self {
        Self {
            loudest_max: loudest_max.max(1),
            voices: Vec::new(),
            sum: Vec::new(),
        }
    }

    /// Takes a frame of each voice, all of one length; a voice that says nothing has an empty one. Voices keep their
    /// places from frame to frame. Those beyond [`VOICES_MAX`] are not heard.
    pub fn handle_frames(&mut self, frames: &[&[i16]]) {
        let quiet = Voice {
            level: f32::from(SILENCE),
            is_heard: false,
        };
        self.voices.resize(frames.len().min(VOICES_MAX), quiet);
        for (voice, frame) in self.voices.iter_mut().zip(frames) {
            let loud = f32::from(level(frame));
            voice.level = loud.min(voice.level + FALL_PER_FRAME).min(f32::from(SILENCE));
        }
        self.choose();
        let length = frames.iter().map(|frame| frame.len()).max().unwrap_or(0);
        self.sum.clear();
        self.sum.resize(length, 0);
        for (_, frame) in self.voices.iter().zip(frames).filter(|(voice, _)| voice.is_heard) {
            for (sum, sample) in self.sum.iter_mut().zip(*frame) {
                *sum += i32::from(*sample);
            }
        }
    }

    /// What the voice at a place hears: all but itself. `own` is what it said in this frame. A hearer without a voice
    /// gives a place that is none, and hears all. Added to `out`; what is too loud is cut off.
    pub fn mix(&self, place: usize, own: &[i16], out: &mut Vec<i16>) {
        let is_in_it = self.is_heard(place);
        let own = own
            .iter()
            .copied()
            .map(|sample| if is_in_it { i32::from(sample) } else { 0 });
        let own = own.chain(std::iter::repeat(0));
        out.extend(self.sum.iter().zip(own).map(|(sum, own)| saturated(sum - own)));
    }

    /// Is the voice among those that are heard?
    pub fn is_heard(&self, place: usize) -> bool {
        self.voices.get(place).is_some_and(|voice| voice.is_heard)
    }

    /// A voice is gone, and the others move up.
    pub fn remove(&mut self, place: usize) {
        if place < self.voices.len() {
            self.voices.remove(place);
        }
    }

    /// The loudest. One that is heard already needs to be less loud than one that is not, so they do not take turns.
    fn choose(&mut self) {
        let mut order: Vec<(usize, f32)> = self
            .voices
            .iter()
            .map(|voice| voice.level - if voice.is_heard { STAYS } else { 0.0 })
            .enumerate()
            .collect();
        order.sort_by(|one, other| one.1.total_cmp(&other.1));
        for (rank, (place, _)) in order.into_iter().enumerate() {
            let voice = &mut self.voices[place];
            voice.is_heard = rank < self.loudest_max && voice.level < f32::from(SILENCE);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped")]
fn saturated(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// Decibels by which a voice falls with each frame, at most.
const FALL_PER_FRAME: f32 = 0.5;
/// Decibels by which one that is heard is ahead.
const STAYS: f32 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(mixer: &Mixer, place: usize, own: &[i16]) -> Vec<i16> {
        let mut out = Vec::new();
        mixer.mix(place, own, &mut out);
        out
    }

    #[test]
    fn each_hears_all_others_and_not_itself() {
        let mut mixer = Mixer::new(4);
        let frames: [&[i16]; 3] = [&[1000, 2000], &[30, -30], &[]];
        mixer.handle_frames(&frames);
        assert_eq!(mixed(&mixer, 0, frames[0]), [30, -30]);
        assert_eq!(mixed(&mixer, 1, frames[1]), [1000, 2000]);
        assert_eq!(mixed(&mixer, 2, frames[2]), [1030, 1970]);
        assert_eq!(mixed(&mixer, usize::MAX, &[]), [1030, 1970]);
        mixer.handle_frames(&[]);
        assert_eq!(mixed(&mixer, 0, &[]), []);
    }

    #[test]
    fn what_is_too_loud_is_cut_off_only_in_what_is_heard() {
        let mut mixer = Mixer::new(4);
        let frames: [&[i16]; 3] = [&[30_000, -30_000], &[20_000, -20_000], &[-25_000, 25_000]];
        mixer.handle_frames(&frames);
        // The sum is kept exactly: taking one's own away leaves what the others said.
        assert_eq!(mixed(&mixer, 2, frames[2]), [i16::MAX, i16::MIN]);
        assert_eq!(mixed(&mixer, 0, frames[0]), [-5000, 5000]);
    }

    #[test]
    fn only_the_loudest_are_heard_and_they_do_not_take_turns() {
        let mut mixer = Mixer::new(2);
        let frames: [&[i16]; 4] = [&[100; 4], &[8000; 4], &[5000; 4], &[0; 4]];
        mixer.handle_frames(&frames);
        assert_eq!(
            [0, 1, 2, 3].map(|place| mixer.is_heard(place)),
            [false, true, true, false]
        );
        assert_eq!(mixed(&mixer, 3, frames[3]), [13_000; 4]);
        assert_eq!(mixed(&mixer, 1, frames[1]), [5000; 4]);
        assert_eq!(
            mixed(&mixer, 0, frames[0]),
            [13_000; 4],
            "one's own is not taken away twice"
        );
        // A little louder is not enough to take a place; much louder is.
        mixer.handle_frames(&[&[6000; 4], frames[1], frames[2], frames[3]]);
        assert!(!mixer.is_heard(0) && mixer.is_heard(2));
        mixer.handle_frames(&[&[16_000; 4], frames[1], frames[2], frames[3]]);
        assert!(mixer.is_heard(0) && !mixer.is_heard(2));
        // A pause between words keeps the place.
        mixer.handle_frames(&[&[0; 4], frames[1], frames[2], frames[3]]);
        assert!(mixer.is_heard(0));
        mixer.remove(0);
        assert!(mixer.is_heard(0));
    }

    #[test]
    fn there_are_not_too_many_voices() {
        let frames = vec![&[1_i16, 2][..]; VOICES_MAX + 10];
        let mut mixer = Mixer::new(usize::MAX);
        mixer.handle_frames(&frames);
        assert_eq!(mixed(&mixer, usize::MAX, &[]), [256, 512]);
    }
}
