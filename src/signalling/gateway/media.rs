//! The seam to RTP: legs with an address that a telephone sends to and hears from. Each publishes one broadcast and hears
//! others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use moqswitch_calls::{Codec, Quality};
use moqswitch_sip::sdp::Material;
use tokio::sync::Notify;

/// Legs that speak RTP. It is called on the calls thread: nothing here may block, and each method is for a bounded queue.
///
/// What is [`RtpError::Busy`] has not happened at all, and may be tried again in a moment.
pub trait RtpLegs: Send + std::fmt::Debug {
    /// Opens a leg whose broadcast is `path`, `call/<call>/<leg>`. Nothing is sent and nothing taken before
    /// [`Self::agree`].
    ///
    /// # Errors
    /// [`RtpError::Exhausted`], [`RtpError::NoAddress`], [`RtpError::Busy`]. What goes wrong later is told by
    /// [`RtpEvent::Refused`].
    fn open(&mut self, path: &str, wanted: RtpWanted) -> Result<RtpOpened, RtpError>;

    /// What is so from here on, all of it: after an answer, after an offer that was made again. Numbers, timestamps and the
    /// source of what is sent go on.
    ///
    /// # Errors
    /// [`RtpError::Unknown`], [`RtpError::Busy`].
    fn agree(&mut self, leg: RtpLeg, agreed: &RtpAgreed) -> Result<(), RtpError>;

    /// Whether there are legs of WebRTC.
    fn serves_browsers(&self) -> bool {
        false
    }

    /// Servers by which a browser finds its way, with credentials for a while.
    fn ice_servers(&self, _name: &str) -> Vec<RtpIceServer> {
        Vec::new()
    }

    /// Opens a leg of WebRTC that answers an offer with one of these codecs: the answer. [`Self::agree`] says what is so beside
    /// it.
    ///
    /// # Errors
    /// [`RtpError::Exhausted`], [`RtpError::Busy`]; [`RtpError::Unusable`]: the offer is.
    fn answer_browser(&mut self, _path: &str, _offer: &str, _codecs: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        Err(RtpError::Exhausted)
    }

    /// A leg of WebRTC that is to be, and its offer of these codecs. It is opened by [`Self::take_browser_answer`].
    ///
    /// # Errors
    /// [`RtpError::Exhausted`], [`RtpError::Busy`].
    fn offer_browser(&mut self, _path: &str, _codecs: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        Err(RtpError::Exhausted)
    }

    /// The answer to such an offer. A second one changes nothing.
    ///
    /// # Errors
    /// [`RtpError::Unknown`], [`RtpError::Busy`]; [`RtpError::Unusable`]: the answer is.
    fn take_browser_answer(&mut self, _leg: RtpLeg, _answer: &str) -> Result<(), RtpError> {
        Err(RtpError::Unknown)
    }

    /// What was said to a browser last, said again with another direction: the answer to an offer that changes nothing else.
    /// `None`: it changes more. `before` is what the browser said first.
    fn answer_browser_again(
        &self,
        _said: &str,
        _sends: bool,
        _receives: bool,
        _offers: (&str, &str),
    ) -> Option<String> {
        None
    }

    /// From here on the telephone hears this, and nothing else. A broadcast that is not there is waited for.
    ///
    /// # Errors
    /// [`RtpError::Unknown`], [`RtpError::Busy`].
    fn hear(&mut self, leg: RtpLeg, heard: &RtpHeard) -> Result<(), RtpError>;

    /// A tone says to the telephone that it is recorded, at once and after each such time; or no longer.
    ///
    /// # Errors
    /// [`RtpError::Unknown`], [`RtpError::Busy`].
    fn announce(&mut self, _leg: RtpLeg, _every: Option<Duration>) -> Result<(), RtpError> {
        Ok(())
    }

    /// Sends a digit to the telephone: `0` to `9`, `*`, `#`, `A` to `D`. It is dropped if no telephone events were agreed
    /// on, or nothing is to be sent.
    ///
    /// # Errors
    /// [`RtpError::Unknown`], [`RtpError::Busy`].
    fn press(&mut self, leg: RtpLeg, digit: char, duration_ms: u32) -> Result<(), RtpError>;

