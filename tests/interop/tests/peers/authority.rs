//! An auth server decides on sessions: it lets in, refuses, is slow, is down, comes back, takes back, and is told of ends.
//! The server here speaks the contract of moq-relay 0.17 as far as a test needs it.
#![allow(clippy::disallowed_types, reason = "what the server saw is shared with the test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use moqswitch_interop::metrics::http_get;
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Carrier, Draft, PlannedGroup, Publisher, Random, Relay, Subscriber};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn it_lets_in_and_refuses_over_each_carrier_and_is_told_of_the_end() -> Result<()> {
    let mut authority = Authority::start().await?;
    let Some(relay) = start(&authority).await? else {
        return Ok(());
    };
    for carrier in Carrier::ALL {
        let exchange = async {
            authority.answer(|_| Reply::Grant(json!({ "publish": ["alice/**"], "subscribe": ["**"] })));
            let publisher = Publisher::connect_to(url(carrier, &relay, "/call/7?jwt=abc"), DRAFT).await?;
            let mut subscriber = Subscriber::connect_to(url(carrier, &relay, "/call/7"), DRAFT, "").await?;
            // What is not granted is announced first, so it would be heard first.
            let _bob = publisher.publish("bob", "audio", &group())?;
            let mut call = Call::start(&publisher, &mut subscriber, "alice/mic", Random::new(7)).await?;
            call.exchange().await?;
            let connect = authority.event(|event| event["query"] == "jwt=abc").await?;
            let transport = match carrier {
                Carrier::WebSocket => "websocket",
                _ => "quic",
            };
            ensure!(
                connect["event"] == "connect" && connect["transport"] == transport,
                "{connect}"
            );
            ensure!(
                connect["path"] == "/call/7" && connect["node"] == "relay-1",
                "{connect}"
            );
            ensure!(
                connect["remote"]
                    .as_str()
                    .is_some_and(|remote| remote.starts_with("127.0.0.1:")),
                "{connect}"
            );
            drop((call, publisher, subscriber));
            let end = |event: &Value| event["event"] == "end" && event["id"] == connect["id"];
            let end = authority.event(end).await?;
            ensure!(
                end["duration"].as_f64() > Some(0.0) && end["reason"].is_string(),
                "{end}"
            );
            ensure!(end["bytes"]["sent"].as_u64() > Some(0), "{end}");

            authority.answer(|_| Reply::Status(403));
            until_refused(carrier, &relay, "/call/7").await?;
            // What grants nothing, or what nobody understands, lets nobody in.
            for answer in [json!({}), json!({ "publish": ["a"], "expires": 1 }), json!("x")] {
                authority.answer(move |_| Reply::Grant(answer.clone()));
                until_refused(carrier, &relay, "/call/7")
                    .await
                    .context("a bad answer let in")?;
            }
            authority.forget();
            anyhow::Ok(())
        };
        exchange.await.with_context(|| format!("{carrier:?}"))?;
    }
    authority.stop();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_where_a_session_is_rooted() -> Result<()> {
    let authority = Authority::start().await?;
    let Some(relay) = start(&authority).await? else {
        return Ok(());
    };
    authority.answer(|event| {
        Reply::Grant(match event["path"] == "/alias" {
            true => json!({ "publish": ["**"], "root": "real/room" }),
            false => json!({ "subscribe": ["**"] }),
        })
    });
    let publisher = Publisher::connect_to(url(Carrier::Quic, &relay, "/alias"), DRAFT).await?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::WebTransport, &relay, "/real"), DRAFT, "").await?;
    let _published = publisher.publish("mic", "audio", &group())?;
    subscriber.until_announced("room/mic", true).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_while_it_is_slow() -> Result<()> {
    let authority = Authority::start().await?;
    let Some(relay) = start(&authority).await? else {
        return Ok(());
    };
    let publisher = Publisher::connect_to(url(Carrier::Quic, &relay, "/call"), DRAFT).await?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::Quic, &relay, "/call"), DRAFT, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "a", Random::new(3)).await?;
    authority.answer(|_| Reply::Slow(SLOW));
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for carrier in Carrier::ALL {
        let url = url(carrier, &relay, "/call");
        waiting.push(tokio::spawn(async move {
            let publisher = Publisher::connect_to(url, DRAFT).await?;
            let published = publisher.publish(&format!("{carrier:?}"), "audio", &group())?;
            anyhow::Ok((publisher, published))
        }));
    }
    // Each waits; none of them holds the others up.
    let mut exchanged = 0;
    while begun.elapsed() < SLOW / 2 {
        call.exchange().await?;
        exchanged += 1;
    }
    ensure!(exchanged > 0, "nothing was exchanged meanwhile");
    let mut heard = Vec::new();
    for _ in Carrier::ALL {
        let (path, _) = timeout(LIMIT, subscriber.next_announcement()).await??;
        ensure!(begun.elapsed() >= SLOW, "{path} was let in before the answer");
        heard.push(path);
    }
    for task in waiting {
        task.await??;
    }
    call.exchange().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_ends_nothing_early_and_nothing_outlives_its_time() -> Result<()> {
    let mut authority = Authority::start().await?;
    let Some(relay) = start(&authority).await? else {
        return Ok(());
    };
    // Long enough for a call to be set up on a busy machine.
    let expires = seconds_from_now(8)?;
    authority.answer(move |event| {
        Reply::Grant(match event["path"] == "/short" {
            true => json!({ "publish": ["**"], "root": "call", "expires": expires, "revalidate": 1 }),
            false => json!({ "publish": ["**"], "subscribe": ["**"], "expires": 4_102_444_800_u64, "revalidate": 1 }),
        })
    });
    let short = Publisher::connect_to(url(Carrier::WebSocket, &relay, "/short"), DRAFT).await?;
    let publisher = Publisher::connect_to(url(Carrier::WebTransport, &relay, "/call"), DRAFT).await?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::Quic, &relay, "/call"), DRAFT, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "a", Random::new(3)).await?;
    call.exchange().await?;
    authority.stop();
    until_refused(Carrier::WebTransport, &relay, "/call")
        .await
        .context("nobody decided")?;
    until(|| !short.is_connected()).await.context("it outlives its time")?;
    let early = time_of(expires).duration_since(SystemTime::now());
    ensure!(early.is_err(), "it ended {early:?} early: {}", short.why_ended().await);
    call.exchange().await.context("what has its time goes on")?;

    // The server comes back, at the same address.
    authority.restart().await?;
    let _back = Publisher::connect_to(url(Carrier::WebTransport, &relay, "/call"), DRAFT)
        .await
        .context("it is back")?;
    authority
        .event(|event| event["event"] == "revalidate")
        .await
        .context("it is asked again")?;
    call.exchange().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_takes_back_ends_and_nothing_else() -> Result<()> {
    let authority = Authority::start().await?;
    let Some(relay) = start(&authority).await? else {
        return Ok(());
    };
    let lasting = |patterns: &[&str]| json!({ "publish": patterns, "subscribe": ["**"], "expires": 4_102_444_800_u64, "revalidate": 1 });
    let all = lasting(&["**"]);
    let grant = all.clone();
    authority.answer(move |_| Reply::Grant(grant.clone()));
    let publisher = Publisher::connect_to(url(Carrier::Quic, &relay, "/call"), DRAFT).await?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::WebSocket, &relay, "/call"), DRAFT, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "a", Random::new(3)).await?;
    let mut others = Vec::new();
    for carrier in Carrier::ALL {
        let gone = Publisher::connect_to(url(carrier, &relay, "/call?who=gone"), DRAFT).await?;
        let less = Publisher::connect_to(url(carrier, &relay, "/call?who=less"), DRAFT).await?;
        let (stays, ends) = (format!("stays/{carrier:?}"), format!("ends/{carrier:?}"));
        let published = [
            less.publish(&stays, "audio", &group())?,
            less.publish(&ends, "audio", &group())?,
        ];
        subscriber.until_announced(&ends, true).await?;
        others.push((carrier, gone, less, published));
    }
    let less = lasting(&["stays/**"]);
    authority.answer(move |event| match event["query"].as_str() {
        Some("who=gone") => Reply::Status(401),
        Some("who=less") => Reply::Grant(less.clone()),
        _ => Reply::Grant(all.clone()),
    });
    for (carrier, gone, less, _published) in &others {
        until(|| !gone.is_connected())
            .await
            .with_context(|| format!("{carrier:?}: it stays"))?;
        let is_refused = |event: &Value| event["event"] == "end" && event["reason"] == "refused";
        authority.event(is_refused).await.context("the end is not told")?;
        ensure!(less.is_connected(), "{carrier:?}: what may do less is closed");
    }
    let mut ended = Vec::new();
    while ended.len() < others.len() {
        let (path, is_active) = timeout(LIMIT, subscriber.next_announcement()).await??;
        // What was announced before may be heard of late.
        if !is_active {
            ensure!(path.starts_with("ends/"), "{path} has ended");
            ended.push(path);
        }
    }
    call.exchange().await?;
    let revoked = relay
        .metrics()
        .await?
        .sum_containing("moqswitch_sessions_revoked_total");
    ensure!(revoked == others.len() as f64, "{revoked} are counted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_decides_on_requests_too() -> Result<()> {
    let mut authority = Authority::start().await?;
    let Some(relay) = start(&authority).await? else {
        return Ok(());
    };
    let publisher = Publisher::connect_to(url(Carrier::Quic, &relay, "/call"), DRAFT).await?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::Quic, &relay, "/call"), DRAFT, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "a", Random::new(3)).await?;
    call.exchange().await?;
    authority.forget();
    http_get(relay.http(), "/fetch/call/a/audio?jwt=x")
        .await
        .context("what is granted")?;
    let connect = authority.event(|event| event["event"] == "connect").await?;
    ensure!(
        connect["transport"] == "http" && connect["path"] == "/call/a",
        "{connect}"
    );
    let end = |event: &Value| event["event"] == "end" && event["id"] == connect["id"];
    authority.event(end).await.context("the end is not told")?;
    authority.answer(|_| Reply::Status(403));
    ensure!(
        http_get(relay.http(), "/fetch/call/a/audio").await.is_err(),
        "it was refused"
    );
    authority.stop();
    let error = http_get(relay.http(), "/fetch/call/a/audio")
        .await
        .err()
        .context("nobody decided")?;
    ensure!(error.to_string().contains("502"), "{error}");
    Ok(())
}

