//! `moqswitch upgrade`, and where the process that runs is asked.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};

use anyhow::Context;

use crate::{generate, limits};

/// What is asked for, and how the last line of an answer begins.
pub(super) const ASKED: &str = "upgrade";
pub(super) const DONE: &str = "done: ";
pub(super) const FAILED: &str = "failed: ";

/// A name in the abstract unix namespace, which like the port belongs to the network namespace, and vanishes with the
/// process.
pub(super) fn address(listen: SocketAddr) -> std::io::Result<UnixAddr> {
    UnixAddr::from_abstract_name(format!("moqswitch/upgrade/{listen}"))
}

/// Asks the process that listens there to be followed by another, and prints what it says.
pub fn run(listen: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(listen.port() != 0, "name the relay's address for QUIC by --listen");
    let mut stream = UnixStream::connect_addr(&address(listen)?)
        .with_context(|| format!("no moqswitch that can be followed by another listens on {listen}"))?;
    stream.set_read_timeout(Some(limits::UPGRADE_ANSWER_WAIT_MAX))?;
    writeln!(stream, "{ASKED}")?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("the relay does not answer")?;
        if let Some(reason) = line.strip_prefix(FAILED) {
            anyhow::bail!("{reason}");
        }
        generate::print(format!("{}\n", line.strip_prefix(DONE).unwrap_or(&line)).as_bytes())?;
        if line.starts_with(DONE) {
            return Ok(());
        }
    }
    anyhow::bail!("the relay has ended meanwhile")
}
