//! Music that needs no file: slow broken chords of soft tones, for who waits and has nothing better.

use std::f64::consts::TAU;

use moqswitch_audio::Rate;

/// Half a minute of it, which begins where it ends.
pub fn melody(rate: Rate) -> Vec<i16> {
    let count = rate.samples(NOTE_MS * CHORDS.len() * ORDER.len());
    let mut mixed = vec![0.0_f64; count];
    let notes = CHORDS.iter().flat_map(|chord| ORDER.iter().map(|index| chord[*index]));
    for (place, key) in notes.enumerate() {
        let hertz = 440.0 * ((f64::from(key) - 69.0) / 12.0).exp2();
        let begin = rate.samples(NOTE_MS) * place;
        for n in 0..rate.samples(RINGS_MS) {
            // What rings on at the end is heard at the beginning.
            mixed[(begin + n) % count] += tone(hertz, n as f64 / f64::from(rate.hertz()));
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
    let samples = mixed.into_iter().map(|sample| (sample * AMPLITUDE).round() as i16);
    samples.collect()
}

/// As a string that is plucked softly, with its octave.
fn tone(hertz: f64, seconds: f64) -> f64 {
    let attack = (seconds / ATTACK_S).min(1.0);
    let release = ((RINGS_MS as f64 / 1000.0 - seconds) / ATTACK_S).clamp(0.0, 1.0);
    let wave = (TAU * hertz * seconds).sin() + 0.3 * (TAU * 2.0 * hertz * seconds).sin();
    attack * release * (-seconds / DECAY_S).exp() * wave
}

/// Keys of a piano, as MIDI counts them: C, A minor, F and G, each with its ninth.
const CHORDS: [[u8; 4]; 4] = [[60, 64, 67, 74], [57, 60, 64, 71], [53, 57, 60, 67], [55, 59, 62, 69]];
/// Of the tones of a chord.
const ORDER: [usize; 8] = [0, 1, 2, 3, 2, 1, 3, 2];
const NOTE_MS: usize = 800;
const RINGS_MS: usize = 4000;
const ATTACK_S: f64 = 0.03;
const DECAY_S: f64 = 1.2;
/// Some 30 dB below the loudest, all together.
const AMPLITUDE: f64 = 1500.0;
