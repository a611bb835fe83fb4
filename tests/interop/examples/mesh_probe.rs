//! `mesh_probe joins|names|changes --publish ADDRESS --subscribe ADDRESS [--count N] [--rate R] [--seconds S]`: clients of moq-net at two
//! relays of a mesh, and a line of JSON that says what they saw. `perf/mesh.sh` says what is asked.
//!
//! - `joins`: N times a broadcast is announced, heard by a first and a second subscriber, and withdrawn.
//! - `names`: N broadcasts are announced; when is the last of them seen?
//! - `changes`: R times a second a broadcast is announced or withdrawn, for S seconds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use moqswitch_interop::peer::{read_group, write_group};
use moqswitch_interop::{Draft, Publisher, Random, Subscriber};
use tokio::time::{interval, sleep, timeout};

struct Arguments {
    publish: SocketAddr,
    subscribe: SocketAddr,
    count: usize,
    rate: usize,
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let (mut publish, mut subscribe) = (None, None);
    let (mut count, mut rate, mut seconds) = (20, 1000, 5);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--publish" => publish = Some(value.parse().context("--publish")?),
            "--subscribe" => subscribe = Some(value.parse().context("--subscribe")?),
            "--count" => count = value.parse().context("--count")?,
            "--rate" => rate = value.parse().context("--rate")?,
            "--seconds" => seconds = value.parse().context("--seconds")?,
            _ => bail!("unknown flag '{flag}'"),
        }
    }
    let arguments = Arguments {
        publish: publish.context("--publish is missing")?,
        subscribe: subscribe.context("--subscribe is missing")?,
        count,
        rate,
        seconds,
    };
    match command.as_str() {
        "joins" => joins(&arguments).await,
        "names" => names(&arguments).await,
        "changes" => changes(&arguments).await,
        other => bail!("'{other}' is none of joins, names, changes"),
    }
}

/// Each broadcast is a new one, so that nothing of it is at the other relay before the first subscription.
async fn joins(arguments: &Arguments) -> Result<()> {
    let publisher = Publisher::connect(arguments.publish, DRAFT).await?;
    let mut first = Subscriber::connect(arguments.subscribe, DRAFT).await?;
    let mut second = Subscriber::connect(arguments.subscribe, DRAFT).await?;
    let [mut announced, mut cold, mut warm, mut withdrawn] = [const { Vec::new() }; 4];
    // The first time is that of connections that have carried nothing.
    for round in 0..=arguments.count {
        let path = format!("probe/{}/{round}", std::process::id());
        let published = publisher.broadcast(&path)?;
        let track = published.create_track("audio", moqswitch_interop::peer::track_info())?;
        write_group(&track, &Random::new(1).group(0, &[80]))?;
        let begun = Instant::now();
        published.announce(Default::default())?;
        first.until_announced(&path, true).await?;
        let seen = begun.elapsed();
        second.until_announced(&path, true).await?;
        let mut joined = Vec::new();
        let mut heard = Vec::new();
        for subscriber in [&first, &second] {
            let begun = Instant::now();
            let mut subscription = subscriber.subscribe_latest(&path, "audio").await?;
            read_group(&mut subscription).await?;
            joined.push(begun.elapsed());
            heard.push(subscription);
        }
        drop(heard);
        let begun = Instant::now();
        drop((track, published));
        first.until_announced(&path, false).await?;
        let gone = begun.elapsed();
        second.until_announced(&path, false).await?;
        if round > 0 {
            announced.push(seen);
            cold.push(joined[0]);
            warm.push(joined[1]);
            withdrawn.push(gone);
        }
    }
    let figures = [
        ("announced_ms", announced),
        ("cold_join_ms", cold),
        ("warm_join_ms", warm),
        ("withdrawn_ms", withdrawn),
    ];
    let figures = figures.map(|(name, times)| format!("\"{name}\":{}", percentiles(times)));
    println!("{{\"count\":{},{}}}", arguments.count, figures.join(","));
    Ok(())
}

