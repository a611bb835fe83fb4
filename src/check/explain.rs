//! A start that failed, in the words of the checks: what a library says of a limit is no help to who has to raise it.

use std::fmt::Write;

use moqswitch_relay::topology::{HostCores, Placement};

use crate::config::Config;

use super::{Host, LOCKED_MEMORY, OPEN_FILES, Status, calls};

/// Why the program could not start, and what to do. `host` is as it was before the start, which may have used up what it takes
/// to look.
pub fn explain(error: &anyhow::Error, config: &Config, host: &Host) -> String {
    let said = chain(error);
    let placement = Placement::plan(&HostCores::read(), config.shards, config.cores.as_deref());
    let shards = placement.as_ref().map_or(1, |plan| plan.cores.len());
    let recordings = calls::recordings_at_once(config.calls.as_ref());
    let causes = [
        (LOCKED_MEMORY, &MEMORY_WORDS[..], host.check_locked_memory(shards)),
        (
            OPEN_FILES,
            &FILES_WORDS[..],
            host.check_open_files(shards, config.limits.websockets_max, recordings),
        ),
    ];
    let mut text = String::new();
    for (name, words, check) in causes {
        if check.status == Status::Fail && words.iter().any(|word| said.contains(word)) {
            // Writing to a String does not fail.
            let _ = write!(text, "{name}: {}", check.reason);
            if let Some(advice) = check.advice {
                let _ = write!(text, "\n  \u{2192} {advice}");
            }
            text.push_str("\n  it said: ");
        }
    }
    text + &said
}

/// An error and its causes, none of them twice: some name their cause themselves.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// What glommio and the kernel say when memory may not be locked, and when no file can be opened.
const MEMORY_WORDS: [&str; 3] = ["MemLockLimit", "ENOMEM", "(os error 12)"];
const FILES_WORDS: [&str; 2] = ["(os error 24)", "EMFILE"];

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn limits_are_named_where_they_are_the_cause() {
        let config = Config::from_toml("shards = 1").unwrap();
        let host = Host {
            limits: Some(
                "Max open files            64                  64                 files\n\
                          Max locked memory         65536              65536              bytes"
                    .to_owned(),
            ),
            status: Some("CapEff:\t0000000000000000".to_owned()),
            ..Host::default()
        };
        let said = |error: anyhow::Error| explain(&error, &config, &host);
        let memory = said(anyhow::anyhow!(
            "shard 0 failed: IO error occurred: MemLockLimit(65536/524288)"
        ));
        assert!(
            memory.starts_with("locked memory: RLIMIT_MEMLOCK is 64 KiB; "),
            "{memory}"
        );
        assert!(
            memory.contains("LimitMEMLOCK=infinity") && memory.contains("MemLockLimit(65536"),
            "{memory}"
        );
        assert!(!memory.contains("open files"), "{memory}");
        let files = said(std::io::Error::from_raw_os_error(24).into());
        assert!(files.starts_with("open files: RLIMIT_NOFILE is 64; "), "{files}");
        assert!(files.contains("LimitNOFILE=65536"), "{files}");
        let other = said(anyhow::anyhow!("UDP 127.0.0.1:1 is already in use"));
        assert_eq!(other, "UDP 127.0.0.1:1 is already in use");
    }

    #[test]
    fn causes_are_said_once() {
        let cause = std::io::Error::from_raw_os_error(2);
        let named = Err::<(), _>(cause)
            .map_err(|error| anyhow::anyhow!(error).context("cannot read x"))
            .unwrap_err();
        let text = chain(&named);
        assert_eq!(text.matches("os error 2").count(), 1, "{text}");
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read x: {source}")]
        struct Names {
            source: std::io::Error,
        }
        let source = std::io::Error::from_raw_os_error(2);
        let twice = Err::<(), _>(Names { source }).context("certificate y").unwrap_err();
        let text = chain(&twice);
        assert!(
            text.starts_with("certificate y: cannot read x: ") && text.matches("os error 2").count() == 1,
            "{text}"
        );
    }
}
