//! What a channel says as frames of a codec, and what others say as the channel wants it. What both have in common goes through
//! untouched: µ-law, A-law, G.722, packets of Opus.

use moqswitch_audio::{
    Codec, CodecError, Decoder, Encoder, JitterBuffer, OpusSettings, PAYLOAD_BYTES_MAX, Played, Rate, Resampler, Tone,
};

use crate::Format;
use crate::stretch::Stretch;

/// What a channel says.
pub struct Intake {
    format: Format,
    codec: Codec,
    how: Taking,
    /// Bytes that are no whole frame yet.
    waiting: Vec<u8>,
}

enum Taking {
    /// Frames are cut where they end.
    Cut,
    /// Each message is a frame.
    Packets,
    Convert(Box<Conversion>),
}

/// From one kind of audio to another, by samples.
struct Conversion {
    source: Source,
    resampler: Option<Resampler>,
    decoded: Vec<i16>,
    ready: Vec<i16>,
    encoder: Encoder,
}

/// Where samples come from.
enum Source {
    Linear(Stretch),
    Coded(Decoder),
}

impl Intake {
    /// From a format to a codec.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(format: Format, codec: Codec) -> Result<Self, CodecError> {
        let how = match (format.codec() == Some(codec), codec) {
            (true, Codec::Opus) => Taking::Packets,
            (true, _) => Taking::Cut,
            (false, _) => {
                let rate = codec.rate(Rate::Hz48000);
                let source = match format {
                    Format::Linear(hertz) => Source::Linear(Stretch::new(hertz, format.base().hertz())),
                    _ => Source::Coded(Decoder::new(format.codec().unwrap_or(Codec::Pcmu), format.base())?),
                };
                Taking::Convert(Box::new(Conversion {
                    source,
                    resampler: (format.base() != rate).then(|| Resampler::new(format.base(), rate)),
                    decoded: Vec::new(),
                    ready: Vec::new(),
                    encoder: Encoder::with(codec, rate, OpusSettings::default())?,
                }))
            }
        };
        Ok(Self {
            format,
            codec,
            how,
            waiting: Vec::new(),
        })
    }

    /// How audio comes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What becomes of it.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The next bytes. Each whole frame of 20 ms is handed to `out`. What is none of the format is left out.
    pub fn take(&mut self, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        match &mut self.how {
            Taking::Packets => out(bytes),
            Taking::Cut => {
                self.waiting.extend(bytes);
                let frame = self.format.frame_bytes().unwrap_or(G711_FRAME_BYTES);
                let whole = self.waiting.len() / frame * frame;
                self.waiting.drain(..whole).as_slice().chunks(frame).for_each(out);
            }
            Taking::Convert(conversion) => conversion.process(bytes, out),
        }
    }
}

impl Conversion {
    fn process(&mut self, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        self.decoded.clear();
        for bytes in bytes.chunks(PIECE_BYTES) {
            match &mut self.source {
                Source::Linear(stretch) => stretch.process(&linear(bytes), &mut self.decoded),
                // What is none of its codec is passed over.
                Source::Coded(decoder) => drop(decoder.decode(bytes, &mut self.decoded)),
            }
        }
        match &mut self.resampler {
            Some(resampler) => resampler.process(&self.decoded, &mut self.ready),
            None => self.ready.extend(&self.decoded),
        }
        let frame = self.encoder.rate().samples(FRAME_MS);
        let whole = self.ready.len() / frame * frame;
        let mut payload = Vec::new();
        for samples in self.ready[..whole].chunks(frame) {
            payload.clear();
            if self.encoder.encode(samples, &mut payload).is_ok() {
                out(&payload);
            }
        }
        self.ready.drain(..whole);
    }
}

/// What a channel hears: put in order, and handed out a frame of 20 ms at a time.
pub struct Playout {
    format: Format,
    speaker: Option<Speaker>,
    /// Bytes as the channel wants them, that are no whole frame yet.
    waiting: Vec<u8>,
    /// A key that is being pressed, and those behind it.
    tone: Option<Tone>,
    keys: Vec<Tone>,
    tone_writer: Writer,
    writer: Writer,
    frame: Vec<u8>,
}

struct Speaker {
    jitter: JitterBuffer<Vec<u8>>,
    how: Hearing,
}

enum Hearing {
    Untouched,
    Convert(Decoder),
}

/// Writes samples of the format's base rate.
struct Writer {
    format: Format,
    stretch: Stretch,
    encoder: Option<Encoder>,
    stretched: Vec<i16>,
    /// What is no whole frame of a codec yet.
    samples: Vec<i16>,
}

