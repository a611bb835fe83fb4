//! Watching the ring's descriptors from glommio while the ring itself is paused.

use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use super::UdpRing;

impl UdpRing {
    /// Parks the calling task until there is something to receive, on any socket, a wake, or `timeout`
    /// has passed. The ring must be paused.
    pub async fn parked(&self, timeout: Duration) -> io::Result<()> {
        debug_assert!(self.is_paused());
        if self.has_socket_receives() {
            return Ok(());
        }
        let socket = received(self.socket_as_fd().as_fd().try_clone_to_owned()?);
        let wake = woken(self.wake_as_fd().try_clone_to_owned()?);
        let timer = async {
            glommio::timer::sleep(timeout).await;
        };
        let others = match self.sockets_as_fd() {
            Some(event) => Some(event.try_clone_to_owned()?),
            None => None,
        };
        let others = async {
            match others {
                Some(event) => signalled(event).await,
                None => futures_lite::future::pending().await,
            }
        };
        let woken = futures_lite::future::or(socket, wake);
        futures_lite::future::or(timer, futures_lite::future::or(woken, others)).await;
        Ok(())
    }
}

/// Completes when the UDP socket has a datagram, or cannot be watched. What is there stays
/// there. (`peek` without the sender wants a connected socket.)
async fn received(socket: OwnedFd) {
    // SAFETY: the descriptor is owned, so nothing else closes it, and it is a UDP socket.
    let socket = unsafe { glommio::net::UdpSocket::from_raw_fd(socket.into_raw_fd()) };
    let mut byte = [0];
    let _ = socket.peek_from(&mut byte).await;
}

/// The same of the waker's end, one of a pair of unix datagram sockets. glommio's own type for
/// those cannot be made of a descriptor; to peek, a stream's does the same.
async fn woken(socket: OwnedFd) {
    // SAFETY: as above, a unix socket.
    let socket = unsafe { glommio::net::UnixStream::from_raw_fd(socket.into_raw_fd()) };
    let mut byte = [0];
    let _ = socket.peek(&mut byte).await;
}

/// Completes when the event descriptor has been signalled, which takes the signal. It is read as
/// a file would be, since glommio has no type for it; the kernel ignores the position.
async fn signalled(event: OwnedFd) {
    // SAFETY: the descriptor is owned, so nothing else closes it.
    let event = unsafe { glommio::io::BufferedFile::from_raw_fd(event.into_raw_fd()) };
    let _ = event.read_at(0, size_of::<u64>()).await;
}
