use super::*;

/// Numbers that look random, and are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn key(suite: Suite, first: u8) -> Key {
    let bytes = u8::try_from(suite.key_bytes() + suite.salt_bytes()).unwrap();
    let key: Vec<u8> = (first..first + bytes).collect();
    Key::new(suite, &key, &[]).unwrap()
}

fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 1];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend([0x5a; 160]);
    packet
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut report = vec![0x80, 200, 0, 6];
    report.extend_from_slice(&ssrc.to_be_bytes());
    report.extend([0x11; 20]);
    report
}

fn sealed(sealer: &mut Sealer, sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = packet(sequence, ssrc);
    sealer.seal_rtp(&mut packet).unwrap();
    packet
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn another_library_seals_alike() {
    // By libsrtp 2 with keys of 0, 1, 2, …: the third packet, whose number has begun anew, and the second report.
    let mut plain = vec![
        0x91, 0x60, 0, 0, 0, 0, 1, 2, 1, 2, 3, 4, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 5, 6, 7, 8,
    ];
    plain.extend(40..60);
    let header = "91600000000001020102030409090909bede000105060708";
    for (suite, payload, report_text) in [
        (
            Suite::AesCm80,
            "fe255524d176d01611db03a4bea6fa44363b9acccd8e26fce6f85ab95ebd",
            "06924d9a768a87e1e0be0f8ca44910daa09d33298000000215df1083b3e149fb182c",
        ),
        (
            Suite::AesCm32,
            "fe255524d176d01611db03a4bea6fa44363b9acccd8e26fc",
            "06924d9a768a87e1e0be0f8ca44910daa09d33298000000215df1083b3e149fb182c",
        ),
        (
            Suite::AesGcm128,
            "8b2c1d22956db6ca6aa2ca285853e4917846d9fb59bfac69a8530578b87a74388698e0b9",
            "f0f56d389dfc8e6a7591640f2607aab90bfd78fece4b4ba49a3f3233e24089fa4c63017c80000002",
        ),
        (
            Suite::AesGcm256,
            "a6b9a88d9c15a69a5c42bf26419ce48cbff4d44bac93a777819a83fcf7fbff89bc8e25e9",
            "1e8729195246c01389970dbed87509ed700f4546c038baaaa3c0f889845005ea66df09b680000002",
        ),
    ] {
        let mut sealer = Sealer::new(&key(suite, 0), 0x0102_0304);
        let mut opener = Opener::new(&key(suite, 0));
        let mut out = Vec::new();
        let mut last = Vec::new();
        for sequence in [65_534_u16, 65_535, 0] {
            last.clone_from(&plain);
            last[2..4].copy_from_slice(&sequence.to_be_bytes());
            sealer.seal_rtp(&mut last).unwrap();
            opener.open_rtp(&last, &mut out).unwrap();
        }
        assert_eq!(hexadecimal(&last), header.to_owned() + payload);
        assert_eq!(out, plain);
        sealer.seal_rtcp(&mut report(0x0102_0304)).unwrap();
        let mut second = report(0x0102_0304);
        sealer.seal_rtcp(&mut second).unwrap();
        assert_eq!(hexadecimal(&second), "80c8000601020304".to_owned() + report_text);
        opener.open_rtcp(&second, &mut out).unwrap();
        assert_eq!(out, report(0x0102_0304));
    }
}

#[test]
fn calls_go_on_when_numbers_begin_anew_and_packets_are_lost_or_overtaken() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = (Sealer::new(&key(suite, 0), 7), Opener::new(&key(suite, 0)));
        let mut noise = Noise(42);
        let mut out = Vec::new();
        let mut waiting: Vec<(u16, Vec<u8>)> = Vec::new();
        // Three turns, in steps.
        let (mut sequence, mut taken) = (65_000_u16, 0);
        for _ in 0..2000 {
            sequence = sequence.wrapping_add(u16::try_from(1 + noise.next() % 199).unwrap());
            waiting.push((sequence, sealed(&mut sealer, sequence, 7)));
            if waiting.len() == 3 {
                let at = usize::try_from(noise.next() % 3).unwrap();
                let (sequence, datagram) = waiting.swap_remove(at);
                if noise.next().is_multiple_of(10) {
                    continue;
                }
                match opener.open_rtp(&datagram, &mut out) {
                    Ok(()) => {
                        assert_eq!(out, packet(sequence, 7));
                        taken += 1;
                    }
                    // It is further behind than is remembered.
                    Err(error) => assert_eq!(error, Unopened::Repeated),
                }
                assert_eq!(opener.open_rtp(&datagram, &mut out), Err(Unopened::Repeated));
            }
        }
        assert!(taken > 1200, "{suite:?}: {taken}");
    }
}

