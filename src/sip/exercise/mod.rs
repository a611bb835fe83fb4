//! What strangers send, for the fuzz targets and the replay of their corpora. Each target feeds one of these modules.
//!
//! They return what does not hold; who calls them decides whether to panic.

pub mod agent;
pub mod description;
pub mod message;

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, or there was no input.
    Rejected,
    /// It was taken, and what it gave held.
    Accepted,
}

impl Outcome {
    const fn of(is_accepted: bool) -> Self {
        if is_accepted { Self::Accepted } else { Self::Rejected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Exercise = fn(&[u8]) -> Result<Outcome, String>;
    type Seeds = Vec<(String, Vec<u8>)>;

    #[test]
    fn seeds_hold_and_are_taken() {
        let all: [(Seeds, Exercise); 3] = [
            (message::seeds(), message::exercise),
            (agent::seeds(), agent::exercise),
            (description::seeds(), description::exercise),
        ];
        for (seeds, exercise) in all {
            for (name, bytes) in seeds {
                assert_eq!(exercise(&bytes), Ok(Outcome::Accepted), "{name}");
                for end in 0..bytes.len() {
                    exercise(&bytes[..end]).unwrap_or_else(|broken| panic!("{name} up to {end}: {broken}"));
                }
            }
        }
    }
}
