//! Certificates of clients: who has one gets what is configured for them, over each carrier that has TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Carrier, Draft, PlannedGroup, Publisher, Random, RawPeer, Relay, Subscriber};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::time::{sleep, timeout};
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_opens_what_is_configured_for_it() -> Result<()> {
    let (ours, others) = (Files::new("ours")?, Files::new("others")?);
    let Some(relay) = start(&ours, "optional").await? else {
        return Ok(());
    };
    let mut subscriber = Subscriber::connect_to(url(Carrier::Quic, &relay, "/anon"), DRAFT, "").await?;
    for carrier in Carrier::ALL {
        let exchange = async {
            let edge = Publisher::connect_certified(url(carrier, &relay, "/"), DRAFT, ours.client()).await?;
            // What is not granted is announced first, so it would be heard first.
            let _wrong = edge.publish("anon/wrong", "audio", &group())?;
            let name = format!("edge/{carrier:?}");
            let _right = edge.publish(&format!("anon/{name}"), "audio", &group())?;
            let before = subscriber.until_announced(&name, true).await?;
            ensure!(before.iter().all(|(path, _)| path != "wrong"), "{before:?}");
            // Who has none is as others are.
            let open = Publisher::connect_to(url(carrier, &relay, "/anon"), DRAFT).await?;
            let name = format!("open/{carrier:?}");
            let _open = open.publish(&name, "audio", &group())?;
            subscriber.until_announced(&name, true).await?;
            // One that somebody else issued is not as good as none.
            until_refused(url(carrier, &relay, "/anon"), Some(others.client())).await
        };
        exchange.await.with_context(|| format!("{carrier:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_a_certificate_and_has_none_gets_no_connection() -> Result<()> {
    let ours = Files::new("required")?;
    let Some(relay) = start(&ours, "required").await? else {
        return Ok(());
    };
    for carrier in Carrier::ALL {
        let url = url(carrier, &relay, "/anon/edge");
        let edge = Publisher::connect_certified(url.clone(), DRAFT, ours.client()).await;
        let edge = edge.with_context(|| format!("{carrier:?}"))?;
        until_refused(url, None).await.with_context(|| format!("{carrier:?}"))?;
        ensure!(edge.is_connected(), "{carrier:?}: who has one was closed");
    }
    Ok(())
}

/// New ones for who comes, and nothing for who is there; what is wrong changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_shown_to_who_comes_and_a_call_goes_on() -> Result<()> {
    let place = |part: &str| std::env::temp_dir().join(format!("moqswitch-reloaded-{}-{part}.pem", std::process::id()));
    let (chain, key) = (place("chain"), place("key"));
    let renew = || -> Result<Vec<u8>> {
        let own = KeyPair::generate()?;
        let made = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&own)?;
        std::fs::write(&chain, made.pem())?;
        std::fs::write(&key, own.serialize_pem())?;
        Ok(made.der().to_vec())
    };
    let first = renew()?;
    let settings = [
        ("MOQSWITCH_TLS_CERT", chain.to_str().context("a path")?),
        ("MOQSWITCH_TLS_KEY", key.to_str().context("a path")?),
    ];
    let relay = Relay::start_with(1, &settings).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let publisher = Publisher::connect(relay.udp(), DRAFT).await?;
    let mut subscriber = Subscriber::connect(relay.udp(), DRAFT).await?;
    let mut call = Call::start(&publisher, &mut subscriber, "room/call", Random::new(1)).await?;
    ensure!(shown(&relay).await? == first);
    let second = renew()?;
    relay.signal("-HUP").await?;
    let taken = async {
        while shown(&relay).await? != second {
            call.exchange().await?;
        }
        anyhow::Ok(())
    };
    timeout(LIMIT, taken).await.context("the new one is not shown")??;
    std::fs::write(&chain, "this is no certificate")?;
    relay.signal("-HUP").await?;
    let said = async {
        while !std::fs::read_to_string(relay.log())?.contains("certificates not reloaded") {
            call.exchange().await?;
        }
        anyhow::Ok(())
    };
    timeout(LIMIT, said).await.context("nothing is said of the bad one")??;
    ensure!(shown(&relay).await? == second, "a bad one took the place of a good one");
    call.exchange().await?;
    ensure!(publisher.is_connected() && subscriber.is_connected());
    std::fs::remove_file(chain)?;
    std::fs::remove_file(key)?;
    Ok(())
}

/// The certificate that a client sees who comes now.
async fn shown(relay: &Relay) -> Result<Vec<u8>> {
    let mut peer = RawPeer::connect(relay.udp(), DRAFT, &mut Random::new(2)).await?;
    peer.drive_some().await;
    Ok(peer.certificate().context("none is shown")?.to_vec())
}

/// A certificate authority, and a client's certificate of it.
struct Files {
    authority: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let authority_key = KeyPair::generate()?;
        let authority = params.self_signed(&authority_key)?;
        let issuer = Issuer::new(params, authority_key);
        let mut params = CertificateParams::new(vec!["edge.example".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "edge");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let client = params.signed_by(&key, &issuer)?;
        let place = |part: &str| {
            std::env::temp_dir().join(format!(
                "moqswitch-certificates-{}-{name}-{part}.pem",
                std::process::id()
            ))
        };
        let files = Self {
            authority: place("authority"),
            chain: place("chain"),
            key: place("key"),
        };
        std::fs::write(&files.authority, authority.pem())?;
        std::fs::write(&files.chain, client.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }

    fn client(&self) -> [&Path; 2] {
        [&self.chain, &self.key]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in [&self.authority, &self.chain, &self.key] {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// `None`: it is another relay, whose settings have other names.
async fn start(files: &Files, whether: &str) -> Result<Option<Relay>> {
    let authority = files.authority.to_string_lossy();
    let settings = [
        ("MOQSWITCH_TLS_CLIENT_CA", &*authority),
        ("MOQSWITCH_TLS_CLIENT_AUTH", whether),
        ("MOQSWITCH_AUTH_CLIENT_PUBLISH", "anon/edge/**"),
        ("MOQSWITCH_AUTH_PUBLIC", "anon/**"),
    ];
    let relay = Relay::start_with(2, &settings).await?;
    Ok((relay.kind() == RelayKind::Moqswitch).then_some(relay))
}

/// With TLS 1.3 a client may take the handshake for done before the relay has seen its certificate.
async fn until_refused(url: Url, files: Option<[&Path; 2]>) -> Result<()> {
    let connected = match files {
        Some(files) => Publisher::connect_certified(url, DRAFT, files).await,
        None => Publisher::connect_to(url, DRAFT).await,
    };
    let Ok(publisher) = connected else { return Ok(()) };
    let closed = async {
        while publisher.is_connected() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, closed).await.context("it is let in")
}

fn url(carrier: Carrier, relay: &Relay, path: &str) -> Url {
    let mut url = carrier.url(relay);
    if url.scheme() == "ws" {
        url.set_scheme("wss").expect("both are web schemes");
    }
    url.set_path(path);
    url
}

fn group() -> PlannedGroup {
    Random::new(9).group(0, &[10])
}

const DRAFT: Draft = Draft::Lite06;
const LIMIT: Duration = Duration::from_secs(30);
