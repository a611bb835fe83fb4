//! Many channels at once.

use std::time::{Duration, Instant};

use moqswitch_asterisk::audiosocket::Message;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::host::{Host, LIMIT};
use crate::peers::{AudioSocket, Got, calling, level, level_of};
use crate::websocket::Asterisk;

/// Of each kind: every call has two channels.
const CALLS: usize = 125;

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_channels_talk_at_once() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("crowd", "", &ways);
    let (mut by_audiosocket, mut by_websocket) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let asterisk = AudioSocket::connect(&host, calling("700", None)).await;
        by_audiosocket.push((asterisk, AudioSocket::accept(&program).await));
        let mut asterisk = Asterisk::connect(host.websocket, "/700").await.unwrap();
        asterisk.start(true, "ulaw").await;
        by_websocket.push((asterisk, AudioSocket::accept(&program).await));
    }
    host.until("moqswitch_asterisk_channels", |channels| channels == 4 * CALLS as u64)
        .await;
    let mut talking = Vec::new();
    for (one, other) in by_audiosocket {
        talking.push(tokio::spawn(talk(one, other)));
    }
    for (one, other) in by_websocket {
        talking.push(tokio::spawn(listen(one, other)));
    }
    let mut heard = 0;
    for talking in talking {
        heard += talking.await.unwrap();
    }
    // Each of them has heard frames that nobody else has said.
    assert_eq!(heard, 4 * CALLS * FRAMES);
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
}

/// Both ends of a call talk until both have heard enough of each other.
async fn talk(mut one: AudioSocket, mut other: AudioSocket) -> usize {
    let talking = async {
        let mut heard = [0; 2];
        let mut ticks = ticks();
        while heard.iter().any(|heard| *heard < FRAMES) {
            ticks.tick().await;
            one.say(8000, &level(10)).await;
            other.say(8000, &level(20)).await;
            heard[0] += count(&one.drain(), 20);
            heard[1] += count(&other.drain(), 10);
        }
    };
    timeout(20 * LIMIT, talking).await.expect("they do not hear each other");
    one.write(&Message::Hangup).await;
    other.until_over().await;
    2 * FRAMES
}

async fn listen(mut one: Asterisk, mut other: AudioSocket) -> usize {
    let talking = async {
        let mut heard = [0; 2];
        let mut ticks = ticks();
        while heard.iter().any(|heard| *heard < FRAMES) {
            ticks.tick().await;
            one.say(&[30; 160]).await;
            other.say(8000, &level(40)).await;
            heard[0] += one.drain().iter().filter(|frame| **frame == [40; 160]).count();
            heard[1] += count(&other.drain(), 30);
        }
    };
    timeout(20 * LIMIT, talking).await.expect("they do not hear each other");
    other.write(&Message::Hangup).await;
    one.until_closed().await;
    2 * FRAMES
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn count(heard: &[Got], wanted: u8) -> usize {
    let is_it = |got: &&Got| matches!(got, Got::Audio(8000, samples) if level_of(samples) == Some(wanted));
    heard.iter().filter(is_it).count()
}

/// A tenth of a second of speech. A busy machine leaves out much of what is said, and these come nevertheless.
const FRAMES: usize = 5;

/// For those who measure: what 500 channels cost the thread that has them. Run alone, with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn cost_of_five_hundred_channels() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ways = format!("[ways.700]\naudiosocket = '{}'\n", program.local_addr().unwrap());
    let host = Host::start("cost", "", &ways);
    let mut calls = Vec::new();
    for _ in 0..2 * CALLS {
        let asterisk = AudioSocket::connect(&host, calling("700", None)).await;
        calls.push((asterisk, AudioSocket::accept(&program).await));
    }
    let (frames_out, dropped) = (
        "moqswitch_asterisk_frames_total{way=\"out\"}",
        "moqswitch_asterisk_frames_total{way=\"dropped\"}",
    );
    let talking: Vec<_> = calls
        .into_iter()
        .map(|(mut one, mut other)| {
            tokio::spawn(async move {
                let mut ticks = ticks();
                loop {
                    ticks.tick().await;
                    one.say(8000, &level(10)).await;
                    other.say(8000, &level(20)).await;
                    one.drain();
                    other.drain();
                }
            })
        })
        .collect();
    host.until(frames_out, |count| count > 20_000).await;
    let (began, before, lost) = (Instant::now(), host.metric(frames_out), host.metric(dropped));
    let cpu = thread_time("asterisk");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let seconds = began.elapsed().as_secs_f64();
    let frames = (host.metric(frames_out) - before) as f64;
    let cpu = thread_time("asterisk") - cpu;
    println!(
        "{:.0} frames/s out, {} lost, {:.0} % of a core on the thread of channels",
        frames / seconds,
        host.metric(dropped) - lost,
        cpu / seconds * 100.0
    );
    talking.into_iter().for_each(|talking| talking.abort());
}

/// Seconds that a thread of this process has run.
fn thread_time(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let is_it = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = tasks.into_iter().find(is_it).expect("no such thread");
    let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
    let fields: Vec<u64> = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    (fields[11] + fields[12]) as f64 / 100.0
}
