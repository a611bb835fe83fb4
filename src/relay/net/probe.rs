//! Asking the host for all a ring needs before anything depends on it.

use std::io;

use super::error::RingError;
use super::ring::{RingConfig, UdpRing, Wait};
use super::socket::{SocketOptions, bind_client};
use super::wake;

/// Whether this host lets a ring be opened and a multishot receive be armed on it.
pub fn probe_support() -> Result<(), RingError> {
    let failed = |operation| move |source| RingError::new(operation, source);
    let socket = bind_client(([127, 0, 0, 1], 0).into(), &SocketOptions::default())
        .map_err(io::Error::other)
        .map_err(failed("binding a UDP socket"))?;
    let (_, wake) = wake::channel().map_err(failed("opening the waker's sockets"))?;
    let config = RingConfig {
        receive_buffers: 2,
        send_buffers: 2,
        ..RingConfig::default()
    };
    let mut ring = UdpRing::new(socket, wake, &config)?;
    for _ in 0..2 {
        ring.turn(Wait::None).map_err(failed("turning the ring"))?;
    }
    match ring.take_receive_failure() {
        Some(source) => Err(RingError::new("arming a multishot receive", source)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_that_runs_the_tests_supports_the_ring() {
        probe_support().unwrap();
    }
}
