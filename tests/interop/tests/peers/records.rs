//! Records agree with the relay's counters: of calls at once, with three parties, that were transferred, and of telephones that
//! speak RTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use moq_net::track;
use moqswitch_interop::peer::{PublishedTrack, read_group, write_group};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{PlannedGroup, Publisher, Relay, Subscriber};
use moqswitch_media::rtp::Packet;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::phone::{Phone, counted, record_of, text};

#[tokio::test(flavor = "multi_thread")]
async fn records_of_calls_at_once_agree_with_the_relay() -> Result<()> {
    let relay = Relay::start(2).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut phones = Vec::new();
    for number in 5001..=5006 {
        phones.push(Party::register(&relay, &number.to_string()).await?);
    }
    let [alice, bob, carol, dave, erin, frank] = &mut phones[..] else {
        bail!("six were registered");
    };
    // A conference of three, and beside it a call that is transferred.
    let conference = connect(alice, bob).await?;
    let moved = connect(dave, erin).await?;
    talk(&mut [alice, bob], 7).await?;
    talk(&mut [dave, erin], 5).await?;
    alice.send("add", json!({"callId": "mine", "to": "5003"})).await?;
    carol.answer().await?;
    talk(&mut [alice, bob, carol], 11).await?;
    erin.send("transfer", json!({"callId": moved, "to": "5006"})).await?;
    frank.answer().await?;
    let ended = erin.phone.expect("callEnded").await?;
    ensure!(ended["reason"] == "transferred", "{ended}");
    talk(&mut [dave, frank], 3).await?;
    talk(&mut [alice, bob, carol], 2).await?;
    alice.send("hangup", json!({"callId": "mine"})).await?;
    dave.send("hangup", json!({"callId": "mine"})).await?;
    for party in [alice, bob, carol, dave, frank] {
        if party.number == "5001" || party.number == "5004" {
            party.phone.expect("callEnded").await?;
        } else {
            let call = party.call.clone();
            party.send("hangup", json!({"callId": call})).await.ok();
        }
    }

    let records = [record_of(&relay, &conference).await?, record_of(&relay, &moved).await?];
    let parties: Vec<&Value> = records
        .iter()
        .flat_map(|record| record["parties"].as_array())
        .flatten()
        .collect();
    ensure!(parties.len() == 6, "{records:?}");
    for (number, groups) in [
        ("5001", 20),
        ("5002", 20),
        ("5003", 13),
        ("5004", 8),
        ("5005", 5),
        ("5006", 3),
    ] {
        let party = parties.iter().find(|party| party["dn"] == number).context("no party")?;
        // Each says one group more before it is heard by anybody, and the last one again to who comes to hear it.
        ensure!(party["sent"]["frames"].as_u64() > Some(groups), "{number}: {party}");
        ensure!(party["sent"]["lost"] == 0, "{number}: {party}");
        ensure!(party["sent"]["mos"].as_f64() > Some(3.0), "{number}: {party}");
    }
    // Who was where, in order.
    let chain = records[1]["transfers"].as_array().context("no transfers")?;
    ensure!(
        chain.len() == 1 && chain[0]["by"] == "5005" && chain[0]["target"] == "number/5006"
            || chain.len() == 1 && chain[0]["by"] == "5005" && chain[0]["target"] == "5006",
        "{chain:?}"
    );
    agree(&relay, &records).await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_telephones_agree_with_the_relay() -> Result<()> {
    let sip = UdpSocket::bind("127.0.0.1:0").await?.local_addr()?.to_string();
    let settings = [
        ("MOQSWITCH_SIP_UDP", sip.as_str()),
        // Of an address that nobody else binds ports of.
        ("MOQSWITCH_RTP_ADDRESS", "127.0.79.1"),
    ];
    let relay = Relay::start_with(2, &settings).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut bob = Party::register(&relay, "5002").await?;
    let mut telephone = Telephone::register(sip.parse()?, "5001").await?;
    let (media, call) = telephone.call("5002", &mut bob).await?;
    let [of_telephone, of_bob] = [1, 2].map(|leg| format!("call/{call}/{leg}"));
    bob.hears.until_announced(&of_telephone, true).await?;
    let mut audio = bob.hears.subscribe(&of_telephone, "audio").await?;
    let listening =
        tokio::spawn(async move { while audio.recv_datagram().await.is_ok_and(|frame| frame.is_some()) {} });
    let spoken = bob.speaks.publish(&of_bob, "audio", &group(0))?;
    // In both directions, until each was heard for a second and more.
    let (mut heard, mut said) = (0, 0_u16);
    let mut datagram = [0; 2000];
    while heard < 60 {
        ensure!(said < 3000, "the telephone hears nothing: {heard}");
        said += 1;
        telephone.say(media, said).await?;
        write_group(&spoken.track, &group(said.into()))?;
        if let Ok(came) = timeout(Duration::from_millis(20), telephone.ear.recv_from(&mut datagram)).await {
            let (length, _) = came?;
            heard += u32::from(Packet::parse(&datagram[..length])?.payload.len() == 160);
        }
    }
    bob.send("hangup", json!({"callId": call})).await?;
    bob.phone.expect("callEnded").await?;
    telephone.is_hung_up().await?;
    listening.abort();
    let record = record_of(&relay, &call).await?;
    let parties = record["parties"].as_array().context("no parties")?;
    ensure!(parties.len() == 2, "{record}");
    for party in parties {
        ensure!(party["sent"]["frames"].as_u64() >= Some(50), "{record}");
        ensure!(party["codec"] == "pcmu" && party["sent"]["lost"] == 0, "{record}");
        ensure!(
            party["sent"]["jitterMs"].is_f64() && party["sent"]["mos"].as_f64() > Some(3.5),
            "{record}"
        );
    }
    agree(&relay, &[record]).await
}

/// All that the relay forwarded was of these calls, and their records have all of it.
async fn agree(relay: &Relay, records: &[Value]) -> Result<()> {
    let parties = || {
        records
            .iter()
            .filter_map(|record| record["parties"].as_array())
            .flatten()
    };
    let sum = |field: &str| -> u64 { parties().filter_map(|party| party["sent"][field].as_u64()).sum() };
    let in_records = [sum("frames"), sum("bytes"), sum("delivered")];
    let in_all = counted(relay).await?;
    ensure!(in_records == in_all, "{in_records:?} of {in_all:?}: {records:?}");
    Ok(())
}

/// A phone with its session at the relay.
struct Party {
    number: String,
    phone: Phone,
    speaks: Publisher,
    hears: Subscriber,
    /// The call as it knows it.
    call: String,
    /// Where it speaks, what, and how far it is.
    path: String,
    voice: Option<PublishedTrack>,
    said: u64,
}

impl Party {
    async fn register(relay: &Relay, number: &str) -> Result<Self> {
        let phone = Phone::register(relay, number).await?;
        let (speaks, hears) = phone.connect("moqt").await?;
        Ok(Self {
            number: number.to_owned(),
            phone,
            speaks,
            hears,
            call: String::new(),
            path: String::new(),
            voice: None,
            said: 0,
        })
    }

    async fn send(&mut self, kind: &str, payload: Value) -> Result<()> {
        self.phone.send(kind, payload).await
    }

    /// Takes the next call.
    async fn answer(&mut self) -> Result<()> {
        self.call = text(&self.phone.expect("incomingCall").await?["callId"])?;
        let call = self.call.clone();
        self.send("answer", json!({"callId": call})).await?;
        self.accepted().await
    }

    async fn accepted(&mut self) -> Result<()> {
        let accepted = self.phone.expect("callAccepted").await?;
        self.path = text(&accepted["media"]["publish"])?;
        self.voice = Some(self.speaks.publish(&self.path, "audio", &group(0))?);
        Ok(())
    }
}

/// One calls the other. The call's own name.
async fn connect(caller: &mut Party, callee: &mut Party) -> Result<String> {
    let to = callee.number.clone();
    caller.send("call", json!({"to": to, "callId": "mine"})).await?;
    callee.answer().await?;
    caller.accepted().await?;
    Ok(callee.call.clone())
}

/// Each says so many groups, one after the other, and each other hears every one of them.
async fn talk(parties: &mut [&mut Party], groups: u64) -> Result<()> {
    let paths: Vec<String> = parties.iter().map(|party| party.path.clone()).collect();
    let mut ears = Vec::new();
    for (listener, party) in parties.iter_mut().enumerate() {
        for (speaker, path) in paths.iter().enumerate() {
            if speaker != listener {
                let track = party.hears.subscribe(path, "audio").await?;
                ears.push((speaker, track));
            }
        }
    }
    let latest: Vec<u64> = parties.iter().map(|party| party.said).collect();
    for (speaker, ear) in &mut ears {
        until(ear, latest[*speaker]).await?;
    }
    for _ in 0..groups {
        for party in parties.iter_mut() {
            party.said += 1;
            let voice = party.voice.as_ref().context("it does not speak")?;
            write_group(&voice.track, &group(party.said))?;
        }
        for (speaker, ear) in &mut ears {
            until(ear, parties[*speaker].said).await?;
        }
    }
    Ok(())
}

/// Reads up to a group. Those of before may come once more.
async fn until(ear: &mut track::Subscriber, sequence: u64) -> Result<()> {
    loop {
        let heard = read_group(ear).await?.sequence;
        ensure!(heard <= sequence, "{heard} for {sequence}");
        if heard == sequence {
            return Ok(());
        }
    }
}

fn group(sequence: u64) -> PlannedGroup {
    PlannedGroup {
        sequence,
        frames: vec![Bytes::from_static(&[0x55; 160])],
    }
}

/// A telephone of SIP that says as little as it may.
struct Telephone {
    switch: SocketAddr,
    line: UdpSocket,
    ear: UdpSocket,
    number: String,
    said: u32,
}

impl Telephone {
    async fn register(switch: SocketAddr, number: &str) -> Result<Self> {
        let mut telephone = Self {
            switch,
            line: UdpSocket::bind("127.0.0.1:0").await?,
            ear: UdpSocket::bind("127.0.0.1:0").await?,
            number: number.to_owned(),
            said: 0,
        };
        let to = format!("<sip:{number}@{switch}>");
        telephone.send("REGISTER", &format!("sip:{switch}"), &to, "").await?;
        telephone.answer(" 200 ").await?;
        Ok(telephone)
    }

    /// Calls somebody who answers. Where to speak, and the call's own name.
    async fn call(&mut self, to: &str, callee: &mut Party) -> Result<(SocketAddr, String)> {
        let port = self.ear.local_addr()?.port();
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        );
        let target = format!("sip:{to}@{}", self.switch);
        self.send("INVITE", &target, &format!("<{target}>"), &offer).await?;
        callee.call = text(&callee.phone.expect("incomingCall").await?["callId"])?;
        let call = callee.call.clone();
        callee.send("answer", json!({"callId": call})).await?;
        callee.phone.expect("callAccepted").await?;
        let answer = self.answer("INVITE").await?;
        let header = |name: &str| answer.lines().find(|line| line.starts_with(name)).context("a header");
        let contact = header("Contact:")?;
        let contact = contact.split(['<', '>']).nth(1).context("a contact")?;
        let to = header("To:")?.trim_start_matches("To:").trim().to_owned();
        self.send("ACK", contact, &to, "").await?;
        let host = header("c=IN IP4 ")?.trim_start_matches("c=IN IP4 ");
        let port = header("m=audio ")?.split(' ').nth(1).context("a port")?;
        Ok((format!("{host}:{port}").parse()?, call))
    }

    async fn send(&mut self, method: &str, target: &str, to: &str, body: &str) -> Result<()> {
        self.said += 1;
        let (own, number, count) = (self.line.local_addr()?, &self.number, self.said);
        // An ACK has the number of what it is for.
        let sequence = if method == "ACK" { count - 1 } else { count };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let message = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{count}\r\nMax-Forwards: 70\r\n\
             From: <sip:{number}@{}>;tag=t1\r\nTo: {to}\r\nCall-ID: call-{}@{own}\r\nCSeq: {sequence} {method}\r\n\
             Contact: <sip:{number}@{own}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.switch,
            u32::from(method != "REGISTER"),
            body.len()
        );
        self.line.send_to(message.as_bytes(), self.switch).await?;
        Ok(())
    }

    /// The next final answer with this in it. What it is asked meanwhile is all right.
    async fn answer(&self, needle: &str) -> Result<String> {
        let mut datagram = [0; 4000];
        let waiting = async {
            loop {
                let (length, _) = self.line.recv_from(&mut datagram).await?;
                let message = String::from_utf8_lossy(&datagram[..length]).into_owned();
                if message.starts_with("SIP/2.0 1") {
                    continue;
                }
                if !message.starts_with("SIP/2.0 ") {
                    self.agree(&message).await?;
                    continue;
                }
                ensure!(message.starts_with("SIP/2.0 200"), "{message}");
                if message.contains(needle) {
                    return Ok(message);
                }
            }
        };
        timeout(LIMIT, waiting).await.context("no answer")?
    }

    /// Waits for a BYE.
    async fn is_hung_up(&self) -> Result<()> {
        let mut datagram = [0; 4000];
        let waiting = async {
            loop {
                let (length, _) = self.line.recv_from(&mut datagram).await?;
                let message = String::from_utf8_lossy(&datagram[..length]).into_owned();
                if !message.starts_with("SIP/2.0 ") {
                    self.agree(&message).await?;
                }
                if message.starts_with("BYE ") {
                    return Ok(());
                }
            }
        };
        timeout(LIMIT, waiting).await.context("no BYE")?
    }

    async fn agree(&self, request: &str) -> Result<()> {
        let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        let kept = request
            .lines()
            .filter(|line| kept.iter().any(|name| line.starts_with(name)));
        let headers: String = kept.map(|line| format!("{line}\r\n")).collect();
        let answer = format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
        self.line.send_to(answer.as_bytes(), self.switch).await?;
        Ok(())
    }

    async fn say(&self, to: SocketAddr, sequence: u16) -> Result<()> {
        let mut datagram = Vec::new();
        Packet {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc: 7,
            payload: &[0x55; 160],
        }
        .write(&mut datagram);
        self.ear.send_to(&datagram, to).await?;
        Ok(())
    }
}

const LIMIT: Duration = Duration::from_secs(30);