#[test]
fn whole_turns_may_be_missed() {
    for suite in [Suite::AesCm32, Suite::AesGcm128] {
        let (mut sealer, mut opener) = (Sealer::new(&key(suite, 0), 7), Opener::new(&key(suite, 0)));
        let mut out = Vec::new();
        // The first packets, and the beginning of a turn among them, did not come.
        for sequence in [65_500, 10] {
            sealed(&mut sealer, sequence, 7);
        }
        assert_eq!(opener.open_rtp(&sealed(&mut sealer, 11, 7), &mut out), Ok(()));
        // More than half a turn at once, twice: by the nearest number it would be older.
        for sequence in [50_000, 40_000, 20_000, 19_000] {
            let datagram = sealed(&mut sealer, sequence, 7);
            assert_eq!(opener.open_rtp(&datagram, &mut out), Ok(()), "{suite:?} {sequence}");
        }
    }
}

#[test]
fn sources_change_and_are_remembered_within_bounds() {
    let suite = Suite::AesCm80;
    let mut opener = Opener::new(&key(suite, 0));
    let mut out = Vec::new();
    let first = sealed(&mut Sealer::new(&key(suite, 0), 0), 500, 0);
    opener.open_rtp(&first, &mut out).unwrap();
    for ssrc in 1..100 {
        let mut sealer = Sealer::new(&key(suite, 0), ssrc);
        let datagram = sealed(&mut sealer, 9, ssrc);
        opener.open_rtp(&datagram, &mut out).unwrap();
        let mut control = report(ssrc);
        sealer.seal_rtcp(&mut control).unwrap();
        opener.open_rtcp(&control, &mut out).unwrap();
        assert_eq!(opener.open_rtcp(&control, &mut out), Err(Unopened::Repeated));
        // The first one still speaks.
        assert_eq!(opener.open_rtp(&first, &mut out), Err(Unopened::Repeated));
        assert!(opener.sources.len() <= SOURCES_MAX);
        let again = sealed(
            &mut Sealer::new(&key(suite, 0), 0),
            u16::try_from(500 + ssrc).unwrap(),
            0,
        );
        opener.open_rtp(&again, &mut out).unwrap();
    }
    // Who has no key leaves nothing.
    let mut stranger = Opener::new(&key(suite, 1));
    for ssrc in 0..100 {
        let datagram = sealed(&mut Sealer::new(&key(suite, 0), ssrc), 9, ssrc);
        assert_eq!(stranger.open_rtp(&datagram, &mut out), Err(Unopened::Unauthentic));
    }
    assert!(stranger.sources.is_empty() && stranger.sources.capacity() == 0);
}

#[test]
fn another_key_takes_over_whether_numbers_go_on_or_begin_anew() {
    for suite in [Suite::AesCm80, Suite::AesGcm256] {
        for goes_on in [true, false] {
            let mut sealer = Sealer::new(&key(suite, 0), 7);
            let mut opener = Opener::new(&key(suite, 0));
            let mut out = Vec::new();
            for sequence in [65_535, 3, 65_535, 3] {
                opener.open_rtp(&sealed(&mut sealer, sequence, 7), &mut out).unwrap();
            }
            let mut opener = Opener::after(&key(suite, 1), &opener);
            assert_eq!(
                opener.open_rtp(&sealed(&mut sealer, 4, 7), &mut out),
                Err(Unopened::Unauthentic)
            );
            let mut sealer = Sealer::new(&key(suite, 1), 7);
            if goes_on {
                for sequence in [65_535, 3, 65_535] {
                    sealed(&mut sealer, sequence, 7);
                }
            }
            for sequence in [5, 6] {
                let datagram = sealed(&mut sealer, sequence, 7);
                assert_eq!(
                    opener.open_rtp(&datagram, &mut out),
                    Ok(()),
                    "{suite:?} {goes_on} {sequence}"
                );
            }
        }
    }
}

