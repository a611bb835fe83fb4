//! Telephones that speak RTP, on legs of an embedded relay: they hear each other as they spoke, clients of the peer crates
//! hear them and are heard, and nobody else is.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::peer::{PublishedTrack, read_group, write_group};
use moqswitch_interop::{Draft, PlannedGroup, Publisher, Random, Subscriber};
use moqswitch_legs::{LegCodec, LegEvent, LegName, LegSettings, LegStatistics, Legs, LegsPort};
use moqswitch_media::dtmf::{Digits, Event};
use moqswitch_media::rtp::Packet;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::local::Delivery;
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
use tokio::net::UdpSocket as AsyncSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn telephones_hear_each_other_bit_by_bit() -> Result<()> {
    for (from, to) in [(0, 0), (0, 1)] {
        for delivery in [Delivery::Stream, Delivery::Datagram] {
            converse(from, to, delivery, 600)
                .await
                .with_context(|| format!("shard {from} to shard {to}, {delivery:?}"))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "six minutes"]
async fn a_hundred_thousand_packets_arrive_bit_by_bit() -> Result<()> {
    converse(0, 1, Delivery::Datagram, 102_100).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "six minutes"]
async fn a_hundred_thousand_packets_arrive_bit_by_bit_by_streams() -> Result<()> {
    converse(0, 1, Delivery::Stream, 102_100).await
}

/// Of so many packets each fiftieth is lost, which leaves 98 of a hundred.
async fn converse(from: usize, to: usize, delivery: Delivery, packets: u32) -> Result<()> {
    let relay = start()?;
    let talker = Telephone::new(&relay, from, "call/7/a", delivery, 1).await?;
    let listener = Telephone::new(&relay, to, "call/7/b", delivery, 2).await?;
    listener.hear("call/7/a")?;
    let listening = listener.packets();
    talker.until_heard().await?;

    // Some are lost, some overtake, one comes twice, and there is silence that is not sent.
    let said: Vec<Said> = (0..packets).map(Said::new).collect();
    let mut order: Vec<u32> = (0..packets).filter(|index| index % 50 != 49).collect();
    (10..order.len()).step_by(37).for_each(|at| order.swap(at - 1, at));
    for index in &order {
        talker.say(&said[*index as usize]).await?;
        if *index == 100 {
            talker.say(&said[100]).await?;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    order.sort_unstable();
    let sent = order.len() as u64;
    // The last one is missed by nobody.
    let lost = u64::from(packets) - sent - 1;
    let heard = listening.await??;
    let (theirs, ours) = (talker.close().await?, listener.close().await?);
    ensure!(
        heard.len() == order.len(),
        "{} of {} packets: {theirs:?}, {ours:?}",
        heard.len(),
        order.len()
    );
    for (packet, index) in heard.iter().zip(&order) {
        let said = &said[*index as usize];
        ensure!(packet.payload == said.payload, "the payload of packet {index}");
        let number = packet.sequence.wrapping_sub(heard[0].sequence);
        let time = packet.timestamp.wrapping_sub(heard[0].timestamp);
        ensure!(number == *index as u16, "packet {index} is number {number}");
        ensure!(time == said.timestamp - FIRST_TIMESTAMP, "packet {index} is at {time}");
        ensure!(packet.marker == said.is_after_silence(), "the marker of packet {index}");
    }
    ensure!(
        theirs.received.packets == sent && theirs.received.refused == 1,
        "{theirs:?}"
    );
    ensure!(theirs.received.lost == lost, "{theirs:?}");
    ensure!(
        ours.sent.packets == sent && ours.sent.lost == lost && ours.sent.late == 0,
        "{ours:?}"
    );
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_hear_telephones_and_are_heard() -> Result<()> {
    for draft in [Draft::Lite04, Draft::Lite06] {
        let relay = start()?;
        let telephone = Telephone::new(&relay, 0, "call/7/a", Delivery::Stream, 1).await?;
        let mut subscriber = Subscriber::connect(relay.address(), draft).await?;
        subscriber.until_announced("call/7/a", true).await?;
        let listening = tokio::spawn(async move {
            let mut subscription = subscriber.subscribe("call/7/a", "audio").await?;
            let mut heard = Vec::new();
            for _ in 0..20 {
                heard.push(read_group(&mut subscription).await?);
            }
            let mut catalog = subscriber.subscribe("call/7/a", "catalog.json").await?;
            anyhow::Ok((heard, read_group(&mut catalog).await?))
        });
        telephone.until_heard().await?;
        for index in 0..20 {
            telephone.say(&Said::new(index)).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (heard, catalog) = timeout(LIMIT, listening).await???;
        for group in heard {
            let index = u32::try_from(group.sequence)?;
            ensure!(
                group.frames.len() == 1 && group.frames[0][..] == Said::new(index).payload[..],
                "{index}"
            );
        }
        let catalog: serde_json::Value = serde_json::from_slice(&catalog.frames[0])?;
        ensure!(catalog["audio"]["renditions"]["audio"]["codec"] == "pcmu", "{catalog}");

        let publisher = Publisher::connect(relay.address(), draft).await?;
        let mut random = Random::new(5);
        let first = random.group(0, &[160]);
        let speaking = publisher.publish("call/7/client", "audio", &first)?;
        telephone.hear("call/7/client")?;
        let listening = telephone.packets();
        let mut said = vec![first];
        // Until it hears, and then so many more.
        let mut left = 20;
        while left > 0 {
            said.push(random.group(said.len() as u64, &[160]));
            write(&speaking, said.last().context("one was pushed")?).await?;
            left -= u64::from(telephone.counted().await?.sent.packets > 0);
        }
        // From where the subscription began.
        let heard = listening.await??;
        let missed = said.len() - heard.len();
        ensure!(heard.len() >= 20, "{} packets", heard.len());
        for (packet, group) in heard.iter().zip(&said[missed..]) {
            ensure!(packet.payload[..] == group.frames[0][..], "group {}", group.sequence);
        }
        telephone.close().await?;
        stop(relay).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn digits_cross_the_relay_once_each() -> Result<()> {
    let relay = start()?;
    let talker = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 1).await?;
    let listener = Telephone::new(&relay, 1, "call/7/b", Delivery::Datagram, 2).await?;
    listener.hear("call/7/a")?;
    let listening = listener.packets();
    talker.until(|counted| counted.are_digits_wanted).await?;
    let mut number = 0;
    for (at, code) in [3_u8, 11, 12, 0, 0].into_iter().enumerate() {
        for step in 1..=6_u16 {
            let event = Event {
                code,
                is_end: step > 4,
                volume: 10,
                duration: step.min(4) * 160,
            };
            number += 1;
            let timestamp = 8000 + u32::try_from(at)? * 8000;
            talker.send(number, timestamp, EVENTS, &event.encode()).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let pressing = talker.packets();
    talker.port.press(talker.leg, '7', 100)?;
    let mut digits = Digits::default();
    let mut heard = String::new();
    let mut ends = 0;
    let mut numbers = Vec::new();
    for packet in listening.await?? {
        ensure!(packet.payload_type == EVENTS);
        numbers.push(packet.sequence);
        for digit in digits
            .take(packet.timestamp, &packet.payload, Duration::ZERO)
            .into_iter()
            .flatten()
        {
            if digit.is_end {
                ends += 1;
                ensure!(digit.duration >= 320, "{digit:?}");
            } else {
                heard.push(digit.digit);
            }
        }
    }
    ensure!(heard == "3#A00" && ends == 5, "{heard}, {ends} ends");
    ensure!(
        numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
        "{numbers:?}"
    );
    // What a program presses goes to the leg's own peer.
    let pressed = pressing.await??;
    let mut digits = Digits::default();
    let told: Vec<char> = pressed
        .iter()
        .flat_map(|packet| digits.take(packet.timestamp, &packet.payload, Duration::ZERO))
        .flatten()
        .filter(|digit| digit.is_end)
        .map(|digit| digit.digit)
        .collect();
    ensure!(told == ['7'], "{told:?}");
    ensure!(talker.close().await?.digits == 5);
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sprays_packets_is_not_heard_and_does_not_hear() -> Result<()> {
    let relay = start()?;
    let talker = Telephone::new(&relay, 0, "call/7/a", Delivery::Stream, 1).await?;
    let listener = Telephone::new(&relay, 0, "call/7/b", Delivery::Stream, 2).await?;
    listener.hear("call/7/a")?;
    let listening = listener.packets();
    talker.until_heard().await?;
    for index in 0..10 {
        talker.say(&Said::new(index)).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stranger = AsyncSocket::bind("127.0.0.2:0").await?;
    let mut forged = Vec::new();
    Said::new(10).packet().write(&mut forged);
    let (noise, to) = ([0x80_u8; 11], talker.relay);
    for _ in 0..50 {
        stranger.send_to(&forged, to).await?;
        talker.socket.send_to(&noise, to).await?;
        talker.socket.send_to(b"OPTIONS sip:x SIP/2.0\r\n\r\n", to).await?;
    }
    // Of another payload type than was agreed on.
    talker.send(11, 0, 77, &[1, 2, 3]).await?;
    for index in 10..20 {
        talker.say(&Said::new(index)).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let heard = listening.await??;
    ensure!(heard.len() == 20, "{} packets", heard.len());
    let counted = talker.close().await?;
    ensure!(counted.foreign == 50 && counted.unusable == 101, "{counted:?}");
    ensure!(counted.received.packets == 20, "{counted:?}");
    let nothing = timeout(A_WHILE, stranger.recv_from(&mut [0; 100])).await;
    ensure!(nothing.is_err(), "the stranger hears something");
    stop(relay).await
}

/// A telephone, and its leg at the relay.
pub(crate) struct Telephone {
    pub(crate) socket: Arc<AsyncSocket>,
    /// Where its leg takes RTP, and RTCP.
    pub(crate) relay: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) port: LegsPort,
    pub(crate) leg: LegName,
    pub(crate) ssrc: u32,
    pub(crate) settings: LegSettings,
    news: Arc<Notify>,
}

/// A packet that came.
pub(crate) struct Came {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload: Vec<u8>,
}

/// A packet of speech.
pub(crate) struct Said {
    index: u32,
    timestamp: u32,
    pub(crate) payload: Vec<u8>,
}

impl Said {
    pub(crate) fn new(index: u32) -> Self {
        // Half a second of silence before each sixtieth.
        let silence = (index + 35) / 60 * 4000;
        Self {
            index,
            timestamp: FIRST_TIMESTAMP + index * 160 + silence,
            payload: (0..160).map(|at| ((index * 7 + at) % 256) as u8).collect(),
        }
    }

    /// Where nothing is missing before it: otherwise nobody can tell.
    fn is_after_silence(&self) -> bool {
        self.index == 0 || self.index % 60 == 25
    }

    fn packet(&self) -> Packet<'_> {
        Packet {
            marker: false,
            payload_type: 0,
            sequence: 65_300_u16.wrapping_add(self.index as u16),
            timestamp: self.timestamp,
            ssrc: 99,
            payload: &self.payload,
        }
    }
}

impl Telephone {
    pub(crate) async fn new(
        relay: &RelayHandle,
        shard: usize,
        path: &str,
        delivery: Delivery,
        ssrc: u32,
    ) -> Result<Self> {
        let source = (ssrc, 65_500, u32::MAX - 1000);
        let settings = LegSettings {
            delivery,
            ..LegSettings::new(BroadcastPath::new(path), LegCodec::Pcmu, 0, source)
        };
        let telephone = Self::with("127.0.0.1", relay, shard, settings).await?;
        telephone
            .port
            .meet(telephone.leg, telephone.socket.local_addr()?, false)?;
        Ok(telephone)
    }

    /// Of which its leg knows nothing yet.
    pub(crate) async fn with(host: &str, relay: &RelayHandle, shard: usize, settings: LegSettings) -> Result<Self> {
        let news = Arc::new(Notify::new());
        let (port, installed) = Legs::install(&relay.ports()[shard], news.clone())?;
        installed.await??;
        let (rtp, rtcp) = (UdpSocket::bind((host, 0))?, UdpSocket::bind((host, 0))?);
        let (at_relay, control) = (rtp.local_addr()?, rtcp.local_addr()?);
        let leg = port.open(rtp, Some(rtcp), settings.clone())?;
        let socket = Arc::new(AsyncSocket::bind((host, 0)).await?);
        Ok(Self {
            socket,
            relay: at_relay,
            control,
            port,
            leg,
            ssrc: settings.source.0,
            settings,
            news,
        })
    }

    /// The next thing that happens on its leg.
    pub(crate) async fn event(&self) -> Result<LegEvent> {
        let waiting = async {
            loop {
                if let Some(event) = self.port.poll() {
                    return event;
                }
                self.news.notified().await;
            }
        };
        timeout(LIMIT, waiting).await.context("nothing happens")
    }

    pub(crate) fn hear(&self, path: &str) -> Result<()> {
        Ok(self.port.hear(self.leg, Some(BroadcastPath::new(path).into()))?)
    }

    /// Until what it says goes somewhere.
    pub(crate) async fn until_heard(&self) -> Result<()> {
        self.until(|counted| counted.is_wanted).await
    }

    pub(crate) async fn until(&self, is_so: impl Fn(&LegStatistics) -> bool) -> Result<()> {
        let waiting = async {
            while !is_so(&self.counted().await?) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        timeout(LIMIT, waiting).await.context("nobody subscribes")?
    }

    pub(crate) async fn counted(&self) -> Result<LegStatistics> {
        Ok(self.port.count(self.leg)?.await?)
    }

    pub(crate) async fn say(&self, said: &Said) -> Result<()> {
        let mut datagram = Vec::new();
        said.packet().write(&mut datagram);
        self.socket.send_to(&datagram, self.relay).await?;
        Ok(())
    }

    pub(crate) async fn send(&self, sequence: u16, timestamp: u32, payload_type: u8, payload: &[u8]) -> Result<()> {
        let mut datagram = Vec::new();
        let packet = Packet {
            marker: false,
            payload_type,
            sequence,
            timestamp,
            ssrc: self.ssrc,
            payload,
        };
        packet.write(&mut datagram);
        self.socket.send_to(&datagram, self.relay).await?;
        Ok(())
    }

    /// All that come from now on, until none comes for a while.
    pub(crate) fn packets(&self) -> JoinHandle<Result<Vec<Came>>> {
        let (socket, relay, ssrc) = (self.socket.clone(), self.relay, self.ssrc);
        tokio::spawn(async move {
            let mut packets: Vec<Came> = Vec::new();
            let mut datagram = [0; 2000];
            loop {
                let patience = if packets.is_empty() {
                    LIMIT
                } else {
                    Duration::from_secs(1)
                };
                let Ok(received) = timeout(patience, socket.recv_from(&mut datagram)).await else {
                    return Ok(packets);
                };
                let (length, from) = received?;
                ensure!(from == relay, "a packet from {from}");
                let packet = Packet::parse(&datagram[..length])?;
                ensure!(packet.ssrc == ssrc);
                packets.push(Came {
                    marker: packet.marker,
                    payload_type: packet.payload_type,
                    sequence: packet.sequence,
                    timestamp: packet.timestamp,
                    payload: packet.payload.to_vec(),
                });
            }
        })
    }

    pub(crate) async fn close(self) -> Result<LegStatistics> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.port.close(self.leg, Some(reply))?;
        Ok(timeout(LIMIT, answer).await??)
    }
}

async fn write(track: &PublishedTrack, group: &PlannedGroup) -> Result<()> {
    write_group(&track.track, group)?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}

pub(crate) fn start() -> Result<RelayHandle> {
    Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(2),
        ..RelayOptions::default()
    })
}

pub(crate) async fn stop(relay: RelayHandle) -> Result<()> {
    relay.drain(Duration::ZERO);
    tokio::task::spawn_blocking(move || relay.join()).await?
}

pub(crate) const EVENTS: u8 = 101;
const FIRST_TIMESTAMP: u32 = 4_000_000_000;
pub(crate) const LIMIT: Duration = Duration::from_secs(15);
/// In which what must not come would have come.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);
