//! What the agent tells, and what it asks.

use std::net::SocketAddr;
use std::time::Duration;

use crate::digest::{Algorithm, Ha1};
use crate::flow::Flow;
use crate::guard::{Load, Traffic, Verdict};
use crate::message::syntax::{self, Uri};

use super::registrar::Binding;
use super::texts::{Text, TextId};
use super::trunks::{TrunkChange, TrunkId};
use super::watching::{Presence, SubscriptionId, Watch, Watched};

/// One side of a call, as one peer has it: from its INVITE to its BYE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegKey(pub u64);

/// A contact of a registered user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody calls. It is answered by [`Agent::ring`](super::Agent::ring), [`answer`](super::Agent::answer) or
    /// [`hang_up`](super::Agent::hang_up).
    Invited(Box<Invited>),
    /// Of a call that went out: it goes on, without an end yet.
    Progress {
        /// Whose.
        leg: LegKey,
        /// 180, 183, …
        status: u16,
        /// A description, of media before the answer.
        body: Option<Vec<u8>>,
    },
    /// Of a call that went out: it was answered. The description answers ours.
    Answered {
        /// Whose.
        leg: LegKey,
        /// The description.
        body: Vec<u8>,
    },
    /// The peer acknowledged our answer, by a description where ours was the offer.
    Confirmed {
        /// Whose.
        leg: LegKey,
        /// The description.
        body: Option<Vec<u8>>,
    },
    /// The peer offers other media. [`Agent::answer_offer`](super::Agent::answer_offer) or
    /// [`refuse_offer`](super::Agent::refuse_offer) answers. Without a description the peer wants our offer.
    Offered {
        /// Whose.
        leg: LegKey,
        /// The description.
        body: Option<Vec<u8>>,
    },
    /// The peer answered our offer of other media. None: it does not want it, and nothing changes.
    OfferAnswered {
        /// Whose.
        leg: LegKey,
        /// The description.
        body: Option<Vec<u8>>,
    },
    /// A key was pressed (INFO).
    Digit {
        /// Whose.
        leg: LegKey,
        /// Of `0-9A-D*#`.
        digit: char,
        /// How long.
        duration: Duration,
    },
    /// The peer wants us to call somebody else. [`Agent::tell_transfer`](super::Agent::tell_transfer) says what comes of it.
    Transfer {
        /// Whose.
        leg: LegKey,
        /// Whom.
        to: Named,
        /// In the place of the other side of this call of the peer's.
        replaces: Option<LegKey>,
    },
    /// The leg is over: once for each.
    Ended {
        /// Whose.
        leg: LegKey,
        /// Why.
        end: End,
    },
    /// Of a transfer that the leg's peer was asked for ([`Agent::refer`](super::Agent::refer)): 100 or 180 on the way, another
    /// status at the end. 408: the peer does not say.
    ReferProgress {
        /// Whose peer.
        leg: LegKey,
        /// How its call goes, or why it makes none.
        status: u16,
    },
    /// A trunk is otherwise than it was.
    Trunk {
        /// Which.
        trunk: TrunkId,
        /// How.
        change: TrunkChange,
    },
    /// Somebody watches a user. [`Agent::notify`](super::Agent::notify) tells what changes.
    Subscribed(Box<Watch>),
    /// And does not any more.
    Unsubscribed {
        /// Which one.
        subscription: SubscriptionId,
    },
    /// A user's telephone says how the user is. None: it says nothing any more.
    Published {
        /// Who.
        user: String,
        /// Its domain, as the telephone writes it.
        domain: String,
        /// What was said last.
        state: Option<Presence>,
    },
    /// A text came, and the host took it.
    Text(Box<Text>),
    /// What became of a text of ours: 2xx, or why it did not come through. 408: nobody answered.
    TextSent {
        /// Which.
        text: TextId,
        /// The status.
        status: u16,
    },
    /// For who counts and bans.
    Noticed {
        /// Whose message.
        flow: Flow,
        /// What.
        notice: Noticed,
    },
}

/// Somebody calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// The leg.
    pub leg: LegKey,
    /// Who.
    pub caller: Caller,
    /// What is dialled.
    pub to: String,
    /// The domain of what is dialled.
    pub domain: String,
    /// The offer. None: the peer wants ours.
    pub body: Option<Vec<u8>>,
    /// The device that is called, where one is named (RFC 5627): 480 where it is away, 404 where nobody knows it. None: all of its user.
    pub device: Option<Result<BindingId, u16>>,
    /// Whose place it takes: a leg of ours.
    pub replaces: Option<LegKey>,
    /// Where it came from.
    pub flow: Flow,
    /// What the caller's program calls itself.
    pub agent: String,
    /// The trunk that it comes by.
    pub trunk: Option<TrunkId>,
    /// Headers that are passed on: what the trunk says, or the usual ones. Who calls is asserted by trunks alone.
    pub headers: Vec<(String, String)>,
    /// How many hops a call may go that is made of this one (RFC 7332), where this one says how many.
    pub max_forwards: Option<u8>,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The number.
    pub user: String,
    /// Its domain.
    pub domain: String,
    /// The name for people.
    pub name: String,
    /// Which of the user's devices. None: one that is not registered.
    pub binding: Option<BindingId>,
}

