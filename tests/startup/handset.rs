//! `moqswitch say` and `moqswitch listen`, as an operator types them, through a relay.

use std::f64::consts::TAU;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use moqswitch_audio::level;
use moqswitch_containers::{Encoding, WavWriter};
use moqswitch_player::Sound;
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};

#[test]
fn a_tone_that_is_said_is_heard_in_each_codec() {
    let relay = relay();
    let folder = folder("codecs");
    // Files of other rates than the codecs have, and of two channels.
    for (codec, rate, channels, ending) in [
        ("opus", 48_000, 1, "ogg"),
        ("opus", 44_100, 2, "wav"),
        ("pcmu", 22_050, 1, "wav"),
        ("pcma", 8000, 1, "ogg"),
        ("g722", 16_000, 2, "wav"),
    ] {
        let source = folder.join("tone.wav");
        fs::write(&source, tone(rate, channels, 1.5)).unwrap();
        let heard = folder.join(format!("{codec}-{rate}.{ending}"));
        let mut ears = listen(&relay, "moql");
        ears.args(["test/tone", "--wait", "60s", "--output"]).arg(&heard);
        let ears = ears.spawn().unwrap();
        let mut mouth = say(&relay, "moql");
        mouth
            .arg(&source)
            .args(["--to", "test/tone", "--wait", "--codec", codec]);
        let said = mouth.output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{}", text(&said));
        let output = ears.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{codec}: {}", text(&output));
        let summary = last_line(&output);
        assert!(summary.contains("  lost 0 (0.0 %)  late 0  "), "{codec}: {summary}");
        // The tone is one of 12 dB below the loudest, and so is what is heard of it.
        let level: f64 = number_behind(&summary, "level ");
        assert!((-13.5..-10.5).contains(&level), "{codec}: {summary}");
        let sound = Sound::read(&fs::read(&heard).unwrap()).unwrap();
        assert!(
            (74..=77).contains(&sound.frames()),
            "{codec}: {} frames",
            sound.frames()
        );
        assert!(is_tone(&sound), "{codec}: it is another sound");
    }
    stop(relay);
}

#[test]
fn opus_of_a_file_passes_as_it_is_and_other_codecs_are_there_on_demand() {
    let relay = relay();
    let folder = folder("passes");
    let source = folder.join("source.wav");
    fs::write(&source, tone(48_000, 1, 1.0)).unwrap();
    let (first, second, third) = (folder.join("1.opus"), folder.join("2.opus"), folder.join("3.wav"));
    // What was written as Ogg is said again, by WebTransport.
    for (from, to, way) in [(&source, &first, "moql"), (&first, &second, "https")] {
        let mut ears = listen(&relay, way);
        ears.args(["/test/again/", "--wait", "60s", "-o"]).arg(to);
        let ears = ears.spawn().unwrap();
        let mut mouth = say(&relay, way);
        mouth.arg(from).args(["--to", "test/again", "--wait"]);
        let said = mouth.output().unwrap();
        assert!(said.status.success(), "{}", text(&said));
        assert!(ears.wait_with_output().unwrap().status.success());
    }
    let packets = |file: &Path| {
        moqswitch_containers::OpusFile::read(&fs::read(file).unwrap())
            .unwrap()
            .packets
    };
    let (before, after) = (packets(&first), packets(&second));
    // Each ends with 20 ms of silence of its own.
    assert_eq!(
        after[..before.len()],
        before,
        "{} and {} packets",
        before.len(),
        after.len()
    );
    let mut ears = listen(&relay, "moql");
    ears.args(["test/again", "--wait", "60s", "--track", "audio.pcma", "-o"])
        .arg(&third);
    let ears = ears.spawn().unwrap();
    let said = say(&relay, "moql")
        .arg(&first)
        .args(["--to", "test/again", "--wait"])
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", text(&said));
    let output = ears.wait_with_output().unwrap();
    assert!(
        output.status.success() && text(&output).contains("audio.pcma: pcma"),
        "{}",
        text(&output)
    );
    assert!(is_tone(&Sound::read(&fs::read(&third).unwrap()).unwrap()));
    stop(relay);
}

#[test]
fn who_is_interrupted_leaves_a_file_and_a_player_may_go() {
    let relay = relay();
    let folder = folder("interrupted");
    let source = folder.join("source.wav");
    fs::write(&source, tone(16_000, 1, 1.0)).unwrap();
    let mut mouth = say(&relay, "moql");
    mouth
        .arg(&source)
        .args(["--to", "test/loop", "--loop", "--codec", "pcmu"]);
    let mut mouth = mouth.spawn().unwrap();
    // A pipe has sound while it goes on, and may be closed.
    for (format, magic) in [("wav", b"RIFF\xff\xff\xff\xffWAVE"), ("ogg", b"OggS\0\x02\0\0\0\0\0\0")] {
        let mut ears = listen(&relay, "moql");
        ears.args(["test/loop", "--wait", "60s", "--quiet", "--format", format]);
        let mut ears = ears.stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = ears.stdout.take().unwrap();
        let mut heard = vec![0; 2000];
        pipe.read_exact(&mut heard).unwrap();
        assert_eq!(&heard[..12], magic);
        drop(pipe);
        let output = ears.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output)), (Some(0), String::new()));
    }
    let heard = folder.join("heard.wav");
    let mut ears = listen(&relay, "moql");
    ears.args(["test/loop", "--wait", "60s", "-o"]).arg(&heard);
    let mut ears = ears.spawn().unwrap();
    until_line(&mut ears, "level -");
    // What there is is playable, and more so at the end.
    let so_far = Sound::read(&fs::read(&heard).unwrap()).unwrap().frames();
    interrupt(&ears);
    assert_eq!(ears.wait().unwrap().code(), Some(0));
    let sound = Sound::read(&fs::read(&heard).unwrap()).unwrap();
    assert!(
        so_far > 0 && sound.frames() >= so_far,
        "{so_far}, then {}",
        sound.frames()
    );
    let output = listen(&relay, "moql")
        .args(["test/loop", "--duration", "300ms", "-o"])
        .arg(&heard)
        .output()
        .unwrap();
    assert!(
        output.status.success() && last_line(&output).starts_with("heard "),
        "{}",
        text(&output)
    );
    until_line(&mut mouth, "tracks wanted");
    interrupt(&mouth);
    assert_eq!(mouth.wait().unwrap().code(), Some(0));
    stop(relay);
}

