//! The UDP I/O edge of one shard: sockets, steering by connection id, and an io_uring ring that
//! receives, sends and waits in one system call.
//!
//! Knows datagrams and trains of them, never QUIC or MoQ (steering reads the one byte of a
//! connection id that names the shard). All of moqswitch's `unsafe` is here.
//!
//! In go [`Train`]s of datagrams for one address, out come [`Received`] ones; a [`Turn`] does both and says what it
//! brought. Begin with [`probe_support`], which says whether the host lets us, then [`bind_group`] for a server's sockets
//! or [`bind_client`] for one that dials, then [`UdpRing`]. A [`Waker`] ends the sleep of a turn from another thread.
#![allow(unsafe_code)]

mod buffers;
mod error;
mod files;
mod mapping;
mod message;
mod patience;
mod probe;
mod readiness;
mod ring;
pub mod socket;
mod statistics;
pub mod steering;
mod train;
pub mod wake;

pub use buffers::Received;
pub use error::RingError;
pub use files::{locked_memory_limit, raise_file_limit, thread_cpu_time, try_files};
pub use patience::bind_by;
pub use probe::probe_support;
pub use ring::{AddSocketError, RingConfig, SocketEvent, SocketId, Turn, UdpRing, Wait};
pub use socket::{BindError, SocketGroup, SocketOptions, bind_client, bind_group};
pub use statistics::{SendErrors, SocketStatistics, Statistics};
pub use train::Train;
pub use wake::{WakeReceiver, Waker};
