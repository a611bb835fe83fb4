//! What the relay's process and ours cost the host, from /proc.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Levels and running totals at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    /// User and system time.
    pub(crate) relay_cpu_seconds: Option<f64>,
    /// `None` for a relay in this process, whose memory nobody can tell from the generator's.
    pub(crate) relay_rss_mib: Option<f64>,
    pub(crate) relay_context_switches: Option<u64>,
    /// Of all its UDP sockets on the port that is loaded.
    pub(crate) relay_socket_drops: Option<u64>,
    /// By thread, in the order of their ids.
    pub(crate) relay_threads: Vec<ThreadSample>,
    pub(crate) generator_cpu_seconds: f64,
    /// With that of a relay in this process.
    pub(crate) generator_rss_mib: f64,
    /// By the kernel, for want of room in the generator's own sockets.
    pub(crate) generator_socket_drops: u64,
    pub(crate) generator_threads: Vec<ThreadSample>,
    pub(crate) calls_up: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThreadSample {
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    pub(crate) context_switches: u64,
}

/// Of the measured part of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostFigures {
    pub(crate) relay_cpu_seconds: Option<f64>,
    pub(crate) relay_rss_mib: Option<f64>,
    pub(crate) relay_context_switches: Option<u64>,
    pub(crate) relay_socket_drops: Option<u64>,
    pub(crate) generator_cpu_seconds: f64,
    /// Of the whole run.
    pub(crate) generator_socket_drops: u64,
}

impl HostFigures {
    /// What the host's counters say of the intervals from `from` up to `to`.
    pub(crate) fn of(samples: &BTreeMap<u64, Sample>, from: u64, to: u64) -> Self {
        let (Some((_, before)), Some((_, after))) = (samples.range(from..).next(), samples.range(..=to).next_back())
        else {
            return Self::default();
        };
        let since = |of: fn(&Sample) -> Option<f64>| Some(of(after)? - of(before)?);
        let counted = |of: fn(&Sample) -> Option<u64>| Some(of(after)?.saturating_sub(of(before)?));
        // Of the whole run: what is dropped while calls are set up makes that slow, or fail.
        let drops = || samples.values().map(|sample| sample.generator_socket_drops);
        Self {
            relay_cpu_seconds: since(|sample| sample.relay_cpu_seconds),
            relay_rss_mib: after.relay_rss_mib,
            relay_context_switches: counted(|sample| sample.relay_context_switches),
            relay_socket_drops: counted(|sample| sample.relay_socket_drops),
            generator_cpu_seconds: after.generator_cpu_seconds - before.generator_cpu_seconds,
            generator_socket_drops: drops().max().unwrap_or(0).saturating_sub(drops().next().unwrap_or(0)),
        }
    }
}

/// Where the relay runs: a process of its own, or threads of ours.
pub(crate) struct Sampler {
    relay: Option<Relay>,
    port: u16,
}

struct Relay {
    process: u32,
    /// Only threads so named, when the process is ours.
    threads: Option<&'static [&'static str]>,
}

impl Sampler {
    /// `process` is the relay's; without one the process that listens at `address` on this host is
    /// looked for. `is_own`: it consists of threads of this process.
    pub(crate) fn new(process: Option<u32>, address: SocketAddr, is_own: bool) -> Self {
        let relay = if is_own {
            Some(Relay {
                process: std::process::id(),
                threads: Some(&RELAY_THREADS),
            })
        } else {
            process
                .or_else(|| listener(address))
                .map(|process| Relay { process, threads: None })
        };
        Self {
            relay,
            port: address.port(),
        }
    }

    pub(crate) fn read(&self, calls_up: u64) -> Sample {
        let own = std::process::id();
        let cpu = cpu_seconds(&format!("/proc/{own}/stat")).unwrap_or_default();
        let generator = Sample {
            generator_cpu_seconds: cpu,
            generator_rss_mib: resident_mib(own).unwrap_or_default(),
            generator_socket_drops: own_sockets(|bound| bound != self.port)
                .iter()
                .map(|(_, drops)| drops)
                .sum(),
            generator_threads: threads(own, Some(&GENERATOR_THREADS)),
            calls_up,
            ..Sample::default()
        };
        let Some(relay) = &self.relay else {
            return generator;
        };
        let threads = threads(relay.process, relay.threads);
        let relay_threads: f64 = threads.iter().map(|thread| thread.cpu_seconds).sum();
        let is_own = relay.threads.is_some();
        let (relay_cpu, generator_cpu) = if is_own {
            (Some(relay_threads), cpu - relay_threads)
        } else {
            (cpu_seconds(&format!("/proc/{}/stat", relay.process)), cpu)
        };
        Sample {
            relay_cpu_seconds: relay_cpu,
            relay_rss_mib: resident_mib(relay.process).filter(|_| !is_own),
            relay_context_switches: Some(threads.iter().map(|thread| thread.context_switches).sum()),
            relay_socket_drops: socket_drops(self.port),
            relay_threads: threads,
            generator_cpu_seconds: generator_cpu,
            ..generator
        }
    }
}

