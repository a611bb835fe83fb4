//! One run: the relay if need be, the shards, the gathering of what they count, and the verdict.

mod address;
mod cores;
mod fresh;
mod gathering;
mod own;
mod plan;
mod shards;
mod target;

use std::net::SocketAddr;

use anyhow::Context;
use moqswitch_relay::net;

use crate::arguments::Flags;
use crate::host::Sampler;
use crate::output::file::complain;
use crate::output::summary::Summary;
use crate::output::threshold::{self, Threshold};
use crate::scenario::Scenario;

pub(crate) use address::quic_answers;
use cores::Cores;
use own::Own;
use plan::{Loaded, Plan};
use shards::Shards;

/// Where a relay's URL leads.
pub(crate) fn address_of(relay: &str) -> anyhow::Result<SocketAddr> {
    Ok(target::parse(relay, Scenario::default().client.draft)?.0.address)
}

pub(crate) fn run(scenario: &Scenario, flags: &Flags) -> anyhow::Result<Summary> {
    let thresholds = threshold::choose(&scenario.thresholds, &flags.threshold)?;
    let cores = Cores::choose(flags)?;
    if scenario.sip.is_some() {
        return run_sip(scenario, flags, &cores, &thresholds);
    }
    let has_phones = scenario.phone.is_some();
    let mut relays = if has_phones {
        target::both(&flags.relay, &flags.ws)?
    } else {
        flags.relay.iter().map(|relay| (relay.clone(), String::new())).collect()
    };
    if has_phones {
        // Each telephone has a socket, and so has a switch in this process for it.
        raise_file_limit(scenario, if relays.is_empty() { 2 } else { 1 });
    }
    let own = match relays.is_empty() {
        false => None,
        true => Some(Own::start(&cores, has_phones)?),
    };
    if let Some(own) = &own {
        relays.push((own.relay_url(), own.signalling_url().unwrap_or_default()));
    }
    let (mut targets, mut signalling, mut first) = (Vec::new(), Vec::new(), None);
    for (relay, ws) in &relays {
        let (target, addresses) = target::parse(relay, scenario.client.draft)?;
        targets.push(target);
        first.get_or_insert(addresses);
        if has_phones {
            signalling.push(target::parse_signalling(ws)?);
        }
    }
    target::ensure_alike(&targets)?;
    let plain = |relay: &str| relay.split_once('?').map_or(relay, |(plain, _)| plain).to_owned();
    let names: Vec<String> = relays.iter().map(|(relay, _)| plain(relay)).collect();
    let plan = Plan {
        scenario,
        flags,
        cores: &cores,
        loaded: Loaded::Relay { targets, signalling },
        addresses: first.context("there is no relay")?,
        relay: &names.join(" "),
    };
    load(&plan, own, &thresholds)
}

/// Telephones of SIP, at a switch.
fn run_sip(scenario: &Scenario, flags: &Flags, cores: &Cores, thresholds: &[Threshold]) -> anyhow::Result<Summary> {
    // A switch in this process has a socket for each leg.
    raise_file_limit(scenario, 2);
    let own = match &flags.relay_sip {
        Some(_) => None,
        None => Some(Own::start(cores, true)?),
    };
    let given = match (&flags.relay_sip, own.as_ref().and_then(Own::sip_address)) {
        (Some(given), _) => given.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => anyhow::bail!("the switch in this process has no SIP"),
    };
    let transport = scenario.sip.as_ref().map(|sip| sip.transport).unwrap_or_default();
    let (domain, addresses) = target::parse_sip(&given, transport)?;
    let has_listeners = scenario.sip.as_ref().is_some_and(|sip| sip.listeners > 0);
    let relay = flags.relay.first().filter(|_| has_listeners);
    let relay = relay
        .map(|relay| target::parse(relay, scenario.client.draft))
        .transpose()?;
    let relay = relay.map(|(target, _)| target);
    let plan = Plan {
        scenario,
        flags,
        cores,
        loaded: Loaded::Sip { domain, relay },
        addresses,
        relay: &format!("sip:{given}"),
    };
    load(&plan, own, thresholds)
}

fn load(plan: &Plan<'_>, own: Option<Own>, thresholds: &[Threshold]) -> anyhow::Result<Summary> {
    let sampler = Sampler::new(plan.flags.relay_pid, plan.addresses.chosen, own.is_some());
    let mut gathered = Shards::start(plan)?.gather(plan, &sampler)?;
    if let Some(own) = own {
        own.stop()?;
        gathered.circumstances.relay.push_str(" in this process");
    }
    let mut summary = Summary::new(&gathered.total, &gathered.circumstances);
    threshold::judge(&mut summary, thresholds)?;
    Ok(summary)
}

fn raise_file_limit(scenario: &Scenario, sockets: usize) {
    net::raise_file_limit();
    let phones = scenario.phones_for(1).map_or(0, |(talking, idle)| talking + idle);
    let needed = phones.saturating_mul(sockets).saturating_add(FILES);
    if net::try_files(needed).is_err() {
        complain(&format_args!(
            "loadgen: {needed} open files may be needed, and the limit of this process is less: raise it with `ulimit -n`"
        ));
    }
}

/// Beside those of telephones.
const FILES: usize = 256;
