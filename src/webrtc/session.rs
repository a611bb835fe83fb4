//! One session of audio with one peer, by str0m. None of its types is seen outside.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use crate::codec::{Agreed, Codec, configure};
use crate::crypto;
use crate::description::{DescriptionError, admit, audio_of};
use crate::limits::{CONNECT_TIME_MAX, PAYLOAD_BYTES_MAX, SOURCES_MAX, TOLD_MAX};

/// By which peers know this side: self-signed, with a key of ECDSA P-256. Never printed: no `Debug`.
#[derive(Clone)]
pub struct Certificate {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS #8, DER.
    pub key: Vec<u8>,
}

/// How a session begins.
pub struct SessionSettings<'a> {
    /// By which the peer knows this side.
    pub certificate: &'a Certificate,
    /// Where this side is. It is told to the peer, and takes what comes.
    pub address: SocketAddr,
    /// What may be spoken.
    pub codecs: &'a [Codec],
    /// The moment.
    pub now: Instant,
}

/// A session: both sides know of each other.
pub struct Session {
    rtc: Rtc,
    address: SocketAddr,
    mid: Mid,
    username: String,
    agreed: Agreed,
    /// When it is over unless it is up; `None`: it is up.
    connect_by: Option<Instant>,
    /// Where packets go.
    remote: Option<SocketAddr>,
    /// Of the packet that was sent last, counted on beyond 16 bits.
    sequence: Option<u64>,
    /// Of its RTP, as far as they are few.
    sources: Vec<u32>,
    is_over: bool,
}

/// An offer, until its answer comes.
pub struct Offered {
    rtc: Rtc,
    address: SocketAddr,
    mid: Mid,
    pending: SdpPendingOffer,
}

/// A packet of the peer, or for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPacket<P> {
    /// As its header has it.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Modulo 2^16.
    pub sequence: u16,
    /// Modulo 2^32.
    pub timestamp: u32,
    /// Who sends. Of what is sent the session has its own.
    pub ssrc: u32,
    /// What is said.
    pub payload: P,
}

/// What came of something.
#[derive(Debug)]
pub enum Told {
    /// This is to be sent there.
    Send {
        /// Where.
        destination: SocketAddr,
        /// What.
        datagram: Vec<u8>,
    },
    /// The peer says something.
    Packet(SessionPacket<std::sync::Arc<[u8]>>),
    /// It is up, or the peer has moved: here it is.
    Up(SocketAddr),
    /// Nothing more comes.
    Over,
    /// Nothing before then.
    Wait(Instant),
}

impl Session {
    /// Answers an offer.
    pub fn answer(settings: &SessionSettings<'_>, offer: &str) -> Result<(Self, String), DescriptionError> {
        let offer = admit(offer)?;
        let mid = audio_of(&offer).ok_or(DescriptionError::NoCodec)?.into();
        let offer = SdpOffer::from_sdp_string(&offer).map_err(unusable)?;
        let mut rtc = begin(settings)?;
        let answer = rtc.sdp_api().accept_offer(offer).map_err(unusable)?;
        let answer = answer.to_sdp_string();
        Ok((Self::new(rtc, settings.address, mid, settings.now)?, answer))
    }

    /// An offer of audio both ways.
    pub fn offer(settings: &SessionSettings<'_>) -> Result<(Offered, String), DescriptionError> {
        let mut rtc = begin(settings)?;
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let (offer, pending) = changes
            .apply()
            .ok_or_else(|| DescriptionError::Unusable("nothing is offered".to_owned()))?;
        let offered = Offered {
            rtc,
            address: settings.address,
            mid,
            pending,
        };
        Ok((offered, offer.to_sdp_string()))
    }

    fn new(mut rtc: Rtc, address: SocketAddr, mid: Mid, now: Instant) -> Result<Self, DescriptionError> {
        let agreed = agreed(&rtc, mid);
        if agreed.codecs.is_empty() {
            return Err(DescriptionError::NoCodec);
        }
        let username = rtc.direct_api().local_ice_credentials().ufrag;
        Ok(Self {
            rtc,
            address,
            mid,
            username,
            agreed,
            connect_by: Some(now + CONNECT_TIME_MAX),
            remote: None,
            sequence: None,
            sources: Vec::new(),
            is_over: false,
        })
    }

