//! Legs of RTP for gateways: what the calls thread wants of them, told to the shards.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moqswitch_legs::{
    EventType, LegCodec, LegEvent, LegPeer, LegRefused, LegSettings, LegStatistics, Rtcp, SrtpKey, SrtpKeys, SrtpSuite,
};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_signalling::calls::{Codec, Quality};
use moqswitch_signalling::sip::sdp::{Material, Suite};
use moqswitch_signalling::{
    RtpAgreed, RtpError, RtpEvent, RtpEvents, RtpHeard, RtpLeg, RtpLegs, RtpOpened, RtpRefused, RtpStatistics,
    RtpWanted,
};
use tokio::sync::Notify;

use super::browsing::BrowserGateways;
use super::mixing::{Mixing, of_legs};
use super::pool::{Opener, Pooled, RtpPool, Unpooled};
use super::services::Mixers;
use crate::browsers::{Browsers, Opener as BrowserOpener};

/// All of them.
pub(super) struct RtpGateways {
    pool: RtpPool,
    mixing: Mixing,
    opened: u64,
    legs: HashMap<RtpLeg, Open>,
    names: HashMap<Pooled, RtpLeg>,
    /// Those of telephones in pages, if there is WebRTC.
    browsers: Option<BrowserGateways>,
}

/// An open one.
struct Open {
    leg: Pooled,
    settings: LegSettings,
}

impl RtpGateways {
    pub(super) fn new(pool: RtpPool, browsers: Option<Browsers>, mixers: Option<Mixers>) -> Self {
        let news = pool.news();
        Self {
            browsers: browsers.map(|browsers| BrowserGateways::new(browsers, BrowserOpener::Gateways, news)),
            pool,
            mixing: Mixing::new(mixers),
            opened: 0,
            legs: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// Those that have a leg.
    fn browser(&mut self, leg: RtpLeg) -> Option<&mut BrowserGateways> {
        self.browsers.as_mut().filter(|browsers| browsers.has(leg))
    }

    fn begin(&mut self) -> RtpLeg {
        let leg = RtpLeg(self.opened);
        self.opened += 1;
        leg
    }

    fn leg(&self, leg: RtpLeg) -> Result<Pooled, RtpError> {
        self.legs.get(&leg).map(|open| open.leg).ok_or(RtpError::Unknown)
    }

    /// As gateways know it. `None`: of a leg that is not there.
    fn translate(&mut self, pooled: Pooled, event: LegEvent) -> Option<RtpEvent> {
        let leg = *self.names.get(&pooled)?;
        if matches!(event, LegEvent::Refused { .. } | LegEvent::Closed { .. }) {
            self.forget(leg, pooled);
        }
        Some(told(leg, event))
    }

    fn forget(&mut self, leg: RtpLeg, pooled: Pooled) {
        self.legs.remove(&leg);
        self.mixing.end(leg);
        self.names.remove(&pooled);
    }
}

impl fmt::Debug for RtpGateways {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RtpGateways")
    }
}

impl RtpLegs for RtpGateways {
    fn open(&mut self, path: &str, wanted: RtpWanted) -> Result<RtpOpened, RtpError> {
        let broadcast = BroadcastPath::new(path);
        let mut made = None;
        let (pooled, address) = self.pool.open(Opener::Gateways, wanted.peer, true, |source| {
            let settings = LegSettings {
                sends: false,
                receives: false,
                ..LegSettings::new(broadcast, LegCodec::Pcmu, 0, source)
            };
            made.insert(settings).clone()
        })?;
        let leg = self.begin();
        self.names.insert(pooled, leg);
        if let Some(settings) = made {
            let open = Open { leg: pooled, settings };
            self.legs.insert(leg, open);
        }
        Ok(RtpOpened { leg, address })
    }

