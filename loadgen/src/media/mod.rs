//! Real media from files, as frames to be sent: Ogg Opus, WAV as PCMU, IVF (VP8, VP9, AV1) and
//! Annex B (H.264). Demuxed by crates; what is here says where frames and groups begin.

mod audio;
mod frame;
mod video;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

pub(crate) use frame::Frame;

/// A file's frames, in order. They are sent again from the beginning when they have all been sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Media {
    pub(crate) frames: Vec<Frame>,
}

/// What a file holds, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    OggOpus,
    Wav,
    Ivf,
    AnnexB,
}

impl Container {
    pub(crate) fn of(file: &Path) -> Result<Self, String> {
        let extension = file
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        Ok(match &*extension {
            "ogg" | "opus" => Self::OggOpus,
            "wav" => Self::Wav,
            "ivf" => Self::Ivf,
            "h264" | "264" | "annexb" => Self::AnnexB,
            _ => {
                return Err(format!(
                    "`{}` is none of .opus, .ogg, .wav, .ivf and .h264",
                    file.display()
                ));
            }
        })
    }

    pub(crate) fn is_video(self) -> bool {
        matches!(self, Self::Ivf | Self::AnnexB)
    }

    /// What the E-model knows of it, if it is speech.
    pub(crate) fn codec(self) -> &'static str {
        match self {
            Self::OggOpus => "opus",
            Self::Wav => "pcmu",
            Self::Ivf | Self::AnnexB => "video",
        }
    }
}

impl Media {
    /// Reads a whole file. `rate` is the frame rate of video that does not say its own.
    pub(crate) fn open(file: &Path, rate: f64) -> anyhow::Result<Self> {
        let container = Container::of(file).map_err(anyhow::Error::msg)?;
        let metadata = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(metadata.is_file(), "{} is no file", file.display());
        let bytes = metadata.len();
        ensure!(
            bytes <= FILE_BYTES_MAX,
            "{} is larger than {FILE_BYTES_MAX} bytes",
            file.display()
        );
        let frames = match container {
            Container::OggOpus => audio::opus(file),
            Container::Wav => audio::pcmu(file),
            Container::Ivf => video::ivf(file),
            Container::AnnexB => video::annex_b(file, rate),
        };
        let frames = frames.with_context(|| file.display().to_string())?;
        match frames.first() {
            None => bail!("{} has no frames", file.display()),
            Some(first) => ensure!(first.is_key, "{} does not begin with a key frame", file.display()),
        }
        ensure!(
            frames.iter().all(|frame| (SHORTEST..=LONGEST).contains(&frame.lasts)),
            "{} has frames that last less than {SHORTEST:?} or more than {LONGEST:?}",
            file.display()
        );
        Ok(Self { frames })
    }
}

/// It is held in memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_frames_key_frames_and_times() {
        for (file, frames, keys, milliseconds, bytes) in [
            ("tone.opus", 51, 51, 1020, 0),
            ("tone.wav", 25, 25, 500, 4000),
            ("vp8.ivf", 25, 3, 1000, 4155),
            ("vp9.ivf", 25, 3, 1000, 6747),
            ("av1.ivf", 25, 3, 1000, 2388),
            ("avc.h264", 25, 3, 1000, 0),
        ] {
            let media = Media::open(&sample(file), 25.0).unwrap();
            let lasts: Duration = media.frames.iter().map(|frame| frame.lasts).sum();
            let total: usize = media.frames.iter().map(|frame| frame.bytes.len()).sum();
            assert_eq!(media.frames.len(), frames, "{file}");
            assert_eq!(media.frames.iter().filter(|frame| frame.is_key).count(), keys, "{file}");
            assert_eq!(
                (lasts.as_secs_f64() * 1000.0).round(),
                f64::from(milliseconds),
                "{file}"
            );
            if bytes > 0 {
                assert_eq!(total, bytes, "{file}");
            }
        }
    }

    #[test]
    fn what_is_no_media_is_an_error_that_says_why() {
        let directory = std::env::temp_dir().join(format!("moqswitch-media-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let error = |name: &str, content: &[u8]| {
            let file = directory.join(name);
            std::fs::write(&file, content).unwrap();
            format!("{:#}", Media::open(&file, 25.0).unwrap_err())
        };
        assert!(
            error("talk.mp3", b"").contains("none of .opus"),
            "{}",
            error("talk.mp3", b"")
        );
        for name in ["talk.opus", "talk.wav", "clip.ivf", "clip.h264"] {
            for content in [&b""[..], b"RIFF", &[0; 100], &[0xff; 100]] {
                assert!(error(name, content).contains(name));
            }
        }
        // Cut off in the middle of a frame: what is whole is sent.
        let whole = std::fs::read(sample("vp8.ivf")).unwrap();
        let file = directory.join("cut.ivf");
        std::fs::write(&file, &whole[..whole.len() - 10]).unwrap();
        assert_eq!(Media::open(&file, 25.0).unwrap().frames.len(), 24);
        // A frame that says it has 4 GiB.
        let mut absurd = whole[..32].to_vec();
        absurd.extend_from_slice(&[0xff; 40]);
        assert!(error("absurd.ivf", &absurd).contains("has no frames"));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    fn sample(name: &str) -> std::path::PathBuf {
        Path::new("tests/media").join(name)
    }
}
