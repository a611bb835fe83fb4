//! Which socket of a group a datagram belongs to: a rule on the first bytes of the connection id, as Rust for whoever
//! issues ids and as a classic BPF program for the kernel.
//!
//! A group has a slot for each shard of each generation: `generation × shards + shard`. A generation is a process; those
//! that run at once are one that takes new connections and those that end theirs.
//!
//! Invariant: `slot_of`, `stamp` and `program` agree on bytes and modulo.

use std::io;
use std::os::fd::AsRawFd;

use crate::limits::{CONNECTION_ID_BYTES, GENERATIONS_MAX, SHARDS_MAX, STEERING_BYTE_INDEX, STEERING_CHECK_INDEX};

/// The slot that a connection id names; 0 for an id too short to have been issued here.
pub fn slot_of(id: &[u8], slots: usize) -> usize {
    debug_assert!((1..=SHARDS_MAX).contains(&slots));
    id.get(STEERING_BYTE_INDEX).map_or(0, |byte| usize::from(*byte) % slots)
}

/// Writes the slot into an id otherwise filled with random bytes, and a check by which it is told from one that a client
/// chose. `random` picks one of the byte values that mean this slot, so that the slot cannot be read off without knowing
/// the count.
pub fn stamp(id: &mut [u8], slot: usize, slots: usize, random: u8) {
    assert!(
        (1..=SHARDS_MAX).contains(&slots) && slot < slots,
        "no slot {slot} of {slots}"
    );
    let choices = (SHARDS_MAX - 1 - slot) / slots + 1;
    let value = slot + slots * (usize::from(random) * choices / SHARDS_MAX);
    id[STEERING_BYTE_INDEX] = u8::try_from(value).expect("the last choice is at most 255");
    id[STEERING_CHECK_INDEX] = check_of(id);
}

fn check_of(id: &[u8]) -> u8 {
    CHECKED_INDEXES.iter().fold(CHECK, |sum, index| sum ^ id[*index])
}

/// How datagrams are spread over a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Shards of each generation.
    pub shards: usize,
    /// Generations that the group has sockets for.
    pub generations: usize,
    /// The generation that gets new connections, and what belongs to a generation that is gone.
    pub current: usize,
    /// Other generations that still have connections, of which they get the packets.
    pub others: Vec<usize>,
}

impl Steering {
    fn is_valid(&self) -> bool {
        let is_one = |generation: &usize| *generation < self.generations;
        (1..=GENERATIONS_MAX).contains(&self.generations)
            && self.shards >= 1
            && self.shards * self.generations <= SHARDS_MAX
            && is_one(&self.current)
            && self.others.iter().all(is_one)
            && self.others.len() < GENERATIONS_MAX
    }
}

/// Attaches the program to the SO_REUSEPORT group the socket is bound in, in place of the one before.
///
/// The answer indexes the group's sockets in the order they were bound, and closing one reorders
/// them, so a group lives and dies as a whole.
pub(super) fn attach(socket: &impl AsRawFd, steering: &Steering) -> io::Result<()> {
    if !steering.is_valid() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut program = program(steering);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("the program is some dozens of instructions"),
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
/// It returns the socket's index, always one that the group has: the kernel's own choice, by a hash of addresses and
/// ports, would be among the sockets of all generations. A client's first packets carry an id that the client chose; all
/// of them go to one shard, by the first byte of that id.
///
/// With one generation the ids of all generations mean its shards. With others, those that belong to them go there; of a
/// long header only if the id is one that was issued, as far as one byte tells.
fn program(steering: &Steering) -> Vec<libc::sock_filter> {
    let number = |value: usize| u32::try_from(value).expect("at most SHARDS_MAX");
    let (shards, first) = (number(steering.shards), number(steering.current * steering.shards));
    let arithmetic = |operation, operand| plain(libc::BPF_ALU | operation | libc::BPF_K, operand);
    let mut lines = vec![
        load(libc::BPF_LEN, libc::BPF_W, 0),
        unless(libc::BPF_JGE, LONG_ID_AT + 1, Label::Fresh),
        load(libc::BPF_ABS, libc::BPF_B, 0),
        when(libc::BPF_JSET, LONG_HEADER, Label::Long),
        load(libc::BPF_ABS, libc::BPF_B, SHORT_ID_AT + STEERING_BYTE),
        Line::Go(if steering.others.is_empty() {
            Label::Fresh
        } else {
            Label::Issued
        }),
        Line::At(Label::Long),
    ];
    if !steering.others.is_empty() {
        lines.extend(look_at_check());
        // A: the byte of an id that was issued.
        lines.extend([
            Line::At(Label::Issued),
            arithmetic(libc::BPF_MOD, number(steering.shards * steering.generations)),
            plain(TAX, 0),
            arithmetic(libc::BPF_DIV, shards),
        ]);
        let theirs = |other: &usize| when(libc::BPF_JEQ, number(*other), Label::Theirs);
        lines.extend(steering.others.iter().map(theirs));
        lines.extend([plain(TXA, 0), Line::Go(Label::Fresh), Line::At(Label::Chosen)]);
    }
    // A: the first byte of an id, or the length of what is too short to have one.
    lines.extend([
        load(libc::BPF_ABS, libc::BPF_B, LONG_ID_AT + STEERING_BYTE),
        Line::At(Label::Fresh),
        arithmetic(libc::BPF_MOD, shards),
    ]);
    lines.extend((first > 0).then(|| arithmetic(libc::BPF_ADD, first)));
    lines.push(plain(libc::BPF_RET | libc::BPF_A, 0));
    if !steering.others.is_empty() {
        lines.extend([
            Line::At(Label::Theirs),
            plain(TXA, 0),
            plain(libc::BPF_RET | libc::BPF_A, 0),
        ]);
    }
    assemble(&lines)
}

/// Of a long header: goes on with the byte that steers, or at [`Label::Chosen`] if the id was not issued here.
fn look_at_check() -> Vec<Line> {
    let byte = |index: u32| load(libc::BPF_ABS, libc::BPF_B, LONG_ID_AT + index);
    let xor = || plain(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0);
    let [steering, second, third] = CHECKED;
    vec![
        load(libc::BPF_LEN, libc::BPF_W, 0),
        unless(libc::BPF_JGE, LONG_ID_AT + ID_BYTES, Label::Chosen),
        load(libc::BPF_ABS, libc::BPF_B, LONG_ID_AT - 1),
        unless(libc::BPF_JEQ, ID_BYTES, Label::Chosen),
        byte(steering),
        plain(TAX, 0),
        byte(second),
        xor(),
        plain(TAX, 0),
        byte(third),
        xor(),
        plain(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_K, u32::from(CHECK)),
        plain(TAX, 0),
        byte(STEERING_CHECK),
        Line::If {
            code: libc::BPF_JEQ | libc::BPF_X,
            operand: 0,
            then: None,
            otherwise: Some(Label::Chosen),
        },
        byte(STEERING_BYTE),
    ]
}

/// Where a program goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Long,
    Issued,
    Chosen,
    Fresh,
    Theirs,
}

