//! Music and prompts: files of a directory as broadcasts of a shard, for telephones and for everybody else.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use moqswitch_audio::{Codec, Decoder, Encoder, Rate, level};
use moqswitch_containers::{Encoding, OpusWriter, WavWriter};
use moqswitch_legs::{LegCodec, LegHears, LegSettings};
use moqswitch_player::{CODECS, Outcome, Played, Player, Shelves};
use moqswitch_proto::wire::{BroadcastPath, ErrorCode, SubscribeId, stream_error};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::ShardPort;
use moqswitch_relay::shard::local::{Delivery, LocalEvent, LocalSubscription};
use tokio::time::{sleep, timeout};

use super::local::{HEARD, LIMIT, Remote, WATCHED, start, stop, subscription};
use super::rtp::{self, Telephone};

#[tokio::test(flavor = "multi_thread")]
async fn music_goes_round_while_it_is_heard_and_keeps_its_place() -> Result<()> {
    // Heard on the player's shard, and on another one.
    for shards in [1, 2] {
        let folder = folder("round")?;
        fs::write(folder.join("jazz.wav"), wav(8000, 20))?;
        let relay = start(shards)?;
        let player = Player::start(&relay.ports()[0])?;
        let outcome = load(&player, &music(&folder)).await?;
        ensure!(
            (outcome.music, outcome.prompts, outcome.faults.len()) == (1, 0, 0),
            "{outcome:?}"
        );
        let mut hearer = Hearer::new(&relay.ports()[shards - 1]).await?;
        hearer.remote.until_announced("moh/jazz").await?;
        ensure!(player.statistics().playing == 0 && player.statistics().frames == 0);
        let (begun, id) = (Instant::now(), hearer.subscribe("moh/jazz", "audio.pcmu").await?);
        let heard = hearer.frames(50).await?;
        // In real time: the first comes at once, each next one 20 ms later. A shard that is late may leave some out.
        let (first, last) = (heard[0].number, heard[49].number);
        let least = Duration::from_millis(20 * (last - first)).saturating_sub(Duration::from_millis(120));
        ensure!(begun.elapsed() >= least, "{:?}, at least {least:?}", begun.elapsed());
        for (n, frame) in heard.iter().enumerate() {
            let later = frame.number - first;
            ensure!(frame.timestamp == heard[0].timestamp + 160 * later, "{frame:?}");
            let same = heard[..n].iter().find(|other| (frame.number - other.number) % 20 == 0);
            ensure!(
                same.is_none_or(|other| other.payload == frame.payload),
                "it does not go round"
            );
            let is_another = n == 0 || frame.number != heard[n - 1].number + 1 || frame.payload != heard[n - 1].payload;
            ensure!(is_another, "it stands still");
        }
        ensure!((8..16).contains(&loudness(Codec::Pcmu, &heard)?), "it is another sound");
        ensure!(player.statistics().playing == 1);
        hearer.unsubscribe(id).await?;
        until(|| player.statistics().playing == 0).await?;
        let statistics = player.statistics();
        let played = statistics.frames + statistics.left_out;
        hearer.clear();
        hearer.subscribe("moh/jazz", "audio.pcmu").await?;
        // It goes on where it was, with numbers above those before. What came when nobody heard it any more is told at first.
        let before = heard[0].number + played;
        let mut old = 0;
        let next = loop {
            let frame = hearer.frames(1).await?.remove(0);
            if frame.number >= before {
                break frame;
            }
            old += 1;
        };
        ensure!(old <= 40, "{old} frames of before");
        let place = heard.iter().position(|frame| frame.payload == next.payload);
        ensure!(
            place == Some(usize::try_from(played % 20)?),
            "{place:?} after {played} frames"
        );
        stop(relay).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_ends_and_begins_anew_for_who_comes_then() -> Result<()> {
    let folder = folder("prompt")?;
    let packets = opus(15);
    fs::write(folder.join("hello.ogg"), ogg(&packets)?)?;
    let relay = start(1)?;
    let player = Player::start(&relay.ports()[0])?;
    let shelves = Shelves {
        prompts: Some(folder),
        ..Shelves::default()
    };
    ensure!(load(&player, &shelves).await?.prompts == 1);
    let mut hearer = Hearer::new(&relay.ports()[0]).await?;
    hearer.remote.until_announced("prompt/hello").await?;
    for _ in 0..3 {
        hearer.subscribe("prompt/hello", "audio").await?;
        let (frames, code) = hearer.until_its_end().await?;
        ensure!(code == Some(stream_error::CANCEL), "it ended with {code:?}");
        // Opus is as it was in the file, from the first packet on. Before it may be some of the time before.
        let begin = frames.iter().rposition(|frame| frame.payload == packets[0]);
        let heard = &frames[begin.context("it does not begin at its beginning")?..];
        let mut of_file = packets.iter();
        let is_file = |frame: &&Heard| of_file.any(|packet| frame.payload == packet[..]);
        let same = heard.iter().take_while(is_file).count();
        let left_out = usize::try_from(player.statistics().left_out)?;
        ensure!(
            same + left_out >= 15 && heard.len() <= same + 1,
            "{same} of {}",
            heard.len()
        );
        until(|| player.statistics().playing == 0).await?;
    }
    // Each time, with the packet of silence that ends the file.
    let statistics = player.statistics();
    ensure!(
        statistics.frames + statistics.left_out >= 48 && statistics.frames <= 48,
        "{statistics:?}"
    );
    stop(relay).await
}

/// Each has it to itself, from the beginning, also while others hear it; and whoever asked is told of its end.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_played_once_is_whole_for_each_and_its_end_is_told() -> Result<()> {
    let folder = folder("once")?;
    let packets = opus(15);
    fs::write(folder.join("hello.ogg"), ogg(&packets)?)?;
    let relay = start(1)?;
    let player = Player::start(&relay.ports()[0])?;
    let shelves = Shelves {
        prompts: Some(folder),
        ..Shelves::default()
    };
    ensure!(load(&player, &shelves).await?.prompts == 1);
    let announcer = player.announcer();
    let ended = async || -> Result<Played> {
        loop {
            if let Some(played) = announcer.poll() {
                return Ok(played);
            }
            timeout(LIMIT, announcer.news()).await.context("no end is told")?;
        }
    };
    for (id, path) in [(1, "prompt/hello/1"), (2, "prompt/hello/2"), (3, "prompt/hello/3")] {
        let mut hearer = Hearer::new(&relay.ports()[0]).await?;
        announcer.play(id, "hello", &BroadcastPath::new(path));
        hearer.remote.until_announced(path).await?;
        hearer.subscribe(path, "audio").await?;
        let (frames, _) = hearer.until_its_end().await?;
        let begin = frames.iter().position(|frame| frame.payload == packets[0]);
        // A shard that is late leaves some out, and says so.
        let left_out = usize::try_from(player.statistics().left_out)?;
        ensure!(begin == Some(0) || left_out > 0, "it does not begin at its beginning");
        let heard = frames
            .iter()
            .filter(|frame| packets.iter().any(|packet| frame.payload == packet[..]));
        ensure!(heard.count() + left_out >= 15, "{} of 15 and {left_out}", frames.len());
        ensure!(ended().await? == Played { id, whole: true });
        hearer.until_gone(path).await?;
    }
    // Without anybody who hears it it ends as well; of what there is not it is told at once; and what is stopped tells nothing.
    announcer.play(5, "hello", &BroadcastPath::new("prompt/hello/5"));
    announcer.stop(&BroadcastPath::new("prompt/hello/5"));
    announcer.play(6, "nothing", &BroadcastPath::new("prompt/nothing/6"));
    ensure!(ended().await? == Played { id: 6, whole: false });
    announcer.play(7, "hello", &BroadcastPath::new("prompt/hello/7"));
    ensure!(ended().await? == Played { id: 7, whole: true });
    until(|| player.statistics().broadcasts == 1 && player.statistics().playing == 0).await?;
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_come_change_and_go_are_told_and_what_is_none_is_left_out() -> Result<()> {
    let folder = folder("change")?;
    fs::write(folder.join("a.wav"), wav(8000, 10))?;
    fs::write(folder.join("b.wav"), wav(44_100, 10))?;
    fs::write(folder.join("broken.ogg"), b"OggS and nothing else")?;
    fs::write(folder.join("notes.txt"), b"not music")?;
    fs::write(folder.join("a.ogg"), ogg(&opus(5))?)?;
    fs::write(folder.join(".hidden"), b"")?;
    let relay = start(1)?;
    let player = Player::start(&relay.ports()[0])?;
    let shelves = Shelves {
        has_tones: true,
        ..music(&folder)
    };
    ensure!(shelves.inspect().music == 2 && shelves.inspect().faults.len() == 3);
    let outcome = load(&player, &shelves).await?;
    let faults = |outcome: &Outcome| -> Vec<String> { outcome.faults.iter().map(ToString::to_string).collect() };
    ensure!(outcome.music == 2 && outcome.faults.len() == 3, "{outcome:?}");
    for words in ["a.wav: ", "broken.ogg: it is no Ogg file", "notes.txt: only .wav"] {
        ensure!(
            faults(&outcome).iter().any(|fault| fault.contains(words)),
            "no {words}: {outcome:?}"
        );
    }
    let mut hearer = Hearer::new(&relay.ports()[0]).await?;
    for name in ["moh/a", "moh/b", "moh/default"] {
        hearer.remote.until_announced(name).await?;
    }
    until(|| player.statistics().broadcasts == 3).await?;
    let bytes = player.statistics().bytes;
    ensure!(bytes > 3 * 15 * 160 && player.statistics().faults == 3);

    // One goes, one becomes nonsense, one comes in place of the tones, and one stays and is heard all the time.
    hearer.subscribe("moh/b", "audio.g722").await?;
    hearer.frames(3).await?;
    fs::remove_file(folder.join("a.ogg"))?;
    fs::write(folder.join("a.wav"), b"RIFF")?;
    fs::remove_file(folder.join("broken.ogg"))?;
    fs::write(folder.join("default.wav"), wav(16_000, 10))?;
    let outcome = load(&player, &shelves).await?;
    ensure!(outcome.music == 2 && outcome.faults.len() == 2, "{outcome:?}");
    hearer.until_gone("moh/a").await?;
    hearer.frames(5).await?;
    // The file is heard where the tones were.
    let mut other = Hearer::new(&relay.ports()[0]).await?;
    other.subscribe("moh/default", "audio.pcmu").await?;
    let loud = loudness(Codec::Pcmu, &other.frames(20).await?)?;
    ensure!(loud < 18, "{loud} dB below the loudest");
    // A directory that cannot be read takes nothing away.
    let nowhere = Shelves {
        music: Some(folder.join("nowhere")),
        ..Shelves::default()
    };
    let outcome = load(&player, &nowhere).await?;
    ensure!(
        outcome.music == 2 && faults(&outcome)[0].contains("nowhere: cannot be read"),
        "{outcome:?}"
    );
    hearer.frames(5).await?;
    let outcome = load(&player, &Shelves::default()).await?;
    ensure!(outcome == Outcome::default(), "{outcome:?}");
    hearer.until_gone("moh/b").await?;
    until(|| player.statistics().broadcasts == 0 && player.statistics().bytes == 0).await?;
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tones_are_there_while_they_are_wanted_and_no_file_plays_in_their_place() -> Result<()> {
    let folder = folder("tones")?;
    let relay = start(1)?;
    let player = Player::start(&relay.ports()[0])?;
    let (wanted, unwanted) = (
        Shelves {
            has_tones: true,
            ..music(&folder)
        },
        music(&folder),
    );
    let loud = async |name: &'static str| -> Result<u8> {
        let mut hearer = Hearer::new(&relay.ports()[0]).await?;
        hearer.subscribe(name, "audio.pcmu").await?;
        loudness(Codec::Pcmu, &hearer.frames(20).await?)
    };
    load(&player, &wanted).await?;
    ensure!(loud("moh/default").await? >= 18, "the tones are soft");
    fs::write(folder.join("default.wav"), wav(8000, 10))?;
    load(&player, &wanted).await?;
    ensure!(loud("moh/default").await? < 18, "the file is not");
    // One that cannot be played is none.
    fs::write(folder.join("default.wav"), b"RIFF")?;
    load(&player, &wanted).await?;
    ensure!(loud("moh/default").await? >= 18, "the tones are back");
    let mut hearer = Hearer::new(&relay.ports()[0]).await?;
    hearer.remote.until_announced("moh/default").await?;
    load(&player, &unwanted).await?;
    hearer.until_gone("moh/default").await?;
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn telephones_hear_music_in_their_own_codec() -> Result<()> {
    let relay = rtp::start()?;
    let player = Player::start(&relay.ports()[0])?;
    let tones = Shelves {
        has_tones: true,
        ..Shelves::default()
    };
    load(&player, &tones).await?;
    for (name, codec, payload_type, shard) in [
        ("pcmu", LegCodec::Pcmu, 0, 0),
        ("pcma", LegCodec::Pcma, 8, 1),
        ("g722", LegCodec::G722, 9, 0),
        ("opus", LegCodec::Opus, 111, 1),
    ] {
        let telephone = Telephone::new(&relay, shard, &format!("call/7/{name}"), Delivery::Datagram, 1).await?;
        let music = LegHears {
            broadcast: BroadcastPath::new("moh/default"),
            transcoded: Some(codec),
        };
        telephone.port.hear(telephone.leg, Some(music))?;
        let settings = LegSettings {
            codec,
            payload_type,
            ..telephone.settings.clone()
        };
        let listening = telephone.packets();
        telephone.port.change(telephone.leg, settings, None)?;
        telephone.until(|counted| counted.sent.packets >= 60).await?;
        telephone.port.hear(telephone.leg, None)?;
        let heard = listening.await??;
        let payloads: Vec<Bytes> = heard
            .iter()
            .filter(|packet| packet.payload_type == payload_type)
            .map(|packet| packet.payload.clone().into())
            .collect();
        ensure!(payloads.len() >= 50, "{name}: {} of {}", payloads.len(), heard.len());
        let codec = CODECS.iter().find(|(_, other)| *other == name).context("a codec")?.0;
        let loud = level(&decoded(codec, &payloads)?);
        ensure!((18..40).contains(&loud), "{name}: {loud} dB below the loudest");
        telephone.close().await?;
    }
    until(|| player.statistics().playing == 0).await?;
    rtp::stop(relay).await
}

/// Somebody who hears.
struct Hearer {
    remote: Remote,
    peer: PeerKey,
}

#[derive(Clone, Debug)]
struct Heard {
    number: u64,
    timestamp: u64,
    payload: Bytes,
}

impl Hearer {
    async fn new(port: &ShardPort) -> Result<Self> {
        let remote = Remote::install(port).await?;
        let peer = remote
            .run(|host| {
                let peer = host.open_peer().unwrap();
                host.watch(peer, &BroadcastPath::root(), WATCHED).unwrap();
                peer
            })
            .await?;
        Ok(Self { remote, peer })
    }

    async fn subscribe(&self, path: &'static str, track: &'static str) -> Result<SubscribeId> {
        let peer = self.peer;
        let wanted = LocalSubscription {
            ordered: true,
            ..subscription(path, track)
        };
        self.remote
            .run(move |host| host.subscribe(peer, &wanted).unwrap())
            .await
    }

    async fn unsubscribe(&self, id: SubscribeId) -> Result<()> {
        let peer = self.peer;
        self.remote.run(move |host| host.unsubscribe(peer, id)).await
    }

    /// Forgets what came.
    fn clear(&mut self) {
        self.remote.forget();
    }

    async fn frames(&mut self, count: usize) -> Result<Vec<Heard>> {
        let mut heard = Vec::new();
        while heard.len() < count {
            let next = self.next().await?;
            heard.push(next.ok().context("the track ended")?);
        }
        Ok(heard)
    }

    async fn until_its_end(&mut self) -> Result<(Vec<Heard>, Option<ErrorCode>)> {
        let mut heard = Vec::new();
        loop {
            match self.next().await? {
                Ok(frame) => heard.push(frame),
                Err(code) => return Ok((heard, code)),
            }
        }
    }

    async fn next(&mut self) -> Result<Result<Heard, Option<ErrorCode>>> {
        let event = self
            .remote
            .until(|event| {
                matches!(
                    event,
                    LocalEvent::Frame { tag: HEARD, .. } | LocalEvent::Closed { tag: HEARD, .. }
                )
            })
            .await?;
        Ok(match event {
            LocalEvent::Frame {
                group,
                timestamp,
                payload,
                ..
            } => Ok(Heard {
                number: group.0,
                timestamp,
                payload,
            }),
            LocalEvent::Closed { code, .. } => Err(code),
            other => anyhow::bail!("{other:?}"),
        })
    }

    async fn until_gone(&mut self, wanted: &str) -> Result<()> {
        let is_it =
            |event: &LocalEvent| matches!(event, LocalEvent::Unannounced { path, .. } if path.as_str() == wanted);
        self.remote.until(is_it).await.map(drop)
    }
}

async fn load(player: &Player, shelves: &Shelves) -> Result<Outcome> {
    Ok(timeout(LIMIT, player.load(shelves.clone())).await??)
}

async fn until(is_so: impl Fn() -> bool) -> Result<()> {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    Ok(timeout(LIMIT, waiting).await?)
}

fn music(folder: &Path) -> Shelves {
    Shelves {
        music: Some(folder.to_owned()),
        ..Shelves::default()
    }
}

fn loudness(codec: Codec, heard: &[Heard]) -> Result<u8> {
    let payloads: Vec<Bytes> = heard.iter().map(|frame| frame.payload.clone()).collect();
    Ok(level(&decoded(codec, &payloads)?))
}

fn decoded(codec: Codec, payloads: &[Bytes]) -> Result<Vec<i16>> {
    let mut decoder = Decoder::new(codec, codec.rate(Rate::Hz48000))?;
    let mut samples = Vec::new();
    for payload in payloads {
        decoder.decode(payload, &mut samples)?;
    }
    Ok(samples)
}

/// An empty one.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("music-{name}"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// So many frames, each louder than the one before.
fn samples(rate: u32, frames: u32) -> Vec<i16> {
    let frame = rate / 50;
    let sample = |n: u32| {
        let loud = 2000 + 700 * i16::try_from(n / frame).unwrap();
        if n % (rate / 200) < rate / 400 { loud } else { -loud }
    };
    (0..frame * frames).map(sample).collect()
}

fn wav(rate: u32, frames: u32) -> Vec<u8> {
    let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Pcm16, 1, rate).unwrap();
    for sample in samples(rate, frames) {
        writer.write(&sample.to_le_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn opus(frames: u32) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Codec::Opus, Rate::Hz48000).unwrap();
    let encode = |frame: &[i16]| {
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet).unwrap();
        packet
    };
    samples(48_000, frames).chunks(960).map(encode).collect()
}

fn ogg(packets: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut writer = OpusWriter::mono(Vec::new(), 7, &[])?;
    for packet in packets {
        writer.write(packet)?;
    }
    Ok(writer.finish()?)
}
