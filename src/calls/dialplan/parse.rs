//! A dialplan from its text. Everything is checked: what is read is a plan that can be used.

use std::time::Duration;

use toml::de::DeTable;

use super::error::{DialplanError, Fault};
use super::pattern::Pattern;
use super::plan::{By, Dialplan, Fallbacks, Group, Hook, Profile, Queue, Rule, Strategy};
use super::schedule::{self, Schedule};
use super::table::{Table, Value, line_of};
use super::target::Target;
use crate::codec::Codec;
use crate::ids::{Number, Text};
use crate::limits;

impl Dialplan {
    /// Reads a plan, and says which line is wrong if one is.
    pub fn parse(text: &str) -> Result<Self, DialplanError> {
        if text.len() > limits::DIALPLAN_BYTES_MAX {
            return Err(DialplanError {
                line: None,
                fault: Fault::TooLong(limits::DIALPLAN_BYTES_MAX),
            });
        }
        let document = DeTable::parse(text).map_err(|error| DialplanError {
            line: error.span().map(|span| line_of(text, span.start)),
            fault: Fault::Syntax(error.message().to_owned()),
        })?;
        let root = Table::root(text, document.get_ref());
        root.check_keys(&["closed", "times", "groups", "queues", "rules", "profiles"])?;
        let mut plan = Self {
            is_closed: root.flag("closed")?.unwrap_or(false),
            ..Self::default()
        };
        for (name, table) in root.named("times", limits::DIALPLAN_NAMES_MAX)? {
            plan.times.insert(name, read_schedule(&table)?);
        }
        for (name, table) in root.named("groups", limits::DIALPLAN_NAMES_MAX)? {
            plan.groups.insert(name, read_group(&table)?);
        }
        for (name, table) in root.named("queues", limits::DIALPLAN_NAMES_MAX)? {
            let queue = read_queue(&table)?;
            for agent in &queue.agents {
                plan.agents.entry(agent.clone()).or_default().push(name.clone());
            }
            plan.queues.insert(name, queue);
        }
        let rules = root.each("rules", limits::RULES_MAX)?;
        for table in &rules {
            plan.rules.push(read_rule(table, plan.rules.len() + 1)?);
        }
        for table in root.each("profiles", limits::RULES_MAX)? {
            plan.profiles.push(read_profile(&table)?);
        }
        plan.check_names(&root, &rules)?;
        Ok(plan)
    }

    /// Everything that is referred to is there.
    fn check_names(&self, root: &Table<'_>, rules: &[Table<'_>]) -> Result<(), DialplanError> {
        for table in rules {
            for key in ["when", "unless"] {
                if let Some(value) = table.get(key)
                    && !self.times.contains_key(&Text::new(value.string()?))
                {
                    return Err(unknown(value, "time", value.string()?));
                }
            }
            self.check_targets(table, &["target", "hook_fallback", "no_answer", "busy", "unreachable"])?;
        }
        for (_, table) in root.named("groups", limits::DIALPLAN_NAMES_MAX)? {
            self.check_targets(&table, &["no_answer", "busy", "unreachable"])?;
        }
        for (_, table) in root.named("queues", limits::DIALPLAN_NAMES_MAX)? {
            self.check_targets(&table, &["full", "timeout"])?;
        }
        Ok(())
    }

    fn check_targets(&self, table: &Table<'_>, keys: &[&'static str]) -> Result<(), DialplanError> {
        for key in keys.iter().copied() {
            let Some(value) = table.get(key) else { continue };
            match value.read(str::parse)? {
                Target::Group(name) if !self.groups.contains_key(&name) => {
                    return Err(unknown(value, "group", name.as_str()));
                }
                Target::Queue(name) if !self.queues.contains_key(&name) => {
                    return Err(unknown(value, "queue", name.as_str()));
                }
                Target::Group(_)
                | Target::Queue(_)
                | Target::Number(_)
                | Target::Dial(_)
                | Target::Trunk(_)
                | Target::Reject(_) => {}
            }
        }
        Ok(())
    }
}

fn unknown(value: Value<'_>, kind: &'static str, name: &str) -> DialplanError {
    value.fault(Fault::Unknown {
        kind,
        name: Text::new(name).to_string(),
    })
}

