//! `moqswitch say` and `moqswitch listen`: a mouth and ears for an operator, as a client of a relay that runs anywhere.
//!
//! `target` is where the relay is, `line` the connection with its session, `interrupt` Ctrl-C. `mouth` plays a file. `ears`
//! hears a broadcast: `groups` are put together, put in `order`, measured by `meter`, decoded by `hearing` and written by `sink`.
#![forbid(unsafe_code)]

mod ears;
mod ending;
mod groups;
mod hearing;
mod interrupt;
mod line;
mod meter;
mod mouth;
mod order;
mod sink;
mod target;
mod tracks;

use std::process::ExitCode;

use crate::config::{ListenArguments, SayArguments};

use ending::{End, tell};

/// Plays a file as a broadcast.
pub fn say(asked: &SayArguments) -> anyhow::Result<ExitCode> {
    Ok(judged("say", mouth::run(asked)?))
}

/// Hears a broadcast.
pub fn listen(asked: &ListenArguments) -> anyhow::Result<ExitCode> {
    Ok(judged("listen", ears::run(asked)?))
}

fn judged(name: &str, end: End) -> ExitCode {
    let (reason, status) = match end {
        End::Whole => return ExitCode::SUCCESS,
        End::NotThere(reason) => (reason, NOT_THERE),
        End::Gone(reason) => (format!("the relay has gone: {reason}"), GONE),
    };
    tell(&format!("moqswitch {name}: {reason}"));
    ExitCode::from(status)
}

/// Statuses beside 1, which is that of errors, and 2, which is that of wrong command lines.
const NOT_THERE: u8 = 3;
const GONE: u8 = 4;
