//! What a peer may not do, and the code it is told; and bytes that mean nothing.

use super::*;
use crate::qmux::error::{
    FINAL_SIZE_ERROR, FLOW_CONTROL_ERROR, FRAME_ENCODING_ERROR, INTERNAL_ERROR, PROTOCOL_VIOLATION, STREAM_LIMIT_ERROR,
    STREAM_STATE_ERROR,
};
use crate::qmux::frame;
use crate::qmux::parameters::Parameters;

fn stream_frame(stream: StreamId, offset: u64, data: &[u8], fin: bool) -> Bytes {
    message(|out| {
        frame::put_stream_head(out, stream, offset, data.len(), fin);
        out.extend_from_slice(data);
    })
}

#[track_caller]
fn assert_ends_with(messages: impl IntoIterator<Item = Bytes>, code: u64) {
    let mut server = greeted_server(options());
    for message in messages {
        assert!(!server.is_over(), "ended early: {}", server.close_reason());
        server.handle_message(message);
    }
    assert!(server.is_over(), "not ended");
    let told = server.poll_transmit().unwrap();
    assert_eq!(
        &told[..2],
        [0x1c, u8::try_from(code).unwrap()],
        "{}",
        server.close_reason()
    );
    assert_eq!(server.poll_transmit(), None);
}

#[test]
fn violations_have_their_codes() {
    let ours = message(|out| frame::put_max_stream_data(out, SERVER_UNI, 9));
    assert_ends_with([ours], STREAM_STATE_ERROR);
    assert_ends_with([stream_frame(SERVER_UNI, 0, b"x", false)], STREAM_STATE_ERROR);
    assert_ends_with([stream_frame(StreamId(1), 0, b"x", false)], STREAM_STATE_ERROR);
    let stop = message(|out| frame::put_stop_sending(out, CLIENT_UNI, CODE));
    assert_ends_with([stop], STREAM_STATE_ERROR);
    assert_ends_with([stream_frame(StreamId(2 + 4 * 8), 0, b"x", false)], STREAM_LIMIT_ERROR);
    assert_ends_with([stream_frame(CLIENT_UNI, 1, b"x", false)], PROTOCOL_VIOLATION);
    let twice = [
        stream_frame(CLIENT_UNI, 0, b"x", true),
        stream_frame(CLIENT_UNI, 1, b"x", true),
    ];
    assert_ends_with(twice, FINAL_SIZE_ERROR);
    let short = message(|out| frame::put_reset(out, CLIENT_UNI, CODE, 1));
    assert_ends_with([stream_frame(CLIENT_UNI, 0, b"xyz", false), short], FINAL_SIZE_ERROR);
    let long = message(|out| frame::put_reset(out, CLIENT_UNI, CODE, 1 << 40));
    assert_ends_with([long], FLOW_CONTROL_ERROR);
    let again = message(|out| frame::put_parameters(out, &Parameters::default()));
    assert_ends_with([again], PROTOCOL_VIOLATION);
    assert_ends_with([Bytes::from(vec![0; 16_383])], FRAME_ENCODING_ERROR);
    let streams = message(|out| frame::put_max_streams(out, true, (1 << 60) + 1));
    assert_ends_with([streams], FRAME_ENCODING_ERROR);
}

#[test]
fn more_than_the_window_is_refused() {
    let chunk = pattern(8 * 1024);
    let frames = (0..3).map(|n| stream_frame(CLIENT_UNI, n * 8 * 1024, &chunk, false));
    assert_ends_with(frames, FLOW_CONTROL_ERROR);
    let frames = (0..9).map(|n| stream_frame(StreamId(2 + 4 * (n / 2)), n % 2 * 8 * 1024, &chunk, false));
    assert_ends_with(frames, FLOW_CONTROL_ERROR);
}

