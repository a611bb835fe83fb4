//! Telephone calls from end to end: phones that register by WebSocket, whose voices go through the relay as what their
//! grants allow, and nobody else's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use moqswitch_interop::metrics::http_get;
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

    let records: Value = serde_json::from_str(&http_get(relay.http(), "/api/cdr").await?)?;
    let text = records.to_string();
    ensure!(
        text.contains(&call) && text.contains("5001") && text.contains("5002"),
        "no record: {text}"
    );
    Ok(())
}

/// A phone's signalling, and what the relay lets it in by.
struct Phone {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    media: Url,
    sent: u64,
}

impl Phone {
    async fn register(relay: &Relay, number: &str) -> Result<Self> {
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws", relay.http())).await?;
        let media = Url::parse("https://unknown/")?;
        let mut phone = Self { socket, media, sent: 0 };
        phone.send("register", json!({"dn": number})).await?;
        let registered = phone.expect("registered").await?;
        let (url, token) = (&registered["media"]["url"], text(&registered["media"]["token"])?);
        phone.media = Url::parse(&text(url)?)?;
        phone.media.set_query(Some(&format!("jwt={token}")));
        Ok(phone)
    }

    /// Its voice and its ear: of the peer crates each is a session of its own.
    async fn connect(&self, scheme: &str) -> Result<(Publisher, Subscriber)> {
        // The library that reads URLs lets only some schemes take another's place.
        let url = Url::parse(&self.media.as_str().replacen("https", scheme, 1))?;
        let publisher = Publisher::connect_to(url.clone(), DRAFT).await?;
        let subscriber = Subscriber::connect_to(url, DRAFT, "").await?;
        Ok((publisher, subscriber))
    }

    async fn send(&mut self, kind: &str, payload: Value) -> Result<()> {
        self.sent += 1;
        let message = json!({"type": kind, "payload": payload, "id": format!("m{}", self.sent)});
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    /// The payload of the next message of a kind. An error is one.
    async fn expect(&mut self, kind: &str) -> Result<Value> {
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

fn text(value: &Value) -> Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("{value} is no text"))
}

const DRAFT: Draft = Draft::Lite06;
const LIMIT: Duration = Duration::from_secs(15);
/// In which what must not come would have come.
const A_WHILE: Duration = Duration::from_millis(300);
