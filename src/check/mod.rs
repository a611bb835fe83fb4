//! `moqswitch check`: will this configuration run on this host? Each answer has a reason and, unless it is good,
//! what to do about it. Nothing is changed; ports are bound for a moment only.
#![forbid(unsafe_code)]

mod access;
mod calls;
mod certificates;
mod explain;
mod host;
mod keys;
mod music;
mod network;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fmt::Write;
use std::time::SystemTime;

use moqswitch_relay::net::RingError;
use moqswitch_relay::topology::{HostCores, Placement};
use serde::Serialize;

use crate::config::{Config, ConfigError};

pub(crate) use calls::find_obstacle;
pub use explain::{chain, explain};
pub use host::Host;

/// What the checks look at.
pub struct Subject<'a> {
    pub config: &'a Result<Config, ConfigError>,
    pub host: &'a Host,
    pub cores: &'a HostCores,
    /// Sets up a ring as a shard would.
    pub io_uring_probe: &'a dyn Fn() -> Result<(), RingError>,
    pub now: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of the checks.
    pub status: Status,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    pub reason: String,
    /// What to do; `None` when nothing is to be done.
    pub advice: Option<String>,
}

/// From good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Pass,
    Skip,
    Warn,
    Fail,
}

/// Runs every check. With an invalid configuration those that depend on it are skipped.
pub fn run(subject: &Subject<'_>) -> Report {
    let Subject { host, .. } = subject;
    let mut checks = vec![
        configuration(subject.config),
        host.check_kernel(),
        host::check_io_uring(subject.io_uring_probe),
    ];
    match subject.config {
        Ok(config) => {
            let placement = Placement::plan(subject.cores, config.shards, config.cores.as_deref());
            let shards = placement.as_ref().map_or(1, |plan| plan.cores.len());
            checks.push(host::check_cores(&placement, subject.cores.quota_cores()));
            checks.push(host.check_locked_memory(shards));
            checks.push(host.check_open_files(
                shards,
                config.limits.websockets_max,
                calls::recordings_at_once(config.calls.as_ref()),
            ));
            checks.push(host.check_socket_buffers(config.quic.socket_buffer_bytes));
            checks.extend(certificates::check(&config.tls, config.listen, subject.now));
            checks.push(keys::check(&config.auth));
            checks.push(state::check(&config.state_place()));
            checks.extend(calls::check(config.calls.as_ref()));
            let sip = config.calls.as_ref().and_then(|calls| calls.sip.as_ref());
            let trunks = sip.and_then(|sip| sip.tls_client_ca.as_deref());
            checks.extend(trunks.map(|path| certificates::check_issuers("trunks", "sip.tls_client_ca", path)));
            checks.push(music::check(config));
            checks.extend(network::check(config.listen, config.http, config.admin));
        }
        Err(_) => checks.extend(CONFIGURED_CHECKS.map(|name| {
            let reason = "the configuration is not valid";
            Check::new(name, Status::Skip, reason)
        })),
    }
    let status = checks.iter().map(|check| check.status).max();
    Report {
        status: status.unwrap_or(Status::Pass),
        checks,
    }
}

impl Report {
    /// 1 if anything failed.
    pub fn exit_status(&self) -> u8 {
        u8::from(self.status == Status::Fail)
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and enums always serialise")
    }
}

/// Aligned columns for people, and a last line with the sum.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max();
        let width = width.unwrap_or(0);
        for check in &self.checks {
            let (status, name) = (check.status.label(), check.name);
            writeln!(formatter, "{status}  {name:width$}  {}", check.reason)?;
            if let Some(advice) = &check.advice {
                writeln!(formatter, "      {:width$}  → {advice}", "")?;
            }
        }
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let mut sum = format!("{} passed", count(Status::Pass));
        for (status, text) in [
            (Status::Fail, "failed"),
            (Status::Warn, "to be looked at"),
            (Status::Skip, "skipped"),
        ] {
            match count(status) {
                0 => {}
                count => write!(sum, ", {count} {text}")?,
            }
        }
        writeln!(formatter, "{sum}")
    }
}

impl Status {
    fn label(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

impl Check {
    fn new(name: &'static str, status: Status, reason: impl Into<String>) -> Self {
        Self {
            name,
            status,
            reason: reason.into(),
            advice: None,
        }
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

fn configuration(config: &Result<Config, ConfigError>) -> Check {
    match config {
        Ok(_) => Check::new(CONFIGURATION, Status::Pass, "valid"),
        Err(error) => Check::new(CONFIGURATION, Status::Fail, error.to_string())
            .advise("correct it; `moqswitch config` prints every setting with its default"),
    }
}

const CONFIGURATION: &str = "configuration";
const CORES: &str = "cores";
const LOCKED_MEMORY: &str = "locked memory";
const OPEN_FILES: &str = "open files";
const SOCKET_BUFFERS: &str = "socket buffers";
const CERTIFICATE: &str = "certificate";
const TOKEN_KEYS: &str = "token keys";
const STATE_DIRECTORY: &str = "state directory";
const DIALPLAN: &str = "dialplan";
const CALLERS: &str = "callers";
const API_KEYS: &str = "API keys";
const WEBHOOKS: &str = "webhooks";
const TRUNKS: &str = "trunks";
const CALL_RECORDS: &str = "call records";
const RECORDINGS: &str = "recordings";
const VOICE_MAIL: &str = "voice mail";
const MUSIC: &str = "music and prompts";
const UDP_PORT: &str = "UDP port";
const TCP_PORT: &str = "TCP port";
const ADMIN_PORT: &str = "admin port";

const CONFIGURED_CHECKS: [&str; 11] = [
    CORES,
    LOCKED_MEMORY,
    OPEN_FILES,
    SOCKET_BUFFERS,
    CERTIFICATE,
    TOKEN_KEYS,
    STATE_DIRECTORY,
    CALLERS,
    UDP_PORT,
    TCP_PORT,
    ADMIN_PORT,
];