impl Playout {
    /// For a format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            speaker: None,
            waiting: Vec::new(),
            tone: None,
            keys: Vec::new(),
            tone_writer: Writer::new(format),
            writer: Writer::new(format),
            frame: Vec::new(),
        }
    }

    /// How audio goes out.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Somebody else speaks from here on, or nobody does.
    ///
    /// # Errors
    /// There is no memory for it, and nobody is heard.
    pub fn hear(&mut self, codec: Option<Codec>) -> Result<(), CodecError> {
        self.speaker = None;
        self.waiting.clear();
        let Some(codec) = codec else { return Ok(()) };
        let how = match self.format.codec() == Some(codec) {
            true => Hearing::Untouched,
            false => Hearing::Convert(Decoder::new(codec, codec.rate(self.format.base()))?),
        };
        self.writer = Writer::new(self.format);
        self.writer.come_from(codec.rate(self.format.base()));
        self.speaker = Some(Speaker {
            jitter: JitterBuffer::new(DEPTH_MIN, DEPTH_MAX),
            how,
        });
        Ok(())
    }

    /// A frame has come.
    pub fn push(&mut self, number: u64, payload: &[u8]) {
        if let Some(speaker) = self.speaker.as_mut().filter(|_| payload.len() <= PAYLOAD_BYTES_MAX) {
            speaker.jitter.push(number, payload.to_vec());
        }
    }

    /// A key is to be heard. False: there is no such key, or too many wait.
    pub fn press(&mut self, digit: char, milliseconds: usize) -> bool {
        let tone = Tone::digit(self.format.base(), digit, milliseconds);
        let has_room = self.keys.len() < KEYS_MAX;
        self.keys.extend(tone.filter(|_| has_room));
        has_room
    }

    /// The next 20 ms, if there is something to be heard.
    pub fn play(&mut self) -> Option<&[u8]> {
        let heard = self.next_heard();
        if let Some(tone) = self.next_tone() {
            // Who presses a key does not speak.
            self.frame = tone;
            return Some(&self.frame);
        }
        self.frame = heard?;
        Some(&self.frame)
    }

    /// 20 ms of silence.
    pub fn silence(&mut self) -> &[u8] {
        self.frame.clear();
        match self.format {
            Format::Ulaw => self.frame.resize(G711_FRAME_BYTES, 0xff),
            Format::Alaw => self.frame.resize(G711_FRAME_BYTES, 0xd5),
            format => self.frame.resize(format.frame_bytes().unwrap_or(0), 0),
        }
        &self.frame
    }

    fn next_heard(&mut self) -> Option<Vec<u8>> {
        let speaker = self.speaker.as_mut()?;
        let Some(frame) = self.format.frame_bytes() else {
            // A packet is a frame.
            return match (speaker.jitter.play(), &speaker.how) {
                (Played::Frame(payload), Hearing::Untouched) => Some(payload),
                (Played::Frame(payload), Hearing::Convert(_)) => self.convert(Some(&payload)),
                (Played::Lost | Played::Nothing, _) => None,
            };
        };
        // Frames of 10 ms come twice as often, those of 30 ms less.
        for _ in 0..PLAYED_PER_FRAME_MAX {
            if self.waiting.len() >= frame {
                break;
            }
            let speaker = self.speaker.as_mut()?;
            let (played, is_untouched) = (speaker.jitter.play(), matches!(speaker.how, Hearing::Untouched));
            match played {
                Played::Frame(payload) if is_untouched => self.waiting.extend(payload),
                Played::Frame(payload) => drop(self.convert(Some(&payload))),
                Played::Lost if is_untouched => {
                    let silence = self.silence().to_vec();
                    self.waiting.extend(silence);
                }
                Played::Lost => drop(self.convert(None)),
                Played::Nothing => break,
            }
        }
        // What is more than that would be late for ever.
        let most = frame * WAITING_FRAMES_MAX;
        if self.waiting.len() > most {
            self.waiting.drain(..self.waiting.len() - most);
        }
        (self.waiting.len() >= frame).then(|| self.waiting.drain(..frame).collect())
    }

    /// A payload, or what a lost one may have been. What is written goes to what waits; of Opus it is the packet.
    fn convert(&mut self, payload: Option<&[u8]>) -> Option<Vec<u8>> {
        let Hearing::Convert(decoder) = &mut self.speaker.as_mut()?.how else {
            return None;
        };
        let mut samples = Vec::new();
        match payload {
            Some(payload) => decoder.decode(payload, &mut samples).ok()?,
            None => decoder.conceal(None, &mut samples),
        }
        if self.format == Format::Opus {
            let mut packet = Vec::new();
            self.writer.write(&samples, &mut packet);
            return Some(packet).filter(|packet| !packet.is_empty());
        }
        self.writer.write(&samples, &mut self.waiting);
        None
    }

    fn next_tone(&mut self) -> Option<Vec<u8>> {
        if self.tone.is_none() && !self.keys.is_empty() {
            self.tone = Some(self.keys.remove(0));
            self.tone_writer = Writer::new(self.format);
            self.tone_writer.come_from(self.format.base());
        }
        let base = self.format.base();
        let samples: Vec<i16> = self.tone.as_mut()?.take(base.samples(FRAME_MS)).collect();
        if samples.is_empty() {
            // A frame of silence, by which two keys are told apart.
            self.tone = None;
            return self.format.frame_bytes().map(|_| self.silence().to_vec());
        }
        let mut padded = samples;
        padded.resize(base.samples(FRAME_MS), 0);
        let mut out = Vec::new();
        self.tone_writer.write(&padded, &mut out);
        Some(out).filter(|frame| !frame.is_empty())
    }
}

