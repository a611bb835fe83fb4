//! What shards count, put together interval by interval.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::host::Sample;
use crate::output::file::Destination;
use crate::output::jsonl::{Line, Tail};
use crate::truth::interval::Interval;

/// Intervals of all shards, put together.
pub(super) struct Gathering {
    pub(super) measured: (u64, u64),
    /// What shards have sent so far, each at its place.
    waiting: BTreeMap<u64, Vec<Option<Interval>>>,
    pub(super) total: Interval,
    /// The same of each shard.
    pub(super) shards: Vec<Interval>,
    /// Taken at the beginning of each interval; the older ones are forgotten.
    pub(super) samples: BTreeMap<u64, Sample>,
    /// The last interval that is complete.
    pub(super) last: Option<Interval>,
    /// Of --jsonl.
    file: Option<Destination>,
}

impl Gathering {
    pub(super) fn new(measured: (u64, u64), shards: usize, file: Option<Destination>) -> Self {
        Self {
            measured,
            waiting: BTreeMap::new(),
            total: Interval::new(0),
            shards: vec![Interval::new(0); shards],
            samples: BTreeMap::new(),
            last: None,
            file,
        }
    }

    /// Takes what shards have sent.
    pub(super) fn take(&mut self, queues: &[Arc<ArrayQueue<Interval>>]) -> anyhow::Result<()> {
        for (shard, queue) in queues.iter().enumerate() {
            while let Some(interval) = queue.pop() {
                let waiting = self.waiting.entry(interval.index).or_default();
                waiting.resize(queues.len(), None);
                waiting[shard] = Some(interval);
            }
        }
        while self
            .waiting
            .first_key_value()
            .is_some_and(|(_, shards)| shards.iter().all(Option::is_some))
        {
            self.complete_first()?;
        }
        Ok(())
    }

    /// Takes the rest, when all shards have ended.
    pub(super) fn finish(&mut self, queues: &[Arc<ArrayQueue<Interval>>]) -> anyhow::Result<()> {
        self.take(queues)?;
        // Shards do not end in the same interval.
        while !self.waiting.is_empty() {
            self.complete_first()?;
        }
        if let Some(mut file) = self.file.take() {
            let tail = Tail { ended: self.measured };
            writeln!(file, "{}", serde_json::to_string(&tail)?)?;
            file.finish()?;
        }
        Ok(())
    }

    fn complete_first(&mut self) -> anyhow::Result<()> {
        let Some((index, shards)) = self.waiting.pop_first() else {
            return Ok(());
        };
        let mut interval = Interval::new(index);
        for (total, shard) in self.shards.iter_mut().zip(&shards) {
            if let Some(shard) = shard {
                total.add_to_run(shard, self.measured);
                interval.add(shard);
            }
        }
        self.total.add_to_run(&interval, self.measured);
        if let Some(file) = &mut self.file {
            let line = Line::new(&interval, &shards, self.samples.get(&index).cloned())?;
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
        }
        self.last = Some(interval);
        self.forget_samples(index);
        Ok(())
    }

    /// Keeps those of intervals that are not complete, and what differences are taken of: the first of the run and of
    /// the measured part, the last of each.
    fn forget_samples(&mut self, complete: u64) {
        let (from, to) = self.measured;
        let ends = [
            self.samples.keys().next().copied(),
            self.samples.range(from..).next().map(|(index, _)| *index),
            self.samples.range(..=to).next_back().map(|(index, _)| *index),
            self.samples.keys().next_back().copied(),
        ];
        self.samples
            .retain(|index, _| *index > complete || ends.contains(&Some(*index)));
    }

    pub(super) fn last_samples(&self) -> Option<(&Sample, &Sample)> {
        let mut samples = self.samples.values().rev();
        let after = samples.next()?;
        Some((samples.next()?, after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostFigures;
    use crate::output::summary::float;

    #[test]
    fn samples_of_a_long_run_are_forgotten_and_its_figures_are_the_same() {
        let mut gathering = Gathering::new((10, 5000), 1, None);
        let mut all = BTreeMap::new();
        for index in 0..=5020 {
            let sample = Sample {
                generator_cpu_seconds: float(index),
                generator_socket_drops: index,
                ..Sample::default()
            };
            all.insert(index, sample.clone());
            gathering.samples.insert(index, sample);
            // Those that are not settled yet.
            if let Some(complete) = index.checked_sub(7) {
                gathering.waiting.insert(complete, vec![Some(Interval::new(complete))]);
                gathering.complete_first().unwrap();
            }
            assert!(gathering.samples.len() <= 12, "{:?}", gathering.samples.keys());
        }
        for (from, to) in [gathering.measured, (0, u64::MAX)] {
            let (kept, whole) = (
                HostFigures::of(&gathering.samples, from, to),
                HostFigures::of(&all, from, to),
            );
            assert!((kept.generator_cpu_seconds - whole.generator_cpu_seconds).abs() < f64::EPSILON);
            assert_eq!(kept.generator_socket_drops, whole.generator_socket_drops);
        }
    }
}
