//! Log output on stderr, as text for people or JSON lines for collectors.
//! Repeated lines go through [`moqswitch_relay::ratelimit::RateLimit`] first.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogConfig, LogFormat};

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Installs the process-wide subscriber; a second call is an error.
pub fn install(config: &LogConfig) -> Result<(), tracing::dispatcher::SetGlobalDefaultError> {
    tracing::dispatcher::set_global_default(dispatch(config, || Forgiving(io::stderr())))
}

/// Log lines that were lost since the start: standard error is full, closed, or its reader has gone.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// A log that cannot be written must not end what it is about: what fails is counted.
struct Forgiving<W>(W);

impl<W: Write> Write for Forgiving<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.write_all(bytes).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What was not written has been counted.
        let _ = self.0.flush();
        Ok(())
    }
}

fn dispatch<W>(config: &LogConfig, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(config.level.to_filter())
        .with_writer(writer);
    match config.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).finish().into(),
        LogFormat::Json => builder.json().flatten_event(true).finish().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn json_lines_carry_fields_and_respect_the_level() {
        let (sender, lines) = sync_channel(8);
        let config = LogConfig {
            level: LogLevel::parse("info").unwrap(),
            format: LogFormat::Json,
        };
        let writer = move || Output(sender.clone());
        tracing::dispatcher::with_default(&dispatch(&config, writer), || {
            tracing::info!(shard = 3, suppressed = 7, "malformed packet");
            tracing::debug!("hidden");
        });

        let text: Vec<u8> = lines.try_iter().flatten().collect();
        let line: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(line["message"], "malformed packet");
        assert_eq!(line["shard"], 3);
        assert_eq!(line["suppressed"], 7);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_end_nothing() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let config = LogConfig {
            level: LogLevel::parse("info").unwrap(),
            format: LogFormat::Text,
        };
        let before = lost();
        tracing::dispatcher::with_default(&dispatch(&config, || Forgiving(Full)), || {
            tracing::info!("nobody will read this");
        });
        assert_eq!(lost(), before + 1);
    }

    struct Output(SyncSender<Vec<u8>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.try_send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
