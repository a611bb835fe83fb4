//! SIGINT and SIGTERM: the first ends what goes on, so that files are whole; the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use moqswitch_relay::net::Waker;

use crate::signals::Signals;

/// Whether it is to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes signals from here on, in a thread of its own, which wakes whoever waits.
    pub(super) fn watch(waker: Waker) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let interrupt = Self::default();
        let asked = interrupt.clone();
        let ask = move || async move {
            asked.0.store(true, Ordering::Release);
            waker.wake();
        };
        let signals = runtime
            .block_on(async { Signals::install() })
            .context("signals cannot be watched")?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(signals.watch(ask, |status| std::process::exit(status))))
            .context("signals cannot be watched")?;
        Ok(interrupt)
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
