//! What shards are asked for reports.

use tokio::sync::oneshot;
use tokio::time;

use crate::limits;

use super::{ControlState, ShardCommand};

/// Asks every shard before waiting for any, with one deadline for all. The answers are in the order of the shards.
pub(super) async fn ask_shards<T>(
    state: &ControlState,
    command: impl Fn(oneshot::Sender<T>) -> ShardCommand,
) -> Result<Vec<T>, String> {
    let deadline = time::Instant::now() + limits::SHARD_ANSWER_WAIT_MAX;
    let mut answers = Vec::with_capacity(state.shards.len());
    for (shard, port) in state.shards.iter().enumerate() {
        let (reply, answer) = oneshot::channel();
        port.send(command(reply))
            .map_err(|error| format!("shard {shard}: {error}\n"))?;
        answers.push(answer);
    }
    let mut all = Vec::with_capacity(answers.len());
    for (shard, answer) in answers.into_iter().enumerate() {
        match time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => all.push(answer),
            Ok(Err(_)) => return Err(format!("shard {shard} has stopped\n")),
            Err(_) => return Err(format!("shard {shard} does not answer\n")),
        }
    }
    Ok(all)
}
