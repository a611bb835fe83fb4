//! A group of one frame as a datagram.

use bytes::BytesMut;
use moqswitch_proto::wire::{DatagramHeader, DatagramSent, Version};

use super::Carry;

/// Sends a frame as a datagram, if it can leave at once.
pub fn send_datagram(
    connection: &mut impl Carry,
    version: Version,
    header: &DatagramHeader,
    payload: &[u8],
) -> DatagramSent {
    let head = connection.datagram_head();
    let mut datagram = BytesMut::with_capacity(head.len() + DatagramHeader::BYTES_MAX + payload.len());
    datagram.extend_from_slice(head);
    if header.encode(version, &mut datagram).is_err() {
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
