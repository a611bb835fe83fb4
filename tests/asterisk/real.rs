//! A real Asterisk: `tests/asterisk.sh` makes a directory with one, and runs these.

use std::f64::consts::TAU;
use std::fs;
use std::net::{SocketAddr, TcpStream as Blocking};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use moqswitch_asterisk::audiosocket::Message;
use moqswitch_asterisk::uuid::Key;
use moqswitch_asterisk::{Format, Uuid};
use tokio::net::TcpListener;
use tokio::time::{interval, sleep, timeout};

use crate::host::{Host, KEY, LIMIT, free_port};
use crate::peers::{AudioSocket, Got};

/// Asterisk in the directory that the environment names, with the configuration that is shown.
struct Asterisk {
    root: PathBuf,
    own: PathBuf,
    child: Child,
}

impl Asterisk {
    async fn start(audiosocket: SocketAddr, websocket: SocketAddr, http: SocketAddr) -> Self {
        let root = PathBuf::from(std::env::var_os("ASTERISK_ROOT").expect("run tests/asterisk.sh"));
        let own = PathBuf::from(format!("/moqswitch-{}", std::process::id()));
        let outside = root.join(own.strip_prefix("/").unwrap());
        for directory in ["etc", "lib", "spool", "run", "log"] {
            fs::create_dir_all(outside.join(directory)).unwrap();
        }
        let at = own.display();
        let write = |name: &str, text: &str| fs::write(outside.join("etc").join(name), text).unwrap();
        write(
            "asterisk.conf",
            &format!(
                "[directories]\nastetcdir => {at}/etc\nastvarlibdir => {at}/lib\nastdbdir => {at}/lib\n\
                 astdatadir => /usr/share/asterisk\nastspooldir => {at}/spool\nastrundir => {at}/run\n\
                 astlogdir => {at}/log\nastkeydir => {at}/lib\nastagidir => {at}/lib\n[options]\nverbose = 3\n"
            ),
        );
        let load = MODULES
            .iter()
            .map(|module| format!("load = {module}.so\n"))
            .collect::<String>();
        write("modules.conf", &format!("[modules]\nautoload = no\n{load}"));
        write(
            "logger.conf",
            "[logfiles]\nfull => notice,warning,error,verbose,debug\n",
        );
        write(
            "http.conf",
            &format!(
                "[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = {}\n",
                http.port()
            ),
        );
        let shown = |name: &str| {
            let path = format!("{}/src/asterisk/configuration/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = fs::read_to_string(path).unwrap();
            text.replace("127.0.0.1:9092", &audiosocket.to_string())
                .replace("127.0.0.1:9093", &websocket.to_string())
                .replace("change-me", "secret of ari")
        };
        write("ari.conf", &shown("ari.conf"));
        write("websocket_client.conf", &shown("websocket_client.conf"));
        write("extensions.conf", &(shown("extensions.conf") + &formats()));
        let child = Command::new("chroot")
            .arg(&root)
            .args(["asterisk", "-f", "-C", &format!("{at}/etc/asterisk.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chroot needs root");
        let asterisk = Self { root, own, child };
        let starting = async {
            while !asterisk.ask("core waitfullybooted").contains("fully booted") || Blocking::connect(http).is_err() {
                sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(LIMIT, starting).await.expect("Asterisk does not start");
        asterisk
    }

    fn ask(&self, command: &str) -> String {
        let output = Command::new("chroot")
            .arg(&self.root)
            .args(["asterisk", "-C"])
            .arg(self.own.join("etc/asterisk.conf"))
            .args(["-rx", command])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn until_idle(&self) {
        let waiting = async {
            while !self.ask("core show channels count").contains("0 active channels") {
                sleep(Duration::from_millis(100)).await;
            }
        };
        if timeout(LIMIT, waiting).await.is_err() {
            panic!("{}", self.ask("core show channels verbose"));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.join(self.own.strip_prefix("/").unwrap()).join("log/full")).unwrap_or_default()
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        self.ask("core stop now");
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        let directory: &Path = self.own.strip_prefix("/").unwrap();
        let _ = fs::remove_dir_all(self.root.join(directory));
    }
}

/// What the examples need, and a little beside.
const MODULES: &[&str] = &[
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_sorcery_astdb",
    "res_timing_timerfd",
    "res_http_websocket",
    "res_websocket_client",
    "res_audiosocket",
    "res_clioriginate",
    "res_stasis",
    "res_stasis_answer",
    "res_stasis_playback",
    "res_stasis_recording",
    "res_stasis_snoop",
    "res_stasis_device_state",
    "res_ari",
    "res_ari_model",
    "res_ari_channels",
    "bridge_simple",
    "bridge_builtin_features",
    "codec_ulaw",
    "codec_alaw",
    "codec_g722",
    "codec_resample",
    "chan_websocket",
    "chan_audiosocket",
    "app_audiosocket",
    "app_dial",
    "app_echo",
    "app_senddtmf",
    "app_verbose",
    "func_callerid",
    "func_channel",
    "pbx_config",
];

/// By a WebSocket, in each format that Asterisk brings to others by itself.
const FORMATS: [&str; 8] = ["ulaw", "alaw", "g722", "slin", "slin12", "slin16", "slin48", "slin192"];

fn formats() -> String {
    let context = |format: &str| {
        format!(
            "\n[by-{format}]\nexten => _X.,1,Dial(WebSocket/moqswitch/c({format})v(to=${{EXTEN}}))\n\
             \n[by-audiosocket-{format}]\nexten => _X.,1,Set(ID=${{MOQ_KEY}}${{EXTEN}}ffffffffffffffffffffffffffffffff)\n \
             same => n,Dial(AudioSocket/${{MOQ_HOST}}/${{ID:0:8}}-${{ID:8:4}}-${{ID:12:4}}-${{ID:16:4}}-${{ID:20:12}}/c({format}))\n"
        )
    };
    FORMATS.iter().map(|format| context(format)).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs Asterisk: tests/asterisk.sh"]
async fn a_real_asterisk_calls_and_is_called() {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = free_port();
    let way = |channel: &str| {
        format!(
            "ari = 'http://{http}'\nuser = 'moqswitch'\nsecret_file = 'secret'\nchannel = '{channel}'\n\
             context = 'from-moqswitch'\n"
        )
    };
    let audiosocket = free_port();
    let ways = format!(
        "[ways.700]\naudiosocket = '{}'\n[ways.600]\n{}[ways.601]\n{}extension = '600'\n",
        program.local_addr().unwrap(),
        way("WebSocket/moqswitch/c(ulaw)f(json)"),
        way(&format!("AudioSocket/{audiosocket}")),
    );
    let host = Host::start_at("real", audiosocket, "key = KEY", &ways);
    let asterisk = Asterisk::start(host.audiosocket, host.websocket, http).await;

    // Asterisk calls a number; what it hears it says again.
    let plain = ["to-moqswitch", "to-moqswitch-audiosocket", "to-moqswitch-application"];
    let of_formats = FORMATS.iter().map(|format| format!("by-{format}"));
    let of_audiosocket = FORMATS
        .iter()
        .filter(|format| format.parse::<Format>().is_ok_and(Format::is_of_audiosocket))
        .map(|format| format!("by-audiosocket-{format}"));
    for context in plain
        .map(str::to_owned)
        .into_iter()
        .chain(of_formats)
        .chain(of_audiosocket)
    {
        asterisk.ask(&format!("channel originate Local/700@{context} application Echo"));
        let mut called = AudioSocket::accept(&program).await;
        let heard = echo(&mut called).await;
        println!("{context}: {heard}");
        called.write(&Message::Hangup).await;
        asterisk.until_idle().await;
    }

    // Keys, and an end from the other side.
    for context in &plain[..2] {
        asterisk.ask(&format!(
            "channel originate Local/700@{context} application SendDTMF 5#"
        ));
        let mut called = AudioSocket::accept(&program).await;
        called.until(|got| *got == Got::Digit('5')).await;
        called.until(|got| *got == Got::Digit('#')).await;
        called.until_over().await;
        asterisk.until_idle().await;
        println!("{context}: keys");
    }

    // A number reaches an extension, which says again what it hears.
    for number in ["600", "601"] {
        let uuid = Uuid::calling(&KEY.parse::<Key>().unwrap(), number, Some("4711")).unwrap();
        let mut caller = AudioSocket::connect(&host, uuid).await;
        let heard = echo(&mut caller).await;
        println!("{number}: {heard}");
        caller.write(&Message::Hangup).await;
        asterisk.until_idle().await;
        // And ends it.
        let mut caller = AudioSocket::connect(&host, uuid).await;
        echo(&mut caller).await;
        asterisk.ask("channel request hangup all");
        caller.until_over().await;
        asterisk.until_idle().await;
    }
    host.until("moqswitch_asterisk_channels", |channels| channels == 0)
        .await;
    let log = asterisk.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    println!("{} errors in the log of Asterisk: {errors:#?}", errors.len());
}

/// Says a tone until it comes back for half a second. How long it took, and how much of what came is the tone.
async fn echo(peer: &mut AudioSocket) -> String {
    let mut ticks = interval(Duration::from_millis(20));
    let (mut at, mut good, mut best, mut frames) = (0_u32, 0, 0.0_f64, 0);
    let talking = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let samples: Vec<u8> = (at..at + 160)
                        .flat_map(|at| {
                            #[expect(clippy::cast_possible_truncation, reason = "an amplitude below the loudest sample")]
                            let sample = (8000.0 * (TAU * TONE * f64::from(at) / 8000.0).sin()) as i16;
                            sample.to_le_bytes()
                        })
                        .collect();
                    at += 160;
                    peer.say(8000, &samples).await;
                }
                got = peer.next() => match got {
                    Got::Audio(8000, bytes) => {
                        frames += 1;
                        let share = share_of_tone(&bytes);
                        good = if share > 0.9 { good + 1 } else { 0 };
                        best = best.max(share);
                        if good >= 25 {
                            return;
                        }
                    }
                    Got::Uuid(_) | Got::Digit(_) => {}
                    other => panic!("it is over: {other:?}, after {frames} frames, {best:.2} of it the tone"),
                },
            }
        }
    };
    let heard = timeout(LIMIT, talking).await;
    assert!(
        heard.is_ok(),
        "the tone does not come back: {frames} frames, {best:.2} of it the tone"
    );
    format!(
        "{frames} frames until 25 in a row were more than 90 % tone, at best {:.1} %",
        best * 100.0
    )
}

/// How much of the energy is at the tone's frequency.
fn share_of_tone(bytes: &[u8]) -> f64 {
    let (pairs, _) = bytes.as_chunks::<2>();
    let samples: Vec<f64> = pairs.iter().map(|pair| f64::from(i16::from_le_bytes(*pair))).collect();
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    if energy < 1e6 {
        return 0.0;
    }
    let part = |wave: fn(f64) -> f64| -> f64 {
        let waves = (0..samples.len()).map(|at| wave(TAU * TONE * at as f64 / 8000.0));
        samples.iter().zip(waves).map(|(sample, wave)| sample * wave).sum()
    };
    let (sine, cosine) = (part(f64::sin), part(f64::cos));
    (sine * sine + cosine * cosine) * 2.0 / samples.len() as f64 / energy
}

/// Whole periods in 20 ms.
const TONE: f64 = 400.0;
