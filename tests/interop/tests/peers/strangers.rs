//! Who is not in a call and tries all the same, without waiting to be told of anything: while it rings, while it is up, after
//! it, and by tokens of before.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::metrics::http_status;
use moqswitch_interop::peer::PublishedTrack;
use moqswitch_interop::raw_peer::{FIRST_BIDI, FIRST_UNI, STREAM_STEP};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Draft, Publisher, Random, RawPeer, Relay};
use serde_json::json;

use crate::phone::{Phone, text};
use crate::tokens::setup_with_path;

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_heard_and_hear_nothing_before_in_and_after_a_call() -> Result<()> {
    let relay = Relay::start(2).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut alice = Phone::register(&relay, "5001").await?;
    let mut bob = Phone::register(&relay, "5002").await?;
    let mallory = Phone::register(&relay, "5003").await?;
    let (alice_speaks, _alice_hears) = alice.connect("https").await?;
    let (bob_speaks, mut bob_hears) = bob.connect("moqt").await?;
    let (mallory_speaks, _) = mallory.connect("moqt").await?;
    let mut stranger = Ear::of(&relay, &mallory).await?;
    let mut callee = Ear::of(&relay, &bob).await?;
    let mut caller = Ear::of(&relay, &alice).await?;

    // It rings: not even who will be in it is heard, nor hears.
    alice.send("call", json!({"to": "5002", "callId": "c1"})).await?;
    let call = text(&bob.expect("incomingCall").await?["callId"])?;
    let [of_alice, of_bob] = [1, 2].map(|leg| format!("call/{call}/{leg}"));
    let forged = speak(&mallory_speaks, &call)?;
    let early = speak(&alice_speaks, &call)?;
    let hasty = speak(&bob_speaks, &call)?;
    for path in [&of_alice, &of_bob, &format!("call/{call}/9"), &format!("call/{call}")] {
        for (who, ear) in [
            ("a stranger", &mut stranger),
            ("bob", &mut callee),
            ("alice", &mut caller),
        ] {
            ensure!(!ear.hears(path, A_WHILE).await?, "{who} heard {path} while it rang");
        }
    }
    drop((early, hasty));

    // It is up: they hear each other, and the stranger nobody, though it still speaks in their place.
    bob.send("answer", json!({"callId": call})).await?;
    bob.expect("callAccepted").await?;
    alice.expect("callAccepted").await?;
    let mut to_bob = Call::start(&alice_speaks, &mut bob_hears, &of_alice, Random::new(1)).await?;
    for _ in 0..10 {
        to_bob.exchange().await.context("with a stranger beside")?;
    }
    ensure!(
        callee.hears(&of_alice, LIMIT).await?,
        "the ear is deaf: this test says nothing"
    );
    for path in [&of_alice, &of_bob] {
        ensure!(!stranger.hears(path, A_WHILE).await?, "a stranger heard {path}");
    }
    ensure!(
        !callee.hears(&format!("call/{call}/9"), A_WHILE).await?,
        "a stranger was heard"
    );
    to_bob.exchange().await.context("after all that")?;

    // It is over: who was in it may no more than anybody.
    alice.send("hangup", json!({"callId": "c1"})).await?;
    alice.expect("callEnded").await?;
    bob.expect("callEnded").await?;
    bob_hears.until_announced(&of_alice, false).await?;
    let late = speak(&alice_speaks, &call)?;
    for path in [&of_alice, &of_bob] {
        for (who, ear) in [
            ("a stranger", &mut stranger),
            ("bob", &mut callee),
            ("alice", &mut caller),
        ] {
            ensure!(!ear.hears(path, A_WHILE).await?, "{who} heard {path} after the call");
        }
    }
    ensure!(to_bob.exchange().await.is_err(), "a subscription went on");
    for phone in [&mallory, &bob] {
        let status = http_status(relay.http(), &format!("/fetch/{of_alice}/audio?jwt={}", phone.token()?)).await?;
        ensure!(matches!(status, 401 | 403 | 404), "fetched: {status}");
    }
    drop((forged, late));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_before_open_nothing() -> Result<()> {
    let relay = Relay::start(2).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut alice = Phone::register(&relay, "5001").await?;
    let mut bob = Phone::register_as(&relay, "5002", Some("desk")).await?;
    let (alice_speaks, mut alice_hears) = alice.connect("moqt").await?;
    let (bob_speaks, _) = bob.connect("moqt").await?;
    alice.send("call", json!({"to": "5002", "callId": "c1"})).await?;
    let call = text(&bob.expect("incomingCall").await?["callId"])?;
    bob.send("ringing", json!({"callId": call})).await?;
    bob.send("answer", json!({"callId": call})).await?;
    bob.expect("callAccepted").await?;
    alice.expect("callAccepted").await?;
    let [of_alice, of_bob] = [1, 2].map(|leg| format!("call/{call}/{leg}"));
    let group = Random::new(2).group(0, &[100]);
    let _voice = alice_speaks.publish(&of_alice, "audio", &group)?;
    let mut to_alice = Call::start(&bob_speaks, &mut alice_hears, &of_bob, Random::new(3)).await?;
    to_alice.exchange().await?;
    let mut old = Ear::of(&relay, &bob).await?;
    ensure!(old.hears(&of_alice, LIMIT).await?, "bob does not hear her");

    // The same device on another socket takes its place, with its call. What is still connected by the old token loses it.
    let mut again = Phone::register_as(&relay, "5002", Some("desk")).await?;
    let mut new = Ear::of(&relay, &again).await?;
    ensure!(new.hears(&of_alice, LIMIT).await?, "the call did not come along");
    alice_hears
        .until_announced(&of_bob, false)
        .await
        .context("the old one is heard still")?;
    let mut returned = Ear::of(&relay, &bob).await?;
    for ear in [&mut old, &mut returned] {
        ensure!(!ear.hears(&of_alice, A_WHILE).await?, "who was replaced hears her");
    }
    let (speaks, _) = bob.connect("moqt").await?;
    let forged = speak(&speaks, &call)?;
    let mut caller = Ear::of(&relay, &alice).await?;
    ensure!(!caller.hears(&of_bob, A_WHILE).await?, "who was replaced is heard");
    drop(forged);

    // Who unregisters is in no call, and hears nothing of one that somebody else has at its number.
    again.send("unregister", json!({})).await?;
    again.expect("unregistered").await?;
    alice.expect("callEnded").await?;
    let mut carol = Phone::register(&relay, "5002").await?;
    alice.send("call", json!({"to": "5002", "callId": "c2"})).await?;
    let call = text(&carol.expect("incomingCall").await?["callId"])?;
    carol.send("answer", json!({"callId": call})).await?;
    carol.expect("callAccepted").await?;
    let of_alice = format!("call/{call}/1");
    let _voice = alice_speaks.publish(&of_alice, "audio", &group)?;
    let mut hers = Ear::of(&relay, &carol).await?;
    ensure!(hers.hears(&of_alice, LIMIT).await?, "carol does not hear her");
    let mut gone = Ear::of(&relay, &again).await?;
    for ear in [&mut gone, &mut new, &mut old] {
        ensure!(!ear.hears(&of_alice, A_WHILE).await?, "who unregistered hears her");
    }
    Ok(())
}

/// Speaks as everybody in a call at once.
fn speak(publisher: &Publisher, call: &str) -> Result<Vec<PublishedTrack>> {
    let group = Random::new(9).group(0, &[10]);
    let published = [1, 2, 9].map(|leg| publisher.publish(&format!("call/{call}/{leg}"), "audio", &group));
    published.into_iter().collect()
}

/// A session that asks for what it was not told of.
struct Ear {
    peer: RawPeer,
    asked: u64,
}

impl Ear {
    async fn of(relay: &Relay, phone: &Phone) -> Result<Self> {
        let mut peer = RawPeer::dial(relay.udp(), DRAFT.alpn().as_bytes(), &mut Random::new(5)).await?;
        peer.handshake().await?;
        let setup = setup_with_path(&format!("/?jwt={}", phone.token()?))?;
        peer.send(FIRST_UNI, &setup, true).await?;
        Ok(Self { peer, asked: 0 })
    }

    /// Asks for a broadcast, again and again as long as it is refused. True: the relay has said that it has it.
    async fn hears(&mut self, path: &str, patience: Duration) -> Result<bool> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let stream = FIRST_BIDI + self.asked * STREAM_STEP;
            self.asked += 1;
            let asked = DRAFT.subscribe_stream(self.asked, path, "audio");
            self.peer.send(stream, &asked, false).await?;
            let mut scratch = [0; 64];
            let answered = |connection: &mut quiche::Connection| match connection.stream_recv(stream, &mut scratch) {
                Ok((length, _)) if length > 0 => Some(true),
                Ok((_, true)) | Err(quiche::Error::StreamReset(_) | quiche::Error::StreamStopped(_)) => {
                    // It may be shut already.
                    let _ = connection.stream_shutdown(stream, quiche::Shutdown::Write, 0);
                    Some(false)
                }
                _ => None,
            };
            // Who is not answered has heard nothing so far.
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if self.peer.drive_until(left, answered).await? == Some(true) {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= until {
                return Ok(false);
            }
            self.peer.drive_without_reading(A_MOMENT).await?;
        }
    }
}

const DRAFT: Draft = Draft::Lite06;
const LIMIT: Duration = Duration::from_secs(15);
/// In which what must not come would have come.
const A_WHILE: Duration = Duration::from_millis(300);
const A_MOMENT: Duration = Duration::from_millis(20);
