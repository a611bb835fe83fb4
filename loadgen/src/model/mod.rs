//! What is offered: when calls begin and end, who talks when, and what a codec makes of it.
//!
//! Pure and seeded: the same scenario and seed offer the same load, whatever the relay does.

pub(crate) mod arrivals;
pub(crate) mod codec;
pub(crate) mod hold;
pub(crate) mod speech;

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A generator of its own for each thing that draws, so that none depends on the order in which
/// others draw.
pub(crate) fn random(seed: u64, purpose: Purpose, id: u64) -> Pcg64Mcg {
    let mixed =
        seed ^ (purpose as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ id.wrapping_mul(0xd1b5_4a32_d192_ed03);
    Pcg64Mcg::seed_from_u64(mixed)
}

/// How long something waits in a call: exponentially distributed, another time for each number.
pub(crate) fn wait_in_call(seed: u64, call: u64, number: u64, mean: Duration) -> Duration {
    let mut random = random(seed, Purpose::Answer, (call << 24) ^ (number << 1) ^ (1 << 60));
    mean.mul_f64(random.sample::<f64, _>(rand_distr::Exp1).min(20.0))
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Arrivals,
    Hold,
    Speech,
    Codec,
    Behaviour,
    Link,
    /// When phones answer, and what they do then.
    Answer,
}
