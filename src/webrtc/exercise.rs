//! For tests: a browser, by str0m itself with ICE in full.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::codec::{Codec, configure};
use crate::crypto;
use crate::session::{Certificate, SessionPacket};

/// Who calls, and is called.
pub struct Browser {
    rtc: Rtc,
    address: SocketAddr,
    mid: Option<Mid>,
    pending: Option<SdpPendingOffer>,
    /// Both sides are known to each other.
    pub is_up: bool,
    /// What was heard.
    pub heard: Vec<SessionPacket<Arc<[u8]>>>,
}

impl Browser {
    /// One that is at this address.
    ///
    /// # Panics
    /// When it cannot be, as with all that is done by it: it is for tests.
    pub fn new(certificate: &Certificate, address: SocketAddr, codecs: &[Codec], now: Instant) -> Self {
        let certificate = DtlsCert {
            certificate: certificate.certificate.clone(),
            private_key: certificate.key.clone(),
        };
        let mut config = RtcConfig::new()
            .set_crypto_provider(crypto::provider())
            .set_dtls_cert(certificate)
            .set_rtp_mode(true);
        configure(config.codec_config(), codecs);
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).expect("an address"));
        Self {
            rtc,
            address,
            mid: None,
            pending: None,
            is_up: false,
            heard: Vec::new(),
        }
    }

    /// Its offer of audio.
    ///
    /// # Panics
    /// See [`Self::new`].
    pub fn offer(&mut self, speaks: bool, hears: bool) -> String {
        let direction = match (speaks, hears) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            _ => Direction::RecvOnly,
        };
        let mut changes = self.rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Audio, direction, None, None, None);
        let (offer, pending) = changes.apply().expect("something is offered");
        (self.mid, self.pending) = (Some(mid), Some(pending));
        offer.to_sdp_string()
    }

    /// It is answered.
    ///
    /// # Panics
    /// See [`Self::new`].
    pub fn answered(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        let pending = self.pending.take().expect("it has offered something");
        let accepted = self.rtc.sdp_api().accept_answer(pending, answer);
        accepted.expect("it answers the offer");
    }

    /// It answers.
    ///
    /// # Panics
    /// See [`Self::new`].
    pub fn answer(&mut self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).expect("an offer");
        let answer = self.rtc.sdp_api().accept_offer(offer);
        answer.expect("it can be answered").to_sdp_string()
    }

    /// It says something.
    ///
    /// # Panics
    /// See [`Self::new`].
    pub fn speak(&mut self, payload_type: u8, sequence: u32, payload: &[u8], now: Instant) {
        let mid = self.mid.expect("there is audio");
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None).expect("it may speak");
        let timestamp = sequence.wrapping_mul(960);
        let number = u64::from(sequence).into();
        stream.write_rtp(RtpWrite::new(payload_type.into(), number, timestamp, now, payload));
        self.handle_timeout(now);
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) {
        if let Ok(received) = Receive::new(Protocol::Udp, source, self.address, datagram) {
            // What is wrong with it shows by what is not heard.
            let _ = self.rtc.handle_input(Input::Receive(now, received));
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        // As above.
        let _ = self.rtc.handle_input(Input::Timeout(now));
    }

    /// It ends the session, and says so.
    pub fn close(&mut self) {
        // As above.
        let _ = self.rtc.close();
    }

    /// What it sends, and when time is to pass for it.
    ///
    /// # Panics
    /// See [`Self::new`].
    pub fn poll(&mut self) -> (Vec<(SocketAddr, Vec<u8>)>, Instant) {
        let mut sent = Vec::new();
        loop {
            match self.rtc.poll_output().expect("it is well") {
                Output::Timeout(until) => return (sent, until),
                Output::Transmit(transmit) => sent.push((transmit.destination, transmit.contents.into())),
                Output::Event(Event::Connected) => self.is_up = true,
                Output::Event(Event::MediaAdded(added)) => self.mid = Some(added.mid),
                Output::Event(Event::RtpPacket(packet)) => self.heard.push(SessionPacket {
                    marker: packet.header.marker,
                    payload_type: *packet.header.payload_type,
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    ssrc: *packet.header.ssrc,
                    payload: packet.payload,
                }),
                Output::Event(_) => {}
            }
        }
    }
}
