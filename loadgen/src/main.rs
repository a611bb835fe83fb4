//! `loadgen`: synthetic calls against a moq-lite relay, and what a caller would have heard.

mod arguments;
mod capacity;
mod clock;
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
mod terminal;
mod truth;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};
use capacity::Objective;
use output::summary::Summary;
use scenario::{BUILT_IN, Scenario};

/// A tenth less CPU for a frame than the C library's (perf/README.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match execute(&Arguments::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[allow(clippy::print_stdout, reason = "what the command is for")]
fn execute(arguments: &Arguments) -> anyhow::Result<u8> {
    let (scenario, flags) = match &arguments.command {
        None => (Scenario::short_calls(), &arguments.flags),
        Some(Command::Scenarios) => {
            for (name, _) in BUILT_IN {
                println!("{name:<16} {}", Scenario::load(name)?.question);
            }
            return Ok(0);
        }
        Some(Command::Completions { shell }) => {
            generate::completions(Arguments::command(), *shell)?;
            return Ok(0);
        }
        Some(Command::Man { command }) => {
            generate::manual(Arguments::command(), command.as_deref())?;
            return Ok(0);
        }
        Some(Command::Link {
            listen,
            to,
            impair,
            seed,
        }) => {
            return link::proxy::run(*listen, *to, impair, *seed);
        }
        Some(Command::Clock { listen }) => {
            clock::serve(*listen)?;
            return Ok(0);
        }
        Some(Command::Report {
            files,
            output,
            threshold,
        }) => {
            let (page, status) = report::report(files, threshold)?;
            std::fs::write(output, page).with_context(|| format!("cannot write {}", output.display()))?;
            println!("{}", output.display());
            return Ok(status);
        }
        Some(Command::Merge { files, json, threshold }) => {
            let summary = merge::merge(files, threshold)?;
            return finish(&summary, json.as_deref());
        }
        Some(command) => command.scenario()?.context("the other commands make calls")?,
    };
    let keeps_pattern = matches!(
        arguments.command,
        Some(Command::Run { .. } | Command::Announce(_) | Command::Capacity { .. })
    );
    let scenario = flags.apply(scenario, keeps_pattern)?;
    if let Some(file) = &flags.json {
        // Rather now than after the run.
        std::fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    interrupt::watch()?;
    if let Some(Command::Capacity { slo, .. }) = &arguments.command {
        let capacity = capacity::find(&Objective::load(slo)?, &scenario, flags)?;
        println!("{capacity}");
        write_json(flags.json.as_deref(), &capacity)?;
        return Ok(capacity.exit_status());
    }
    let summary = run::run(&scenario, flags)?;
    finish(&summary, flags.json.as_deref())
}

#[allow(clippy::print_stdout, reason = "what the command is for")]
fn finish(summary: &Summary, json: Option<&Path>) -> anyhow::Result<u8> {
    println!("{summary}");
    write_json(json, summary)?;
    Ok(summary.exit_status())
}

fn write_json(file: Option<&Path>, figures: &impl serde::Serialize) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, serde_json::to_string_pretty(figures)?)
        .with_context(|| format!("cannot write {}", file.display()))
}
