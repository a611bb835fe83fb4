//! What is said in calls, and what is on the disk of it.
#![allow(clippy::unwrap_used, reason = "a failure of a test is a panic")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of tests are small")]

use std::collections::HashMap;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use moqswitch_audio::{Codec, Encoder, Rate, level};
use moqswitch_calls::{
    CallId, CallState, CallView, LegId, LegNumber, LegRole, LegState, LegView, Number, Party, SessionId, SuperviseMode,
    Text,
};
use moqswitch_containers::{Encoding, OpusFile, Wav, opus};
use moqswitch_recording::{
    ArchiveError, Disk, Dropped, Ear, Ears, Filter, Frame, Frames, LocalDisk, Recorder, RecorderView, Settings,
    Sidecar, Sink,
};

#[test]
fn two_who_speak_opus_are_the_channels_of_one_file_as_they_spoke() {
    let mut test = Test::new("opus");
    let call = test.call(1, &[(1, Codec::Opus), (2, Codec::Opus)]);
    let (left, right) = (test.stream(&call, 1), test.stream(&call, 2));
    for number in 0..75 {
        test.push(left, Codec::Opus, number, number * 20, opus_packet(1, number));
        // One who is silent for a while, and is lost once.
        if !(20..40).contains(&number) && number != 60 {
            test.push(right, Codec::Opus, number, number * 20, opus_packet(2, number));
        }
    }
    let sidecar = test.finish(&call, 1500);
    let file = OpusFile::read(&test.read(&sidecar, 0)).unwrap();
    assert_eq!((file.channels, file.streams), (2, 2));
    // The last says that it is the end.
    assert_eq!(file.packets.len(), 76);
    for (packet, number) in file.packets.iter().zip(0..75) {
        let (left, right) = opus::split(packet).unwrap();
        assert_eq!(left, opus_packet(1, number), "{number}");
        if !(20..40).contains(&number) && number != 60 {
            assert_eq!(right, opus_packet(2, number), "{number}");
        }
    }
    assert_eq!(
        (&*sidecar.state, sidecar.duration_ms, sidecar.legs.len()),
        ("complete", 1500, 2)
    );
    let of = |leg: usize| {
        (
            sidecar.legs[leg].channel,
            sidecar.legs[leg].frames,
            sidecar.legs[leg].dropped,
        )
    };
    assert_eq!((of(0), of(1)), ((0, 75, 0), (1, 54, 0)));
    assert_eq!(sidecar.legs[1].lost, 21);
    assert_eq!(sidecar.files[0].legs, [0, 1]);
    assert_eq!(sidecar.files[0].bytes, test.read(&sidecar, 0).len() as u64);
    let statistics = test.view.statistics();
    assert_eq!(
        (statistics.frames, statistics.finished, statistics.dropped),
        (129, 1, 0)
    );
}

#[test]
fn bytes_of_g711_are_interleaved_as_they_are() {
    let mut test = Test::new("g711");
    let call = test.call(1, &[(1, Codec::Pcma), (2, Codec::Pcma)]);
    let (left, right) = (test.stream(&call, 1), test.stream(&call, 2));
    for number in 0..50 {
        test.push(left, Codec::Pcma, number, number * 20, vec![number as u8; 160]);
    }
    // Of 30 ms.
    for number in 0..33 {
        test.push(right, Codec::Pcma, number, number * 30, vec![100 + number as u8; 240]);
    }
    let sidecar = test.finish(&call, 1000);
    let bytes = test.read(&sidecar, 0);
    let wav = Wav::read(&bytes).unwrap();
    assert_eq!((wav.encoding, wav.channels, wav.sample_rate), (Encoding::Alaw, 2, 8000));
    let samples = &bytes[wav.data];
    assert_eq!(samples.len(), 2 * 8000);
    for (at, frame) in samples.chunks(2).enumerate() {
        assert_eq!(frame[0] as usize, at / 160, "{at}");
        // The last of them is half a slot.
        if at < 33 * 240 - 80 {
            assert_eq!(frame[1] as usize, 100 + at / 240, "{at}");
        }
    }
    assert_eq!(sidecar.files[0].encoding, "pcma");
    assert_eq!((sidecar.legs[0].dropped, sidecar.legs[1].dropped), (0, 0));
}

