//! CPU time and memory of processes, from /proc.

use std::fs;

/// User and system time of a process or, with `thread`, of one of its threads, in seconds.
pub(crate) fn cpu_seconds(process: u32, thread: Option<u32>) -> Option<f64> {
    let path = match thread {
        Some(thread) => format!("/proc/{process}/task/{thread}/stat"),
        None => format!("/proc/{process}/stat"),
    };
    let stat = fs::read_to_string(path).ok()?;
    // The name in parentheses may hold anything; fields count from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

/// Threads of a process whose names begin with `prefix`.
pub(crate) fn threads_named(process: u32, prefix: &str) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| {
            let thread: u32 = task.ok()?.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{process}/task/{thread}/comm")).ok()?;
            name.starts_with(prefix).then_some(thread)
        })
        .collect()
}

pub(crate) fn resident_mib(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// `USER_HZ`, which Linux fixes at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;
