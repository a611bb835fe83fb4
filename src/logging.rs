//! Log output on stderr, as text for people or JSON lines for collectors.
//! Repeated lines go through [`moqswitch_relay::ratelimit::RateLimit`] first.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Dispatch;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload;

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Changes which lines are logged, of a process that logs already.
#[derive(Clone)]
pub struct LevelHandle(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl LevelHandle {
    pub fn set(&self, level: &LogLevel) -> Result<(), String> {
        (self.0)(level.to_filter())
    }
}

/// Installs the process-wide subscriber; a second call is an error.
pub fn install(config: &LogConfig) -> Result<LevelHandle, tracing::dispatcher::SetGlobalDefaultError> {
    let (dispatch, level) = dispatch(config, || Forgiving(io::stderr()));
    tracing::dispatcher::set_global_default(dispatch)?;
    Ok(level)
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

fn dispatch<W>(config: &LogConfig, writer: W) -> (Dispatch, LevelHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = config.level.to_filter();
    match config.format {
        LogFormat::Text => {
            let builder = tracing_subscriber::fmt()
                .with_ansi(io::stderr().is_terminal())
                .with_env_filter(filter)
                .with_writer(writer)
                .with_filter_reloading();
            let handle = level_handle(builder.reload_handle());
            (builder.finish().into(), handle)
        }
        LogFormat::Json => {
            let builder = tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_env_filter(filter)
                .with_writer(writer)
                .with_filter_reloading();
            let handle = level_handle(builder.reload_handle());
            (builder.finish().into(), handle)
        }
    }
}

fn level_handle<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> LevelHandle {
    LevelHandle(Arc::new(move |filter| {
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}

/// A panic is a fault of this program, and ends it: what it left half done is not gone on with. Only faults of the call plane
/// are caught, on the calls thread, so that media does not stop because of them.
pub fn end_on_faults() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |fault| {
        say(fault);
        if !moqswitch_signalling::is_fault_caught() {
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    #[test]
    fn json_lines_carry_fields_and_respect_the_level() {
        let (sender, lines) = sync_channel(8);
        let config = LogConfig {
            level: LogLevel::parse("info").unwrap(),
            format: LogFormat::Json,
        };
        let writer = move || Output(sender.clone());
        tracing::dispatcher::with_default(&dispatch(&config, writer).0, || {
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
    fn text_of_peers_stays_on_its_line() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (sender, lines) = sync_channel(8);
            let level = LogLevel::parse("info").unwrap();
            let writer = move || Output(sender.clone());
            tracing::dispatcher::with_default(&dispatch(&LogConfig { level, format }, writer).0, || {
                let (path, reason) = ("x\ny\0\u{1b}[2J", String::from("gone\r\n"));
                tracing::info!(path, reason, "refused");
            });
            let text: Vec<u8> = lines.try_iter().flatten().collect();
            let controls = text.iter().filter(|byte| byte.is_ascii_control()).count();
            assert_eq!(controls, 1, "{:?}", String::from_utf8_lossy(&text));
            assert!(text.ends_with(b"\n"));
        }
    }

    #[test]
    fn the_level_can_be_changed() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (sender, lines) = sync_channel(8);
            let level = LogLevel::parse("info").unwrap();
            let writer = move || Output(sender.clone());
            let (dispatch, handle) = dispatch(&LogConfig { level, format }, writer);
            tracing::dispatcher::with_default(&dispatch, || {
                tracing::debug!("hidden");
                handle.set(&LogLevel::parse("debug").unwrap()).unwrap();
                tracing::debug!("seen");
            });
            let text = lines.try_iter().flatten().collect::<Vec<u8>>();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains("seen") && !text.contains("hidden"), "{text}");
        }
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
        tracing::dispatcher::with_default(&dispatch(&config, || Forgiving(Full)).0, || {
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