#[test]
fn different_codecs_are_decoded_and_heard_on_their_channels() {
    let mut test = Test::new("mixed");
    let call = test.call(1, &[(1, Codec::Opus), (2, Codec::Pcmu)]);
    let (left, right) = (test.stream(&call, 1), test.stream(&call, 2));
    let mut voices = [Voice::new(Codec::Opus), Voice::new(Codec::Pcmu)];
    for number in 0..60 {
        // One speaks in the first half, the other in the second.
        test.push(left, Codec::Opus, number, number * 20, voices[0].say(number < 30));
        test.push(right, Codec::Pcmu, number, number * 20, voices[1].say(number >= 30));
    }
    let sidecar = test.finish(&call, 1200);
    let bytes = test.read(&sidecar, 0);
    let wav = Wav::read(&bytes).unwrap();
    assert_eq!(
        (wav.encoding, wav.channels, wav.sample_rate),
        (Encoding::Pcm16, 2, 16_000)
    );
    let samples: Vec<i16> = bytes[wav.data]
        .chunks_exact(2)
        .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
        .collect();
    assert_eq!(samples.len(), 2 * 16_000 * 12 / 10);
    let heard = |channel: usize, from: usize| {
        let of_channel: Vec<i16> = samples.iter().skip(channel).step_by(2).copied().collect();
        level(&of_channel[from * 16..(from + 400) * 16])
    };
    // Decibels below the loudest.
    for (channel, loud, silent) in [(0, 100, 720), (1, 720, 100)] {
        assert!(heard(channel, loud) < 20, "{channel}: {}", heard(channel, loud));
        assert!(heard(channel, silent) > 60, "{channel}: {}", heard(channel, silent));
    }
    assert_eq!(sidecar.files.len(), 1);
}

