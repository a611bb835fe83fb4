use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::net::socket::{SocketGroup, SocketOptions, bind_group};

#[test]
fn stamp_agrees_with_shard_of_for_every_count() {
    for shards in 1..=SHARDS_MAX {
        for shard in 0..shards {
            for random in [0, 1, 77, 128, 254, 255] {
                let mut id = [0xaa; CONNECTION_ID_BYTES];
                stamp(&mut id, shard, shards, random);
                assert_eq!(shard_of(&id, shards), shard);
                assert!(id[STEERING_BYTE_INDEX + 1..].iter().all(|byte| *byte == 0xaa));
            }
        }
    }
}

#[test]
fn stamp_uses_every_value_that_means_the_shard() {
    let mut seen = std::collections::BTreeSet::new();
    for random in 0..=255 {
        let mut id = [0; CONNECTION_ID_BYTES];
        stamp(&mut id, 1, 3, random);
        seen.insert(id[STEERING_BYTE_INDEX]);
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        (0..=255).skip(1).step_by(3).collect::<Vec<u8>>()
    );
}

#[test]
fn short_id_belongs_to_shard_zero() {
    assert_eq!(shard_of(&[], 4), 0);
}

#[test]
fn datagrams_follow_their_id_from_every_source_port() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let group = group(addr, SHARDS);
        for sender in (0..16).map(|_| sender(&group)) {
            for shard in 0..SHARDS {
                for packet in [short_header(shard, 9), short_header(shard, 250), long_header(shard)] {
                    sender.send(&packet).unwrap();
                    assert_eq!(receiver_of(&group, &packet), shard);
                }
            }
        }
    }
}

#[test]
fn datagrams_of_the_clients_choice_stay_with_one_shard() {
    let group = group("127.0.0.1:0", SHARDS);
    let mut shards_seen = [0; SHARDS];
    for sender in (0..64).map(|_| sender(&group)) {
        // An id of another length, a packet cut short in either header, and nothing at all.
        let mut other_length = long_header(1);
        other_length[5] = 8;
        let short_cut = short_header(1, 9)[..CONNECTION_ID_BYTES].to_vec();
        let long_cut = long_header(1)[..5 + CONNECTION_ID_BYTES].to_vec();
        let packets = [other_length, short_cut, long_cut, vec![0x40], vec![0xc0]];
        let landed = packets.map(|packet| {
            sender.send(&packet).unwrap();
            receiver_of(&group, &packet)
        });
        assert!(
            landed.iter().all(|shard| *shard == landed[0]),
            "hashed by address: {landed:?}"
        );
        shards_seen[landed[0]] += 1;
    }
    assert!(
        shards_seen.iter().all(|count| *count > 0),
        "spread over shards: {shards_seen:?}"
    );
}

const SHARDS: usize = 3;

fn group(addr: &str, shards: usize) -> SocketGroup {
    let addr: SocketAddr = addr.parse().unwrap();
    bind_group(addr, shards, &SocketOptions::default()).unwrap()
}

fn sender(group: &SocketGroup) -> UdpSocket {
    let socket = UdpSocket::bind((group.local.ip(), 0)).unwrap();
    socket.connect(group.local).unwrap();
    socket
}

fn id(shard: usize, random: u8) -> [u8; CONNECTION_ID_BYTES] {
    let mut id = [0x5a; CONNECTION_ID_BYTES];
    stamp(&mut id, shard, SHARDS, random);
    id
}

fn short_header(shard: usize, random: u8) -> Vec<u8> {
    let mut packet = vec![0x40];
    packet.extend(id(shard, random));
    packet.extend([0; 30]);
    packet
}

fn long_header(shard: usize) -> Vec<u8> {
    let mut packet = vec![0xc0, 0, 0, 0, 1, u8::try_from(CONNECTION_ID_BYTES).unwrap()];
    packet.extend(id(shard, 100));
    packet.extend([0; 30]);
    packet
}

/// Which one socket gets the packet.
fn receiver_of(group: &SocketGroup, packet: &[u8]) -> usize {
    let poll_for = |socket: &UdpSocket| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polls: Vec<_> = group.sockets.iter().map(poll_for).collect();
    // SAFETY: `polls` holds SHARDS entries and is alive during the call.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), SHARDS as libc::nfds_t, 5_000) };
    assert_eq!(ready, 1, "delivered to one socket");
    let shard = polls.iter().position(|poll| poll.revents != 0).unwrap();
    let mut buffer = [0; 2_000];
    let length = group.sockets[shard].recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], packet);
    shard
}
