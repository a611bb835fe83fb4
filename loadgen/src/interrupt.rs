//! SIGINT and SIGTERM: the first ends a run as its key `q` does, so that what was measured is
//! reported; the second ends the process at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::file::complain;
use crate::terminal;

/// Signals reach the whole process, whichever run of several it is at.
static IS_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Takes signals from here on, in a thread of its own.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Err(error) = runtime.block_on(handle_signals()) {
                complain(&format_args!("loadgen: signals cannot be watched: {error}"));
            }
        })
        .context("signals cannot be watched")?;
    Ok(())
}

/// Ctrl-C, which is a key and no signal while the live view has the terminal.
pub(crate) fn handle_key() {
    if IS_REQUESTED.swap(true, Ordering::Relaxed) {
        exit(INTERRUPTED);
    }
}

/// Whether what goes on is to be ended.
pub(crate) fn is_requested() -> bool {
    IS_REQUESTED.load(Ordering::Relaxed)
}

/// Waits for the first signal, instead of [`watch`].
pub(crate) async fn first() -> io::Result<()> {
    Signals::install()?.next().await;
    Ok(())
}

async fn handle_signals() -> io::Result<()> {
    let mut signals = Signals::install()?;
    signals.next().await;
    IS_REQUESTED.store(true, Ordering::Relaxed);
    exit(signals.next().await);
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and tells the exit status that stands for it.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => TERMINATED,
            _ = self.interrupt.recv() => INTERRUPTED,
        }
    }
}

fn exit(status: i32) {
    terminal::restore();
    std::process::exit(status);
}

/// What a shell reports for a process that SIGTERM or SIGINT ended: 128 and the signal's number.
const TERMINATED: i32 = 143;
const INTERRUPTED: i32 = 130;
