//! From the connection into the session.

use moqswitch_proto::peer::Drive;
use moqswitch_proto::wire::Read;

use crate::quic::ReadArena;

use super::Carry;

/// Gives a session what its connection has: of streams until `reads_max` reads were made, and all datagrams, whose
/// number the connection bounds. True when streams may have more; the caller comes back for it.
///
/// `arrival_timestamp_ms` is for frames of drafts that carry no timestamps.
pub fn read(
    connection: &mut impl Carry,
    session: &mut impl Drive,
    arena: &mut ReadArena,
    arrival_timestamp_ms: u64,
    reads_max: usize,
) -> bool {
    let mut reads = 0;
    while reads < reads_max {
        let Some(stream) = connection.poll_readable() else {
            break;
        };
        loop {
            reads += 1;
            match connection.read(stream, arena) {
                Read::Data { bytes, fin } => {
                    session.handle_stream(stream, bytes, fin, arrival_timestamp_ms);
                    if fin {
                        break;
                    }
                }
                Read::Reset(code) => {
                    session.handle_reset(stream, code);
                    break;
                }
                Read::Nothing => break,
            }
        }
    }
    while let Some(datagram) = connection.poll_datagram(arena) {
        session.handle_datagram(datagram);
    }
    reads >= reads_max
}
