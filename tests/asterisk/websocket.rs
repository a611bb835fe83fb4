//! `chan_websocket`: channels that Asterisk dials, in both spellings, and numbers that it is asked to call.

use std::net::SocketAddr;

use futures_util::{FutureExt, SinkExt, StreamExt};
use moqswitch_asterisk::audiosocket::Message;
use moqswitch_audio::{KeyDetector, KeyHeard, g711};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};

use crate::host::{Host, KEY, LIMIT};
use crate::peers::{AudioSocket, Got, LAST, assert_in_order, calling, level, level_of, ticks};

#[tokio::test(flavor = "multi_thread")]
async fn g711_goes_through_untouched_and_keys_and_ends_both_ways() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("websocket", "", &ways);
    for is_json in [false, true] {
        let mut asterisk = Asterisk::connect(host.websocket, "/700?from=4711&name=Anna")
            .await
            .unwrap();
        assert_eq!(asterisk.protocol, "media");
        // Some channels speak before they say what they are.
        asterisk.say(&[1; 160]).await;
        asterisk.start(is_json, "ulaw").await;
        let mut called = AudioSocket::accept(&program).await;
        let answer = if is_json { r#"{"command":"ANSWER"}"# } else { "ANSWER" };
        asterisk.until_text(answer).await;

        let mut ticks = ticks();
        let (mut at_program, mut at_asterisk) = (Vec::new(), Vec::new());
        let mut said = 0_u8;
        let talking = async {
            // The last is said until it is heard, and then it is quiet.
            let is_heard = |heard: &[u8]| heard.contains(&LAST);
            while at_program.last() != Some(&0xff) || !is_heard(&at_program) || !is_heard(&at_asterisk) {
                tokio::select! {
                    _ = ticks.tick() => {
                        said = LAST.min(said + 1);
                        if said < LAST || !is_heard(&at_program) || !is_heard(&at_asterisk) {
                            asterisk.say(&[said; 160]).await;
                            called.say(8000, &level(said)).await;
                        }
                    }
                    frame = asterisk.audio() => {
                        assert_eq!(frame.len(), 160, "frames are whole");
                        assert!(frame.iter().all(|byte| *byte == frame[0]));
                        at_asterisk.push(frame[0]);
                    }
                    got = called.next() => if let Got::Audio(8000, samples) = got {
                        at_program.extend(level_of(&samples));
                    },
                }
            }
        };
        timeout(LIMIT, talking).await.expect("they do not hear each other");
        for heard in [at_program, at_asterisk] {
            assert_in_order(heard, "one of them");
        }

        asterisk.tell(is_json, "DTMF_END", "digit", "7").await;
        called.until(|got| *got == Got::Digit('7')).await;
        called.write(&Message::Digit('9')).await;
        assert_eq!(asterisk.key_heard().await, '9');
        if is_json {
            called.write(&Message::Hangup).await;
            asterisk.until_text(r#"{"command":"HANGUP"}"#).await;
            asterisk.until_closed().await;
        } else {
            drop(asterisk);
            called.until_over().await;
        }
    }
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_asterisk_is_dropped_and_a_full_queue_is_sent_nothing() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("queue", "", &ways);
    let mut asterisk = Asterisk::connect(host.websocket, "/700").await.unwrap();
    asterisk.start(true, "ulaw").await;
    let mut called = AudioSocket::accept(&program).await;
    asterisk.tell(true, "STATUS", "queue_length", "6").await;
    asterisk.until_text(r#"{"command":"FLUSH_MEDIA"}"#).await;

    let mut ticks = ticks();
    let mut is_full = false;
    let mut heard = 0;
    let dropped = "moqswitch_asterisk_frames_total{way=\"dropped\"}";
    let talking = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => called.say(8000, &level(5)).await,
                _ = asterisk.audio() => heard += 1,
            }
            if heard == 20 && !is_full {
                is_full = true;
                asterisk.tell(true, "MEDIA_XOFF", "channel_id", "1").await;
            }
            if is_full && host.metric(dropped) > 20 {
                return;
            }
        }
    };
    timeout(LIMIT, talking).await.expect("it is sent more");
    asterisk.tell(true, "MEDIA_XON", "channel_id", "1").await;
    let going_on = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => called.say(8000, &level(6)).await,
                frame = asterisk.audio() => if frame[0] == 6 { return },
            }
        }
    };
    timeout(LIMIT, going_on).await.expect("it is sent nothing more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_reaches_an_extension_by_ari() {
    let ari = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (name, channel) in [
        ("ari-ws", "WebSocket/moqswitch/c(ulaw)"),
        ("ari-as", "AudioSocket/127.0.0.1:9/c(slin)"),
    ] {
        let ways = format!(
            "[ways.700]\nari = 'http://{}/pbx'\nuser = 'moqswitch'\nsecret_file = 'secret'\nchannel = '{channel}'\n\
             context = 'from-moqswitch'\n",
            ari.local_addr().unwrap()
        );
        let host = Host::start(name, "", &ways);
        let mut caller = AudioSocket::connect(&host, calling("700", Some("4711"))).await;
        let (request, mut stream) = asked(&ari).await;
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /pbx/ari/channels HTTP/1.1\r\n"), "{head}");
        // moqswitch:secret of ari
        assert!(
            head.contains("Authorization: Basic bW9xc3dpdGNoOnNlY3JldCBvZiBhcmk="),
            "{head}"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["context"], &body["extension"]),
            (&"from-moqswitch".into(), &"700".into())
        );
        assert_eq!(body["callerId"], "\"\" <4711>");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .await
            .unwrap();
        let endpoint = body["endpoint"].as_str().unwrap();
        if let Some(rest) = endpoint.strip_prefix("WebSocket/moqswitch/c(ulaw)v(channel=") {
            let target = format!("/?channel={}", rest.trim_end_matches(')'));
            let mut called = Asterisk::connect(host.websocket, &target).await.unwrap();
            called.start(true, "ulaw").await;
            caller.say(8000, &level(3)).await;
            let hearing = async {
                let mut ticks = ticks();
                loop {
                    tokio::select! {
                        _ = ticks.tick() => caller.say(8000, &level(3)).await,
                        frame = called.audio() => if frame == [3; 160] { return },
                    }
                }
            };
            timeout(LIMIT, hearing).await.expect("nothing is heard");
            called.tell(true, "DTMF_END", "digit", "1").await;
            drop(called);
        } else {
            let uuid = endpoint.strip_prefix("AudioSocket/127.0.0.1:9/").unwrap();
            let uuid = uuid.strip_suffix("/c(slin)").unwrap();
            let mut called = AudioSocket::connect(&host, uuid.parse().unwrap()).await;
            called.say(8000, &level(1)).await;
            called.until(|got| matches!(got, Got::Audio(8000, _))).await;
            called.write(&Message::Hangup).await;
        }
        caller.until_over().await;
        host.until("moqswitch_asterisk_channels", |channels| channels == 0)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_before_asterisk_is_there_ends_its_channel() {
    let ari = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!(
        "[ways.700]\nari = 'http://{}'\nuser = 'a'\nsecret_file = 'secret'\nchannel = 'WebSocket/x'\ncontext = 'c'\n",
        ari.local_addr().unwrap()
    );
    let host = Host::start("gone", "", &ways);
    let caller = AudioSocket::connect(&host, calling("700", None)).await;
    let (request, mut stream) = asked(&ari).await;
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        .await
        .unwrap();
    drop(caller);
    let (request, _) = asked(&ari).await;
    let channel = body["channelId"].as_str().unwrap();
    assert!(
        request.starts_with(&format!("DELETE /ari/channels/{channel} ")),
        "{request}"
    );

    // One that says no ends the call.
    let mut caller = AudioSocket::connect(&host, calling("700", None)).await;
    let (_, mut stream) = asked(&ari).await;
    stream
        .write_all(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
        .await
        .unwrap();
    caller.until_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_or_calls_nobody_gets_no_socket() {
    let host = Host::start(
        "websocket-key",
        "key = KEY",
        "[ways.700]\naudiosocket = '127.0.0.1:1'\n",
    );
    let status = |target: String| async move {
        match Asterisk::connect(host.websocket, &target).await {
            Ok(_) => 101,
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(status("/700".to_owned()).await, 401);
    assert_eq!(status("/700?key=5ec2e7001235".to_owned()).await, 401);
    assert_eq!(status(format!("/700?key={KEY}")).await, 101);
    assert_eq!(status(format!("/?key={KEY}")).await, 404);
    assert_eq!(status(format!("/7%2F0?key={KEY}")).await, 404);
    assert_eq!(status("/%zz".to_owned()).await, 400);
    assert_eq!(
        status("/?channel=40325ec2-5efd-4bd3-805f-53576e581d13".to_owned()).await,
        401
    );
}

/// A request of HTTP with its body.
async fn asked(listener: &TcpListener) -> (String, TcpStream) {
    let (mut stream, _) = timeout(LIMIT, listener.accept()).await.expect("nobody asks").unwrap();
    let mut request = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .split("Content-Length: ")
                    .nth(1)
                    .and_then(|rest| rest.lines().next());
                if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                    return text;
                }
            }
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "half a request");
        }
    };
    let text = timeout(LIMIT, reading).await.expect("half a request");
    (text, stream)
}

