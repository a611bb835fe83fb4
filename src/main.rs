//! The `moqswitch` command: arguments to configuration to a running relay, until it is told
//! to stop.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory, Parser};
use moqswitch::config::{Arguments, Command, Config};
use moqswitch::mesh::view;
use moqswitch::notify::Notifier;
use moqswitch::switch::{Surroundings, Switch};
use moqswitch::upgrade::{self, Takeover};
use moqswitch::{check, config, dial, generate, handset, logging, token, user};
use moqswitch_relay::net;
use moqswitch_relay::topology::HostCores;

/// Some 5 % less CPU for a frame of a call than the C library's. It asks for no huge pages, which
/// would save another 2 to 5 % and make the relay larger by a half (perf/README.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "moqswitch: {}", check::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.flags, std::env::vars());
    match &arguments.command {
        Some(Command::Config) => generate::print(config::template().as_bytes())?,
        Some(Command::Token { action }) => return token::run(action, &arguments.flags),
        Some(Command::User { action }) => user::run(action.clone())?,
        Some(Command::Mesh(asked)) => view::run(asked, config?.admin)?,
        Some(Command::Upgrade) => upgrade::command::run(config?.listen)?,
        Some(Command::Dial(asked)) => dial::run(asked, &arguments.flags)?,
        Some(Command::Say(asked)) => return handset::say(asked),
        Some(Command::Listen(asked)) => return handset::listen(asked),
        Some(Command::Completions { shell }) => generate::completions(Arguments::command(), *shell)?,
        Some(Command::Man { command }) => generate::manual(Arguments::command(), command.as_deref())?,
        Some(Command::Check { json }) => {
            let report = check::run(&check::Subject {
                config: &config,
                host: &check::Host::read(),
                cores: &HostCores::read(),
                io_uring_probe: &net::probe_support,
                now: SystemTime::now(),
            });
            let text = if *json { report.to_json() } else { report.to_string() };
            generate::print(text.as_bytes())?;
            return Ok(if report.status == check::Status::Fail {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            });
        }
        None => {
            let config = config?;
            let level = logging::install(&config.log)?;
            logging::end_on_faults();
            let flags = arguments.flags.clone();
            let takeover = Takeover::find()?;
            let surroundings = Surroundings {
                takeover,
                program: Some(own_program()?),
                source: Some(Box::new(move || Config::load(&flags, std::env::vars()))),
                level: Some(level),
                notifier: Notifier::find(|name| std::env::var_os(name)),
                is_hosted: false,
            };
            net::raise_file_limit();
            let host = check::Host::read();
            let started = Switch::start(&config, surroundings);
            let switch = started.map_err(|error| anyhow::anyhow!(check::explain(&error, &config, &host)))?;
            // A relay that runs does not end because nobody reads that it does.
            let _ = generate::print(format!("{}\n", switch.banner(config.log.format)).as_bytes());
            switch.join()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The file that is started when another process is to follow, and how this one was called. As it was named: what is behind
/// the name may be another file by then.
fn own_program() -> std::io::Result<(PathBuf, Vec<OsString>)> {
    let mut arguments = std::env::args_os();
    let named = arguments.next().map(PathBuf::from);
    let named = named.filter(|path| path.components().count() > 1);
    let program = named.map_or_else(std::env::current_exe, Ok)?;
    Ok((program, arguments.collect()))
}
