//! Whether quiche is known to have nothing more to send, so that it need not be asked.
//!
//! That it has nothing more costs it a twentieth of what a frame of a call does: it looks at its handshake, its paths
//! and at every kind of frame. What is written for a call at once is nearly always one short frame of one stream, and
//! quiche puts all of that, with whatever else is due, into one packet. Where anything else may have been written it
//! is asked, and now and then all the same, so that what this overlooks never waits for long.

use moqswitch_proto::wire::StreamId;

/// What was written since quiche last said that it had nothing more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsent {
    /// The one that was written last.
    stream: Option<StreamId>,
    /// How often another one was than before.
    streams: usize,
    /// Something may need packets of its own, or it is not known what does.
    has_other: bool,
    /// How often it was not asked since it was.
    unasked: u8,
    /// Nor in the flush that ends now.
    is_known: bool,
}

impl Unsent {
    /// Notes that a stream was written.
    pub(super) fn on_stream(&mut self, stream: StreamId) {
        if self.stream.replace(stream) != Some(stream) {
            self.streams += 1;
        }
    }

    /// Notes that something was written that may need packets of its own.
    pub(super) fn on_other(&mut self) {
        self.has_other = true;
    }

    /// Notes the first packet of a flush: true when all that was written is in it.
    pub(super) fn is_all_in(&mut self, packet_bytes: usize, packet_bytes_max: usize) -> bool {
        let is_one = self.streams == 1 && !self.has_other && packet_bytes <= packet_bytes_max / 2;
        if !is_one || self.unasked >= UNASKED_MAX {
            return false;
        }
        *self = Self {
            unasked: self.unasked + 1,
            is_known: true,
            ..Self::default()
        };
        true
    }

    /// Notes the end of a flush of so many packets. True: quiche was asked and holds something back, as each stream that was
    /// written fills one at least.
    pub(super) fn on_flushed(&mut self, packets: usize) -> bool {
        if std::mem::take(&mut self.is_known) {
            return false;
        }
        let is_held = packets < self.streams;
        *self = Self::default();
        is_held
    }
}

/// Asked at least every so many flushes. quiche lets its window grow only after that.
const UNASKED_MAX: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_200;

    #[test]
    fn one_short_stream_is_all_and_anything_else_is_asked_for() {
        let mut unsent = Unsent::default();
        assert!(!unsent.is_all_in(100, MAX), "nothing is known of what it is");
        unsent.on_stream(StreamId(3));
        unsent.on_stream(StreamId(3));
        assert!(unsent.is_all_in(100, MAX));
        assert!(!unsent.on_flushed(1));
        unsent.on_stream(StreamId(7));
        assert!(!unsent.is_all_in(MAX, MAX), "the rest of it may be in the next");
        assert!(!unsent.on_flushed(2));
        unsent.on_stream(StreamId(7));
        unsent.on_stream(StreamId(11));
        unsent.on_stream(StreamId(7));
        assert!(!unsent.is_all_in(100, MAX));
        unsent.on_flushed(3);
        unsent.on_stream(StreamId(7));
        unsent.on_other();
        assert!(!unsent.is_all_in(100, MAX));
    }

    #[test]
    fn it_is_asked_now_and_then_all_the_same() {
        let mut unsent = Unsent::default();
        for _ in 0..2 {
            for _ in 0..UNASKED_MAX {
                unsent.on_stream(StreamId(3));
                assert!(unsent.is_all_in(100, MAX));
                assert!(!unsent.on_flushed(1));
            }
            unsent.on_stream(StreamId(3));
            assert!(!unsent.is_all_in(100, MAX));
            assert!(!unsent.on_flushed(1));
        }
    }

    #[test]
    fn fewer_packets_than_streams_are_told() {
        let mut unsent = Unsent::default();
        unsent.on_stream(StreamId(3));
        assert!(unsent.on_flushed(0), "the window took none of it");
        unsent.on_stream(StreamId(3));
        unsent.on_stream(StreamId(7));
        assert!(unsent.on_flushed(1));
        assert!(!unsent.on_flushed(0), "nothing was written");
    }
}
