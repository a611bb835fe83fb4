//! Certificates while the relay runs: those of several names, over UDP and TCP, and new ones in their
//! files, which sessions outlive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
use moqswitch_interop::metrics::http_get;
use moqswitch_interop::payload::seed;
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Carrier, Draft, Publisher, Random, RawPeer, Relay, Subscriber};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_sessions_go_on() {
    let seed = seed();
    tokio::time::timeout(LIMIT, replace(Random::new(seed)))
        .await
        .unwrap_or_else(|_| panic!("still running after {LIMIT:?} (seed {seed})"))
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

/// A certificate and its key in files, for one name.
struct Files {
    directory: PathBuf,
    name: &'static str,
}

impl Files {
    fn certificate(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    fn key(&self) -> PathBuf {
        self.directory.join(format!("{}.key", self.name))
    }

    /// Writes a new pair; returns the certificate.
    fn write_new(&self) -> Result<Vec<u8>> {
        let made = rcgen::generate_simple_self_signed([self.name.to_owned()])?;
        std::fs::write(self.certificate(), made.cert.pem())?;
        std::fs::write(self.key(), made.signing_key.serialize_pem())?;
        Ok(made.cert.der().to_vec())
    }
}

async fn replace(mut random: Random) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("moqswitch-certificates-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let [first, second] = ["one.example", "two.example"].map(|name| Files {
        directory: directory.clone(),
        name,
    });
    let (mut one, two) = (first.write_new()?, second.write_new()?);
    let list = |path: fn(&Files) -> PathBuf| format!("{},{}", text(&path(&first)), text(&path(&second)));
    let settings = [
        ("MOQSWITCH_TLS_CERT", list(Files::certificate)),
        ("MOQSWITCH_TLS_KEY", list(Files::key)),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let relay = Relay::start_with(2, &settings).await?;
    if relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    let publisher = Publisher::connect_to(Carrier::WebTransport.url(&relay), Draft::Lite06).await?;
    let mut subscriber = Subscriber::connect_to(Carrier::SecureWebSocket.url(&relay), Draft::Lite05, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "call", random.clone()).await?;
    let named = |one: &[u8]| {
        [
            ("one.example", one.to_vec()),
            ("two.example", two.clone()),
            ("other", one.to_vec()),
        ]
    };
    check(&relay, &named(&one), &mut random).await?;

    // A key that is another certificate's: nothing changes.
    std::fs::copy(second.key(), first.key())?;
    relay.signal("-HUP").await?;
    until_logged(&relay, "certificates not reloaded").await?;
    check(&relay, &named(&one), &mut random).await?;

    one = first.write_new()?;
    relay.signal("-HUP").await?;
    until_logged(&relay, "certificates reloaded").await?;
    check(&relay, &named(&one), &mut random).await?;
    for _ in 0..10 {
        call.exchange().await?;
    }
    ensure!(
        publisher.is_connected() && subscriber.is_connected(),
        "a session was closed"
    );
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// Which certificate each name gets: on every shard, over TCP, and by its hash.
async fn check(relay: &Relay, expected: &[(&str, Vec<u8>)], random: &mut Random) -> Result<()> {
    for (name, certificate) in expected {
        // As many that both shards are met but once in a thousand times.
        for _ in 0..10 {
            let mut peer = RawPeer::dial_name(relay.udp(), b"h3", name, random).await?;
            peer.handshake().await?;
            ensure!(
                peer.certificate() == Some(&certificate[..]),
                "{name}: another certificate over QUIC"
            );
        }
        let over_tcp = over_tcp(relay, name)
            .await
            .with_context(|| format!("{name} over TCP"))?;
        ensure!(over_tcp == *certificate, "{name}: another certificate over TCP");
    }
    let hash: String = boring::sha::sha256(&expected[0].1)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let told = http_get(relay.http(), "/certificate.sha256").await?;
    ensure!(told == hash, "/certificate.sha256 is {told}, not {hash}");
    Ok(())
}

/// The certificate that a client of HTTP/1.1 gets, which is agreed on by ALPN.
async fn over_tcp(relay: &Relay, name: &str) -> Result<Vec<u8>> {
    let mut connector = SslConnector::builder(SslMethod::tls())?;
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(b"\x08http/1.1")?;
    let mut configuration = connector.build().configure()?;
    configuration.set_verify_hostname(false);
    let stream = TcpStream::connect(relay.http()).await?;
    let stream = tokio_boring::connect(configuration, name, stream)
        .await
        .map_err(|error| anyhow::anyhow!("TLS: {error}"))?;
    ensure!(stream.ssl().selected_alpn_protocol() == Some(b"http/1.1"), "no ALPN");
    let certificate = stream.ssl().peer_certificate().context("no certificate")?;
    Ok(certificate.to_der()?)
}

async fn until_logged(relay: &Relay, text: &str) -> Result<()> {
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        loop {
            poll.tick().await;
            if std::fs::read_to_string(relay.log())?.contains(text) {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    tokio::time::timeout(LOG_LIMIT, waiting)
        .await
        .with_context(|| format!("never logged: {text}"))?
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

const LIMIT: Duration = Duration::from_secs(60);
const LOG_LIMIT: Duration = Duration::from_secs(10);