fn read_schedule(table: &Table<'_>) -> Result<Schedule, DialplanError> {
    table.check_keys(&["days", "hours", "except"])?;
    let mut read = Schedule::default();
    for value in table.list("days", limits::DIALPLAN_LIST_MAX)? {
        read.weekdays |= value.read(schedule::weekdays)?;
    }
    if read.weekdays == 0 {
        read.weekdays = 0b111_1111;
    }
    for value in table.list("hours", limits::DIALPLAN_LIST_MAX)? {
        read.hours.push(value.read(schedule::hours)?);
    }
    for value in table.list("except", limits::DIALPLAN_LIST_MAX)? {
        read.except.push(value.read(schedule::date)?);
    }
    Ok(read)
}

fn read_group(table: &Table<'_>) -> Result<Group, DialplanError> {
    table.check_keys(&["members", "strategy", "ring", "no_answer", "busy", "unreachable"])?;
    Ok(Group {
        members: members(table, "members")?,
        strategy: match table.get("strategy") {
            None => Strategy::All,
            Some(value) => Strategy::parse(value.string()?).ok_or_else(|| {
                value.fault(Fault::Kind {
                    key: "strategy".to_owned(),
                    expected: "all, in-turn or least-recent",
                })
            })?,
        },
        ring: ring(table)?.unwrap_or(limits::RING),
        fallbacks: fallbacks(table)?,
    })
}

fn read_queue(table: &Table<'_>) -> Result<Queue, DialplanError> {
    let keys = [
        "agents",
        "music",
        "ring",
        "wrap_up",
        "away_unless_answered",
        "waiting",
        "wait",
        "full",
        "timeout",
    ];
    table.check_keys(&keys)?;
    let waiting = table.count("waiting")?.unwrap_or(QUEUE_WAITING);
    Ok(Queue {
        agents: members(table, "agents")?,
        music: table.name("music")?.unwrap_or_else(|| Text::new("default")),
        ring: ring(table)?.unwrap_or(QUEUE_RING),
        wrap_up: table.seconds("wrap_up")?.unwrap_or_default(),
        away_unless_answered: table.flag("away_unless_answered")?.unwrap_or(true),
        waiting_max: waiting.min(limits::QUEUE_WAITING_MAX),
        wait_max: table
            .seconds("wait")?
            .unwrap_or(limits::QUEUE_WAIT)
            .min(limits::QUEUE_WAIT_MAX),
        full: table.target("full")?,
        timeout: table.target("timeout")?,
    })
}

fn members(table: &Table<'_>, key: &'static str) -> Result<Vec<Number>, DialplanError> {
    let members = table.numbers(key, limits::DIALPLAN_LIST_MAX)?;
    if members.is_empty() {
        Err(table.missing(key))
    } else {
        Ok(members)
    }
}

fn read_rule(table: &Table<'_>, ordinal: usize) -> Result<Rule, DialplanError> {
    let keys = [
        "name",
        "to",
        "from",
        "by",
        "transit",
        "when",
        "unless",
        "strip",
        "prepend",
        "play",
        "target",
        "hook",
        "hook_timeout_ms",
        "hook_fallback",
        "ring",
        "record",
        "no_answer",
        "busy",
        "unreachable",
    ];
    table.check_keys(&keys)?;
    let to = table.get("to").ok_or_else(|| table.missing("to"))?;
    let target = table.target("target")?;
    let hook = read_hook(table)?;
    if target.is_some() && hook.is_some() {
        return Err(to.fault(Fault::Both("target", "hook")));
    }
    let prepend = table.get("prepend").map(|value| {
        value.read(|text| {
            if text.is_empty() {
                Ok(String::new())
            } else {
                Number::new(text).map(|number| number.to_string())
            }
        })
    });
    Ok(Rule {
        name: table.name("name")?.unwrap_or_else(|| Text::new(&ordinal.to_string())),
        line: table.line,
        to: to.read(Pattern::parse)?,
        from: table.get("from").map(|value| value.read(Pattern::parse)).transpose()?,
        by: read_by(table)?,
        transit: table.flag("transit")?.unwrap_or(false),
        when: table.name("when")?,
        unless: table.name("unless")?,
        strip: table.count("strip")?.unwrap_or(0),
        prepend: prepend.transpose()?.unwrap_or_default(),
        play: read_play(table)?,
        target,
        hook,
        ring: ring(table)?,
        record: table.flag("record")?.unwrap_or(false),
        fallbacks: fallbacks(table)?,
    })
}

