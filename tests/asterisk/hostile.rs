//! Peers that mean no good: each is got rid of, and the others go on.

use std::time::{Duration, Instant};

use moqswitch_asterisk::audiosocket::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::host::{Host, LIMIT};
use crate::peers::{AudioSocket, Got, calling, level};
use crate::websocket::Asterisk;

/// A call that is to go on whatever the others do.
struct Call {
    asterisk: AudioSocket,
    called: AudioSocket,
}

impl Call {
    async fn begin(host: &Host, program: &TcpListener) -> Self {
        let asterisk = AudioSocket::connect(host, calling("700", None)).await;
        let called = AudioSocket::accept(program).await;
        let mut call = Self { asterisk, called };
        call.goes_on().await;
        call
    }

    /// Something new is said, and heard.
    async fn goes_on(&mut self) {
        let Self { asterisk, called } = self;
        let talking = async {
            loop {
                asterisk.say(8000, &level(77)).await;
                let until = Instant::now() + Duration::from_millis(20);
                while let Some(left) = until.checked_duration_since(Instant::now()) {
                    let Ok(got) = timeout(left, called.next()).await else {
                        break;
                    };
                    if got == Got::Audio(8000, level(77)) {
                        return;
                    }
                }
            }
        };
        timeout(LIMIT, talking).await.expect("the call does not go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one call that goes on, and all that is done to it")]
async fn hostile_peers_of_audiosocket_are_got_rid_of() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("hostile", "channels = 8", &ways);
    let mut call = Call::begin(&host, &program).await;

    // Who does not begin with a UUID.
    let uuid = calling("700", None).0.to_be_bytes();
    for bytes in [
        &[0x10, 0, 2, 1, 1][..],
        &[0x01, 0, 2, 1, 1],
        &[0x03, 0, 1, b'5'],
        &[0x99, 0xff, 0xff, 0],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut peer = AudioSocket::over(TcpStream::connect(host.audiosocket).await.unwrap());
        peer.write_bytes(bytes).await;
        peer.until_over().await;
    }
    // Who is silent holds a place for some seconds only.
    let silent = "moqswitch_asterisk_refused_total{reason=\"silent\"}";
    let before = host.metric(silent);
    let mut silents = Vec::new();
    for _ in 0..4 {
        silents.push(TcpStream::connect(host.audiosocket).await.unwrap());
    }
    // The call has two places, so that of four more two find none, and are sent away.
    let full = "moqswitch_asterisk_refused_total{reason=\"full\"}";
    let sent_away = host.metric(full);
    for _ in 0..4 {
        silents.push(TcpStream::connect(host.audiosocket).await.unwrap());
    }
    host.until(full, |count| count >= sent_away + 2).await;
    call.goes_on().await;
    host.until(silent, |count| count >= before + 4).await;
    drop(silents);

