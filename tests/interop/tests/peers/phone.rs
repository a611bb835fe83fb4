//! Telephone calls from end to end: phones that register by WebSocket, whose voices go through the relay as what their
//! grants allow, and nobody else's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use moqswitch_audio::{Codec, Decoder, Rate, level};
use moqswitch_interop::metrics::http_get;
use moqswitch_interop::peer::read_group;
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Draft, Publisher, Random, Relay, Subscriber};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_talk_hold_and_hang_up_and_nobody_else_hears_them() -> Result<()> {
    for scheme in ["https", "moqt"] {
        for shards in [1, 2] {
            talk(scheme, shards)
                .await
                .with_context(|| format!("{scheme}, {shards} shards"))?;
        }
    }
    Ok(())
}

async fn talk(scheme: &str, shards: usize) -> Result<()> {
    let relay = Relay::start(shards).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut alice = Phone::register(&relay, "5001").await?;
    let mut bob = Phone::register(&relay, "5002").await?;
    let mallory = Phone::register(&relay, "5003").await?;
    let (alice_speaks, mut alice_hears) = alice.connect(scheme).await?;
    let (bob_speaks, mut bob_hears) = bob.connect(scheme).await?;
    let (mallory_speaks, mut mallory_hears) = mallory.connect(scheme).await?;

    alice.send("call", json!({"to": "5002", "callId": "c1"})).await?;
    let call = text(&bob.expect("incomingCall").await?["callId"])?;
    bob.send("answer", json!({"callId": call})).await?;
    let of_bob = text(&bob.expect("callAccepted").await?["media"]["publish"])?;
    let of_alice = text(&alice.expect("callAccepted").await?["media"]["publish"])?;
    ensure!(
        of_alice == format!("call/{call}/1") && of_bob == format!("call/{call}/2"),
        "{of_alice}, {of_bob}"
    );

    // At once, whatever reaches the relay first.
    let mut to_bob = Call::start(&alice_speaks, &mut bob_hears, &of_alice, Random::new(1)).await?;
    let mut to_alice = Call::start(&bob_speaks, &mut alice_hears, &of_bob, Random::new(2)).await?;
    for _ in 0..20 {
        to_bob.exchange().await.context("alice to bob")?;
        to_alice.exchange().await.context("bob to alice")?;
    }

    // Who has a token and no call hears nothing and is not heard.
    let group = Random::new(3).group(0, &[10]);
    let _forged = mallory_speaks.publish(&format!("call/{call}/3"), "audio", &group)?;
    let heard = tokio::time::timeout(A_WHILE, mallory_hears.next_announcement()).await;
    ensure!(heard.is_err(), "mallory heard of {heard:?}");
    // And so does who has no token, though all else is public here.
    let mut nobody = Subscriber::connect(relay.udp(), DRAFT).await?;
    let heard = tokio::time::timeout(A_WHILE, nobody.next_announcement()).await;
    ensure!(heard.is_err(), "somebody heard of {heard:?}");
    let fetched = http_get(relay.http(), &format!("/fetch/{of_alice}/audio")).await;
    ensure!(fetched.is_err(), "somebody fetched a voice");
    // Of his own voice he may hear.
    while let Ok(heard) = tokio::time::timeout(A_WHILE, bob_hears.next_announcement()).await {
        let (path, _) = heard?;
        ensure!(path == of_bob, "bob heard of {path}");
    }

    bob.send("hold", json!({"callId": call, "hold": true})).await?;
    bob.expect("held").await?;
    bob_hears
        .until_announced(&of_alice, false)
        .await
        .context("while bob holds")?;
    // Alice's voice goes nowhere, and as soon as the relay has let go of it not even to the relay.
    let letting_go = async {
        loop {
            let before = counted(&relay).await?;
            to_bob.speak_to_nobody()?;
            tokio::time::sleep(A_WHILE).await;
            if counted(&relay).await? == before {
                return anyhow::Ok(before);
            }
        }
    };
    let before = tokio::time::timeout(LIMIT, letting_go)
        .await
        .context("she is heard still")??;
    for _ in 0..10 {
        to_bob.speak_to_nobody()?;
    }
    tokio::time::sleep(A_WHILE).await;
    let after = counted(&relay).await?;
    ensure!(after == before, "while bob held: {before:?}, then {after:?}");
    bob.send("hold", json!({"callId": call, "hold": false})).await?;
    bob_hears
        .until_announced(&of_alice, true)
        .await
        .context("when bob goes on")?;

    alice.send("hangup", json!({"callId": "c1"})).await?;
    alice.expect("callEnded").await?;
    let ended = bob.expect("callEnded").await?;
    ensure!(ended["reason"] == "normal_clearing", "{ended}");
    bob_hears
        .until_announced(&of_alice, false)
        .await
        .context("after the call")?;
    alice_hears
        .until_announced(&of_bob, false)
        .await
        .context("after the call")?;
    ensure!(to_alice.exchange().await.is_err(), "bob was heard after the call");

    let record = record_of(&relay, &call).await?;
    let parties = record["parties"].as_array().context("a record without parties")?;
    let numbers: Vec<&Value> = parties.iter().map(|party| &party["dn"]).collect();
    ensure!(numbers == ["5001", "5002"], "{record}");
    // 3 frames in each of 20 groups, and the one before them; of alice what she said before the relay let go of her.
    ensure!(parties[1]["sent"]["frames"] == 61, "{record}");
    ensure!(parties[0]["sent"]["frames"].as_u64() >= Some(61), "{record}");
    ensure!(parties.iter().all(|party| party["sent"]["lost"] == 0), "{record}");
    // All that the relay forwarded was of this call, and its record has all of it.
    let sum = |field: &str| -> u64 { parties.iter().filter_map(|party| party["sent"][field].as_u64()).sum() };
    let in_record = [sum("frames"), sum("bytes"), sum("delivered")];
    let in_all = counted(&relay).await?;
    ensure!(in_record == in_all, "{in_record:?} of {in_all:?}");
    Ok(())
}

