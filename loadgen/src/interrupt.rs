//! SIGINT and SIGTERM: the first ends a run as its key `q` does, so that what was measured is
//! reported; the second ends the process at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use moqswitch::signals::{self, Termination};
use tokio::signal::unix::{SignalKind, signal};

use crate::live;

/// Signals reach the whole process, whichever run of several it is at.
static IS_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Takes signals from here on, in a thread of its own.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let request = || async { IS_REQUESTED.store(true, Ordering::Relaxed) };
            if let Err(error) = runtime.block_on(signals::watch(request, exit)) {
                eprintln!("loadgen: signals cannot be watched: {error}");
            }
        })
        .context("signals cannot be watched")?;
    Ok(())
}

/// Ctrl-C, which is a key and no signal while the live view has the terminal.
pub(crate) fn handle_key() {
    if IS_REQUESTED.swap(true, Ordering::Relaxed) {
        exit(Termination::Interrupt.exit_status());
    }
}

/// Whether what goes on is to be ended.
pub(crate) fn is_requested() -> bool {
    IS_REQUESTED.load(Ordering::Relaxed)
}

/// Waits for the first signal, instead of [`watch`].
pub(crate) async fn first() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result,
    }
}

fn exit(status: i32) {
    live::restore_terminal();
    std::process::exit(status);
}
