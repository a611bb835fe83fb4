//! A scenario: the load as people write it down, in TOML or as flags, checked and made ready to
//! run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::engine::nanoseconds;
use crate::link::Impairment;
use crate::load::{Behaviour, Load, PathPlan, PhonePlan, Shape, SipPlan, TrackPlan};
use crate::media::Media;
use crate::model::arrivals::Arrivals;
use crate::model::codec::Codec;
use crate::model::hold::Hold;
use crate::output::threshold::Threshold;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scenario {
    /// What a run of it answers.
    pub(crate) question: String,
    pub(crate) seed: u64,
    /// Calls begin and talk for so long; the figures leave out the warm-up at its beginning and
    /// the cool-down at its end.
    #[serde(with = "humantime_serde")]
    pub(crate) duration: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) warm_up: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) cool_down: Duration,
    /// Length of the intervals that figures are kept for.
    #[serde(with = "humantime_serde")]
    pub(crate) interval: Duration,
    pub(crate) arrivals: Arrivals,
    pub(crate) hold: Hold,
    pub(crate) limits: Limits,
    pub(crate) shape: Shape,
    pub(crate) audio: Option<Track>,
    pub(crate) video: Option<Track>,
    /// Key presses per second of each participant.
    pub(crate) dtmf_rate: Option<f64>,
    pub(crate) catalog: bool,
    pub(crate) behaviour: Behaviour,
    pub(crate) client: Client,
    /// Calls are made by telephones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phone: Option<PhonePlan>,
    /// Those telephones speak SIP and RTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sip: Option<SipPlan>,
    /// What must hold for the run to pass: `one_way_ms.p99 < 50`.
    pub(crate) thresholds: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Calls up at once; further arrivals are blocked, and counted.
    pub(crate) concurrent: u64,
    pub(crate) total: u64,
    /// A call that is not set up after so long has failed.
    #[serde(with = "humantime_serde")]
    pub(crate) setup: Duration,
    /// A call begins when one ends, instead of when the schedule says: keeps `concurrent` up, and
    /// waits for a slow relay as closed loops do.
    pub(crate) closed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Track {
    pub(crate) media: Codec,
    /// Video has a group for each GOP instead.
    #[serde(default = "one")]
    pub(crate) frames_per_group: u32,
    /// A datagram for each frame instead of a stream for each group. Draft 05 and later.
    #[serde(default)]
    pub(crate) datagrams: bool,
    #[serde(default = "second", with = "humantime_serde")]
    pub(crate) max_latency: Duration,
    /// Talk spurts and pauses instead of one long sound.
    #[serde(default)]
    pub(crate) pauses: bool,
}

/// How clients behave on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Client {
    /// moq-lite draft, 3 to 6.
    pub(crate) draft: u8,
    /// Packets after which they acknowledge at the latest, and how long that may wait.
    pub(crate) ack_every: u32,
    #[serde(with = "humantime_serde")]
    pub(crate) ack_delay: Duration,
    /// What becomes of their datagrams, each way: `delay=40ms,jitter=10ms,loss=2%,rate=2mbps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) impair: Option<Impairment>,
    /// How many of a call's participants have such a path: the last ones, and all unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) impaired: Option<u16>,
}

impl Default for Scenario {
    /// Ten seconds of two-party calls, which begin as fast as they may and last to the end.
    fn default() -> Self {
        Self {
            question: "Can people call each other?".into(),
            seed: 1,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            cool_down: Duration::ZERO,
            interval: Duration::from_secs(1),
            arrivals: Arrivals::Constant { rate: 20.0 },
            hold: Hold::Forever {},
            limits: Limits::default(),
            shape: Shape::TwoParty {},
            audio: Some(Track {
                media: Codec::Opus {
                    bitrate: 32_000,
                    dtx: false,
                },
                frames_per_group: 1,
                datagrams: false,
                max_latency: second(),
                pauses: true,
            }),
            video: None,
            dtmf_rate: None,
            catalog: true,
            behaviour: Behaviour::default(),
            client: Client::default(),
            phone: None,
            sip: None,
            thresholds: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent: 100,
            total: u64::from(u32::MAX),
            setup: Duration::from_secs(3),
            closed: false,
        }
    }
}

