//! A session's way to its socket: bounded, and never waited for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::journal::Noted;
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX};

/// Why a socket is closed, by the codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Close {
    pub(crate) const UNAUTHORIZED: Self = Self::new(4401, "register or resume first");
    pub(crate) const REVOKED: Self = Self::new(4401, "the credentials are no longer good");
    pub(crate) const EXPIRED: Self = Self::new(4401, "the registration has expired");
    pub(crate) const REPLACED: Self = Self::new(4403, "the device registered elsewhere");
    pub(crate) const SILENT: Self = Self::new(4408, "nothing was heard");
    pub(crate) const SLOW: Self = Self::new(4408, "messages were not read");
    pub(crate) const PROTOCOL: Self = Self::new(4409, "text messages of at most 16 KiB");
    pub(crate) const RATE: Self = Self::new(4429, "too many messages");
    pub(crate) const ADDRESS: Self = Self::new(4429, "too many sockets of one address");
    pub(crate) const RESTART: Self = Self::new(1012, "the switch stops");
    pub(crate) const GONE: Self = Self::new(1000, "");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

/// One socket, as the exchange sees it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    number: u64,
    outbox: mpsc::Sender<Said>,
    bytes: Rc<Cell<usize>>,
    end: Rc<End>,
}

/// What the socket's tasks hold.
#[derive(Debug)]
pub(crate) struct LineEnd {
    pub(crate) inbox: Inbox,
    pub(crate) end: Rc<End>,
}

/// What is to be written.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: mpsc::Receiver<Said>,
    bytes: Rc<Cell<usize>>,
    noted: Option<Noted>,
}

/// A message to a client.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) text: Arc<str>,
    /// It is not told before what was noted outlives the process.
    is_final: bool,
}

impl Inbox {
    /// The next message. None: nobody will say anything any more.
    pub(crate) async fn recv(&mut self) -> Option<Said> {
        let said = self.messages.recv().await?;
        Some(self.taken(said))
    }

    /// The next message, if there is one.
    pub(crate) fn try_recv(&mut self) -> Option<Said> {
        let said = self.messages.try_recv().ok()?;
        Some(self.taken(said))
    }

    /// Waits for what has to be before this is told.
    pub(crate) async fn may_tell(&self, said: &Said) {
        if let Some(noted) = self.noted.as_ref().filter(|_| said.is_final) {
            noted.written().await;
        }
    }

    fn taken(&self, said: Said) -> Said {
        self.bytes.set(self.bytes.get().saturating_sub(said.text.len()));
        said
    }
}

/// Whether the socket is to be closed, and why.
#[derive(Debug, Default)]
pub(crate) struct End {
    close: Cell<Option<Close>>,
    bell: Notify,
}

impl End {
    pub(crate) fn close(&self, close: Close) {
        if self.close.get().is_none() {
            self.close.set(Some(close));
        }
        self.bell.notify_waiters();
        // For who comes to wait only now.
        self.bell.notify_one();
    }

    /// Waits until it is to be closed.
    pub(crate) async fn closed(&self) -> Close {
        loop {
            let rung = self.bell.notified();
            if let Some(close) = self.close.get() {
                return close;
            }
            rung.await;
        }
    }
}

impl Line {
    pub(crate) fn new(number: u64, noted: Option<Noted>) -> (Self, LineEnd) {
        let (outbox, inbox) = mpsc::channel(OUTBOX_MESSAGES_MAX);
        let (end, bytes) = (Rc::new(End::default()), Rc::new(Cell::new(0)));
        let line = Self {
            number,
            outbox,
            bytes: Rc::clone(&bytes),
            end: Rc::clone(&end),
        };
        let messages = inbox;
        let inbox = Inbox { messages, bytes, noted };
        (line, LineEnd { inbox, end })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// False: there is no room, and the socket is closed.
    pub(crate) fn send(&self, text: Arc<str>) -> bool {
        self.put(text, false)
    }

    /// The same of what must be true even if this process is killed as soon as it is read.
    pub(crate) fn send_final(&self, text: Arc<str>) -> bool {
        self.put(text, true)
    }

    fn put(&self, text: Arc<str>, is_final: bool) -> bool {
        let bytes = self.bytes.get() + text.len();
        let said = Said { text, is_final };
        let is_sent = bytes <= OUTBOX_BYTES_MAX && self.outbox.try_send(said).is_ok();
        if is_sent {
            self.bytes.set(bytes);
        } else {
            self.end.close(Close::SLOW);
        }
        is_sent
    }

    pub(crate) fn close(&self, close: Close) {
        self.end.close(close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_closed_and_not_waited_for() {
        let (line, end) = Line::new(1, None);
        for _ in 0..OUTBOX_MESSAGES_MAX {
            assert!(line.send("x".into()));
        }
        assert!(!line.send("x".into()));
        assert_eq!(end.end.closed().await, Close::SLOW);
        let (line, mut end) = Line::new(2, None);
        let long: Arc<str> = "x".repeat(OUTBOX_BYTES_MAX).into();
        assert!(line.send(Arc::clone(&long)));
        assert!(end.inbox.try_recv().is_some());
        assert!(line.send(long), "what was written makes room");
        assert!(!line.send("x".into()));
        // The first reason counts.
        line.close(Close::RESTART);
        assert_eq!(end.end.closed().await, Close::SLOW);
    }
}
