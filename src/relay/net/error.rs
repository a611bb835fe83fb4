//! Why a ring could not be had, in words an operator can act on.

use std::{fs, io};

/// Why a ring could not be had. Each message says what the operator has to change.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// EPERM or EACCES, and io_uring is switched off.
    #[error(
        "io_uring is switched off: the sysctl kernel.io_uring_disabled is {value}; \
         set it to 0 (1 allows only CAP_SYS_ADMIN and kernel.io_uring_group)"
    )]
    Disabled {
        /// The sysctl `kernel.io_uring_disabled`: 1 or 2.
        value: u8,
    },
    /// EPERM or EACCES for another reason, usually a seccomp profile.
    #[error(
        "io_uring is not permitted here: usually a seccomp profile (Docker's and containerd's \
         default profiles forbid it); allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    NotPermitted,
    /// ENOSYS: the kernel has no io_uring, or hides it.
    #[error(
        "this kernel has no io_uring (ENOSYS): it is older than 6.1, was built without it, \
         or a seccomp profile hides it"
    )]
    Missing,
    /// EINVAL: the kernel does not know what was asked for.
    #[error("this kernel's io_uring is too old while {operation} (EINVAL); Linux 6.1 or later is needed")]
    TooOld {
        /// What was being done.
        operation: &'static str,
    },
    /// ENOMEM: the limit of locked memory is too low, or memory is short.
    #[error(
        "no memory for io_uring while {operation} (ENOMEM): raise the locked memory limit \
         (ulimit -l, LimitMEMLOCK=, docker --ulimit memlock=-1) or free some memory"
    )]
    MemoryLimit {
        /// What was being done.
        operation: &'static str,
    },
    /// Another error of the system.
    #[error("{operation} failed: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl RingError {
    pub(super) fn new(operation: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => match disabled_sysctl() {
                Some(value) if value > 0 => Self::Disabled { value },
                _ => Self::NotPermitted,
            },
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EINVAL) => Self::TooOld { operation },
            Some(libc::ENOMEM) => Self::MemoryLimit { operation },
            _ => Self::Io { operation, source },
        }
    }
}

fn disabled_sysctl() -> Option<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_what_the_operator_must_change() {
        let text = |code| RingError::new("opening", io::Error::from_raw_os_error(code)).to_string();
        let refused = text(libc::EPERM);
        assert!(refused.contains("seccomp") || refused.contains("kernel.io_uring_disabled"));
        assert!(text(libc::ENOSYS).contains("seccomp"));
        assert!(text(libc::ENOMEM).contains("memlock"));
        assert!(text(libc::EINVAL).contains("6.1"));
        assert!(
            RingError::Disabled { value: 2 }
                .to_string()
                .contains("io_uring_disabled is 2")
        );
    }
}
