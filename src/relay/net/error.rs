//! Why a ring could not be had, in words an operator can act on.

use std::{fmt, fs, io};

/// Why a ring could not be had. As a text it is the cause, and what the operator has to change.
#[derive(Debug)]
pub enum RingError {
    /// EPERM or EACCES, and io_uring is switched off.
    Disabled {
        /// The sysctl `kernel.io_uring_disabled`: 1 or 2.
        value: u8,
    },
    /// EPERM or EACCES for another reason, usually a seccomp profile.
    NotPermitted,
    /// ENOSYS: the kernel has no io_uring, or hides it.
    Missing,
    /// EINVAL: the kernel does not know what was asked for.
    TooOld {
        /// What was being done.
        operation: &'static str,
    },
    /// ENOMEM: the limit of locked memory is too low, or memory is short.
    MemoryLimit {
        /// What was being done.
        operation: &'static str,
    },
    /// Another error of the system.
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

    /// What is so.
    pub fn cause(&self) -> String {
        match self {
            Self::Disabled { value } => {
                format!("io_uring is switched off: the sysctl kernel.io_uring_disabled is {value}")
            }
            Self::NotPermitted => {
                "io_uring is not permitted here: usually a seccomp profile (Docker's and containerd's \
                 default profiles forbid it)"
                    .to_owned()
            }
            Self::Missing => "this kernel has no io_uring (ENOSYS): it is older than 6.1, was built without it, \
                 or a seccomp profile hides it"
                .to_owned(),
            Self::TooOld { operation } => format!("this kernel's io_uring is too old while {operation} (EINVAL)"),
            Self::MemoryLimit { operation } => format!("no memory for io_uring while {operation} (ENOMEM)"),
            Self::Io { operation, source } => format!("{operation} failed: {source}"),
        }
    }

    /// What the operator has to change, if that is known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Disabled { value: 1 } => Some(
                "sysctl -w kernel.io_uring_disabled=0, and in /etc/sysctl.d to keep it; or add the user to the group in \
                 kernel.io_uring_group",
            ),
            Self::Disabled { .. } => Some("sysctl -w kernel.io_uring_disabled=0, and in /etc/sysctl.d to keep it"),
            Self::NotPermitted => Some(
                "permit io_uring_setup, io_uring_enter and io_uring_register: in Docker by a seccomp profile or \
                 --security-opt seccomp=unconfined, in systemd by SystemCallFilter=",
            ),
            Self::Missing => Some(
                "use Linux 6.1 or later with CONFIG_IO_URING, and permit io_uring_setup, io_uring_enter and \
                 io_uring_register where there is a seccomp profile",
            ),
            Self::TooOld { .. } => Some("use Linux 6.1 or later"),
            Self::MemoryLimit { .. } => Some(
                "raise the locked memory limit (ulimit -l, LimitMEMLOCK=, docker --ulimit memlock=-1) or free some memory",
            ),
            Self::Io { .. } => None,
        }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cause())?;
        match self.advice() {
            Some(advice) => write!(formatter, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Disabled { .. }
            | Self::NotPermitted
            | Self::Missing
            | Self::TooOld { .. }
            | Self::MemoryLimit { .. } => None,
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
        let disabled = RingError::Disabled { value: 2 }.to_string();
        assert!(disabled.contains("io_uring_disabled is 2; sysctl"), "{disabled}");
    }
}
