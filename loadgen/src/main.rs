//! `loadgen`: synthetic calls against a moq-lite relay, and what a caller would have heard.
//!
//! Without arguments it starts a relay in process and makes a short two-party call through
//! it. With `--relay` it talks to any relay.

mod client;
mod host;
mod payload;
mod report;
mod run;
mod workload;

use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use moqswitch::config::Config;
use moqswitch::relay::{Relay, Until};
use moqswitch::wire::Version;

use client::Target;
use report::{Circumstances, Report};
use run::Run;
use workload::Workload;

/// Steady audio load. Frames carry a stamp, so that loss, damage and delay are told from
/// what arrived, and delay counts from the time the schedule wanted.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Relay to load, `moql://host:port/path` (raw QUIC). None: one is started in process.
    #[arg(long)]
    relay: Option<String>,
    /// Process id of the relay, for its CPU time and memory.
    #[arg(long)]
    relay_pid: Option<u32>,
    /// Connections; each publishes one track.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Tracks of others that each connection subscribes to.
    #[arg(long, default_value_t = 1)]
    subscriptions: usize,
    /// Frames per second of each track.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Payload bytes of a frame, at least 32.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    #[arg(long, default_value_t = 1)]
    frames_per_group: u64,
    /// Seconds of media.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// moq-lite draft to speak, 3 to 6.
    #[arg(long, default_value_t = 6)]
    draft: u8,
    /// Core to run on.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the summary to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    match load(&Arguments::parse()) {
        Ok(report) => ExitCode::from(report.exit_status()),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[allow(clippy::print_stdout, reason = "the report is what the command is for")]
fn load(arguments: &Arguments) -> anyhow::Result<Report> {
    let own_relay = match &arguments.relay {
        Some(_) => None,
        None => Some(Relay::start(&Config::from_toml(OWN_RELAY)?, Until::Drained)?),
    };
    if let Some(core) = arguments.core {
        anyhow::ensure!(
            core_affinity::set_for_current(core_affinity::CoreId { id: core }),
            "cannot run on core {core}"
        );
    }
    let relay = match (&arguments.relay, &own_relay) {
        (Some(url), _) => url.clone(),
        (None, Some(relay)) => format!("moql://{}/", relay.address()),
        (None, None) => unreachable!("one of the two was just made"),
    };
    let report = measure(arguments, &relay)?;
    println!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(relay) = own_relay {
        relay.drain();
        relay.join()?;
    }
    Ok(report)
}

fn measure(arguments: &Arguments, relay: &str) -> anyhow::Result<Report> {
    let workload = Workload {
        connections: arguments.connections,
        subscriptions: arguments.subscriptions,
        frames_per_second: arguments.rate,
        frame_bytes: arguments.bytes,
        frames_per_group: arguments.frames_per_group,
        duration: Duration::from_secs_f64(arguments.duration),
    };
    anyhow::ensure!(workload.connections > 0, "--connections must be at least 1");
    anyhow::ensure!(
        workload.frame_bytes >= payload::STAMP_BYTES,
        "--bytes must be at least {}",
        payload::STAMP_BYTES
    );
    anyhow::ensure!(workload.frames_per_group > 0, "--frames-per-group must be at least 1");
    anyhow::ensure!(workload.frames_per_second > 0.0, "--rate must be above 0");
    let mut run = Run::new(target(relay, arguments.draft)?, workload.clone())?;
    run.set_up()?;

    let meters = Meters::new(arguments.relay_pid);
    let before = meters.read();
    let media = run.media()?;
    let after = meters.read();

    let tally = run.finish()?;
    Ok(tally.into_report(Circumstances {
        relay: relay.to_owned(),
        workload: describe(&workload, arguments.draft),
        media_seconds: media.as_secs_f64(),
        relay_cpu_seconds: before.relay.zip(after.relay).map(|(before, after)| after - before),
        relay_rss_mib: meters.relay_process().and_then(host::resident_mib),
        generator_cpu_seconds: after.generator - before.generator,
    }))
}

/// Where CPU time is read: the relay's process, or its threads when it runs in ours.
struct Meters {
    relay_pid: Option<u32>,
    own: u32,
    shard_threads: Vec<u32>,
}

struct CpuSeconds {
    relay: Option<f64>,
    generator: f64,
}

impl Meters {
    fn new(relay_pid: Option<u32>) -> Self {
        let own = std::process::id();
        Self {
            relay_pid,
            own,
            shard_threads: host::threads_named(own, "shard-"),
        }
    }

    fn relay_process(&self) -> Option<u32> {
        self.relay_pid.or((!self.shard_threads.is_empty()).then_some(self.own))
    }

    fn read(&self) -> CpuSeconds {
        let shards: f64 = self
            .shard_threads
            .iter()
            .filter_map(|thread| host::cpu_seconds(self.own, Some(*thread)))
            .sum();
        let own = host::cpu_seconds(self.own, None).unwrap_or_default();
        CpuSeconds {
            relay: match self.relay_pid {
                Some(process) => host::cpu_seconds(process, None),
                None => (!self.shard_threads.is_empty()).then_some(shards),
            },
            generator: own - shards,
        }
    }
}

fn target(relay: &str, draft: u8) -> anyhow::Result<Target> {
    let url = url::Url::parse(relay).with_context(|| format!("`{relay}` is no URL"))?;
    anyhow::ensure!(
        matches!(url.scheme(), "moql" | "moqt"),
        "`{}` is not spoken: raw QUIC is moql://host:port/path",
        url.scheme()
    );
    let name = url.host_str().context("the URL names no host")?.to_owned();
    let port = url.port().unwrap_or(4443);
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
        path: url.path().to_owned(),
        draft,
    })
}

fn describe(workload: &Workload, draft: u8) -> String {
    format!(
        "{} connections x {} subscriptions x {}/s x {} B, {} frames per group, moq-lite-{draft:02}",
        workload.connections,
        workload.subscriptions,
        workload.frames_per_second,
        workload.frame_bytes,
        workload.frames_per_group
    )
}

/// Configuration of a relay in this process: on loopback, on ports that the kernel chooses.
const OWN_RELAY: &str = r#"
listen = ["127.0.0.1:0"]
http = "127.0.0.1:0"
"#;
