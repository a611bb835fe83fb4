//! The terminal while keys are read one by one: taken over, and given back however the process ends.

use std::io;
use std::sync::Once;

use ratatui::crossterm::cursor::{MoveToColumn, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode, is_raw_mode_enabled};

/// Takes the terminal over until [`restore`].
pub(crate) fn take_over() -> io::Result<()> {
    enable_raw_mode()?;
    // A release aborts when it panics, and drops nothing.
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
    });
    Ok(())
}

/// Leaves the terminal as it was found.
pub(crate) fn restore() {
    // Only when it was taken over: else its escapes would end up in a file.
    if is_raw_mode_enabled().unwrap_or(false) {
        let _ = execute!(io::stderr(), MoveToColumn(0), Show);
        let _ = disable_raw_mode();
    }
}

/// A search for the capacity takes the terminal over for each of its runs, with one hook.
static HOOK: Once = Once::new();
