//! Where it goes what is heard: a file, or a pipe into a player.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use moqswitch_audio::{Codec, Encoder, Rate};
use moqswitch_containers::{Encoding, OpusWriter, WavWriter, opus, wav};

use crate::config::{FileFormat, ListenArguments};

/// A file that is playable at any time.
pub(super) struct Sink {
    kind: Kind,
    is_file: bool,
}

enum Kind {
    /// Packets as they come.
    Packets {
        writer: OpusWriter<Box<dyn Write>>,
        /// The last of them.
        before: Option<Vec<u8>>,
    },
    /// Another codec, as Opus.
    Encoded {
        writer: OpusWriter<Box<dyn Write>>,
        encoder: Encoder,
        waiting: Vec<i16>,
    },
    Samples(WavWriter<BufWriter<File>>),
    /// The same without an end.
    Stream(Box<dyn Write>),
}

/// What a moment of it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment<'a> {
    /// A payload that came.
    Heard(&'a [u8]),
    /// What stands for one that did not.
    MadeUp,
}

impl Sink {
    /// Whether it goes to standard output.
    pub(super) fn is_pipe(asked: &ListenArguments) -> bool {
        file(asked).is_none()
    }

    pub(super) fn open(asked: &ListenArguments, codec: Codec) -> anyhow::Result<Self> {
        let output = file(asked);
        let format = format(asked.format, output, codec);
        let rate = codec.full_rate();
        let Some(path) = output else {
            anyhow::ensure!(
                !io::stdout().is_terminal(),
                "standard output is a terminal: name a file by --output, or a player behind a pipe"
            );
            let mut pipe: Box<dyn Write> = Box::new(io::stdout());
            let kind = match format {
                FileFormat::Ogg => Kind::ogg(pipe, codec, rate)?,
                FileFormat::Wav => {
                    pipe.write_all(&wav::endless(Encoding::Pcm16, 1, rate.hertz()))?;
                    pipe.flush()?;
                    Kind::Stream(pipe)
                }
            };
            return Ok(Self { kind, is_file: false });
        };
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let kind = match format {
            FileFormat::Ogg => Kind::ogg(Box::new(BufWriter::new(file)), codec, rate)?,
            FileFormat::Wav => Kind::Samples(WavWriter::new(BufWriter::new(file), Encoding::Pcm16, 1, rate.hertz())?),
        };
        Ok(Self { kind, is_file: true })
    }

    /// Silence belongs into a file. A player that has nothing is silent by itself, and would fall behind.
    pub(super) fn keeps_silence(&self) -> bool {
        self.is_file
    }

    /// Adds a moment, with its samples at the codec's full rate.
    pub(super) fn write(&mut self, moment: Moment<'_>, samples: &[i16]) -> io::Result<()> {
        match &mut self.kind {
            Kind::Packets { writer, before } => match moment {
                Moment::Heard(packet) if opus::samples(packet).is_some() => {
                    writer.write(packet)?;
                    *before = Some(packet.to_vec());
                }
                // Damaged: what was made up for it has its place.
                Moment::Heard(_) | Moment::MadeUp => writer.write(&opus::nothing(before.as_deref()))?,
            },
            Kind::Encoded {
                writer,
                encoder,
                waiting,
            } => {
                waiting.extend_from_slice(samples);
                let size = encoder.rate().samples(FRAME_MS);
                while waiting.len() >= size {
                    let mut packet = Vec::new();
                    encoder
                        .encode(&waiting[..size], &mut packet)
                        .map_err(io::Error::other)?;
                    waiting.drain(..size);
                    writer.write(&packet)?;
                }
            }
            Kind::Samples(writer) => writer.write(&bytes(samples))?,
            Kind::Stream(pipe) => pipe.write_all(&bytes(samples))?,
        }
        if !self.is_file {
            self.flush()?;
        }
        Ok(())
    }

    /// Adds silence, of 20 ms each.
    pub(super) fn write_silence(&mut self, frames: u64, rate: Rate) -> io::Result<()> {
        let silence = vec![0; rate.samples(FRAME_MS)];
        for _ in 0..frames {
            match &mut self.kind {
                Kind::Packets { writer, before } => {
                    writer.write(&opus::SILENCE)?;
                    *before = Some(opus::SILENCE.to_vec());
                }
                _ => self.write(Moment::MadeUp, &silence)?,
            }
        }
        Ok(())
    }

    /// All of it is in the file, which is one that can be played.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Packets { writer, .. } | Kind::Encoded { writer, .. } => writer.flush(),
            Kind::Samples(writer) => writer.update(),
            Kind::Stream(pipe) => pipe.flush(),
        }
    }

    /// Ends it.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.kind {
            Kind::Packets { writer, .. } | Kind::Encoded { writer, .. } => drop(writer.finish()?),
            Kind::Samples(writer) => drop(writer.finish()?),
            Kind::Stream(mut pipe) => pipe.flush()?,
        }
        Ok(())
    }
}

impl Kind {
    fn ogg(sink: Box<dyn Write>, codec: Codec, rate: Rate) -> anyhow::Result<Self> {
        let mut writer = OpusWriter::mono(sink, SERIAL, &[])?;
        writer.flush()?;
        Ok(match codec {
            Codec::Opus => Self::Packets { writer, before: None },
            _ => Self::Encoded {
                writer,
                encoder: Encoder::new(Codec::Opus, rate)?,
                waiting: Vec::new(),
            },
        })
    }
}

fn file(asked: &ListenArguments) -> Option<&Path> {
    asked.output.as_deref().filter(|path| path.as_os_str() != "-")
}

fn format(asked: Option<FileFormat>, output: Option<&Path>, codec: Codec) -> FileFormat {
    let ending = output
        .and_then(Path::extension)
        .map(|ending| ending.to_ascii_lowercase());
    let ending = ending.as_deref().and_then(|ending| ending.to_str());
    match (asked, ending) {
        (Some(format), _) => format,
        (None, Some("wav")) => FileFormat::Wav,
        (None, Some("ogg" | "oga" | "opus")) => FileFormat::Ogg,
        (None, _) if codec == Codec::Opus => FileFormat::Ogg,
        (None, _) => FileFormat::Wav,
    }
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

const FRAME_MS: usize = 20;
/// Of the one stream of a file.
const SERIAL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_was_asked_for_or_what_fits() {
        let of = |asked, output: Option<&str>, codec| format(asked, output.map(Path::new), codec);
        assert_eq!(of(None, Some("a.WAV"), Codec::Opus), FileFormat::Wav);
        assert_eq!(of(None, Some("a.opus"), Codec::Pcmu), FileFormat::Ogg);
        assert_eq!(of(None, Some("a"), Codec::Pcmu), FileFormat::Wav);
        assert_eq!(of(None, None, Codec::Opus), FileFormat::Ogg);
        assert_eq!(of(Some(FileFormat::Wav), Some("a.ogg"), Codec::Opus), FileFormat::Wav);
    }
}
