//! Whom a relay dials while it runs: a list that is asked for by HTTP, as moq-relay has it, and the configuration that is read
//! again. What is wrong changes nothing, and is said.
#![allow(clippy::disallowed_types, reason = "what the server saw is shared with the test")]

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use boring::pkey::PKey;
use boring::ssl::{SslAcceptor, SslMethod};
use boring::x509::X509;
use moqswitch_interop::relay::{RelayKind, free_udp};
use moqswitch_interop::{Call, Draft, Publisher, Random, Relay, Subscriber};
use rcgen::{Certificate, CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn links_follow_a_list_that_is_asked_for() -> Result<()> {
    let server = Server::start().await?;
    let (b, c) = (node().await?, node().await?);
    let own = free_udp()?;
    // It is in the list as the others are, so that one list will do for all.
    server.answer(json!([url(&b), format!("moql://{own}")]));
    let from = format!("http://{}/list?key=secret", server.address);
    let name = format!("moql://{own}");
    let settings = [
        WITHOUT_CALLS,
        ("MOQSWITCH_CLUSTER_PEERS_FROM", from.as_str()),
        ("MOQSWITCH_CLUSTER_PEERS_INTERVAL", "1s"),
        ("MOQSWITCH_CLUSTER_NODE", name.as_str()),
    ];
    let a = Relay::start_node(RelayKind::Moqswitch, own, 2, &settings, &[]).await?;
    dialled(&a, &[&b]).await?;
    exchange(&b, &a).await?;
    let asked = server.asked.lock().unwrap()[0].clone();
    ensure!(
        asked.contains("key=secret&node=moql%3A%2F%2F127%2E0%2E0%2E1"),
        "{asked}"
    );
    server.answer(json!([{ "url": url(&c), "cost": 3 }]));
    dialled(&a, &[&c]).await?;
    // Each time in another way.
    for (fault, words) in [
        (Fault::Status(500), "it answered 500"),
        (Fault::Status(302), "it answered 302"),
        (Fault::Text("<html>"), "no JSON array"),
        (
            Fault::Text(r#"["moql://127.0.0.1:1", {"url": "moql://x", "prize": 1}]"#),
            "entry 2: no object of",
        ),
        (Fault::Long, "longer than 1048576 bytes"),
    ] {
        *server.fault.lock().unwrap() = Some(fault);
        until(words, async || {
            let cluster = cluster(&a).await?;
            Ok(cluster["list"]["fault"]
                .as_str()
                .is_some_and(|fault| fault.contains(words)))
        })
        .await?;
        dialled(&a, &[&c]).await?;
    }
    *server.fault.lock().unwrap() = None;
    server.answer(json!([url(&b), url(&c)]));
    dialled(&a, &[&b, &c]).await?;
    ensure!(cluster(&a).await?["list"]["fault"].is_null());
    // What has not changed is not sent again.
    let before = looks(&a, "unchanged").await?;
    until("it is told that nothing has changed", async || {
        Ok(server.unchanged() > 0 && looks(&a, "unchanged").await? > before)
    })
    .await?;
    server.answer(json!([]));
    dialled(&a, &[]).await?;
    let log = std::fs::read_to_string(a.log())?;
    ensure!(log.contains("the list of peers stays as it was") && log.contains("the list of peers is another"));
    ensure!(!log.contains("secret"), "a secret is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_the_configuration_are_others_after_a_reload() -> Result<()> {
    let (b, c) = (node().await?, node().await?);
    let settings = Settings::write("")?;
    let place = settings.0.to_str().context("a path")?;
    // It is of no mesh.
    let a = Relay::start_with(2, &[WITHOUT_CALLS, ("MOQSWITCH_CONFIG", place)]).await?;
    // Who answers minds signals.
    dialled(&a, &[]).await?;
    let reload = async |text: &str, line: &str| -> Result<()> {
        settings.rewrite(text)?;
        a.signal("-HUP").await?;
        until(line, async || Ok(std::fs::read_to_string(a.log())?.contains(line))).await
    };
    let peers = |peers: &[&Relay]| {
        format!(
            "[cluster]\ninsecure = true\npeers = {:?}\n",
            peers.iter().map(|peer| url(peer)).collect::<Vec<_>>()
        )
    };
    reload(&peers(&[&b]), &format!("added {}", url(&b))).await?;
    dialled(&a, &[&b]).await?;
    exchange(&b, &a).await?;
    reload(&peers(&[&b, &c]), &format!("added {}", url(&c))).await?;
    dialled(&a, &[&b, &c]).await?;
    let wrong = format!("{}token_file = \"/nowhere/cluster.jwt\"\n", peers(&[&b]));
    reload(&wrong, "mesh not reloaded: cluster.token_file").await?;
    dialled(&a, &[&b, &c]).await?;
    reload(&peers(&[&c]), &format!("removed {}", url(&b))).await?;
    dialled(&a, &[&c]).await?;
    exchange(&a, &c).await?;
    reload("", &format!("removed {}", url(&c))).await?;
    dialled(&a, &[]).await?;
    let log = std::fs::read_to_string(a.log())?;
    ensure!(!log.contains("need a restart"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_list_shows_a_certificate_that_is_believed() -> Result<()> {
    let b = node().await?;
    let own = KeyPair::generate()?;
    let made = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&own)?;
    let authority = std::env::temp_dir().join(format!("moqswitch-list-ca-{}.pem", std::process::id()));
    std::fs::write(&authority, made.pem())?;
    let address = serve_over_tls(&made, &own, json!([url(&b)]).to_string()).await?;
    let from = format!("https://localhost:{}/list", address.port());
    let settings = [
        WITHOUT_CALLS,
        ("MOQSWITCH_CLUSTER_PEERS_FROM", from.as_str()),
        ("MOQSWITCH_CLUSTER_PEERS_CA", authority.to_str().context("a path")?),
    ];
    let believes = Relay::start_node(RelayKind::Moqswitch, free_udp()?, 1, &settings, &[]).await?;
    dialled(&believes, &[&b]).await?;
    // By the authorities of the system it is nobody.
    let doubts = Relay::start_node(RelayKind::Moqswitch, free_udp()?, 1, &settings[..2], &[]).await?;
    until("it is told why there is no list", async || {
        Ok(cluster(&doubts).await?["list"]["fault"].is_string())
    })
    .await?;
    dialled(&doubts, &[]).await?;
    std::fs::remove_file(authority)?;
    Ok(())
}

/// Answers whatever is asked.
async fn serve_over_tls(certificate: &Certificate, key: &KeyPair, list: String) -> Result<SocketAddr> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    acceptor.set_certificate(&*X509::from_pem(certificate.pem().as_bytes())?)?;
    acceptor.set_private_key(&*PKey::private_key_from_pem(key.serialize_pem().as_bytes())?)?;
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not believe it goes away.
            let Ok(mut stream) = tokio_boring::accept(&acceptor, stream).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{list}",
                list.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Ok(address)
}

/// One list for both kinds: what it says is dialled by either.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moq-relay 0.17.10: tests/mesh.sh"]
async fn one_list_does_for_both_kinds_of_relay() -> Result<()> {
    let server = Server::start().await?;
    let hub = node().await?;
    let from = format!("http://{}/list", server.address);
    server.answer(json!([{ "url": url(&hub), "cost": 4, "egress": 4 }]));
    let settings = [WITHOUT_CALLS, ("MOQSWITCH_CLUSTER_PEERS_FROM", from.as_str())];
    let ours = Relay::start_node(RelayKind::Moqswitch, free_udp()?, 1, &settings, &[]).await?;
    let theirs = [("MOQ_CLUSTER_CONNECT_API", from.as_str())];
    let theirs = Relay::start_node(RelayKind::MoqRelay, free_udp()?, 1, &theirs, &[]).await?;
    for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
        exchange(from, to).await?;
    }
    // They are known for relays by what they have passed on.
    until("both have dialled, at one price", async || {
        let cluster = cluster(&hub).await?;
        let links = cluster["links"].as_array().context("links")?;
        let priced = links.iter().filter(|link| link["state"] == "up" && link["cost"] == 4);
        Ok(priced.count() == 2)
    })
    .await
}

/// Who has the list.
struct Server {
    address: SocketAddr,
    list: Arc<Mutex<Value>>,
    fault: Arc<Mutex<Option<Fault>>>,
    /// Targets of requests.
    asked: Arc<Mutex<Vec<String>>>,
    unchanged: Arc<Mutex<usize>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Status(u16),
    Text(&'static str),
    Long,
}

type Shared = (
    Arc<Mutex<Value>>,
    Arc<Mutex<Option<Fault>>>,
    Arc<Mutex<Vec<String>>>,
    Arc<Mutex<usize>>,
);

impl Server {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (list, fault, asked, unchanged) = Shared::default();
        let shared: Shared = (list.clone(), fault.clone(), asked.clone(), unchanged.clone());
        let router = Router::new().route("/list", get(listed)).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            address,
            list,
            fault,
            asked,
            unchanged,
        })
    }

    fn answer(&self, list: Value) {
        *self.list.lock().unwrap() = list;
    }

    fn unchanged(&self) -> usize {
        *self.unchanged.lock().unwrap()
    }
}

async fn listed(
    State((list, fault, asked, unchanged)): State<Shared>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    asked.lock().unwrap().push(request.uri().to_string());
    match *fault.lock().unwrap() {
        Some(Fault::Status(302)) => return (StatusCode::FOUND, [(header::LOCATION, "/other")]).into_response(),
        Some(Fault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::Text(text)) => return text.into_response(),
        Some(Fault::Long) => return Body::from(vec![b' '; 2 << 20]).into_response(),
        None => (),
    }
    let text = list.lock().unwrap().to_string();
    let tag = format!(
        "\"{:x}\"",
        BuildHasherDefault::<DefaultHasher>::default().hash_one(&text)
    );
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        *unchanged.lock().unwrap() += 1;
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([(header::ETAG, tag)], text).into_response()
}

/// A file of settings, gone with it.
struct Settings(PathBuf);

impl Settings {
    fn write(text: &str) -> Result<Self> {
        let place = std::env::temp_dir().join(format!("moqswitch-mesh-settings-{}.toml", std::process::id()));
        std::fs::write(&place, text)?;
        Ok(Self(place))
    }

    fn rewrite(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(&self.0, text)?)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Waits until these are dialled and there, and no others.
async fn dialled(relay: &Relay, peers: &[&Relay]) -> Result<()> {
    let wanted: BTreeSet<String> = peers.iter().map(|peer| url(peer)).collect();
    until(&format!("links to {wanted:?} alone"), async || {
        let cluster = cluster(relay).await?;
        let links = cluster["links"].as_array().context("links")?;
        let names = |is_one: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
            let found = links.iter().filter(|link| is_one(link));
            found
                .filter_map(|link| link["peer"].as_str().map(str::to_owned))
                .collect()
        };
        Ok(names(&|_| true) == wanted && names(&|link| link["state"] == "up") == wanted)
    })
    .await
    .with_context(|| format!("see {}", relay.log().display()))
}

async fn exchange(from: &Relay, to: &Relay) -> Result<()> {
    let publisher = Publisher::connect(from.udp(), Draft::Lite06).await?;
    let mut subscriber = Subscriber::connect(to.udp(), Draft::Lite06).await?;
    let path = format!("room/{}-{}", from.udp().port(), to.udp().port());
    let mut call = Call::start(&publisher, &mut subscriber, &path, Random::new(3)).await?;
    for _ in 0..5 {
        call.exchange().await?;
    }
    Ok(())
}

async fn cluster(relay: &Relay) -> Result<Value> {
    Ok(serde_json::from_str(&relay.ask("/cluster").await?)?)
}

async fn looks(relay: &Relay, answer: &str) -> Result<f64> {
    let series = format!("moqswitch_peer_lists_total{{answer=\"{answer}\"}}");
    Ok(relay.metrics().await?.sum_containing(&series))
}

async fn node() -> Result<Relay> {
    Relay::start_node(RelayKind::Moqswitch, free_udp()?, 1, &[WITHOUT_CALLS], &[]).await
}

fn url(relay: &Relay) -> String {
    format!("moql://{}", relay.udp())
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

/// Where there are calls, their broadcasts are for who is in them.
const WITHOUT_CALLS: (&str, &str) = ("MOQSWITCH_CALLS_ENABLED", "false");
const POLL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(30);
