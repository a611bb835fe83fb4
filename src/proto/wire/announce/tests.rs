use super::*;
use crate::limits::{HOPS_MAX, PATH_BYTES_MAX, PATH_SEGMENTS_MAX};
use crate::wire::RouteCost;

fn path(text: &str) -> BroadcastPath {
    BroadcastPath::new(text)
}

fn start(hops: &[u64], cost: RouteCost) -> Announce {
    let hops = hops.iter().copied().map(HopId).collect();
    let advertisement = Advertisement {
        hops,
        cost,
        ..Advertisement::default()
    };
    Announce::Start {
        suffix: path("a"),
        advertisement,
    }
}

/// A message that is encoded to these bytes and decoded from them.
fn fixture(version: Version, announce: &Announce, bytes: &[u8]) {
    let mut out = BytesMut::new();
    announce.encode(version, &mut out).unwrap();
    assert_eq!(out[..], *bytes, "{version}");
    assert_eq!(
        Announce::decode(version, bytes),
        Ok((announce.clone(), bytes.len())),
        "{version}"
    );
}

fn decode(version: Version, bytes: &[u8]) -> Result<Announce, DecodeError> {
    Announce::decode(version, bytes).map(|(announce, consumed)| {
        assert_eq!(consumed, bytes.len());
        announce
    })
}

#[test]
fn request_bytes_are_those_of_each_draft() {
    let request = |exclude_hop| AnnounceRequest {
        prefix: path("a/b"),
        exclude_hop: HopId(exclude_hop),
        ended: false,
    };
    let bare: &[u8] = &[4, 3, b'a', b'/', b'b'];
    let excluding: &[u8] = &[6, 3, b'a', b'/', b'b', 0x41, 0x2c];
    for version in Version::ALL {
        let (bytes, seen) = if version.has_exclude_hop() {
            (excluding, request(300))
        } else {
            (bare, request(0))
        };
        let mut out = BytesMut::new();
        request(300).encode(version, &mut out).unwrap();
        assert_eq!(out[..], *bytes, "{version}");
        assert_eq!(
            AnnounceRequest::decode(version, bytes),
            Ok((seen, bytes.len())),
            "{version}"
        );
    }
}

#[test]
fn request_for_ended_broadcasts_is_understood_on_06_and_never_sent() {
    let decoded =
        |version, ended| AnnounceRequest::decode(version, &[3, 1, b'a', ended]).map(|(request, _)| request.ended);
    assert_eq!(decoded(Version::Lite06, 0), Ok(false));
    assert_eq!(decoded(Version::Lite06, 1), Ok(true));
    assert!(matches!(decoded(Version::Lite06, 2), Err(DecodeError::Invalid(_))));
    assert_eq!(decoded(Version::Lite03, 1), Err(DecodeError::Trailing));
    let mut out = BytesMut::new();
    let request = AnnounceRequest {
        prefix: path("a"),
        exclude_hop: HopId::UNKNOWN,
        ended: true,
    };
    request.encode(Version::Lite06, &mut out).unwrap();
    assert_eq!(out[..], [2, 1, b'a']);
}

#[test]
fn ok_bytes_are_those_of_the_draft() {
    let ok = AnnounceOk {
        hop: HopId(300),
        active_count: 2,
    };
    for version in [Version::Lite05, Version::Lite06] {
        let mut out = BytesMut::new();
        ok.encode(version, &mut out).unwrap();
        assert_eq!(out[..], [3, 0x41, 0x2c, 2]);
        assert_eq!(AnnounceOk::decode(version, &out), Ok((ok, 4)));
    }
    assert!(ok.encode(Version::Lite04, &mut BytesMut::new()).is_err());
    assert!(AnnounceOk::decode(Version::Lite04, &[2, 1, 2]).is_err());
}

#[test]
fn announcements_before_06_carry_a_status() {
    let free = RouteCost::default();
    fixture(Version::Lite03, &start(&[0, 0], free), &[4, 1, 1, b'a', 2]);
    fixture(
        Version::Lite04,
        &start(&[7, 300], free),
        &[7, 1, 1, b'a', 2, 7, 0x41, 0x2c],
    );
    fixture(
        Version::Lite05,
        &start(&[7, 300], free),
        &[7, 1, 1, b'a', 2, 7, 0x41, 0x2c],
    );
    for version in [Version::Lite03, Version::Lite04, Version::Lite05] {
        fixture(version, &Announce::EndSuffix { suffix: path("a") }, &[4, 0, 1, b'a', 0]);
    }
    // A released peer repeats the hops when it ends an announcement.
    let ended = decode(Version::Lite05, &[5, 0, 1, b'a', 1, 7]);
    assert_eq!(ended, Ok(Announce::EndSuffix { suffix: path("a") }));
}

#[test]
fn hops_on_03_are_a_count() {
    let mut out = BytesMut::new();
    start(&[7, 300], RouteCost::default())
        .encode(Version::Lite03, &mut out)
        .unwrap();
    assert_eq!(decode(Version::Lite03, &out), Ok(start(&[0, 0], RouteCost::default())));
}

