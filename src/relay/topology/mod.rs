//! Which cores this process may use and which shard goes on which.
//! Reading the system ([`HostCores`]) is apart from deciding ([`Placement`]), which is pure.
//!
//! In go the cores that the kernel allows, and the shards and cores that an operator asked for; out comes a core for each
//! shard, or what to change. Begin with [`HostCores::read`], then [`Placement::plan`].
#![forbid(unsafe_code)]

mod host;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;

use crate::limits;

pub use host::HostCores;

/// A core for each shard; the index is the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The core of each shard.
    pub cores: Vec<usize>,
    /// More shards than cores: some take turns. Worth a warning.
    pub shared: bool,
}

/// Why shards cannot be placed. Its message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Affinity and cpuset leave no core.
    #[error("no core is usable: {0}")]
    NoCores(&'static str),
    /// A core was asked for that this process may not run on.
    #[error(
        "core {core} is listed in `cores`, but this process may only run on {}; \
         change the list, or the CPU affinity or cpuset of the service",
        format_core_list(usable)
    )]
    CoreUnusable {
        /// The core that was asked for.
        core: usize,
        /// The cores that this process may run on, ascending.
        usable: Vec<usize>,
    },
}

impl Placement {
    /// Default shard count: one per core, but no more than the CPU quota keeps running.
    /// Shards beyond the cores go round robin.
    pub fn plan(
        host: &HostCores,
        shards: Option<NonZeroUsize>,
        cores: Option<&[usize]>,
    ) -> Result<Self, TopologyError> {
        let usable = host.usable();
        let mut chosen = match cores {
            Some(listed) => {
                if let Some(core) = listed.iter().copied().find(|core| !usable.contains(core)) {
                    return Err(TopologyError::CoreUnusable { core, usable });
                }
                listed.to_vec()
            }
            None => usable,
        };
        if chosen.is_empty() {
            return Err(TopologyError::NoCores(
                "CPU affinity and cpuset of this process have none in common",
            ));
        }
        let shards = match (shards, cores) {
            (Some(shards), _) => shards.get(),
            (None, Some(_)) => chosen.len(),
            (None, None) => host.quota_cores().map_or(chosen.len(), |quota| quota.min(chosen.len())),
        };
        let shards = shards.clamp(1, limits::SHARDS_MAX);
        let shared = shards > chosen.len();
        chosen = chosen.iter().copied().cycle().take(shards).collect();
        Ok(Self { cores: chosen, shared })
    }
}

/// The kernel's list format, `0-3,6`: ascending, without repeats.
pub fn parse_core_list(text: &str) -> Result<Vec<usize>, String> {
    let reason = || format!("write core numbers and ranges, such as 0-3,6 (in `{text}`)");
    let number = |text: &str| match text.trim().parse() {
        Ok(core) if core <= limits::CORE_NUMBER_MAX => Ok(core),
        _ => Err(reason()),
    };
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last {
            return Err(reason());
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

/// The inverse of [`parse_core_list`].
pub fn format_core_list(cores: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let texts: Vec<String> = ranges
        .iter()
        .map(|&(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(",")
}
