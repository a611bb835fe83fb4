//! What the kernel grants this process: CPU affinity, cgroup cpuset, cgroup v2 CPU quota.
//! Everything is read from /proc and /sys as text; what cannot be read does not restrict.

use std::path::{Path, PathBuf};
use std::{fs, thread};

use super::parse_core_list;

/// The cores that the kernel lets this process use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCores {
    /// Scheduler affinity.
    pub(super) affinity: Vec<usize>,
    /// Effective cpuset of the cgroup; `None` when there is none.
    pub(super) cpuset: Option<Vec<usize>>,
    /// Lowest CPU quota from our cgroup up to the root; `None` when unlimited.
    pub(super) quota: Option<Quota>,
}

/// Of cgroup v2 `cpu.max`: that much CPU time in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) budget_us: u64,
    pub(super) period_us: u64,
}

impl HostCores {
    /// Reads /proc and /sys. What cannot be read does not restrict; without an affinity it is as many cores as the
    /// standard library counts.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let affinity = affinity(&status).unwrap_or_else(|| {
            let count = thread::available_parallelism().map_or(1, usize::from);
            (0..count).collect()
        });
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let groups = cgroup_directories(&membership, &mounts);
        Self {
            affinity,
            cpuset: groups.first().and_then(|group| cpuset(group)),
            quota: groups
                .iter()
                .filter_map(|group| quota(&read_trimmed(&group.join("cpu.max"))?))
                .min_by(|one, other| one.cores().total_cmp(&other.cores())),
        }
    }

    /// Cores allowed by affinity and cpuset both, ascending.
    pub fn usable(&self) -> Vec<usize> {
        let in_cpuset = |core: &usize| self.cpuset.as_ref().is_none_or(|cpuset| cpuset.contains(core));
        self.affinity.iter().copied().filter(in_cpuset).collect()
    }

    /// Whole cores the CPU quota keeps busy, rounded up, at least one. `None`: no quota.
    /// Rounded up, because a shard stalled by the quota for part of a period still beats one fewer shard.
    pub fn quota_cores(&self) -> Option<usize> {
        let quota = self.quota?;
        let cores = quota.budget_us.div_ceil(quota.period_us).max(1);
        Some(usize::try_from(cores).unwrap_or(usize::MAX))
    }
}

impl Quota {
    #[expect(clippy::cast_precision_loss, reason = "microseconds far below 2^53")]
    fn cores(self) -> f64 {
        self.budget_us as f64 / self.period_us as f64
    }
}

/// The cores of the `Cpus_allowed_list` line of /proc/self/status.
pub(super) fn affinity(status: &str) -> Option<Vec<usize>> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_core_list(line.trim()).ok()
}

/// `cpu.max` holds `max 100000` or `150000 100000`.
pub(super) fn quota(text: &str) -> Option<Quota> {
    let (budget, period) = text.split_once(' ')?;
    let quota = Quota {
        budget_us: budget.parse().ok()?,
        period_us: period.parse().ok()?,
    };
    (quota.period_us > 0).then_some(quota)
}

/// Our cgroup v2 directory and its parents up to the mount, innermost first.
/// A limit of any of them binds us.
pub(super) fn cgroup_directories(membership: &str, mounts: &str) -> Vec<PathBuf> {
    let Some(group) = membership.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Vec::new();
    };
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_device, directory, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then_some(directory)
    });
    let Some(mount) = mount.map(Path::new) else {
        return Vec::new();
    };
    mount
        .join(group.trim_start_matches('/'))
        .ancestors()
        .take_while(|directory| directory.starts_with(mount))
        .map(Path::to_path_buf)
        .collect()
}

fn cpuset(group: &Path) -> Option<Vec<usize>> {
    let text = read_trimmed(&group.join("cpuset.cpus.effective"))?;
    parse_core_list(&text).ok()
}

fn read_trimmed(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}
