//! What the relay counted of legs that are over, and which of those that are up have media: asked of all shards, told to the
//! calls.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::limits::COUNTS_ASKED_MAX;
use moqswitch_relay::routing::BroadcastCounts;
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use moqswitch_signalling::SignallingHandle;
use moqswitch_signalling::calls::{Counters, LegId, MediaEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, MissedTickBehavior};

use crate::limits::{COUNTS_SETTLE, FLOWING_INTERVAL, SHARD_ANSWER_WAIT_MAX, SHARD_PATIENCE_MAX, SHARD_RETRY_INTERVAL};

/// Asks the shards.
pub(super) struct Counting {
    /// Legs that are over.
    over: mpsc::Receiver<LegId>,
    shards: Vec<ShardPort>,
    calls: SignallingHandle,
}

/// A shard does not answer: nothing is known, which is not zero.
struct Silent;

impl Counting {
    pub(super) fn new(over: mpsc::Receiver<LegId>, shards: Vec<ShardPort>, calls: SignallingHandle) -> Self {
        Self { over, shards, calls }
    }

    pub(super) async fn serve(mut self) {
        let mut settle = time::interval(COUNTS_SETTLE);
        let mut flowing = time::interval(FLOWING_INTERVAL);
        settle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        flowing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Frames may be on their way from shard to shard when a leg ends: it waits for one whole interval.
        let (mut fresh, mut settled) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                leg = self.over.recv(), if fresh.len() < COUNTS_ASKED_MAX => match leg {
                    Some(leg) => fresh.push(leg),
                    None => return,
                },
                _ = settle.tick() => {
                    let asked = mem::replace(&mut settled, mem::take(&mut fresh));
                    if !asked.is_empty() {
                        self.count(&asked).await;
                    }
                }
                _ = flowing.tick() => self.look_for_media().await,
            }
        }
    }

    /// Nothing is told of legs of which a shard does not answer. Their records say that it is not known.
    async fn count(&self, legs: &[LegId]) {
        let paths: Arc<[BroadcastPath]> = legs.iter().map(|leg| BroadcastPath::new(&leg.path())).collect();
        let mut sums = vec![BroadcastCounts::default(); legs.len()];
        for shard in &self.shards {
            let asked = self.ask(shard, |reply| ShardCommand::TakeCounts {
                broadcasts: paths.clone(),
                reply,
            });
            let Ok(counts) = asked.await else {
                return tracing::warn!(legs = legs.len(), "a shard does not say what it counted");
            };
            sums.iter_mut().zip(&counts).for_each(|(sum, counts)| sum.add(counts));
        }
        for (leg, sum) in legs.iter().zip(sums) {
            let counters = Counters {
                frames: sum.frames,
                bytes: sum.bytes,
                lost: sum.missing,
                paused: sum.paused,
                late: sum.late,
                jitter: jitter(&sum),
                delivered: sum.delivered,
            };
            let told = self.calls.media(MediaEvent::Counters { leg: *leg, counters });
            if told.is_err() {
                return tracing::warn!("calls: no room for what was counted of their legs");
            }
        }
    }

    async fn look_for_media(&self) {
        for shard in &self.shards {
            // The next time, if not now.
            let Ok(paths) = self.ask(shard, ShardCommand::TakeFlowing).await else {
                continue;
            };
            for leg in paths.iter().filter_map(|path| LegId::of_path(path.as_str())) {
                if self.calls.media(MediaEvent::Flowing { leg }).is_err() {
                    // Not all at once: the calls thread has other things to do, too.
                    time::sleep(SHARD_RETRY_INTERVAL).await;
                }
            }
        }
    }

    async fn ask<T>(
        &self,
        shard: &ShardPort,
        command: impl FnOnce(oneshot::Sender<T>) -> ShardCommand,
    ) -> Result<T, Silent> {
        let (reply, answer) = oneshot::channel();
        let mut command = command(reply);
        let until = Instant::now() + SHARD_PATIENCE_MAX;
        while Instant::now() < until {
            match shard.offer(command) {
                Ok(()) => {
                    let answer = time::timeout(SHARD_ANSWER_WAIT_MAX, answer).await;
                    return answer.ok().and_then(Result::ok).ok_or(Silent);
                }
                Err(refused) => command = refused,
            }
            time::sleep(SHARD_RETRY_INTERVAL).await;
        }
        Err(Silent)
    }
}

/// The mean distance of frames from where they would have been if they had come evenly. None: too few came to say.
fn jitter(counts: &BroadcastCounts) -> Option<Duration> {
    let mean = counts.unevenness_us.checked_div(counts.steps)?;
    (counts.steps >= STEPS_MIN).then(|| Duration::from_micros(mean))
}

/// As many as a second of speech.
const STEPS_MIN: u64 = 50;
