//! Runs one behaviour over drafts and shard placements, each on a relay of its own.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::carrier::{Carrier, Dial};
use crate::draft::Draft;
use crate::payload::{Random, seed};
use crate::peer::{Publisher, Subscriber};
use crate::relay::Relay;

/// Where the two ends of a case are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    SameShard,
    AcrossShards,
    /// The relay's shards cannot be told apart from outside.
    Anywhere,
}

/// One cell of the matrix: a fresh relay, and which draft each end speaks.
pub struct Case {
    pub relay: Relay,
    pub publisher_draft: Draft,
    pub publisher_carrier: Carrier,
    pub subscriber_draft: Draft,
    pub subscriber_carrier: Carrier,
    pub placement: Placement,
    pub random: Random,
}

impl Case {
    /// A publisher, on shard 0.
    pub async fn publisher(&self) -> Result<Publisher> {
        self.publisher_on(0).await
    }

    pub async fn publisher_on(&self, shard: usize) -> Result<Publisher> {
        let connect = || Publisher::connect_to(self.publisher_carrier.url(&self.relay), self.publisher_draft);
        self.relay.place(shard, connect).await
    }

    /// A subscriber, on the shard the placement says.
    pub async fn subscriber(&self) -> Result<Subscriber> {
        self.subscriber_of("").await
    }

    pub async fn subscriber_on(&self, shard: usize) -> Result<Subscriber> {
        let url = self.subscriber_carrier.url(&self.relay);
        let connect = || Subscriber::connect_to(url.clone(), self.subscriber_draft, "");
        self.relay.place(shard, connect).await
    }

    /// The same, for announcements at or below `prefix`.
    pub async fn subscriber_of(&self, prefix: &str) -> Result<Subscriber> {
        let url = self.subscriber_carrier.url(&self.relay);
        let connect = || Subscriber::connect_to(url.clone(), self.subscriber_draft, prefix);
        self.relay.place(self.subscriber_shard(), connect).await
    }

    /// The shard of the only session there is, and the one that the placement wants the other end on.
    pub async fn shard_beside_first(&self) -> Result<usize> {
        if !self.relay.is_sharded() {
            return Ok(0);
        }
        let sessions = self.relay.until_session_total(1.0).await?;
        let shard = sessions.iter().position(|sessions| *sessions > 0.0);
        let shard = shard.expect("one of them has the session");
        Ok(match self.placement {
            Placement::SameShard | Placement::Anywhere => shard,
            Placement::AcrossShards => SHARDS - 1 - shard,
        })
    }

    pub fn subscriber_shard(&self) -> usize {
        match self.placement {
            Placement::SameShard | Placement::Anywhere => 0,
            Placement::AcrossShards => 1,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} to {}, {:?}",
            self.publisher_carrier.with(self.publisher_draft),
            self.subscriber_carrier.with(self.subscriber_draft),
            self.placement
        )
    }
}

/// Each draft with itself.
pub fn same_draft(drafts: &[Draft]) -> Vec<(Draft, Draft)> {
    drafts.iter().map(|draft| (*draft, *draft)).collect()
}

/// Each pair of carriers of which one at least is not raw QUIC, between each draft and its neighbour.
pub fn carrier_pairs(drafts: &[Draft]) -> Vec<(Dial, Dial)> {
    let mut pairs = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        let neighbour = drafts[(index + 1) % drafts.len()];
        for publisher in Carrier::ALL {
            for subscriber in Carrier::ALL {
                if (publisher, subscriber) != (Carrier::Quic, Carrier::Quic) {
                    pairs.push((publisher.with(*draft), subscriber.with(neighbour)));
                }
            }
        }
    }
    pairs
}

/// Runs `behaviour` for every pair of publisher and subscriber and every placement, each within
/// `limit`. All cells run even when one fails; the panic at the end names every failed cell.
pub async fn run_matrix<End, Behaviour, Running>(pairs: &[(End, End)], limit: Duration, behaviour: Behaviour)
where
    End: Copy + Into<Dial>,
    Behaviour: Fn(Case) -> Running,
    Running: Future<Output = Result<()>> + Send + 'static,
{
    let mut failures = Vec::new();
    for pair in pairs {
        let (publisher, subscriber): (Dial, Dial) = (pair.0.into(), pair.1.into());
        for placement in placements().await {
            let seed = seed();
            let relay = Relay::start(SHARDS).await.expect("the relay starts");
            let log = relay.log().to_owned();
            let case = Case {
                relay,
                publisher_draft: publisher.draft,
                publisher_carrier: publisher.carrier,
                subscriber_draft: subscriber.draft,
                subscriber_carrier: subscriber.carrier,
                placement,
                random: Random::new(seed),
            };
            let name = format!("{case} (seed {seed})");
            eprintln!("case: {name}");
            // A task of its own turns a panic of one cell into one failure.
            let task = tokio::spawn(tokio::time::timeout(limit, behaviour(case)));
            let failure = match task.await {
                Ok(Ok(Ok(()))) => {
                    std::fs::remove_file(&log).ok();
                    continue;
                }
                Ok(Ok(Err(error))) => format!("{error:#}"),
                Ok(Err(_)) => format!("still running after {limit:?}"),
                Err(panic) => format!("{panic}"),
            };
            failures.push(format!("{name}: {failure}; relay log {}", log.display()));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

async fn placements() -> Vec<Placement> {
    let relay = Relay::start(SHARDS).await.expect("the relay starts");
    let placements = if relay.is_sharded() {
        vec![Placement::SameShard, Placement::AcrossShards]
    } else {
        vec![Placement::Anywhere]
    };
    std::fs::remove_file(relay.log()).ok();
    placements
}

/// Two shards are enough to be on the same one or on two.
const SHARDS: usize = 2;
