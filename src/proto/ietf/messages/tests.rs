//! Bytes of each message as the draft draws it, what is refused, and names that come back.

use bytes::BytesMut;

use super::fields::Fields;
use super::message::{self, Message, Request};
use super::name::{FullName, Namespace, put_namespace};
use super::properties::Refusal;
use super::{Filter, ObjectDatagram, Parameters, Setup, SubgroupHeader, TrackProperties, UniStream};
use crate::wire::{BroadcastPath, DecodeError, TrackName, vi64};

#[test]
fn subscribe_is_that_of_the_draft() {
    let parameters = Parameters {
        forward: Some(true),
        priority: Some(128),
        filter: Some(Filter::LargestObject),
        ascending: Some(false),
        ..Parameters::default()
    };
    let (path, name) = (BroadcastPath::new("room/ali"), TrackName::from("audio"));
    let mut out = BytesMut::new();
    message::put_subscribe(&mut out, 2, (&path, &name), &parameters).unwrap();
    // Each parameter's type is said as the distance from the one before.
    let mut expected = vec![0x03, 0, 29, 2, 2, 4];
    expected.extend_from_slice(b"room\x03ali\x05audio");
    expected.extend_from_slice(&[4, 0x10, 1, 0x10, 128, 1, 1, 2, 1, 2]);
    expected[2] = u8::try_from(expected.len() - 3).unwrap();
    assert_eq!(out, expected);
    let request = Request::Subscribe {
        name: FullName(Some((path, name))),
        parameters,
    };
    assert_eq!(
        Message::decode(&out),
        Ok((Message::Request { id: 2, request }, out.len()))
    );
    for cut in 0..out.len() {
        assert_eq!(Message::decode(&out[..cut]), Err(DecodeError::Truncated));
    }
}

#[test]
fn answers_are_those_of_the_draft() {
    let properties = TrackProperties::of(Some(1000), 128);
    assert_eq!(properties.bytes[..], [0x08, 0x83, 0xe8, 0x06, 0x80, 0x80]);
    let mut out = BytesMut::new();
    message::put_subscribe_ok(&mut out, 7, &properties).unwrap();
    assert_eq!(out[..], [0x04, 0, 8, 7, 0, 0x08, 0x83, 0xe8, 0x06, 0x80, 0x80]);
    let Ok((
        Message::SubscribeOk {
            alias: 7,
            properties: read,
            ..
        },
        _,
    )) = Message::decode(&out)
    else {
        panic!("{:?}", Message::decode(&out));
    };
    assert_eq!(read, properties);

    out.clear();
    message::put_ok(&mut out, &Parameters::default()).unwrap();
    assert_eq!(out[..], [0x07, 0, 1, 0]);
    out.clear();
    message::put_error(&mut out, 0x10, "no").unwrap();
    assert_eq!(out[..], [0x05, 0, 5, 0x10, 0, 2, b'n', b'o']);
    assert_eq!(Message::decode(&out).unwrap().0, Message::RequestError { code: 0x10 });
    out.clear();
    message::put_done(&mut out, 2, "").unwrap();
    assert_eq!(
        out[..],
        [0x0b, 0, 11, 2, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]
    );
    assert_eq!(Message::decode(&out).unwrap().0, Message::PublishDone { status: 2 });
    out.clear();
    message::put_goaway(&mut out, "", 4).unwrap();
    assert_eq!(out[..], [0x10, 0, 3, 0, 0, 4]);
    assert_eq!(Message::decode(&out).unwrap().0, Message::Goaway { uri: String::new() });
}

#[test]
fn setup_has_the_path_and_passes_over_what_it_does_not_know() {
    // PATH, then AUTHORIZATION_TOKEN (use value, type 0), MAX_AUTH_TOKEN_CACHE_SIZE, AUTHORITY, and one of nobody's.
    let mut body = b"\x01\x02/a\x02\x05\x03\x00abc\x01\x09\x01\x01h".to_vec();
    body.extend_from_slice(&[0x80, 0x80, 0x00]);
    let mut bytes = vec![0xaf, 0x00, 0, u8::try_from(body.len()).unwrap()];
    bytes.extend_from_slice(&body);
    let Ok((Message::Setup(setup), used)) = Message::decode(&bytes) else {
        panic!("{:?}", Message::decode(&bytes));
    };
    let expected = Setup {
        path: Some("/a".to_owned()),
        has_authority: true,
        token: Some("abc".to_owned()),
    };
    assert_eq!((setup, used), (expected, bytes.len()));
}

#[test]
fn what_cannot_be_is_refused() {
    let cases: [(&str, &[u8]); 9] = [
        ("unknown message", &[0x09, 0, 1, 0]),
        ("unknown parameter", &[0x04, 0, 3, 7, 1, 0x35]),
        ("parameter of another message", &[0x04, 0, 4, 7, 1, 0x20, 1]),
        ("parameter twice", &[0x02, 0, 6, 0, 2, 0x10, 1, 0, 1]),
        ("forward of 2", &[0x02, 0, 4, 0, 1, 0x10, 2]),
        ("bytes behind", &[0x08, 0, 2, 0, 0]),
        ("too short", &[0x08, 0, 1, 1]),
        ("empty field", &[0x08, 0, 2, 1, 0]),
        ("33 fields", &[0x08, 0, 1, 33]),
    ];
    for (what, bytes) in cases {
        let result = Message::decode(bytes);
        assert!(
            !matches!(result, Ok(_) | Err(DecodeError::Truncated)),
            "{what}: {result:?}"
        );
    }
}

