//! What nobody else has said before: tags, branches, names of calls. Not for secrets.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

pub(super) struct Random(Pcg64Mcg);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    pub(super) fn next(&mut self) -> u128 {
        u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64())
    }

    pub(super) fn text(&mut self) -> String {
        format!("{:016x}", self.0.next_u64())
    }
}