async fn names(arguments: &Arguments) -> Result<()> {
    let mut subscriber = Subscriber::connect(arguments.subscribe, DRAFT).await?;
    let publishers = publishers(arguments).await?;
    let begun = Instant::now();
    let mut kept = Vec::new();
    for name in 0..arguments.count {
        // As long as those of calls are.
        let path = format!("call/{:016x}/{:08x}", Random::new(name as u64).number(), name);
        let broadcast = publishers[name % PUBLISHERS].broadcast(&path)?;
        broadcast.announce(Default::default())?;
        kept.push(broadcast);
    }
    let mut seen = 0;
    let waiting = async {
        while seen < arguments.count {
            seen += usize::from(subscriber.next_announcement().await?.1);
        }
        anyhow::Ok(())
    };
    let waited = timeout(LIMIT, waiting).await;
    let took = begun.elapsed();
    ensure!(
        waited.is_ok(),
        "{seen} of {} names were seen in {LIMIT:?}",
        arguments.count
    );
    println!(
        "{{\"count\":{},\"seen\":{seen},\"ms\":{:.3}}}",
        arguments.count,
        took.as_secs_f64() * 1000.0
    );
    // Who looks at what that has taken is not to see the names go.
    sleep(HELD).await;
    Ok(())
}

/// In steps of a hundredth of a second. What has been announced the longest is withdrawn; withdrawn ones come again.
async fn changes(arguments: &Arguments) -> Result<()> {
    let mut subscriber = Subscriber::connect(arguments.subscribe, DRAFT).await?;
    let publishers = publishers(arguments).await?;
    let broadcasts = (0..POOL).map(|name| publishers[name % PUBLISHERS].broadcast(&format!("change/{name:08x}")));
    let broadcasts = broadcasts.collect::<Result<Vec<_>>>()?;
    let seeing = tokio::spawn(async move {
        let mut seen = 0_usize;
        while let Ok(change) = timeout(QUIET, subscriber.next_announcement()).await {
            change?;
            seen += 1;
        }
        anyhow::Ok(seen)
    });
    println!("begun");
    let (begun, mut made) = (Instant::now(), 0);
    let mut steps = interval(Duration::from_millis(10));
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        steps.tick().await;
        let due = (begun.elapsed().as_secs_f64() * arguments.rate as f64) as usize;
        for change in made..due {
            let broadcast = &broadcasts[change % POOL];
            match (change / POOL) % 2 {
                0 => broadcast.announce(Default::default())?,
                _ => broadcast.unannounce(),
            }
        }
        made = due.max(made);
    }
    let lasted = begun.elapsed();
    println!("ended");
    let seen = seeing.await??;
    println!(
        "{{\"made\":{made},\"seen\":{seen},\"seconds\":{:.3}}}",
        lasted.as_secs_f64()
    );
    Ok(())
}

/// A session may announce a thousand a second, and four thousand in all.
async fn publishers(arguments: &Arguments) -> Result<Vec<Publisher>> {
    let mut publishers = Vec::new();
    for _ in 0..PUBLISHERS {
        publishers.push(Publisher::connect(arguments.publish, DRAFT).await?);
    }
    // Their sessions are there when what is announced first is not waited for.
    sleep(SETTLED).await;
    Ok(publishers)
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| match times.len() {
        0 => "null".to_owned(),
        count => format!(
            "{:.3}",
            times[((count - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0
        ),
    };
    format!("{{\"p50\":{},\"p99\":{}}}", at(0.5), at(0.99))
}

const DRAFT: Draft = Draft::Lite06;
const PUBLISHERS: usize = 4;
/// Broadcasts that come and go.
const POOL: usize = 1000;
const SETTLED: Duration = Duration::from_millis(300);
const HELD: Duration = Duration::from_secs(3);
/// With nothing seen for so long there is no more to come.
const QUIET: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(60);
