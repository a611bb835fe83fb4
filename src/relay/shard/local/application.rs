//! What an embedder writes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::limits::APPLICATIONS_MAX;
use crate::net::SocketId;

use super::events::LocalEvent;
use super::host::Host;

/// Code on a shard that has peers there. All calls come on the shard's thread.
pub trait Application {
    /// Something happened to what it publishes, subscribes or waits for.
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>);

    /// A datagram came on a socket that it added by [`Host::add_socket`].
    fn handle_datagram(&mut self, _datagram: SocketDatagram<'_>, _host: &mut Host<'_>) {}

    /// Once in each turn that it [wants](Self::wants_turn), after what came in and before media is sent: for what other threads have left in queues of
    /// its own, and for what is due. To be called sooner than its next deadline, wake the shard by
    /// [`ShardPort::wake`](crate::shard::ShardPort::wake).
    fn handle_turn(&mut self, _host: &mut Host<'_>) {}

    /// Whether [`Self::handle_turn`] has anything to do now. The shard asks in each turn before it calls that, which costs more.
    fn wants_turn(&self, _now: Instant) -> bool {
        true
    }

    /// Whether something waits for its next turn or is due: for [`Self::wants_turn`], where that is all.
    fn is_due(&self, now: Instant) -> bool {
        self.has_work() || self.next_deadline().is_some_and(|due| due <= now)
    }

    /// When it wants [`Self::handle_turn`] at the latest. Timers are no more exact than the shard's batch window.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether something waits for its next turn, so that the shard must not sleep first. A wake that comes while the
    /// shard goes to sleep is not lost; this is for what was left undone in a turn.
    fn has_work(&self) -> bool {
        false
    }
}

/// A datagram on an application's socket. The bytes are lent for the call: [`Host::copy`] keeps them.
#[derive(Debug)]
pub struct SocketDatagram<'a> {
    /// The socket that received it.
    pub socket: SocketId,
    /// Who sent it.
    pub source: SocketAddr,
    /// The address that it was sent to.
    pub local: IpAddr,
    /// When the kernel took it in, since 1970, if the ring was told to note that
    /// ([`RingConfig::notes_arrivals`](crate::net::RingConfig::notes_arrivals)).
    pub arrived: Option<Duration>,
    /// Its bytes, to be changed in place at will.
    pub payload: &'a mut [u8],
}

/// Makes an application on the shard's thread, so that it need not be `Send` itself.
pub struct Installation(Box<dyn FnOnce() -> Box<dyn Application> + Send>);

/// A shard runs its maximum of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard runs its maximum of {APPLICATIONS_MAX} applications")]
pub struct TooManyApplications;

impl Installation {
    /// Of what makes the application. Its first call is `handle_turn`.
    pub fn new<A: Application + 'static>(make: impl FnOnce() -> A + Send + 'static) -> Self {
        Self(Box::new(move || Box::new(make())))
    }

    pub(super) fn make(self) -> Box<dyn Application> {
        (self.0)()
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Installation")
    }
}
