//! The queues themselves.

use bytes::Bytes;

use crate::session::Transmit;
use crate::session::limits::WRITE_BYTES_MAX;
use crate::session::transmit::Outbox;
use crate::wire::{EncodeError, StreamId, stream_error};

fn write(outbox: &mut Outbox, stream: u64, bytes: &[u8]) {
    let sent = outbox.write(StreamId(stream), |out| {
        out.extend_from_slice(bytes);
        Ok(())
    });
    assert!(sent.is_ok());
}

fn written(stream: u64, bytes: &'static [u8], fin: bool) -> Transmit {
    Transmit::Write {
        stream: StreamId(stream),
        data: Bytes::from_static(bytes),
        fin,
    }
}

#[test]
fn consecutive_messages_of_one_stream_are_one_write() {
    let mut outbox = Outbox::default();
    write(&mut outbox, 0, b"a");
    write(&mut outbox, 0, b"b");
    write(&mut outbox, 4, b"c");
    write(&mut outbox, 0, b"d");
    outbox.finish(StreamId(0));
    outbox.finish(StreamId(4));
    outbox.reset(StreamId(8), stream_error::CANCEL);
    let transmits: Vec<Transmit> = std::iter::from_fn(|| outbox.poll()).collect();
    assert_eq!(
        transmits,
        [
            written(0, b"ab", false),
            written(4, b"c", false),
            written(0, b"d", true),
            written(4, b"", true),
            Transmit::Reset {
                stream: StreamId(8),
                code: stream_error::CANCEL
            },
        ]
    );
}

#[test]
fn a_failed_message_leaves_no_trace() {
    let mut outbox = Outbox::default();
    let fail = |outbox: &mut Outbox| {
        let sent = outbox.write(StreamId(0), |out| {
            out.extend_from_slice(b"half");
            Err(EncodeError::Invalid("test"))
        });
        assert!(sent.is_err());
    };
    fail(&mut outbox);
    assert_eq!(outbox.poll(), None);
    write(&mut outbox, 0, b"whole");
    fail(&mut outbox);
    assert_eq!(outbox.poll(), Some(written(0, b"whole", false)));
}

#[test]
fn a_long_run_of_messages_is_several_writes() {
    let mut outbox = Outbox::default();
    for _ in 0..4 {
        write(&mut outbox, 0, &vec![0; WRITE_BYTES_MAX / 2]);
    }
    assert_eq!(std::iter::from_fn(|| outbox.poll()).count(), 2);
}
