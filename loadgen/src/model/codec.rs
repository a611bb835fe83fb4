//! Codecs as traffic: how large each frame is, when there is none, and where a group begins.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_distr::StandardNormal;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::speech::Speech;
use crate::media::{Container, Media};

/// What a track carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "codec")]
pub(crate) enum Codec {
    /// Variable bit rate, 20 ms. In pauses small frames, or with `dtx` one in 400 ms.
    Opus {
        /// While talking, bits per second.
        bitrate: u32,
        dtx: bool,
    },
    /// G.711, 160 bytes in 20 ms, silence included.
    Pcmu {},
    Pcma {},
    /// Frames of one size at one rate.
    Fixed {
        bytes: usize,
        rate: f64,
    },
    /// Frames about a mean size, and key frames several times as large.
    Video {
        bitrate: u32,
        rate: f64,
        /// Frames from one key frame to the next.
        gop: u32,
    },
    /// What a file holds, again and again.
    Replay {
        file: PathBuf,
        /// Frames in a second, for files that do not say (Annex B).
        #[serde(default = "video_rate")]
        rate: f64,
    },
}

/// The frames of one track, in order.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    codec: Codec,
    /// Frames in a group; for video the whole of a GOP.
    frames_per_group: u32,
    speech: Speech,
    random: Pcg64Mcg,
    /// Of a replay.
    media: Option<Arc<Media>>,
    /// Frame times passed, silent ones included.
    ticks: u64,
    in_group: u32,
    silent_ticks: u32,
}

/// What becomes of one frame time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// A group that is open ends before this tick's frame, if it has one.
    pub(crate) ends_group: bool,
    /// `None` in silence.
    pub(crate) frame: Option<Content>,
    /// Until the next frame time.
    pub(crate) lasts: Duration,
    /// The frame is the last of its group.
    pub(crate) completes_group: bool,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// So many bytes that say which frame it is.
    Synthetic(usize),
    /// The frame of the file with this index.
    Replayed(u32),
}

impl Codec {
    /// From one frame to the next, of a replay about.
    pub(crate) fn interval(&self) -> Duration {
        match *self {
            Self::Opus { .. } | Self::Pcmu {} | Self::Pcma {} | Self::Replay { .. } => AUDIO_FRAME,
            Self::Fixed { rate, .. } | Self::Video { rate, .. } => Duration::from_secs_f64(1.0 / rate),
        }
    }

    pub(crate) fn is_video(&self) -> bool {
        match self {
            Self::Replay { file, .. } => Container::of(file).is_ok_and(Container::is_video),
            _ => matches!(self, Self::Video { .. }),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Opus { .. } => "opus",
            Self::Pcmu {} => "pcmu",
            Self::Pcma {} => "pcma",
            Self::Fixed { .. } => "fixed",
            Self::Video { .. } => "video",
            Self::Replay { file, .. } => Container::of(file).map_or("unknown", Container::codec),
        }
    }

    /// Bytes of the largest frame that is likely.
    pub(crate) fn largest(&self) -> usize {
        match self {
            // Four standard deviations.
            Self::Opus { bitrate, .. } => *bitrate as usize / 400 * 5 / 2,
            Self::Pcmu {} | Self::Pcma {} => 160,
            Self::Fixed { bytes, .. } => *bytes,
            Self::Replay { file, .. } if Container::of(file) == Ok(Container::Wav) => 160,
            Self::Video { .. } | Self::Replay { .. } => FRAME_BYTES_MAX,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if let Self::Replay { file, .. } = self {
            Container::of(file)?;
        }
        let (is_sane, what) = match *self {
            Self::Opus { bitrate, .. } => ((6_000..=510_000).contains(&bitrate), "Opus has 6000 to 510000 bit/s"),
            Self::Pcmu {} | Self::Pcma {} => (true, ""),
            Self::Fixed { bytes, rate } => (
                (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes) && is_rate(rate),
                "fixed frames have 32 bytes to 4 MiB, and 0.1 to 10000 come in a second",
            ),
            Self::Video { bitrate, rate, gop } => (
                (10_000..=1_000_000_000).contains(&bitrate) && is_rate(rate) && (1..=10_000).contains(&gop),
                "video has 10 kbit/s to 1 Gbit/s, 0.1 to 10000 frames/s and 1 to 10000 of them in a GOP",
            ),
            Self::Replay { rate, .. } => (is_rate(rate), "0.1 to 10000 frames come in a second"),
        };
        if is_sane { Ok(()) } else { Err(what.into()) }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opus { bitrate, dtx } => {
                write!(out, "opus {} kbit/s{}", bitrate / 1000, if *dtx { " DTX" } else { "" })
            }
            Self::Pcmu {} | Self::Pcma {} => write!(out, "{}", self.name()),
            Self::Fixed { bytes, rate } => write!(out, "{rate}/s x {bytes} B"),
            Self::Video { bitrate, rate, gop } => {
                write!(out, "video {} kbit/s, {rate}/s, GOP {gop}", bitrate / 1000)
            }
            Self::Replay { file, .. } => write!(out, "{}", file.display()),
        }
    }
}

