//! A call with real audio beside what goes wrong with signalling and what is behind it: many who register at once, webhooks that
//! do not answer, a disk that takes nothing. Every frame arrives, and the record says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::metrics::http_get;
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Random, Relay};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::phone::{Phone, record_of, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_loses_nothing_beside_storms_dead_webhooks_and_a_dead_disk() -> Result<()> {
    let place = Place::new()?;
    // It takes connections and says nothing.
    let dead = TcpListener::bind("127.0.0.1:0").await?;
    let webhooks = place.0.join("webhooks.toml");
    std::fs::write(place.0.join("key"), "0123456789abcdef0123456789abcdef\n")?;
    std::fs::write(
        &webhooks,
        format!(
            "[webhooks.dead]\nurl = \"http://{}/\"\nsecret_file = \"key\"\n",
            dead.local_addr()?
        ),
    )?;
    let records = place.0.join("records");
    let settings = [
        ("MOQSWITCH_CALLS_WEBHOOKS", webhooks.to_str().context("a path")?),
        ("MOQSWITCH_CALLS_RECORDS", records.to_str().context("a path")?),
    ];
    let relay = Arc::new(Relay::start_with(2, &settings).await?);
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut alice = Phone::register(&relay, "5001").await?;
    let mut bob = Phone::register(&relay, "5002").await?;
    let (alice_speaks, mut alice_hears) = alice.connect("https").await?;
    let (bob_speaks, mut bob_hears) = bob.connect("moqt").await?;
    alice.send("call", json!({"to": "5002", "callId": "c1"})).await?;
    let call = text(&bob.expect("incomingCall").await?["callId"])?;
    bob.send("answer", json!({"callId": call})).await?;
    bob.expect("callAccepted").await?;
    alice.expect("callAccepted").await?;
    let [of_alice, of_bob] = [1, 2].map(|leg| format!("call/{call}/{leg}"));
    let mut to_bob = Call::start(&alice_speaks, &mut bob_hears, &of_alice, Random::new(1)).await?;
    let mut to_alice = Call::start(&bob_speaks, &mut alice_hears, &of_bob, Random::new(2)).await?;

    // From here on nothing can be written.
    std::fs::remove_dir_all(&records)?;
    std::fs::write(&records, "no directory")?;
    let storm = tokio::spawn(storm(Arc::clone(&relay)));
    let mut exchanged = 0_u64;
    while !storm.is_finished() || exchanged < 100 {
        to_bob.exchange().await.context("alice to bob")?;
        to_alice.exchange().await.context("bob to alice")?;
        exchanged += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let registered = storm.await??;
    ensure!(registered == STORM * ROUNDS, "{registered} were let in");
    let now = || async {
        let stats: Value = serde_json::from_str(&http_get(relay.http(), "/api/stats").await?)?;
        anyhow::Ok(stats["now"].clone())
    };
    alice.send("hangup", json!({"callId": "c1"})).await?;
    alice.expect("callEnded").await?;
    bob.expect("callEnded").await?;
    let failing = async {
        while now().await?["store"]["failing"] != true {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, failing)
        .await
        .context("the disk takes it")??;

    // The disk is back, and so is the record.
    std::fs::remove_file(&records)?;
    std::fs::create_dir_all(&records)?;
    let record = record_of(&relay, &call).await?;
    let parties = record["parties"].as_array().context("no parties")?;
    for party in parties {
        // Three frames in each group, and the one before them.
        ensure!(party["sent"]["frames"] == exchanged * 3 + 1, "{exchanged}: {record}");
        ensure!(party["sent"]["lost"] == 0 && party["sent"]["late"] == 0, "{record}");
        ensure!(party["sent"]["delivered"] == exchanged * 3 + 1, "{record}");
    }
    Ok(())
}

/// Many phones register at once, and are gone, again and again.
async fn storm(relay: Arc<Relay>) -> Result<usize> {
    let mut registered = 0;
    for _ in 0..ROUNDS {
        let mut coming = JoinSet::new();
        let over = Arc::new(AtomicBool::new(false));
        for number in 0..STORM {
            let (relay, over) = (Arc::clone(&relay), Arc::clone(&over));
            coming.spawn(async move {
                let phone = Phone::register(&relay, &format!("7{number:05}")).await?;
                while !over.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                drop(phone);
                anyhow::Ok(())
            });
        }
        // All of them are there at once before the first goes.
        let there = async {
            loop {
                let stats: Value = serde_json::from_str(&http_get(relay.http(), "/api/stats").await?)?;
                if stats["now"]["devices"].as_u64() >= Some(STORM as u64) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LIMIT, there).await.context("not all came")??;
        over.store(true, Ordering::Relaxed);
        while let Some(came) = coming.join_next().await {
            came??;
            registered += 1;
        }
    }
    Ok(registered)
}

/// Gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("moqswitch-storms-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const STORM: usize = 400;
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);
