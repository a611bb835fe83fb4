//! Which cores a run takes.

use moqswitch_relay::RelayOptions;

use crate::arguments::Flags;

/// Which cores calls are made on, and which are left for a relay in this process.
pub(super) struct Cores {
    pub(super) generator: Vec<usize>,
    relay: Vec<usize>,
}

impl Cores {
    pub(super) fn choose(flags: &Flags) -> anyhow::Result<Self> {
        let all: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .iter()
            .map(|core| core.id)
            .collect();
        Self::among(all, &flags.cores, flags.shards)
    }

    fn among(all: Vec<usize>, asked: &[usize], shards: Option<usize>) -> anyhow::Result<Self> {
        anyhow::ensure!(!all.is_empty(), "the cores of this host cannot be told");
        let generator = if asked.is_empty() {
            let shards = shards.unwrap_or(1);
            anyhow::ensure!(
                (1..=all.len()).contains(&shards),
                "{shards} shards want a core each, and this process may use {all:?}"
            );
            all[all.len() - shards..].to_vec()
        } else {
            asked.to_vec()
        };
        if let Some(missing) = generator.iter().find(|core| !all.contains(core)) {
            anyhow::bail!("core {missing} is not one of those this process may use: {all:?}");
        }
        let others: Vec<usize> = all.iter().copied().filter(|core| !generator.contains(core)).collect();
        Ok(Self {
            relay: if others.is_empty() { all } else { others },
            generator,
        })
    }

    /// A relay in this process: on loopback, on a port that the kernel chooses.
    pub(super) fn relay_options(&self) -> RelayOptions {
        RelayOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            cores: Some(self.relay.clone()),
            ..RelayOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_the_last_cores_and_a_relay_in_this_process_the_others() {
        let choose = |cores: &[usize], shards: Option<usize>| {
            Cores::among(vec![0, 2, 3, 5], cores, shards).map(|cores| (cores.generator, cores.relay))
        };
        assert_eq!(choose(&[], None).unwrap(), (vec![5], vec![0, 2, 3]));
        assert_eq!(choose(&[], Some(2)).unwrap(), (vec![3, 5], vec![0, 2]));
        assert_eq!(choose(&[], Some(4)).unwrap(), (vec![0, 2, 3, 5], vec![0, 2, 3, 5]));
        assert_eq!(choose(&[2, 0], None).unwrap(), (vec![2, 0], vec![3, 5]));
        for (cores, shards) in [(&[][..], Some(0)), (&[], Some(5)), (&[1], None)] {
            assert!(choose(cores, shards).is_err(), "{cores:?} {shards:?}");
        }
    }
}
