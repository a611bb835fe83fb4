//! An upgrade in the middle of calls, with the program and the load generator as each of them is by itself. The long form is
//! `tests/upgrade.sh`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::Relay;
use moqswitch_interop::relay::RelayKind;
use serde_json::Value;
use tokio::process::Command;
use tokio::time;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a known fault: sessions follow, and up to half of the frames are lost meanwhile on two busy cores"]
async fn calls_follow_from_one_process_to_the_next_without_a_gap() -> Result<()> {
    let mut relay = Relay::start_with(1, &[("MOQSWITCH_CALLS_ENABLED", "false")]).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("no target directory")?;
    let calls = Command::new(profile.join("loadgen"))
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
    let asked = Command::new(profile.join("moqswitch"))
        .args(["upgrade", "--listen", &relay.udp().to_string()])
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr);
    ensure!(asked.status.success() && said.contains("serves"), "{said}");
    let _next = Next(said.split_whitespace().nth(1).context("no process")?.to_owned());
    // The one before ends by itself when its sessions have gone.
    let ended = async {
        while relay.check_alive().is_ok() {
            time::sleep(Duration::from_millis(50)).await;
        }
    };
    let has_ended = time::timeout(Duration::from_secs(120), ended).await;
    has_ended.context("the process before does not end")?;
    let output = calls.wait_with_output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.find('{').context("no summary")?;
    let mut values = serde_json::Deserializer::from_str(&text[summary..]).into_iter::<Value>();
    let summary = values.next().context("no summary")??;
    ensure!(
        summary["connections_lost"] == 0 && summary["subscriptions_lost"] == 0,
        "{summary}"
    );
    ensure!(summary["reconnects"] == 4, "not all went over: {summary}");
    let delivered = summary["frames_delivered"].as_u64();
    ensure!(summary["frames_lost"] == 0 && delivered > Some(0), "{summary}");
    Ok(())
}

/// The process that follows is nobody's child.
struct Next(String);

impl Drop for Next {
    fn drop(&mut self) {
        // It may have ended.
        let _ = std::process::Command::new("kill").args(["-9", &self.0]).status();
    }
}
