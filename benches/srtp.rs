//! What a packet of 20 ms of G.711 (172 bytes) costs to protect and to open, by suite, and what it costs where it is plain:
//! written and read.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use moqswitch_media::rtp::Packet;
use moqswitch_media::srtp::{Key, Opener, Sealer, Suite};

mod workload;
use workload::timing::each_for;

const SSRC: u32 = 0x0102_0304;

fn packet(sequence: u16) -> Packet<'static> {
    Packet {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: SSRC,
        payload: &[0x5a; 160],
    }
}

fn packets(criterion: &mut Criterion) {
    let mut measured = criterion.benchmark_group("srtp, 172 B");
    measured.bench_function("plain: written and read", |bencher| {
        let (mut sequence, mut datagram) = (0_u16, Vec::new());
        bencher.iter(|| {
            sequence = sequence.wrapping_add(1);
            datagram.clear();
            packet(sequence).write(&mut datagram);
            assert_eq!(
                Packet::parse(black_box(&datagram)).expect("it is a packet").sequence,
                sequence
            );
        });
    });
    for suite in Suite::ALL {
        let key = Key::new(suite, &vec![7; suite.key_bytes() + suite.salt_bytes()], &[])
            .expect("it is as long as the suite says");
        measured.bench_function(BenchmarkId::new("sealed", format!("{suite:?}")), |bencher| {
            let mut sealer = Sealer::new(&key, SSRC);
            let (mut sequence, mut datagram) = (0_u16, Vec::new());
            bencher.iter(|| {
                sequence = sequence.wrapping_add(1);
                datagram.clear();
                packet(sequence).write(&mut datagram);
                sealer.seal_rtp(&mut datagram).expect("it is the next");
                black_box(&datagram);
            });
        });
        measured.bench_function(BenchmarkId::new("sealed and opened", format!("{suite:?}")), |bencher| {
            let (mut sealer, mut opener) = (Sealer::new(&key, SSRC), Opener::new(&key));
            let (mut sequence, mut datagram, mut opened) = (0_u16, Vec::new(), Vec::new());
            bencher.iter(|| {
                sequence = sequence.wrapping_add(1);
                datagram.clear();
                packet(sequence).write(&mut datagram);
                sealer.seal_rtp(&mut datagram).expect("it is the next");
                opener.open_rtp(&datagram, &mut opened).expect("it is authentic");
                assert_eq!(Packet::parse(&opened).expect("it is a packet").sequence, sequence);
            });
        });
        measured.bench_function(BenchmarkId::new("forged", format!("{suite:?}")), |bencher| {
            // Of a source that is heard: each number that it may stand for is tried.
            let (mut sealer, mut opener) = (Sealer::new(&key, SSRC), Opener::new(&key));
            let (mut datagram, mut opened) = (Vec::new(), Vec::new());
            packet(40_000).write(&mut datagram);
            sealer.seal_rtp(&mut datagram).expect("it is the next");
            opener.open_rtp(&datagram, &mut opened).expect("it is authentic");
            datagram[2..4].copy_from_slice(&40_001_u16.to_be_bytes());
            bencher.iter(|| assert!(opener.open_rtp(black_box(&datagram), &mut opened).is_err()));
        });
    }
}

criterion_group! {
    name = benches;
    config = each_for(Duration::from_secs(1));
    targets = packets
}
criterion_main!(benches);