#[test]
fn restart_is_a_start_on_05_alone() {
    let restart = [5, 2, 1, b'a', 1, 7];
    assert_eq!(decode(Version::Lite05, &restart), Ok(start(&[7], RouteCost::default())));
    assert_eq!(
        decode(Version::Lite04, &restart),
        Err(DecodeError::Invalid("announce status"))
    );
    assert_eq!(
        decode(Version::Lite05, &[5, 3, 1, b'a', 1, 7]),
        Err(DecodeError::Invalid("announce status"))
    );
}

#[test]
fn announcements_of_06_are_typed() {
    let cost = RouteCost { warm: 3, cold: 300 };
    let announce = start(&[7, 300], cost);
    fixture(
        Version::Lite06,
        &announce,
        &[0, 9, 1, b'a', 2, 7, 0x41, 0x2c, 3, 0x41, 0x2c],
    );
    let Announce::Start { advertisement, .. } = announce else {
        unreachable!()
    };
    let update = Announce::Update { id: 5, advertisement };
    fixture(Version::Lite06, &update, &[2, 8, 5, 2, 7, 0x41, 0x2c, 3, 0x41, 0x2c]);
    fixture(Version::Lite06, &Announce::EndId { id: 5 }, &[1, 1, 5]);
}

#[test]
fn draft_06_announcements_are_understood() {
    let advertisement = |epoch, ended, hops: &[u64], cost| Advertisement {
        epoch,
        ended,
        hops: hops.iter().copied().map(HopId).collect(),
        cost: RouteCost { warm: cost, cold: cost },
    };
    let epoch = [0xd2, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78];
    let bytes = [&[0, 15, 1, b'a'][..], &epoch, &[1, 2, 7, 8, 9]].concat();
    let expected = advertisement(0x1234_5678_1234_5678, true, &[7, 8], 9);
    assert_eq!(
        decode(Version::Lite06, &bytes),
        Ok(Announce::Start {
            suffix: path("a"),
            advertisement: expected.clone()
        })
    );
    let bytes = [&[2, 14, 5][..], &epoch, &[1, 2, 7, 8, 9]].concat();
    assert_eq!(
        decode(Version::Lite06, &bytes),
        Ok(Announce::Update {
            id: 5,
            advertisement: expected
        })
    );
    // Epoch 0: with and without hops.
    let no_hops = Announce::Start {
        suffix: path("a"),
        advertisement: advertisement(0, false, &[], 9),
    };
    assert_eq!(decode(Version::Lite06, &[0, 6, 1, b'a', 0, 0, 0, 9]), Ok(no_hops));
    let two_hops = Announce::Start {
        suffix: path("a"),
        advertisement: advertisement(0, false, &[7, 8], 9),
    };
    assert_eq!(
        decode(Version::Lite06, &[0, 8, 1, b'a', 0, 0, 2, 7, 8, 9]),
        Ok(two_hops)
    );
    // Ended must be 0 or 1; the error told is that of the released form.
    assert!(decode(Version::Lite06, &[0, 6, 1, b'a', 0, 2, 0, 9]).is_err());
}

#[test]
fn unknown_types_of_06_are_skipped() {
    assert_eq!(
        decode(Version::Lite06, &[0x40, 0x63, 3, 9, 9, 9]),
        Ok(Announce::Unknown { kind: 0x63 })
    );
    assert!(
        Announce::Unknown { kind: 3 }
            .encode(Version::Lite06, &mut BytesMut::new())
            .is_err()
    );
    assert!(
        Announce::Unknown { kind: 3 }
            .encode(Version::Lite05, &mut BytesMut::new())
            .is_err()
    );
}

#[test]
fn each_form_belongs_to_its_versions() {
    let by_path = Announce::EndSuffix { suffix: path("a") };
    let by_id = [
        Announce::EndId { id: 1 },
        Announce::Update {
            id: 1,
            advertisement: Advertisement::default(),
        },
    ];
    assert!(matches!(
        by_path.encode(Version::Lite06, &mut BytesMut::new()),
        Err(EncodeError::NotInVersion(_))
    ));
    for version in [Version::Lite03, Version::Lite04, Version::Lite05] {
        for announce in &by_id {
            let refused = announce.encode(version, &mut BytesMut::new());
            assert!(matches!(refused, Err(EncodeError::NotInVersion(_))));
        }
    }
}

