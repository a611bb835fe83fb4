//! How long to measure.

use std::time::Duration;

use criterion::Criterion;

/// Criterion with so much time for each figure; a bench takes less than two minutes for all.
pub(crate) fn each_for(measurement: Duration) -> Criterion {
    Criterion::default()
        .warm_up_time(measurement / 4)
        .measurement_time(measurement)
        .nresamples(RESAMPLES)
}

/// Fewer than criterion's own 100,000, which take as long as a short measurement.
const RESAMPLES: usize = 10_000;
