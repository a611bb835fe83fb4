//! Watching the ring's descriptors from glommio while the ring itself is paused.

use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use super::UdpRing;

impl UdpRing {
    /// Parks the calling task until there is something to receive, a wake, or `timeout` has
    /// passed. The ring must be paused.
    pub async fn parked(&self, timeout: Duration) -> io::Result<()> {
        debug_assert!(self.is_paused());
        let socket = readable(self.socket_as_fd().as_fd().try_clone_to_owned()?);
        let wake = readable(self.wake_as_fd().try_clone_to_owned()?);
        let timer = async {
            glommio::timer::sleep(timeout).await;
        };
        futures_lite::future::or(timer, futures_lite::future::or(socket, wake)).await;
        Ok(())
    }
}

/// Completes when a socket has something to read, or cannot be watched. What is there stays
/// there.
async fn readable(socket: OwnedFd) {
    // SAFETY: the descriptor is owned, so nothing else closes it, and it is a socket.
    let socket = unsafe { glommio::net::UdpSocket::from_raw_fd(socket.into_raw_fd()) };
    let mut byte = [0];
    let _ = socket.peek(&mut byte).await;
}