    /// Asks what was counted so far: [`RtpEvent::Counted`] is the answer.
    ///
    /// # Errors
    /// [`RtpError::Unknown`], [`RtpError::Busy`].
    fn count(&mut self, leg: RtpLeg) -> Result<(), RtpError>;

    /// Ends a leg. Its port rests before it is another one's. [`RtpEvent::Closed`] says what was counted.
    fn close(&mut self, leg: RtpLeg);

    /// What happened, in order.
    fn poll(&mut self) -> Option<RtpEvent>;

    /// Notified when [`Self::poll`] may have something. Poll until it has nothing, then wait.
    fn news(&self) -> Arc<Notify>;

    /// How many legs could still be opened.
    fn available(&self) -> usize;
}

/// A server of STUN or TURN, as browsers want it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RtpIceServer {
    /// Its URL.
    pub urls: String,
    /// Of TURN: by which name it lets in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Of TURN: the password of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Seconds for which both are good. Whoever registers again has new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// A leg, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RtpLeg(pub u64);

/// What is wanted of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpWanted {
    /// Where the telephone is, if that is known: the leg's address is of the same family.
    pub peer: Option<IpAddr>,
}

/// A leg that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpOpened {
    /// Its name.
    pub leg: RtpLeg,
    /// Where it receives RTP. RTCP: at the port above.
    pub address: SocketAddr,
}

/// What a telephone hears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RtpHeard {
    /// Nothing.
    #[default]
    Nothing,
    /// A broadcast.
    One {
        /// Its path.
        path: String,
        /// Its track `audio.<codec>`. `None`: `audio`, which is in the leg's codec.
        transcoded: Option<Codec>,
    },
    /// Several broadcasts at once.
    Several(RtpMix),
}

impl RtpHeard {
    /// Of the broadcast, if it is one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::One { path, .. } => Some(path),
            Self::Nothing | Self::Several(_) => None,
        }
    }
}

/// What is mixed for a telephone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMix {
    /// Where it is published: `mix/<call>/<leg>`.
    pub path: String,
    /// In this codec.
    pub codec: Codec,
    /// The broadcasts that are heard.
    pub hears: Vec<String>,
    /// What the telephone says itself.
    pub own: String,
}

/// What both ends have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpAgreed {
    /// What is spoken, both ways.
    pub codec: Codec,
    /// The payload type by which it is sent: the telephone's.
    pub payload_type: u8,
    /// Payload types that are taken, and what they are: those that were said to the telephone, and its own, as some use them
    /// both ways. What is of another codec than `codec` is dropped, and told by [`RtpEvent::OtherCodec`]. 16 at most.
    pub taken: Vec<(u8, Codec)>,
    /// Telephone events that are sent, if any are.
    pub events: Option<RtpEvents>,
    /// Telephone events that are taken. 16 at most.
    pub events_taken: Vec<RtpEvents>,
    /// Where the telephone is. `None`: nobody knows yet, or it stays where it was (`0.0.0.0`).
    pub peer: Option<RtpPeer>,
    /// Where it takes RTCP: what its `a=rtcp` says, or the port above that of RTP. `None`: nowhere. Of no account with
    /// `rtcp_mux`.
    pub rtcp: Option<SocketAddr>,
    /// RTCP goes with RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// The telephone wants VoIP metrics in it (RFC 3611).
    pub has_metrics: bool,
    /// All of it goes over SRTP. What is not protected by the telephone's key is dropped. `None`: nothing does.
    pub srtp: Option<RtpKeys>,
    /// The telephone hears what the leg hears: neither side holds, or music is heard.
    pub sends: bool,
    /// What the telephone says is published. While it is not, where the telephone is does not change.
    pub receives: bool,
    /// How long packets are that are sent, 10 to 60 ms. `None`: as the frames that are heard. Opus is not cut.
    pub ptime: Option<Duration>,
    /// After so long without anything of a telephone that ought to speak [`RtpEvent::Silent`] is told. `None`: never.
    pub media_timeout: Option<Duration>,
}

/// The keys of SRTP. What keeps its key goes on where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpKeys {
    /// For what is sent.
    pub ours: Material,
    /// For what comes.
    pub theirs: Material,
}

/// Telephone events (RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpEvents {
    /// 0 to 127.
    pub payload_type: u8,
    /// What durations count in a second: 8000, or 48 000 where that was offered with Opus.
    pub clock_hz: u32,
}

