//! Who publishes, who subscribes to whom, and when each frame is due.

use std::time::Duration;

/// A steady load: every connection publishes one track and subscribes to some of the others.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) connections: usize,
    /// Other connections' tracks that each connection subscribes to.
    pub(crate) subscriptions: usize,
    pub(crate) frames_per_second: f64,
    pub(crate) frame_bytes: usize,
    pub(crate) frames_per_group: u64,
    pub(crate) duration: Duration,
}

impl Workload {
    /// The tracks that connection `index` subscribes to: its next neighbours.
    pub(crate) fn subscribed_by(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        let connections = self.connections;
        (1..=self.subscriptions.min(connections.saturating_sub(1))).map(move |step| (index + step) % connections)
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.frames_per_second)
    }

    /// When connection `index` is to send its frame number `sequence`, from the start of
    /// media. Connections are spread evenly over one interval.
    pub(crate) fn intended(&self, index: usize, sequence: u64) -> Duration {
        let interval = self.interval().as_secs_f64();
        let spread = usize_to_f64(index) / usize_to_f64(self.connections.max(1));
        #[allow(clippy::cast_precision_loss, reason = "frame numbers stay far below 2^52")]
        let intervals = sequence as f64 + spread;
        Duration::from_secs_f64(interval * intervals)
    }

    /// Frames that each connection publishes.
    pub(crate) fn frames_each(&self) -> u64 {
        let frames = (self.duration.as_secs_f64() * self.frames_per_second).floor();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of frames, not negative"
        )]
        let frames = frames as u64;
        // Whole groups, so that the last one is ended like the others.
        frames / self.frames_per_group * self.frames_per_group
    }
}

fn usize_to_f64(value: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "connection counts stay far below 2^52")]
    let value = value as f64;
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_hears_the_same_number_and_never_himself() {
        let workload = Workload {
            connections: 5,
            subscriptions: 4,
            frames_per_second: 50.0,
            frame_bytes: 200,
            frames_per_group: 3,
            duration: Duration::from_secs(1),
        };
        let mut heard = [0; 5];
        for index in 0..5 {
            for publisher in workload.subscribed_by(index) {
                assert_ne!(publisher, index);
                heard[publisher] += 1;
            }
        }
        assert_eq!(heard, [4; 5]);
        assert_eq!(workload.frames_each(), 48);
        assert_eq!(workload.intended(0, 50), Duration::from_secs(1));
    }
}