#[test]
fn properties_that_close_a_session_are_refused() {
    // Group order 0 and 3, dynamic groups 2, a priority of 256; the same where no relay may change them.
    let invalid: [&[u8]; 5] = [
        &[0x22, 0],
        &[0x22, 3],
        &[0x30, 2],
        &[0x0e, 0x81, 0],
        &[0x0b, 2, 0x22, 3],
    ];
    for bytes in invalid {
        let result = TrackProperties::decode(&mut Fields::new(bytes));
        assert!(matches!(result, Err(DecodeError::Invalid(_))), "{bytes:?}: {result:?}");
    }
    let properties = TrackProperties::decode(&mut Fields::new(&[0x0b, 4, 0x08, 9, 0x1a, 2, 0x25, 1])).unwrap();
    assert_eq!((properties.timescale, properties.refusal), (Some(9), None));
    // What cannot be read where no relay may change it is the matter of the track alone.
    let properties = TrackProperties::decode(&mut Fields::new(&[0x0b, 1, 0x22])).unwrap();
    assert_eq!(properties.refusal, Some(Refusal::Malformed));
}

#[test]
fn names_come_back_as_they_were() {
    for field in ["a", "a/b", "/", "%", "%2F", "%252F", "%25", "%2f", "a%25/b", "//", "ü"] {
        let mut wire = BytesMut::new();
        vi64::put(&mut wire, 2);
        for part in [field, "x"] {
            vi64::put(&mut wire, part.len() as u64);
            wire.extend_from_slice(part.as_bytes());
        }
        let path = Namespace::decode(&mut Fields::new(&wire)).unwrap().path.unwrap();
        assert_eq!(path.segments().count(), 2, "{field}: {path:?}");
        let mut back = BytesMut::new();
        put_namespace(&mut back, &path).unwrap();
        assert_eq!(back, wire, "{field}");
    }
    // Paths of moq-lite come back as well.
    for text in ["", "a", "a%b/c", "%2F", "a%252F", "%25/%2525"] {
        let path = BroadcastPath::new(text);
        let mut wire = BytesMut::new();
        put_namespace(&mut wire, &path).unwrap();
        let back = Namespace::decode(&mut Fields::new(&wire)).unwrap().path;
        assert_eq!(back, Some(path), "{text}");
    }
    // No path stands for what is no text, and nothing else is wrong with it.
    let namespace = Namespace::decode(&mut Fields::new(&[1, 1, 0xff])).unwrap();
    assert_eq!(namespace.path, None);
}

#[test]
fn heads_of_streams_are_those_of_the_draft() {
    let mut out = BytesMut::new();
    SubgroupHeader::put_whole(3, 200, &mut out);
    assert_eq!(out[..], [0x71, 3, 0x80, 0xc8]);
    let header = |bytes: &[u8]| match UniStream::decode(bytes) {
        Ok((UniStream::Subgroup(header), used)) if used == bytes.len() => header,
        other => panic!("{bytes:?}: {other:?}"),
    };
    let whole = header(&out);
    assert_eq!((whole.alias, whole.group, whole.subgroup), (3, 200, Some(0)));
    assert!(whole.has_properties && whole.is_first_object);
    // With a priority; with the id of the subgroup and a priority; the first object's id.
    assert_eq!(header(&[0x10, 1, 2, 128]).subgroup, Some(0));
    assert_eq!(header(&[0x14, 1, 2, 9, 128]).subgroup, Some(9));
    assert_eq!(header(&[0x3a, 1, 2]).subgroup, None);
    for cut in 0..4 {
        let cut = UniStream::decode(&[0x14, 1, 2, 9][..cut]);
        assert_eq!(cut, Err(DecodeError::Truncated));
    }
    for kind in [0x16, 0x00, 0x0f, 0x7e] {
        let result = UniStream::decode(&[kind, 1, 2, 3, 4]);
        assert!(matches!(result, Err(DecodeError::Invalid(_))), "{kind:#x}");
    }
    assert_eq!(UniStream::decode(&[0xaf, 0x00]), Ok((UniStream::Control, 0)));
    assert_eq!(
        UniStream::decode(&[0xf0, 0x13, 0x2b, 0x3e, 0x28]).unwrap().0,
        UniStream::Padding
    );
}

#[test]
fn datagrams_are_those_of_the_draft() {
    let mut out = BytesMut::new();
    ObjectDatagram::put_whole(3, 4, Some(9), &mut out);
    assert_eq!(out[..], [0x0f, 3, 4, 2, 0x10, 9]);
    out.extend_from_slice(b"payload");
    let expected = ObjectDatagram {
        alias: 3,
        group: 4,
        object: 0,
        timestamp: Some(9),
        is_normal: true,
    };
    assert_eq!(ObjectDatagram::decode(&out), Ok(Some((expected, 6))));
    // Object 5, a priority, no properties; a status.
    let (header, used) = ObjectDatagram::decode(&[0, 3, 4, 5, 128, 1]).unwrap().unwrap();
    assert_eq!((header.object, used), (5, 5));
    let (header, _) = ObjectDatagram::decode(&[0x2c, 3, 4, 3]).unwrap().unwrap();
    assert!(!header.is_normal);
    for bytes in [&[0x22, 3, 4, 0][..], &[0x10, 3, 4], &[0x0d, 3, 4, 0], &[0x0c, 3]] {
        let result = ObjectDatagram::decode(bytes);
        assert!(matches!(result, Err(DecodeError::Invalid(_))), "{bytes:?}: {result:?}");
    }
    assert_eq!(ObjectDatagram::decode(&[0xf0, 0x13, 0x2b, 0x3e, 0x29, 0, 0]), Ok(None));
}