fn threads(process: u32, only: Option<&[&str]>) -> Vec<ThreadSample> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let mut ids: Vec<u32> = tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    ids.into_iter()
        .filter_map(|thread| {
            let directory = format!("/proc/{process}/task/{thread}");
            let name = fs::read_to_string(format!("{directory}/comm")).ok()?.trim().to_owned();
            if only.is_some_and(|prefixes| !prefixes.iter().any(|prefix| name.starts_with(prefix))) {
                return None;
            }
            Some(ThreadSample {
                name,
                cpu_seconds: cpu_seconds(&format!("{directory}/stat"))?,
                context_switches: context_switches(&format!("{directory}/status"))?,
            })
        })
        .collect()
}

/// User and system time in seconds.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let stat = fs::read_to_string(stat).ok()?;
    // The name in parentheses may hold anything; fields count from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

fn context_switches(status: &str) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let counts = status.lines().filter(|line| line.contains("ctxt_switches:"));
    counts
        .map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

fn resident_mib(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Rows of the kernel's table of UDP sockets that are bound to a port: inode and drops.
fn sockets(is_meant: impl Fn(u16) -> bool) -> Vec<(u64, u64)> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let bound = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        let inode = fields.get(9)?.parse().ok()?;
        let drops = fields.get(12)?.parse().ok()?;
        is_meant(bound).then_some((inode, drops))
    };
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(&row).collect::<Vec<_>>())
        .collect()
}

fn socket_drops(port: u16) -> Option<u64> {
    let sockets = sockets(|bound| bound == port);
    (!sockets.is_empty()).then(|| sockets.iter().map(|(_, drops)| drops).sum())
}

/// The UDP sockets of this process that are bound to certain ports: inode and drops. A relay's may be in it too.
pub(crate) fn own_sockets(is_meant: impl Fn(u16) -> bool) -> Vec<(u64, u64)> {
    let Ok(files) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let inode = |link: &str| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let own: HashSet<u64> = files
        .flatten()
        .filter_map(|file| inode(fs::read_link(file.path()).ok()?.to_str()?))
        .collect();
    let mut sockets = sockets(is_meant);
    sockets.retain(|(inode, _)| own.contains(inode));
    sockets
}

/// The process on this host that has a UDP socket on the port of a loopback address.
pub(crate) fn listener(address: SocketAddr) -> Option<u32> {
    if !address.ip().is_loopback() {
        return None;
    }
    // The kernel's table is read in pieces, and misses rows while others come and go.
    (0..LISTENER_LOOKS).find_map(|_| find_listener(address))
}

fn find_listener(address: SocketAddr) -> Option<u32> {
    let inodes: Vec<String> = sockets(|bound| bound == address.port())
        .iter()
        .map(|(inode, _)| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|process| {
            // Another loadgen there is a link, whose costs are not the relay's.
            let program = |process: &str| fs::read_link(format!("/proc/{process}/exe")).ok();
            if program(&process.to_string()) == program("self") && *process != std::process::id() {
                return false;
            }
            let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else {
                return false;
            };
            files.flatten().any(|file| {
                fs::read_link(file.path()).is_ok_and(|link| inodes.iter().any(|inode| link.as_os_str() == &**inode))
            })
        })
}

const LISTENER_LOOKS: usize = 5;

/// How threads of a relay in this process are named.
const RELAY_THREADS: [&str; 3] = ["shard-", "control", "calls"];
const GENERATOR_THREADS: [&str; 1] = ["callers-"];

/// `USER_HZ`, which Linux fixes at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port_and_sampled() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sampler = Sampler::new(None, socket.local_addr().unwrap(), false);
        assert_eq!(sampler.relay.as_ref().unwrap().process, std::process::id());
        let sample = sampler.read(3);
        assert!(sample.relay_rss_mib.unwrap() > 1.0);
        assert_eq!((sample.relay_socket_drops, sample.calls_up), (Some(0), 3));
        assert!(!sample.relay_threads.is_empty());
        drop(socket);
    }

    #[test]
    fn of_a_relay_in_this_process_its_threads_are_known_and_its_memory_is_not() {
        let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
        let control = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || stopped.recv())
            .unwrap();
        let sampler = Sampler::new(None, "127.0.0.1:1".parse().unwrap(), true);
        // A thread names itself once it runs.
        let sample = loop {
            let sample = sampler.read(0);
            if !sample.relay_threads.is_empty() {
                break sample;
            }
        };
        assert_eq!(sample.relay_threads[0].name, "control");
        assert_eq!(sample.relay_rss_mib, None);
        assert!(sample.relay_cpu_seconds.is_some() && sample.generator_rss_mib > 1.0);
        drop(stop);
        control.join().unwrap().unwrap_err();
    }
}
