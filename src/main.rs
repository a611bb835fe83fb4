//! The `moqswitch` command: arguments to configuration to a running relay, until it is told
//! to stop.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory, Parser};
use moqswitch::config::{Arguments, Command, Config};
use moqswitch::relay::{Relay, Until};
use moqswitch::topology::HostCores;
use moqswitch::{check, config, generate, logging, net};

/// Some 5 % less CPU for a frame of a call than the C library's. It asks for no huge pages, which
/// would save another 2 to 5 % and make the relay larger by a half (perf/README.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("moqswitch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(
    clippy::print_stdout,
    reason = "what a command was asked to print goes to standard output"
)]
fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.flags, std::env::vars());
    match &arguments.command {
        Some(Command::Config) => print!("{}", config::template()),
        Some(Command::Completions { shell }) => generate::completions(Arguments::command(), *shell)?,
        Some(Command::Man { command }) => generate::manual(Arguments::command(), command.as_deref())?,
        Some(Command::Check { json }) => {
            let report = check::run(&check::Subject {
                config: &config,
                host: &check::Host::read(),
                cores: &HostCores::read(),
                io_uring_probe: &|| net::probe_support().map_err(|error| error.to_string()),
                now: SystemTime::now(),
            });
            print!("{}", if *json { report.to_json() } else { report.to_string() });
            return Ok(if report.status == check::Status::Fail {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            });
        }
        None => {
            let config = config?;
            logging::install(&config.log)?;
            let relay = Relay::start(&config, Until::Signal)?;
            println!("{}", relay.banner());
            relay.join()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
