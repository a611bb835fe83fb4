use smallvec::smallvec;

use super::HandshakeForm::{Compat, Session};
use super::*;

fn client(versions: &[u64], path: Option<&str>) -> SessionClient {
    SessionClient {
        versions: versions.into(),
        path: path.map(ToOwned::to_owned),
    }
}

fn fixture(form: HandshakeForm, message: &SessionClient, bytes: &[u8]) {
    let mut out = BytesMut::new();
    message.encode(form, &mut out).unwrap();
    assert_eq!(out[..], *bytes);
    assert_eq!(SessionClient::decode(form, bytes), Ok((message.clone(), bytes.len())));
    for cut in 0..bytes.len() {
        assert_eq!(SessionClient::decode(form, &bytes[..cut]), Err(DecodeError::Truncated));
    }
}

/// The codes of drafts 02 and 01, which take eight bytes.
const DRAFT_02: [u8; 8] = [0xc0, 0, 0, 0, 0xff, 0x0d, 0xad, 0x02];
const DRAFT_01: [u8; 8] = [0xc0, 0, 0, 0, 0xff, 0x0d, 0xad, 0x01];

#[test]
fn client_bytes_are_those_of_each_form() {
    let both = client(&[0xff0d_ad02, 0xff0d_ad01], None);
    fixture(Session, &both, &[&[18, 2][..], &DRAFT_02, &DRAFT_01, &[0]].concat());
    fixture(Compat, &both, &[&[0, 18, 2][..], &DRAFT_02, &DRAFT_01, &[0]].concat());
    let with_path = client(&[0xff0d_ad01], Some("/a"));
    let body = [&[1][..], &DRAFT_01, &[1, 1, 2, b'/', b'a']].concat();
    fixture(Session, &with_path, &[&[14][..], &body].concat());
    fixture(Compat, &with_path, &[&[0, 14][..], &body].concat());
}

#[test]
fn server_bytes_are_those_of_each_form() {
    let server = SessionServer { version: 0xff0d_ad02 };
    let forms = [
        (Session, [&[9][..], &DRAFT_02, &[0]].concat()),
        (Compat, [&[0x21, 0, 9][..], &DRAFT_02, &[0]].concat()),
    ];
    for (form, bytes) in forms {
        let mut out = BytesMut::new();
        server.encode(form, &mut out).unwrap();
        assert_eq!(out[..], bytes[..]);
        assert_eq!(SessionServer::decode(form, &bytes), Ok((server, bytes.len())));
        for cut in 0..bytes.len() {
            assert_eq!(SessionServer::decode(form, &bytes[..cut]), Err(DecodeError::Truncated));
        }
    }
    // Nothing behind the version, and extensions that mean nothing to us.
    let bare = [&[8][..], &DRAFT_02].concat();
    assert_eq!(SessionServer::decode(Session, &bare), Ok((server, 9)));
    let extended = [&[0x21, 0, 14][..], &DRAFT_02, &[2, 2, 0x3f, 7, 1, 0xff]].concat();
    assert_eq!(SessionServer::decode(Compat, &extended), Ok((server, 17)));
    // A message of another type.
    assert!(matches!(
        SessionServer::decode(Compat, &[0x20, 0, 1, 0]),
        Err(DecodeError::Invalid(_))
    ));
}

#[test]
fn a_released_client_is_understood() {
    // As moq-net 0.3.18 writes it, its parameters being MAX_REQUEST_ID, PATH, AUTHORITY and
    // MOQT_IMPLEMENTATION, in any order.
    let parameters = [
        &[4][..],
        &[7, 11],
        b"moq-lite-rs",
        &[2, 0xc0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[5, 7],
        b"a:12345",
        &[1, 5],
        b"/room",
    ]
    .concat();
    let draft_14 = [0xc0, 0, 0, 0, 0xff, 0, 0, 0x0e];
    let body = [&[3][..], &DRAFT_02, &DRAFT_01, &draft_14, &parameters].concat();
    let message = [&[0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    let expected = client(&[0xff0d_ad02, 0xff0d_ad01, 0xff00_000e], Some("/room"));
    assert_eq!(SessionClient::decode(Compat, &message), Ok((expected, message.len())));
}

#[test]
fn update_bytes_are_those_of_the_draft() {
    for version in Version::IN_BAND {
        for (bitrate, bytes) in [(None, &[1, 0][..]), (Some(2_500_000), &[4, 0x80, 0x26, 0x25, 0xa0])] {
            let update = SessionUpdate { bitrate };
            let mut out = BytesMut::new();
            update.encode(version, &mut out).unwrap();
            assert_eq!(out[..], *bytes);
            assert_eq!(SessionUpdate::decode(version, bytes), Ok((update, bytes.len())));
        }
    }
    let update = SessionUpdate { bitrate: None };
    assert!(update.encode(Version::Lite03, &mut BytesMut::new()).is_err());
    assert!(SessionUpdate::decode(Version::Lite03, &[1, 0]).is_err());
}

#[test]
fn malformed_handshakes_are_refused() {
    for body in [
        // Fewer versions or extensions than counted, a byte too many, a path twice, no UTF-8.
        &[2, 1][..],
        &[1, 1, 1],
        &[1, 1, 1, 1, 3, b'a'],
        &[1, 1, 2, 1, 0, 1, 0],
        &[1, 1, 1, 1, 1, 0xff],
        &[],
        &[1, 1],
    ] {
        let message = [&[u8::try_from(body.len()).unwrap()][..], body].concat();
        assert!(
            matches!(SessionClient::decode(Session, &message), Err(DecodeError::Invalid(_))),
            "{body:?}"
        );
    }
    assert_eq!(
        SessionClient::decode(Session, &[3, 0, 0, 0]),
        Err(DecodeError::Trailing)
    );
    assert_eq!(
        SessionClient::decode(Compat, &[0, 3, 0, 0, 0]),
        Err(DecodeError::Trailing)
    );
}

#[test]
fn counts_and_path_are_limited() {
    let versions = |count: usize| SessionClient {
        versions: smallvec![1; count],
        path: None,
    };
    for form in [Session, Compat] {
        let mut out = BytesMut::new();
        let most = versions(SESSION_VERSIONS_MAX);
        most.encode(form, &mut out).unwrap();
        assert_eq!(SessionClient::decode(form, &out), Ok((most, out.len())));
        let refused = versions(SESSION_VERSIONS_MAX + 1).encode(form, &mut out);
        assert_eq!(refused, Err(EncodeError::TooLarge("version count")));

        let with_path = |bytes: usize| client(&[1], Some(&"a".repeat(bytes)));
        let mut out = BytesMut::new();
        with_path(SETUP_PATH_BYTES_MAX).encode(form, &mut out).unwrap();
        assert_eq!(
            SessionClient::decode(form, &out).unwrap().0,
            with_path(SETUP_PATH_BYTES_MAX)
        );
        let refused = with_path(SETUP_PATH_BYTES_MAX + 1).encode(form, &mut out);
        assert_eq!(refused, Err(EncodeError::TooLarge("session path")));
    }
    assert_eq!(
        SessionClient::decode(Session, &[2, 0x40, 65]),
        Err(DecodeError::TooLarge("version count"))
    );
    assert_eq!(
        SessionClient::decode(Session, &[3, 0, 0x40, 65]),
        Err(DecodeError::TooLarge("extension count"))
    );
    let long_path = [0, 1, 1, 0x60, 0x01];
    let message = [&[5][..], &long_path].concat();
    assert_eq!(
        SessionClient::decode(Session, &message),
        Err(DecodeError::TooLarge("session path"))
    );
}
