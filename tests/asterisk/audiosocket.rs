//! AudioSocket, both ways: a channel calls a number, which is a program behind another connection.

use std::net::{SocketAddr, UdpSocket};

use moqswitch::config::Config;
use moqswitch::switch::{Surroundings, Switch};
use moqswitch_asterisk::audiosocket::Message;
use moqswitch_audio::{KeyDetector, KeyHeard};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::host::{Host, KEY, LIMIT};
use crate::peers::{AudioSocket, Got, LAST, assert_in_order, calling, level, level_of, ticks};

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_reaches_a_number_and_both_are_heard() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("both", "", &ways);
    let mut asterisk = AudioSocket::connect(&host, calling("700", Some("4711"))).await;
    let mut called = AudioSocket::accept(&program).await;
    assert!(matches!(called.next().await, Got::Uuid(_)), "it says first who it is");

    let heard = converse(&mut asterisk, &mut called).await;
    for (who, heard) in [("the program", &heard.0), ("Asterisk", &heard.1)] {
        assert_in_order(heard.clone(), who);
    }

    asterisk.write(&Message::Digit('5')).await;
    called.until(|got| *got == Got::Digit('5')).await;
    // Asterisk would end its call on a message with a digit: it hears the tones.
    called.write(&Message::Digit('#')).await;
    assert_eq!(key_heard(&mut asterisk).await, '#');

    assert_eq!(host.metric("moqswitch_asterisk_channels"), 2);
    called.write(&Message::Hangup).await;
    asterisk.until_over().await;
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
    assert!(host.metric("moqswitch_asterisk_frames_total{way=\"in\"}") > 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_within_a_runtime_and_leaves_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = |audiosocket: SocketAddr| {
        let text = format!(
            "listen = '{listen}'\nhttp = '127.0.0.1:0'\nstate_directory = ''\nshards = 1\n[calls]\nenabled = true\n\
             [sip]\nudp = ''\ntcp = ''\n[asterisk]\naudiosocket = '{audiosocket}'\n"
        );
        let surroundings = Surroundings {
            is_hosted: true,
            ..Surroundings::default()
        };
        Switch::start(&Config::from_toml(&text).unwrap(), surroundings)
    };
    let error = start(taken.local_addr().unwrap()).err().expect("it starts");
    assert!(format!("{error:#}").contains("Address already in use"), "{error:#}");
    // Its relay had begun by then. The address is free again.
    let switch = start("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(switch.address(), listen);
    switch.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_goes_ends_the_call() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("goes", "", &ways);
    for is_said in [true, false] {
        let mut asterisk = AudioSocket::connect(&host, calling("700", None)).await;
        let mut called = AudioSocket::accept(&program).await;
        asterisk.say(8000, &level(1)).await;
        called.until(|got| matches!(got, Got::Audio(..))).await;
        if is_said {
            asterisk.write(&Message::Hangup).await;
        }
        drop(asterisk);
        called.until_over().await;
    }
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_not_there_ends_the_channel() {
    let host = Host::start("nobody", "", "[ways.700]\naudiosocket = '127.0.0.1:1'\n");
    for number in ["999", "700"] {
        let mut asterisk = AudioSocket::connect(&host, calling(number, None)).await;
        asterisk.until_over().await;
    }
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_and_was_not_announced_is_not_let_in() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let known = "40325ec2-5efd-4bd3-805f-53576e581d13";
    let ways = format!(
        "[uuids.{known}]\nnumber = '700'\n[ways.700]\naudiosocket = '{}'\n",
        program.local_addr().unwrap()
    );
    let host = Host::start("key", "key = KEY", &ways);
    let refused = "moqswitch_asterisk_refused_total{reason=\"unknown\"}";
    for number in 1..=2 {
        let mut stranger = AudioSocket::connect(&host, calling("700", None)).await;
        stranger.until_over().await;
        host.until(refused, |count| count == number).await;
    }
    let key = KEY.parse().unwrap();
    let by_key = moqswitch_asterisk::Uuid::calling(&key, "700", Some("4711")).unwrap();
    for uuid in [by_key, known.parse().unwrap()] {
        let mut asterisk = AudioSocket::connect(&host, uuid).await;
        let mut called = AudioSocket::accept(&program).await;
        asterisk.say(8000, &level(1)).await;
        called.until(|got| matches!(got, Got::Audio(..))).await;
        asterisk.write(&Message::Hangup).await;
        called.until_over().await;
    }
    assert_eq!(host.metric(refused), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_audio_is_answered_in_kind() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("kinds", "", &ways);
    for hertz in [
        8000,
        12_000,
        16_000,
        24_000,
        32_000,
        44_100,
        48_000,
        96_000,
        192_000_u32,
    ] {
        let mut asterisk = AudioSocket::connect(&host, calling("700", None)).await;
        let mut called = AudioSocket::accept(&program).await;
        let frame = vec![0; hertz as usize / 50 * 2];
        asterisk.say(hertz, &frame).await;
        let got = asterisk.until(|got| matches!(got, Got::Audio(..))).await;
        assert_eq!(got, Got::Audio(hertz, frame), "{hertz}");
        called
            .until(|got| matches!(got, Got::Audio(8000, samples) if samples.len() == 320))
            .await;
        asterisk.write(&Message::Hangup).await;
        called.until_over().await;
    }
}

/// Both say levels, one after the other, at the pace of speech. What the second and the first have heard.
async fn converse(one: &mut AudioSocket, other: &mut AudioSocket) -> (Vec<u8>, Vec<u8>) {
    let mut ticks = ticks();
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    let mut said = 0_u8;
    let talking = async {
        let is_quiet = |heard: &[u8]| heard.last() == Some(&SILENCE) && heard.contains(&LAST);
        while !is_quiet(&of_one) || !is_quiet(&of_other) {
            tokio::select! {
                _ = ticks.tick() => {
                    said = LAST.min(said + 1);
                    // The last is said until it is heard, and then it is quiet.
                    if said < LAST || !of_one.contains(&LAST) || !of_other.contains(&LAST) {
                        one.say(8000, &level(said)).await;
                        other.say(8000, &level(said)).await;
                    }
                }
                got = one.next() => take(got, &mut of_other),
                got = other.next() => take(got, &mut of_one),
            }
        }
    };
    timeout(LIMIT, talking).await.expect("they do not hear each other");
    (of_one, of_other)
}

fn take(got: Got, heard: &mut Vec<u8>) {
    if let Got::Audio(8000, samples) = got {
        heard.extend(level_of(&samples));
    }
}

async fn key_heard(peer: &mut AudioSocket) -> char {
    let mut detector = KeyDetector::new();
    let listening = async {
        loop {
            let Got::Audio(8000, bytes) = peer.next().await else {
                continue;
            };
            let (pairs, _) = bytes.as_chunks::<2>();
            let samples: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
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

/// What µ-law has for nothing.
const SILENCE: u8 = 0xff;