fn video_rate() -> f64 {
    30.0
}

fn is_rate(rate: f64) -> bool {
    (0.1..=10_000.0).contains(&rate)
}

impl Source {
    pub(crate) fn new(
        codec: Codec,
        media: Option<Arc<Media>>,
        frames_per_group: u32,
        speech: Speech,
        random: Pcg64Mcg,
    ) -> Self {
        let frames_per_group = match codec {
            Codec::Video { gop, .. } => gop,
            _ => frames_per_group.max(1),
        };
        Self {
            codec,
            frames_per_group,
            speech,
            random,
            media,
            ticks: 0,
            in_group: 0,
            silent_ticks: 0,
        }
    }

    /// The next frame time.
    pub(crate) fn poll_tick(&mut self) -> Tick {
        match self.media.clone() {
            Some(media) => self.poll_replayed(&media),
            None => self.poll_synthetic(),
        }
    }

    fn poll_replayed(&mut self, media: &Media) -> Tick {
        let frames = media.frames.len() as u64;
        let at = |tick: u64| usize::try_from(tick % frames).expect("an index");
        let (now, next) = (at(self.ticks), at(self.ticks + 1));
        self.ticks += 1;
        self.in_group += 1;
        let completes_group = if self.codec.is_video() {
            media.frames[next].is_key
        } else {
            self.in_group >= self.frames_per_group
        };
        if completes_group {
            self.in_group = 0;
        }
        Tick {
            ends_group: false,
            frame: Some(Content::Replayed(u32::try_from(now).expect("files have fewer frames"))),
            lasts: media.frames[now].lasts,
            completes_group,
        }
    }

    fn poll_synthetic(&mut self) -> Tick {
        let lasts = self.codec.interval();
        #[allow(clippy::cast_precision_loss, reason = "frame times of a run stay far below 2^52")]
        let seconds = self.ticks as f64 * self.codec.interval().as_secs_f64();
        let is_talking = self.speech.is_talking(seconds);
        self.ticks += 1;
        self.silent_ticks = if is_talking { 0 } else { self.silent_ticks + 1 };
        let Some(bytes) = self.frame_bytes(is_talking) else {
            let ends_group = self.in_group > 0;
            self.in_group = 0;
            return Tick {
                ends_group,
                frame: None,
                lasts,
                completes_group: false,
            };
        };
        self.in_group += 1;
        let completes_group = self.in_group >= self.frames_per_group;
        if completes_group {
            self.in_group = 0;
        }
        Tick {
            ends_group: false,
            frame: Some(Content::Synthetic(bytes.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX))),
            lasts,
            completes_group,
        }
    }

    fn frame_bytes(&mut self, is_talking: bool) -> Option<usize> {
        match self.codec {
            Codec::Opus { bitrate, dtx } => {
                let mean = f64::from(bitrate) * AUDIO_FRAME.as_secs_f64() / 8.0;
                match (is_talking, dtx) {
                    (true, _) => Some(self.about(mean, OPUS_SIGMA)),
                    (false, false) => Some(FRAME_BYTES_MIN),
                    // RFC 6716, section 2.1.9: one frame in 400 ms keeps the noise going.
                    (false, true) => (self.silent_ticks % DTX_TICKS == 1).then_some(FRAME_BYTES_MIN),
                }
            }
            Codec::Pcmu {} | Codec::Pcma {} => Some(160),
            Codec::Fixed { bytes, .. } => Some(bytes),
            Codec::Replay { .. } => None,
            Codec::Video { bitrate, rate, gop } => {
                // With a key frame of k means, the other gop - 1 frames have the rest.
                let mean = f64::from(bitrate) / 8.0 / rate;
                let gop = f64::from(gop);
                let part = gop / (gop - 1.0 + KEY_FRAME_RATIO);
                let ratio = if self.in_group == 0 { KEY_FRAME_RATIO } else { 1.0 };
                Some(self.about(mean * part * ratio, VIDEO_SIGMA))
            }
        }
    }

    /// Lognormal with a mean.
    fn about(&mut self, mean: f64, sigma: f64) -> usize {
        let normal: f64 = self.random.sample(StandardNormal);
        let bytes = mean * (sigma * normal - sigma * sigma / 2.0).exp();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size, positive and clamped by the caller"
        )]
        let bytes = bytes as usize;
        bytes
    }
}