#[derive(Clone, Copy)]
enum Line {
    Plain(libc::sock_filter),
    /// `None`: at the next.
    If {
        code: u32,
        operand: u32,
        then: Option<Label>,
        otherwise: Option<Label>,
    },
    Go(Label),
    /// No instruction: the place of the next.
    At(Label),
}

/// Every jump goes forward: classic BPF knows no other.
fn assemble(lines: &[Line]) -> Vec<libc::sock_filter> {
    let is_instruction = |line: &&Line| !matches!(line, Line::At(_));
    let distance = |from: usize, label: Label| {
        let ahead = lines[from + 1..].iter();
        let between = ahead.take_while(|line| !matches!(line, Line::At(at) if *at == label));
        between.filter(is_instruction).count()
    };
    let short = |from: usize, label: Option<Label>| {
        let count = label.map_or(0, |label| distance(from, label));
        u8::try_from(count).expect("the program is some dozens of instructions")
    };
    let instruction = |(from, line): (usize, &Line)| match *line {
        Line::Plain(filter) => Some(filter),
        Line::If {
            code,
            operand,
            then,
            otherwise,
        } => Some(filter(
            libc::BPF_JMP | code,
            operand,
            short(from, then),
            short(from, otherwise),
        )),
        Line::Go(label) => Some(filter(
            libc::BPF_JMP | libc::BPF_JA,
            u32::from(short(from, Some(label))),
            0,
            0,
        )),
        Line::At(_) => None,
    };
    lines.iter().enumerate().filter_map(instruction).collect()
}

fn load(mode: u32, size: u32, offset: u32) -> Line {
    plain(libc::BPF_LD | size | mode, offset)
}

fn plain(code: u32, operand: u32) -> Line {
    Line::Plain(filter(code, operand, 0, 0))
}

/// Goes to a label when the comparison holds.
fn when(comparison: u32, operand: u32, label: Label) -> Line {
    Line::If {
        code: comparison | libc::BPF_K,
        operand,
        then: Some(label),
        otherwise: None,
    }
}

/// Goes to a label when it does not.
fn unless(comparison: u32, operand: u32, label: Label) -> Line {
    Line::If {
        code: comparison | libc::BPF_K,
        operand,
        then: None,
        otherwise: Some(label),
    }
}

fn filter(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = u16::try_from(code).expect("every classic BPF code fits 16 bits");
    libc::sock_filter { code, jt, jf, k }
}

const TAX: u32 = libc::BPF_MISC | libc::BPF_TAX;
const TXA: u32 = libc::BPF_MISC | libc::BPF_TXA;

const LONG_HEADER: u32 = 0x80;
const SHORT_ID_AT: u32 = 1;
const LONG_ID_AT: u32 = 6;
#[allow(clippy::cast_possible_truncation)] // at most 20, asserted in `limits`
const ID_BYTES: u32 = CONNECTION_ID_BYTES as u32;
#[allow(clippy::cast_possible_truncation)] // below CONNECTION_ID_BYTES
const STEERING_BYTE: u32 = STEERING_BYTE_INDEX as u32;
#[allow(clippy::cast_possible_truncation)] // below CONNECTION_ID_BYTES
const STEERING_CHECK: u32 = STEERING_CHECK_INDEX as u32;

/// What goes into the check, beside a constant: the byte that steers, and two that are random.
const CHECKED_INDEXES: [usize; 3] = [STEERING_BYTE_INDEX, STEERING_CHECK_INDEX + 1, STEERING_CHECK_INDEX + 2];
#[allow(clippy::cast_possible_truncation)] // below CONNECTION_ID_BYTES
const CHECKED: [u32; 3] = [
    CHECKED_INDEXES[0] as u32,
    CHECKED_INDEXES[1] as u32,
    CHECKED_INDEXES[2] as u32,
];
const CHECK: u8 = 0xa7;

#[cfg(test)]
mod tests;