#[test]
fn who_comes_has_the_channel_of_who_left_and_a_third_has_a_file() {
    let mut test = Test::new("parties");
    let mut call = test.call(1, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    let first = test.stream(&call, 1);
    for number in 0..75 {
        test.push(first, Codec::Pcmu, number, number * 20, vec![1; 160]);
    }
    let second = test.stream(&call, 2);
    for number in 0..25 {
        test.push(second, Codec::Pcmu, number, number * 20, vec![2; 160]);
    }
    test.until(500);
    // The second transfers to the third, and a fourth is added, who speaks another codec.
    call.legs.retain(|leg| leg.leg.leg.0 != 2);
    call.legs.push(leg(&call, 3, Codec::Pcmu));
    call.legs.push(leg(&call, 4, Codec::Opus));
    test.recorder.update(&call, test.at(500));
    let (third, fourth) = (test.stream(&call, 3), test.stream(&call, 4));
    for number in 30..75 {
        test.push(third, Codec::Pcmu, number, number * 20, vec![3; 160]);
        test.push(fourth, Codec::Opus, number, number * 20, opus_packet(4, number));
    }
    let sidecar = test.finish(&call, 1500);
    let bytes = test.read(&sidecar, 0);
    let samples = &bytes[Wav::read(&bytes).unwrap().data];
    let second: Vec<u8> = samples.iter().skip(1).step_by(160).copied().collect();
    assert_eq!(second[..50], [2; 50]);
    assert_eq!(second[50..60], [0xff; 10]);
    assert_eq!(second[60..150], [3; 90]);
    let further = &sidecar.files[1];
    assert_eq!((&*further.encoding, further.channels, further.at_ms), ("opus", 1, 600));
    let file = OpusFile::read(&test.read(&sidecar, 1)).unwrap();
    assert_eq!(file.packets[0], opus_packet(4, 30));
    assert_eq!(sidecar.files[0].legs, [0, 1, 2]);
    assert_eq!(sidecar.legs[1].to_ms, Some(500));
    assert_eq!((sidecar.legs[2].channel, sidecar.legs[2].from_ms), (1, 500));
}

#[test]
fn nothing_is_written_in_a_pause_and_time_goes_on() {
    let mut test = Test::new("pause");
    let call = test.call(1, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    let first = test.stream(&call, 1);
    test.recorder.pause(call.call, true, test.at(400));
    test.recorder.pause(call.call, false, test.at(800));
    for number in 0..60 {
        test.push(first, Codec::Pcmu, number, number * 20, vec![7; 160]);
    }
    let sidecar = test.finish(&call, 1200);
    let bytes = test.read(&sidecar, 0);
    let samples = &bytes[Wav::read(&bytes).unwrap().data];
    let first: Vec<u8> = samples.iter().step_by(320).copied().collect();
    let expected: Vec<u8> = (0..60)
        .map(|slot| if (20..40).contains(&slot) { 0xff } else { 7 })
        .collect();
    assert_eq!(first, expected);
    let pause = &sidecar.pauses[0];
    assert_eq!((sidecar.pauses.len(), pause.from_ms, pause.to_ms), (1, 400, Some(800)));
}

#[test]
fn who_holds_or_whispers_is_not_listened_to() {
    let mut test = Test::new("held");
    let mut call = test.call(1, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    call.legs.push(LegView {
        role: LegRole::Supervisor(SuperviseMode::Listen),
        ..leg(&call, 3, Codec::Pcmu)
    });
    test.recorder.update(&call, Instant::now());
    assert_eq!(test.listened(), [1, 2]);
    call.legs[1].holds = true;
    test.recorder.update(&call, Instant::now());
    assert_eq!(test.listened(), [] as [u16; 0]);
    call.legs[1].holds = false;
    call.legs[0].muted = true;
    test.recorder.update(&call, Instant::now());
    assert_eq!(test.listened(), [2]);
    // One that is not up hears nothing.
    call.legs[0].muted = false;
    call.legs[1].state = LegState::Ringing;
    test.recorder.update(&call, Instant::now());
    assert_eq!(test.listened(), [] as [u16; 0]);
    test.recorder.end(call.call, Instant::now());
    assert_eq!(test.listened(), [] as [u16; 0]);
}

#[test]
fn a_full_disk_ends_a_recording_and_the_next_has_its_chance() {
    let room = Arc::new(AtomicU64::new(20_000));
    let disk = SmallDisk {
        room: Arc::clone(&room),
        free: Arc::new(AtomicU64::new(u64::MAX)),
    };
    let mut test = Test::with("full", disk, |_| {});
    let call = test.call(1, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    let first = test.stream(&call, 1);
    for number in 0..100 {
        test.push(first, Codec::Pcmu, number, number * 20, vec![7; 160]);
    }
    test.wait("it fails", |test| test.view.statistics().failed == 1);
    test.recorder.end(call.call, Instant::now());
    let sidecar = test.only();
    assert_eq!((&*sidecar.state, sidecar.reason.as_deref()), ("failed", Some("full")));
    let bytes = test.read(&sidecar, 0);
    let wav = Wav::read(&bytes).unwrap();
    assert!(wav.data.len() > 10_000, "{wav:?}");

    room.store(u64::MAX, Ordering::Relaxed);
    let next = test.call(2, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    let first = test.stream(&next, 1);
    let begun = test.begun.elapsed().as_millis() as u64;
    test.push(first, Codec::Pcmu, 0, begun, vec![7; 160]);
    let sidecar = test.finish(&next, begun + 400);
    assert_eq!(sidecar.state, "complete");
}

#[test]
fn without_room_on_the_disk_nothing_is_recorded() {
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let disk = SmallDisk {
        room: Arc::new(AtomicU64::new(u64::MAX)),
        free: Arc::clone(&free),
    };
    let mut test = Test::with("room", disk, |_| {});
    let call = test.call(1, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    let first = test.stream(&call, 1);
    test.push(first, Codec::Pcmu, 0, 0, vec![7; 160]);
    test.wait("it begins", |test| test.view.statistics().active == 1);
    free.store(1000, Ordering::Relaxed);
    test.wait("it ends", |test| test.view.statistics().failed == 1);
    test.recorder.end(call.call, Instant::now());
    assert_eq!(test.only().reason.as_deref(), Some("full"));
    let refused = test.call(2, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    // Whatever changes of it: it is one call.
    test.recorder.update(&refused, Instant::now());
    assert_eq!(test.view.statistics().refused, 1);
    assert_eq!(test.listened(), [] as [u16; 0]);
}

#[test]
fn what_is_in_no_file_says_why_and_nothing_is_unexplained() {
    let mut test = Test::new("why");
    let call = test.call(1, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    let first = test.stream(&call, 1);
    for number in 0..50 {
        test.push(first, Codec::Pcmu, number, number * 20, vec![1; 160]);
    }
    test.push(first, Codec::Pcmu, 50, 49 * 20, vec![2; 160]);
    test.push(first, Codec::L16, 51, 1000, vec![3; 160]);
    // The call is over by then.
    for number in 52..57 {
        test.push(first, Codec::Pcmu, number, number * 20, vec![4; 160]);
    }
    let leg = test.finish(&call, 1000).legs.remove(0);
    let dropped = Dropped {
        doubled: 1,
        unfit: 1,
        after_end: 5,
        ..Dropped::default()
    };
    assert_eq!(leg.dropped_as, dropped);
    assert_eq!((leg.frames, leg.written, leg.dropped, leg.lost), (57, 50, 7, 0));
}

#[test]
fn what_was_interrupted_plays_and_says_so() {
    let mut test = Test::new("killed");
    let call = test.call(1, &[(1, Codec::Opus), (2, Codec::Opus)]);
    let first = test.stream(&call, 1);
    for number in 0..100 {
        test.push(first, Codec::Opus, number, number * 20, opus_packet(1, number));
    }
    test.until(2000);
    // As it is when the process is killed.
    let copy = test.directory.0.with_extension("copy");
    let of_day = fs::read_dir(&test.directory.0).unwrap().flatten();
    let day = of_day.map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
    let copied = copy.join(day.file_name().unwrap());
    fs::create_dir_all(&copied).unwrap();
    for entry in fs::read_dir(&day).unwrap().flatten() {
        fs::copy(entry.path(), copied.join(entry.file_name())).unwrap();
    }
    let (_recorder, view) = Recorder::start(Settings::below(&copy), LocalDisk, |_| Deaf).unwrap();
    let id = format!("{}", call.call).parse().unwrap();
    test.wait("it is noticed", |_| {
        view.archive().get(id).unwrap().state == "interrupted"
    });
    let sidecar = view.archive().get(id).unwrap();
    assert!(sidecar.end_ms.unwrap() >= sidecar.start_ms + 1000, "{sidecar:?}");
    let bytes = fs::read(copied.join(&sidecar.files[0].name)).unwrap();
    let seconds = OpusFile::read(&bytes).unwrap().samples() as f64 / 48_000.0;
    assert!((1.0..=2.0).contains(&seconds), "{seconds}");
    assert_eq!(sidecar.files[0].bytes, bytes.len() as u64);
    fs::remove_dir_all(copy).unwrap();
}

#[test]
fn recordings_are_found_and_removed() {
    let mut test = Test::new("found");
    for number in 1..=3 {
        let call = test.call(number, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
        let first = test.stream(&call, 1);
        let begun = test.begun.elapsed().as_millis() as u64;
        test.push(first, Codec::Pcmu, 0, begun, vec![7; 160]);
        test.finish(&call, begun + 300);
    }
    // The same call once more.
    let again = test.call(3, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
    let first = test.stream(&again, 1);
    test.push(
        first,
        Codec::Pcmu,
        0,
        test.begun.elapsed().as_millis() as u64,
        vec![7; 160],
    );
    let archive = test.view.archive();
    let id = format!("{}-2", again.call).parse().unwrap();
    test.wait("it begins", |_| archive.get(id).is_ok());
    let list = |filter: Filter| {
        let found = archive.list(&filter).unwrap();
        let ids: Vec<String> = found.recordings.into_iter().map(|sidecar| sidecar.id).collect();
        (ids, found.has_more)
    };
    let name = |call: u128| CallId(call).to_string();
    let second = format!("{}-2", name(3));
    let all = Filter {
        limit: 10,
        ..Filter::default()
    };
    assert_eq!(
        list(all.clone()),
        (vec![second.clone(), name(3), name(2), name(1)], false)
    );
    let two = Filter {
        limit: 2,
        ..all.clone()
    };
    assert_eq!(list(two), (vec![second.clone(), name(3)], true));
    let of_call = Filter {
        call: Some(CallId(3)),
        ..all.clone()
    };
    assert_eq!(list(of_call).0, [second, name(3)]);
    let of = |dn: &str| Filter {
        dn: Some(dn.to_owned()),
        ..all.clone()
    };
    assert_eq!(list(of("5001")).0.len(), 4);
    assert!(list(of("5009")).0.is_empty());
    let past = Filter {
        until_ms: Some(1000),
        ..all.clone()
    };
    assert!(list(past).0.is_empty());
    let (_, file) = archive.open_file(name(1).parse().unwrap(), 0).unwrap();
    assert_eq!(file.name, format!("{}.wav", name(1)));

    assert!(matches!(archive.remove(id), Err(ArchiveError::Writing)));
    archive.remove(name(2).parse().unwrap()).unwrap();
    assert!(matches!(
        archive.remove(name(2).parse().unwrap()),
        Err(ArchiveError::Unknown)
    ));
    assert_eq!(list(all).0.len(), 3);
    // What one call has is not touched by what is done to another recording of it.
    test.finish(&again, test.begun.elapsed().as_millis() as u64 + 300);
    archive.remove(name(3).parse().unwrap()).unwrap();
    assert!(archive.open_file(id, 0).is_ok());
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let mut test = Test::new("much");
    for number in 1..=4 {
        let call = test.call(number, &[(1, Codec::Pcmu), (2, Codec::Pcmu)]);
        let first = test.stream(&call, 1);
        let begun = test.begun.elapsed().as_millis() as u64;
        test.push(first, Codec::Pcmu, 0, begun, vec![7; 160]);
        test.finish(&call, begun + 300);
    }
    let directory = test.directory.0.clone();
    let one = test.only_of(4).files[0].bytes;
    let Test {
        recorder,
        view,
        directory: _scratch,
        ..
    } = test;
    drop((recorder, view));
    let settings = Settings {
        // Of two, with their descriptions.
        bytes_max: 2 * one + 4500,
        ..Settings::below(&directory)
    };
    let (recorder, view) = Recorder::start(settings, LocalDisk, |_| Deaf).unwrap();
    let archive = view.archive();
    let limit = Instant::now() + LIMIT;
    while view.statistics().removed < 2 {
        assert!(Instant::now() < limit, "{:?}", view.statistics());
        thread::park_timeout(STEP);
    }
    let left = archive.list(&Filter {
        limit: 10,
        ..Filter::default()
    });
    let left: Vec<String> = left.unwrap().recordings.into_iter().map(|one| one.id).collect();
    assert_eq!(left, [CallId(4).to_string(), CallId(3).to_string()]);
    // Another process is kept out.
    let other = Recorder::start(Settings::below(&directory), LocalDisk, |_| Deaf);
    assert!(other.is_err());
    drop((recorder, view, archive));
}

/// A recorder, and who hears for it.
struct Test {
    recorder: Recorder,
    view: RecorderView,
    frames: Frames,
    directory: Scratch,
    begun: Instant,
    told: mpsc::Receiver<Told>,
    ears: HashMap<u16, bool>,
    streams: HashMap<LegId, u64>,
}

/// It is gone when the test is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

enum Told {
    Listen(LegId, u64),
    Leave(LegId),
}

impl Test {
    fn new(name: &str) -> Self {
        Self::with(name, LocalDisk, |settings| settings.free_min = 0)
    }

    fn with(name: &str, disk: impl Disk + 'static, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = std::env::temp_dir().join(format!("moqswitch-recording-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let mut settings = Settings::below(&directory);
        change(&mut settings);
        let (tell, told) = mpsc::sync_channel(1000);
        let mut frames = None;
        let ears = |queue: Frames| {
            frames = Some(queue);
            Hearing(tell)
        };
        let (recorder, view) = Recorder::start(settings, disk, ears).unwrap();
        Self {
            recorder,
            view,
            frames: frames.unwrap(),
            directory: Scratch(directory),
            begun: Instant::now() + LEAD,
            told,
            ears: HashMap::new(),
            streams: HashMap::new(),
        }
    }

    /// A call that is recorded from now on.
    fn call(&mut self, number: u128, legs: &[(u16, Codec)]) -> CallView {
        let mut call = CallView {
            call: CallId(number),
            state: CallState::Up,
            from: party("5001"),
            dialled: Number::new("5002").unwrap(),
            start_ms: 0,
            ring_ms: None,
            answer_ms: None,
            answered_by: None,
            duration: Duration::ZERO,
            queue: None,
            recorded: true,
            recording_paused: false,
            cause: None,
            legs: Vec::new(),
        };
        call.legs = legs.iter().map(|(number, codec)| leg(&call, *number, *codec)).collect();
        self.recorder.update(&call, Instant::now());
        call
    }

    fn hear(&mut self) {
        while let Ok(told) = self.told.try_recv() {
            match told {
                Told::Listen(leg, stream) => {
                    self.streams.insert(leg, stream);
                    self.ears.insert(leg.leg.0, true);
                }
                Told::Leave(leg) => drop(self.ears.insert(leg.leg.0, false)),
            }
        }
    }

    fn listened(&mut self) -> Vec<u16> {
        self.hear();
        let mut legs: Vec<u16> = self.ears.iter().filter(|(_, is)| **is).map(|(leg, _)| *leg).collect();
        legs.sort_unstable();
        legs
    }

    fn stream(&mut self, call: &CallView, number: u16) -> u64 {
        self.hear();
        let leg = LegNumber(number);
        self.streams[&LegId { call: call.call, leg }]
    }

    fn at(&self, ms: u64) -> Instant {
        self.begun + Duration::from_millis(ms)
    }

    /// It comes then, be that in the past or in the future.
    fn push(&self, stream: u64, codec: Codec, number: u64, ms: u64, payload: Vec<u8>) {
        self.frames.push(Frame {
            stream,
            codec,
            group: number,
            is_first: number == 0,
            time_us: 5_000_000 + ms * 1000,
            came: self.at(ms),
            payload,
        });
    }

    fn until(&self, ms: u64) {
        while let Some(left) = self.at(ms).checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
    }

    fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < limit, "{what}: {:?}", self.view.statistics());
            thread::park_timeout(STEP);
        }
    }

    /// The call ends then.
    fn finish(&mut self, call: &CallView, ms: u64) -> Sidecar {
        let before = self.view.statistics().finished;
        self.until(ms);
        self.recorder.end(call.call, self.at(ms));
        self.wait("it is finished", |test| test.view.statistics().finished > before);
        self.wait("it says so", |test| test.only_of(call.call.0).state == "complete");
        self.only_of(call.call.0)
    }

    fn only_of(&self, call: u128) -> Sidecar {
        let found = self.view.archive().list(&Filter {
            call: Some(CallId(call)),
            limit: 1,
            ..Filter::default()
        });
        found.unwrap().recordings.remove(0)
    }

    fn only(&self) -> Sidecar {
        self.only_of(1)
    }

    fn read(&self, sidecar: &Sidecar, index: usize) -> Vec<u8> {
        let id = sidecar.id.parse().unwrap();
        let (mut file, _) = self.view.archive().open_file(id, index).unwrap();
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    }
}

struct Hearing(mpsc::SyncSender<Told>);

struct Gone(LegId, mpsc::SyncSender<Told>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.1.send(Told::Leave(self.0));
    }
}

impl Ears for Hearing {
    fn listen(&mut self, _: CallId, stream: u64, leg: LegId, _: Option<Codec>) -> Option<Ear> {
        self.0.send(Told::Listen(leg, stream)).unwrap();
        Some(Ear::new(Gone(leg, self.0.clone())))
    }
}

struct Deaf;

impl Ears for Deaf {
    fn listen(&mut self, _: CallId, _: u64, _: LegId, _: Option<Codec>) -> Option<Ear> {
        None
    }
}

/// It takes so many bytes, and says that so many are free.
struct SmallDisk {
    room: Arc<AtomicU64>,
    free: Arc<AtomicU64>,
}

struct SmallFile {
    file: Box<dyn Sink>,
    room: Arc<AtomicU64>,
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(SmallFile {
            file: LocalDisk.create(path)?,
            room: Arc::clone(&self.room),
        }))
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.load(Ordering::Relaxed);
        if room < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.store(room - bytes.len() as u64, Ordering::Relaxed);
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for SmallFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A tone of 400 Hz, or silence.
struct Voice(Encoder, Rate);

impl Voice {
    fn new(codec: Codec) -> Self {
        let rate = codec.rate(Rate::Hz48000);
        Self(Encoder::new(codec, rate).unwrap(), rate)
    }

    fn say(&mut self, is_loud: bool) -> Vec<u8> {
        let period = self.1.samples(5) / 2;
        let tone = |n: usize| if n % period < period / 2 { 8000 } else { -8000 };
        let samples: Vec<i16> = (0..self.1.samples(20))
            .map(|n| if is_loud { tone(n) } else { 0 })
            .collect();
        let mut payload = Vec::new();
        self.0.encode(&samples, &mut payload).unwrap();
        payload
    }
}

/// 20 ms of CELT, and who said it when.
fn opus_packet(by: u8, number: u64) -> Vec<u8> {
    vec![0xf8, by, number as u8, 3, 4, 5]
}

fn leg(call: &CallView, number: u16, codec: Codec) -> LegView {
    let sends = match codec {
        Codec::Opus => moqswitch_calls::Codec::Opus,
        Codec::Pcma => moqswitch_calls::Codec::Pcma,
        _ => moqswitch_calls::Codec::Pcmu,
    };
    LegView {
        leg: LegId {
            call: call.call,
            leg: LegNumber(number),
        },
        call: call.call,
        session: SessionId(u128::from(number)),
        party: party(&format!("500{number}")),
        role: LegRole::Caller,
        state: LegState::Up,
        alias: None,
        holds: false,
        muted: false,
        is_controlled: false,
        sends: Some(sends),
        quality: None,
        start_ms: 0,
        ring_ms: None,
        answer_ms: None,
        end_ms: None,
        cause: None,
    }
}

fn party(number: &str) -> Party {
    Party {
        number: Number::new(number).unwrap(),
        name: Text::new("Somebody"),
        device: Text::default(),
    }
}

/// So that all frames of a test are there before the first is due, however busy the machine is.
const LEAD: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);
