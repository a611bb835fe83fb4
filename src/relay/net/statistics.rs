//! Counters of one ring: plain integers of the shard that owns it, copied out on request.

use std::io;

/// Counters of one ring since it was made. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Receive completions, each one datagram or one GRO super-datagram.
    pub receives: u64,
    /// Datagrams in them, after splitting.
    pub datagrams: u64,
    /// Times the kernel found no free receive buffer; nothing is lost, the rest waits in the socket.
    pub receive_buffers_exhausted: u64,
    /// Times the multishot receive ended and was armed again.
    pub receive_rearms: u64,
    /// Receive operations that failed for another reason.
    pub receive_errors: u64,
    /// Receives dropped because the datagram was larger than the buffer.
    pub truncated: u64,
    /// Receives dropped because their addresses could not be read.
    pub malformed: u64,
    /// Trains handed to the kernel.
    pub sends: u64,
    /// Datagrams in them.
    pub segments: u64,
    /// Payload bytes of the datagrams received.
    pub bytes_received: u64,
    /// Payload bytes of the datagrams sent.
    pub bytes_sent: u64,
    /// Sends that the kernel refused, by cause.
    pub send_errors: SendErrors,
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Those of them that could sleep.
    pub waits: u64,
    /// Times another thread's wake was reported.
    pub wakes: u64,
}

/// The same for the sockets a ring serves besides its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStatistics {
    /// Receive completions, each one datagram.
    pub receives: u64,
    /// Those of them that were polled.
    pub datagrams: u64,
    /// Payload bytes of those that were polled.
    pub bytes_received: u64,
    /// Times the kernel found no free receive buffer; nothing is lost, the rest waits in the socket.
    pub receive_buffers_exhausted: u64,
    /// Times a multishot receive ended and was armed again.
    pub receive_rearms: u64,
    /// Receives that brought news of a datagram sent before, by ICMP: no such port, no way there.
    pub refusals: u64,
    /// Receive operations that failed for another reason.
    pub receive_errors: u64,
    /// Sockets whose receive was given up.
    pub receives_stopped: u64,
    /// Receives dropped because the datagram was larger than the buffer.
    pub truncated: u64,
    /// Receives dropped because their addresses could not be read.
    pub malformed: u64,
    /// Trains and single datagrams handed to the kernel.
    pub sends: u64,
    /// Datagrams in them.
    pub segments: u64,
    /// Payload bytes of those datagrams.
    pub bytes_sent: u64,
    /// Sends dropped because the ring does not have the socket.
    pub sends_unknown: u64,
    /// Sends that the kernel refused, by cause.
    pub send_errors: SendErrors,
}

/// Trains the kernel refused, by cause. QUIC sees each as loss and retransmits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendErrors {
    /// EAGAIN: the socket's send buffer is full.
    pub would_block: u64,
    /// ENOBUFS, ENOMEM: the device queue is full, or no kernel memory.
    pub no_buffers: u64,
    /// EMSGSIZE: larger than the path's MTU.
    pub too_large: u64,
    /// EPERM, EACCES: refused by a firewall rule.
    pub not_permitted: u64,
    /// ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN, EADDRNOTAVAIL: no way to send there.
    pub unreachable: u64,
    /// ECONNREFUSED: the peer's host said of an earlier datagram that nobody has the port. Only
    /// connected sockets hear of that.
    pub refused: u64,
    /// EIO: the device cannot segment; trains are sent singly from then on.
    pub segmentation_refused: u64,
    /// Any other error.
    pub other: u64,
}

impl SendErrors {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.would_block
            + self.no_buffers
            + self.too_large
            + self.not_permitted
            + self.unreachable
            + self.refused
            + self.segmentation_refused
            + self.other
    }

    pub(super) fn count(&mut self, error: &io::Error) {
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN) => &mut self.would_block,
            Some(libc::ENOBUFS | libc::ENOMEM) => &mut self.no_buffers,
            Some(libc::EMSGSIZE) => &mut self.too_large,
            Some(libc::EPERM | libc::EACCES) => &mut self.not_permitted,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN | libc::EADDRNOTAVAIL) => {
                &mut self.unreachable
            }
            Some(libc::ECONNREFUSED) => &mut self.refused,
            Some(libc::EIO) => &mut self.segmentation_refused,
            _ => &mut self.other,
        };
        *counter += 1;
    }
}
