//! Calls that are recorded: what is in the files of it, however the relay ends.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use moqswitch_containers::{OpusFile, opus};
use moqswitch_interop::metrics::{http_get, http_status};
use moqswitch_interop::peer::{PublishedTrack, track_info, write_group};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{PlannedGroup, Publisher, Relay};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::phone::{Phone, text};

#[tokio::test(flavor = "multi_thread")]
async fn both_channels_of_a_recorded_call_hold_what_each_said() -> Result<()> {
    for shards in [1, 2] {
        let directory = Directory::new(&format!("both-{shards}"))?;
        let relay = directory.start(shards).await?;
        if relay.kind() != RelayKind::Moqswitch {
            return Ok(());
        }
        let mut talk = Talk::begin(&relay).await?;
        talk.alice.send("record", json!({"callId": "c1"})).await?;
        let told = talk.bob.expect("recording").await?;
        ensure!(told["on"] == true, "{told}");
        let said = talk.speak(0..150).await?;
        talk.alice.send("hangup", json!({"callId": "c1"})).await?;
        talk.bob.expect("callEnded").await?;
        let sidecar = directory.until(|sidecar| sidecar["state"] == "complete").await?;
        ensure!(sidecar["callId"] == talk.call, "{sidecar}");
        ensure!(sidecar["from"]["dn"] == "5001" && sidecar["to"] == "5002", "{sidecar}");
        for leg in sidecar["legs"].as_array().context("no legs")? {
            ensure!(leg["lost"] == 0 && leg["codec"] == "opus", "{sidecar}");
        }
        let heard = directory.channels()?;
        for (channel, heard) in heard.iter().enumerate() {
            // The first words are those after it was subscribed to, and the last ones may be on their way at the end.
            ensure!(heard.last() > Some(&(said - 10)), "{channel}: {heard:?}");
            ensure!(is_speech(heard, said), "{channel}: {heard:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_leaves_whole_recordings() -> Result<()> {
    let directory = Directory::new("stopped")?;
    let relay = directory.start(1).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut talk = Talk::begin(&relay).await?;
    talk.alice.send("record", json!({"callId": "c1"})).await?;
    talk.bob.expect("recording").await?;
    talk.speak(0..50).await?;
    let metrics = relay.ask("/metrics").await?;
    ensure!(
        metrics.lines().any(|line| line == "moqswitch_recordings 1"),
        "{metrics}"
    );
    relay.signal("-TERM").await?;
    drop(talk);
    let sidecar = directory.until(|sidecar| sidecar["state"] != "recording").await?;
    ensure!(
        sidecar["state"] == "complete" && sidecar["files"][0]["bytes"].as_u64() > Some(0),
        "{sidecar}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_silent_and_what_was_recorded_is_had_by_http() -> Result<()> {
    let directory = Directory::new("paused")?;
    let relay = directory.start(1).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut talk = Talk::begin(&relay).await?;
    talk.alice.send("record", json!({"callId": "c1"})).await?;
    talk.bob.expect("recording").await?;
    talk.speak(0..60).await?;
    talk.alice
        .send("record", json!({"callId": "c1", "paused": true}))
        .await?;
    let told = talk.bob.expect("recording").await?;
    ensure!(told["paused"] == true, "{told}");
    talk.speak(60..120).await?;
    talk.alice
        .send("record", json!({"callId": "c1", "paused": false}))
        .await?;
    talk.bob.expect("recording").await?;
    talk.speak(120..180).await?;
    talk.alice.send("hangup", json!({"callId": "c1"})).await?;
    talk.bob.expect("callEnded").await?;
    let sidecar = directory.until(|sidecar| sidecar["state"] == "complete").await?;
    for heard in directory.channels()? {
        // Whatever was on its way when the pause began or ended is on either side of it.
        ensure!(!heard.iter().any(|number| (70..115).contains(number)), "{heard:?}");
        ensure!(heard.contains(&40) && heard.contains(&150), "{heard:?}");
    }
    ensure!(sidecar["pauses"][0]["toMs"].is_u64(), "{sidecar}");
    let listed: Value = serde_json::from_str(&http_get(relay.http(), "/api/recordings?dn=5002").await?)?;
    ensure!(listed["recordings"] == json!([sidecar]), "{listed}");
    let path = format!("/api/recordings/{}", talk.call);
    let described: Value = serde_json::from_str(&http_get(relay.http(), &path).await?)?;
    ensure!(described == sidecar, "{described}");
    ensure!(
        http_get(relay.http(), &format!("{path}/audio"))
            .await?
            .starts_with("OggS")
    );
    ensure!(http_status(relay.http(), "/api/recordings/..%2f..%2fetc%2fpasswd").await? == 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_leaves_files_that_lack_less_than_a_second() -> Result<()> {
    let directory = Directory::new("killed")?;
    let mut relay = directory.start(1).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut talk = Talk::begin(&relay).await?;
    talk.alice.send("record", json!({"callId": "c1"})).await?;
    talk.bob.expect("recording").await?;
    let said = talk.speak(0..150).await?;
    relay.signal("-KILL").await?;
    while relay.check_alive().is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sidecar = directory.until(|sidecar| sidecar["id"] == talk.call).await?;
    ensure!(sidecar["state"] == "recording", "{sidecar}");
    for heard in directory.channels()? {
        let last = heard.last().context("nothing is heard")?;
        ensure!(said - 1 - last < 50, "{last} of {said}");
        ensure!(is_speech(&heard, said), "{heard:?}");
    }
    let _next = directory.start(1).await?;
    let sidecar = directory.until(|sidecar| sidecar["state"] == "interrupted").await?;
    ensure!(sidecar["endMs"].as_u64() > sidecar["startMs"].as_u64(), "{sidecar}");
    Ok(())
}

/// In order and without gaps; but on a busy machine a burst of packets may come too late for its place.
fn is_speech(heard: &[u64], said: u64) -> bool {
    heard.is_sorted() && heard.len() as u64 > said * 2 / 3
}

/// Two phones in a call, whose voices are published.
struct Talk {
    alice: Phone,
    bob: Phone,
    call: String,
    voices: Vec<Voice>,
}

struct Voice {
    _session: Publisher,
    _catalog: moq_net::track::Producer,
    published: PublishedTrack,
    by: u8,
}

impl Talk {
    async fn begin(relay: &Relay) -> Result<Self> {
        let mut alice = Phone::register(relay, "5001").await?;
        let mut bob = Phone::register(relay, "5002").await?;
        alice.send("call", json!({"to": "5002", "callId": "c1"})).await?;
        let call = text(&bob.expect("incomingCall").await?["callId"])?;
        bob.send("answer", json!({"callId": call})).await?;
        let mut voices = Vec::new();
        for (phone, by) in [(&mut alice, 1), (&mut bob, 2)] {
            let path = text(&phone.expect("callAccepted").await?["media"]["publish"])?;
            let (session, _) = phone.connect("https").await?;
            let published = session.publish(&path, "audio", &packet(by, 0))?;
            let catalog = published.broadcast.create_track("catalog.json", track_info())?;
            let said = json!({"audio": {"renditions": {"audio": {"codec": "opus"}}}});
            let said = PlannedGroup {
                sequence: 0,
                frames: vec![said.to_string().into()],
            };
            write_group(&catalog, &said)?;
            voices.push(Voice {
                _session: session,
                _catalog: catalog,
                published,
                by,
            });
        }
        Ok(Self {
            alice,
            bob,
            call,
            voices,
        })
    }

    /// Packets of each, as fast as people speak; the first was said. The number of the next.
    async fn speak(&mut self, numbers: Range<u64>) -> Result<u64> {
        let mut clock = interval(Duration::from_millis(20));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let next = numbers.end;
        for number in numbers.filter(|number| *number > 0) {
            clock.tick().await;
            for voice in &self.voices {
                write_group(&voice.published.track, &packet(voice.by, number))?;
            }
        }
        Ok(next)
    }
}

/// 20 ms of Opus, which say who said them, and which they are.
fn packet(by: u8, number: u64) -> PlannedGroup {
    let number = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    PlannedGroup {
        sequence: u64::from(u16::from_be_bytes(number)),
        frames: vec![Bytes::from(vec![0xf8, by, number[0], number[1], 7, 7])],
    }
}

/// Where a relay records.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("moqswitch-recordings-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    async fn start(&self, shards: usize) -> Result<Relay> {
        let path = self.0.display().to_string();
        let settings = [
            ("MOQSWITCH_RECORDING_DIRECTORY", path.as_str()),
            ("MOQSWITCH_RECORDING_FREE", "0"),
        ];
        Relay::start_with(shards, &settings).await
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let below = |path: &Path| {
            std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
        };
        let days: Vec<PathBuf> = below(&self.0).filter(|path| path.is_dir()).collect();
        let files = days.iter().flat_map(|day| below(day));
        files
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect()
    }

    /// The one description, as soon as it is so.
    async fn until(&self, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let waiting = async {
            loop {
                if let [path] = &self.files("json")[..]
                    && let Ok(sidecar) = serde_json::from_slice::<Value>(&std::fs::read(path)?)
                    && is_so(&sidecar)
                {
                    return Ok(sidecar);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(LIMIT, waiting).await;
        waited.with_context(|| format!("not so: {:?}", self.files("json")))?
    }

    /// The numbers of the packets on each channel of the one file.
    fn channels(&self) -> Result<[Vec<u64>; 2]> {
        let files = self.files("opus");
        let [path] = &files[..] else { anyhow::bail!("{files:?}") };
        let file = OpusFile::read(&std::fs::read(path)?)?;
        ensure!((file.channels, file.streams) == (2, 2));
        let mut heard = [Vec::new(), Vec::new()];
        for packet in &file.packets {
            let (left, right) = opus::split(packet).context("no two packets")?;
            for (channel, packet) in [&left[..], right].into_iter().enumerate() {
                if let [0xf8, by, high, low, 7, 7] = packet {
                    ensure!(usize::from(*by) == channel + 1, "{by} on {channel}");
                    heard[channel].push(u64::from(u16::from_be_bytes([*high, *low])));
                }
            }
        }
        Ok(heard)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LIMIT: Duration = Duration::from_secs(20);
