//! Shards at work: their start, and the gathering of what they count until all have ended.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use glommio::{LocalExecutorBuilder, Placement};
use moqswitch_proto::wire::escaped;

use crate::clock::{self, Offset};
use crate::engine::shard::{Shard, ShardParts};
use crate::engine::{Clock, Controls, Gate, PhonesPlan, nanoseconds};
use crate::host::{HostFigures, Sampler};
use crate::interrupt;
use crate::live::{Live, View};
use crate::load::Load;
use crate::output::file::{Destination, complain};
use crate::output::jsonl::Head;
use crate::output::summary::Circumstances;
use crate::signalling::SocketsPlan;
use crate::sip::{self, TelephonesPlan};
use crate::truth::interval::Interval;

use super::fresh::Fresh;
use super::gathering::Gathering;
use super::plan::{Loaded, Plan};
use super::target::Signalling;

/// Shards at work.
pub(super) struct Shards {
    epoch_ns: u64,
    /// Of the host's clock.
    offset: Option<Offset>,
    clock: Clock,
    controls: Arc<Controls>,
    settled: Vec<Arc<ArrayQueue<Interval>>>,
    fresh: Vec<Arc<ArrayQueue<Interval>>>,
    ended: mpsc::Receiver<anyhow::Result<()>>,
    /// Those that have not ended.
    running: usize,
    dialled_at: Option<Instant>,
}

/// What a run came to.
pub(super) struct Gathered {
    pub(super) total: Interval,
    pub(super) circumstances: Circumstances,
}

impl Shards {
    pub(super) fn start(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let cores = &plan.cores.generator;
        let offset = plan.flags.clock.as_deref().map(clock::measure).transpose()?;
        let clock = Clock::new();
        let own = cores.len() as u64;
        let (part, parts) = plan.part();
        let load = Arc::new(plan.scenario.load_for(own * parts)?);
        let controls = Arc::new(Controls::new());
        let gate = Arc::new(Gate::default());
        let (sender, ended) = mpsc::sync_channel(cores.len());
        let (mut settled, mut fresh) = (Vec::new(), Vec::new());
        for (index, core) in (0..).zip(cores) {
            let queue = Arc::new(ArrayQueue::new(SETTLED_MAX));
            settled.push(queue.clone());
            fresh.push(Arc::new(ArrayQueue::new(1)));
            let common = Common {
                number: (part - 1) * own + index,
                shards: own * parts,
                core: *core,
                load: load.clone(),
                clock,
                controls: controls.clone(),
                settled: queue,
                fresh: fresh[fresh.len() - 1].clone(),
            };
            let shard = ShardPlan::new(plan, common)?;
            let (sender, gate) = (sender.clone(), gate.clone());
            LocalExecutorBuilder::new(Placement::Fixed(*core))
                .name(&format!("callers-{index}"))
                .spawn(move || async move {
                    let result = shard.run(&gate).await;
                    // Nobody waits any more only when another shard failed.
                    let _ = sender.send(result);
                })
                .map_err(|error| anyhow::anyhow!("no shard could start on core {core}: {error}"))?;
        }
        let mut shards = Self {
            epoch_ns: 0,
            offset,
            clock,
            controls,
            settled,
            fresh,
            ended,
            running: cores.len(),
            dialled_at: None,
        };
        shards.open(&gate)?;
        Ok(shards)
    }

