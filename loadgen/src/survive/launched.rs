//! The relay as a child process: started by a command, ended and started again.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::run;

/// Does not outlive this process.
pub(super) struct Launched {
    command: String,
    relay: SocketAddr,
    child: Child,
}

impl Launched {
    /// Waits until it answers.
    pub(super) fn start(command: &str, relay: SocketAddr) -> anyhow::Result<Self> {
        ensure!(
            run::quic_answers(relay).is_err(),
            "a relay is at {relay} already: stop it, or leave --command out"
        );
        let mut launched = Self {
            command: command.to_owned(),
            relay,
            child: spawn(command)?,
        };
        launched.wait_until_there()?;
        Ok(launched)
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by a signal, and starts it as soon as it has ended.
    pub(super) fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        signal(self.child.id(), name)?;
        self.child.wait()?;
        self.child = spawn(&self.command)?;
        self.wait_until_there()
    }

    fn wait_until_there(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START_MAX;
        while run::quic_answers(self.relay).is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("`{}` has ended with {status}", self.command);
            }
            ensure!(
                Instant::now() < end,
                "`{}` does not answer at {} within {START_MAX:?}",
                self.command,
                self.relay
            );
            thread::park_timeout(LOOK_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By its name without SIG.
pub(super) fn signal(process: u32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status()?;
    ensure!(status.success(), "kill -{name} {process}: {status}");
    Ok(())
}

/// The process is the relay's own, which signals are to reach. It says to standard error what it has to say.
fn spawn(command: &str) -> anyhow::Result<Child> {
    Command::new("sh")
        .args(["-c", &format!("exec {command}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("`{command}` does not start"))
}

const START_MAX: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
