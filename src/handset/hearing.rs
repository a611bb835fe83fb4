//! Frames of a track as sound: decoded, with something in place of what is lost, and written.

use std::io;

use moqswitch_audio::{Codec, Decoder, Rate};

use crate::limits::{HANDSET_CONCEALED_MAX, HANDSET_SILENCE_MAX};

use super::meter::Meter;
use super::sink::{Moment, Sink};

pub(super) struct Hearing {
    decoder: Decoder,
    rate: Rate,
    sink: Sink,
    /// Units of timestamps in a second.
    clock: u64,
    /// The timestamp that the next frame has, if nothing is missing before it.
    expected: Option<u64>,
}

impl Hearing {
    pub(super) fn new(codec: Codec, clock: u64, sink: Sink) -> anyhow::Result<Self> {
        let rate = codec.full_rate();
        Ok(Self {
            decoder: Decoder::new(codec, rate)?,
            rate,
            sink,
            clock: clock.max(1),
            expected: None,
        })
    }

    /// The publisher has said what its timestamps count.
    pub(super) fn set_clock(&mut self, clock: u64) {
        if clock > 0 && clock != self.clock {
            self.clock = clock;
            self.expected = None;
        }
    }

    /// The next frame. So many groups before it are lost.
    pub(super) fn hear(&mut self, timestamp: u64, payload: &[u8], lost: u64, meter: &mut Meter) -> io::Result<()> {
        let missing = self.expected.map_or(0, |expected| timestamp.saturating_sub(expected));
        // In frames of 20 ms, half of one more or less.
        let frame = (self.clock / FRAMES_PER_SECOND).max(1);
        let missing = missing.saturating_add(frame / 2) / frame;
        let concealed = lost.min(missing).min(HANDSET_CONCEALED_MAX);
        for left in (1..=concealed).rev() {
            let next = (left == 1).then_some(payload);
            self.make_up(next, meter)?;
        }
        if self.sink.keeps_silence() {
            let silence = (missing - concealed).min(HANDSET_SILENCE_MAX.as_secs() * FRAMES_PER_SECOND);
            self.sink.write_silence(silence, self.rate)?;
        }
        let mut samples = Vec::new();
        if self.decoder.decode(payload, &mut samples).is_err() {
            meter.lost(1);
            self.decoder.conceal(None, &mut samples);
        }
        meter.sound(&samples);
        self.sink.write(Moment::Heard(payload), &samples)?;
        let lasts = samples.len() as u64 * self.clock / u64::from(self.rate.hertz());
        self.expected = Some(timestamp.saturating_add(lasts));
        Ok(())
    }

    /// What there is so far is in the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.sink.finish()
    }

    fn make_up(&mut self, next: Option<&[u8]>, meter: &mut Meter) -> io::Result<()> {
        let mut samples = Vec::new();
        self.decoder.conceal(next, &mut samples);
        meter.sound(&samples);
        self.sink.write(Moment::MadeUp, &samples)
    }
}

const FRAMES_PER_SECOND: u64 = 50;
