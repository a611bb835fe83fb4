//! `loadgen survive`: calls through a relay that is disturbed in the middle of them, and for each disturbance how long those
//! who were spoken to heard nothing.

mod launched;
mod report;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, bail, ensure};

use crate::arguments::Flags;
use crate::disturbance::Disturbance;
use crate::host;
use crate::output::file::complain;
use crate::run;
use crate::scenario::Scenario;

use launched::{Launched, signal};
pub(crate) use report::{Outcome, Survival};

/// Makes the calls once for each disturbance.
pub(crate) fn survive(
    scenario: &Scenario,
    flags: &Flags,
    command: Option<&str>,
    only: &[Disturbance],
) -> anyhow::Result<Survival> {
    let [url] = &flags.relay[..] else {
        bail!("name the relay by --relay, one: it is the one that is disturbed");
    };
    ensure!(
        flags.jsonl.is_none() && flags.part.is_none() && flags.threshold.is_empty(),
        "there are several runs: no --jsonl, --part or --threshold"
    );
    ensure!(
        scenario.duration >= DURATION_MIN,
        "--duration is at least {DURATION_MIN:?}: the disturbance comes after {DISTURBED_AFTER:?}"
    );
    let relay = run::address_of(url)?;
    let mut launched = command.map(|command| Launched::start(command, relay)).transpose()?;
    let mut survival = Survival::new(url, scenario);
    let chosen = Disturbance::ALL
        .into_iter()
        .filter(|one| only.is_empty() || only.contains(one));
    for disturbance in chosen {
        let outcome = match reason_to_skip(disturbance, relay, flags, launched.is_some()) {
            Some(reason) => Outcome::skipped(disturbance.name(), reason),
            None => {
                let summary = disturbed(disturbance, scenario, flags, relay, launched.as_mut())?;
                if summary.ended_early {
                    survival.ended_early = true;
                    break;
                }
                Outcome::of(disturbance.name(), &summary)
            }
        };
        complain(&outcome);
        survival.outcomes.push(outcome);
    }
    Ok(survival)
}

fn reason_to_skip(
    disturbance: Disturbance,
    relay: SocketAddr,
    flags: &Flags,
    is_launched: bool,
) -> Option<&'static str> {
    match disturbance {
        Disturbance::Nothing | Disturbance::Rebind => None,
        Disturbance::Drain | Disturbance::Kill => (!is_launched).then_some("the relay is to be started by --command"),
        Disturbance::Reload | Disturbance::Stop => {
            let is_known = is_launched || flags.relay_pid.or_else(|| host::listener(relay)).is_some();
            (!is_known).then_some("the relay's process is not known: --relay-pid or --command")
        }
        Disturbance::Family => other_family(relay)
            .is_none_or(|other| run::quic_answers(other).is_err())
            .then_some("the relay is not at ::1 and 127.0.0.1 both"),
    }
}

/// The same port of loopback by the other kind of address.
fn other_family(relay: SocketAddr) -> Option<SocketAddr> {
    let other = if relay.is_ipv4() { "::1" } else { "127.0.0.1" };
    relay
        .ip()
        .is_loopback()
        .then(|| SocketAddr::new(other.parse().expect("an address"), relay.port()))
}

/// One run, with the disturbance in its middle.
fn disturbed(
    disturbance: Disturbance,
    scenario: &Scenario,
    flags: &Flags,
    relay: SocketAddr,
    launched: Option<&mut Launched>,
) -> anyhow::Result<crate::output::summary::Summary> {
    let process = launched
        .as_ref()
        .map(|launched| launched.process())
        .or(flags.relay_pid)
        .or_else(|| host::listener(relay));
    let mut flags = flags.clone();
    flags.relay_pid = process;
    let _link = match disturbance {
        Disturbance::Rebind => Some(Link::start(relay, None, &mut flags)?),
        Disturbance::Family => Some(Link::start(relay, other_family(relay), &mut flags)?),
        _ => None,
    };
    let (over, is_over) = mpsc::sync_channel::<()>(1);
    thread::scope(|scope| {
        let disturbing = scope.spawn(move || {
            // The run ended before.
            if is_over.recv_timeout(DISTURBED_AFTER) != Err(mpsc::RecvTimeoutError::Timeout) {
                return Ok(());
            }
            disturb(disturbance, process, launched)
        });
        let summary = run::run(scenario, &flags);
        drop(over);
        let disturbed = disturbing
            .join()
            .map_err(|_| anyhow::anyhow!("the disturbance panicked"))?;
        let summary = summary?;
        disturbed.map(|()| summary)
    })
}

fn disturb(disturbance: Disturbance, process: Option<u32>, launched: Option<&mut Launched>) -> anyhow::Result<()> {
    let to_process = |name: &str| signal(process.context("the relay's process is not known")?, name);
    match (disturbance, launched) {
        (Disturbance::Nothing | Disturbance::Rebind | Disturbance::Family, _) => Ok(()),
        (Disturbance::Reload, _) => to_process("HUP"),
        (Disturbance::Stop, _) => {
            to_process("STOP")?;
            thread::park_timeout(STOPPED_FOR);
            to_process("CONT")
        }
        (Disturbance::Drain, Some(launched)) => launched.restart("TERM"),
        (Disturbance::Kill, Some(launched)) => launched.restart("KILL"),
        (Disturbance::Drain | Disturbance::Kill, None) => anyhow::bail!("the relay was not started by --command"),
    }
}

/// A `loadgen link` before the relay, whose paths move.
struct Link(Child);

impl Link {
    /// Leads the run over it.
    fn start(relay: SocketAddr, also: Option<SocketAddr>, flags: &mut Flags) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's file is not known")?;
        let mut command = Command::new(program);
        command.args(["link", "--listen", "127.0.0.1:0", "--to", &relay.to_string()]);
        let after = humantime::format_duration(DISTURBED_AFTER).to_string();
        command.args(["--move-every", "1s", "--move-after", &after]);
        if let Some(also) = also {
            command.args(["--also", &also.to_string()]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("the link does not start")?;
        let output = child.stdout.take().context("the link says nothing")?;
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut line)?;
        let link = Self(child);
        let address = line
            .split_whitespace()
            .nth(2)
            .with_context(|| format!("the link says `{line}`"))?;
        let url = flags.relay.first().map_or("", String::as_str);
        let mut url = url::Url::parse(url)?;
        let address: SocketAddr = address.parse()?;
        url.set_ip_host(address.ip())
            .map_err(|()| anyhow::anyhow!("{url} has no host"))?;
        url.set_port(Some(address.port()))
            .map_err(|()| anyhow::anyhow!("{url} has no port"))?;
        flags.relay = vec![url.into()];
        Ok(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // What clients said last is on its way: else the relay would keep their connections until they time out.
        thread::park_timeout(LAST_WORDS);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LAST_WORDS: Duration = Duration::from_millis(300);
/// Time to be disturbed, and to come back.
const DURATION_MIN: Duration = Duration::from_secs(8);
/// From before the run begins.
const DISTURBED_AFTER: Duration = Duration::from_secs(4);
const STOPPED_FOR: Duration = Duration::from_secs(2);