#[test]
fn what_is_not_there_and_what_goes_away_has_a_status_of_its_own() {
    let relay = relay();
    let folder = folder("gone");
    let source = folder.join("source.wav");
    fs::write(&source, tone(8000, 1, 0.5)).unwrap();
    let output = listen(&relay, "moql")
        .args(["nobody/here", "--wait", "100ms"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(
        text(&output).contains("there is no broadcast nobody/here"),
        "{}",
        text(&output)
    );
    let mut mouth = say(&relay, "moql");
    mouth.arg(&source).args(["--to", "test/gone", "--loop"]);
    let mut mouth = mouth.spawn().unwrap();
    let output = listen(&relay, "moql")
        .args(["test/gone", "--wait", "60s", "--track", "audio.flac"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let heard = folder.join("heard.ogg");
    let mut ears = listen(&relay, "moql");
    ears.args(["test/gone", "--wait", "60s", "-o"]).arg(&heard);
    let mut ears = ears.spawn().unwrap();
    until_line(&mut ears, "level -");
    until_line(&mut mouth, "tracks wanted 1");
    let address = relay.address();
    stop(relay);
    for child in [mouth, ears] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
        assert!(text(&output).contains("the relay has gone: "), "{}", text(&output));
    }
    assert!(Sound::read(&fs::read(&heard).unwrap()).unwrap().frames() > 20);
    // Nobody is there any more.
    let source = source.to_str().unwrap();
    for (command, arguments) in [
        ("listen", vec!["test/gone"]),
        ("say", vec![source, "--to", "test/gone"]),
    ] {
        let output = at(address, "moql", command).args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("cannot be reached"), "{}", text(&output));
    }
    let output = at(address, "moql", "say")
        .args(["/dev/null", "--to", "x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("/dev/null: it is neither WAV nor Ogg"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_certificate_is_the_one_that_was_named() {
    let relay = relay();
    let sha256 = relay.identity().sha256_hex.clone();
    let ask = |sha256: &str| {
        listen(&relay, "moql")
            .args(["nobody/here", "--wait", "100ms", "--certificate-sha256", sha256])
            .output()
            .unwrap()
    };
    assert_eq!(ask(&sha256).status.code(), Some(3), "{}", text(&ask(&sha256)));
    let wrong = ask(&"0".repeat(64));
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    assert_eq!(ask("0").status.code(), Some(1));
    stop(relay);
}

fn relay() -> RelayHandle {
    Relay::start(RelayOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        shards: NonZeroUsize::new(1),
        ..RelayOptions::default()
    })
    .unwrap()
}

fn stop(relay: RelayHandle) {
    relay.drain(Duration::ZERO);
    relay.join().unwrap();
}

fn listen(relay: &RelayHandle, way: &str) -> Command {
    at(relay.address(), way, "listen")
}

fn say(relay: &RelayHandle, way: &str) -> Command {
    at(relay.address(), way, "say")
}

fn at(address: SocketAddr, way: &str, command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
    program.stdout(Stdio::null()).stderr(Stdio::piped());
    program.arg(command).args(["--relay", &format!("{way}://{address}/")]);
    program
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("handset-{name}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_line(output: &Output) -> String {
    text(output).lines().last().unwrap_or_default().to_owned()
}

fn number_behind(text: &str, words: &str) -> f64 {
    let (_, rest) = text.split_once(words).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Reads what it says until that is in a line.
fn until_line(child: &mut Child, words: &str) {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended without `{words}`");
    }
    child.stderr = Some(lines.into_inner());
}

fn interrupt(child: &Child) {
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(told.unwrap().success());
}

/// A WAV file of 440 Hz, 12 dB below the loudest.
pub(super) fn tone(rate: u32, channels: u16, seconds: f64) -> Vec<u8> {
    let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Pcm16, channels, rate).unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
    for n in 0..(f64::from(rate) * seconds) as u32 {
        let sample = (11_600.0 * (TAU * TONE * f64::from(n) / f64::from(rate)).sin()) as i16;
        for _ in 0..channels {
            writer.write(&sample.to_le_bytes()).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

/// Whether most of what it has in its middle is the tone.
fn is_tone(sound: &Sound) -> bool {
    let frames = sound.frames() / 4..sound.frames() * 3 / 4;
    let samples: Vec<f64> = frames
        .flat_map(|frame| sound.samples(frame))
        .map(|sample| f64::from(*sample))
        .collect();
    let step = TAU * TONE / f64::from(sound.rate().hertz());
    let part = |function: fn(f64) -> f64| -> f64 {
        let sum = samples
            .iter()
            .enumerate()
            .map(|(n, sample)| sample * function(step * n as f64));
        sum.sum::<f64>() / samples.len() as f64
    };
    let of_tone = 2.0 * (part(f64::sin).powi(2) + part(f64::cos).powi(2));
    let all = samples.iter().map(|sample| sample.powi(2)).sum::<f64>() / samples.len() as f64;
    assert!(level(sound.samples(sound.frames() / 2)) < 20, "it is silent");
    of_tone / all > 0.97
}

const TONE: f64 = 440.0;
