//! What systemd is told: that the relay serves, reloads or stops, and that its shards turn (sd_notify(3)). A datagram on a
//! unix socket each; without `NOTIFY_SOCKET` nobody is told.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Tells the service manager, if there is one. What it does not take is not said again: a manager that is busy must not
/// hold up calls.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// The process is killed when it has said nothing for so long.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says. A socket that cannot be used is logged.
    pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        // Of another process that started this one.
        let is_ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_ours);
        match open(name.as_bytes()) {
            Ok(socket) => Self {
                socket: Some(Arc::new(socket)),
                watchdog: watchdog.map(Duration::from_micros),
            },
            Err(error) => {
                tracing::warn!(%error, "the service manager's NOTIFY_SOCKET cannot be used");
                Self::default()
            }
        }
    }

    /// The start is over.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=serving\n");
    }

    /// Files are being read again; [`Self::ready`] follows.
    pub fn reloading(&self) {
        self.say("RELOADING=1\nSTATUS=reloading\n");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining\n");
    }

    /// Another process is the main one of the service from now on.
    pub fn followed_by(&self, process: u32) {
        self.say(&format!("MAINPID={process}\nREADY=1\nSTATUS=serving\n"));
    }

    /// Says that all is well as long as `is_well` says so, several times in each interval that is asked for. Ends at once
    /// when nobody asks.
    pub async fn watch<W: Future<Output = Result<(), String>>>(self, is_well: impl Fn() -> W) {
        let Some(watchdog) = self.watchdog else { return };
        let mut was_well = true;
        loop {
            let outcome = is_well().await;
            match &outcome {
                Ok(()) => self.say("WATCHDOG=1\n"),
                Err(reason) if was_well => {
                    tracing::error!(reason = reason.trim_end(), "the watchdog is not told that all is well");
                }
                Err(_) => {}
            }
            was_well = outcome.is_ok();
            tokio::time::sleep(watchdog / PINGS_PER_INTERVAL).await;
        }
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket {
            let (socket, manager) = &**socket;
            if let Err(error) = socket.send_to_addr(text.as_bytes(), manager) {
                tracing::debug!(%error, "the service manager could not be told");
            }
        }
    }
}

fn open(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

/// One that comes late is no reason to be killed.
const PINGS_PER_INTERVAL: u32 = 3;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn pings_stop_while_not_all_is_well() {
        let name = format!("moqswitch-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let variables = [
            ("NOTIFY_SOCKET", format!("@{name}")),
            ("WATCHDOG_USEC", "30000000".to_owned()),
        ];
        let notifier = Notifier::find(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.into())
        });
        let count = || {
            let mut text = [0; 64];
            std::iter::from_fn(|| manager.recv(&mut text).ok()).count()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let is_well = Arc::new(AtomicBool::new(true));
            let seen = Arc::clone(&is_well);
            tokio::spawn(notifier.watch(move || {
                let seen = Arc::clone(&seen);
                async move {
                    seen.load(Ordering::Relaxed)
                        .then_some(())
                        .ok_or("a shard does not answer\n".to_owned())
                }
            }));
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!((5..=7).contains(&count()));
            is_well.store(false, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(count(), 0);
            is_well.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!((5..=7).contains(&count()));
        });
    }

    #[test]
    fn without_a_manager_nobody_is_told() {
        let notifier = Notifier::find(|_| None);
        assert!(notifier.socket.is_none() && notifier.watchdog.is_none());
        notifier.ready();
        let elsewhere = Notifier::find(|name| match name {
            "NOTIFY_SOCKET" => Some("/nowhere/notify".into()),
            "WATCHDOG_USEC" => Some("1000000".into()),
            "WATCHDOG_PID" => Some("1".into()),
            _ => None,
        });
        assert!(elsewhere.watchdog.is_none(), "it is for another process");
        elsewhere.stopping();
    }
}