    /// Begins the run when every shard is ready.
    fn open(&mut self, gate: &Gate) -> anyhow::Result<()> {
        while gate.ready() < self.running {
            match self.ended.recv_timeout(READY_INTERVAL) {
                Ok(Ok(())) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("a shard ended before the run began")
                }
                Ok(Err(error)) => return Err(error),
                Err(mpsc::RecvTimeoutError::Timeout) => self.end_if_interrupted(false),
            }
        }
        self.epoch_ns = self.clock.ns(Instant::now()) + nanoseconds(START_DELAY);
        gate.open(self.epoch_ns);
        Ok(())
    }

    /// Gathers until every shard has ended.
    pub(super) fn gather(mut self, plan: &Plan<'_>, sampler: &Sampler) -> anyhow::Result<Gathered> {
        let scenario = plan.scenario;
        let measured = scenario.measured();
        let mut gathering = Gathering::new(measured, self.settled.len(), self.open_recording(plan)?);
        let interval = scenario.interval;
        let mut next_sample = 0;
        let mut live = Live::start(scenario.duration);
        self.controls.is_watched.store(live.is_some(), Ordering::Relaxed);
        let mut fresh = Fresh::new(self.fresh.clone());
        while self.running > 0 {
            self.wait()?;
            self.check_answered(plan)?;
            self.end_if_interrupted(live.is_some());
            let elapsed = self.clock.ns(Instant::now()).saturating_sub(self.epoch_ns);
            if self.controls.is_ending() {
                // Who is told to stop measures only up to then.
                let last = &mut gathering.measured.1;
                *last = (*last).min(elapsed / nanoseconds(interval)).max(measured.0 + 1);
            }
            // A sample at the beginning of each interval.
            if elapsed >= next_sample * nanoseconds(interval) {
                let calls_up = self.controls.calls_up.load(Ordering::Relaxed);
                gathering.samples.insert(next_sample, sampler.read(calls_up));
                next_sample = elapsed / nanoseconds(interval) + 1;
            }
            gathering.take(&self.settled)?;
            if let Some(live) = &mut live {
                live.update(&View {
                    elapsed: Duration::from_nanos(elapsed),
                    controls: &self.controls,
                    fresh: fresh.poll(),
                    settled: gathering.last.as_ref(),
                    interval,
                    samples: gathering.last_samples(),
                })?;
            }
        }
        drop(live);
        gathering.finish(&self.settled)?;
        let (from, to) = gathering.measured;
        Ok(Gathered {
            circumstances: Circumstances {
                relay: plan.relay.to_owned(),
                workload: scenario.describe(),
                seed: scenario.seed,
                measured: interval * u32::try_from(to - from)?,
                ended_early: self.controls.is_ending(),
                codecs: scenario.codecs(),
                host: HostFigures::of(&gathering.samples, from, to),
                shards: gathering.shards,
            },
            total: gathering.total,
        })
    }

    /// Waits a while for one to end.
    fn wait(&mut self) -> anyhow::Result<()> {
        match self.ended.recv_timeout(GATHER_INTERVAL) {
            Ok(result) => {
                self.running -= 1;
                result
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(()),
            Err(mpsc::RecvTimeoutError::Disconnected) => anyhow::bail!("a shard ended without a word"),
        }
    }

    /// The file of --jsonl, with its head.
    fn open_recording(&self, plan: &Plan<'_>) -> anyhow::Result<Option<Destination>> {
        let Some(file) = &plan.flags.jsonl else { return Ok(None) };
        let mut writer = Destination::open(file)?;
        let head = self.head(plan);
        writeln!(writer, "{}", serde_json::to_string(&head)?)?;
        Ok(Some(writer))
    }

    /// Hangs up when a signal asked for it.
    fn end_if_interrupted(&self, is_watched: bool) {
        if interrupt::is_requested() && !self.controls.is_ending() {
            self.controls.end();
            if !is_watched {
                complain(&"loadgen: hanging up; a second signal ends it at once");
            }
        }
    }

    /// A relay that nobody gets through to is none.
    fn check_answered(&mut self, plan: &Plan<'_>) -> anyhow::Result<()> {
        let Loaded::Relay { targets, .. } = &plan.loaded else {
            // Who registers finds that out before.
            return Ok(());
        };
        let has_dialled = self.controls.dials.load(Ordering::Relaxed) > 0;
        let has_answer = self.controls.handshakes.load(Ordering::Relaxed) > 0;
        if !has_dialled || has_answer {
            return Ok(());
        }
        let waited = self.dialled_at.get_or_insert_with(Instant::now).elapsed();
        let reason = self
            .controls
            .last_reason
            .pop()
            .map(|reason| escaped(&reason).to_string());
        anyhow::ensure!(
            waited < ANSWER_MAX && reason.is_none(),
            "no relay answers at {} ({}): {}{}. Is it running there, and does it speak this draft over {}?",
            plan.relay,
            targets[0].address,
            reason.unwrap_or_else(|| format!("no handshake within {ANSWER_MAX:?}")),
            plan.addresses,
            if plan.relay.starts_with("https:") {
                "WebTransport"
            } else {
                "raw QUIC"
            }
        );
        Ok(())
    }

    fn head(&self, plan: &Plan<'_>) -> Head {
        let scenario = plan.scenario;
        Head {
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            relay: plan.relay.to_owned(),
            workload: scenario.describe(),
            scenario: scenario.clone(),
            codecs: scenario.codecs().iter().map(ToString::to_string).collect(),
            epoch_ns: self.epoch_ns,
            interval_ns: nanoseconds(scenario.interval),
            measured: scenario.measured(),
            part: plan.part(),
            shards: self.settled.len() as u64,
            clock: self.offset.clone(),
        }
    }
}

