//! Paths that try to be others: one normal form on every way in, and what is refused is refused alone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use moqswitch_interop::raw_peer::{FIRST_BIDI_OF_RELAY, StreamEnd};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Carrier, Draft, PlannedGroup, Publisher, Random, RawPeer, Relay, Subscriber};
use moqswitch_proto::wire::{AnnounceOk, HopId, Version};

#[tokio::test(flavor = "multi_thread")]
async fn each_draft_and_carrier_has_the_same_form_of_a_path() -> Result<()> {
    let Some(relay) = start().await? else { return Ok(()) };
    for (place, draft) in Draft::ALL.into_iter().enumerate() {
        for carrier in Carrier::ALL {
            // Those of before may not be gone yet.
            let own = format!("{place}-{}", format!("{carrier:?}").to_lowercase());
            try_paths(&relay, draft, carrier, &own)
                .await
                .with_context(|| format!("{draft} over {carrier:?}"))?;
        }
    }
    Ok(())
}

async fn try_paths(relay: &Relay, draft: Draft, carrier: Carrier, own: &str) -> Result<()> {
    let publisher = Publisher::connect_to(carrier.url(relay), draft).await?;
    let mut subscriber = Subscriber::connect_to(carrier.url(relay), draft, "").await?;
    let mut kept = Vec::new();
    for (path, _) in PATHS {
        kept.push(publisher.publish(&path.replace('T', own), "audio", &group())?);
    }
    let last = format!("anon/{own}/last");
    kept.push(publisher.publish(&last, "audio", &group())?);
    let expected: BTreeSet<String> = PATHS
        .iter()
        .filter_map(|(_, heard)| Some(heard.as_ref()?.replace('T', own)))
        .collect();
    let mut heard: BTreeSet<String> = BTreeSet::new();
    let mut is_last_heard = false;
    // The last one may come before others.
    while !is_last_heard || heard.len() < expected.len() {
        let (path, is_live) = tokio::time::timeout(LIMIT, subscriber.next_announcement())
            .await
            .with_context(|| format!("heard {heard:?}"))??;
        is_last_heard |= path == last;
        if is_live && path.contains(own) && path != last {
            heard.insert(path);
        }
    }
    ensure!(heard == expected, "heard {heard:?}");
    Ok(())
}

/// What is announced, and what others hear of it; T is a segment of each round's own. Nothing is decoded or resolved:
/// segments are what is between slashes. (Segments of dots these clients keep to themselves.)
const PATHS: &[(&str, Option<&str>)] = &[
    ("anon//T//d", Some("anon/T/d")),
    ("/anon/T/e/", Some("anon/T/e")),
    ("anon/T/%2e%2e/f", Some("anon/T/%2e%2e/f")),
    ("anon%2fT%2fg", None),
    ("ANON/T/h", None),
    ("anonymous/T/i", None),
    ("../anon/T/k", None),
    ("anon/T/\u{1}l", None),
    ("anon/T\u{0}/m", None),
    ("other/T/n", None),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_too_long_takes_no_other_with_it() -> Result<()> {
    let Some(relay) = start().await? else { return Ok(()) };
    let mut subscriber = Subscriber::connect(relay.udp(), Draft::Lite05).await?;
    let mut peer = announcer(&relay).await?;
    let mut bytes = begin()?;
    for path in [
        "anon/one".to_owned(),
        format!("anon/{}", "x".repeat(3_000)),
        "anon/two".to_owned(),
    ] {
        bytes.extend_from_slice(&active(path.as_bytes()));
    }
    peer.send(FIRST_BIDI_OF_RELAY, &bytes, false).await?;
    subscriber.until_announced("anon/one", true).await?;
    let others = subscriber.until_announced("anon/two", true).await?;
    ensure!(others.is_empty(), "heard {others:?}");
    ensure!(peer.peer_close().is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dots_are_segments_like_others() -> Result<()> {
    let Some(relay) = start().await? else { return Ok(()) };
    let mut peer = announcer(&relay).await?;
    let mut bytes = begin()?;
    for path in [
        "anon/a/../b",
        "anon/../c",
        "../anon/d",
        "anon/../../other/e",
        "other/../anon/f",
    ] {
        bytes.extend_from_slice(&active(path.as_bytes()));
    }
    bytes.extend_from_slice(&active(b"anon/last"));
    peer.send(FIRST_BIDI_OF_RELAY, &bytes, false).await?;
    let listed = async {
        loop {
            peer.drive_some().await;
            let listed = relay.ask("/announced").await?;
            if listed.contains("anon/last") {
                return anyhow::Ok(listed);
            }
        }
    };
    let listed = tokio::time::timeout(LIMIT, listed).await.context("not announced")??;
    let lines: BTreeSet<&str> = listed.lines().collect();
    let expected = BTreeSet::from(["anon/../../other/e", "anon/../c", "anon/a/../b", "anon/last"]);
    ensure!(lines == expected, "{lines:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_text_ends_its_stream_and_nothing_else() -> Result<()> {
    let Some(relay) = start().await? else { return Ok(()) };
    let mut peer = announcer(&relay).await?;
    let mut bytes = begin()?;
    bytes.extend_from_slice(&active(b"anon/\xff\xfe"));
    peer.send(FIRST_BIDI_OF_RELAY, &bytes, false).await?;
    let end = peer.until_stream_end(FIRST_BIDI_OF_RELAY, LIMIT).await?;
    ensure!(matches!(end, StreamEnd::Reset(_) | StreamEnd::Stopped(_)), "{end:?}");
    ensure!(peer.peer_close().is_none(), "the session was closed");
    Ok(())
}

async fn announcer(relay: &Relay) -> Result<RawPeer> {
    let mut peer = RawPeer::connect(relay.udp(), Draft::Lite05, &mut Random::new(5)).await?;
    // The relay's request for announcements: its type, and its length.
    peer.receive(FIRST_BIDI_OF_RELAY, 2).await?;
    Ok(peer)
}

fn begin() -> Result<BytesMut> {
    let mut bytes = BytesMut::new();
    let ok = AnnounceOk {
        hop: HopId(7),
        active_count: 0,
    };
    ok.encode(Version::Lite05, &mut bytes)?;
    Ok(bytes)
}

/// An announcement of draft 05, of whatever bytes: length, status, suffix, no hops.
fn active(path: &[u8]) -> Vec<u8> {
    let varint = |value: usize| (u16::try_from(value).expect("short") | 0x4000).to_be_bytes();
    let body = [&[1][..], &varint(path.len()), path, &[0]].concat();
    [&varint(body.len())[..], &body].concat()
}

/// Nothing where another relay is tested: its forms are its own.
async fn start() -> Result<Option<Relay>> {
    let relay = Relay::start_with(1, &[("MOQSWITCH_AUTH_PUBLIC", "anon/**")]).await?;
    Ok((relay.kind() == RelayKind::Moqswitch).then_some(relay))
}

fn group() -> PlannedGroup {
    Random::new(3).group(0, &[10])
}

const LIMIT: Duration = Duration::from_secs(20);
