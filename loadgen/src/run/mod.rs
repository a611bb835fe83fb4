//! One run: the relay if need be, the shards, the gathering of what they count, and the verdict.

mod address;
mod cores;
mod fresh;
mod gathering;
mod plan;
mod shards;
mod target;

use std::net::SocketAddr;
use std::time::Duration;

use moqswitch_relay::Relay;

use crate::arguments::Flags;
use crate::host::Sampler;
use crate::output::summary::Summary;
use crate::output::threshold;
use crate::scenario::Scenario;

pub(crate) use address::quic_answers;
use cores::Cores;
use plan::Plan;
use shards::Shards;

/// Where a relay's URL leads.
pub(crate) fn address_of(relay: &str) -> anyhow::Result<SocketAddr> {
    Ok(target::parse(relay, Scenario::default().client.draft)?.0.address)
}

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
    let (target, addresses) = target::parse(&relay, scenario.client.draft)?;
    let plan = Plan {
        scenario,
        flags,
        cores: &cores,
        target,
        addresses,
        relay: relay.split_once('?').map_or(&*relay, |(plain, _)| plain),
    };
    let sampler = Sampler::new(flags.relay_pid, plan.target.address, own_relay.is_some());
    let mut gathered = Shards::start(&plan)?.gather(&plan, &sampler)?;
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

/// How long the relay in this process may take to end.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