impl Writer {
    fn new(format: Format) -> Self {
        Self {
            format,
            stretch: Stretch::new(format.base().hertz(), format.base().hertz()),
            encoder: None,
            stretched: Vec::new(),
            samples: Vec::new(),
        }
    }

    fn come_from(&mut self, rate: Rate) {
        let hertz = match self.format {
            Format::Linear(hertz) => hertz,
            _ => self.format.base().hertz(),
        };
        self.stretch = Stretch::new(rate.hertz(), hertz);
        let codec = self.format.codec();
        self.encoder = codec.and_then(|codec| Encoder::new(codec, self.format.base()).ok());
    }

    fn write(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        self.stretched.clear();
        self.stretch.process(samples, &mut self.stretched);
        let Some(encoder) = &mut self.encoder else {
            return out.extend(self.stretched.iter().flat_map(|sample| sample.to_le_bytes()));
        };
        self.samples.extend(&self.stretched);
        let frame = encoder.rate().samples(FRAME_MS);
        let whole = self.samples.len() / frame * frame;
        for samples in self.samples[..whole].chunks(frame) {
            // A frame that cannot be written is left out.
            let _ = encoder.encode(samples, out);
        }
        self.samples.drain(..whole);
    }
}

impl Format {
    /// The codec whose payloads it has, if it has such.
    pub fn codec(self) -> Option<Codec> {
        match self {
            Self::Ulaw => Some(Codec::Pcmu),
            Self::Alaw => Some(Codec::Pcma),
            Self::G722 => Some(Codec::G722),
            Self::Opus => Some(Codec::Opus),
            Self::Linear(_) => None,
        }
    }

    /// The rate of samples to which it is brought.
    fn base(self) -> Rate {
        match self {
            Self::Ulaw | Self::Alaw | Self::Linear(..=8000) => Rate::Hz8000,
            Self::G722 | Self::Linear(..=16_000) => Rate::Hz16000,
            Self::Opus | Self::Linear(_) => Rate::Hz48000,
        }
    }
}

fn linear(bytes: &[u8]) -> Vec<i16> {
    let (samples, _) = bytes.as_chunks::<2>();
    samples.iter().map(|sample| i16::from_le_bytes(*sample)).collect()
}