    fn agree(&mut self, leg: RtpLeg, agreed: &RtpAgreed) -> Result<(), RtpError> {
        if let Some(browsers) = self.browser(leg) {
            // Where its peer is, and whether it is, its session knows.
            let before = LegSettings::new(BroadcastPath::new(""), LegCodec::Pcmu, 0, (0, 0, 0));
            let settings = LegSettings {
                rtcp: Rtcp::Off,
                media_timeout: None,
                ..settings(agreed, &before)
            };
            return browsers.change(leg, settings);
        }
        let open = self.legs.get_mut(&leg).ok_or(RtpError::Unknown)?;
        let settings = settings(agreed, &open.settings);
        let peer = agreed.peer.map(|peer| LegPeer {
            address: peer.address,
            is_translated: peer.is_translated,
        });
        self.pool.change(open.leg, settings.clone(), peer)?;
        open.settings = settings;
        Ok(())
    }

    fn serves_browsers(&self) -> bool {
        self.browsers.is_some()
    }

    fn answer_browser(&mut self, path: &str, offer: &str, codecs: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        let leg = self.begin();
        let browsers = self.browsers.as_mut().ok_or(RtpError::Exhausted)?;
        Ok((leg, browsers.answer(leg, path, offer, codecs)?))
    }

    fn offer_browser(&mut self, path: &str, codecs: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        let leg = self.begin();
        let browsers = self.browsers.as_mut().ok_or(RtpError::Exhausted)?;
        Ok((leg, browsers.offer(leg, path, codecs)?))
    }

    fn take_browser_answer(&mut self, leg: RtpLeg, answer: &str) -> Result<(), RtpError> {
        self.browser(leg).ok_or(RtpError::Unknown)?.take_answer(leg, answer)
    }

    fn answer_browser_again(&self, said: &str, sends: bool, receives: bool, offers: (&str, &str)) -> Option<String> {
        moqswitch_webrtc::redirect(said, sends, receives, offers)
    }

    fn hear(&mut self, leg: RtpLeg, heard: &RtpHeard) -> Result<(), RtpError> {
        let hears = self.mixing.hear(leg, heard)?;
        if let Some(browsers) = self.browser(leg) {
            return browsers.hear(leg, hears);
        }
        Ok(self.pool.hear(self.leg(leg)?, hears)?)
    }

    fn announce(&mut self, leg: RtpLeg, every: Option<Duration>) -> Result<(), RtpError> {
        if let Some(browsers) = self.browser(leg) {
            return browsers.announce(leg, every);
        }
        Ok(self.pool.announce(self.leg(leg)?, every)?)
    }

    fn press(&mut self, leg: RtpLeg, digit: char, duration_ms: u32) -> Result<(), RtpError> {
        if let Some(browsers) = self.browser(leg) {
            return browsers.press(leg, digit, duration_ms);
        }
        Ok(self.pool.press(self.leg(leg)?, digit, duration_ms)?)
    }

    fn count(&mut self, leg: RtpLeg) -> Result<(), RtpError> {
        if let Some(browsers) = self.browser(leg) {
            return browsers.count(leg);
        }
        Ok(self.pool.count(self.leg(leg)?)?)
    }

    fn close(&mut self, leg: RtpLeg) {
        self.mixing.end(leg);
        if let Some(browsers) = self.browser(leg) {
            return browsers.close(leg);
        }
        // Its name stays until its end is told.
        if let Some(open) = self.legs.remove(&leg) {
            self.pool.close(open.leg);
            self.mixing.end(leg);
        }
    }

    fn poll(&mut self) -> Option<RtpEvent> {
        if let Some((leg, event)) = self.browsers.as_mut().and_then(BrowserGateways::poll) {
            return Some(told(leg, event));
        }
        loop {
            let (pooled, event) = self.pool.poll(Opener::Gateways)?;
            let told = self.translate(pooled, event);
            if told.is_some() {
                return told;
            }
        }
    }

    fn news(&self) -> Arc<Notify> {
        self.pool.news()
    }