/// What every shard is given.
struct Common {
    /// Among the shards of all processes, and how many they are.
    number: u64,
    shards: u64,
    core: usize,
    load: Arc<Load>,
    clock: Clock,
    controls: Arc<Controls>,
    settled: Arc<ArrayQueue<Interval>>,
    fresh: Arc<ArrayQueue<Interval>>,
}

/// A shard before it is begun, on its own thread.
enum ShardPlan {
    Relay(Box<ShardParts>),
    Sip(Box<sip::Parts>),
}

impl ShardPlan {
    fn new(plan: &Plan<'_>, common: Common) -> anyhow::Result<Self> {
        let Common {
            number,
            shards,
            core,
            load,
            clock,
            controls,
            settled,
            fresh,
        } = common;
        Ok(match &plan.loaded {
            Loaded::Relay { targets, signalling } => Self::Relay(Box::new(ShardParts {
                index: number,
                core,
                phones: phones_of(plan, signalling, number, shards)?,
                load,
                targets: targets.clone(),
                clock,
                epoch_ns: 0,
                controls,
                settled,
                fresh,
            })),
            Loaded::Sip { domain, relay } => Self::Sip(Box::new(sip::Parts {
                index: number,
                plan: load.sip.clone().unwrap_or_default(),
                load,
                address: plan.addresses.chosen,
                domain: domain.clone(),
                relay: relay.clone(),
                phones: telephones_of(plan, number, shards)?,
                clock,
                controls,
                settled,
                fresh,
            })),
        })
    }

    async fn run(self, gate: &Gate) -> anyhow::Result<()> {
        match self {
            Self::Relay(parts) => {
                let mut shard = Shard::new(*parts)?;
                shard.get_ready(gate)?;
                shard.run().await
            }
            Self::Sip(parts) => {
                let mut shard = sip::Shard::new(*parts)?;
                shard.get_ready(gate)?;
                shard.run().await
            }
        }
    }
}

/// The telephones of SIP of a shard, among those of all processes.
fn telephones_of(plan: &Plan<'_>, number: u64, shards: u64) -> anyhow::Result<TelephonesPlan> {
    let scenario = plan.scenario;
    let (talking, idle) = scenario.phones_for(shards).unwrap_or_default();
    let first = scenario.phone.as_ref().map_or(0, |phone| phone.first_number);
    Ok(TelephonesPlan {
        first_number: first + number * u64::try_from(talking + idle)?,
        talking,
        idle,
        password: plan.flags.password.clone(),
    })
}

/// The telephones of a shard, among those of all processes.
fn phones_of(
    plan: &Plan<'_>,
    signalling: &[Signalling],
    number: u64,
    shards: u64,
) -> anyhow::Result<Option<PhonesPlan>> {
    let scenario = plan.scenario;
    let (false, Some(phone), Some((talking, idle))) =
        (signalling.is_empty(), &scenario.phone, scenario.phones_for(shards))
    else {
        return Ok(None);
    };
    let each = u64::try_from(talking + idle)?;
    let first = phone.first_number + number * each;
    Ok(Some(PhonesPlan {
        talking,
        sockets: SocketsPlan {
            switches: signalling.iter().map(|one| (one.address, one.url.clone())).collect(),
            numbers: (first..first + each).map(|number| number.to_string()).collect(),
            password: plan.flags.password.clone(),
        },
    }))
}

/// How long the first handshake may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

const READY_INTERVAL: Duration = Duration::from_millis(2);
/// Shards are waiting for it by then.
const START_DELAY: Duration = Duration::from_millis(100);
const GATHER_INTERVAL: Duration = Duration::from_millis(20);

/// Intervals that wait to be gathered.
const SETTLED_MAX: usize = 256;
