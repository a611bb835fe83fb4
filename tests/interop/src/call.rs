//! A call in lockstep: each group is published, received and compared before the next, so any loss
//! is a missing group and not a race.

use anyhow::{Context, Result};
use moq_net::track;

use crate::payload::{PlannedGroup, Random};
use crate::peer::{PublishedTrack, Publisher, Subscriber, check_same, read_group, write_group};

/// A publisher's track and its subscription at the far end.
pub struct Call {
    published: PublishedTrack,
    subscription: track::Subscriber,
    random: Random,
    next_sequence: u64,
}

impl Call {
    /// Announces `path`, subscribes to it, and sees the first group arrive.
    pub async fn start(
        publisher: &Publisher,
        subscriber: &mut Subscriber,
        path: &str,
        mut random: Random,
    ) -> Result<Call> {
        let first = random.group(0, &[FRAME_BYTES]);
        let published = publisher.publish(path, TRACK, &first)?;
        subscriber.until_announced(path, true).await?;
        let mut subscription = subscriber.subscribe(path, TRACK).await?;
        check_same(&read_group(&mut subscription).await?, &first)?;
        Ok(Call {
            published,
            subscription,
            random,
            next_sequence: 1,
        })
    }

    /// One group through the relay; nothing of it may be missing.
    pub async fn exchange(&mut self) -> Result<()> {
        let sent = self
            .random
            .group(self.next_sequence, &[FRAME_BYTES, 1, FRAME_BYTES * 8]);
        self.next_sequence += 1;
        write_group(&self.published.track, &sent)?;
        let received: PlannedGroup = read_group(&mut self.subscription)
            .await
            .with_context(|| format!("group {} was lost", sent.sequence))?;
        check_same(&received, &sent)
    }

    /// A group that nobody is to hear.
    pub fn speak_to_nobody(&mut self) -> Result<()> {
        let sent = self.random.group(self.next_sequence, &[FRAME_BYTES]);
        self.next_sequence += 1;
        write_group(&self.published.track, &sent)
    }

    /// Announces the broadcast no more. Its track goes on.
    pub fn withdraw(&self) {
        self.published.broadcast.unannounce();
    }

    /// Groups that went through so far.
    pub fn exchanged(&self) -> u64 {
        self.next_sequence
    }
}

const TRACK: &str = "audio";
const FRAME_BYTES: usize = 200;