/// Frames and bytes that the relay got, and frames that it sent.
pub(crate) async fn counted(relay: &Relay) -> Result<[u64; 3]> {
    let metrics = relay.metrics().await?;
    let of = |name: &str| metrics.sum_containing(name) as u64;
    Ok(["moqswitch_frames_in", "moqswitch_bytes_in", "moqswitch_frames_out"].map(of))
}

/// The record of a call that is over: it waits for what the relay counted.
pub(crate) async fn record_of(relay: &Relay, call: &str) -> Result<Value> {
    let waiting = async {
        loop {
            let records: Value = serde_json::from_str(&http_get(relay.http(), "/api/cdr").await?)?;
            let mut all = records["records"].as_array().into_iter().flatten();
            if let Some(record) = all.find(|record| record["callId"] == call) {
                return Ok(record.clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.context("no record")?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_transferred_and_its_media_with_it() -> Result<()> {
    let relay = Relay::start(2).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut alice = Phone::register(&relay, "5001").await?;
    let mut bob = Phone::register(&relay, "5002").await?;
    let mut carol = Phone::register(&relay, "5003").await?;
    let (alice_speaks, mut alice_hears) = alice.connect("https").await?;
    let (_bob_speaks, mut bob_hears) = bob.connect("https").await?;
    let (carol_speaks, mut carol_hears) = carol.connect("https").await?;

    alice.send("call", json!({"to": "5002", "callId": "c1"})).await?;
    let call = text(&bob.expect("incomingCall").await?["callId"])?;
    bob.send("answer", json!({"callId": call})).await?;
    let of_alice = text(&alice.expect("callAccepted").await?["media"]["publish"])?;
    bob.expect("callAccepted").await?;
    let mut to_bob = Call::start(&alice_speaks, &mut bob_hears, &of_alice, Random::new(1)).await?;
    to_bob.exchange().await?;
    alice.send("dtmf", json!({"callId": "c1", "digit": "42#"})).await?;
    let digits = bob.expect("dtmf").await?;
    ensure!(digits["digit"] == "42#", "{digits}");

    bob.send("transfer", json!({"callId": call, "to": "5003"})).await?;
    let incoming = carol.expect("incomingCall").await?;
    ensure!(incoming["from"] == "5001" || incoming["from"] == "5002", "{incoming}");
    carol.send("answer", json!({"callId": incoming["callId"]})).await?;
    let of_carol = text(&carol.expect("callAccepted").await?["media"]["publish"])?;
    let ended = bob.expect("callEnded").await?;
    ensure!(ended["reason"] == "transferred", "{ended}");
    bob_hears
        .until_announced(&of_alice, false)
        .await
        .context("bob after the transfer")?;
    ensure!(to_bob.exchange().await.is_err(), "bob heard alice after the transfer");

    carol_hears
        .until_announced(&of_alice, true)
        .await
        .context("alice to carol")?;
    let mut to_alice = Call::start(&carol_speaks, &mut alice_hears, &of_carol, Random::new(2)).await?;
    to_alice.exchange().await.context("carol to alice")?;

    carol.send("hangup", json!({"callId": incoming["callId"]})).await?;
    alice.expect("callEnded").await?;
    let record = record_of(&relay, &call).await?;
    ensure!(record["parties"].as_array().map(Vec::len) == Some(3), "{record}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_held_hears_the_music_that_it_is_told() -> Result<()> {
    let relay = Relay::start_with(2, &[("MOQSWITCH_MEDIA_TONES", "true")]).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut alice = Phone::register(&relay, "5001").await?;
    let mut bob = Phone::register(&relay, "5002").await?;
    let (_alice_speaks, mut alice_hears) = alice.connect("https").await?;
    alice.send("call", json!({"to": "5002", "callId": "c1"})).await?;
    let call = text(&bob.expect("incomingCall").await?["callId"])?;
    bob.send("answer", json!({"callId": call})).await?;
    alice.expect("callAccepted").await?;
    bob.send("hold", json!({"callId": call, "hold": true})).await?;
    let held = alice.expect("held").await?;
    ensure!(held["by"] == "remote" && held["music"] == "moh/default", "{held}");
    alice_hears
        .until_announced("moh/default", true)
        .await
        .context("no music")?;
    let mut music = alice_hears.subscribe("moh/default", "audio").await?;
    let mut decoder = Decoder::new(Codec::Opus, Rate::Hz48000)?;
    let mut samples = Vec::new();
    for _ in 0..25 {
        let group = read_group(&mut music).await.context("the music")?;
        ensure!(group.frames.len() == 1, "{} frames in a group", group.frames.len());
        decoder.decode(&group.frames[0], &mut samples)?;
    }
    let loud = level(&samples[samples.len() / 2..]);
    ensure!((18..40).contains(&loud), "{loud} dB below the loudest");
    bob.send("hold", json!({"callId": call, "hold": false})).await?;
    alice_hears
        .until_announced("moh/default", false)
        .await
        .context("the music goes on")?;
    Ok(())
}

/// A phone's signalling, and what the relay lets it in by.
pub(crate) struct Phone {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    media: Url,
    sent: u64,
}

impl Phone {
    pub(crate) async fn register(relay: &Relay, number: &str) -> Result<Self> {
        Self::register_as(relay, number, None).await
    }

    /// With a name of its own.
    pub(crate) async fn register_as(relay: &Relay, number: &str, device: Option<&str>) -> Result<Self> {
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws", relay.http())).await?;
        let media = Url::parse("https://unknown/")?;
        let mut phone = Self { socket, media, sent: 0 };
        let mut payload = json!({"dn": number});
        if let Some(device) = device {
            payload["device"] = json!(device);
        }
        phone.send("register", payload).await?;
        let registered = phone.expect("registered").await?;
        let (url, token) = (&registered["media"]["url"], text(&registered["media"]["token"])?);
        phone.media = Url::parse(&text(url)?)?;
        phone.media.set_query(Some(&format!("jwt={token}")));
        Ok(phone)
    }

    /// By which the relay lets it in.
    pub(crate) fn token(&self) -> Result<&str> {
        let query = self.media.query().and_then(|query| query.strip_prefix("jwt="));
        query.context("no token")
    }

    /// Its voice and its ear: of the peer crates each is a session of its own.
    pub(crate) async fn connect(&self, scheme: &str) -> Result<(Publisher, Subscriber)> {
        // The library that reads URLs lets only some schemes take another's place.
        let url = Url::parse(&self.media.as_str().replacen("https", scheme, 1))?;
        let publisher = Publisher::connect_to(url.clone(), DRAFT).await?;
        let subscriber = Subscriber::connect_to(url, DRAFT, "").await?;
        Ok((publisher, subscriber))
    }

    pub(crate) async fn send(&mut self, kind: &str, payload: Value) -> Result<()> {
        self.sent += 1;
        let message = json!({"type": kind, "payload": payload, "id": format!("m{}", self.sent)});
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    /// The payload of the next message of a kind. An error is one.
    pub(crate) async fn expect(&mut self, kind: &str) -> Result<Value> {
        let reading = async {
            while let Some(message) = self.socket.next().await {
                let Message::Text(message) = message? else { continue };
                let message: Value = serde_json::from_str(&message)?;
                ensure!(message["type"] != "error", "{message}");
                if message["type"] == kind {
                    return Ok(message["payload"].clone());
                }
            }
            anyhow::bail!("closed")
        };
        tokio::time::timeout(LIMIT, reading)
            .await
            .context("too late")
            .and_then(|payload| payload)
            .with_context(|| format!("no {kind}"))
    }
}

pub(crate) fn text(value: &Value) -> Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("{value} is no text"))
}

const DRAFT: Draft = Draft::Lite06;
const LIMIT: Duration = Duration::from_secs(15);
/// In which what must not come would have come.
const A_WHILE: Duration = Duration::from_millis(300);
