//! A client whose UDP port or host changes in mid-session goes on: no group is lost, no new session
//! is made, and it stays on its shard.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::{Call, Case, Draft, Forwarder, Publisher, Subscriber, run_matrix};

#[tokio::test(flavor = "multi_thread")]
async fn session_survives_a_port_change() {
    run_matrix(&same_draft(&Draft::ALL), LIMIT, change_ports).await;
}

async fn change_ports(case: Case) -> Result<()> {
    let relay = case.relay.udp();
    let (publisher_path, publisher) = case
        .relay
        .place(0, || async {
            let forwarder = Forwarder::start(relay).await?;
            let publisher = Publisher::connect(forwarder.address(), case.publisher_draft).await?;
            Ok((forwarder, publisher))
        })
        .await?;
    let (subscriber_path, mut subscriber) = case
        .relay
        .place(case.subscriber_shard(), || async {
            let forwarder = Forwarder::start(relay).await?;
            let subscriber = Subscriber::connect(forwarder.address(), case.subscriber_draft).await?;
            Ok((forwarder, subscriber))
        })
        .await?;
    let mut call = Call::start(&publisher, &mut subscriber, "interop/port", case.random.clone()).await?;
    let before = sessions(&case).await?;

    for _ in 0..GROUPS_BETWEEN_CHANGES {
        call.exchange().await.context("before any change")?;
    }
    for round in 0..PORT_ROUNDS + HOST_ROUNDS {
        let (name, path) = match round % 2 {
            0 => ("publisher", &publisher_path),
            _ => ("subscriber", &subscriber_path),
        };
        match u8::try_from(round).ok().filter(|_| round >= PORT_ROUNDS) {
            Some(host) => path.change_host(host).await?,
            None => path.change_port().await?,
        };
        let changed = Instant::now();
        for group in 0..GROUPS_BETWEEN_CHANGES {
            call.exchange()
                .await
                .with_context(|| format!("round {round}: {name} moved, group {group} after it"))?;
        }
        let took = changed.elapsed();
        eprintln!("{name} moved, {GROUPS_BETWEEN_CHANGES} groups took {took:?}");
        ensure!(
            took < RECOVERY_MAX,
            "round {round}: {name} moved and was out for {took:?}"
        );
    }

    let after = sessions(&case).await?;
    ensure!(before == after, "sessions by shard were {before:?} and are {after:?}");
    ensure!(
        publisher.is_connected() && subscriber.is_connected(),
        "a session was closed"
    );
    Ok(())
}

/// Live sessions by shard; nothing for a relay that cannot tell.
async fn sessions(case: &Case) -> Result<Vec<f64>> {
    if !case.relay.is_sharded() {
        return Ok(Vec::new());
    }
    case.relay.sessions_by_shard().await
}

/// Even rounds move the publisher, odd ones the subscriber. With two shards, a new port goes to the
/// other shard half the time: eight changes miss that with odds of one in 256, and the matrix repeats
/// them eight times.
const PORT_ROUNDS: usize = 8;
const HOST_ROUNDS: usize = 4;
const GROUPS_BETWEEN_CHANGES: usize = 10;
/// Generous: a keep-alive from the new port, one path validation, a few probe timeouts.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(120);