    fn available(&self) -> usize {
        self.pool.available(2)
    }
}

impl From<Unpooled> for RtpError {
    fn from(unpooled: Unpooled) -> Self {
        match unpooled {
            Unpooled::Exhausted => Self::Exhausted,
            Unpooled::NoAddress => Self::NoAddress,
            Unpooled::Busy => Self::Busy,
        }
    }
}

/// What was agreed on, and what of a leg never changes.
fn settings(agreed: &RtpAgreed, before: &LegSettings) -> LegSettings {
    let events = |events: &RtpEvents| EventType {
        payload_type: events.payload_type,
        clock_hz: events.clock_hz,
    };
    LegSettings {
        codec: of_legs(agreed.codec),
        payload_type: agreed.payload_type,
        taken: agreed
            .taken
            .iter()
            .map(|(kind, codec)| (*kind, of_legs(*codec)))
            .collect(),
        event_type: agreed.events.as_ref().map(events),
        events_taken: agreed.events_taken.iter().map(events).collect(),
        ptime: agreed.ptime,
        sends: agreed.sends,
        receives: agreed.receives,
        rtcp: match (agreed.rtcp_mux, agreed.rtcp) {
            (true, _) => Rtcp::Mux,
            (false, Some(address)) => Rtcp::Apart(address),
            (false, None) => Rtcp::Off,
        },
        has_metrics: agreed.has_metrics,
        srtp: agreed.srtp.as_ref().map(|keys| SrtpKeys {
            ours: key(&keys.ours),
            theirs: key(&keys.theirs),
        }),
        media_timeout: agreed.media_timeout,
        broadcast: before.broadcast.clone(),
        source: before.source,
        delivery: before.delivery,
    }
}

fn key(material: &Material) -> SrtpKey {
    let suite = match material.suite() {
        Suite::AesCm80 => SrtpSuite::AesCm80,
        Suite::AesCm32 => SrtpSuite::AesCm32,
        Suite::AesGcm128 => SrtpSuite::AesGcm128,
        Suite::AesGcm256 => SrtpSuite::AesGcm256,
    };
    SrtpKey::new(suite, material.key_and_salt(), material.mki()).expect("both say the same of lengths")
}

fn counted(statistics: &LegStatistics) -> RtpStatistics {
    let quality = |jitter: Duration, loss: f32, mos: f32| Quality {
        rtt: statistics.peer.rtt.unwrap_or_default(),
        jitter,
        loss_permille: permille(loss),
        mos: Some(mos),
        ..Quality::default()
    };
    RtpStatistics {
        received: statistics.received.packets,
        received_bytes: statistics.received.bytes,
        lost: statistics.received.lost,
        heard: statistics
            .mos()
            .map(|mos| quality(statistics.jitter, statistics.loss(), mos)),
        sent: statistics.sent.packets,
        sent_bytes: statistics.sent.bytes,
        hears: statistics
            .peer_mos()
            .map(|mos| quality(statistics.peer_jitter, statistics.peer_loss(), mos)),
        foreign: statistics.foreign,
        unusable: statistics.unusable,
        unauthentic: statistics.unauthentic,
        digits: statistics.digits,
        silent: statistics.silent,
    }
}

/// As gateways know it.
pub(super) fn told(leg: RtpLeg, event: LegEvent) -> RtpEvent {
    match event {
        LegEvent::Refused { reason, .. } => {
            let reason = match reason {
                LegRefused::Full => RtpRefused::Full,
                LegRefused::NotAnnounced => RtpRefused::NotAnnounced,
                LegRefused::Socket | LegRefused::NoWebrtc => RtpRefused::Socket,
            };
            RtpEvent::Refused { leg, reason }
        }
        LegEvent::Closed { statistics, .. } => {
            let statistics = counted(&statistics);
            RtpEvent::Closed { leg, statistics }
        }
        LegEvent::Counted { statistics, .. } => {
            let statistics = counted(&statistics);
            RtpEvent::Counted { leg, statistics }
        }
        LegEvent::Digit { digit, duration_ms, .. } => RtpEvent::Digit {
            leg,
            digit,
            duration_ms,
        },
        LegEvent::Silent { .. } | LegEvent::Gone { .. } => RtpEvent::Silent { leg },
        LegEvent::OtherCodec { codec, .. } => RtpEvent::OtherCodec {
            leg,
            codec: of_calls(codec),
        },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 1000"
)]
fn permille(share: f32) -> u16 {
    (share.clamp(0.0, 1.0) * 1000.0).round() as u16
}

fn of_calls(codec: LegCodec) -> Codec {
    match codec {
        LegCodec::Opus => Codec::Opus,
        LegCodec::Pcmu => Codec::Pcmu,
        LegCodec::Pcma => Codec::Pcma,
        LegCodec::G722 => Codec::G722,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::num::NonZeroUsize;

    use moqswitch_media::rtp::Packet;
    use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
    use moqswitch_signalling::{ChannelCounts, ChannelNews, ChannelPool, RtpPeer};
    use tokio::net::UdpSocket;
    use tokio::time::timeout;

    use super::*;
    use crate::telephony::channels::RtpChannels;

    /// Of which no other test has ports.
    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 79, 1));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    const LIMIT: Duration = Duration::from_secs(15);

