//! Whose a name is when several publish it: by each rule, when a publisher comes back, and when one falls silent.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moqswitch_interop::carrier::raw_quic_url;
use moqswitch_interop::peer::{PublishedTrack, read_group, write_group};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Draft, Forwarder, PlannedGroup, Publisher, Random, RawPeer, Relay, Subscriber};
use moqswitch_relay::auth::token::{Algorithm, Key};
use ring::rand::SystemRandom;
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_name_keeps_it_until_it_goes() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    for draft in Draft::ALL {
        let path = format!("anon/held/{draft}");
        let holder = Publisher::connect(relay.udp(), draft).await?;
        let held = publish(&holder, &path, 1)?;
        let mut watcher = Subscriber::connect(relay.udp(), draft).await?;
        watcher.until_announced(&path, true).await?;
        let before = contested(&relay).await?;
        let stranger = Publisher::connect(relay.udp(), draft).await?;
        let _taken = publish(&stranger, &path, 2)?;
        until_contested(&relay, before).await?;
        ensure!(heard(&relay, draft, &path).await? == 1, "{draft}: the name was taken");
        drop((holder, held));
        until_heard(&relay, draft, &path, 2)
            .await
            .context("the next has its turn")?;
    }
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(log.contains("somebody else publishes this already"), "not in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_has_the_name_where_that_is_the_rule() -> Result<()> {
    let Some(relay) = start(&[("MOQSWITCH_AUTH_NAMES", "newest")]).await? else {
        return Ok(());
    };
    let first = Publisher::connect(relay.udp(), Draft::Lite06).await?;
    let _first = publish(&first, "anon/x", 1)?;
    until_heard(&relay, Draft::Lite06, "anon/x", 1).await?;
    let second = Publisher::connect(relay.udp(), Draft::Lite06).await?;
    let second_track = publish(&second, "anon/x", 2)?;
    until_heard(&relay, Draft::Lite06, "anon/x", 2).await?;
    drop((second, second_track));
    until_heard(&relay, Draft::Lite06, "anon/x", 1).await
}

/// A phone whose process was killed: the relay hears nothing of that, and its old session stays for the idle timeout.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_by_the_same_token_has_its_name_at_once() -> Result<()> {
    let key = Key::generate(Algorithm::ES256, "names", &SystemRandom::new())?;
    let file: PathBuf = std::env::temp_dir().join(format!("moqswitch-names-{}.jwk", std::process::id()));
    std::fs::write(&file, key.to_public()?.to_json())?;
    let sign = |claims: &str| key.sign(claims, &SystemRandom::new());
    let token = sign(r#"{"publish":["**"],"sub":"one"}"#)?;
    let others = sign(r#"{"publish":["**"],"subscribe":["**"],"sub":"two"}"#)?;
    let settings = [
        ("MOQSWITCH_AUTH_KEY", file.to_str().context("a path")?),
        ("MOQSWITCH_AUTH_PUBLIC", "**"),
        ("MOQSWITCH_AUTH_NAMES", "holder"),
    ];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    let forwarder = Forwarder::start(relay.udp()).await?;
    let to = |address, token: &str| -> Result<Url> {
        let mut url = raw_quic_url(address);
        url.query_pairs_mut().append_pair("jwt", token);
        Ok(url)
    };
    let draft = Draft::Lite06;
    let dead = Publisher::connect_to(to(forwarder.address(), &token)?, draft).await?;
    let _dead = publish(&dead, "anon/phone", 1)?;
    until_heard(&relay, draft, "anon/phone", 1).await?;
    let stranger = Publisher::connect_to(to(relay.udp(), &others)?, draft).await?;
    let _taken = publish(&stranger, "anon/phone", 2)?;
    forwarder.cut();
    let again = Publisher::connect_to(to(relay.udp(), &token)?, draft).await?;
    let _again = publish(&again, "anon/phone", 3)?;
    let since = Instant::now();
    until_heard(&relay, draft, "anon/phone", 3).await?;
    println!("heard again after {} ms", since.elapsed().as_millis());
    // The dead session is over long before its idle timeout, and with it what it served.
    until(|| async { Ok(relay.metrics().await?.sum_containing("moqswitch_sessions{") <= 3.0) })
        .await
        .context("the dead session stays")
}

/// Nothing tells a client without token and hop from a stranger; that it is the only one there does.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_has_fallen_silent_loses_its_name() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    let forwarder = Forwarder::start(relay.udp()).await?;
    let draft = Draft::Lite03;
    let dead = Publisher::connect(forwarder.address(), draft).await?;
    let _dead = publish(&dead, "anon/silent", 1)?;
    until_heard(&relay, draft, "anon/silent", 1).await?;
    forwarder.cut();
    let again = Publisher::connect(relay.udp(), draft).await?;
    let _again = publish(&again, "anon/silent", 2)?;
    until_heard(&relay, draft, "anon/silent", 2).await?;
    ensure!(
        relay.metrics().await?.sum_containing("moqswitch_names_yielded_total") >= 1.0,
        "not counted"
    );
    Ok(())
}

