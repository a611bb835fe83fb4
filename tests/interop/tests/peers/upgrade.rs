//! An upgrade in the middle of calls, with the program and the load generator as each of them is by itself. The long form is
//! `tests/upgrade.sh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::Relay;
use moqswitch_interop::metrics::http_status;
use moqswitch_interop::relay::RelayKind;
use serde_json::Value;
use tokio::process::Command;
use tokio::time;

#[tokio::test(flavor = "multi_thread")]
async fn calls_follow_from_one_process_to_the_next_without_a_gap() -> Result<()> {
    for left in (0..TRIES).rev() {
        let Some(summary) = follow().await? else { return Ok(()) };
        ensure!(
            summary["connections_lost"] == 0 && summary["subscriptions_lost"] == 0,
            "{summary}"
        );
        ensure!(summary["reconnects"] == 4, "not all went over: {summary}");
        let delivered = summary["frames_delivered"].as_u64();
        if summary["frames_lost"] == 0 && delivered > Some(0) {
            return Ok(());
        }
        // Where the generator did not get its time, neither did the relays.
        ensure!(left > 0 && summary["verdict"] == "invalid", "{summary}");
        eprintln!("tried again: the machine had no time for it");
    }
    Ok(())
}

/// What calls say of an upgrade in the middle of them. `None`: the relay under test has none.
async fn follow() -> Result<Option<Value>> {
    let mut relay = Relay::start_with(1, &[("MOQSWITCH_CALLS_ENABLED", "false")]).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(None);
    }
    let calls = Command::new(programs()?.join("loadgen"))
        .args([
            "call",
            "--calls",
            "2",
            "--duration",
            "30s",
            "--no-pauses",
            "--redial",
            "--json",
            "-",
        ])
        .args(["--relay", &format!("moql://{}/", relay.udp())])
        .kill_on_drop(true)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("loadgen, which `cargo test --workspace` builds")?;
    relay.until_session_total(4.0).await?;
    // Everybody hears everybody.
    time::sleep(Duration::from_secs(2)).await;
    let asked = ask(&relay).await?;
    ensure!(asked.is_done, "{}", asked.said);
    let _next = Next(asked.process()?);
    until_ended(&mut relay).await?;
    let output = calls.wait_with_output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.find('{').context("no summary")?;
    let mut values = serde_json::Deserializer::from_str(&text[summary..]).into_iter::<Value>();
    Ok(Some(values.next().context("no summary")??))
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_and_voice_mail_go_over_and_what_cannot_begin_takes_no_calls() -> Result<()> {
    let place = std::env::temp_dir().join(format!("moqswitch-upgrade-{}", std::process::id()));
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place)?;
    let (recordings, mail) = (place.join("recordings"), place.join("mail"));
    let settings = [
        ("MOQSWITCH_RECORDING_DIRECTORY", recordings.display().to_string()),
        ("MOQSWITCH_RECORDING_FREE", "0".to_owned()),
        ("MOQSWITCH_VOICEMAIL_DIRECTORY", mail.display().to_string()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut relay = Relay::start_with(1, &settings).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    // A new process could not record: it says so before the calls are taken.
    fs::rename(&recordings, place.join("kept"))?;
    fs::write(&recordings, "")?;
    let asked = ask(&relay).await?;
    ensure!(
        !asked.is_done && asked.said.contains("recordings") && asked.said.contains("the process that ran goes on"),
        "{}",
        asked.said
    );
    ensure!(!asked.said.contains("no telephone calls"), "{}", asked.said);
    ensure!(
        http_status(relay.http(), "/api/calls").await? == 200,
        "its calls are gone"
    );
    fs::remove_file(&recordings)?;
    fs::rename(place.join("kept"), &recordings)?;

    let asked = ask(&relay).await?;
    ensure!(asked.is_done, "{}", asked.said);
    let _next = Next(asked.process()?);
    until_ended(&mut relay).await?;
    ensure!(http_status(relay.http(), "/api/recordings").await? == 200);
    // It has them, and nobody else.
    for lock in [recordings.join("lock"), mail.join(".lock")] {
        let lock = fs::File::open(lock)?;
        ensure!(lock.try_lock().is_err(), "nobody has the lock");
    }
    fs::remove_dir_all(&place)?;
    Ok(())
}

struct Asked {
    is_done: bool,
    said: String,
}

impl Asked {
    fn process(&self) -> Result<String> {
        Ok(self.said.split_whitespace().nth(1).context("no process")?.to_owned())
    }
}

/// Asks for an upgrade.
async fn ask(relay: &Relay) -> Result<Asked> {
    let asked = Command::new(programs()?.join("moqswitch"))
        .args(["upgrade", "--listen", &relay.udp().to_string()])
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr);
    let is_done = asked.status.success() && said.contains("serves");
    Ok(Asked { is_done, said })
}

/// The one before ends by itself when its sessions have gone.
async fn until_ended(relay: &mut Relay) -> Result<()> {
    let ended = async {
        while relay.check_alive().is_ok() {
            time::sleep(Duration::from_millis(50)).await;
        }
    };
    time::timeout(Duration::from_secs(120), ended)
        .await
        .context("the process before does not end")
}

/// Where `cargo test --workspace` puts them.
fn programs() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("no target directory")?;
    Ok(profile.to_owned())
}

/// The process that follows is nobody's child.
struct Next(String);

impl Drop for Next {
    fn drop(&mut self) {
        // It may have ended.
        let _ = std::process::Command::new("kill").args(["-9", &self.0]).status();
    }
}

/// Of a machine that may be busy.
const TRIES: u32 = 3;
