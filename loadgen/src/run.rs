//! One run: the relay if need be, the shards, and the gathering of what they count.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_queue::ArrayQueue;
use glommio::{LocalExecutorBuilder, Placement};
use moqswitch_proto::wire::Version;
use moqswitch_relay::{Relay, RelayOptions};

use crate::arguments::Flags;
use crate::clock::{self, Offset};
use crate::engine::shard::{Shard, ShardParts};
use crate::engine::{Clock, Controls, Target, nanoseconds};
use crate::host::{HostFigures, Sample, Sampler};
use crate::interrupt;
use crate::live::{Live, View};
use crate::output::jsonl::{Head, Line, Tail};
use crate::output::summary::{Circumstances, Summary};
use crate::output::threshold;
use crate::scenario::Scenario;
use crate::truth::interval::Interval;

pub(crate) fn run(scenario: &Scenario, flags: &Flags) -> anyhow::Result<Summary> {
    let thresholds = threshold::choose(&scenario.thresholds, &flags.threshold)?;
    let cores = Cores::choose(flags)?;
    let own_relay = match &flags.relay {
        Some(_) => None,
        None => Some(Relay::start(cores.relay_options())?),
    };
    let relay = match (&flags.relay, &own_relay) {
        (Some(url), _) => url.clone(),
        (None, Some(relay)) => format!("moql://{}/", relay.address()),
        (None, None) => unreachable!("one of the two was just made"),
    };
    let target = target(&relay, scenario.client.draft)?;
    let sampler = Sampler::new(flags.relay_pid, target.address, own_relay.is_some());
    // A query may hold a credential.
    let name = relay.split_once('?').map_or(&*relay, |(plain, _)| plain);
    let mut gathered = Run::start(scenario, flags, &cores, &target)?.gather(scenario, flags, name, &sampler)?;
    if let Some(relay) = own_relay {
        relay.drain(DRAIN_GRACE);
        relay.join()?;
    }
    if flags.relay.is_none() {
        gathered.circumstances.relay.push_str(" in this process");
    }
    let mut summary = Summary::new(&gathered.total, &gathered.circumstances);
    threshold::judge(&mut summary, &thresholds)?;
    Ok(summary)
}

struct Gathered {
    total: Interval,
    circumstances: Circumstances,
}

/// Shards at work.
struct Run {
    epoch_ns: u64,
    /// Of the host's clock.
    offset: Option<Offset>,
    clock: Clock,
    controls: Arc<Controls>,
    settled: Vec<Arc<ArrayQueue<Interval>>>,
    fresh: Vec<Arc<ArrayQueue<Interval>>>,
    ended: mpsc::Receiver<anyhow::Result<()>>,
}

impl Run {
    fn start(scenario: &Scenario, flags: &Flags, cores: &Cores, target: &Target) -> anyhow::Result<Self> {
        let offset = flags.clock.as_deref().map(clock::measure).transpose()?;
        let clock = Clock::new();
        let own = cores.generator.len() as u64;
        let (part, parts) = flags.part.unwrap_or((1, 1));
        let load = Arc::new(scenario.load_for(own * parts)?);
        let controls = Arc::new(Controls::new());
        let epoch_ns = clock.ns(Instant::now()) + nanoseconds(START_DELAY);
        let (sender, ended) = mpsc::sync_channel(cores.generator.len());
        let (mut settled, mut fresh) = (Vec::new(), Vec::new());
        for (index, core) in (0..).zip(&cores.generator) {
            let queue = Arc::new(ArrayQueue::new(SETTLED_MAX));
            settled.push(queue.clone());
            fresh.push(Arc::new(ArrayQueue::new(1)));
            let parts = ShardParts {
                index: (part - 1) * own + index,
                load: load.clone(),
                target: target.clone(),
                clock,
                epoch_ns,
                controls: controls.clone(),
                settled: queue,
                fresh: fresh[fresh.len() - 1].clone(),
            };
            let sender = sender.clone();
            LocalExecutorBuilder::new(Placement::Fixed(*core))
                .name(&format!("callers-{index}"))
                .spawn(move || async move {
                    let result = match Shard::new(parts) {
                        Ok(shard) => shard.run().await,
                        Err(error) => Err(error),
                    };
                    // Nobody waits any more only when another shard failed.
                    let _ = sender.send(result);
                })
                .map_err(|error| anyhow::anyhow!("no shard could start on core {core}: {error}"))?;
        }
        Ok(Self {
            epoch_ns,
            offset,
            clock,
            controls,
            settled,
            fresh,
            ended,
        })
    }