#[test]
fn hop_chains_are_limited_in_both_directions() {
    for version in Version::ALL {
        let full = start(&[0; HOPS_MAX], RouteCost::default());
        let mut out = BytesMut::new();
        full.encode(version, &mut out).unwrap();
        assert_eq!(decode(version, &out), Ok(full));
        let mut out = BytesMut::new();
        let too_long = start(&[0; HOPS_MAX + 1], RouteCost::default()).encode(version, &mut out);
        assert_eq!(too_long, Err(EncodeError::TooLarge("hop count")));
        assert!(out.is_empty());
    }
    let count = HOPS_MAX.to_le_bytes()[0] + 1;
    assert_eq!(
        decode(Version::Lite03, &[4, 1, 1, b'a', count]),
        Err(DecodeError::TooLarge("hop count"))
    );
    assert_eq!(
        decode(Version::Lite05, &[4, 1, 1, b'a', count]),
        Err(DecodeError::TooLarge("hop count"))
    );
    assert_eq!(
        decode(Version::Lite06, &[0, 3, 1, b'a', count]),
        Err(DecodeError::TooLarge("hop count"))
    );
}

#[test]
fn looping_chains_are_neither_sent_nor_accepted() {
    let looped = start(&[7, 8, 7], RouteCost::default());
    for version in [Version::Lite04, Version::Lite05, Version::Lite06] {
        assert!(matches!(
            looped.encode(version, &mut BytesMut::new()),
            Err(EncodeError::Invalid(_))
        ));
    }
    assert!(matches!(
        decode(Version::Lite05, &[7, 1, 1, b'a', 3, 7, 8, 7]),
        Err(DecodeError::Invalid(_))
    ));
    assert!(matches!(
        decode(Version::Lite06, &[0, 8, 1, b'a', 3, 7, 8, 7, 0, 0]),
        Err(DecodeError::Invalid(_))
    ));
}

#[test]
fn paths_are_normalised_and_limited() {
    let request = |text: &str| {
        let mut input = BytesMut::new();
        framing::encode(&mut input, |out| body::put_bytes(out, text.as_bytes(), usize::MAX, "")).unwrap();
        AnnounceRequest::decode(Version::Lite06, &input).map(|(request, _)| request.prefix)
    };
    assert_eq!(request("//a//b/"), Ok(path("a/b")));
    assert!(request(&"a".repeat(PATH_BYTES_MAX)).is_ok());
    assert_eq!(
        request(&"a".repeat(PATH_BYTES_MAX + 1)),
        Err(DecodeError::TooLarge("broadcast path"))
    );
    assert!(request(&vec!["a"; PATH_SEGMENTS_MAX].join("/")).is_ok());
    assert_eq!(
        request(&vec!["a"; PATH_SEGMENTS_MAX + 1].join("/")),
        Err(DecodeError::TooLarge("broadcast path"))
    );
    assert!(matches!(
        AnnounceRequest::decode(Version::Lite06, &[2, 1, 0xff]),
        Err(DecodeError::Invalid(_))
    ));
    let too_long = Announce::EndSuffix {
        suffix: path(&"a".repeat(PATH_BYTES_MAX + 1)),
    };
    let refused = too_long.encode(Version::Lite05, &mut BytesMut::new());
    assert_eq!(refused, Err(EncodeError::TooLarge("broadcast path")));
}

#[test]
fn a_path_that_is_too_long_does_not_spoil_the_stream() {
    let deep = vec!["a"; PATH_SEGMENTS_MAX + 1].join("/");
    for text in ["a".repeat(PATH_BYTES_MAX + 1), "b".repeat(40_000), deep] {
        for version in Version::EVERY {
            let mut input = BytesMut::new();
            let put = |out: &mut BytesMut, status: Option<u64>| {
                status.map_or(Ok(()), |status| varint::put(out, status))?;
                body::put_bytes(out, text.as_bytes(), usize::MAX, "")?;
                if version.has_announce_ids() {
                    Advertisement::default().put_released(out)
                } else if version.has_hops() {
                    advertisement::put_hops(version, out, &[])
                } else {
                    Ok(())
                }
            };
            if version.has_announce_ids() {
                framing::encode_typed(&mut input, START, |out| put(out, None)).unwrap();
            } else {
                framing::encode(&mut input, |out| put(out, Some(STATUS_ACTIVE))).unwrap();
            }
            let length = input.len();
            input.extend_from_slice(&[1, 2, 3]);
            let refused = Announce::TooLong { is_start: true };
            assert_eq!(Announce::decode(version, &input), Ok((refused, length)), "{version}");
        }
    }
}

#[test]
fn announcements_before_03_have_no_hops() {
    for version in Version::IN_BAND {
        let mut out = BytesMut::new();
        start(&[7, 300], RouteCost::default())
            .encode(version, &mut out)
            .unwrap();
        assert_eq!(out[..], [3, 1, 1, b'a']);
        assert_eq!(decode(version, &out), Ok(start(&[], RouteCost::default())));
        fixture(version, &Announce::EndSuffix { suffix: path("a") }, &[3, 0, 1, b'a']);
        // Hops are a byte too many, and 2 is no status.
        assert_eq!(decode(version, &[4, 1, 1, b'a', 0]), Err(DecodeError::Trailing));
        assert_eq!(
            decode(version, &[3, 2, 1, b'a']),
            Err(DecodeError::Invalid("announce status"))
        );
    }
}