    // What breaks the protocol in a call ends it, and nothing else.
    for bytes in [
        &[0x10, 0, 3, 1, 1, 1][..],
        &[0x03, 0, 1, b'x'],
        &[0x00, 0, 1, 0],
        &[0x01, 0, 1, 1],
    ] {
        let mut hostile = AudioSocket::connect(&host, calling("700", None)).await;
        let mut called = AudioSocket::accept(&program).await;
        hostile.write_bytes(bytes).await;
        hostile.until_over().await;
        called.until_over().await;
    }
    // Floods.
    let flood = "moqswitch_asterisk_refused_total{reason=\"flood\"}";
    let digits = [0x03, 0, 1, b'1'].repeat(2000);
    // Of these much more than a second of a slow machine has.
    let empty = [0x10, 0, 0].repeat(100_000);
    let mut long = vec![0x10, 0xff, 0xfe];
    long.resize(3 + 0xfffe, 1);
    let long = long.repeat(400);
    for (number, bytes) in (1..).zip([digits, empty, long]) {
        let mut hostile = AudioSocket::connect(&host, calling("700", None)).await;
        let mut called = AudioSocket::accept(&program).await;
        hostile.write_bytes(&bytes).await;
        hostile.until_over().await;
        called.until_over().await;
        host.until(flood, |count| count == number).await;
    }
    call.goes_on().await;
    // Bytes that mean nothing.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..50 {
        let noise: Vec<u8> = (0..400)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                u8::try_from(state & 0xff).unwrap()
            })
            .collect();
        let mut peer = TcpStream::connect(host.audiosocket).await.unwrap();
        let mut bytes = vec![0x01, 0, 0x10];
        bytes.extend(uuid);
        // A call, or none.
        let _ = peer
            .write_all(if noise[0].is_multiple_of(2) {
                &bytes
            } else {
                &noise[..19]
            })
            .await;
        let _ = peer.write_all(&noise).await;
        drop(peer);
    }
    host.until("moqswitch_asterisk_channels", |channels| channels == 2)
        .await;
    call.goes_on().await;
    assert_eq!(host.metric("moqswitch_calls_answering"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_peers_of_websockets_are_got_rid_of() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("hostile-websocket", "", &ways);
    let mut call = Call::begin(&host, &program).await;

    // Who shakes no hands, or shakes them as somebody else.
    for bytes in [
        &b"GET /700 HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"GET /700",
        &[0xff; 4096],
        &[b'A'; 200_000],
    ] {
        let mut stream = TcpStream::connect(host.websocket).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let closing = async { while matches!(stream.read(&mut [0; 4096]).await, Ok(count) if count > 0) {} };
        timeout(LIMIT, closing).await.expect("it is not closed");
    }
    // Who never says what it is; who is of a format that nobody knows.
    let mut quiet = Asterisk::connect(host.websocket, "/700").await.unwrap();
    let mut odd = Asterisk::connect(host.websocket, "/700").await.unwrap();
    odd.start(true, "speex").await;
    odd.until_closed().await;
    quiet.say(&[1; 160]).await;
    quiet.until_closed().await;

    // In a call: what is no event is passed over, floods and messages without end are not.
    let mut hostile = Asterisk::connect(host.websocket, "/700").await.unwrap();
    hostile.start(false, "ulaw").await;
    let mut called = AudioSocket::accept(&program).await;
    for text in [
        "",
        "{",
        "{}",
        "MEDIA_START",
        "DTMF_END digit:xx",
        "ERROR",
        &"A".repeat(5000),
    ] {
        hostile.send(Frame::text(text)).await;
    }
    hostile.say(&[]).await;
    hostile.say(&[7; 160]).await;
    called.until(|got| matches!(got, Got::Audio(8000, _))).await;
    hostile.flood(&Frame::text("QUEUE_DRAINED"), 50_000).await;
    hostile.until_closed().await;
    called.until_over().await;
    let mut hostile = Asterisk::connect(host.websocket, "/700").await.unwrap();
    hostile.start(false, "ulaw").await;
    let mut called = AudioSocket::accept(&program).await;
    hostile.say(&vec![0; 100_000]).await;
    hostile.until_closed().await;
    called.until_over().await;
    call.goes_on().await;
    call.asterisk.write(&Message::Hangup).await;
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
    let flood = host.metric("moqswitch_asterisk_refused_total{reason=\"flood\"}");
    let protocol = host.metric("moqswitch_asterisk_refused_total{reason=\"protocol\"}");
    assert!(flood == 1 && protocol >= 2, "{flood} {protocol}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_loses_what_it_would_hear_and_holds_up_nobody() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("deaf", "", &ways);
    let mut call = Call::begin(&host, &program).await;
    // 192 kHz fills what the system keeps for a connection within seconds.
    let mut deaf = AudioSocket::connect(&host, calling("700", None)).await;
    let mut called = AudioSocket::accept(&program).await;
    deaf.say(192_000, &vec![0; 7680]).await;
    let dropped = "moqswitch_asterisk_frames_total{way=\"dropped\"}";
    let before = host.metric(dropped);
    host.until(dropped, |count| count > before + 20).await;
    call.goes_on().await;
    // It is given up when it takes nothing for long.
    called.until_over().await;
    call.goes_on().await;
}
