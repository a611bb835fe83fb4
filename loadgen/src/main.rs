//! `loadgen`: synthetic calls against a moq-lite relay, and what a caller would have heard.

mod arguments;
mod capacity;
mod clock;
mod disturbance;
mod engine;
#[allow(unreachable_pub, reason = "a public module of moqswitch")]
#[path = "../../src/generate.rs"]
mod generate;
mod host;
mod interrupt;
mod link;
mod live;
mod load;
mod media;
mod merge;
mod model;
mod output;
mod report;
mod run;
mod scenario;
mod signalling;
mod sip;
mod survive;
mod terminal;
mod truth;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{CommandFactory, Parser};
use serde::Serialize;

use arguments::{Arguments, Command};
use capacity::Objective;
use output::file::{self, Destination};
use scenario::{BUILT_IN, Scenario};

/// A tenth less CPU for a frame than the C library's (perf/README.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match execute(&Arguments::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            file::complain(&format_args!("loadgen: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn execute(arguments: &Arguments) -> anyhow::Result<u8> {
    let (scenario, flags) = match &arguments.command {
        None => (Scenario::short_calls(), &arguments.flags),
        Some(command) => match command.scenario()? {
            Some(calls) => calls,
            None => return execute_without_calls(command),
        },
    };
    let keeps_pattern = matches!(
        arguments.command,
        Some(Command::Run { .. } | Command::Announce(_) | Command::Capacity { .. })
    );
    let scenario = flags.apply(scenario, keeps_pattern)?;
    let is_for_figures = [&flags.json, &flags.jsonl].map(|file| file::is_standard_output(file.as_deref()));
    ensure!(
        is_for_figures != [true; 2],
        "--json and --jsonl cannot both go to standard output"
    );
    let is_beside = is_for_figures.contains(&true);
    let json = flags.json.as_deref().map(Destination::open).transpose()?;
    interrupt::watch()?;
    if let Some(Command::Capacity { slo, .. }) = &arguments.command {
        let capacity = capacity::find(&Objective::load(slo)?, &scenario, flags)?;
        return finish(&capacity, capacity.exit_status(), json, is_beside);
    }
    if let Some(Command::Survive { command, only, .. }) = &arguments.command {
        let survival = survive::survive(&scenario, flags, command.as_deref(), only)?;
        return finish(&survival, survival.exit_status(), json, is_beside);
    }
    let summary = run::run(&scenario, flags)?;
    finish(&summary, summary.exit_status(), json, is_beside)
}

/// What needs no calls to be made.
fn execute_without_calls(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Scenarios => {
            let line = |(name, _): &(&str, _)| Ok(format!("{name:<16} {}", Scenario::load(name)?.question));
            let lines = BUILT_IN.iter().map(line).collect::<anyhow::Result<Vec<String>>>()?;
            file::say(&lines.join("\n"), false)?;
        }
        Command::Completions { shell } => generate::completions(Arguments::command(), *shell)?,
        Command::Man { command } => generate::manual(Arguments::command(), command.as_deref())?,
        Command::Link {
            listen,
            to,
            impair,
            seed,
            moves,
        } => return link::proxy::run(*listen, *to, impair, *seed, moves),
        Command::Clock { listen } => clock::serve(*listen)?,
        Command::Report {
            files,
            output,
            threshold,
        } => {
            let (page, status) = report::report(files, threshold)?;
            file::write(output, page.as_bytes())?;
            if !file::is_standard_output(Some(output)) {
                file::say(&output.display(), false)?;
            }
            return Ok(status);
        }
        Command::Merge { files, json, threshold } => {
            let summary = merge::merge(files, threshold)?;
            let is_beside = file::is_standard_output(json.as_deref());
            let json = json.as_deref().map(Destination::open).transpose()?;
            return finish(&summary, summary.exit_status(), json, is_beside);
        }
        _ => anyhow::bail!("the other commands make calls"),
    }
    Ok(0)
}

/// Figures for a machine first, which may be waiting for them behind a reader who has had enough.
fn finish(
    figures: &(impl Serialize + Display),
    status: u8,
    json: Option<Destination>,
    is_beside: bool,
) -> anyhow::Result<u8> {
    if let Some(mut json) = json {
        writeln!(json, "{}", serde_json::to_string_pretty(figures)?)?;
        json.finish()?;
    }
    file::say(figures, is_beside)?;
    Ok(status)
}
