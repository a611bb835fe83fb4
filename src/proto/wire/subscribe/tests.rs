use super::*;
use crate::limits::TRACK_NAME_BYTES_MAX;

const RANGE: GroupRange = GroupRange {
    start: Some(GroupSequence(7)),
    end: Some(GroupSequence(300)),
    frame_start: 0,
    frame_end: None,
};

fn subscribe(range: GroupRange) -> Subscribe {
    Subscribe {
        id: SubscribeId(5),
        broadcast: BroadcastPath::new("a"),
        track: "v".into(),
        epoch: 0,
        priority: 200,
        ordered: false,
        max_latency_ms: 100,
        range,
    }
}

const BEFORE_06: [Version; 3] = [Version::Lite03, Version::Lite04, Version::Lite05];

/// The head of every SUBSCRIBE here: id 5, broadcast "a", track "v".
const HEAD: [u8; 5] = [5, 1, b'a', 1, b'v'];

fn with_length(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[body.len().to_le_bytes()[0]][..], &body].concat()
}

fn fixture(version: Version, message: &Subscribe, preferences: &[u8]) {
    let bytes = with_length(&[&HEAD, preferences]);
    let mut out = BytesMut::new();
    message.encode(version, &mut out).unwrap();
    assert_eq!(out[..], *bytes, "{version}");
    assert_eq!(
        Subscribe::decode(version, &bytes),
        Ok((message.clone(), bytes.len())),
        "{version}"
    );

    let (update, bytes) = (message.preferences(), with_length(&[preferences]));
    let mut out = BytesMut::new();
    update.encode(version, &mut out).unwrap();
    assert_eq!(out[..], *bytes, "{version}");
    assert_eq!(
        SubscribeUpdate::decode(version, &bytes),
        Ok((update, bytes.len())),
        "{version}"
    );
}

#[test]
fn bytes_before_03_have_a_priority_alone() {
    let subscribe = Subscribe {
        max_latency_ms: SubscribeUpdate::UNSTATED.max_latency_ms,
        ..subscribe(GroupRange::default())
    };
    for version in [Version::Lite01, Version::Lite02] {
        fixture(version, &subscribe, &[200]);
        // The text has an integer, which the released peers do not send.
        let bytes = with_length(&[&HEAD, &[0x40, 200]]);
        assert_eq!(Subscribe::decode(version, &bytes), Ok((subscribe.clone(), bytes.len())));
        let above = with_length(&[&HEAD, &[0x41, 0]]);
        assert_eq!(Subscribe::decode(version, &above).unwrap().0.priority, u8::MAX);
        // What cannot be said is left out, but not what would bring frames that are not wanted.
        let ranged = Subscribe {
            range: RANGE,
            ..subscribe.clone()
        };
        let mut out = BytesMut::new();
        ranged.encode(version, &mut out).unwrap();
        assert_eq!(Subscribe::decode(version, &out).unwrap().0, subscribe);
        let framed = GroupRange {
            frame_start: 1,
            ..RANGE
        };
        let refused = Subscribe {
            range: framed,
            ..subscribe.clone()
        }
        .encode(version, &mut out);
        assert_eq!(refused, Err(EncodeError::NotInVersion("frame bounds")));
    }
}

#[test]
fn bytes_before_06_have_ordered_and_offset_groups() {
    for version in BEFORE_06 {
        fixture(version, &subscribe(RANGE), &[200, 0, 0x40, 100, 8, 0x41, 0x2d]);
        let ordered = Subscribe {
            ordered: true,
            ..subscribe(GroupRange::default())
        };
        fixture(version, &ordered, &[200, 1, 0x40, 100, 0, 0]);
        let first = GroupRange {
            start: Some(GroupSequence(0)),
            ..GroupRange::default()
        };
        fixture(version, &subscribe(first), &[200, 0, 0x40, 100, 1, 0]);
    }
}

#[test]
fn bytes_of_06_have_a_floor_and_frames() {
    fixture(
        Version::Lite06,
        &subscribe(RANGE),
        &[200, 0x40, 100, 7, 0x41, 0x2d, 0, 0],
    );
    fixture(
        Version::Lite06,
        &subscribe(GroupRange::default()),
        &[200, 0x40, 100, 0, 0, 0, 0],
    );
    let frames = GroupRange {
        frame_start: 2,
        frame_end: Some(6),
        ..RANGE
    };
    fixture(
        Version::Lite06,
        &subscribe(frames),
        &[200, 0x40, 100, 7, 0x41, 0x2d, 2, 7],
    );
    let inside_group_0 = GroupRange {
        start: Some(GroupSequence(0)),
        frame_start: 4,
        ..GroupRange::default()
    };
    fixture(
        Version::Lite06,
        &subscribe(inside_group_0),
        &[200, 0x40, 100, 0, 0, 4, 0],
    );
}