/// The name of a file, which is a part of a broadcast's name.
fn read_play(table: &Table<'_>) -> Result<Option<Text>, DialplanError> {
    let Some(value) = table.get("play") else {
        return Ok(None);
    };
    match Text::of_file(value.string()?) {
        Some(name) => Ok(Some(name)),
        None => Err(value.fault(Fault::Kind {
            key: "play".to_owned(),
            expected: "a file's name without its ending: letters, digits, - _ . and spaces, at most 64 bytes",
        })),
    }
}

fn read_hook(table: &Table<'_>) -> Result<Option<Hook>, DialplanError> {
    let Some(value) = table.get("hook") else {
        return Ok(None);
    };
    let url = value.string()?;
    let is_url = url.starts_with("http://") || url.starts_with("https://");
    if !is_url || url.len() > limits::URL_BYTES_MAX || url.contains(|character: char| character.is_control()) {
        return Err(value.fault(Fault::Kind {
            key: "hook".to_owned(),
            expected: "a URL of HTTP",
        }));
    }
    let timeout = table
        .count("hook_timeout_ms")?
        .and_then(|count| u64::try_from(count).ok());
    let timeout = timeout.map_or(limits::HOOK_TIMEOUT, Duration::from_millis);
    Ok(Some(Hook {
        url: url.to_owned(),
        timeout: timeout.min(limits::HOOK_TIMEOUT_MAX),
        fallback: table.target("hook_fallback")?,
    }))
}

fn read_by(table: &Table<'_>) -> Result<Option<By>, DialplanError> {
    let Some(value) = table.get("by") else {
        return Ok(None);
    };
    let by = By::parse(value.string()?).ok_or_else(|| {
        value.fault(Fault::Kind {
            key: "by".to_owned(),
            expected: "trunk/<name>, or trunk/* for any trunk",
        })
    })?;
    Ok(Some(by))
}

fn read_profile(table: &Table<'_>) -> Result<Profile, DialplanError> {
    table.check_keys(&["from", "by", "name", "codecs", "record", "calls", "forbidden"])?;
    let from = table.get("from").ok_or_else(|| table.missing("from"))?;
    let codecs = table.list("codecs", limits::DIALPLAN_LIST_MAX)?;
    let codecs = codecs.into_iter().map(|value| value.read(str::parse::<Codec>));
    let codecs: Vec<Codec> = codecs.collect::<Result<_, _>>()?;
    let forbidden = table.numbers("forbidden", limits::DIALPLAN_LIST_MAX)?;
    Ok(Profile {
        line: table.line,
        from: from.read(Pattern::parse)?,
        by: read_by(table)?,
        name: table.name("name")?,
        codecs: if codecs.is_empty() {
            None
        } else {
            Some(codecs.into_iter().collect())
        },
        record: table.flag("record")?.unwrap_or(false),
        calls_max: table.count("calls")?,
        forbidden: forbidden.iter().map(ToString::to_string).collect(),
    })
}

fn fallbacks(table: &Table<'_>) -> Result<Fallbacks, DialplanError> {
    Ok(Fallbacks {
        no_answer: table.target("no_answer")?,
        busy: table.target("busy")?,
        unreachable: table.target("unreachable")?,
    })
}

fn ring(table: &Table<'_>) -> Result<Option<Duration>, DialplanError> {
    Ok(table
        .seconds("ring")?
        .map(|ring| ring.clamp(Duration::from_secs(1), limits::RING_MAX)))
}

/// Callers that wait in a queue that does not say how many may.
const QUEUE_WAITING: usize = 50;

/// How long an agent rings in a queue that does not say so.
const QUEUE_RING: Duration = Duration::from_secs(20);
