//! How much one publisher may say in a second.

use std::time::{Duration, Instant};

use crate::limits::SOURCE_FRAMES_PER_SECOND_MAX;

/// Frames of one source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    since: Option<Instant>,
    frames: u32,
}

impl Window {
    /// Another frame has come. False: it is one too many.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= SECOND)
        {
            (self.since, self.frames) = (Some(now), 0);
        }
        self.frames = self.frames.saturating_add(1);
        self.frames <= SOURCE_FRAMES_PER_SECOND_MAX
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_second_and_no_more() {
        let (mut window, now) = (Window::default(), Instant::now());
        for second in 0..2 {
            let now = now + SECOND * second;
            assert!((0..SOURCE_FRAMES_PER_SECOND_MAX).all(|_| window.admits(now)));
            assert!(!window.admits(now + SECOND / 2));
        }
    }
}
