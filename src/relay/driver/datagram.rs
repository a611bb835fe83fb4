//! A group of one frame as a datagram.

use bytes::BytesMut;
use moqswitch_proto::wire::DatagramSent;

use super::Carry;

/// Sends a frame as a datagram, if it can leave at once. `put_header` writes what stands before its payload; false when it cannot.
pub fn send_datagram(
    connection: &mut impl Carry,
    put_header: impl FnOnce(&mut BytesMut) -> bool,
    payload: &[u8],
) -> DatagramSent {
    let head = connection.datagram_head();
    let mut datagram = BytesMut::with_capacity(head.len() + HEADER_BYTES + payload.len());
    datagram.extend_from_slice(head);
    if !put_header(&mut datagram) {
        return DatagramSent::TooLarge;
    }
    datagram.extend_from_slice(payload);
    let bytes_max = connection.datagram_bytes_max();
    if bytes_max.is_none_or(|max| datagram.len() > max) {
        return DatagramSent::TooLarge;
    }
    if connection.send_datagram(datagram.freeze()) {
        DatagramSent::Sent
    } else {
        DatagramSent::Full
    }
}

/// Of moq-lite three integers; of moq-transport two, and a timestamp as a property.
const HEADER_BYTES: usize = 40;
