//! The bytes of frames, against those that released peers send, and cut off anywhere.

use super::*;
use crate::qmux::error::{FRAME_ENCODING_ERROR, TRANSPORT_PARAMETER_ERROR};
use crate::qmux::frame::{self, Frame};
use crate::qmux::parameters::Parameters;

fn take(mut message: Bytes) -> Result<(Frame, usize), super::super::error::Violation> {
    let frame = Frame::take(&mut message, Dialect::Draft02)?;
    Ok((frame, message.len()))
}

fn samples() -> Vec<(Bytes, Frame)> {
    let parameters = Parameters {
        idle_timeout_ms: 30_000,
        data: 1 << 20,
        stream_data_bidi_local: 1 << 18,
        stream_data_bidi_remote: 1 << 18,
        stream_data_uni: 1 << 18,
        streams_bidi: 100,
        streams_uni: 100,
        datagram_frame_bytes: 16_382,
        record_bytes: 20_000,
    };
    let mut samples = control_samples();
    samples.extend([
        (
            message(|out| {
                frame::put_stream_head(out, StreamId(7), 300, 5, true);
                out.extend_from_slice(b"hello");
            }),
            Frame::Stream {
                stream: StreamId(7),
                offset: Some(300),
                data: Bytes::from_static(b"hello"),
                fin: true,
            },
        ),
        (
            message(|out| frame::put_datagram(out, b"datagram")),
            Frame::Datagram {
                payload: Bytes::from_static(b"datagram"),
                frame_bytes: 10,
            },
        ),
        (
            message(|out| frame::put_parameters(out, &parameters)),
            Frame::Parameters(parameters),
        ),
        (
            message(|out| frame::put_close(out, true, CODE, b"why")),
            Frame::Close {
                is_application: true,
                code: CODE,
                reason: "why".into(),
            },
        ),
        (
            message(|out| frame::put_close(out, false, ErrorCode(7), b"")),
            Frame::Close {
                is_application: false,
                code: ErrorCode(7),
                reason: String::new(),
            },
        ),
    ]);
    samples
}

fn control_samples() -> Vec<(Bytes, Frame)> {
    vec![
        (
            message(|out| frame::put_reset(out, StreamId(3), CODE, 77)),
            Frame::Reset {
                stream: StreamId(3),
                code: CODE,
                final_size: 77,
            },
        ),
        (
            message(|out| frame::put_stop_sending(out, StreamId(3), CODE)),
            Frame::StopSending {
                stream: StreamId(3),
                code: CODE,
            },
        ),
        (
            message(|out| frame::put_max_data(out, 1 << 40)),
            Frame::MaxData(1 << 40),
        ),
        (
            message(|out| frame::put_max_stream_data(out, StreamId(4), 9)),
            Frame::MaxStreamData {
                stream: StreamId(4),
                limit: 9,
            },
        ),
        (
            message(|out| frame::put_max_streams(out, true, 9)),
            Frame::MaxStreams { is_uni: true, limit: 9 },
        ),
        (message(|out| frame::put_pong(out, 5)), Frame::Nothing),
    ]
}

#[test]
fn frames_round_trip() {
    for (bytes, frame) in samples() {
        assert_eq!(take(bytes), Ok((frame, 0)));
    }
}

#[test]
fn frames_cut_off_anywhere_are_refused() {
    for (bytes, frame) in samples() {
        for cut in 1..bytes.len() {
            let result = take(bytes.slice(..cut));
            assert!(result.is_err(), "{frame:?} at {cut}: {result:?}");
            assert_eq!(result.unwrap_err().code, FRAME_ENCODING_ERROR, "{frame:?} at {cut}");
        }
    }
}

/// As the released peers' own tests have them.
#[test]
fn bytes_are_those_of_the_drafts() {
    let stream = message(|out| frame::put_stream_head(out, StreamId(2), 0, 3, false));
    assert_eq!(&stream[..], [0x0e, 0x02, 0x00, 0x03]);
    let greeting = message(|out| frame::put_parameters(out, &Parameters::default()));
    assert_eq!(&greeting[..], b"\xffQS0\r\n\r\n\x00");
    let pong = message(|out| frame::put_pong(out, 1));
    assert_eq!(&pong[..], [0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbe, 1]);
}

#[test]
fn stream_without_offset_or_length_runs_to_the_end() {
    let expected = Frame::Stream {
        stream: StreamId(2),
        offset: None,
        data: Bytes::from_static(b"rest"),
        fin: true,
    };
    assert_eq!(take(Bytes::from_static(b"\x09\x02rest")), Ok((expected, 0)));
    let datagram = Frame::Datagram {
        payload: Bytes::from_static(b"rest"),
        frame_bytes: 5,
    };
    assert_eq!(take(Bytes::from_static(b"\x30rest")), Ok((datagram, 0)));
}

#[test]
fn frames_of_packets_and_paths_are_refused() {
    for kind in [
        0x01_u8, 0x02, 0x03, 0x06, 0x07, 0x18, 0x19, 0x1a, 0x1b, 0x1e, 0x1f, 0x24, 0x3f,
    ] {
        let result = take(Bytes::from(vec![kind, 0, 0, 0, 0]));
        assert_eq!(result.unwrap_err().code, FRAME_ENCODING_ERROR, "{kind:#x}");
    }
    let datagram = Frame::take(&mut Bytes::from_static(b"\x30"), Dialect::Draft00);
    assert_eq!(datagram.unwrap_err().code, FRAME_ENCODING_ERROR);
}

#[test]
fn wrong_parameters_are_refused() {
    let repeated: &[u8] = &[0x04, 1, 5, 0x04, 1, 5];
    let overlong: &[u8] = &[0x04, 2, 5, 5];
    let prohibited: &[u8] = &[0x0e, 1, 2];
    let many_streams: &[u8] = &[0x09, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let small_record: &[u8] = &[0xc5, 0x71, 0xc5, 0x94, 0x29, 0xcd, 0x08, 0x45, 1, 0x3f];
    for wrong in [repeated, overlong, prohibited, many_streams, small_record] {
        let result = Parameters::decode(Bytes::copy_from_slice(wrong));
        assert_eq!(result.unwrap_err().code, TRANSPORT_PARAMETER_ERROR, "{wrong:?}");
    }
    let unknown: &[u8] = &[0x20, 1, 9, 0x3a, 3, 1, 2, 3];
    let known = Parameters::decode(Bytes::copy_from_slice(unknown)).unwrap();
    assert_eq!(known.datagram_frame_bytes, 9);
}
