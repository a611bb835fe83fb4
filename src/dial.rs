//! `moqswitch dial --explain`: where a dialled number goes, and why.
#![forbid(unsafe_code)]

use std::time::SystemTime;

use anyhow::Context;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use moqswitch_signalling::calls::dialplan::{Destination, Explanation, Query};
use moqswitch_signalling::calls::{Now, Number, Target};
use serde_json::{Value, json};

use crate::config::{CallsConfig, Config, DialArguments, Flags};
use crate::{directory, generate};

/// Prints the answer.
pub fn run(asked: &DialArguments, flags: &Flags) -> anyhow::Result<()> {
    let mut config = Config::load(flags, std::env::vars())?
        .calls
        .context("there are no calls: set `calls.enabled`, or name a dialplan by --dialplan and listen on loopback")?;
    if asked.dialplan.is_some() {
        config.dialplan.clone_from(&asked.dialplan);
    }
    let text = answer(asked, &config, Timestamp::try_from(SystemTime::now())?)?;
    generate::print(text.as_bytes())?;
    Ok(())
}

fn answer(asked: &DialArguments, config: &CallsConfig, now: Timestamp) -> anyhow::Result<String> {
    let to = Number::new(&asked.explain).with_context(|| format!("--explain {}", asked.explain))?;
    let from = Number::new(&asked.from).with_context(|| format!("--from {}", asked.from))?;
    let zone = config.time_zone.zone();
    let at = match &asked.at {
        None => now.to_zoned(zone.clone()),
        Some(text) => moment(text, zone)
            .with_context(|| format!("--at {text}: write 2026-12-24T17:30, or 2026-12-24T17:30:00Z with an offset"))?,
    };
    let unix_ms = u64::try_from(at.timestamp().as_millisecond()).context("--at is before 1970")?;
    let local = Now {
        unix_ms,
        utc_offset_min: config.time_zone.offset_min(unix_ms),
        ..Now::default()
    };
    let plan = directory::dialplan(config)?;
    let by = asked.by.as_deref().map(|name| {
        let name = name.strip_prefix("trunk/").unwrap_or(name);
        Number::new(name).with_context(|| format!("--by {name}"))
    });
    let by = by.transpose()?;
    let explanation = plan.explain_query(Query {
        from: &from,
        to: &to,
        when: local.local(),
        by: by.as_ref(),
        is_sent_on: false,
    });
    let file = config.dialplan.as_ref().map(|path| path.display().to_string());
    if asked.json {
        let value = described(&explanation, &to, &from, &at, file.as_deref());
        return Ok(serde_json::to_string_pretty(&value)? + "\n");
    }
    let file = file.as_deref().unwrap_or("no dialplan");
    let when = at.strftime("%a %Y-%m-%d %H:%M %:z");
    let on = by.map(|by| format!(" on trunk/{by}")).unwrap_or_default();
    Ok(format!("{from}{on} dials {to}, {when}, by {file}\n{explanation}\n"))
}

/// With an offset it is that moment, without one what the clock of the office shows.
fn moment(text: &str, zone: &TimeZone) -> Result<Zoned, jiff::Error> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.to_zoned(zone.clone()));
    }
    text.parse::<DateTime>()?.to_zoned(zone.clone())
}

fn described(explanation: &Explanation, to: &Number, from: &Number, at: &Zoned, file: Option<&str>) -> Value {
    let Explanation { steps, route } = explanation;
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| json!({ "line": step.line, "text": step.text }))
        .collect();
    let (kind, name) = match &route.destination {
        Destination::Number(number) => ("number", number.to_string()),
        Destination::Trunk(trunk) => ("trunk", trunk.to_string()),
        Destination::Group(name) => ("group", name.to_string()),
        Destination::Queue(name) => ("queue", name.to_string()),
        Destination::Hook(hook) => ("hook", hook.url.clone()),
        Destination::Reject(cause) => ("reject", cause.to_string()),
    };
    let target = |target: &Option<Target>| target.as_ref().map(ToString::to_string);
    json!({
        "to": to.as_str(),
        "from": from.as_str(),
        "at": at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        "dialplan": file,
        "steps": steps,
        "rule": route.rule.as_ref().map(|(name, line)| json!({ "name": name.as_str(), "line": line })),
        "dialled": route.dialled.as_str(),
        "destination": { "kind": kind, "name": name },
        "ring": route.ring.map(|ring| ring.as_secs()),
        "record": route.record,
        "fallbacks": {
            "noAnswer": target(&route.fallbacks.no_answer),
            "busy": target(&route.fallbacks.busy),
            "unreachable": target(&route.fallbacks.unreachable),
        },
        "text": explanation.to_string(),
    })
}
