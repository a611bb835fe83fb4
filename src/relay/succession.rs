//! What one process hands to the next that takes its address over: its sockets, its secrets, and who gets which packets.
//!
//! A generation is a process. The sockets of all generations are one group, which the kernel steers by connection id; as
//! long as one process has them open, none of them is lost.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::net::SocketGroup;
use crate::quic::Secrets;

/// What is taken over.
#[derive(Clone)]
pub struct Heritage {
    /// The sockets of all generations, and what keeps other processes away from the address.
    pub(crate) group: Arc<SocketGroup>,
    /// Which of them are this process's.
    pub(crate) generation: usize,
    pub(crate) secrets: Secrets,
}

/// The sockets of a relay, for its successor and for who decides which process gets what. It does not keep them open: the
/// [`RelayHandle`](crate::RelayHandle) does.
#[derive(Clone)]
pub struct Succession {
    group: Weak<SocketGroup>,
    shape: (usize, usize),
    generation: usize,
    secrets: Secrets,
    is_handed_on: Arc<AtomicBool>,
}

impl Heritage {
    /// Of descriptors in the order of [`Succession::descriptors`]; `generation` is that of the process that takes over.
    ///
    /// # Errors
    ///
    /// They are no sockets of one address, or there is no such generation among them.
    pub fn new(
        sockets: Vec<OwnedFd>,
        shards: usize,
        generation: usize,
        guard: Option<OwnedFd>,
        secrets: Secrets,
    ) -> io::Result<Self> {
        let sockets: Vec<UdpSocket> = sockets.into_iter().map(UdpSocket::from).collect();
        let group = SocketGroup::inherit(sockets, shards, guard.map(UnixDatagram::from))?;
        if generation >= group.generations() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            group: Arc::new(group),
            generation,
            secrets,
        })
    }

    /// The address.
    pub fn local(&self) -> SocketAddr {
        self.group.local
    }

    /// How many shards each generation has.
    pub fn shards(&self) -> usize {
        self.group.shards
    }
}

impl Succession {
    pub(crate) fn new(group: &Arc<SocketGroup>, generation: usize, secrets: Secrets) -> Self {
        Self {
            group: Arc::downgrade(group),
            shape: (group.shards, group.generations()),
            generation,
            secrets,
            is_handed_on: Arc::default(),
        }
    }

    /// Which generation this process is.
    pub fn generation(&self) -> usize {
        self.generation
    }

    /// How many there can be. With one nobody can follow.
    pub fn generations(&self) -> usize {
        self.shape.1
    }

    /// Shards of each generation.
    pub fn shards(&self) -> usize {
        self.shape.0
    }

    /// The sockets of all generations, in the order in which they are steered to; and what keeps other processes away from
    /// the address.
    ///
    /// # Errors
    ///
    /// The relay has ended, or the process has no descriptors left.
    pub fn descriptors(&self) -> io::Result<(Vec<OwnedFd>, Option<OwnedFd>)> {
        let group = self.group()?;
        let sockets = group.sockets.iter().map(|socket| socket.try_clone().map(OwnedFd::from));
        let guard = group.guard.name().map(UnixDatagram::try_clone).transpose()?;
        Ok((sockets.collect::<io::Result<_>>()?, guard.map(OwnedFd::from)))
    }

    /// What all generations have in common.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// From now on new connections, and packets of generations that are gone, are for `current`; those of `others` get
    /// their own packets. Whoever has the sockets may say so, the last word counts.
    ///
    /// # Errors
    ///
    /// There is no such generation, the relay has ended, or the kernel refuses the program.
    pub fn steer(&self, current: usize, others: &[usize]) -> io::Result<()> {
        self.group()?.steer(current, others)
    }

    /// Another process has the address when this relay ends, or has it no more: whether its end waits until the address is
    /// free.
    pub fn set_handed_on(&self, is_handed_on: bool) {
        self.is_handed_on.store(is_handed_on, Ordering::Relaxed);
    }

    pub(crate) fn is_handed_on(&self) -> bool {
        self.is_handed_on.load(Ordering::Relaxed)
    }

    fn group(&self) -> io::Result<Arc<SocketGroup>> {
        self.group.upgrade().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}
