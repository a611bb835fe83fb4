//! One entry to everything a session can meet: a sequence of operations read from bytes, shared
//! by the fuzz target, the replay of its corpus and the random tests.
//!
//! The operations mix bytes no session sends with messages that are whole, so that the deep
//! states are reached too, and with commands of the caller. What must hold is checked after each:
//! limits are kept, events make sense in their order, nothing is sent on a closed stream, and
//! closing leaves nothing.

mod model;
mod operations;

use operations::Performer;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Operations that were carried out.
    pub operations: usize,
    /// Events that the session gave.
    pub events: usize,
    /// Things that the session asked to be done on the connection.
    pub transmits: usize,
    /// The session was closed for a violation.
    pub is_violated: bool,
}

/// Runs the operations in `input`; an error describes a broken promise.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let mut performer = Performer::new(input);
    while performer.step()? {}
    performer.finish()
}

/// Inputs to start a fuzzer from: each version and side, with each operation.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for head in 0..64u8 {
        let mut all = vec![head];
        for operation in 0..operations::OPERATIONS {
            for argument in 0..8 {
                all.extend_from_slice(&[operation, argument, argument, 3, 0, 1, 2]);
            }
        }
        seeds.push((format!("{head:02x}-operations"), all));
    }
    seeds
}
