//! Short forms of the attacks: a call goes on without a loss, and what defends it is seen to have done so. How much each
//! costs is measured by `tests/attacks.sh`.

use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moqswitch_interop::attack::{self, ATTACKS, Done, Target, announcements};
use moqswitch_interop::raw_peer::FIRST_BIDI_OF_RELAY;
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Draft, Publisher, Random, RawPeer, Relay, Subscriber};
use moqswitch_proto::wire::Version;

#[tokio::test(flavor = "multi_thread")]
async fn floods_cost_a_call_nothing_and_are_answered_within_limits() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    for (name, rate, least) in [
        ("garbage", 20_000, None),
        ("resets", 10_000, Some("answer_limit")),
        ("versions", 10_000, Some("answer_limit")),
        ("initials", 5_000, None),
        ("half-open", 200, None),
        // Fails by itself unless whose id it is goes on.
        ("forged-ids", 5_000, None),
    ] {
        let before = relay.metrics().await?;
        let done = beside_a_call(&relay, name, rate, 1).await?;
        ensure!(
            done.sent > 1_000 || rate < 1_000,
            "{name}: only {} were sent",
            done.sent
        );
        ensure!(done.closed == 0, "{name}: {:?}", done.code);
        if let Some(cause) = least {
            let cause = format!("cause=\"{cause}\"");
            let after = relay.metrics().await?;
            let held_back = after.sum_containing(&cause) - before.sum_containing(&cause);
            ensure!(held_back > 100.0, "{name}: {held_back} answers were held back");
        }
    }
    Ok(())
}