    /// Gathers until every shard has ended.
    fn gather(self, scenario: &Scenario, flags: &Flags, relay: &str, sampler: &Sampler) -> anyhow::Result<Gathered> {
        let measured = scenario.measured();
        let mut gathering = Gathering::new(measured, self.settled.len());
        gathering.file = self.open_recording(scenario, flags, relay)?;
        let interval = scenario.interval;
        let mut next_sample = 0;
        let mut dialled_at = None;
        let mut live = Live::start(scenario.duration);
        self.controls.is_watched.store(live.is_some(), Ordering::Relaxed);
        let mut fresh = Fresh::new(&self.fresh);
        let mut running = self.settled.len();
        while running > 0 {
            match self.ended.recv_timeout(GATHER_INTERVAL) {
                Ok(result) => {
                    result?;
                    running -= 1;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => anyhow::bail!("a shard ended without a word"),
            }
            self.check_answered(&mut dialled_at, relay)?;
            self.heed_signals(live.is_some());
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
                relay: relay.to_owned(),
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

    /// The file of --jsonl, with its head.
    fn open_recording(
        &self,
        scenario: &Scenario,
        flags: &Flags,
        relay: &str,
    ) -> anyhow::Result<Option<BufWriter<File>>> {
        let Some(file) = &flags.jsonl else { return Ok(None) };
        let mut writer =
            BufWriter::new(File::create(file).with_context(|| format!("cannot write {}", file.display()))?);
        let head = self.head(scenario, flags, relay);
        writeln!(writer, "{}", serde_json::to_string(&head)?)?;
        Ok(Some(writer))
    }

    /// Hangs up when a signal asked for it.
    fn heed_signals(&self, is_watched: bool) {
        if interrupt::is_requested() && !self.controls.is_ending() {
            self.controls.end();
            if !is_watched {
                eprintln!("loadgen: hanging up; a second signal ends it at once");
            }
        }
    }

    /// A relay that nobody gets through to is none.
    fn check_answered(&self, dialled_at: &mut Option<Instant>, relay: &str) -> anyhow::Result<()> {
        let has_dialled = self.controls.dials.load(Ordering::Relaxed) > 0;
        let has_answer = self.controls.handshakes.load(Ordering::Relaxed) > 0;
        if !has_dialled || has_answer {
            return Ok(());
        }
        let waited = dialled_at.get_or_insert_with(Instant::now).elapsed();
        let reason = self.controls.last_reason.pop();
        anyhow::ensure!(
            waited < ANSWER_MAX && reason.is_none(),
            "no relay answers at {relay}: {}. Is it running there, and does it speak this draft over {}?",
            reason.unwrap_or_else(|| format!("no handshake within {ANSWER_MAX:?}")),
            if relay.starts_with("https:") {
                "WebTransport"
            } else {
                "raw QUIC"
            }
        );
        Ok(())
    }

    fn head(&self, scenario: &Scenario, flags: &Flags, relay: &str) -> Head {
        Head {
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            relay: relay.to_owned(),
            workload: scenario.describe(),
            scenario: scenario.clone(),
            codecs: scenario.codecs().iter().map(ToString::to_string).collect(),
            epoch_ns: self.epoch_ns,
            interval_ns: nanoseconds(scenario.interval),
            measured: scenario.measured(),
            part: flags.part.unwrap_or((1, 1)),
            shards: self.settled.len() as u64,
            clock: self.offset.clone(),
        }
    }
}

/// Intervals of all shards, put together.
struct Gathering {
    measured: (u64, u64),
    /// What shards have sent so far, each at its place.
    waiting: BTreeMap<u64, Vec<Option<Interval>>>,
    total: Interval,
    /// The same of each shard.
    shards: Vec<Interval>,
    /// Taken at the beginning of each interval; the older ones are forgotten.
    samples: BTreeMap<u64, Sample>,
    /// The last interval that is complete.
    last: Option<Interval>,
    file: Option<BufWriter<File>>,
}

/// What the shards say of the last whole interval, together.
struct Fresh<'a> {
    queues: &'a [Arc<ArrayQueue<Interval>>],
    latest: Vec<Option<Interval>>,
    sum: Option<Interval>,
}

impl<'a> Fresh<'a> {
    fn new(queues: &'a [Arc<ArrayQueue<Interval>>]) -> Self {
        Self {
            queues,
            latest: vec![None; queues.len()],
            sum: None,
        }
    }

    fn poll(&mut self) -> Option<&Interval> {
        let mut has_news = false;
        for (queue, latest) in self.queues.iter().zip(&mut self.latest) {
            if let Some(interval) = queue.pop() {
                *latest = Some(interval);
                has_news = true;
            }
        }
        if has_news {
            let mut known = self.latest.iter().flatten();
            self.sum = known.next().cloned();
            if let Some(sum) = &mut self.sum {
                known.for_each(|other| sum.add(other));
            }
        }
        self.sum.as_ref()
    }
}

impl Gathering {
    fn new(measured: (u64, u64), shards: usize) -> Self {
        Self {
            measured,
            waiting: BTreeMap::new(),
            total: Interval::new(0),
            shards: vec![Interval::new(0); shards],
            samples: BTreeMap::new(),
            last: None,
            file: None,
        }
    }

    fn take(&mut self, queues: &[Arc<ArrayQueue<Interval>>]) -> anyhow::Result<()> {
        for (shard, queue) in queues.iter().enumerate() {
            while let Some(interval) = queue.pop() {
                let waiting = self.waiting.entry(interval.index).or_default();
                waiting.resize(queues.len(), None);
                waiting[shard] = Some(interval);
            }
        }
        while self
            .waiting
            .first_key_value()
            .is_some_and(|(_, shards)| shards.iter().all(Option::is_some))
        {
            self.complete_first()?;
        }
        Ok(())
    }

    fn finish(&mut self, queues: &[Arc<ArrayQueue<Interval>>]) -> anyhow::Result<()> {
        self.take(queues)?;
        // Shards do not end in the same interval.
        while !self.waiting.is_empty() {
            self.complete_first()?;
        }
        if let Some(file) = &mut self.file {
            let tail = Tail { ended: self.measured };
            writeln!(file, "{}", serde_json::to_string(&tail)?)?;
            file.flush()?;
        }
        Ok(())
    }

    fn complete_first(&mut self) -> anyhow::Result<()> {
        let Some((index, shards)) = self.waiting.pop_first() else {
            return Ok(());
        };
        let mut interval = Interval::new(index);
        for (total, shard) in self.shards.iter_mut().zip(&shards) {
            if let Some(shard) = shard {
                total.add_to_run(shard, self.measured);
                interval.add(shard);
            }
        }
        self.total.add_to_run(&interval, self.measured);
        if let Some(file) = &mut self.file {
            let line = Line::new(&interval, &shards, self.samples.get(&index).cloned())?;
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
        }
        self.last = Some(interval);
        self.forget_samples(index);
        Ok(())
    }

    /// Keeps those of intervals that are not complete, and what differences are taken of: the first of the run and of
    /// the measured part, the last of each.
    fn forget_samples(&mut self, complete: u64) {
        let (from, to) = self.measured;
        let ends = [
            self.samples.keys().next().copied(),
            self.samples.range(from..).next().map(|(index, _)| *index),
            self.samples.range(..=to).next_back().map(|(index, _)| *index),
            self.samples.keys().next_back().copied(),
        ];
        self.samples
            .retain(|index, _| *index > complete || ends.contains(&Some(*index)));
    }

    fn last_samples(&self) -> Option<(&Sample, &Sample)> {
        let mut samples = self.samples.values().rev();
        let after = samples.next()?;
        Some((samples.next()?, after))
    }
}

/// Which cores calls are made on, and which are left for a relay in this process.
struct Cores {
    generator: Vec<usize>,
    relay: Vec<usize>,
}

impl Cores {
    fn choose(flags: &Flags) -> anyhow::Result<Self> {
        let all: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .iter()
            .map(|core| core.id)
            .collect();
        Self::among(all, &flags.cores, flags.shards)
    }

    fn among(all: Vec<usize>, asked: &[usize], shards: Option<usize>) -> anyhow::Result<Self> {
        anyhow::ensure!(!all.is_empty(), "the cores of this host cannot be told");
        let generator = if asked.is_empty() {
            let shards = shards.unwrap_or(1);
            anyhow::ensure!(
                (1..=all.len()).contains(&shards),
                "{shards} shards want a core each, and this process may use {all:?}"
            );
            all[all.len() - shards..].to_vec()
        } else {
            asked.to_vec()
        };
        if let Some(missing) = generator.iter().find(|core| !all.contains(core)) {
            anyhow::bail!("core {missing} is not one of those this process may use: {all:?}");
        }
        let others: Vec<usize> = all.iter().copied().filter(|core| !generator.contains(core)).collect();
        Ok(Self {
            relay: if others.is_empty() { all } else { others },
            generator,
        })
    }

    /// A relay in this process: on loopback, on a port that the kernel chooses.
    fn relay_options(&self) -> RelayOptions {
        RelayOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            cores: Some(self.relay.clone()),
            ..RelayOptions::default()
        }
    }
}

fn target(relay: &str, draft: u8) -> anyhow::Result<Target> {
    let url = url::Url::parse(relay).with_context(|| format!("`{relay}` is no URL"))?;
    let authority = match url.scheme() {
        "moql" | "moqt" => None,
        "https" => Some(url.authority().to_owned()),
        other => anyhow::bail!(
            "`{other}` is not spoken: raw QUIC is moql://host:port/path, WebTransport https://host:port/path"
        ),
    };
    let name = url.host_str().context("the URL names no host")?.to_owned();
    let port = url.port_or_known_default().unwrap_or(4443);
    let address = (name.trim_matches(['[', ']']), port)
        .to_socket_addrs()?
        .next()
        .with_context(|| format!("{name} has no address"))?;
    let draft = match draft {
        3 => Version::Lite03,
        4 => Version::Lite04,
        5 => Version::Lite05,
        6 => Version::Lite06,
        other => anyhow::bail!("moq-lite-{other:02} is not spoken: 3 to 6"),
    };
    Ok(Target {
        address,
        name,
        path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
        authority,
        draft,
    })
}

/// How long the first handshake may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Shards are running by then.
const START_DELAY: Duration = Duration::from_millis(100);
const GATHER_INTERVAL: Duration = Duration::from_millis(20);

/// Intervals that wait to be gathered.
const SETTLED_MAX: usize = 256;

/// How long the relay in this process may take to end.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::summary::float;

