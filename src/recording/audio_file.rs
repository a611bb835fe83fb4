//! One file of sound, which plays whenever it is looked at.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use moqswitch_containers::{Encoding, OpusWriter, WavWriter, opus};

use crate::counters::Counters;
use crate::disk::Sink;
use crate::form::Form;
use crate::limits::WAV_BYTES_MAX;

type Out = BufWriter<Counting>;

pub(crate) struct AudioFile {
    pub(crate) form: Form,
    channels: u16,
    kind: Kind,
}

enum Kind {
    Opus(Box<OpusWriter<Out>>),
    Wav(Box<WavWriter<Out>>),
}

/// What one channel has in a slot of 20 ms: a packet of Opus, or bytes of samples as the file has them.
pub(crate) type Sound = Option<Vec<u8>>;

impl AudioFile {
    pub(crate) fn begin(
        sink: Box<dyn Sink>,
        form: Form,
        channels: u16,
        comments: &[(&str, &str)],
        counters: &Arc<Counters>,
    ) -> io::Result<Self> {
        let counting = Counting {
            sink,
            bytes: 0,
            counters: Arc::clone(counters),
        };
        let sink = BufWriter::with_capacity(BUFFER_BYTES, counting);
        let kind = match form {
            Form::Opus if channels == 2 => Kind::Opus(Box::new(OpusWriter::pair(sink, SERIAL, comments)?)),
            Form::Opus => Kind::Opus(Box::new(OpusWriter::mono(sink, SERIAL, comments)?)),
            Form::Plain(encoding) => Kind::Wav(Box::new(WavWriter::new(sink, encoding, channels, 8000)?)),
            Form::Samples(rate) => {
                let writer = WavWriter::new(sink, Encoding::Pcm16, channels, rate.hertz())?;
                Kind::Wav(Box::new(writer))
            }
        };
        Ok(Self { form, channels, kind })
    }

    /// The next 20 ms of each channel.
    pub(crate) fn write(&mut self, sounds: &[Sound]) -> io::Result<()> {
        match &mut self.kind {
            Kind::Opus(writer) => {
                let said = |channel: usize| sounds.get(channel).and_then(Option::as_deref);
                let is_pair = self.channels == 2;
                let written = match is_pair {
                    true => writer.write_pair(said(0), said(1)),
                    false => writer.write(said(0).unwrap_or(&opus::SILENCE)),
                };
                match written {
                    // What somebody sent is no packet: that is no fault of the disk.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => match is_pair {
                        true => writer.write_pair(None, None),
                        false => writer.write(&opus::SILENCE),
                    },
                    written => written,
                }
            }
            Kind::Wav(writer) => {
                let encoding = writer.encoding();
                let samples = usize::try_from(self.form.sample_rate() / 50).unwrap_or(0);
                writer.write(&interleaved(sounds, encoding, samples, usize::from(self.channels)))
            }
        }
    }

    /// Gives the system what there is.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Opus(writer) => writer.flush(),
            Kind::Wav(writer) => writer.update(),
        }
    }

    /// A further file is to be begun.
    pub(crate) fn is_full(&self) -> bool {
        match &self.kind {
            Kind::Opus(_) => false,
            Kind::Wav(writer) => writer.data_bytes() >= WAV_BYTES_MAX,
        }
    }

    /// Ends it. How many bytes it has.
    pub(crate) fn finish(self) -> io::Result<u64> {
        let sink = match self.kind {
            Kind::Opus(writer) => writer.finish()?,
            Kind::Wav(writer) => writer.finish()?,
        };
        Ok(sink.get_ref().bytes)
    }
}

fn interleaved(sounds: &[Sound], encoding: Encoding, samples: usize, channels: usize) -> Vec<u8> {
    let width = usize::from(encoding.bytes());
    let mut block = vec![encoding.silence(); samples * channels * width];
    for (channel, sound) in sounds.iter().enumerate().take(channels) {
        let said = sound.as_deref().unwrap_or_default().chunks_exact(width);
        let places = block.chunks_exact_mut(width).skip(channel).step_by(channels);
        for (place, sample) in places.zip(said) {
            place.copy_from_slice(sample);
        }
    }
    block
}

/// Knows how long the file is.
struct Counting {
    sink: Box<dyn Sink>,
    bytes: u64,
    counters: Arc<Counters>,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        let count = u64::try_from(written).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(count);
        Counters::add(&self.counters.bytes, count);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl io::Seek for Counting {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let at = self.sink.seek(to)?;
        if matches!(to, io::SeekFrom::End(_)) {
            self.bytes = at;
        }
        Ok(at)
    }
}

/// Of a stream of Opus; there is one in a file.
const SERIAL: u32 = 1;
const BUFFER_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use moqswitch_audio::Rate;
    use moqswitch_containers::{OpusFile, Wav};

    use super::*;

    #[test]
    fn channels_are_where_they_belong() {
        let block = interleaved(&[Some(vec![1, 2]), None], Encoding::Mulaw, 3, 2);
        assert_eq!(block, [1, 0xff, 2, 0xff, 0xff, 0xff]);
        let block = interleaved(&[None, Some(vec![1, 2, 3, 4])], Encoding::Pcm16, 2, 2);
        assert_eq!(block, [0, 0, 1, 2, 0, 0, 3, 4]);
        // Too much is not written elsewhere.
        assert_eq!(interleaved(&[Some(vec![7; 9])], Encoding::Alaw, 2, 1), [7, 7]);
    }

    #[test]
    fn garbage_is_silence_and_no_error() {
        for channels in [1, 2] {
            let sink = Box::new(io::Cursor::new(Vec::new()));
            let counters = Arc::new(Counters::default());
            let mut file = AudioFile::begin(sink, Form::Opus, channels, &[], &counters).unwrap();
            for garbage in [vec![], vec![0xff], vec![0xf8; 3000], vec![0xfb, 0xff, 1]] {
                file.write(&[Some(garbage.clone()), Some(garbage)]).unwrap();
            }
            file.finish().unwrap();
        }
    }

    #[test]
    fn each_form_plays_whenever_it_is_looked_at() {
        let directory = std::env::temp_dir().join(format!("moqswitch-audio-file-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let counters = Arc::new(Counters::default());
        for (form, channels) in [
            (Form::Opus, 1),
            (Form::Opus, 2),
            (Form::Plain(Encoding::Mulaw), 2),
            (Form::Samples(Rate::Hz16000), 1),
        ] {
            let path = directory.join(format!("{}-{channels}", form.encoding()));
            let sink = Box::new(std::fs::File::create(&path).unwrap());
            let mut file = AudioFile::begin(sink, form, channels, &[], &counters).unwrap();
            for _ in 0..100 {
                file.write(&[None, None]).unwrap();
            }
            file.flush().unwrap();
            let seconds = |bytes: &[u8]| match form {
                Form::Opus => OpusFile::read(bytes).unwrap().samples() / 48_000,
                _ => {
                    let wav = Wav::read(bytes).unwrap();
                    let frame = u64::from(wav.channels * wav.encoding.bytes());
                    wav.data.len() as u64 / frame / u64::from(wav.sample_rate)
                }
            };
            assert_eq!(seconds(&std::fs::read(&path).unwrap()), 2, "{form:?}");
            let bytes = file.finish().unwrap();
            assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
