//! Reading in portions. What is in a portion may be thousands of empty WebSocket frames, which are all
//! handled before the task yields; others have their turn before the next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits;

/// A stream of which no more than a portion is read without a pause.
pub(super) struct Portions<S> {
    stream: S,
    reads: usize,
}

impl<S> Portions<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, reads: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Portions<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads >= limits::TCP_READS_MAX {
            self.reads = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.reads = if read.is_ready() { self.reads + 1 } else { 0 };
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Portions<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn stream_that_always_has_more_pauses_after_each_portion() {
        let mut portions = Portions::new(tokio::io::repeat(7));
        let mut context = Context::from_waker(Waker::noop());
        let mut space = [0; 16];
        let reads: Vec<bool> = (0..3 * (limits::TCP_READS_MAX + 1))
            .map(|_| {
                let mut buffer = ReadBuf::new(&mut space);
                Pin::new(&mut portions).poll_read(&mut context, &mut buffer).is_ready()
            })
            .collect();
        for portion in reads.chunks(limits::TCP_READS_MAX + 1) {
            let (pause, reads) = portion.split_last().unwrap();
            assert!(reads.iter().all(|is_ready| *is_ready) && !pause, "{reads:?} {pause}");
        }
    }
}
