//! Kernel, io_uring, resource limits, cores: what the host offers, read as text from /proc.

use std::fs;

use moqswitch_relay::limits::{FILES_PER_SHARD, LOCKED_BYTES_PER_SHARD};
use moqswitch_relay::net::RingError;
use moqswitch_relay::topology::{Placement, TopologyError, format_core_list};

use crate::limits;

use super::{CORES, Check, LOCKED_MEMORY, OPEN_FILES, SOCKET_BUFFERS, Status};

/// Texts of /proc; `None` where a file could not be read.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// `/proc/sys/kernel/osrelease`
    pub kernel_release: Option<String>,
    /// `/proc/self/status`
    pub status: Option<String>,
    /// `/proc/self/limits`
    pub limits: Option<String>,
    /// `/proc/sys/net/core/rmem_max`
    pub receive_buffer_max: Option<String>,
    /// `/proc/sys/net/core/wmem_max`
    pub send_buffer_max: Option<String>,
}

/// A column of /proc/self/limits.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Soft,
    Hard,
}

impl Host {
    pub fn read() -> Self {
        let read = |path| {
            let text = fs::read_to_string(path).ok()?;
            Some(text.trim().to_owned())
        };
        Self {
            kernel_release: read("/proc/sys/kernel/osrelease"),
            status: read("/proc/self/status"),
            limits: read("/proc/self/limits"),
            receive_buffer_max: read("/proc/sys/net/core/rmem_max"),
            send_buffer_max: read("/proc/sys/net/core/wmem_max"),
        }
    }

    pub(super) fn check_kernel(&self) -> Check {
        let check = |status, reason| Check::new("kernel", status, reason);
        let release = self.kernel_release.as_deref().unwrap_or("unknown");
        match version(release) {
            None => check(Status::Warn, format!("release `{release}` is not understood"))
                .advise("make sure that it is Linux 6.1 or later"),
            Some(version) if version < KERNEL_REQUIRED => check(
                Status::Fail,
                format!("Linux {release} cannot defer the completions of an io_uring"),
            )
            .advise("use Linux 6.1 or later, 6.12 for best"),
            Some(version) if version < KERNEL_RECOMMENDED => check(
                Status::Warn,
                format!("Linux {release} works, but cannot gather completions while it waits"),
            )
            .advise("Linux 6.12 or later costs less CPU"),
            Some(_) => check(Status::Pass, format!("Linux {release}")),
        }
    }

    pub(super) fn check_locked_memory(&self, shards: usize) -> Check {
        let check = |status, reason| Check::new(LOCKED_MEMORY, status, reason);
        let is_privileged = self.may_lock_any_memory();
        // With the privilege the kernel does not count, but each executor still looks at the limit for itself.
        let counted = if is_privileged { 1 } else { shards };
        let needed = counted as u64 * LOCKED_BYTES_PER_SHARD;
        match self.limit("Max locked memory", Limit::Soft) {
            None => check(Status::Skip, "/proc/self/limits is not readable".to_owned()),
            Some(limit) if limit < needed => check(
                Status::Fail,
                format!(
                    "RLIMIT_MEMLOCK is {} KiB; the rings of {shards} shard(s) need {} KiB",
                    limit / 1024,
                    needed / 1024
                ),
            )
            .advise("LimitMEMLOCK=infinity in the systemd unit, --ulimit memlock=-1 in Docker, or `ulimit -l`"),
            Some(_) if is_privileged => check(Status::Pass, "not limited (CAP_IPC_LOCK)".to_owned()),
            Some(u64::MAX) => check(Status::Pass, "not limited".to_owned()),
            Some(limit) => check(
                Status::Pass,
                format!("{} KiB, {} KiB needed", limit / 1024, needed / 1024),
            ),
        }
    }

    /// Each call that is recorded has a file.
    pub(super) fn check_open_files(&self, shards: usize, websockets: u32, recordings: usize) -> Check {
        let check = |status, reason| Check::new(OPEN_FILES, status, reason);
        let needed = limits::HTTP_CONNECTIONS_MAX
            + 2 * limits::ADMIN_CONNECTIONS_MAX
            + limits::FILES_OF_PROCESS
            + recordings
            + shards * FILES_PER_SHARD;
        let needed = needed as u64;
        let clients = u64::from(websockets) + limits::HTTP_ARRIVING_MAX as u64;
        // A start raises the soft limit to the hard one.
        match self.limit("Max open files", Limit::Hard) {
            None => check(Status::Skip, "/proc/self/limits is not readable".to_owned()),
            Some(limit) if limit < needed => check(
                Status::Fail,
                format!("RLIMIT_NOFILE is {limit}; {shards} shard(s) and HTTP need {needed}"),
            )
            .advise(
                "LimitNOFILE=65536 in the systemd unit, --ulimit nofile=65536 in Docker, or `ulimit -Hn 65536` as root",
            ),
            Some(limit) if limit < needed + clients => check(
                Status::Warn,
                format!(
                    "RLIMIT_NOFILE is {limit}: enough for {} of {clients} TCP clients",
                    limit - needed
                ),
            )
            .advise("LimitNOFILE=65536 in the systemd unit, `ulimit -Hn 65536` as root, or lower `limits.websockets`"),
            Some(limit) => check(Status::Pass, format!("{limit}, {} needed", needed + clients)),
        }
    }

