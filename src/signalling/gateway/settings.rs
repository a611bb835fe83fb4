//! What the gateway is given.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use moqswitch_calls::Number;
use moqswitch_sip::agent::{NumberRules, Reached, Trunk};
use moqswitch_sip::digest::Algorithm;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::media::RtpLegs;

/// SIP of a switch.
pub struct SipSettings {
    /// Where it listens.
    pub sockets: SipSockets,
    /// Where telephones reach it.
    pub reached: Reached,
    /// Of addresses and of digest authentication: a domain, or the name of the switch.
    pub realm: String,
    /// What is offered for passwords, in this order.
    pub algorithms: Vec<Algorithm>,
    /// How often contacts on datagrams are asked whether they are there. Zero: never.
    pub ping: Duration,
    /// Whether telephones talk over SRTP.
    pub srtp: SrtpPolicy,
    /// Ways to other networks.
    pub trunks: TrunkPlan,
    /// Media of telephones.
    pub media: Box<dyn RtpLegs>,
    /// Where telephones are told to send it, at the port of each leg: one of each family that there is.
    pub media_addresses: Vec<IpAddr>,
}

/// Ways to other networks.
#[derive(Debug, Default)]
pub struct TrunkPlan {
    /// Each.
    pub trunks: Vec<TrunkSettings>,
    /// Several under one name.
    pub groups: Vec<TrunkGroupSettings>,
}

/// A trunk, as the switch names it.
#[derive(Debug)]
pub struct TrunkSettings {
    /// Its number: `trunk/<number>` in the dialplan.
    pub number: Number,
    /// How it is reached.
    pub trunk: Trunk,
    /// What encrypts streams to it, where it is reached by TLS.
    pub encryption: Option<Arc<dyn TrunkEncryption>>,
    /// Whether it talks over SRTP. `None`: as telephones do.
    pub srtp: Option<SrtpPolicy>,
    /// How many calls it has at most, both ways together. 0: as many as there are.
    pub calls_max: u32,
    /// How numbers of here are written there.
    pub numbers_out: NumberRules,
    /// How numbers of there are read here.
    pub numbers_in: NumberRules,
}

/// Trunks that take each other's calls.
#[derive(Debug)]
pub struct TrunkGroupSettings {
    /// `trunk/<number>` in the dialplan.
    pub number: Number,
    /// Their numbers, each with its priority, the lowest first, and its share among equals.
    pub members: Vec<(Number, u16, u16)>,
}

/// Whether media is over SRTP, with keys in descriptions (SDES, RFC 4568). Who can read these can read the media: they are
/// secret on TLS, and on nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpPolicy {
    /// It is not, and an offer that wants it is refused.
    Off,
    /// It is where it is offered.
    #[default]
    Accept,
    /// The same, and who is called over TLS is offered it; one that refuses is offered RTP. A trunk that has this by itself is
    /// offered it over anything.
    Offer,
    /// It is always, or there is no call.
    Require,
}

/// Where telephones are listened for. They do not block.
#[derive(Debug, Default)]
pub struct SipSockets {
    /// Datagrams. None: there are none.
    pub udp: Option<UdpSocket>,
    /// Streams. None: there are none.
    pub tcp: Option<TcpListener>,
    /// Encrypted streams, and what encrypts them. None: there are none.
    pub tls: Option<(TcpListener, Box<dyn Encryption>)>,
}

/// What encrypts streams.
pub trait Encryption: Send + fmt::Debug {
    /// Shakes hands with who has connected.
    fn accept(&self, stream: TcpStream) -> Encrypting;
}

/// What encrypts streams to a trunk, and finds out that it is the trunk.
pub trait TrunkEncryption: Send + Sync + fmt::Debug {
    /// Shakes hands with who was connected to.
    fn connect(&self, stream: TcpStream) -> Encrypting;
    /// The same for two that are the same but for where they are in memory: connections of one do for the other.
    fn fingerprint(&self) -> [u8; 32];
}

/// A handshake.
pub type Encrypting = Pin<Box<dyn Future<Output = io::Result<Encrypted>>>>;

/// What comes of it.
pub struct Encrypted {
    /// What is said.
    pub stream: Box<dyn Duplex>,
    /// The names in the other side's certificate, in small letters, where it has one that is believed and trunks are known by them.
    pub names: Vec<String>,
    /// Over when those who vouched for these names are not believed any more: what is said is over, too.
    pub distrusted: Pin<Box<dyn Future<Output = ()>>>,
}

/// A stream both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl fmt::Debug for SipSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SipSettings")
            .field("sockets", &self.sockets)
            .field("reached", &self.reached)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