/// Where a telephone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPeer {
    /// As its SDP says.
    pub address: SocketAddr,
    /// It may be behind an address translator: packets may come from another host, within three seconds of this being said.
    pub is_translated: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum RtpEvent {
    /// A leg was not opened after all. Nothing more is told of it, and it is not there.
    Refused {
        /// Which.
        leg: RtpLeg,
        /// Why.
        reason: RtpRefused,
    },
    /// The telephone has pressed a digit by telephone events, and let go. It is on the broadcast's track `dtmf` as well.
    Digit {
        /// On which leg.
        leg: RtpLeg,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
        /// How long.
        duration_ms: u32,
    },
    /// Nothing has come of a telephone that ought to speak. Told once, until something comes.
    Silent {
        /// On which leg.
        leg: RtpLeg,
    },
    /// The telephone speaks another codec, of those that are taken; it is not heard. Agree on that one.
    OtherCodec {
        /// On which leg.
        leg: RtpLeg,
        /// Which.
        codec: Codec,
    },
    /// As was asked.
    Counted {
        /// Of which leg.
        leg: RtpLeg,
        /// So far.
        statistics: RtpStatistics,
    },
    /// A leg is over, as was wanted.
    Closed {
        /// Which.
        leg: RtpLeg,
        /// What was counted.
        statistics: RtpStatistics,
    },
}

/// Why a leg was not opened after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpRefused {
    /// There are as many as there may be.
    #[error("there are as many legs as there may be")]
    Full,
    /// Its broadcast cannot be announced.
    #[error("the broadcast of the leg cannot be announced")]
    NotAnnounced,
    /// The system refuses.
    #[error("the socket of the leg cannot be used")]
    Socket,
}

/// What was counted of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RtpStatistics {
    /// Packets of audio that came from the telephone.
    pub received: u64,
    /// Bytes of what was said in them.
    pub received_bytes: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// How well the telephone is heard here. `None`: it is not.
    pub heard: Option<Quality>,
    /// Packets that went to the telephone.
    pub sent: u64,
    /// Bytes of what was said in them.
    pub sent_bytes: u64,
    /// How well the telephone hears, as it tells by RTCP. `None`: it does not tell.
    pub hears: Option<Quality>,
    /// Packets of others, which were dropped.
    pub foreign: u64,
    /// Packets that were of no use: of no payload type that was agreed on, too long, too many.
    pub unusable: u64,
    /// Packets that were not protected by the telephone's key, or had come before.
    pub unauthentic: u64,
    /// Digits that the telephone has pressed.
    pub digits: u64,
    /// Since anything came of the telephone, or since the leg was opened.
    pub silent: Duration,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// There are no more legs, or no more ports.
    #[error("there are no legs left")]
    Exhausted,
    /// There is no address of the telephone's family.
    #[error("there is no address of that family")]
    NoAddress,
    /// There is no room for it now.
    #[error("the legs have too much to do")]
    Busy,
    /// There is no such leg.
    #[error("there is no such leg")]
    Unknown,
    /// What a browser says cannot be used.
    #[error("the description of a browser cannot be used")]
    Unusable,
}

/// There are none.
#[derive(Clone, Debug, Default)]
pub struct NoRtp(Arc<Notify>);

impl RtpLegs for NoRtp {
    fn open(&mut self, _path: &str, _wanted: RtpWanted) -> Result<RtpOpened, RtpError> {
        Err(RtpError::Exhausted)
    }

    fn agree(&mut self, _leg: RtpLeg, _agreed: &RtpAgreed) -> Result<(), RtpError> {
        Err(RtpError::Unknown)
    }

    fn hear(&mut self, _leg: RtpLeg, _heard: &RtpHeard) -> Result<(), RtpError> {
        Err(RtpError::Unknown)
    }

    fn press(&mut self, _leg: RtpLeg, _digit: char, _duration_ms: u32) -> Result<(), RtpError> {
        Err(RtpError::Unknown)
    }

    fn count(&mut self, _leg: RtpLeg) -> Result<(), RtpError> {
        Err(RtpError::Unknown)
    }

    fn close(&mut self, _leg: RtpLeg) {}

    fn poll(&mut self) -> Option<RtpEvent> {
        None
    }

    fn news(&self) -> Arc<Notify> {
        self.0.clone()
    }

    fn available(&self) -> usize {
        0
    }
}