#[test]
fn whatever_is_changed_or_cut_is_not_taken() {
    for suite in Suite::ALL {
        let mut sealer = Sealer::new(&key(suite, 0), 7);
        let rtp = sealed(&mut sealer, 5, 7);
        let mut rtcp = report(7);
        sealer.seal_rtcp(&mut rtcp).unwrap();
        let mut opener = Opener::new(&key(suite, 0));
        let mut out = Vec::new();
        for (is_control, whole) in [(false, &rtp), (true, &rtcp)] {
            let mut open = |datagram: &[u8]| match is_control {
                true => opener.open_rtcp(datagram, &mut out),
                false => opener.open_rtp(datagram, &mut out),
            };
            for at in 0..whole.len() {
                assert!(open(&whole[..at]).is_err(), "{suite:?}: {at} bytes");
                for bit in 0..8 {
                    let mut changed = whole.clone();
                    changed[at] ^= 1 << bit;
                    assert!(open(&changed).is_err(), "{suite:?}: byte {at}, bit {bit}");
                }
            }
            let mut longer = whole.clone();
            longer.push(0);
            assert!(open(&longer).is_err());
            assert_eq!(open(whole), Ok(()));
        }
        // One way's packets are not the other's, nor are those of RTP of RTCP.
        assert!(opener.open_rtcp(&sealed(&mut sealer, 6, 7), &mut out).is_err());
    }
}

#[test]
fn nonsense_is_refused() {
    let mut noise = Noise(7);
    let mut out = Vec::new();
    let mut openers: Vec<Opener> = Suite::ALL.iter().map(|suite| Opener::new(&key(*suite, 0))).collect();
    for round in 0..20_000 {
        let length = usize::try_from(noise.next() % 80).unwrap();
        let mut datagram: Vec<u8> = (0..length).map(|_| noise.next().to_be_bytes()[0]).collect();
        if let Some(first) = datagram.first_mut().filter(|_| round % 2 == 0) {
            *first = 0x80 | (*first & 0x1f);
        }
        for opener in &mut openers {
            assert!(opener.open_rtp(&datagram, &mut out).is_err() && opener.open_rtcp(&datagram, &mut out).is_err());
        }
    }
}

#[test]
fn keys_may_be_named_in_packets() {
    for suite in Suite::ALL {
        let master: Vec<u8> = (0..u8::try_from(suite.key_bytes() + suite.salt_bytes()).unwrap()).collect();
        let mut opener = Opener::new(&Key::new(suite, &master, &[0, 0, 0, 1]).unwrap());
        let mut out = Vec::new();
        let mut sealer = Sealer::new(&key(suite, 0), 7);
        let mut rtcp = report(7);
        sealer.seal_rtcp(&mut rtcp).unwrap();
        // The name stands before the tag of HMAC, and behind that of GCM.
        let tag = |control: usize| match suite {
            Suite::AesCm80 => 10,
            Suite::AesCm32 => control,
            Suite::AesGcm128 | Suite::AesGcm256 => 0,
        };
        let named = |packet: &[u8], tag: usize, mki: [u8; 4]| {
            let (before, behind) = packet.split_at(packet.len() - tag);
            [before, &mki, behind].concat()
        };
        let rtp = sealed(&mut sealer, 5, 7);
        assert!(opener.open_rtp(&rtp, &mut out).is_err());
        assert!(opener.open_rtp(&named(&rtp, tag(4), [0, 0, 0, 2]), &mut out).is_err());
        assert_eq!(opener.open_rtp(&named(&rtp, tag(4), [0, 0, 0, 1]), &mut out), Ok(()));
        assert_eq!(out, packet(5, 7));
        assert!(opener.open_rtcp(&rtcp, &mut out).is_err());
        assert_eq!(opener.open_rtcp(&named(&rtcp, tag(10), [0, 0, 0, 1]), &mut out), Ok(()));
        assert_eq!(out, report(7));
    }
}
