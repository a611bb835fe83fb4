//! A shard with too much to do: who comes is refused, who is there goes on, and it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::{Call, Draft, Publisher, Random, RawPeer, Subscriber};
use moqswitch_relay::shard::local::{Application, Host, Installation, LocalEvent};
use moqswitch_relay::shard::{OverloadOptions, ShardCommand};
use moqswitch_relay::{Relay, RelayOptions};
use tokio::sync::oneshot;
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_to_a_shard_with_too_much_to_do_is_refused_and_who_is_there_goes_on() -> Result<()> {
    let options = RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: std::num::NonZeroUsize::new(1),
        // On a machine that others use, too, the shard may never get its core.
        overload: OverloadOptions {
            core_share_min: 0,
            ..OverloadOptions::default()
        },
        ..RelayOptions::default()
    };
    let relay = tokio::task::spawn_blocking(move || Relay::start(options)).await??;
    let address = relay.address();
    let publisher = Publisher::connect(address, Draft::Lite06).await?;
    let mut subscriber = Subscriber::connect(address, Draft::Lite06).await?;
    let mut call = Call::start(&publisher, &mut subscriber, "room/call", Random::new(1)).await?;
    let is_stalled = Arc::new(AtomicBool::new(true));
    install(&relay, Stalling(is_stalled.clone())).await?;

    let mut random = Random::new(2);
    until(async || {
        let mut peer = RawPeer::connect(address, Draft::Lite06, &mut random).await?;
        let closed = peer.until_closed(Duration::from_secs(1)).await;
        Ok(closed.is_ok_and(|closed| closed == (true, INTERNAL)))
    })
    .await
    .context("nobody was refused")?;
    let web = Url::parse(&format!("https://{address}/"))?;
    ensure!(
        Publisher::connect_to(web, Draft::Lite06).await.is_err(),
        "over WebTransport somebody was let in"
    );
    for _ in 0..5 {
        call.exchange().await.context("while the shard is stalled")?;
    }
    ensure!(overloaded(&relay).await? == (1, true), "it is not told");

    is_stalled.store(false, Ordering::Relaxed);
    until(async || Ok(Publisher::connect(address, Draft::Lite06).await.is_ok() && overloaded(&relay).await?.0 == 0))
        .await
        .context("it does not end")?;
    call.exchange().await
}

/// Takes 60 ms of each turn, and has always more to do.
struct Stalling(Arc<AtomicBool>);

impl Application for Stalling {
    fn handle(&mut self, _event: LocalEvent, _host: &mut Host<'_>) {}

    #[expect(clippy::disallowed_methods, reason = "the shard is to be held up")]
    fn handle_turn(&mut self, _host: &mut Host<'_>) {
        if self.0.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    fn has_work(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn install(relay: &moqswitch_relay::RelayHandle, stalling: Stalling) -> Result<()> {
    let (reply, installed) = oneshot::channel();
    let application = Installation::new(move || stalling);
    relay.ports()[0].send(ShardCommand::Install { application, reply })?;
    installed.await??;
    Ok(())
}

/// The gauge, and whether sessions were refused for it.
async fn overloaded(relay: &moqswitch_relay::RelayHandle) -> Result<(u64, bool)> {
    use moqswitch_relay::shard::statistics::DropCause;
    let (reply, answer) = oneshot::channel();
    relay.ports()[0].send(ShardCommand::Snapshot(reply))?;
    let statistics = answer.await?.statistics;
    Ok((
        statistics.sessions.overloaded_now,
        statistics.drops.get(DropCause::Overload) > 0,
    ))
}

async fn until(mut ask: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let asking = async {
        while !ask().await.unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, asking).await.context("not in time")
}

const INTERNAL: u64 = 1;
const LIMIT: Duration = Duration::from_secs(90);
