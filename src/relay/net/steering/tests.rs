use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::net::socket::{SocketGroup, SocketOptions, bind_group};

#[test]
fn stamp_agrees_with_slot_of_for_every_count() {
    for slots in 1..=SHARDS_MAX {
        for slot in 0..slots {
            for random in [0, 1, 77, 128, 254, 255] {
                let mut id = [0xaa; CONNECTION_ID_BYTES];
                stamp(&mut id, slot, slots, random);
                assert_eq!(slot_of(&id, slots), slot);
                assert_eq!(id[STEERING_CHECK_INDEX], check_of(&id));
                assert!(id[STEERING_CHECK_INDEX + 1..].iter().all(|byte| *byte == 0xaa));
            }
        }
    }
}

#[test]
fn stamp_uses_every_value_that_means_the_slot() {
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
fn short_id_belongs_to_slot_zero() {
    assert_eq!(slot_of(&[], 4), 0);
}

#[test]
fn the_ordinary_packet_costs_no_more_with_one_generation() {
    let steering = |current, others: &[usize]| Steering {
        shards: SHARDS,
        generations: GENERATIONS_MAX,
        current,
        others: others.to_vec(),
    };
    // Those that a packet with a short header runs through: the length of the program without those of long headers.
    assert_eq!(program(&steering(0, &[])).len() - 1, 8);
    assert_eq!(program(&steering(3, &[])).len() - 1, 9);
    for others in [&[1][..], &[1, 2], &[1, 2, 3]] {
        assert!(program(&steering(0, others)).len() < 64);
    }
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
fn what_a_client_sends_first_stays_with_one_shard_by_the_id_it_chose() {
    let group = group("127.0.0.1:0", SHARDS);
    let mut shards_seen = [0; SHARDS];
    for byte in 0..64_u8 {
        let landed: Vec<usize> = [8, 16, 20]
            .into_iter()
            .map(|length| {
                let sender = sender(&group);
                let packet = first_packet(byte, length);
                sender.send(&packet).unwrap();
                receiver_of(&group, &packet)
            })
            .collect();
        assert!(
            landed.iter().all(|shard| *shard == usize::from(byte) % SHARDS),
            "{landed:?}"
        );
        shards_seen[landed[0]] += 1;
    }
    assert!(
        shards_seen.iter().all(|count| *count > 0),
        "spread over shards: {shards_seen:?}"
    );
    // What is too short to name anything comes in, too.
    let sender = sender(&group);
    for packet in [vec![0x40], vec![0xc0], vec![0xc0, 0, 0, 0, 1, 0]] {
        sender.send(&packet).unwrap();
        receiver_of(&group, &packet);
    }
}

#[test]
fn generations_have_their_own_packets_and_the_current_one_the_rest() {
    let group = generations("127.0.0.1:0");
    let sender = sender(&group);
    let lands = |packet: Vec<u8>| {
        sender.send(&packet).unwrap();
        receiver_of(&group, &packet)
    };
    // (current, others that live)
    for (current, others) in [
        (0, vec![]),
        (1, vec![0]),
        (3, vec![1, 2]),
        (0, vec![1, 2, 3]),
        (2, vec![]),
    ] {
        group.steer(current, &others).unwrap();
        for generation in 0..GENERATIONS_MAX {
            let lives = generation == current || others.contains(&generation);
            let owner = if lives { generation } else { current };
            for shard in 0..SHARDS {
                for random in [0, 9, 250] {
                    let mut id = [0x5a; CONNECTION_ID_BYTES];
                    stamp(&mut id, generation * SHARDS + shard, SHARDS * GENERATIONS_MAX, random);
                    assert_eq!(lands(short_of(&id)), owner * SHARDS + shard);
                    assert_eq!(lands(long_of(&id)), owner * SHARDS + shard);
                    // What a client chose is new, whatever it looks like, unless the check happens to be right.
                    id[STEERING_CHECK_INDEX] ^= 1;
                    let chosen = usize::from(id[STEERING_BYTE_INDEX]) % SHARDS;
                    assert_eq!(lands(long_of(&id)), current * SHARDS + chosen);
                    assert_eq!(lands(long_of(&id[..8])), current * SHARDS + chosen);
                }
            }
        }
    }
    assert!(group.steer(GENERATIONS_MAX, &[]).is_err());
}

const SHARDS: usize = 3;

fn group(addr: &str, shards: usize) -> SocketGroup {
    let addr: SocketAddr = addr.parse().unwrap();
    bind_group(addr, shards, 1, &SocketOptions::default()).unwrap()
}

fn generations(addr: &str) -> SocketGroup {
    let addr: SocketAddr = addr.parse().unwrap();
    bind_group(addr, SHARDS, GENERATIONS_MAX, &SocketOptions::default()).unwrap()
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
    short_of(&id(shard, random))
}

fn long_header(shard: usize) -> Vec<u8> {
    long_of(&id(shard, 100))
}

fn short_of(id: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x40];
    packet.extend(id);
    packet.extend([0; 30]);
    packet
}

fn long_of(id: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc0, 0, 0, 0, 1, u8::try_from(id.len()).unwrap()];
    packet.extend(id);
    packet.extend([0; 30]);
    packet
}

/// With an id that begins so, of so many bytes.
fn first_packet(byte: u8, length: usize) -> Vec<u8> {
    let mut id = vec![0x33; length];
    id[0] = byte;
    long_of(&id)
}

/// Which one socket gets the packet.
fn receiver_of(group: &SocketGroup, packet: &[u8]) -> usize {
    let poll_for = |socket: &UdpSocket| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polls: Vec<_> = group.sockets.iter().map(poll_for).collect();
    // SAFETY: `polls` holds so many entries and is alive during the call.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 5_000) };
    assert_eq!(ready, 1, "delivered to one socket");
    let shard = polls.iter().position(|poll| poll.revents != 0).unwrap();
    let mut buffer = [0; 2_000];
    let length = group.sockets[shard].recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], packet);
    shard
}