impl Default for Client {
    /// As Chrome does.
    fn default() -> Self {
        Self {
            draft: 6,
            ack_every: 2,
            ack_delay: Duration::from_millis(25),
            impair: None,
            impaired: None,
        }
    }
}

impl Scenario {
    /// The shortest answer to "does it work": calls come and go, twenty at a time.
    pub(crate) fn short_calls() -> Self {
        Self {
            arrivals: Arrivals::Constant { rate: 5.0 },
            hold: Hold::Fixed {
                time: Duration::from_secs(4),
            },
            ..Self::default()
        }
    }

    /// The same between telephones: they ring, talk, hold, press keys and hang up.
    pub(crate) fn phones() -> Self {
        Self {
            question: "Can telephones call each other?".into(),
            phone: Some(PhonePlan {
                hold_every: Some(Duration::from_secs(4)),
                hold_for: Duration::from_secs(1),
                key_every: Some(Duration::from_secs(2)),
                ..PhonePlan::default()
            }),
            thresholds: PHONE_THRESHOLDS.map(str::to_owned).to_vec(),
            ..Self::short_calls()
        }
    }

    /// The same by SIP and RTP.
    pub(crate) fn telephones() -> Self {
        let phones = Self::phones();
        Self {
            question: "Can telephones call each other by SIP?".into(),
            sip: Some(SipPlan::default()),
            audio: phones.audio.map(|audio| Track {
                media: Codec::Pcmu {},
                ..audio
            }),
            ..Self::phones()
        }
    }

    /// A few calls that last, without pauses: nobody is silent who could be heard. Who is cut off comes back.
    pub(crate) fn steady_calls() -> Self {
        let plain = Self::default();
        Self {
            question: "How long do callers hear nothing when the relay is disturbed?".into(),
            duration: Duration::from_secs(12),
            limits: Limits {
                concurrent: 5,
                ..Limits::default()
            },
            audio: plain.audio.map(|audio| Track { pauses: false, ..audio }),
            behaviour: Behaviour {
                redials: true,
                ..Behaviour::default()
            },
            ..Self::default()
        }
    }

    /// Short calls with the media of files.
    pub(crate) fn replay(files: &[PathBuf], rate: f64) -> anyhow::Result<Self> {
        let mut scenario = Self {
            audio: None,
            ..Self::short_calls()
        };
        for file in files {
            let media = Codec::Replay {
                file: file.clone(),
                rate,
            };
            let place = if media.is_video() {
                &mut scenario.video
            } else {
                &mut scenario.audio
            };
            ensure!(
                place.is_none(),
                "{}: one file of audio and one of video",
                file.display()
            );
            *place = Some(Track {
                media,
                frames_per_group: 1,
                datagrams: false,
                max_latency: second(),
                pauses: false,
            });
        }
        Ok(scenario)
    }

