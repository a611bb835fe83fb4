//! The command line: a scenario, and flags that change it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::disturbance::Disturbance;
use crate::link::Impairment;
use crate::link::proxy::Moves;
use crate::load::{Shape, Transport};
use crate::model::arrivals::Arrivals;
use crate::model::codec::Codec;
use crate::model::hold::Hold;
use crate::output::threshold::Threshold;
use crate::scenario::{REGISTRATION_THRESHOLDS, Scenario, Track};

/// Synthetic calls against a moq-lite relay, and what a caller would have heard.
///
/// Without arguments a relay is started in this process and two-party calls are made through it
/// for ten seconds.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Two-party calls.
    Call(Box<Flags>),
    /// Two-party calls between telephones, which register at a switch by WebSocket, ring, answer, hold, press keys and hang
    /// up. Without --relay and --ws a switch is started in this process.
    Phone(Box<Flags>),
    /// Two-party calls between telephones of SIP, which register, ring, answer, talk by RTP, hold, press keys and hang up.
    /// Without --relay-sip a switch is started in this process.
    Sip {
        /// Nobody calls: --rate is of registrations, each of a telephone that begins anew; with --closed so many as --calls
        /// says are under way all the time.
        #[arg(long)]
        register_only: bool,
        /// What carries SIP.
        #[arg(long, value_enum)]
        transport: Option<Transport>,
        /// Every call is heard by so many sessions of moq-lite, too. --relay says where, with a token in its query.
        #[arg(long)]
        moq_listeners: Option<u16>,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Everyone hears everyone.
    Conference {
        #[arg(long, default_value_t = 8)]
        people: u16,
        /// Each hears so many others only, the next in a ring.
        #[arg(long)]
        hears: Option<u16>,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// One speaks to many.
    Broadcast {
        #[arg(long, default_value_t = 100)]
        listeners: u16,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Conferences of forty that come and go: how soon announcements are seen.
    Announce(Box<Flags>),
    /// One at a time speaks, the others listen.
    PushToTalk {
        #[arg(long, default_value_t = 10)]
        people: u16,
        /// How long each speaks.
        #[arg(long, default_value = "4s", value_parser = humantime::parse_duration)]
        turn: Duration,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Two-party calls with media from files: Ogg Opus, WAV (as PCMU), IVF or Annex B (H.264). What
    /// arrives is compared with the file byte for byte.
    Replay {
        /// A file of audio, one of video, or both.
        #[arg(required = true, num_args = 1..=2)]
        files: Vec<PathBuf>,
        /// Frames in a second, for video that does not say (Annex B).
        #[arg(long, default_value_t = 30.0)]
        video_rate: f64,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// A scenario from a file, or one that comes along (see `scenarios`).
    Run {
        scenario: String,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// The most calls at once with which the relay meets an objective, by bisection.
    Capacity {
        /// What is asked of the relay, in TOML; `telephone` comes along.
        #[arg(long, default_value = "telephone")]
        slo: String,
        /// What the calls are like: a scenario, of which arrivals, hold times and limits are replaced.
        #[arg(long, default_value = "two-party")]
        scenario: String,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Lists the scenarios that come along, with the question each answers.
    Scenarios,
    /// Puts a bad path between clients and a relay: a UDP proxy, with a path of its own for each address that clients
    /// send from. All clients of a core of loadgen share one; its own --impair gives each client a path.
    Link {
        #[arg(long)]
        listen: SocketAddr,
        /// The relay.
        #[arg(long)]
        to: SocketAddr,
        /// What the path does, each way: `delay=40ms,jitter=10ms,loss=2%,rate=2mbps,reorder=1%`,
        /// and `buffer=200ms` of the bottleneck.
        #[arg(long, default_value = "delay=0ms")]
        impair: Impairment,
        /// The same seed, the same pattern.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        moves: Moves,
    },
    /// Disturbs a relay that carries calls, and says how long those who talk hear nothing.
    Survive {
        /// Starts the relay, by a shell; needed to end it and start it again.
        #[arg(long)]
        command: Option<String>,
        /// Only these disturbances; all by default.
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Disturbance>,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Tells other hosts the time, for their --clock.
    Clock {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Makes one page with plots of --jsonl files, to be opened in a browser.
    Report {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[arg(long, short, default_value = "report.html")]
        output: PathBuf,
        #[arg(long)]
        threshold: Vec<Threshold>,
    },
    /// Prints a completion script for a shell.
    Completions { shell: Shell },
    /// Prints a manual page, for `man -l -`.
    Man {
        /// Of this command instead of the whole program.
        command: Option<String>,
    },
    /// Adds up the --jsonl files of several processes or hosts that shared a load.
    Merge {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Write the summary to this file.
        #[arg(long)]
        json: Option<PathBuf>,
        #[arg(long)]
        threshold: Vec<Threshold>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CodecName {
    Opus,
    Pcmu,
    Pcma,
}

#[derive(Args, Clone, Default)]
pub(crate) struct Flags {
    /// Relay to load, `moql://host:port/path` (raw QUIC) or `https://host:port/path` (WebTransport). None: one is started in this process.
    /// Given several times the participants of a call are at different ones: who calls at the first, who is called at the second.
    #[arg(long)]
    pub(crate) relay: Vec<String>,
    /// Signalling of the switch, `ws://host:port/path`, for telephones. By default `/ws` at the host and port of --relay; and
    /// --relay by default raw QUIC at those of --ws. Of several --relay each has its own, in the same order.
    #[arg(long)]
    pub(crate) ws: Vec<String>,
    /// Where telephones of SIP register and call, `host:port`.
    #[arg(long)]
    pub(crate) relay_sip: Option<String>,
    /// The password that each telephone registers with.
    #[arg(long)]
    pub(crate) password: Option<String>,
    /// So many telephones more are registered, and do nothing.
    #[arg(long)]
    idle: Option<u64>,
    /// Process id of the relay, for its CPU time and memory. Found by the port on this host.
    #[arg(long)]
    pub(crate) relay_pid: Option<u32>,
    /// Cores to run on, one shard each: `1` or `2,3`. The last that there is.
    #[arg(long, value_delimiter = ',', conflicts_with = "shards")]
    pub(crate) cores: Vec<usize>,
    /// Run on so many cores, the last that there are, one shard each.
    #[arg(long)]
    pub(crate) shards: Option<usize>,
    /// This process is the i-th of n that share the load: `1/2`. Start all at once, with the same
    /// seed, and `merge` their --jsonl files.
    #[arg(long, value_parser = parse_part)]
    pub(crate) part: Option<(u64, u64)>,
    /// Compare the clock of this host with that of a `loadgen clock` first, `host:port`; `merge`
    /// tells how far those of all hosts were apart.
    #[arg(long)]
    pub(crate) clock: Option<String>,
    /// Write the summary to this file.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write each interval to this file, to be merged or plotted.
    #[arg(long)]
    pub(crate) jsonl: Option<PathBuf>,
    /// What must hold for the run to pass, `one_way_ms.p99 < 50`; any number of the summary. Beside
    /// it hold `frames_expected > 0`, `connections_lost == 0`, `subscriptions_lost == 0` and
    /// `violations == 0`, unless one is about the same figure.
    #[arg(long)]
    pub(crate) threshold: Vec<Threshold>,

    /// moq-lite draft, 3 to 6.
    #[arg(long)]
    draft: Option<u8>,
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Left out of the figures of frames at the beginning; those of calls are of the whole run.
    #[arg(long, value_parser = humantime::parse_duration)]
    warm_up: Option<Duration>,
    /// Left out of the figures of frames at the end.
    #[arg(long, value_parser = humantime::parse_duration)]
    cool_down: Option<Duration>,
    /// Calls up at once. But for `run`, they begin in the first seconds and last to the end, unless
    /// --rate or --hold is given.
    #[arg(long)]
    calls: Option<u64>,
    /// Calls in all.
    #[arg(long)]
    total: Option<u64>,
    /// Calls that begin in a second, evenly spaced.
    #[arg(long)]
    rate: Option<f64>,
    /// Calls come at random with the rate, as callers do.
    #[arg(long)]
    poisson: bool,
    /// Calls last so long, exponentially distributed.
    #[arg(long, visible_alias = "talk", value_parser = humantime::parse_duration)]
    hold: Option<Duration>,
    /// A call begins when one ends, instead of by the schedule.
    #[arg(long)]
    closed: bool,
    #[arg(long)]
    seed: Option<u64>,

    #[arg(long, value_enum, conflicts_with_all = ["frame_bytes", "frame_rate"])]
    codec: Option<CodecName>,
    /// Audio frames of this many bytes, without pauses, instead of a codec's.
    #[arg(long)]
    frame_bytes: Option<usize>,
    /// Audio frames in a second, of --frame-bytes.
    #[arg(long)]
    frame_rate: Option<f64>,
    #[arg(long)]
    frames_per_group: Option<u32>,
    /// Audio as datagrams.
    #[arg(long)]
    datagrams: bool,
    /// Talk without pauses.
    #[arg(long)]
    no_pauses: bool,
    /// Who loses the connection dials again, and what it misses is counted.
    #[arg(long)]
    redial: bool,
    /// Add video of this bit rate, in kbit/s.
    #[arg(long)]
    video: Option<u32>,
    /// No `catalog.json`.
    #[arg(long)]
    no_catalog: bool,
    /// Packets after which a client acknowledges at the latest; 1 is at once.
    #[arg(long)]
    ack_every: Option<u32>,
    #[arg(long, value_parser = humantime::parse_duration)]
    ack_delay: Option<Duration>,
    /// What becomes of each client's datagrams, each way: `delay=40ms,jitter=10ms,loss=2%,rate=2mbps,
    /// reorder=1%`, and `buffer=200ms` of the bottleneck. The same seed, the same pattern.
    #[arg(long)]
    impair: Option<Impairment>,
    /// Impair only so many of each call's participants, the last ones.
    #[arg(long)]
    impaired: Option<u16>,
}

impl Command {
    /// The scenario that a command is about; `None` for those that make no calls.
    pub(crate) fn scenario(&self) -> anyhow::Result<Option<(Scenario, &Flags)>> {
        let shaped = |shape| Scenario {
            shape,
            ..Scenario::default()
        };
        let (scenario, flags) = match self {
            Self::Call(flags) => (Scenario::short_calls(), flags),
            Self::Phone(flags) => (Scenario::phones(), flags),
            Self::Sip {
                register_only,
                transport,
                moq_listeners,
                flags,
            } => (telephones(*register_only, *transport, *moq_listeners), flags),
            Self::Announce(flags) => (Scenario::load("announce-storm")?, flags),
            Self::Conference { people, hears, flags } => {
                let shape = Shape::Conference {
                    people: *people,
                    hears: *hears,
                };
                (shaped(shape), flags)
            }
            Self::Broadcast { listeners, flags } => (shaped(Shape::Broadcast { listeners: *listeners }), flags),
            Self::PushToTalk { people, turn, flags } => (
                shaped(Shape::PushToTalk {
                    people: *people,
                    turn: *turn,
                }),
                flags,
            ),
            Self::Replay {
                files,
                video_rate,
                flags,
            } => (Scenario::replay(files, *video_rate)?, flags),
            Self::Run { scenario, flags } => (Scenario::load(scenario)?, flags),
            Self::Capacity { scenario, flags, .. } => (Scenario::load(scenario)?, flags),
            Self::Survive { flags, .. } => (Scenario::steady_calls(), flags),
            Self::Scenarios
            | Self::Link { .. }
            | Self::Clock { .. }
            | Self::Report { .. }
            | Self::Merge { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => return Ok(None),
        };
        Ok(Some((scenario, &**flags)))
    }
}

impl Flags {
    /// Changes a scenario as the flags say, and checks the outcome. A scenario that
    /// `keeps_pattern` is asked for its own arrivals and hold times.
    pub(crate) fn apply(&self, mut scenario: Scenario, keeps_pattern: bool) -> anyhow::Result<Scenario> {
        anyhow::ensure!(
            !self.relay.is_empty() || !self.ws.is_empty() || self.relay_sip.is_some() || self.relay_pid.is_none(),
            "--relay-pid is of a --relay; without one it is started in this process"
        );
        anyhow::ensure!(
            scenario.sip.is_some() || self.relay_sip.is_none(),
            "--relay-sip is of telephones of SIP: `sip`, or a scenario with `[sip]`"
        );
        let listeners = scenario.sip.as_ref().map(|sip| sip.listeners);
        anyhow::ensure!(
            listeners.is_none_or(|listeners| listeners == 0) || self.relay.len() == 1 && self.relay_sip.is_some(),
            "--moq-listeners are let in by a token: --relay moql://host:port/?jwt=TOKEN, beside --relay-sip"
        );
        anyhow::ensure!(
            scenario.sip.is_none() || self.ws.is_empty() && (self.relay.is_empty() || self.relay_sip.is_some()),
            "telephones of SIP have no --ws, and --relay is for listeners: --relay-sip says where they register"
        );
        anyhow::ensure!(
            scenario.phone.is_some() || self.ws.is_empty() && self.password.is_none() && self.idle.is_none(),
            "--ws, --password and --idle are of telephones: `phone`, or a scenario with `[phone]`"
        );
        if let (Some(phone), Some(idle)) = (&mut scenario.phone, self.idle) {
            phone.idle = idle;
        }
        set(&mut scenario.client.draft, self.draft);
        set(&mut scenario.client.ack_every, self.ack_every);
        set(&mut scenario.client.ack_delay, self.ack_delay);
        scenario.client.impair = self.impair.clone().or(scenario.client.impair);
        scenario.client.impaired = self.impaired.or(scenario.client.impaired);
        set(&mut scenario.duration, self.duration);
        set(&mut scenario.warm_up, self.warm_up);
        set(&mut scenario.cool_down, self.cool_down);
        if let Some(calls) = self.calls {
            scenario.limits.concurrent = calls;
            if !keeps_pattern && self.rate.is_none() && self.hold.is_none() {
                // So many calls for the whole run, up within a second or two.
                scenario.hold = Hold::Forever {};
                let rate = u32::try_from(calls).map_or(f64::from(u32::MAX), f64::from);
                scenario.arrivals = Arrivals::Constant {
                    rate: rate.min(RAMP_RATE_MAX),
                };
            }
        }
        set(&mut scenario.limits.total, self.total);
        set(&mut scenario.seed, self.seed);
        scenario.limits.closed |= self.closed;
        scenario.catalog &= !self.no_catalog;
        if let Some(rate) = self.rate {
            scenario.arrivals = if self.poisson {
                Arrivals::Poisson { rate }
            } else {
                Arrivals::Constant { rate }
            };
        } else {
            anyhow::ensure!(!self.poisson, "--poisson needs a --rate");
        }
        if let Some(mean) = self.hold {
            scenario.hold = Hold::Exponential { mean };
        }
        scenario.behaviour.redials |= self.redial;
        self.apply_media(&mut scenario)?;
        scenario.check()?;
        Ok(scenario)
    }

    fn apply_media(&self, scenario: &mut Scenario) -> anyhow::Result<()> {
        let is_of_audio = self.codec.is_some()
            || self.frame_bytes.is_some()
            || self.frame_rate.is_some()
            || self.frames_per_group.is_some()
            || self.datagrams
            || self.no_pauses;
        anyhow::ensure!(
            scenario.audio.is_some() || !is_of_audio,
            "the scenario has no audio that these flags could change"
        );
        if let Some(audio) = &mut scenario.audio {
            match self.codec {
                Some(CodecName::Opus) => {
                    audio.media = Codec::Opus {
                        bitrate: 32_000,
                        dtx: false,
                    };
                }
                Some(CodecName::Pcmu) => audio.media = Codec::Pcmu {},
                Some(CodecName::Pcma) => audio.media = Codec::Pcma {},
                None => {}
            }
            if self.frame_bytes.is_some() || self.frame_rate.is_some() {
                audio.pauses = false;
                audio.media = Codec::Fixed {
                    bytes: self.frame_bytes.unwrap_or(200),
                    rate: self.frame_rate.unwrap_or(50.0),
                };
            }
            set(&mut audio.frames_per_group, self.frames_per_group);
            audio.datagrams |= self.datagrams;
            audio.pauses &= !self.no_pauses;
        }
        if let Some(kilobits) = self.video {
            scenario.video = Some(Track {
                media: Codec::Video {
                    bitrate: kilobits.checked_mul(1000).context("--video is in kbit/s")?,
                    rate: 30.0,
                    gop: 60,
                },
                frames_per_group: 1,
                datagrams: false,
                max_latency: Duration::from_secs(1),
                pauses: false,
            });
        }
        Ok(())
    }
}

fn telephones(register_only: bool, transport: Option<Transport>, listeners: Option<u16>) -> Scenario {
    let mut scenario = Scenario::telephones();
    if let Some(sip) = &mut scenario.sip {
        sip.registers_only = register_only;
        set(&mut sip.transport, transport);
        set(&mut sip.listeners, listeners);
    }
    if register_only {
        scenario.thresholds = REGISTRATION_THRESHOLDS.map(str::to_owned).to_vec();
    }
    scenario
}

/// Calls in a second, when all there are to be are to be up soon.
const RAMP_RATE_MAX: f64 = 200.0;

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

fn parse_part(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is no part: the first of two is 1/2");
    let (part, of) = text.split_once('/').ok_or_else(wrong)?;
    let (part, of): (u64, u64) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
    if part == 0 || part > of || of > 1000 {
        return Err(wrong());
    }
    Ok((part, of))
}

#[cfg(test)]
mod tests {
    use super::*;

    include!("../../tests/manual/commands.rs");

    #[test]
    fn flags_change_the_scenario_they_come_with() {
        let arguments = parse(&[
            "conference",
            "--people",
            "100",
            "--hears",
            "4",
            "--calls",
            "1",
            "--frame-bytes",
            "200",
            "--frames-per-group",
            "5",
            "--duration",
            "20s",
            "--draft",
            "5",
        ]);
        let (scenario, flags) = arguments.command.as_ref().unwrap().scenario().unwrap().unwrap();
        let scenario = flags.apply(scenario, false).unwrap();
        assert_eq!(
            scenario.describe(),
            "100 people who each hear 4 others, 50/s x 200 B, moq-lite-05"
        );
        assert_eq!(scenario.audio.unwrap().frames_per_group, 5);
        assert_eq!(scenario.limits.concurrent, 1);
    }

    #[test]
    fn contradictory_flags_are_errors() {
        let apply = |flags: &[&str]| parse(flags).flags.apply(Scenario::default(), false);
        assert!(apply(&["--poisson"]).is_err());
        assert!(apply(&["--draft", "4", "--datagrams"]).is_err());
        assert!(apply(&["--duration", "1s"]).is_err());
        assert!(Arguments::try_parse_from(["loadgen", "--part", "3/2"]).is_err());
        assert!(Arguments::try_parse_from(["loadgen", "--codec", "opus", "--frame-bytes", "9"]).is_err());
        assert!(Arguments::try_parse_from(["loadgen", "--shards", "2", "--cores", "1"]).is_err());
        assert_eq!(parse(&["--part", "2/3"]).flags.part, Some((2, 3)));
    }

    #[test]
    fn commands_in_the_manuals_are_understood() {
        let mut count = 0;
        for name in MANUALS {
            // Cargo runs tests in the root of their package.
            let text = std::fs::read_to_string(std::path::Path::new("..").join(name)).unwrap();
            for words in calls_of("loadgen", &text) {
                count += 1;
                if let Err(error) = check(&words) {
                    panic!("{name}: `{}`: {error:#}", words.join(" "));
                }
            }
        }
        assert!(count >= 10, "only {count} commands were found");
    }

    /// Parses a command, and makes its scenario, but for files that a reader is to have.
    fn check(words: &[String]) -> anyhow::Result<()> {
        let arguments = Arguments::try_parse_from(words)?;
        match &arguments.command {
            None => arguments.flags.apply(Scenario::short_calls(), false).map(drop),
            Some(Command::Replay { .. }) => Ok(()),
            Some(command) => match command.scenario()? {
                Some((scenario, flags)) => flags.apply(scenario, true).map(drop),
                None => Ok(()),
            },
        }
    }

    fn parse(arguments: &[&str]) -> Arguments {
        Arguments::try_parse_from(["loadgen"].iter().chain(arguments)).unwrap()
    }
}
