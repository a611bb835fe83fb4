//! SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once. SIGHUP asks
//! for certificates and keys to be read again.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    Terminate,
    Interrupt,
}

impl Termination {
    /// What a shell reports for a process ended by this signal: 128 and its number.
    pub fn exit_status(self) -> i32 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// SIGHUP, which without this ends the process.
pub struct Hangups(Signal);

impl Hangups {
    /// Within a tokio runtime.
    pub fn install() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for one; those that come before the next wait are one. False with the end of the runtime.
    pub async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}

/// SIGTERM and SIGINT. From [`Signals::install`] on none of them ends the process by itself.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Within a tokio runtime.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Runs `drain` at the first signal and calls `exit` at the second, even while the drain is under way.
    /// Returns after `exit` returned, which outside of tests it does not.
    pub async fn watch<D: Future<Output = ()>>(mut self, drain: impl FnOnce() -> D, exit: impl FnOnce(i32)) {
        let first = self.next().await;
        tracing::info!(signal = ?first, "draining; a second signal exits at once");

        let mut drain = pin!(drain());
        let second = tokio::select! {
            () = &mut drain => self.next().await,
            second = self.next() => second,
        };
        tracing::warn!(signal = ?second, "second signal, exiting at once");
        exit(second.exit_status());
    }

    async fn next(&mut self) -> Termination {
        // The streams end only with the runtime, which ends this task too.
        tokio::select! {
            _ = self.terminate.recv() => Termination::Terminate,
            _ = self.interrupt.recv() => Termination::Interrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// One test, since signals reach the whole process.
    #[test]
    fn first_signal_drains_and_second_exits_even_while_draining() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let signals = runtime.block_on(async { Signals::install().unwrap() });
        let (drained, draining) = mpsc::sync_channel(1);
        let sender = thread::spawn(move || {
            kill("-TERM");
            draining.recv().unwrap();
            kill("-INT");
        });
        let mut status = None;
        let drain = || async move {
            drained.send(()).unwrap();
            pending().await
        };
        runtime.block_on(signals.watch(drain, |code| status = Some(code)));
        sender.join().unwrap();
        assert_eq!(status, Some(130));
    }

    fn kill(signal: &str) {
        let process = std::process::id().to_string();
        let status = Command::new("kill").args([signal, &process]).status();
        assert!(status.unwrap().success());
    }
}