#[test]
fn nothing_goes_before_the_parameters() {
    let mut server = Connection::new(Side::Server, subprotocol(Dialect::Draft02), options());
    server.handle_message(Bytes::new());
    assert!(!server.is_over(), "an empty message is allowed");
    server.handle_message(stream_frame(CLIENT_UNI, 0, b"x", false));
    assert!(server.is_over() && !server.is_established());
}

#[test]
fn an_old_peer_may_leave_offsets_and_final_sizes_out() {
    let mut server = greeted_server(options());
    server.handle_message(Bytes::from_static(b"\x0a\x02\x02ab"));
    server.handle_message(Bytes::from_static(b"\x0a\x02\x02cd"));
    assert_eq!(read_all(&mut server, CLIENT_UNI), (b"abcd".to_vec(), false));
    server.handle_message(message(|out| frame::put_reset(out, CLIENT_UNI, CODE, 0)));
    assert_eq!(server.read(CLIENT_UNI), Read::Reset(CODE));
    assert!(!server.is_over());
}

#[test]
fn frames_of_streams_that_are_done_are_passed_over() {
    let mut server = greeted_server(options());
    server.handle_message(stream_frame(CLIENT_UNI, 0, b"all", true));
    assert_eq!(read_all(&mut server, CLIENT_UNI), (b"all".to_vec(), true));
    server.handle_message(stream_frame(CLIENT_UNI, 3, b"", true));
    server.handle_message(message(|out| frame::put_reset(out, CLIENT_UNI, CODE, 3)));
    assert!(!server.is_over() && server.poll_readable().is_none());
    assert!(server.streams.is_empty());
}

#[test]
fn a_peer_that_does_not_read_its_refusals_is_closed() {
    let mut server = greeted_server(options());
    let mut streams = 0;
    while !server.is_over() {
        let stream = StreamId(2 + 4 * streams);
        server.handle_message(stream_frame(stream, 0, b"x", false));
        server.stop_sending(stream, CODE);
        server.handle_message(message(|out| frame::put_reset(out, stream, CODE, 1)));
        // The credit is told, as if a single message had got through, and the refusals are not.
        server.theirs[1].limit = server.stream_windows[1].grant();
        streams += 1;
        assert!(streams < 10_000, "never closed");
    }
    assert_eq!(
        &server.poll_transmit().unwrap()[..2],
        [0x1c, u8::try_from(INTERNAL_ERROR).unwrap()]
    );
}

/// Whatever comes, nothing panics, and nothing is held beyond the limits.
#[test]
fn random_bytes_and_mutated_frames_never_panic() {
    let mut survived = 0;
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut server = greeted_server(options());
        let mut peer = Pair::new(options()).client;
        for _ in 0..1 + random.below(8) {
            let message = match random.below(3) {
                0 => (0..random.below(60)).map(|_| random.next().to_le_bytes()[0]).collect(),
                _ => mutated(&mut peer, &mut random),
            };
            server.handle_message(message);
            while let Some(stream) = server.poll_readable() {
                server.read(stream);
            }
            while server.poll_transmit().is_some() {}
        }
        survived += usize::from(!server.is_over());
        assert!(server.streams.len() <= 40, "seed {seed}");
    }
    assert!(survived > 1000, "{survived}: the inputs reach too little");
}

/// A sound message, perhaps with one byte changed.
fn mutated(peer: &mut Connection, random: &mut Random) -> Bytes {
    let stream = StreamId(2 * (random.next() % 2) + 4 * (random.next() % 10));
    match random.below(4) {
        0 => drop(peer.write(stream, pattern(random.below(100)), random.below(3) == 0)),
        1 => peer.reset(stream, CODE),
        2 => peer.stop_sending(stream, CODE),
        _ => drop(peer.send_datagram(pattern(random.below(100)))),
    }
    let mut message = peer.poll_transmit().unwrap_or_default().to_vec();
    if !message.is_empty() && random.below(4) == 0 {
        let at = random.below(message.len());
        message[at] = random.next().to_le_bytes()[0];
    }
    message.into()
}
