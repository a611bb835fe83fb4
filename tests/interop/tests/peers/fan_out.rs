//! One publisher, fifty subscribers on fifty connections: every one receives every byte.

use std::time::Duration;

use anyhow::{Context, Result};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::peer::{check_same, read_group, write_group};
use moqswitch_interop::{Case, Draft, Subscriber, run_matrix};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_subscribers_lose_nothing() {
    run_matrix(&same_draft(&Draft::ALL), LIMIT, fan_out).await;
}

async fn fan_out(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let first = case.random.group(0, &[17]);
    let published = publisher.publish(PATH, TRACK, &first)?;

    // Every port is another draw of the shard: fifty connections are on all of them.
    let mut joining = JoinSet::new();
    for _ in 0..SUBSCRIBERS {
        let (relay, draft, first) = (case.relay.udp(), case.subscriber_draft, first.clone());
        joining.spawn(async move {
            let subscriber = Subscriber::connect(relay, draft).await?;
            let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
            check_same(&read_group(&mut subscription).await?, &first)?;
            Ok::<_, anyhow::Error>((subscriber, subscription))
        });
    }
    let mut subscribers = Vec::new();
    while let Some(joined) = joining.join_next().await {
        subscribers.push(joined?.with_context(|| format!("after {} joined", subscribers.len()))?);
    }

    let mut frame_bytes = vec![200; 10];
    frame_bytes.extend([20_000, 1, 0]);
    let planned: Vec<_> = (1..=GROUPS)
        .map(|sequence| case.random.group(sequence, &frame_bytes))
        .collect();
    let mut receiving = JoinSet::new();
    for (index, (subscriber, mut subscription)) in subscribers.into_iter().enumerate() {
        let planned = planned.clone();
        receiving.spawn(async move {
            let mut missing: std::collections::BTreeMap<_, _> =
                planned.into_iter().map(|group| (group.sequence, group)).collect();
            while !missing.is_empty() {
                let group = read_group(&mut subscription)
                    .await
                    .with_context(|| format!("subscriber {index} waits for {:?}", missing.keys()))?;
                let sent = missing
                    .remove(&group.sequence)
                    .with_context(|| format!("subscriber {index}: group {} twice", group.sequence))?;
                check_same(&group, &sent)?;
            }
            drop(subscriber);
            Ok::<_, anyhow::Error>(())
        });
    }
    for group in &planned {
        write_group(&published.track, group)?;
    }
    while let Some(received) = receiving.join_next().await {
        received??;
    }
    Ok(())
}

const PATH: &str = "interop/fan-out";
const TRACK: &str = "video";
const SUBSCRIBERS: usize = 50;
const GROUPS: u64 = 20;
const LIMIT: Duration = Duration::from_secs(120);