    #[tokio::test]
    async fn telephones_talk_by_legs_and_what_happens_is_told() {
        let relay = start();
        let pool = RtpPool::new(&[HOST, V6], &(22_000..=22_005), relay.ports()).unwrap();
        let mut legs = RtpGateways::new(pool.clone(), None, None);
        let (first, second) = (telephone(HOST).await, telephone(V6).await);
        let one = open(&mut legs, "call/7/1", HOST);
        let two = open(&mut legs, "call/7/2", V6);
        assert!(one.address.ip() == HOST && two.address.ip() == V6);
        legs.agree(one.leg, &agreed(first.local_addr().unwrap())).unwrap();
        legs.agree(two.leg, &agreed(second.local_addr().unwrap())).unwrap();
        legs.hear(one.leg, &heard("call/7/2")).unwrap();
        legs.hear(two.leg, &heard("call/7/1")).unwrap();
        let said = speak(&first, one.address, &second).await;
        speak(&second, two.address, &first).await;

        // A digit, of which nothing but the end comes.
        send(&first, one.address, 101, said, &[7, 0x80, 3, 0x20]).await;
        let digit = RtpEvent::Digit {
            leg: one.leg,
            digit: '7',
            duration_ms: 100,
        };
        assert_eq!(next(&mut legs).await, digit);
        legs.press(two.leg, '#', 60).unwrap();
        while receive(&second).await.1 != 101 {}

        legs.count(one.leg).unwrap();
        let RtpEvent::Counted { leg, statistics } = next(&mut legs).await else {
            panic!("it was asked what was counted")
        };
        assert!(leg == one.leg && statistics.received > 0 && statistics.digits == 1);
        assert!(
            statistics
                .heard
                .and_then(|heard| heard.mos)
                .is_some_and(|mos| mos > 4.0)
        );
        assert_eq!(statistics.hears, None);

        legs.close(one.leg);
        assert_eq!(legs.hear(one.leg, &RtpHeard::Nothing), Err(RtpError::Unknown));
        assert!(matches!(next(&mut legs).await, RtpEvent::Closed { leg, .. } if leg == one.leg));
        assert_eq!(legs.poll(), None);
        stop(relay).await;
    }