/// What the server answers.
enum Reply {
    Grant(Value),
    Status(u16),
    /// Everything, later.
    Slow(Duration),
}

type Decide = dyn Fn(&Value) -> Reply + Send + Sync;

#[derive(Clone)]
struct Seen {
    events: Arc<Mutex<Vec<Value>>>,
    decide: Arc<Mutex<Arc<Decide>>>,
}

/// An auth server in this process.
struct Authority {
    address: SocketAddr,
    seen: Seen,
    /// Its connections end with it, as those of a process do.
    runtime: Option<Runtime>,
}

impl Authority {
    /// It grants everything.
    async fn start() -> Result<Self> {
        let decide: Arc<Decide> = Arc::new(|_| Reply::Grant(everything()));
        let seen = Seen {
            events: Arc::default(),
            decide: Arc::new(Mutex::new(decide)),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        Ok(Self {
            address: listener.local_addr()?,
            runtime: Some(serve(listener, seen.clone())?),
            seen,
        })
    }

    fn answer(&self, decide: impl Fn(&Value) -> Reply + Send + Sync + 'static) {
        *self.seen.decide.lock().unwrap() = Arc::new(decide);
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn restart(&mut self) -> Result<()> {
        self.forget();
        let listener = timeout(LIMIT, async {
            loop {
                match std::net::TcpListener::bind(self.address) {
                    Ok(listener) => break listener,
                    Err(_) => sleep(STEP).await,
                }
            }
        });
        self.runtime = Some(serve(listener.await?, self.seen.clone())?);
        Ok(())
    }

    fn forget(&self) {
        self.seen.events.lock().unwrap().clear();
    }

    /// The first event that is so, once it has come.
    async fn event(&self, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let waiting = async {
            loop {
                let event = self
                    .seen
                    .events
                    .lock()
                    .unwrap()
                    .iter()
                    .find(|event| is_wanted(event))
                    .cloned();
                match event {
                    Some(event) => break event,
                    None => sleep(STEP).await,
                }
            }
        };
        let found = timeout(LIMIT, waiting).await;
        found.with_context(|| format!("no such event among {:?}", self.seen.events.lock().unwrap()))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(listener: std::net::TcpListener, seen: Seen) -> Result<Runtime> {
    listener.set_nonblocking(true)?;
    let router = Router::new().route("/moq", post(handle)).with_state(seen);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener)?;
        axum::serve(listener, router).await
    });
    Ok(runtime)
}

async fn handle(State(seen): State<Seen>, Json(event): Json<Value>) -> (StatusCode, Json<Value>) {
    let decide = seen.decide.lock().unwrap().clone();
    seen.events.lock().unwrap().push(event.clone());
    if event["event"] == "end" {
        return (StatusCode::NO_CONTENT, Json(Value::Null));
    }
    match decide(&event) {
        Reply::Grant(grant) => (StatusCode::OK, Json(grant)),
        Reply::Status(status) => (StatusCode::from_u16(status).unwrap(), Json(Value::Null)),
        Reply::Slow(wait) => {
            sleep(wait).await;
            (StatusCode::OK, Json(everything()))
        }
    }
}

fn everything() -> Value {
    json!({ "publish": ["**"], "subscribe": ["**"] })
}

/// `None`: it is another relay, whose settings have other names.
async fn start(authority: &Authority) -> Result<Option<Relay>> {
    let url = format!("http://{}/moq", authority.address);
    let settings = [("MOQSWITCH_AUTH_URL", url.as_str()), ("MOQSWITCH_AUTH_NODE", "relay-1")];
    let relay = Relay::start_with(2, &settings).await?;
    Ok((relay.kind() == RelayKind::Moqswitch).then_some(relay))
}

/// A session there is not let in. Over raw QUIC and WebSocket there is a connection before there is an answer.
async fn until_refused(carrier: Carrier, relay: &Relay, target: &str) -> Result<()> {
    let Ok(publisher) = Publisher::connect_to(url(carrier, relay, target), DRAFT).await else {
        return Ok(());
    };
    until(|| !publisher.is_connected()).await.context("it is let in")
}

async fn until(is_so: impl Fn() -> bool) -> Result<()> {
    let waiting = async {
        while !is_so() {
            sleep(STEP).await;
        }
    };
    Ok(timeout(LIMIT, waiting).await?)
}

fn url(carrier: Carrier, relay: &Relay, target: &str) -> Url {
    let mut url = carrier.url(relay);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    url.set_path(path);
    url.set_query(Some(query).filter(|query| !query.is_empty()));
    url
}

fn group() -> PlannedGroup {
    Random::new(9).group(0, &[10])
}

fn seconds_from_now(seconds: u64) -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() + seconds)
}

fn time_of(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const DRAFT: Draft = Draft::Lite06;
const LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_secs(3);