/// A hop id that somebody says is nobody else's, and a cost that somebody claims is none.
#[tokio::test(flavor = "multi_thread")]
async fn hops_and_costs_of_clients_are_not_believed() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    let holder = Publisher::connect(relay.udp(), Draft::Lite06).await?;
    let _held = publish(&holder, "anon/x", 1)?;
    until_heard(&relay, Draft::Lite06, "anon/x", 1).await?;
    let route = relay.ask("/route/anon/x").await?;
    let liar = liar(&relay).await?;
    until(|| async { Ok(contested(&relay).await? >= 1.0) }).await?;
    let routes = relay.ask("/route/anon/x").await?;
    ensure!(routes.len() > route.len(), "the liar's is not there: {routes}");
    ensure!(!routes.contains("4242"), "a hop that was claimed is shown: {routes}");
    ensure!(
        heard(&relay, Draft::Lite06, "anon/x").await? == 1,
        "a claim took the name"
    );
    drop(liar);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_sent_away_is_told_where_to_go() -> Result<()> {
    use moqswitch_interop::raw_peer::{FIRST_BIDI_OF_RELAY, STREAM_STEP};
    let place = "https://relay-2.example:4443/";
    let Some(relay) = start(&[("MOQSWITCH_DRAIN_URI", place)]).await? else {
        return Ok(());
    };
    let mut peer = RawPeer::connect(relay.udp(), Draft::Lite05, &mut Random::new(4)).await?;
    // Its first stream asks for announcements.
    peer.receive(FIRST_BIDI_OF_RELAY, 1).await?;
    relay.signal("-TERM").await?;
    // Type and length, then the URI with its own length.
    let told = peer.receive(FIRST_BIDI_OF_RELAY + STREAM_STEP, 3 + place.len()).await?;
    ensure!(
        told.ends_with(place.as_bytes()),
        "told {}",
        String::from_utf8_lossy(&told)
    );
    Ok(())
}

/// Announces at no cost, by many hops that the holder's route might have.
async fn liar(relay: &Relay) -> Result<RawPeer> {
    use bytes::BytesMut;
    use moqswitch_interop::raw_peer::{FIRST_BIDI_OF_RELAY, FIRST_UNI};
    use moqswitch_proto::wire::{Advertisement, Announce, AnnounceOk, BroadcastPath, HopId, Setup, Version};
    let version = Version::Lite06;
    let mut peer = RawPeer::dial(relay.udp(), Draft::Lite06.alpn().as_bytes(), &mut Random::new(1)).await?;
    peer.handshake().await?;
    let mut setup = BytesMut::from(&[SETUP_STREAM][..]);
    let said = Setup {
        cost: Some(0),
        origin: HopId(4242),
        ..Setup::default()
    };
    said.encode(version, &mut setup)?;
    peer.send(FIRST_UNI, &setup, true).await?;
    // The relay's request for announcements, of which nothing is of interest.
    peer.receive(FIRST_BIDI_OF_RELAY, 1).await?;
    let mut bytes = BytesMut::new();
    let ok = AnnounceOk {
        hop: HopId(4242),
        active_count: 1,
    };
    ok.encode(version, &mut bytes)?;
    let start = Announce::Start {
        suffix: BroadcastPath::new("anon/x"),
        advertisement: Advertisement::default(),
    };
    start.encode(version, &mut bytes)?;
    peer.send(FIRST_BIDI_OF_RELAY, &bytes, false).await?;
    Ok(peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_publish_nothing_of_what_it_announces_is_told() -> Result<()> {
    let Some(relay) = start(&[("MOQSWITCH_AUTH_PUBLIC", "anon/**")]).await? else {
        return Ok(());
    };
    let refused = Publisher::connect(relay.udp(), Draft::Lite05).await?;
    let _refused = publish(&refused, "other/x", 1)?;
    // Who publishes something else, too, stays.
    let both = Publisher::connect(relay.udp(), Draft::Lite05).await?;
    let _both = (publish(&both, "other/y", 1)?, publish(&both, "anon/y", 1)?);
    until(|| async { Ok(!refused.is_connected()) }).await?;
    ensure!(both.is_connected(), "who may publish something was closed");
    until_heard(&relay, Draft::Lite05, "anon/y", 1).await
}

fn publish(publisher: &Publisher, path: &str, marker: usize) -> Result<PublishedTrack> {
    let published = publisher.publish(path, "audio", &marked(0, marker))?;
    for sequence in 1..3 {
        write_group(&published.track, &marked(sequence, marker))?;
    }
    Ok(published)
}

/// Who sent it is told by its length.
fn marked(sequence: u64, marker: usize) -> PlannedGroup {
    Random::new(9).group(sequence, &[marker])
}

/// Whom a subscriber hears that comes now.
async fn heard(relay: &Relay, draft: Draft, path: &str) -> Result<usize> {
    let mut subscriber = Subscriber::connect(relay.udp(), draft).await?;
    subscriber.until_announced(path, true).await?;
    let mut track = subscriber.subscribe(path, "audio").await?;
    Ok(read_group(&mut track).await?.frames[0].len())
}

async fn until_heard(relay: &Relay, draft: Draft, path: &str, marker: usize) -> Result<()> {
    until(|| async {
        let heard = tokio::time::timeout(ONE_TRY, heard(relay, draft, path)).await;
        Ok(matches!(heard, Ok(Ok(who)) if who == marker))
    })
    .await
    .with_context(|| format!("{marker} is not heard"))
}

async fn contested(relay: &Relay) -> Result<f64> {
    Ok(relay
        .metrics()
        .await?
        .sum_containing("moqswitch_announcements_contested_total"))
}

async fn until_contested(relay: &Relay, before: f64) -> Result<()> {
    until(|| async { Ok(contested(relay).await? > before) }).await
}

async fn until<Asking: Future<Output = Result<bool>>>(ask: impl Fn() -> Asking) -> Result<()> {
    let asking = async {
        while !ask().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, asking).await.context("not in time")?
}

/// Nothing where another relay is tested.
async fn start(settings: &[(&str, &str)]) -> Result<Option<Relay>> {
    let relay = Relay::start_with(2, settings).await?;
    Ok((relay.kind() == RelayKind::Moqswitch).then_some(relay))
}

const SETUP_STREAM: u8 = 1;
const ONE_TRY: Duration = Duration::from_secs(3);
/// Less than the idle timeout of the relay.
const LIMIT: Duration = Duration::from_secs(20);