/// On a relay of its own: one that has every address proven sends nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_answers_hears_three_times_what_it_sent_and_no_more() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    // An error when more comes back than may, to any.
    let done = beside_a_call(&relay, "amplification", 20, 1).await?;
    ensure!(done.sent > 2, "only {} were sent", done.sent);
    // It was sent again until no more was allowed.
    let most = 3 * 1_200 * done.sent;
    ensure!(done.heard > most / 2, "{} of {most} bytes came back", done.heard);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn initials_that_cannot_be_decrypted_make_everybody_prove_an_address() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    let flood = flood(&relay, "initials", 5_000, 1, Duration::from_secs(6));
    let innocent = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Its handshake has the Retry in it.
        Publisher::connect(relay.udp(), Draft::Lite06).await
    };
    let (flooded, innocent) = tokio::join!(flood, innocent);
    flooded?;
    innocent.context("while the flood is on")?;
    let retries = relay.metrics().await?.sum_containing("retries_total");
    ensure!(retries >= 1.0, "no Retry was sent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_acknowledges_what_was_never_sent_is_closed() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    let done = beside_a_call(&relay, "optimistic-acks", 20, 1).await?;
    ensure!(done.sent >= 3, "only {} were sent", done.sent);
    ensure!(
        (done.closed, done.code) == (done.sent, Some(PROTOCOL_VIOLATION)),
        "{} of {} were closed, by {:?}",
        done.closed,
        done.sent,
        done.code
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_challenges_without_end_a_few_are_answered() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    // An error when a packet answers more of them than three, or none does.
    let done = beside_a_call(&relay, "path-challenges", 1_000, 1).await?;
    ensure!(done.sent > 100, "only {} were sent", done.sent);
    ensure!(done.closed == 0, "closed by {:?}", done.code);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_ids_retired_without_end_is_closed() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    let done = beside_a_call(&relay, "retired-ids", 1_000, 1).await?;
    ensure!(
        done.closed >= 1 && done.code == Some(CONNECTION_ID_LIMIT_ERROR),
        "{} were closed, by {:?}, after {} packets",
        done.closed,
        done.code,
        done.sent
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_for_a_while_hears_the_newest_and_not_what_is_too_old() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    // An error unless it is so.
    let done = beside_a_call_for(&relay, "stops", 200, 2, Duration::from_secs(8)).await?;
    ensure!(done.closed == 0, "closed by {:?}", done.code);
    ensure!(done.heard > 50, "only {} groups were heard", done.heard);
    Ok(())
}

/// What all sessions hold together: who holds most goes, one after the other, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn while_memory_is_full_those_that_hold_most_are_closed_and_the_call_goes_on() -> Result<()> {
    let settings = [("MOQSWITCH_LIMITS_MEMORY", "6MiB")];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    let done = beside_a_call_for(&relay, "full-memory", 0, 4, Duration::from_secs(6)).await?;
    ensure!(done.closed >= 1, "nobody was closed after {} streams", done.sent);
    let counted = relay.metrics().await?.sum_containing("cause=\"memory\"");
    ensure!(counted >= 1.0, "it was not counted");
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(
        log.contains("the memory of the relay is full, and this session holds most"),
        "it was not logged:\n{log}"
    );
    ensure!(
        !log.contains("the session holds more than it may"),
        "by another limit:\n{log}"
    );
    call_afterwards(&relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_without_end_wait_and_what_is_withdrawn_was_never_there() -> Result<()> {
    for (name, count, least) in [("churn", 1, 6_000), ("watchers", 2, 1_000), ("mute-watchers", 1, 1_000)] {
        let Some(relay) = start(&[]).await? else { return Ok(()) };
        let before = relay.resident_bytes()?;
        let done = beside_a_call(&relay, name, 5_000, count).await?;
        ensure!(done.sent > least, "{name}: only {} were announced", done.sent);
        // It did announce: those who read have heard of it, a little.
        let announced = name != "watchers" || (10_000..20_000_000).contains(&done.heard);
        ensure!(announced, "{name}: {} bytes were heard", done.heard);
        let grown = relay.resident_bytes()?.saturating_sub(before) / MIB;
        ensure!(grown < 64, "{name}: the relay grew by {grown} MiB");
        // Whoever comes is found, and what the churner left is not in the way.
        call_afterwards(&relay).await.context(name)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_broadcasts_find_no_room_is_told_so_and_the_others_have_theirs() -> Result<()> {
    let settings = [("MOQSWITCH_LIMITS_ANNOUNCE_BYTES", "1MiB")];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    let done = beside_a_call(&relay, "table", 0, 4).await?;
    ensure!(done.closed > 0, "nobody was told");
    ensure!(done.code.is_some(), "no code was given");
    let refused = relay.metrics().await?.sum_containing("cause=\"announce_limit\"");
    ensure!(refused >= 1.0, "it was not counted");
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(
        log.contains("found no room") && log.contains("127.0.0.2"),
        "it was not logged:\n{log}"
    );
    // With those who filled it their broadcasts went.
    call_afterwards(&relay).await?;
    Ok(())
}

/// A quarter of the bytes: by long paths, of which far fewer than a quarter of the broadcasts take it.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_its_part_of_the_announce_table_and_the_others_have_theirs() -> Result<()> {
    let settings = [("MOQSWITCH_LIMITS_ANNOUNCE_BYTES", "1MiB")];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    let from = attack::address_before(relay.udp());
    let mut random = Random::new(9);
    let mut watcher = Subscriber::connect_with_prefix(relay.udp(), Draft::Lite05, "anon/full").await?;
    // Each takes twice its path and some 400 bytes beside: 240 KiB together.
    let mut full = RawPeer::connect_from(from, relay.udp(), Draft::Lite05, &mut random).await?;
    announce(&mut full, 0..150).await?;
    watcher.until_announced(&long_path(149), true).await?;
    let mut beyond = RawPeer::connect_from(from, relay.udp(), Draft::Lite05, &mut random).await?;
    // It may be closed before it has sent them all.
    let _ = announce(&mut beyond, 1_000..1_100).await;
    let (is_of_application, code) = beyond.until_closed(LIMIT).await.context("nobody was refused")?;
    ensure!(is_of_application, "closed by {code} of QUIC");

    // It still has them all, and who comes from elsewhere is announced.
    call_afterwards(&relay).await?;
    full.drive_some().await;
    ensure!(
        full.peer_close().is_none(),
        "who had its part was closed: {:?}",
        full.peer_close()
    );
    let log = std::fs::read_to_string(relay.log())?;
    let reasons = log.lines().filter(|line| line.contains("found no room"));
    let (of_one, of_all): (Vec<_>, Vec<_>) =
        reasons.partition(|line| line.contains("the broadcasts of one address take"));
    ensure!(of_one.len() == 1 && of_all.is_empty(), "not for that reason:\n{log}");
    ensure!(of_one[0].contains("127.0.0.2"), "of another address:\n{log}");
    Ok(())
}

async fn announce(peer: &mut RawPeer, numbers: Range<u32>) -> Result<()> {
    let mut bytes = announcements::accept_announcing(peer).await?;
    for number in numbers {
        announcements::start(&long_path(number)).encode(Version::Lite05, &mut bytes)?;
    }
    peer.send(FIRST_BIDI_OF_RELAY, &bytes, false).await
}

fn long_path(number: u32) -> String {
    format!("anon/full/{number:0600}")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_nothing_leave_when_somebody_finds_no_room() -> Result<()> {
    let settings = [("MOQSWITCH_LIMITS_CONNECTIONS", "12")];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    let publisher = Publisher::connect(relay.udp(), Draft::Lite05).await?;
    let mut subscriber = Subscriber::connect(relay.udp(), Draft::Lite05).await?;
    let mut call = Call::start(&publisher, &mut subscriber, "anon/call", Random::new(5)).await?;
    let mut random = Random::new(6);
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(RawPeer::connect(relay.udp(), Draft::Lite05, &mut random).await?);
    }
    // A client sends its first packet again until there is room.
    let comes = tokio::time::timeout(LIMIT, async {
        loop {
            if let Ok(publisher) = Publisher::connect(relay.udp(), Draft::Lite05).await {
                return publisher;
            }
        }
    });
    let _publisher = comes.await.context("no room was made")?;
    call.exchange().await.context("a call had to leave")?;
    ensure!(
        relay.metrics().await?.sum_containing("cause=\"evicted\"") >= 1.0,
        "it was not counted"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_asks_for_one_track_a_thousand_times_harms_nobody() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    for name in ["same-track", "unread", "streams"] {
        let before = relay.resident_bytes()?;
        let done = beside_a_call(&relay, name, 10, 2).await?;
        ensure!(done.sent > 500, "{name}: only {} were asked for", done.sent);
        ensure!(
            name != "same-track" || done.heard > 10_000,
            "{name}: {} bytes were heard",
            done.heard
        );
        let grown = relay.resident_bytes()?.saturating_sub(before) / MIB;
        ensure!(grown < 96, "{name}: the relay grew by {grown} MiB");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_not_as_they_should_be_harm_nobody() -> Result<()> {
    for name in [
        "tiny-groups",
        "backwards",
        "lying-sizes",
        "endless-frames",
        "rapid-resets",
    ] {
        let Some(relay) = start(&[]).await? else { return Ok(()) };
        let before = relay.resident_bytes()?;
        let done = beside_a_call(&relay, name, 2_000, 1).await?;
        ensure!(done.sent > 100, "{name}: only {} were sent", done.sent);
        let grown = relay.resident_bytes()?.saturating_sub(before) / MIB;
        // The test's relay may cache 32 MiB, of which at most four times may be held.
        ensure!(grown < 160, "{name}: the relay grew by {grown} MiB");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_end_is_closed_and_counted() -> Result<()> {
    let settings = [("MOQSWITCH_LIMITS_OPERATIONS", "100")];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    for name in ["updates", "fetches", "probes"] {
        let before = operations_refused(&relay).await?;
        // It ends when it is closed.
        let done = beside_a_call_for(&relay, name, 5_000, 1, LIMIT).await?;
        ensure!(done.closed == 1, "{name}: it was not closed after {}", done.sent);
        ensure!(operations_refused(&relay).await? > before, "{name}: it was not counted");
    }
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(
        log.contains("more than 100 requests in a second"),
        "it was not logged:\n{log}"
    );
    Ok(())
}

async fn operations_refused(relay: &Relay) -> Result<f64> {
    Ok(relay.metrics().await?.sum_containing("cause=\"operation_limit\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_no_more() -> Result<()> {
    let settings = [("MOQSWITCH_LIMITS_CONNECTIONS_PER_ADDRESS", "4")];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    let mut random = Random::new(8);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(RawPeer::connect(relay.udp(), Draft::Lite05, &mut random).await?);
    }
    let fifth = RawPeer::connect(relay.udp(), Draft::Lite05, &mut random).await;
    ensure!(fifth.is_err(), "a fifth was let in");
    ensure!(
        relay.metrics().await?.sum_containing("cause=\"address_limit\"") >= 1.0,
        "it was not counted"
    );
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(
        log.contains("its address has 4 connections"),
        "it was not logged:\n{log}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_slowly_or_without_end_by_tcp_costs_a_call_nothing() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    let before = relay.resident_bytes()?;
    for (name, count) in [
        ("slow-http", 50),
        ("slow-tls", 50),
        ("header-bomb", 10),
        ("websocket-flood", 4),
    ] {
        let done = beside_a_call(&relay, name, 0, count).await?;
        ensure!(done.sent > 0, "{name}: nothing was sent");
    }
    let grown = relay.resident_bytes()?.saturating_sub(before) / MIB;
    ensure!(grown < 64, "the relay grew by {grown} MiB");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_too_much_is_closed_and_the_call_goes_on() -> Result<()> {
    let settings = [("MOQSWITCH_LIMITS_SESSION_BYTES", "1MiB")];
    let Some(relay) = start(&settings).await? else {
        return Ok(());
    };
    let done = beside_a_call(&relay, "streams", 0, 2).await?;
    ensure!(done.closed >= 1, "nobody was closed after {} streams", done.sent);
    ensure!(
        relay.metrics().await?.sum_containing("cause=\"memory\"") >= 1.0,
        "it was not counted"
    );
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(
        log.contains("the session holds more than it may"),
        "it was not logged:\n{log}"
    );
    Ok(())
}

/// Drafts allow them; a list with a line for each broadcast does not.
#[tokio::test(flavor = "multi_thread")]
async fn names_with_control_characters_are_refused() -> Result<()> {
    let Some(relay) = start(&[]).await? else { return Ok(()) };
    let publisher = Publisher::connect(relay.udp(), Draft::Lite05).await?;
    let mut subscriber = Subscriber::connect(relay.udp(), Draft::Lite05).await?;
    let group = Random::new(7).group(0, &[10]);
    let mut kept = Vec::new();
    for name in ["anon/x\ny", "anon/\u{0}", "anon/\u{1b}[2J", "anon/\u{85}"] {
        kept.push(publisher.publish(name, "audio", &group)?);
    }
    let _last = publisher.publish("anon/last", "audio", &group)?;
    let others = subscriber.until_announced("anon/last", true).await?;
    ensure!(others.is_empty(), "heard {others:?}");
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(log.contains(r"anon/x\ny"), "not in the log, or not escaped:\n{log}");
    ensure!(!log.contains('\u{1b}'), "an escape in the log");
    Ok(())
}

/// Nothing where another relay is tested: how it defends itself is its own.
async fn start(settings: &[(&str, &str)]) -> Result<Option<Relay>> {
    let relay = Relay::start_with(1, settings).await?;
    Ok((relay.kind() == RelayKind::Moqswitch).then_some(relay))
}

/// Attacks for a while and exchanges groups of a call meanwhile, of which none may be missing.
async fn beside_a_call(relay: &Relay, name: &'static str, rate: u64, count: usize) -> Result<Done> {
    beside_a_call_for(relay, name, rate, count, Duration::from_secs(2)).await
}

async fn beside_a_call_for(
    relay: &Relay,
    name: &'static str,
    rate: u64,
    count: usize,
    duration: Duration,
) -> Result<Done> {
    let publisher = Publisher::connect(relay.udp(), Draft::Lite06).await?;
    let path = format!("innocent/{name}");
    let mut subscriber = Subscriber::connect_with_prefix(relay.udp(), Draft::Lite06, &path).await?;
    let mut call = Call::start(&publisher, &mut subscriber, &path, Random::new(1)).await?;
    let began = Instant::now();
    let attacking = tokio::spawn(flood(relay, name, rate, count, duration));
    let (mut exchanged, mut longest) = (0, Duration::ZERO);
    // The last one is heard too: how long it took is what an attack may have cost.
    while !attacking.is_finished() {
        let spoken = Instant::now();
        call.exchange()
            .await
            .with_context(|| format!("beside {name}, after {:?}", began.elapsed()))?;
        longest = longest.max(spoken.elapsed());
        exchanged += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    let done = attacking.await?.with_context(|| name.to_owned())?;
    eprintln!("{name}: {exchanged} groups in {took:?}, the slowest in {longest:?}; {done:?}");
    // A thousand subscriptions are answered in one turn, however slow the build.
    let standstill_max = if name == "same-track" {
        LIMIT / 4
    } else {
        STANDSTILL_MAX
    };
    ensure!(
        longest <= standstill_max,
        "{name}: the call stood still for {longest:?}"
    );
    ensure!(exchanged >= GROUPS_MIN, "{name}: {exchanged} groups in {took:?}");
    Ok(done)
}

fn flood(
    relay: &Relay,
    name: &'static str,
    rate: u64,
    count: usize,
    duration: Duration,
) -> impl Future<Output = Result<Done>> + use<> {
    let (relay, http) = (relay.udp(), relay.http());
    async move {
        ensure!(
            ATTACKS.iter().any(|attack| attack.0 == name),
            "no attack is called {name}"
        );
        let target = Target {
            relay,
            from: attack::address_before(relay),
            http: Some(http),
            duration,
            rate,
            count,
            seed: 1,
        };
        tokio::task::spawn_blocking(move || attack::run(name, &target)).await?
    }
}

const MIB: u64 = 1024 * 1024;
/// RFC 9000, section 20.1.
const PROTOCOL_VIOLATION: u64 = 0x0a;
const CONNECTION_ID_LIMIT_ERROR: u64 = 0x09;
/// What one group may take beside an attack, on a machine that others use, too.
const STANDSTILL_MAX: Duration = Duration::from_secs(5);
/// Of a call beside an attack: with the time above it is one in five seconds.
const GROUPS_MIN: u64 = 2;

/// A call of newcomers. While the attack still has the core busy they are refused, and try again.
async fn call_afterwards(relay: &Relay) -> Result<()> {
    let began = Instant::now();
    loop {
        let path = format!("anon/after/{}", began.elapsed().as_millis());
        let trying = async {
            let publisher = Publisher::connect(relay.udp(), Draft::Lite05).await?;
            let mut subscriber = Subscriber::connect_with_prefix(relay.udp(), Draft::Lite05, &path).await?;
            let mut call = Call::start(&publisher, &mut subscriber, &path, Random::new(3)).await?;
            call.exchange().await
        };
        let tried = tokio::time::timeout(LIMIT / 6, trying)
            .await
            .context("nothing was heard");
        match tried.and_then(|tried| tried) {
            Err(error) if began.elapsed() < LIMIT => {
                eprintln!("tried again: {error:#}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tried => return tried,
        }
    }
}

const LIMIT: Duration = Duration::from_secs(60);