/// Why a leg is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Who ended it.
    pub by: EndedBy,
    /// The status of SIP: that of the refusal, 487 where it was cancelled, 200 after a BYE.
    pub status: u16,
    /// The cause of Q.850, where the peer says one (RFC 3326).
    pub cause: Option<u8>,
    /// Whom the peer would have called instead (300 to 302): a forward, if whoever drives the agent lets it.
    pub forward: Option<Forward>,
}

/// Where a peer would have a call go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// To a number of ours.
    To(Named),
    /// To somebody else's, which is not for us to call.
    Elsewhere,
}

/// A number that a peer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The number.
    pub user: String,
    /// Its domain. Empty: none is said, as in `tel:` or with an address; it is the peer's own.
    pub domain: String,
    /// Which of its devices (RFC 5627), as the address says it. None: any.
    pub gr: Option<String>,
}

impl Named {
    pub(super) fn of(address: Uri) -> Self {
        let domain = match address.host {
            Some(syntax::Host::Name(name)) => name,
            Some(syntax::Host::Ip(_)) | None => String::new(),
        };
        let gr = address.parameters.value("gr").map(str::to_owned);
        Self {
            user: address.user,
            domain,
            gr,
        }
    }
}

impl End {
    /// Of which nothing else is said.
    pub const fn of(by: EndedBy, status: u16) -> Self {
        Self {
            by,
            status,
            cause: None,
            forward: None,
        }
    }
}

/// Who ended a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The peer.
    Peer,
    /// We.
    Own,
    /// Nobody: no answer came, or the session was not refreshed.
    Time,
}

/// What is worth counting. Failures are of who is where it says: over a stream, or with a nonce that was sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// A message that is none, or is wrong.
    Malformed,
    /// A user whom nobody knows.
    UnknownUser,
    /// A wrong password.
    WrongPassword,
    /// The right password.
    Known,
}

/// How a user is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Without a password.
    Open,
    /// By the password, in this realm.
    Password(String),
    /// Nobody knows it. It is asked for a password all the same, in this realm: that which a user of its domain would be asked
    /// in. Else who asks could tell those that there are from those that there are not. Of a domain that is none of the host's it
    /// is the usual one: of realms there are as many as somebody made, not as many as strangers name.
    Unknown(String),
}

/// What the agent asks while it takes a message.
pub trait Host {
    /// How this user is let in.
    fn access(&mut self, user: &str, domain: &str, flow: Flow) -> Access;
    /// The digest of the user's password. None: there is no such user.
    fn secret(&mut self, user: &str, domain: &str, algorithm: Algorithm) -> Option<Ha1>;
    /// A contact registers, or registers again. How long it stays, or the status of the refusal.
    fn register(&mut self, id: BindingId, binding: &Binding, expires: Duration) -> Result<Duration, u16>;
    /// May this begin, with so much to do?
    fn weigh(&mut self, _traffic: Traffic, _load: Load) -> Verdict {
        Verdict::Accept
    }
    /// A contact is gone.
    fn unregister(&mut self, id: BindingId);
    /// Need nobody say a password whose calls and texts come from where a trunk is? If not, it is let in as any other, and
    /// counts as none. Of a datagram the address can be forged: answers go to the trunk, but what was asked for is asked for.
    fn trusts(&mut self, _trunk: TrunkId, _flow: Flow) -> bool {
        true
    }
    /// Somebody wants to watch a user. What there is to tell of it, or the status of the refusal: 404, 403, 489.
    fn watch(&mut self, _watch: &Watch) -> Result<Watched, u16> {
        Err(489)
    }
    /// A user's telephone wants to say how the user is. The status of the refusal, if it may not.
    fn publish(&mut self, _user: &str, _domain: &str) -> Result<(), u16> {
        Err(489)
    }
    /// A text came. 200 or 202: it is taken, and told by an event; else the status of the refusal, as 404.
    fn text(&mut self, _text: &Text) -> u16 {
        405
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The way.
    pub flow: Flow,
    /// The Request-URI.
    pub uri: String,
    /// Route headers to begin with.
    pub route: Vec<String>,
}

/// Where a server of ours is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Datagrams.
    pub udp: SocketAddr,
    /// TCP.
    pub tcp: SocketAddr,
    /// TLS.
    pub tls: SocketAddr,
}
