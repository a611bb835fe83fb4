//! Many channels at once.

use std::time::{Duration, Instant};

use moqswitch_asterisk::audiosocket::Message;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::host::{Host, LIMIT};
use crate::peers::{AudioSocket, Got, calling, level, level_of, ticks};
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
    for (levels, (one, other)) in pairs().zip(by_audiosocket) {
        talking.push(tokio::spawn(talk(one, other, levels)));
    }
    for (levels, (one, other)) in pairs().zip(by_websocket) {
        talking.push(tokio::spawn(listen(one, other, levels)));
    }
    for talking in talking {
        for heard in talking.await.unwrap() {
            // What is made up for a lost frame may look like another's; most of it is what was said here.
            assert!(heard.right >= FRAMES && heard.wrong < heard.right, "{heard:?}");
        }
    }
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
}

/// Frames that one end has heard, by who said them.
#[derive(Debug, Default)]
struct Heard {
    /// The other end.
    right: usize,
    /// Somebody else.
    wrong: usize,
}

impl Heard {
    fn take(&mut self, heard: impl IntoIterator<Item = u8>, right: u8) {
        for level in heard {
            match level == right {
                true => self.right += 1,
                false => self.wrong += usize::from(LEVELS.contains(&level)),
            }
        }
    }
}

/// What the ends of each call say: no two that are neighbours say the same.
fn pairs() -> impl Iterator<Item = (u8, u8)> {
    let levels = LEVELS.step_by(2).map(|level| (level, level + 1));
    levels.cycle()
}

/// Both ends of a call talk until both have heard enough of each other.
async fn talk(mut one: AudioSocket, mut other: AudioSocket, (said, answered): (u8, u8)) -> [Heard; 2] {
    let mut heard = [Heard::default(), Heard::default()];
    let talking = async {
        let mut ticks = ticks();
        while heard.iter().any(|heard| heard.right < FRAMES) {
            ticks.tick().await;
            one.say(8000, &level(said)).await;
            other.say(8000, &level(answered)).await;
            heard[0].take(levels(&one.drain()), answered);
            heard[1].take(levels(&other.drain()), said);
        }
    };
    timeout(20 * LIMIT, talking).await.expect("they do not hear each other");
    one.write(&Message::Hangup).await;
    other.until_over().await;
    heard
}

async fn listen(mut one: Asterisk, mut other: AudioSocket, (said, answered): (u8, u8)) -> [Heard; 2] {
    let mut heard = [Heard::default(), Heard::default()];
    let talking = async {
        let mut ticks = ticks();
        while heard.iter().any(|heard| heard.right < FRAMES) {
            ticks.tick().await;
            one.say(&[said; 160]).await;
            other.say(8000, &level(answered)).await;
            let whole = one
                .drain()
                .into_iter()
                .filter(|frame| frame.iter().all(|byte| *byte == frame[0]));
            heard[0].take(whole.map(|frame| frame[0]), answered);
            heard[1].take(levels(&other.drain()), said);
        }
    };
    timeout(20 * LIMIT, talking).await.expect("they do not hear each other");
    other.write(&Message::Hangup).await;
    one.until_closed().await;
    heard
}

fn levels(heard: &[Got]) -> Vec<u8> {
    let level = |got: &Got| match got {
        Got::Audio(8000, samples) => level_of(samples),
        _ => None,
    };
    heard.iter().filter_map(level).collect()
}

/// Levels that are said.
const LEVELS: std::ops::Range<u8> = 1..121;

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