const AUDIO_FRAME: Duration = Duration::from_millis(20);

/// What a frame carries to be told apart takes this much; smaller frames of a codec are filled.
const FRAME_BYTES_MIN: usize = crate::truth::stamp::STAMP_BYTES;
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Spread of Opus frames about their mean while someone talks.
const OPUS_SIGMA: f64 = 0.25;
const DTX_TICKS: u32 = 20;
const VIDEO_SIGMA: f64 = 0.35;
/// How many times as large as another a key frame is.
const KEY_FRAME_RATIO: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::speech::Means;
    use crate::model::{Purpose, random};

    #[test]
    fn codecs_make_the_bit_rate_they_are_asked_for() {
        let opus = Codec::Opus {
            bitrate: 48_000,
            dtx: false,
        };
        let video = Codec::Video {
            bitrate: 2_000_000,
            rate: 30.0,
            gop: 60,
        };
        for (codec, wanted) in [(opus, 48_000.0), (video, 2_000_000.0), (Codec::Pcmu {}, 64_000.0)] {
            let mut source = source(codec.clone(), 1, None);
            let ticks = 60_000;
            let bytes: usize = (0..ticks).map(|_| bytes(source.poll_tick()).unwrap()).sum();
            let bitrate = bytes as f64 * 8.0 / (codec.interval().as_secs_f64() * f64::from(ticks));
            assert!((bitrate / wanted - 1.0).abs() < 0.03, "{codec:?}: {bitrate}");
        }
    }

    #[test]
    fn groups_have_their_frames_and_end_when_nobody_talks() {
        let codec = Codec::Opus {
            bitrate: 32_000,
            dtx: true,
        };
        let mut source = source(codec, 5, Some(Means::of_conversation(2)));
        let (mut open, mut sent, mut silent) = (0, 0, 0);
        for _ in 0..50_000 {
            let tick = source.poll_tick();
            if tick.ends_group {
                assert!(open > 0, "only an open group ends");
                open = 0;
            }
            match bytes(tick) {
                Some(bytes) => {
                    assert!(bytes >= FRAME_BYTES_MIN);
                    open += 1;
                    sent += 1;
                }
                None => silent += 1,
            }
            if tick.completes_group {
                assert_eq!(open, 5);
                open = 0;
            }
            assert!(open < 5);
        }
        assert!(sent > 10_000 && silent > 20_000, "{sent} sent, {silent} silent");
    }

    #[test]
    fn a_gop_begins_with_its_largest_frame() {
        let codec = Codec::Video {
            bitrate: 1_000_000,
            rate: 30.0,
            gop: 30,
        };
        let mut source = source(codec, 1, None);
        let gops: Vec<Vec<usize>> = (0..100)
            .map(|_| (0..30).map(|_| bytes(source.poll_tick()).unwrap()).collect())
            .collect();
        let key: usize = gops.iter().map(|gop| gop[0]).sum();
        let other: usize = gops.iter().map(|gop| gop[1..].iter().sum::<usize>() / 29).sum();
        assert!((4.0..8.0).contains(&(key as f64 / other as f64)), "{key} {other}");
    }

    fn source(codec: Codec, frames_per_group: u32, means: Option<Means>) -> Source {
        let speech = Speech::new(means, random(5, Purpose::Speech, 0));
        Source::new(codec, None, frames_per_group, speech, random(5, Purpose::Codec, 0))
    }

    fn bytes(tick: Tick) -> Option<usize> {
        match tick.frame? {
            Content::Synthetic(bytes) => Some(bytes),
            Content::Replayed(_) => None,
        }
    }
}