    /// A file, or one of the scenarios that come with the program.
    pub(crate) fn load(name: &str) -> anyhow::Result<Self> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(name).with_context(|| {
                let known: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
                format!("`{name}` is neither a file nor one of {}", known.join(", "))
            })?,
        };
        toml::from_str(&text).with_context(|| format!("scenario {name}"))
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.arrivals.check().map_err(anyhow::Error::msg)?;
        self.hold.check().map_err(anyhow::Error::msg)?;
        self.shape.check().map_err(anyhow::Error::msg)?;
        self.behaviour.check().map_err(anyhow::Error::msg)?;
        for threshold in &self.thresholds {
            threshold.parse::<Threshold>().map_err(anyhow::Error::msg)?;
        }
        self.check_media()?;
        self.check_times()?;
        self.check_phones()?;
        self.check_sip()?;
        ensure!(
            self.limits.concurrent > 0 && self.limits.total > 0,
            "the limits allow no call"
        );
        ensure!(
            self.limits.total <= u64::from(u32::MAX),
            "`limits.total` is at most {}",
            u32::MAX
        );
        ensure!(
            (1..=1000).contains(&self.client.ack_every) && self.client.ack_delay <= Duration::from_secs(1),
            "clients acknowledge within 1000 packets and a second"
        );
        ensure!(
            self.client
                .impaired
                .is_none_or(|people| people > 0 && self.client.impair.is_some()),
            "`impaired` is at least 1, and says whose paths `impair` is of"
        );
        ensure!((3..=6).contains(&self.client.draft), "moq-lite drafts are 3 to 6");
        Ok(())
    }

    fn check_media(&self) -> anyhow::Result<()> {
        let tracks = [&self.audio, &self.video];
        for track in tracks.into_iter().flatten() {
            track.media.check().map_err(anyhow::Error::msg)?;
            ensure!(
                !track.datagrams || self.client.draft >= 5,
                "drafts before 05 have no datagrams"
            );
            ensure!(
                !track.datagrams || track.media.largest() <= DATAGRAM_FRAME_BYTES_MAX,
                "frames of {} do not fit into datagrams: at most {DATAGRAM_FRAME_BYTES_MAX} bytes do",
                track.media
            );
            ensure!(
                !track.datagrams || track.frames_per_group == 1,
                "a datagram is a group of one frame"
            );
        }
        ensure!(
            self.audio.is_some() || self.video.is_some(),
            "a participant has `audio` or `video`"
        );
        ensure!(
            self.audio.as_ref().is_none_or(|track| !track.media.is_video()),
            "`audio` carries video"
        );
        ensure!(
            self.dtmf_rate.is_none_or(|rate| (0.1..=50.0).contains(&rate)),
            "`dtmf_rate` is 0.1 to 50 keys a second"
        );
        Ok(())
    }

    fn check_phones(&self) -> anyhow::Result<()> {
        let Some(phone) = &self.phone else { return Ok(()) };
        phone.check().map_err(anyhow::Error::msg)?;
        ensure!(
            self.shape == Shape::TwoParty {},
            "telephones make two-party calls: `shape`"
        );
        let behaviour = &self.behaviour;
        ensure!(
            behaviour.join_over.is_none()
                && behaviour.leave_every.is_none()
                && behaviour.reconnect_every.is_none()
                && !behaviour.redials,
            "telephones come by signalling, and hang up by it: of `behaviour` there is `mute_every` alone"
        );
        ensure!(
            self.client.impaired.is_none() && self.dtmf_rate.is_none(),
            "telephones have no `impaired` and no `dtmf_rate`: all have the path of `impair`, and keys by `key_every`"
        );
        Ok(())
    }

    fn check_sip(&self) -> anyhow::Result<()> {
        if self.sip.is_none() {
            return Ok(());
        }
        ensure!(
            self.phone.is_some(),
            "`[sip]` is of telephones: there is `[phone]` beside it"
        );
        let is_telephony = |track: &Track| matches!(track.media, Codec::Pcmu {} | Codec::Pcma {});
        ensure!(
            self.video.is_none() && self.audio.as_ref().is_some_and(is_telephony),
            "telephones of SIP speak pcmu or pcma, and show nothing: `audio`, `video`"
        );
        ensure!(
            self.client.impair.is_none() && self.behaviour == Behaviour::default(),
            "telephones of SIP have no `impair` and no `behaviour`"
        );
        ensure!(
            self.duration <= SIP_DURATION_MAX,
            "telephones of SIP register once, for an hour: `duration`"
        );
        Ok(())
    }

    fn check_times(&self) -> anyhow::Result<()> {
        ensure!(
            self.duration >= self.interval,
            "`duration` is shorter than one interval"
        );
        ensure!(
            self.duration > self.warm_up + self.cool_down,
            "warm-up and cool-down leave nothing of the duration"
        );
        ensure!(
            self.interval >= Duration::from_millis(100),
            "`interval` is at least 100 ms"
        );
        let (from, to) = self.measured();
        ensure!(
            from < to,
            "warm-up and cool-down leave no whole interval of {:?} to be measured",
            self.interval
        );
        Ok(())
    }

    /// Intervals that figures of media are of: `[first, last)`.
    pub(crate) fn measured(&self) -> (u64, u64) {
        let intervals = |time: Duration| nanoseconds(time) / nanoseconds(self.interval);
        let from = intervals(self.warm_up + self.interval - Duration::from_nanos(1));
        (from, intervals(self.duration - self.cool_down))
    }

    /// For `shards` shards of all processes together.
    pub(crate) fn load_for(&self, shards: u64) -> anyhow::Result<Load> {
        let media = |track: &Track| match &track.media {
            Codec::Replay { file, rate } => Media::open(file, *rate).map(|media| Some(Arc::new(media))),
            _ => Ok(None),
        };
        let track = |name, priority, track: &Track, media| TrackPlan {
            name,
            codec: track.media.clone(),
            media,
            frames_per_group: track.frames_per_group,
            datagrams: track.datagrams,
            priority,
            max_latency: track.max_latency,
            has_pauses: track.pauses,
        };
        let dtmf = self.dtmf_rate.map(|rate| TrackPlan {
            name: "dtmf",
            codec: Codec::Fixed { bytes: 40, rate },
            media: None,
            frames_per_group: 1,
            datagrams: false,
            priority: 90,
            max_latency: Duration::from_secs(5),
            has_pauses: false,
        });
        let mut tracks = Vec::new();
        for (name, priority, plan) in [("audio", 80, &self.audio), ("video", 60, &self.video)] {
            if let Some(plan) = plan {
                tracks.push(track(name, priority, plan, media(plan)?));
            }
        }
        tracks.extend(dtmf);
        Ok(Load {
            seed: self.seed,
            duration: self.duration,
            interval: self.interval,
            measured_from: self.measured().0,
            arrivals: self.arrivals.clone(),
            hold: self.hold.clone(),
            is_closed: self.limits.closed,
            concurrent_max: self.limits.concurrent,
            // A place that never becomes free is nothing to wait for.
            total_max: match self.hold {
                Hold::Forever {} if !self.is_of_registrations() => self.limits.total.min(self.limits.concurrent),
                _ => self.limits.total,
            },
            shape: self.shape.clone(),
            tracks,
            has_catalog: self.catalog,
            behaviour: self.behaviour.clone(),
            setup_max: self.limits.setup,
            ack_every: self.client.ack_every,
            ack_delay: self.client.ack_delay,
            paths: PathPlan {
                impairment: self.client.impair.clone(),
                impaired: self.client.impaired.unwrap_or(u16::MAX),
            },
            phone: self.phone.clone(),
            sip: self.sip.clone(),
            shards,
        })
    }

    /// Telephones of each of so many shards: those that make calls, and those that do nothing. `None`: there are none.
    pub(crate) fn phones_for(&self, shards: u64) -> Option<(usize, usize)> {
        let phone = self.phone.as_ref()?;
        let share = |whole: u64| usize::try_from(whole.div_ceil(shards.max(1))).unwrap_or(usize::MAX);
        // Some hang up while others are dialled.
        let calls = self.limits.concurrent.saturating_add(self.limits.concurrent / 10);
        Some((
            share(calls.saturating_mul(2)).saturating_add(SPARE_PHONES),
            share(phone.idle),
        ))
    }

    pub(crate) fn is_of_registrations(&self) -> bool {
        self.sip.as_ref().is_some_and(|sip| sip.registers_only)
    }

    /// Names of what its tracks are coded with.
    pub(crate) fn codecs(&self) -> Vec<&'static str> {
        let tracks = [&self.audio, &self.video];
        tracks.into_iter().flatten().map(|track| track.media.name()).collect()
    }

    /// In one line.
    pub(crate) fn describe(&self) -> String {
        let shape = match self.shape {
            Shape::TwoParty {} if self.is_of_registrations() => "registrations of telephones".to_owned(),
            Shape::TwoParty {} if self.phone.is_some() => "two-party calls of telephones".to_owned(),
            Shape::TwoParty {} => "two-party calls".to_owned(),
            Shape::Conference { people, hears: None } => format!("conferences of {people}"),
            Shape::Conference {
                people,
                hears: Some(hears),
            } => format!("{people} people who each hear {hears} others"),
            Shape::Broadcast { listeners } => format!("broadcasts to {listeners}"),
            Shape::PushToTalk { people, .. } => format!("push-to-talk with {people}"),
        };
        let media: Vec<String> = [&self.audio, &self.video]
            .into_iter()
            .flatten()
            .map(|track| {
                let way = if track.datagrams { ", datagrams" } else { "" };
                format!("{}{way}", track.media)
            })
            .collect();
        let path = match (&self.client.impair, self.client.impaired) {
            (None, _) => String::new(),
            (Some(impairment), None) => format!(", paths with {impairment}"),
            (Some(impairment), Some(people)) => format!(", paths of {people} in each with {impairment}"),
        };
        if let Some(sip) = &self.sip {
            return format!("{shape} by SIP ({}), {}", sip.transport.name(), media.join(" and "));
        }
        format!(
            "{shape}, {}, moq-lite-{:02}{path}",
            media.join(" and "),
            self.client.draft
        )
    }
}

