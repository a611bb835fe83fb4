//! Limits of this process, open files and locked memory, and the time that a thread has used.

use std::fs::File;
use std::io;
use std::time::Duration;

/// Raises the soft limit on open files to the hard one, which takes no privilege. Nothing happens when it cannot be
/// raised: `moqswitch check` tells what is needed.
pub fn raise_file_limit() {
    let Some(mut limit) = limit_of(libc::RLIMIT_NOFILE) else {
        return;
    };
    if limit.rlim_cur >= limit.rlim_max {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a whole `rlimit` that outlives the call; the kernel only reads it.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

/// Whether so many files more can be opened now. Libraries that open them later panic when they find none.
///
/// What is beyond the limit by itself is refused before any is opened: nobody else in the process goes short for it.
pub fn try_files(count: usize) -> io::Result<()> {
    if limit_of(libc::RLIMIT_NOFILE).is_some_and(|limit| count as u64 > limit.rlim_cur) {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    let opened = (0..count).map(|_| File::open("/dev/null"));
    opened.collect::<io::Result<Vec<File>>>().map(drop)
}

/// The soft limit on locked memory, in bytes. `None`: the system does not say.
pub fn locked_memory_limit() -> Option<u64> {
    limit_of(libc::RLIMIT_MEMLOCK).map(|limit| limit.rlim_cur)
}

/// The CPU time that the calling thread has used since it began. `None`: the system does not say.
pub fn thread_cpu_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole `timespec` that outlives the call.
    let is_told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } == 0;
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    is_told.then(|| Duration::new(seconds, nanoseconds))
}

fn limit_of(resource: libc::__rlimit_resource_t) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a whole `rlimit` that outlives the call.
    let is_told = unsafe { libc::getrlimit(resource, &raw mut limit) } == 0;
    is_told.then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_files_can_be_had_and_a_billion_cannot() {
        try_files(8).unwrap();
        let error = try_files(1 << 30).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }
}
