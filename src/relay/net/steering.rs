//! Which shard a datagram belongs to: a rule on one byte of the connection id, as Rust for whoever
//! issues ids and as a classic BPF program for the kernel.
//!
//! Invariant: `shard_of`, `stamp` and `program` agree on byte and modulo.

use std::io;
use std::os::fd::AsRawFd;

use crate::limits::{CONNECTION_ID_BYTES, SHARDS_MAX, STEERING_BYTE_INDEX};

/// The shard that owns a connection id; shard 0 for an id too short to have been issued here.
pub fn shard_of(id: &[u8], shards: usize) -> usize {
    debug_assert!((1..=SHARDS_MAX).contains(&shards));
    id.get(STEERING_BYTE_INDEX)
        .map_or(0, |byte| usize::from(*byte) % shards)
}

/// Writes the shard into an id otherwise filled with random bytes. `random` picks one of the byte
/// values that mean this shard, so that the shard cannot be read off without knowing the count.
pub fn stamp(id: &mut [u8], shard: usize, shards: usize, random: u8) {
    assert!(
        (1..=SHARDS_MAX).contains(&shards) && shard < shards,
        "no shard {shard} of {shards}"
    );
    let choices = (SHARDS_MAX - 1 - shard) / shards + 1;
    let value = shard + shards * (usize::from(random) * choices / SHARDS_MAX);
    id[STEERING_BYTE_INDEX] = u8::try_from(value).expect("the last choice is at most 255");
}

/// Attaches the program to the SO_REUSEPORT group the socket is bound in.
///
/// The answer indexes the group's sockets in the order they were bound, and closing one reorders
/// them, so a group lives and dies as a whole.
pub(super) fn attach(socket: &impl AsRawFd, shards: usize) -> io::Result<()> {
    let mut program = program(shards);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("the program is a dozen instructions"),
        filter: program.as_mut_ptr(),
    };
    let bytes = libc::socklen_t::try_from(size_of_val(&filter)).expect("sixteen bytes");
    // SAFETY: the kernel copies `filter` and the instructions it points to during the call; both
    // are alive and `bytes` is the size of the former.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            bytes,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The program's input is the UDP payload (RFC 9000, section 17):
///
/// ```text
/// long header   1 flags (0x80 set) | 4 version | 1 id length | id ...
/// short header  1 flags (0x80 clear) | id ...
/// ```
///
/// It returns the socket's index, or a number no group has, upon which the kernel falls back to
/// its hash of addresses and ports: a client's first packets carry an id the client chose. Lengths
/// are tested first because a load out of bounds would answer 0, which is a shard.
fn program(shards: usize) -> [libc::sock_filter; 14] {
    assert!((1..=SHARDS_MAX).contains(&shards), "no group of {shards} sockets");
    let shards = u32::try_from(shards).expect("at most SHARDS_MAX");
    [
        load(libc::BPF_LEN, libc::BPF_W, 0),
        jump(libc::BPF_JGE, SHORT_HEADER_BYTES + ID_BYTES, 0, 11), // else hash
        load(libc::BPF_ABS, libc::BPF_B, 0),
        jump(libc::BPF_JSET, 0x80, 2, 0),
        load(libc::BPF_ABS, libc::BPF_B, SHORT_HEADER_BYTES + STEERING_BYTE),
        statement(libc::BPF_JMP | libc::BPF_JA, 5), // to the modulo
        load(libc::BPF_LEN, libc::BPF_W, 0),
        jump(libc::BPF_JGE, LONG_HEADER_BYTES + ID_BYTES, 0, 5), // else hash
        load(libc::BPF_ABS, libc::BPF_B, LONG_HEADER_BYTES - 1),
        jump(libc::BPF_JEQ, ID_BYTES, 0, 3), // else hash
        load(libc::BPF_ABS, libc::BPF_B, LONG_HEADER_BYTES + STEERING_BYTE),
        statement(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, shards),
        statement(libc::BPF_RET | libc::BPF_A, 0),
        statement(libc::BPF_RET | libc::BPF_K, HASH),
    ]
}

fn load(mode: u32, size: u32, offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | size | mode, offset)
}

fn statement(code: u32, operand: u32) -> libc::sock_filter {
    filter(code, operand, 0, 0)
}

/// Skips `then` instructions when the comparison holds, `otherwise` when it does not.
fn jump(comparison: u32, operand: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    filter(libc::BPF_JMP | comparison | libc::BPF_K, operand, then, otherwise)
}

fn filter(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = u16::try_from(code).expect("every classic BPF code fits 16 bits");
    libc::sock_filter { code, jt, jf, k }
}

const SHORT_HEADER_BYTES: u32 = 1;
const LONG_HEADER_BYTES: u32 = 6;
#[allow(clippy::cast_possible_truncation)] // at most 20, asserted in `limits`
const ID_BYTES: u32 = CONNECTION_ID_BYTES as u32;
#[allow(clippy::cast_possible_truncation)] // below CONNECTION_ID_BYTES
const STEERING_BYTE: u32 = STEERING_BYTE_INDEX as u32;
/// No group has this many sockets.
const HASH: u32 = u32::MAX;

#[cfg(test)]
mod tests;