#[test]
fn a_floor_of_zero_is_no_floor_on_06() {
    let mut out = BytesMut::new();
    let floor = GroupRange {
        start: Some(GroupSequence(0)),
        ..GroupRange::default()
    };
    subscribe(floor).encode(Version::Lite06, &mut out).unwrap();
    assert_eq!(
        Subscribe::decode(Version::Lite06, &out).unwrap().0.range,
        GroupRange::default()
    );
}

#[test]
fn draft_06_forms_are_understood_when_the_released_does_not_fit() {
    let epoch = [0xd2, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78];
    let bytes = with_length(&[&HEAD, &epoch, &[200, 1, 0x40, 100, 8, 0x41, 0x2d]]);
    let expected = Subscribe {
        epoch: 0x1234_5678_1234_5678,
        ordered: true,
        ..subscribe(RANGE)
    };
    assert_eq!(Subscribe::decode(Version::Lite06, &bytes).unwrap().0, expected);

    let bytes = with_length(&[&[200, 1, 0x40, 100, 8, 0]]);
    let range = GroupRange { end: None, ..RANGE };
    let expected = SubscribeUpdate {
        ordered: true,
        ..subscribe(range).preferences()
    };
    assert_eq!(SubscribeUpdate::decode(Version::Lite06, &bytes).unwrap().0, expected);
}

#[test]
fn epoch_and_ordered_are_not_sent_on_06() {
    let mut plain = BytesMut::new();
    subscribe(RANGE).encode(Version::Lite06, &mut plain).unwrap();
    let mut marked = BytesMut::new();
    Subscribe {
        epoch: 9,
        ordered: true,
        ..subscribe(RANGE)
    }
    .encode(Version::Lite06, &mut marked)
    .unwrap();
    assert_eq!(plain, marked);
}

#[test]
fn an_ordered_byte_the_draft_does_not_name_is_the_default() {
    let bytes = with_length(&[&[200, 9, 0x40, 100, 0, 0]]);
    assert!(!SubscribeUpdate::decode(Version::Lite05, &bytes).unwrap().0.ordered);
}

#[test]
fn frame_bounds_need_06_and_their_group() {
    let framed = subscribe(GroupRange {
        frame_start: 2,
        ..RANGE
    });
    for version in BEFORE_06 {
        let refused = framed.encode(version, &mut BytesMut::new());
        assert_eq!(refused, Err(EncodeError::NotInVersion("frame bounds")));
    }
    for range in [
        GroupRange {
            frame_start: 2,
            ..GroupRange::default()
        },
        GroupRange {
            frame_end: Some(2),
            ..GroupRange::default()
        },
    ] {
        let refused = subscribe(range).encode(Version::Lite06, &mut BytesMut::new());
        assert_eq!(refused, Err(EncodeError::Invalid("frame bound without its group")));
    }
    let bytes = with_length(&[&HEAD, &[200, 0, 7, 0, 0, 3]]);
    let refused = Subscribe::decode(Version::Lite06, &bytes);
    assert_eq!(refused, Err(DecodeError::Invalid("Frame End without Group End")));
}

#[test]
fn sequences_the_wire_cannot_carry_are_refused() {
    for sequence in [varint::VALUE_MAX, u64::MAX] {
        let range = GroupRange {
            end: Some(GroupSequence(sequence)),
            ..GroupRange::default()
        };
        for version in Version::ALL {
            let mut out = BytesMut::new();
            assert!(matches!(
                subscribe(range).encode(version, &mut out),
                Err(EncodeError::TooLarge(_))
            ));
            assert!(out.is_empty());
        }
    }
}

#[test]
fn track_names_are_limited_and_may_be_empty() {
    for version in Version::ALL {
        for length in [0, 1, TRACK_NAME_BYTES_MAX] {
            let message = Subscribe {
                track: "v".repeat(length).into(),
                ..subscribe(RANGE)
            };
            let mut out = BytesMut::new();
            message.encode(version, &mut out).unwrap();
            assert_eq!(Subscribe::decode(version, &out), Ok((message, out.len())));
        }
        let message = Subscribe {
            track: "v".repeat(TRACK_NAME_BYTES_MAX + 1).into(),
            ..subscribe(RANGE)
        };
        let refused = message.encode(version, &mut BytesMut::new());
        assert_eq!(refused, Err(EncodeError::TooLarge("track name")));
    }
    let name = "v".repeat(TRACK_NAME_BYTES_MAX + 1);
    let mut input = BytesMut::new();
    framing::encode(&mut input, |out| {
        out.extend_from_slice(&[5, 1, b'a']);
        body::put_bytes(out, name.as_bytes(), usize::MAX, "")
    })
    .unwrap();
    assert_eq!(
        Subscribe::decode(Version::Lite06, &input),
        Err(DecodeError::TooLarge("track name"))
    );
}