    /// What its checks of ICE begin with (RFC 8445, section 7.2.2): the name of this side.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// What was agreed on.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Where the peer is, once it is up.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote.filter(|_| self.connect_by.is_none())
    }

    /// A datagram came that is the session's, as its address or its username says. [`Self::poll`] has what comes of it.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) {
        // What is no datagram of WebRTC is passed over.
        if let Ok(received) = Receive::new(Protocol::Udp, source, self.address, datagram) {
            self.handle(Input::Receive(now, received));
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.connect_by.is_some_and(|connect_by| connect_by <= now) {
            self.is_over = true;
        }
        self.handle(Input::Timeout(now));
    }

    /// Says something to the peer, with the source's own numbers. False: it is not up, or this is not to be sent.
    pub fn send(&mut self, packet: &SessionPacket<&[u8]>, now: Instant) -> bool {
        let is_sendable = self.remote().is_some() && packet.payload.len() <= PAYLOAD_BYTES_MAX && !self.is_over;
        let is_agreed = || {
            let mut types = self.agreed.codecs.iter().map(|(kind, _)| kind);
            let mut events = self.agreed.events.iter().map(|(kind, _)| kind);
            types.any(|kind| *kind == packet.payload_type) || events.any(|kind| *kind == packet.payload_type)
        };
        if !is_sendable || !is_agreed() {
            return false;
        }
        let sequence = match self.sequence {
            None => u64::from(packet.sequence),
            Some(last) => {
                let [.., high, low] = last.to_be_bytes();
                last + u64::from(packet.sequence.wrapping_sub(u16::from_be_bytes([high, low])))
            }
        };
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(self.mid, None) else {
            return false;
        };
        self.sequence = Some(sequence);
        let payload_type = packet.payload_type.into();
        let write = RtpWrite::new(payload_type, sequence.into(), packet.timestamp, now, packet.payload);
        stream.write_rtp(write.marker(packet.marker));
        self.handle(Input::Timeout(now));
        true
    }

    /// The peer is told that it is over.
    pub fn close(&mut self) {
        // Whether it can be told does not matter any more.
        let _ = self.rtc.close();
    }

    /// What came of what happened, until there is nothing but to wait.
    pub fn poll(&mut self, mut tell: impl FnMut(Told)) {
        for _ in 0..TOLD_MAX {
            if self.is_over {
                return tell(Told::Over);
            }
            match self.rtc.poll_output() {
                Ok(Output::Timeout(until)) => {
                    return match self.rtc.is_alive() {
                        true => tell(Told::Wait(
                            self.connect_by.map_or(until, |connect_by| connect_by.min(until)),
                        )),
                        false => tell(Told::Over),
                    };
                }
                Ok(Output::Transmit(transmit)) => {
                    let (destination, datagram) = (transmit.destination, Vec::from(transmit.contents));
                    // Answers to checks go wherever those came from; all else goes where the peer has chosen.
                    let is_check = datagram.first().is_some_and(|first| *first < CHECKS_BELOW);
                    if !is_check && self.remote.replace(destination) != Some(destination) && self.connect_by.is_none() {
                        tell(Told::Up(destination));
                    }
                    tell(Told::Send { destination, datagram });
                }
                Ok(Output::Event(event)) => {
                    if let Some(told) = self.take(event) {
                        tell(told);
                    }
                }
                Err(_) => self.is_over = true,
            }
        }
        self.is_over = true;
        tell(Told::Over);
    }

    fn take(&mut self, event: Event) -> Option<Told> {
        match event {
            Event::Connected => {
                self.connect_by = None;
                self.remote.map(Told::Up)
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) | Event::Closed => {
                self.is_over = true;
                None
            }
            Event::RtpPacket(packet) if !self.admits(*packet.header.ssrc) => {
                self.is_over = true;
                None
            }
            Event::RtpPacket(packet) if packet.payload.len() <= PAYLOAD_BYTES_MAX => {
                Some(Told::Packet(SessionPacket {
                    marker: packet.header.marker,
                    payload_type: *packet.header.payload_type,
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    ssrc: *packet.header.ssrc,
                    payload: packet.payload,
                }))
            }
            _ => None,
        }
    }

    /// Of each source something is kept.
    fn admits(&mut self, source: u32) -> bool {
        if !self.sources.contains(&source) {
            self.sources.push(source);
        }
        self.sources.len() <= SOURCES_MAX
    }

    fn handle(&mut self, input: Input<'_>) {
        if self.rtc.handle_input(input).is_err() {
            self.is_over = true;
        }
    }
}

impl Offered {
    /// What the checks of ICE of its peer will begin with.
    pub fn username(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// The peer answers.
    pub fn accept(mut self, answer: &str, now: Instant) -> Result<Session, DescriptionError> {
        let answer = SdpAnswer::from_sdp_string(&admit(answer)?).map_err(unusable)?;
        // Who rang for long has as much time for the handshake as any other.
        self.rtc.handle_input(Input::Timeout(now)).map_err(unusable)?;
        let accepted = self.rtc.sdp_api().accept_answer(self.pending, answer);
        accepted.map_err(unusable)?;
        Session::new(self.rtc, self.address, self.mid, now)
    }
}

fn begin(settings: &SessionSettings<'_>) -> Result<Rtc, DescriptionError> {
    let certificate = DtlsCert {
        certificate: settings.certificate.certificate.clone(),
        private_key: settings.certificate.key.clone(),
    };
    let mut config = RtcConfig::new()
        .set_crypto_provider(crypto::provider())
        .set_dtls_cert(certificate)
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_send_buffer_audio(SEND_BUFFER_PACKETS);
    configure(config.codec_config(), settings.codecs);
    let mut rtc = config.build(settings.now);
    let candidate = Candidate::host(settings.address, Protocol::Udp).map_err(unusable)?;
    rtc.add_local_candidate(candidate);
    Ok(rtc)
}

fn agreed(rtc: &Rtc, mid: Mid) -> Agreed {
    let Some(media) = rtc.media(mid) else {
        return Agreed::default();
    };
    let params = rtc.codec_config().params();
    let of_type = |kind: &_| params.iter().find(|params| params.pt() == *kind);
    let taken: Vec<_> = media.remote_pts().iter().filter_map(of_type).collect();
    let codecs = taken
        .iter()
        .filter_map(|params| Some((*params.pt(), Codec::of(params.spec().codec)?)));
    let events = taken.iter().filter(|params| params.spec().codec.is_tele());
    Agreed {
        codecs: codecs.collect(),
        events: events
            .map(|params| (*params.pt(), params.spec().clock_rate.get()))
            .collect(),
        sends: media.direction().is_sending(),
        receives: media.direction().is_receiving(),
    }
}

fn unusable(error: impl std::fmt::Display) -> DescriptionError {
    DescriptionError::Unusable(error.to_string())
}

/// Packets that may be asked for again, and those that wait: a second.
const SEND_BUFFER_PACKETS: usize = 50;

/// The first byte of what is no STUN (RFC 7983).
const CHECKS_BELOW: u8 = 4;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
