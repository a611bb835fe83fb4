//! Where a fault of this program is caught, and that it is.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

thread_local! {
    /// This thread is where a fault is caught.
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Whether a fault of this program, on the calling thread and now, is caught where it happens. Any other ends the process:
/// what would be left half done is not gone on with.
pub fn is_fault_caught() -> bool {
    CATCHES.get()
}

/// Does something; the fault, if it fails.
pub(super) fn caught<T>(what: impl FnOnce() -> T) -> thread::Result<T> {
    let before = CATCHES.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(what));
    CATCHES.set(before);
    outcome
}
