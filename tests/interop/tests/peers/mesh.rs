//! Several relays as one: what is published at any is heard at any, once over each link; links and nodes that go, and come
//! again; and who is believed. The tests with moq-relay need its program in MOQSWITCH_INTEROP_PEER: `tests/mesh.sh` has it
//! installed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moqswitch_interop::peer::{read_group, write_group};
use moqswitch_interop::relay::{RelayKind, free_udp};
use moqswitch_interop::{Call, Draft, PlannedGroup, Publisher, Random, Relay, Subscriber};
use moqswitch_relay::auth::token::{Algorithm, Key};
use ring::rand::SystemRandom;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_at_one_relay_is_heard_at_another() -> Result<()> {
    let b = node(&[]).await?;
    let a = node(&[b.udp()]).await?;
    links_up(&a, 1).await?;
    for draft in Draft::ALL {
        for (from, to) in [(&a, &b), (&b, &a)] {
            exchange(from, to, draft).await.with_context(|| format!("{draft}"))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_crosses_a_link_once_however_many_hear_it() -> Result<()> {
    let b = node(&[]).await?;
    let a = node(&[b.udp()]).await?;
    links_up(&a, 1).await?;
    let publisher = Publisher::connect(a.udp(), Draft::Lite06).await?;
    let mut hearers = Vec::new();
    let mut calls = Vec::new();
    for shard in [0, 1, 0, 1] {
        let hearer = b
            .place(shard, || async { Subscriber::connect(b.udp(), Draft::Lite06).await })
            .await?;
        hearers.push(hearer);
    }
    let published = publisher.publish("room/once", "audio", &group(0))?;
    for hearer in &mut hearers {
        hearer.until_announced("room/once", true).await?;
        calls.push(hearer.subscribe("room/once", "audio").await?);
    }
    for sequence in 1..20 {
        write_group(&published.track, &group(sequence))?;
    }
    for call in &mut calls {
        while read_group(call).await?.sequence < 19 {}
    }
    // Of all of them one subscription goes to the publisher, and one over the link.
    for relay in [&a, &b] {
        let upstream = relay
            .metrics()
            .await?
            .sum_containing("moqswitch_upstream_subscriptions");
        ensure!(upstream == 1.0, "{upstream} upstream subscriptions");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_comes_again_is_dialled_again() -> Result<()> {
    let address = free_udp()?;
    let b = Relay::start_node(RelayKind::Moqswitch, address, 2, WITHOUT_CALLS, &[]).await?;
    let a = node(&[address]).await?;
    links_up(&a, 1).await?;
    exchange(&b, &a, Draft::Lite06).await?;
    b.signal("-KILL").await?;
    drop(b);
    let gone = Instant::now();
    links_up(&a, 0).await?;
    ensure!(gone.elapsed() < SILENCE_LIMIT, "noticed after {:?}", gone.elapsed());
    let b = Relay::start_node(RelayKind::Moqswitch, address, 2, WITHOUT_CALLS, &[]).await?;
    links_up(&a, 1).await?;
    exchange(&a, &b, Draft::Lite06).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_survives_the_relay_that_its_route_goes_by() -> Result<()> {
    let kinds = [RelayKind::Moqswitch; 4];
    let gap = survive(kinds, End::Signal("-KILL"), Draft::Lite06).await?;
    println!("killed: {} ms without a group", gap.as_millis());
    let gap = survive(kinds, End::Signal("-TERM"), Draft::Lite06).await?;
    println!("GOAWAY: {} ms without a group", gap.as_millis());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_forgotten_everywhere_when_their_publisher_goes() -> Result<()> {
    // A ring: where routes could chase each other.
    let addresses = [free_udp()?, free_udp()?, free_udp()?];
    let mut nodes = Vec::new();
    for place in 0..3 {
        let next = addresses[(place + 1) % 3];
        nodes.push(Relay::start_node(RelayKind::Moqswitch, addresses[place], 2, WITHOUT_CALLS, &[next]).await?);
    }
    for node in &nodes {
        links_up(node, 1).await?;
    }
    for round in 0..3 {
        let publisher = Publisher::connect(nodes[round].udp(), Draft::Lite06).await?;
        let broadcasts = (0..20).map(|number| publisher.broadcast(&format!("ring/{round}/{number}")));
        let broadcasts = broadcasts.collect::<Result<Vec<_>>>()?;
        for broadcast in &broadcasts {
            broadcast.announce(Default::default())?;
        }
        for node in &nodes {
            announced(node, 20).await.context("all are known everywhere")?;
        }
        drop((broadcasts, publisher));
        for node in &nodes {
            announced(node, 0).await.context("none is known anywhere")?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_of_a_peer_passes_nothing_on() -> Result<()> {
    let key = Key::generate(Algorithm::ES256, "mesh", &SystemRandom::new())?;
    let folder = std::env::temp_dir().join(format!("moqswitch-mesh-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let keys = folder.join("keys.jwk");
    std::fs::write(&keys, key.to_public()?.to_json())?;
    let token = folder.join("cluster.jwt");
    let claims = r#"{"publish":["**"],"subscribe":["**"],"cluster":true}"#;
    std::fs::write(&token, key.sign(claims, &SystemRandom::new())?)?;
    let mut guarded = WITHOUT_CALLS.to_vec();
    guarded.extend([
        ("MOQSWITCH_AUTH_KEY", keys.to_str().context("a path")?),
        ("MOQSWITCH_AUTH_PUBLIC", "anon/**"),
    ]);
    let b = Relay::start_node(RelayKind::Moqswitch, free_udp()?, 2, &guarded, &[]).await?;
    let stranger = node(&[b.udp()]).await?;
    let mut friendly = WITHOUT_CALLS.to_vec();
    friendly.push(("MOQSWITCH_CLUSTER_TOKEN_FILE", token.to_str().context("a path")?));
    let friend = Relay::start_node(RelayKind::Moqswitch, free_udp()?, 2, &friendly, &[b.udp()]).await?;
    links_up(&friend, 1).await?;
    let [theirs, ours] = [&stranger, &friend].map(|relay| Publisher::connect(relay.udp(), Draft::Lite06));
    let (theirs, ours) = (theirs.await?, ours.await?);
    let _one = theirs.publish("anon/stranger", "audio", &group(0))?;
    until("what is not believed is counted", async || {
        Ok(b.metrics()
            .await?
            .sum_containing("moqswitch_announcements_unbelieved_total")
            >= 1.0)
    })
    .await?;
    let _two = ours.publish("anon/friend", "audio", &group(0))?;
    until("the friend is heard", async || {
        Ok(b.ask("/announced").await?.contains("anon/friend"))
    })
    .await?;
    let known = b.ask("/announced").await?;
    ensure!(!known.contains("stranger"), "{known}");
    // What a stranger may not hear it does not hear.
    let _three = ours.publish("secret", "audio", &group(0))?;
    until("a peer's token is for everything", async || {
        Ok(b.ask("/announced").await?.contains("secret"))
    })
    .await?;
    ensure!(
        !stranger.ask("/announced").await?.contains("secret"),
        "a secret was told"
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_is_the_cheapest_one_however_many_relays_it_has() -> Result<()> {
    let [far, near, own] = [free_udp()?, free_udp()?, free_udp()?];
    let node = async |address: SocketAddr, region: &str, peers: &[String]| {
        let peers = peers.join(",");
        let mut settings = WITHOUT_CALLS.to_vec();
        settings.extend([
            ("MOQSWITCH_CLUSTER_REGION", region),
            ("MOQSWITCH_CLUSTER_COSTS", "us=20"),
            ("MOQSWITCH_CLUSTER_PEERS", &peers),
        ]);
        Relay::start_node(RelayKind::Moqswitch, address, 2, &settings, &[]).await
    };
    // Straight it is dear; by the third relay, which has agreed on a price with the one, it is not.
    let far = node(far, "us", &[]).await?;
    let near = node(near, "eu", &[format!("moql://{}?cost=3", far.udp())]).await?;
    let own = node(
        own,
        "eu",
        &[
            format!("moql://{}?region=us", far.udp()),
            format!("moql://{}?region=eu", near.udp()),
        ],
    )
    .await?;
    links_up(&own, 2).await?;
    let publisher = Publisher::connect(own.udp(), Draft::Lite06).await?;
    let _published = publisher.publish("room/dear", "audio", &group(0))?;
    // Both ends of a link know its price, though one of them alone has been told.
    until("there are two routes, and the cheap one is taken", async || {
        let answer: Value =
            serde_json::from_str(&far.ask("/route/room/dear").await.unwrap_or_default()).unwrap_or_default();
        let costs = |is_chosen: bool| -> Vec<u64> {
            let routes = answer["routes"].as_array().into_iter().flatten();
            let routes = routes.filter(|route| route["chosen"] == is_chosen);
            routes.filter_map(|route| route["cost"][0].as_u64()).collect()
        };
        let (chosen, other) = (costs(true), costs(false));
        Ok(chosen.len() == 1 && other.len() == 1 && other[0] == chosen[0] + 16)
    })
    .await?;
    exchange(&own, &far, Draft::Lite06).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dials_itself_has_no_link() -> Result<()> {
    let own = free_udp()?;
    let relay = Relay::start_node(RelayKind::Moqswitch, own, 2, WITHOUT_CALLS, &[own]).await?;
    until("it is told", async || {
        Ok(relay.ask("/cluster").await?.contains("dialled itself"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moq-relay 0.17.10: tests/mesh.sh"]
async fn both_kinds_of_relay_make_one_mesh() -> Result<()> {
    use RelayKind::{MoqRelay, Moqswitch};
    for [first, second] in [[Moqswitch, MoqRelay], [MoqRelay, Moqswitch]] {
        let b = Relay::start_node(second, free_udp()?, 2, WITHOUT_CALLS, &[]).await?;
        let a = Relay::start_node(first, free_udp()?, 2, WITHOUT_CALLS, &[b.udp()]).await?;
        for draft in Draft::ALL {
            for (from, to) in [(&a, &b), (&b, &a)] {
                let tried = exchange(from, to, draft).await;
                tried.with_context(|| format!("{first:?} dials {second:?}, {draft}"))?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moq-relay 0.17.10: tests/mesh.sh"]
async fn calls_survive_in_a_mesh_of_both_kinds() -> Result<()> {
    use RelayKind::{MoqRelay, Moqswitch};
    for kinds in [
        [Moqswitch, Moqswitch, MoqRelay, Moqswitch],
        [Moqswitch, MoqRelay, Moqswitch, MoqRelay],
        [MoqRelay, Moqswitch, MoqRelay, Moqswitch],
    ] {
        for draft in Draft::ALL {
            for signal in ["-KILL", "-TERM"] {
                let gap = survive(kinds, End::Signal(signal), draft).await;
                let gap = gap.with_context(|| format!("{kinds:?} {signal} {draft}"))?;
                println!("{kinds:?} {signal} {draft}: {} ms without a group", gap.as_millis());
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network namespace of its own: tests/mesh.sh"]
async fn calls_survive_links_that_are_cut() -> Result<()> {
    for (what, directions) in [
        ("towards the hearer", [true, false]),
        ("towards the publisher", [false, true]),
        ("both ways", [true, true]),
    ] {
        let gap = survive([RelayKind::Moqswitch; 4], End::Cut(directions), Draft::Lite06).await;
        let gap = gap.with_context(|| what.to_owned())?;
        println!("cut {what}: {} ms without a group", gap.as_millis());
    }
    Ok(())
}

/// How a way ends.
#[derive(Clone, Copy)]
enum End<'a> {
    Signal(&'a str),
    /// The link to the hearer's node passes nothing on, in either direction.
    Cut([bool; 2]),
}

/// Has the kernel drop what goes from one node to another.
async fn cut(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let (from, to) = (from.port().to_string(), to.port().to_string());
    let rule = [
        "-A", "OUTPUT", "-p", "udp", "--sport", &from, "--dport", &to, "-j", "DROP",
    ];
    let status = tokio::process::Command::new("iptables").args(rule).status().await?;
    ensure!(status.success(), "iptables: {status}");
    Ok(())
}

/// A diamond: the publisher is at the first, the hearer at the last, and the two between them are the ways. One way goes, and
/// the call goes on by the other. How long there was nothing to hear.
async fn survive(kinds: [RelayKind; 4], end: End<'_>, draft: Draft) -> Result<Duration> {
    let ends = Relay::start_node(kinds[3], free_udp()?, 2, WITHOUT_CALLS, &[]).await?;
    let mut ways = Vec::new();
    for kind in &kinds[1..3] {
        ways.push(Relay::start_node(*kind, free_udp()?, 2, WITHOUT_CALLS, &[ends.udp()]).await?);
    }
    let to: Vec<SocketAddr> = ways.iter().map(Relay::udp).collect();
    let begins = Relay::start_node(kinds[0], free_udp()?, 2, WITHOUT_CALLS, &to).await?;
    let publisher = Publisher::connect(begins.udp(), draft).await?;
    let mut hearer = Subscriber::connect(ends.udp(), draft).await?;
    let published = publisher.publish("call/alice", "audio", &group(0))?;
    hearer.until_announced("call/alice", true).await?;
    // Both ways are known when there are two routes, where that can be asked.
    if kinds[3] == RelayKind::Moqswitch {
        until("both ways are known", async || {
            let answer: Value = serde_json::from_str(&ends.ask("/route/call/alice").await?)?;
            Ok(answer["routes"].as_array().is_some_and(|routes| routes.len() == 2))
        })
        .await?;
    } else {
        tokio::time::sleep(SETTLED).await;
    }
    let mut heard = hearer.subscribe("call/alice", "audio").await?;
    let speaking = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(FRAME);
        for sequence in 1.. {
            ticks.tick().await;
            if write_group(&published.track, &group(sequence)).is_err() {
                return;
            }
        }
    });
    let mut last = 0;
    while last < 10 {
        last = read_group(&mut heard).await?.sequence;
    }
    // Whichever it goes by: of the other nothing is heard.
    let way = the_way(&ways).await?;
    match end {
        End::Signal(signal) => ways[way].signal(signal).await?,
        End::Cut([there, back]) => {
            if there {
                cut(ways[way].udp(), ends.udp()).await?;
            }
            if back {
                cut(ends.udp(), ways[way].udp()).await?;
            }
        }
    }
    let from = Instant::now();
    let mut previous = Instant::now();
    let mut longest = Duration::ZERO;
    while from.elapsed() < WATCHED || last < 20 {
        let Ok(group) = read_group(&mut heard).await else {
            // A node that cannot splice ends the track; the hearer asks again, as players do.
            heard = resubscribed(&mut hearer).await?;
            continue;
        };
        longest = longest.max(previous.elapsed());
        previous = Instant::now();
        last = group.sequence;
    }
    speaking.abort();
    Ok(longest)
}

async fn resubscribed(hearer: &mut Subscriber) -> Result<moq_net::track::Subscriber> {
    let begun = Instant::now();
    loop {
        match hearer.subscribe("call/alice", "audio").await {
            Ok(heard) => return Ok(heard),
            Err(error) if begun.elapsed() > LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Which of two nodes media go by: the one that carries more of it.
async fn the_way(ways: &[Relay]) -> Result<usize> {
    for (place, way) in ways.iter().enumerate() {
        if way.kind() == RelayKind::Moqswitch {
            let carried = way.metrics().await?.sum_containing("moqswitch_groups_in_total");
            return Ok(if carried > 0.0 { place } else { 1 - place });
        }
    }
    Ok(0)
}

/// A call from one relay to the other.
async fn exchange(from: &Relay, to: &Relay, draft: Draft) -> Result<()> {
    let publisher = Publisher::connect(from.udp(), draft).await?;
    let mut subscriber = Subscriber::connect(to.udp(), draft).await?;
    let path = format!("room/{}-{}-{draft}", from.udp().port(), to.udp().port());
    let mut call = Call::start(&publisher, &mut subscriber, &path, Random::new(7)).await?;
    for _ in 0..5 {
        call.exchange().await?;
    }
    Ok(())
}

async fn node(links: &[SocketAddr]) -> Result<Relay> {
    Relay::start_node(RelayKind::Moqswitch, free_udp()?, 2, WITHOUT_CALLS, links).await
}

/// Waits until a relay has so many links to others.
async fn links_up(relay: &Relay, count: usize) -> Result<()> {
    until(&format!("{count} links"), async || {
        let answer: Value = serde_json::from_str(&relay.ask("/cluster").await?)?;
        let links = answer["links"].as_array().context("links")?;
        let up = links
            .iter()
            .filter(|link| link["state"] == "up" && link["hop"].is_u64());
        Ok(if count == 0 {
            up.count() == 0
        } else {
            up.count() >= count
        })
    })
    .await
    .with_context(|| format!("see {}", relay.log().display()))
}

async fn announced(relay: &Relay, count: usize) -> Result<()> {
    until(&format!("{count} broadcasts"), async || {
        let known = relay.ask("/announced").await?;
        Ok(known.lines().count() == count)
    })
    .await
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let waiting = async {
        while !is_so().await? {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .with_context(|| format!("never: {what}"))?
}

fn group(sequence: u64) -> PlannedGroup {
    Random::new(sequence).group(sequence, &[80])
}

/// Where there are calls, their broadcasts are for who is in them.
const WITHOUT_CALLS: &[(&str, &str)] = &[("MOQSWITCH_CALLS_ENABLED", "false")];

const FRAME: Duration = Duration::from_millis(20);
/// Longer than a link takes to be found dead.
const WATCHED: Duration = Duration::from_secs(6);
const SETTLED: Duration = Duration::from_secs(1);
/// A dead link is noticed after 3 s; the rest is for a busy machine.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(20);