const FRAME_MS: usize = 20;
const G711_FRAME_BYTES: usize = 160;
/// As much as a decoder takes at once. Even, so that no sample is cut.
const PIECE_BYTES: usize = 640;
/// Frames that wait before the first is heard, at least and at most.
const DEPTH_MIN: usize = 2;
const DEPTH_MAX: usize = 10;
/// Frames that are looked at for one of 20 ms.
const PLAYED_PER_FRAME_MAX: usize = 8;
/// Frames that wait as bytes. What is older is left out.
const WAITING_FRAMES_MAX: usize = 6;
/// Keys that wait to be heard. Further ones are lost.
const KEYS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use moqswitch_audio::{KeyDetector, KeyHeard};

    use super::*;

    const ALL: [Format; 13] = [
        Format::Ulaw,
        Format::Alaw,
        Format::G722,
        Format::Opus,
        Format::Linear(8000),
        Format::Linear(12_000),
        Format::Linear(16_000),
        Format::Linear(24_000),
        Format::Linear(32_000),
        Format::Linear(44_100),
        Format::Linear(48_000),
        Format::Linear(96_000),
        Format::Linear(192_000),
    ];

    #[test]
    fn what_both_have_goes_through_untouched() {
        for (format, codec) in [
            (Format::Ulaw, Codec::Pcmu),
            (Format::Alaw, Codec::Pcma),
            (Format::G722, Codec::G722),
        ] {
            let said: Vec<u8> = (0..=255).cycle().take(1600).collect();
            let mut intake = Intake::new(format, codec).unwrap();
            let mut frames = Vec::new();
            for piece in said.chunks(77) {
                intake.take(piece, |frame| frames.push(frame.to_vec()));
            }
            assert!(frames.iter().all(|frame| frame.len() == 160));
            assert_eq!(frames.concat(), said);

            let mut playout = Playout::new(format);
            playout.hear(Some(codec)).unwrap();
            let mut heard = Vec::new();
            for (number, frame) in (7..).zip(&frames) {
                playout.push(number, frame);
                heard.extend(playout.play().map(<[u8]>::to_vec));
            }
            while let Some(frame) = playout.play() {
                heard.push(frame.to_vec());
            }
            assert_eq!(heard, frames, "{format}");
        }
    }

    #[test]
    fn packets_of_opus_go_through_untouched_whatever_their_length() {
        let packets: Vec<Vec<u8>> = (1..20_u8).map(|length| vec![length; usize::from(length)]).collect();
        let mut intake = Intake::new(Format::Opus, Codec::Opus).unwrap();
        let mut playout = Playout::new(Format::Opus);
        playout.hear(Some(Codec::Opus)).unwrap();
        let mut heard = Vec::new();
        for (number, packet) in (0..).zip(&packets) {
            intake.take(packet, |frame| playout.push(number, frame));
            heard.extend(playout.play().map(<[u8]>::to_vec));
        }
        heard.extend(playout.play().map(<[u8]>::to_vec));
        assert_eq!(heard, packets);
    }

    #[test]
    fn every_format_is_heard_as_every_codec_and_back() {
        for format in ALL {
            for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
                let mut speaking = Playout::new(format);
                let mut intake = Intake::new(format, codec).unwrap();
                let mut playout = Playout::new(format);
                playout.hear(Some(codec)).unwrap();
                // A key is something of which it is known whether it is heard.
                assert!(speaking.press('5', 400));
                let mut detector = KeyDetector::new();
                let mut back = Vec::new();
                let mut number = 0;
                let mut hear = Intake::new(format, Codec::Pcmu).unwrap();
                for _ in 0..60 {
                    let said = match speaking.play() {
                        Some(frame) => frame.to_vec(),
                        None => speaking.silence().to_vec(),
                    };
                    if !said.is_empty() {
                        intake.take(&said, |frame| {
                            playout.push(number, frame);
                            number += 1;
                        });
                    }
                    if let Some(frame) = playout.play() {
                        hear.take(frame, |frame| back.extend(frame));
                    }
                }
                let mut samples = vec![0; back.len()];
                moqswitch_audio::g711::decode_ulaw(&back, &mut samples);
                let mut keys = Vec::new();
                detector.process(&samples, |heard| {
                    if let KeyHeard::Pressed(key) = heard {
                        keys.push(key);
                    }
                });
                assert_eq!(keys, ['5'], "{format} as {codec:?}");
            }
        }
    }

    #[test]
    fn frames_of_other_lengths_become_frames_of_20_ms() {
        for length in [80, 240, 320, 480] {
            let mut playout = Playout::new(Format::Ulaw);
            playout.hear(Some(Codec::Pcmu)).unwrap();
            let said: Vec<u8> = (0..=255).cycle().take(length * 12).collect();
            let mut frames = said.chunks(length);
            let mut number = 0;
            let mut heard: Vec<u8> = Vec::new();
            // As much time passes as is said.
            for tick in 1..=length * 12 / 160 + 8 {
                while number * length < tick * 160
                    && let Some(frame) = frames.next()
                {
                    playout.push(number as u64, frame);
                    number += 1;
                }
                heard.extend(playout.play().into_iter().flatten());
            }
            assert_eq!(heard, said, "of {length}");
        }
    }

    #[test]
    fn what_is_lost_is_silence_and_what_comes_twice_is_heard_once() {
        let mut playout = Playout::new(Format::Ulaw);
        playout.hear(Some(Codec::Pcmu)).unwrap();
        for number in [0, 1, 3, 3, 4] {
            playout.push(number, &[u8::try_from(number).unwrap(); 160]);
        }
        let heard: Vec<u8> = std::iter::from_fn(|| playout.play().map(|frame| frame[0])).collect();
        assert_eq!(heard, [0, 1, 0xff, 3, 4]);
        playout.hear(None).unwrap();
        playout.push(5, &[5; 160]);
        assert_eq!(playout.play(), None);
    }

    #[test]
    fn noise_is_no_surprise_to_any_of_them() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for format in ALL {
            for codec in [Codec::Pcmu, Codec::G722, Codec::Opus] {
                let mut intake = Intake::new(format, codec).unwrap();
                let mut playout = Playout::new(format);
                playout.hear(Some(codec)).unwrap();
                let frame = format.frame_bytes();
                for _ in 0..40 {
                    let length = usize::try_from(draw() % 3000).unwrap();
                    let noise: Vec<u8> = (0..length).map(|_| u8::try_from(draw() & 0xff).unwrap()).collect();
                    intake.take(&noise, |_| {});
                    playout.push(draw() % 64, &noise);
                    if let (Some(frame), Some(heard)) = (frame, playout.play()) {
                        assert_eq!(heard.len(), frame, "{format}");
                    }
                }
            }
        }
    }
}