    #[test]
    fn samples_of_a_long_run_are_forgotten_and_its_figures_are_the_same() {
        let mut gathering = Gathering::new((10, 5000), 1);
        let mut all = BTreeMap::new();
        for index in 0..=5020 {
            let sample = Sample {
                generator_cpu_seconds: float(index),
                generator_socket_drops: index,
                ..Sample::default()
            };
            all.insert(index, sample.clone());
            gathering.samples.insert(index, sample);
            // Those that are not settled yet.
            if let Some(complete) = index.checked_sub(7) {
                gathering.waiting.insert(complete, vec![Some(Interval::new(complete))]);
                gathering.complete_first().unwrap();
            }
            assert!(gathering.samples.len() <= 12, "{:?}", gathering.samples.keys());
        }
        for (from, to) in [gathering.measured, (0, u64::MAX)] {
            let (kept, whole) = (
                HostFigures::of(&gathering.samples, from, to),
                HostFigures::of(&all, from, to),
            );
            assert!((kept.generator_cpu_seconds - whole.generator_cpu_seconds).abs() < f64::EPSILON);
            assert_eq!(kept.generator_socket_drops, whole.generator_socket_drops);
        }
    }

    #[test]
    fn shards_have_the_last_cores_and_a_relay_in_this_process_the_others() {
        let choose = |cores: &[usize], shards: Option<usize>| {
            Cores::among(vec![0, 2, 3, 5], cores, shards).map(|cores| (cores.generator, cores.relay))
        };
        assert_eq!(choose(&[], None).unwrap(), (vec![5], vec![0, 2, 3]));
        assert_eq!(choose(&[], Some(2)).unwrap(), (vec![3, 5], vec![0, 2]));
        assert_eq!(choose(&[], Some(4)).unwrap(), (vec![0, 2, 3, 5], vec![0, 2, 3, 5]));
        assert_eq!(choose(&[2, 0], None).unwrap(), (vec![2, 0], vec![3, 5]));
        for (cores, shards) in [(&[][..], Some(0)), (&[], Some(5)), (&[1], None)] {
            assert!(choose(cores, shards).is_err(), "{cores:?} {shards:?}");
        }
    }
}