    pub(super) fn check_socket_buffers(&self, wanted: u32) -> Check {
        let check = |status, reason| Check::new(SOCKET_BUFFERS, status, reason);
        let wanted = u64::from(wanted);
        let mut small = Vec::new();
        for (name, text) in [
            ("net.core.rmem_max", &self.receive_buffer_max),
            ("net.core.wmem_max", &self.send_buffer_max),
        ] {
            let Some(allowed) = text.as_ref().and_then(|text| text.parse::<u64>().ok()) else {
                return check(Status::Skip, format!("{name} is not readable here"));
            };
            if allowed < wanted {
                small.push((name, allowed));
            }
        }
        if small.is_empty() {
            return check(Status::Pass, format!("{wanted} bytes allowed"));
        }
        let found: Vec<_> = small
            .iter()
            .map(|(name, allowed)| format!("{name} is {allowed}"))
            .collect();
        let settings: Vec<_> = small.iter().map(|(name, _)| format!("{name}={wanted}")).collect();
        check(
            Status::Warn,
            format!(
                "{}, less than quic.socket_buffer ({wanted}); bursts may be lost",
                found.join(" and ")
            ),
        )
        .advise(format!(
            "sysctl -w {}, and in /etc/sysctl.d to keep it",
            settings.join(" ")
        ))
    }

    fn status_field(&self, name: &str) -> Option<&str> {
        self.status.as_deref()?.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(value.trim())
        })
    }

    fn may_lock_any_memory(&self) -> bool {
        self.status_field("CapEff")
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .is_some_and(|mask| mask & (1 << CAP_IPC_LOCK) != 0)
    }

    /// A line of /proc/self/limits: name, soft limit, hard limit, unit, in columns.
    fn limit(&self, name: &str, which: Limit) -> Option<u64> {
        let line = self
            .limits
            .as_deref()?
            .lines()
            .find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().nth(which as usize)? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }
}

/// Whether a ring can be set up, and if not what the relay would say.
pub(super) fn check_io_uring(probe: &dyn Fn() -> Result<(), RingError>) -> Check {
    let check = |status, reason| Check::new("io_uring", status, reason);
    let Err(error) = probe() else {
        return check(Status::Pass, "permitted".to_owned());
    };
    let failed = check(Status::Fail, error.cause());
    match error.advice() {
        Some(advice) => failed.advise(advice),
        None => failed,
    }
}

pub(super) fn check_cores(placement: &Result<Placement, TopologyError>, quota: Option<usize>) -> Check {
    let check = |status, reason| Check::new(CORES, status, reason);
    let placement = match placement {
        Ok(placement) => placement,
        Err(error) => {
            return check(Status::Fail, error.to_string())
                .advise("see `cores` in the configuration, taskset(1) and the cgroup's cpuset");
        }
    };
    let shards = placement.cores.len();
    let mut cores = placement.cores.clone();
    cores.sort_unstable();
    cores.dedup();
    let plan = format!("{shards} shard(s) on core(s) {}", format_core_list(&cores));
    if placement.shared {
        return check(Status::Warn, format!("{plan}, which take turns"))
            .advise("lower `shards` to the number of cores, except for tests");
    }
    match quota {
        Some(quota) if quota < shards => check(Status::Warn, format!("{plan}, but the CPU quota is worth {quota}"))
            .advise("lower `shards`, or raise the quota (CPUQuota=, --cpus): a throttled shard stalls its calls"),
        _ => check(Status::Pass, plan),
    }
}

/// Major and minor of `6.18.44-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Deferred completions, and datagrams sent to an address without a message header.
const KERNEL_REQUIRED: (u32, u32) = (6, 1);

/// Waiting for a minimum of completions with a time limit.
const KERNEL_RECOMMENDED: (u32, u32) = (6, 12);

/// Bit of the capability in `CapEff`, from linux/capability.h.
const CAP_IPC_LOCK: u32 = 14;
