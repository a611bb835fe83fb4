//! What sending a datagram costs on loopback: the ring, with one `io_uring_enter` for all trains
//! of a turn, against `sendmmsg` of the same trains.
//!
//! Only sending is timed. Between two sends the receiver, a ring with GRO as a shard has it,
//! takes everything and checks that nothing is missing.
#![allow(
    unsafe_code,
    reason = "sendmmsg is measured against, and its structures hold pointers"
)]

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqswitch_relay::net::{RingConfig, SocketOptions, UdpRing, Wait, bind_client, wake};
use socket2::SockAddr;

mod workload;
use workload::timing::each_for;

/// Datagrams of one size, in trains of one length, to one place.
#[derive(Clone, Copy)]
struct Load {
    datagram_bytes: u16,
    train: usize,
    target: SocketAddr,
}

/// The relay's way.
struct RingSender(UdpRing);

impl RingSender {
    fn send(&mut self, load: Load) {
        for first in (0..DATAGRAMS).step_by(load.train) {
            let mut train = self.0.acquire_train().expect("there are more than are used");
            for number in first..first + load.train {
                train.spare_mut()[0] = stamp(number);
                train.commit(usize::from(load.datagram_bytes));
            }
            self.0.queue_train(train, load.datagram_bytes, load.target, None);
        }
        let turn = self.0.turn(Wait::None).expect("the ring works");
        assert_eq!(turn.sends, DATAGRAMS / load.train);
    }
}

/// The alternative: one system call as well, with a message for each train.
struct MessageSender {
    socket: UdpSocket,
    payload: Vec<u8>,
}

impl MessageSender {
    fn send(&mut self, load: Load) {
        let datagram_bytes = usize::from(load.datagram_bytes);
        let payload = &mut self.payload[..DATAGRAMS * datagram_bytes];
        for (number, datagram) in payload.chunks_mut(datagram_bytes).enumerate() {
            datagram[0] = stamp(number);
        }
        let address = SockAddr::from(load.target);
        let mut control = SegmentControl::new(load.datagram_bytes);
        let mut parts: Vec<libc::iovec> = payload
            .chunks_mut(load.train * datagram_bytes)
            .map(|train| libc::iovec {
                iov_base: train.as_mut_ptr().cast(),
                iov_len: train.len(),
            })
            .collect();
        let (control, control_bytes) = match load.train {
            1 => (ptr::null_mut(), 0),
            _ => (ptr::from_mut(&mut control).cast(), size_of::<SegmentControl>()),
        };
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: address.as_ptr().cast_mut().cast(),
                    msg_namelen: address.len(),
                    msg_iov: ptr::from_mut(part),
                    msg_iovlen: 1,
                    msg_control: control,
                    msg_controllen: control_bytes,
                    msg_flags: 0,
                },
                msg_len: 0,
            })
            .collect();
        let count = u32::try_from(messages.len()).expect("one for each datagram at most");
        // SAFETY: the messages and all they point to live until the call returns, and their
        // lengths are those of what they point to.
        let sent = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
            )
        };
        assert_eq!(
            usize::try_from(sent),
            Ok(messages.len()),
            "{}",
            std::io::Error::last_os_error()
        );
    }
}

/// The control message that makes a train of one message.
#[repr(C)]
struct SegmentControl {
    header: libc::cmsghdr,
    segment_bytes: u16,
}

impl SegmentControl {
    fn new(segment_bytes: u16) -> Self {
        Self {
            header: libc::cmsghdr {
                cmsg_len: size_of::<libc::cmsghdr>() + size_of::<u16>(),
                cmsg_level: libc::SOL_UDP,
                cmsg_type: libc::UDP_SEGMENT,
            },
            segment_bytes,
        }
    }
}

/// Takes all datagrams of one send, in their order.
fn drain(receiver: &mut UdpRing, load: Load) {
    let mut count = 0;
    while count < DATAGRAMS {
        while let Some(mut received) = receiver.poll_receive() {
            for datagram in received.datagrams() {
                assert_eq!(datagram.len(), usize::from(load.datagram_bytes));
                assert_eq!(datagram[0], stamp(count), "a datagram was lost before this one");
                count += 1;
            }
        }
        let wait = if count < DATAGRAMS { LONG } else { Wait::None };
        let turn = receiver.turn(wait).expect("the ring works");
        assert!(
            turn.received > 0 || count == DATAGRAMS,
            "{count} of {DATAGRAMS} arrived"
        );
    }
}

fn senders(criterion: &mut Criterion) {
    let mut receiver = ring();
    let target = receiver.local_addr().expect("a bound socket");
    let mut ring_sender = RingSender(ring());
    let mut message_sender = MessageSender {
        socket: socket(),
        payload: vec![0; DATAGRAMS * usize::from(SIZES[1])],
    };
    for datagram_bytes in SIZES {
        let mut measured = criterion.benchmark_group(format!("send {datagram_bytes} B"));
        measured.throughput(Throughput::Elements(DATAGRAMS as u64));
        for train in TRAINS {
            let load = Load {
                datagram_bytes,
                train,
                target,
            };
            let mut measure = |name: &str, send: &mut dyn FnMut(Load)| {
                measured.bench_function(BenchmarkId::new(name, format!("trains of {train}")), |bencher| {
                    bencher.iter_custom(|iterations| {
                        let mut spent = Duration::ZERO;
                        for _ in 0..iterations {
                            let start = Instant::now();
                            send(load);
                            spent += start.elapsed();
                            drain(&mut receiver, load);
                        }
                        spent
                    });
                });
            };
            measure("ring", &mut |load| ring_sender.send(load));
            measure("sendmmsg", &mut |load| message_sender.send(load));
        }
    }
}

fn ring() -> UdpRing {
    let (_waker, wake) = wake::channel().expect("descriptors are left");
    UdpRing::new(socket(), wake, &RingConfig::default()).expect("io_uring is permitted")
}

fn socket() -> UdpSocket {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    bind_client(any, &SocketOptions::default()).expect("loopback has a free port")
}

/// What the receiver knows a datagram by.
fn stamp(number: usize) -> u8 {
    u8::try_from(number).expect("DATAGRAMS is below 256")
}

const SIZES: [u16; 2] = [250, 1200];
const TRAINS: [usize; 5] = [1, 4, 8, 16, 40];

/// Sent at once: a multiple of every train length, and less than fills a socket's buffer.
const DATAGRAMS: usize = 160;

const LONG: Wait = Wait::Until {
    timeout: Duration::from_secs(10),
    batch_window: Duration::ZERO,
};

criterion_group! {
    name = benches;
    config = each_for(Duration::from_secs(2));
    targets = senders
}
criterion_main!(benches);
