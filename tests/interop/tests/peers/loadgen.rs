//! The load generator and the program as each of them is by itself: what one names and what the other lets in fit.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::Relay;
use moqswitch_interop::relay::RelayKind;
use serde_json::Value;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_generator_go_through_the_program_as_it_starts() -> Result<()> {
    let relay = Relay::start(1).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("no target directory")?;
    let output = Command::new(profile.join("loadgen"))
        .args(["call", "--calls", "2", "--duration", "4s", "--json", "-"])
        .args(["--relay", &format!("moql://{}/", relay.udp())])
        .kill_on_drop(true)
        .output()
        .await
        .context("loadgen, which `cargo test --workspace` builds")?;
    // How well it went is for a machine that does nothing else; that it went is not.
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.find('{').context("no summary")?;
    let mut values = serde_json::Deserializer::from_str(&text[summary..]).into_iter::<Value>();
    let summary = values.next().context("no summary")??;
    ensure!(summary["frames_delivered"].as_u64() > Some(0), "{summary}");
    Ok(())
}