/// What fits into every path's datagrams, with the largest headers.
const DATAGRAM_FRAME_BYTES_MAX: usize = 1100;

/// Beside a tenth more than talk at once.
const SPARE_PHONES: usize = 8;

fn one() -> u32 {
    1
}

fn second() -> Duration {
    Duration::from_secs(1)
}

/// Well below what they register for.
const SIP_DURATION_MAX: Duration = Duration::from_secs(3000);

/// What has to be so of registrations, of which there is nothing to hear.
pub(crate) const REGISTRATION_THRESHOLDS: [&str; 3] = [
    "sip.registrations > 0",
    "sip.registrations_failed == 0",
    "frames_expected == 0",
];

/// What has to be so of telephones, beside what always has.
const PHONE_THRESHOLDS: [&str; 10] = [
    "calls_failed == 0",
    "frames_skipped == 0",
    "frames_lost == 0",
    "frames_corrupt == 0",
    "phones.refused == 0",
    "phones.calls_dropped == 0",
    "phones.ends_untold == 0",
    "phones.holds_failed == 0",
    "phones.held_bytes == 0",
    "phones.digits_lost == 0",
];

/// Scenarios that come with the program; each file begins with the question it answers.
pub(crate) const BUILT_IN: &[(&str, &str)] = &[
    ("two-party", include_str!("../scenarios/two-party.toml")),
    ("conference-8", include_str!("../scenarios/conference-8.toml")),
    ("broadcast-1000", include_str!("../scenarios/broadcast-1000.toml")),
    ("push-to-talk", include_str!("../scenarios/push-to-talk.toml")),
    ("video-meeting", include_str!("../scenarios/video-meeting.toml")),
    ("busy-hour", include_str!("../scenarios/busy-hour.toml")),
    ("busy-hour-phone", include_str!("../scenarios/busy-hour-phone.toml")),
    ("call-centre", include_str!("../scenarios/call-centre.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
    ("announce-storm", include_str!("../scenarios/announce-storm.toml")),
    ("lossy-mobile", include_str!("../scenarios/lossy-mobile.toml")),
    ("slow-listener", include_str!("../scenarios/slow-listener.toml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_that_come_along_are_sound_and_ask_something() {
        for (name, _) in BUILT_IN {
            let scenario = Scenario::load(name).unwrap();
            scenario.check().unwrap();
            assert!(scenario.question.ends_with('?'), "{name}: {}", scenario.question);
            let again: Scenario = toml::from_str(&toml::to_string(&scenario).unwrap()).unwrap();
            assert_eq!(again, scenario, "{name}");
        }
        Scenario::default().check().unwrap();
    }

    #[test]
    fn unknown_keys_are_errors_that_name_them() {
        for text in [
            "durations = '10s'",
            "[limits]\nconcurent = 3",
            "[shape]\nkind = 'conference'\npeople = 3\nroom = 1",
            "[audio]\nmedia = { codec = 'pcmu', bytes = 1 }",
            "[arrivals]\npattern = 'poisson'\nrates = 1",
        ] {
            let error = toml::from_str::<Scenario>(text).unwrap_err().to_string();
            assert!(
                error.contains("unknown") || error.contains("missing field"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn contradictions_are_errors() {
        let wrong = |change: fn(&mut Scenario)| {
            let mut scenario = Scenario::default();
            change(&mut scenario);
            scenario.check().unwrap_err().to_string()
        };
        assert!(wrong(|scenario| scenario.warm_up = Duration::from_secs(10)).contains("warm-up"));
        assert!(wrong(|scenario| scenario.audio = None).contains("audio"));
        assert!(wrong(|scenario| scenario.limits.concurrent = 0).contains("no call"));
        assert!(wrong(|scenario| scenario.client.draft = 7).contains("drafts"));
        assert!(
            wrong(|scenario| {
                scenario.client.draft = 4;
                scenario.audio.as_mut().unwrap().datagrams = true;
            })
            .contains("datagrams")
        );
    }
}
