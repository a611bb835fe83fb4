//! Several broadcasts as one, for who can take one only.

use anyhow::{Result, ensure};
use moqswitch_audio::Codec;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::local::{LocalEvent, LocalSubscription};
use moqswitch_services::{Mix, Pool, install_mixers};
use tokio::time::timeout;

use super::local::{HEARD, LIMIT, Remote, WATCHED, start, stop, subscription};
use super::transcoding::{Speaker, listen, until};

#[tokio::test(flavor = "multi_thread")]
async fn several_are_heard_as_one_while_somebody_listens() -> Result<()> {
    // All at one shard, and the mixers at another one.
    for shards in [1, 2] {
        let relay = start(shards)?;
        let pool = Pool::start(1)?;
        let (mixers, installed) = install_mixers(&relay.ports()[shards - 1], &pool)?;
        timeout(LIMIT, installed).await???;
        let mut first = Speaker::begin_as(&relay.ports()[0], "call/7/a").await?;
        let mut second = Speaker::begin_as(&relay.ports()[0], "call/7/b").await?;
        let mut hearers = Remote::install(&relay.ports()[0]).await?;
        let peers = hearers
            .run(|host| {
                let peers = [host.open_peer().unwrap(), host.open_peer().unwrap()];
                host.watch(peers[0], &BroadcastPath::root(), WATCHED).unwrap();
                peers
            })
            .await?;
        let mix = Mix {
            codec: Codec::Opus,
            hears: vec![BroadcastPath::new("call/7/a"), BroadcastPath::new("call/7/b")],
            own: None,
        };
        let path = BroadcastPath::new(MIXED);
        mixers.mix(path.clone(), mix)?;
        hearers.until_announced(MIXED).await?;
        ensure!(pool.statistics().mixers == 0, "nobody listens");
        let heard = hearers
            .run(move |host| {
                let subscribe = |(peer, tag)| {
                    let wanted = LocalSubscription {
                        tag,
                        ordered: true,
                        ..subscription(MIXED, "audio")
                    };
                    host.subscribe(peer, &wanted).unwrap()
                };
                [(peers[0], HEARD), (peers[1], ALSO_HEARD)].map(subscribe)
            })
            .await?;
        let (one, other) = (first.answer(Codec::Pcmu).await?, second.answer(Codec::Pcma).await?);
        until(|| pool.statistics().mixers == 1).await?;
        first.say(one, 50).await?;
        second.say(other, 1).await?;
        for tag in [HEARD, ALSO_HEARD] {
            let (frames, loud) = listen(&mut hearers, tag, 45).await?;
            ensure!(loud < 20, "{loud} dB below the loudest");
            let is_even = |pair: &[(u64, u64)]| pair[1].0 == pair[0].0 + 1 && pair[1].1 == pair[0].1 + 960;
            ensure!(frames.windows(2).all(is_even), "{frames:?}");
        }
        let statistics = pool.statistics();
        ensure!(
            statistics.malformed == 0 && statistics.transcoders == 0,
            "{statistics:?}"
        );
        hearers
            .run(move |host| {
                host.unsubscribe(peers[0], heard[0]);
                host.unsubscribe(peers[1], heard[1]);
            })
            .await?;
        until(|| pool.statistics().mixers == 0).await?;
        first.until_unwanted().await?;
        second.until_unwanted().await?;
        mixers.end(path)?;
        hearers
            .until(|event| matches!(event, LocalEvent::Unannounced { path, .. } if path.as_str() == MIXED))
            .await?;
        stop(relay).await?;
    }
    Ok(())
}

const MIXED: &str = "mix/7/c";
const ALSO_HEARD: u64 = 9;