    #[tokio::test]
    async fn channels_and_gateways_share_ports() {
        let relay = start();
        let pool = RtpPool::new(&[HOST], &(22_010..=22_015), relay.ports()).unwrap();
        let mut legs = RtpGateways::new(pool.clone(), None, None);
        let mut channels = RtpChannels::new(pool, None);
        assert_eq!((legs.available(), channels.load().available), (3, 3));
        let opened = open(&mut legs, "call/7/1", HOST);
        let channel = channels.open(Some("http://127.0.0.1:1")).unwrap();
        assert_ne!(channel.port, opened.address.port());
        assert_eq!((legs.available(), channels.load().available), (1, 1));
        let wanted = RtpWanted { peer: Some(V6) };
        assert_eq!(legs.open("call/7/2", wanted), Err(RtpError::NoAddress));
        // One that its shard refuses is told to who opened it alone, and has no port any more.
        let refused = open(&mut legs, &"x".repeat(100_000), HOST);
        assert_eq!(legs.available(), 0);
        assert_eq!(legs.open("call/7/2", RtpWanted::default()), Err(RtpError::Exhausted));
        let event = RtpEvent::Refused {
            leg: refused.leg,
            reason: RtpRefused::NotAnnounced,
        };
        assert_eq!(next(&mut legs).await, event);
        assert_eq!(legs.press(refused.leg, '1', 1), Err(RtpError::Unknown));
        channels.close(&channel.uuid).unwrap();
        assert_eq!(channels.load().active, 0);
        // Ports rest.
        assert_eq!(legs.available(), 0);
        let notice = loop {
            match channels.poll_event() {
                Some(notice) => break notice,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(
            (notice.channel, notice.control.as_str()),
            (channel.uuid, "http://127.0.0.1:1")
        );
        let counts = ChannelCounts::default();
        let closed = ChannelNews::Closed {
            reason: "requested",
            counts,
        };
        assert_eq!(notice.news, closed);
        stop(relay).await;
    }

    fn heard(path: &str) -> RtpHeard {
        RtpHeard::One {
            path: path.to_owned(),
            transcoded: None,
        }
    }

    fn agreed(peer: SocketAddr) -> RtpAgreed {
        let events = RtpEvents {
            payload_type: 101,
            clock_hz: 8000,
        };
        RtpAgreed {
            codec: Codec::Pcmu,
            payload_type: 0,
            taken: vec![(0, Codec::Pcmu)],
            events: Some(events),
            events_taken: vec![events],
            peer: Some(RtpPeer {
                address: peer,
                is_translated: false,
            }),
            rtcp: None,
            rtcp_mux: true,
            has_metrics: false,
            srtp: None,
            sends: true,
            receives: true,
            ptime: Some(Duration::from_millis(20)),
            media_timeout: None,
        }
    }

    fn open(legs: &mut RtpGateways, path: &str, peer: IpAddr) -> RtpOpened {
        legs.open(path, RtpWanted { peer: Some(peer) }).unwrap()
    }

    async fn next(legs: &mut RtpGateways) -> RtpEvent {
        let news = legs.news();
        let waiting = async {
            loop {
                if let Some(event) = legs.poll() {
                    return event;
                }
                news.notified().await;
            }
        };
        timeout(LIMIT, waiting).await.expect("something happens")
    }

    async fn telephone(host: IpAddr) -> UdpSocket {
        UdpSocket::bind((host, 0)).await.unwrap()
    }

    /// Until it is heard. The number of what is said next.
    async fn speak(from: &UdpSocket, to: SocketAddr, hearer: &UdpSocket) -> u16 {
        for sequence in 0..500 {
            send(from, to, 0, sequence, &[0xd5; 160]).await;
            if let Ok((length, kind)) = timeout(Duration::from_millis(20), receive(hearer)).await {
                assert_eq!((length, kind), (160, 0));
                return sequence + 1;
            }
        }
        panic!("nothing is heard");
    }

    async fn send(from: &UdpSocket, to: SocketAddr, payload_type: u8, sequence: u16, payload: &[u8]) {
        let packet = Packet {
            marker: false,
            payload_type,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc: 5,
            payload,
        };
        let mut datagram = Vec::new();
        packet.write(&mut datagram);
        from.send_to(&datagram, to).await.unwrap();
    }

    /// How much was said in the next packet, and its type.
    async fn receive(hearer: &UdpSocket) -> (usize, u8) {
        let mut datagram = [0; 2000];
        loop {
            let received = timeout(LIMIT, hearer.recv_from(&mut datagram)).await;
            let (length, _) = received.expect("something is heard").unwrap();
            // Reports come with it.
            if let Ok(packet) = Packet::parse(&datagram[..length]) {
                return (packet.payload.len(), packet.payload_type);
            }
        }
    }

    fn start() -> RelayHandle {
        Relay::start(RelayOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            shards: NonZeroUsize::new(1),
            ..RelayOptions::default()
        })
        .unwrap()
    }

    async fn stop(relay: RelayHandle) {
        relay.drain(Duration::ZERO);
        tokio::task::spawn_blocking(move || relay.join())
            .await
            .unwrap()
            .unwrap();
    }
}