/// As `chan_websocket` does.
pub(crate) struct Asterisk {
    socket: WebSocketStream<TcpStream>,
    protocol: String,
}

impl Asterisk {
    pub(crate) async fn connect(address: SocketAddr, target: &str) -> Result<Self, Error> {
        let mut request = format!("ws://{address}{target}").into_client_request()?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", "media".parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
        let protocol = response.headers().get("Sec-WebSocket-Protocol");
        let protocol = protocol
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Self { socket, protocol })
    }

    pub(crate) async fn start(&mut self, is_json: bool, format: &str) {
        let text = if is_json {
            format!(
                r#"{{"event":"MEDIA_START","connection_id":"moqswitch","channel":"WebSocket/moqswitch/1",
                   "channel_id":"1.1","format":"{format}","optimal_frame_size":160,"ptime":20,"channel_variables":{{}}}}"#
            )
        } else {
            format!(
                "MEDIA_START connection_id:moqswitch channel:WebSocket/moqswitch/1 channel_id:1.1 format:{format} \
                 optimal_frame_size:160 ptime:20"
            )
        };
        self.send(Frame::text(text)).await;
    }

    async fn tell(&mut self, is_json: bool, event: &str, field: &str, value: &str) {
        let value = serde_json::to_value(value).unwrap();
        let text = match (is_json, field) {
            (true, "queue_length") => format!(r#"{{"event":"{event}","{field}":{}}}"#, value.as_str().unwrap()),
            (true, _) => format!(r#"{{"event":"{event}","{field}":{value}}}"#),
            (false, _) => format!("{event} {field}:{}", value.as_str().unwrap()),
        };
        self.send(Frame::text(text)).await;
    }

    pub(crate) async fn say(&mut self, frame: &[u8]) {
        self.send(Frame::binary(frame.to_vec())).await;
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        // Whoever has gone does not read.
        let _ = self.socket.send(frame).await;
    }

    /// So many of the same, as fast as they go out.
    pub(crate) async fn flood(&mut self, frame: &Frame, count: usize) {
        for _ in 0..count {
            // Whoever has gone does not read.
            if self.socket.feed(frame.clone()).await.is_err() {
                return;
            }
        }
        let _ = self.socket.flush().await;
    }

    /// The next audio. It is over when nothing comes.
    pub(crate) async fn audio(&mut self) -> Vec<u8> {
        loop {
            match self.socket.next().await {
                Some(Ok(Frame::Binary(bytes))) => return bytes.to_vec(),
                Some(Ok(_)) => {}
                other => panic!("no audio: {other:?}"),
            }
        }
    }

    /// All audio that is there already.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(Some(Ok(frame))) = self.socket.next().now_or_never() {
            if let Frame::Binary(bytes) = frame {
                all.push(bytes.to_vec());
            }
        }
        all
    }

    async fn until_text(&mut self, wanted: &str) {
        let looking = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Frame::Text(text))) if text == wanted => return,
                    Some(Ok(_)) => {}
                    other => panic!("no {wanted}: {other:?}"),
                }
            }
        };
        timeout(LIMIT, looking).await.expect("it does not come");
    }

    pub(crate) async fn until_closed(&mut self) {
        let looking = async { while matches!(self.socket.next().await, Some(Ok(_))) {} };
        timeout(LIMIT, looking).await.expect("it does not end");
    }

    async fn key_heard(&mut self) -> char {
        let mut detector = KeyDetector::new();
        let listening = async {
            loop {
                let frame = self.audio().await;
                let mut samples = vec![0; frame.len()];
                g711::decode_ulaw(&frame, &mut samples);
                let mut key = None;
                detector.process(&samples, |heard| {
                    if let KeyHeard::Pressed(pressed) = heard {
                        key = Some(pressed);
                    }
                });
                if let Some(key) = key {
                    return key;
                }
            }
        };
        timeout(LIMIT, listening).await.expect("no key is heard")
    }
}
