//! Music and prompts as an operator sets them up: files, and tones without any.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use moqswitch_audio::level;
use moqswitch_player::Sound;
use serde_json::Value;

use super::handset::tone;
use super::{Running, moqswitch};

#[test]
fn who_waits_hears_tones_or_the_files_of_a_directory() {
    let folder = folder("files");
    let log = folder.join("log");
    let config = folder.join("moqswitch.toml");
    let (music, prompts) = (folder.join("music"), folder.join("prompts"));
    fs::create_dir_all(&music).unwrap();
    fs::create_dir_all(&prompts).unwrap();
    let settings = format!("[media]\nmusic = {music:?}\nprompts = {prompts:?}\n");
    fs::write(&config, settings).unwrap();
    fs::write(music.join("noise.mp3"), b"ID3").unwrap();
    let check = check(&config);
    assert_eq!(check["status"], "warn", "{check}");
    assert!(
        check["reason"].as_str().unwrap().contains("noise.mp3: only .wav"),
        "{check}"
    );
    let mut command = moqswitch();
    command
        .arg("--config")
        .arg(&config)
        .stderr(fs::File::create(&log).unwrap());
    let relay = Running::start(&mut command);
    let logged = |words: &str| fs::read_to_string(&log).unwrap().contains(words);
    relay.until("the fault is said", || logged("not played") && logged("noise.mp3"));
    // Without a file it is the tones, softer than those of a file.
    let tones = || heard(&relay, "moh/default", &folder.join("tones.ogg"));
    relay.until("the tones are made", || tones().is_some());
    let tones = tones();
    assert!(
        tones.is_some_and(|tones| (18..40).contains(&tones)),
        "{tones:?} dB below the loudest"
    );
    assert!(
        relay
            .metric("moqswitch_music_frames_total")
            .is_some_and(|frames| frames > 10.0)
    );
    assert_eq!(relay.metric("moqswitch_music_faults"), Some(1.0));

    fs::remove_file(music.join("noise.mp3")).unwrap();
    fs::write(music.join("default.wav"), tone(44_100, 2, 2.0)).unwrap();
    fs::write(prompts.join("closed.wav"), tone(8000, 1, 2.0)).unwrap();
    assert_eq!(self::check(&config)["status"], "pass");
    relay.signal("-HUP");
    relay.until("they are read", || {
        relay.metric("moqswitch_music_broadcasts") == Some(2.0) && relay.metric("moqswitch_music_faults") == Some(0.0)
    });
    assert!(
        logged("files of music and prompts are read music=1 prompts=1"),
        "{}",
        fs::read_to_string(&log).unwrap()
    );
    assert!(!logged("need a restart"));
    for broadcast in ["moh/default", "prompt/closed"] {
        let loud = heard(&relay, broadcast, &folder.join("file.wav"));
        assert!(
            loud.is_some_and(|loud| (10..16).contains(&loud)),
            "{broadcast}: {loud:?} dB below the loudest"
        );
    }
}

/// How loud a second of a broadcast is, a little after its beginning. `None`: nothing came. Who has no time to play and to
/// listen hears less than that, and listens again.
fn heard(relay: &Running, broadcast: &str, file: &Path) -> Option<u8> {
    let mut loud = None;
    for _ in 0..10 {
        let samples = listened(relay, broadcast, file)?;
        loud = (!samples.is_empty()).then(|| level(&samples));
        if loud.is_some_and(|loud| loud < 60) {
            break;
        }
    }
    loud
}

fn listened(relay: &Running, broadcast: &str, file: &Path) -> Option<Vec<i16>> {
    let output = Command::new(env!("CARGO_BIN_EXE_moqswitch"))
        .args(["listen", broadcast, "--wait", "60s", "--duration", "1500ms", "--output"])
        .arg(file)
        .args(["--relay", &format!("moql://{}/", relay.udp)])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{broadcast}: {said}");
    let sound = Sound::read(&fs::read(file).ok()?).unwrap();
    Some((10..40).flat_map(|frame| sound.samples(frame).to_vec()).collect())
}

fn check(config: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqswitch"));
    command.args(["check", "--json", "--config"]).arg(config);
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == "music and prompts")
        .unwrap()
        .clone()
}

/// An empty one.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("music-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
