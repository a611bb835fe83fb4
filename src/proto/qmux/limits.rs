//! What one QMux connection may hold, and what happens at each bound. Windows and numbers of
//! streams, which an operator sets, are in [`Options`](super::Options).

/// The record that every peer takes, and the one we take (draft-ietf-quic-qmux, "max_record_size").
/// A longer message ends the connection with FRAME_ENCODING_ERROR.
pub const RECORD_BYTES_MAX: usize = 16_382;

/// A message of draft 00, which is one frame. A longer one ends the connection likewise.
pub const FRAME_00_BYTES_MAX: usize = 16_384;

/// Payload of one STREAM frame that we send: released peers refuse more, whatever record they take.
pub const STREAM_PAYLOAD_BYTES_MAX: usize = 16_352;

/// Stream bytes taken from the session that have not left in a message. At the bound `write` says
/// Blocked, and what has not been taken stays with the scheduler, which may still change its mind.
pub const HELD_BYTES_MAX: usize = 64 * 1024;

/// Pieces of those; a piece costs an entry and may pin a block. At the bound `write` says Blocked.
pub const HELD_PIECES_MAX: usize = 1024;

/// Payloads of STREAM frames that wait to be read; each costs an entry. From there on the next message is
/// left with the carrier, so that it is this and what one message may hold.
pub const UNREAD_CHUNKS_MAX: usize = 512;

/// Resets, refusals and credits that wait to be sent. A peer that makes more pile up does not read,
/// and is closed.
pub const CONTROL_FRAMES_MAX: usize = 4096;

/// Bytes of one stream in a message while others have some too, so that none waits for another.
pub const QUANTUM_BYTES: usize = 4096;

/// Datagrams that wait to be sent. Further ones are dropped.
pub const DATAGRAMS_WAITING_MAX: usize = 64;

/// Reason phrase of a close; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 512;

/// Longest frame of those without payload: a type and four integers of eight bytes.
pub(super) const CONTROL_FRAME_BYTES_MAX: usize = 5 * 8;

/// Longest head of a STREAM frame: a type and three integers of eight bytes.
pub(super) const STREAM_HEAD_BYTES_MAX: usize = 1 + 3 * 8;

/// Type and length in front of a datagram.
pub(super) const DATAGRAM_HEAD_BYTES_MAX: usize = 1 + 4;

const _: () = {
    assert!(STREAM_PAYLOAD_BYTES_MAX + STREAM_HEAD_BYTES_MAX <= RECORD_BYTES_MAX);
    assert!(RECORD_BYTES_MAX <= FRAME_00_BYTES_MAX);
    assert!(REASON_BYTES_MAX + CONTROL_FRAME_BYTES_MAX <= RECORD_BYTES_MAX);
    assert!(QUANTUM_BYTES <= STREAM_PAYLOAD_BYTES_MAX);
    assert!(HELD_BYTES_MAX >= RECORD_BYTES_MAX);
};
