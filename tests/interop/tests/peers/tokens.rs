//! Tokens: what they grant over each carrier, who is refused, that all ends with them, and keys that change.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use moqswitch_interop::metrics::http_status;
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Carrier, Draft, PlannedGroup, Publisher, Random, RawPeer, Relay, Subscriber};
use moqswitch_proto::wire::{Setup, Version};
use moqswitch_relay::auth::token::{Algorithm, Key};
use ring::rand::SystemRandom;
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_it_grants_over_each_carrier() -> Result<()> {
    let key = KeyFile::new("grants")?;
    let Some(relay) = start(&key).await? else { return Ok(()) };
    let publisher_token = key.sign(r#"{"root":"call/7","publish":["alice/**","*/chat"]}"#)?;
    let subscriber_token = key.sign(r#"{"root":"call","get":["7"]}"#)?;
    for carrier in Carrier::ALL {
        let exchange = async {
            let publisher = Publisher::connect_to(url(carrier, &relay, "/call/7", &publisher_token), DRAFT).await?;
            let mut subscriber =
                Subscriber::connect_to(url(carrier, &relay, "/call/7", &subscriber_token), DRAFT, "").await?;
            // What is not granted is announced first, so it would be heard first.
            let _bob = publisher.publish("bob", "audio", &group())?;
            let _chat = publisher.publish("bob/chat", "text", &group())?;
            let others = subscriber.until_announced("bob/chat", true).await?;
            let mut call = Call::start(&publisher, &mut subscriber, "alice/mic", Random::new(7)).await?;
            call.exchange().await?;
            ensure!(others.iter().all(|(path, _)| path != "bob"), "bob was heard");

            // Who may only subscribe is not heard.
            let listener = Publisher::connect_to(url(carrier, &relay, "/call/7", &subscriber_token), DRAFT).await?;
            let _carol = listener.publish("carol", "audio", &group())?;
            let _dave = publisher.publish("alice/last", "audio", &group())?;
            let others = subscriber.until_announced("alice/last", true).await?;
            ensure!(others.iter().all(|(path, _)| path != "carol"), "carol was heard");
            anyhow::Ok(())
        };
        exchange.await.with_context(|| format!("{carrier:?}"))?;
    }
    let fetched = async |token: &str| http_status(relay.http(), &format!("/fetch/call/7/alice/x/y?jwt={token}")).await;
    // Nobody publishes it, or it may not be asked for.
    ensure!(fetched(&subscriber_token).await? == 404, "HTTP");
    ensure!(fetched(&publisher_token).await? == 401, "HTTP");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_good_token_is_refused() -> Result<()> {
    let key = KeyFile::new("refused")?;
    let Some(relay) = start(&key).await? else { return Ok(()) };
    let good = key.sign(r#"{"root":"call","put":"","get":""}"#)?;
    let expired = key.sign(r#"{"root":"call","put":"","exp":1}"#)?;
    let other = KeyFile::new("other")?;
    let forged = other.sign(r#"{"root":"call","put":"","get":""}"#)?;
    let mut random = Random::new(1);
    for (path, token, is_let_in) in [
        // The first, since of many refusals in a second some are logged alone.
        ("/call", expired.as_str(), false),
        ("/call/7", &good, true),
        ("/anon", "", true),
        ("/call", "", false),
        ("/other", &good, false),
        ("/anon", &good, false),
        ("/call", &forged, false),
        // A bad token is not as good as none.
        ("/anon", "a.b.c", false),
    ] {
        let target = format!("{path}?jwt={token}");
        let mut peer = RawPeer::dial(relay.udp(), DRAFT.alpn().as_bytes(), &mut random).await?;
        peer.handshake().await?;
        peer.send(FIRST_UNI, &setup_with_path(&target)?, true).await?;
        if is_let_in {
            ensure!(peer.until_closed(QUIET).await.is_err(), "{target} was refused");
        } else {
            let closed = peer.until_closed(LIMIT).await.with_context(|| target.clone())?;
            ensure!(closed == (true, UNAUTHORIZED), "{target}: {closed:?}");
        }
        let web = Publisher::connect_to(url(Carrier::WebTransport, &relay, path, token), DRAFT).await;
        ensure!(web.is_ok() == is_let_in, "{target} over WebTransport: {}", web.is_ok());
    }
    let log = std::fs::read_to_string(relay.log())?;
    ensure!(log.contains("the token has expired"), "the log does not say why");
    ensure!(!log.contains(&good) && !log.contains(&forged), "a token is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_granted_ends_when_it_expires() -> Result<()> {
    let key = KeyFile::new("expires")?;
    let Some(relay) = start(&key).await? else { return Ok(()) };
    let watching = key.sign(r#"{"get":""}"#)?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::Quic, &relay, "/", &watching), DRAFT, "").await?;
    let mut delays = Vec::new();
    // A busy machine may hold one of them up, but not each time.
    for carrier in Carrier::ALL.into_iter().flat_map(|carrier| [carrier; TRIES]) {
        if delays
            .last()
            .is_some_and(|(tried, late)| *tried == carrier && *late < LAPSE_MAX)
        {
            continue;
        }
        // Seconds are whole: between one and two from now on.
        let expires = since_1970(SystemTime::now())?.as_secs() + 2;
        let token = key.sign(&format!(r#"{{"put":"call","exp":{expires}}}"#))?;
        let publisher = Publisher::connect_to(url(carrier, &relay, "/call", &token), DRAFT).await?;
        let _published = publisher.publish("mic", "audio", &group())?;
        subscriber.until_announced("call/mic", true).await?;
        subscriber.until_announced("call/mic", false).await?;
        let late = since_1970(SystemTime::now())?.checked_sub(Duration::from_secs(expires));
        delays.push((carrier, late.with_context(|| format!("{carrier:?}: it ended early"))?));
        let closed = async {
            while publisher.is_connected() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, closed)
            .await
            .with_context(|| format!("{carrier:?}: the session stays"))?;
    }
    for carrier in Carrier::ALL {
        let is_exact = |(tried, late): &(Carrier, Duration)| *tried == carrier && *late < LAPSE_MAX;
        ensure!(delays.iter().any(is_exact), "{carrier:?}: {delays:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_while_the_relay_goes_on() -> Result<()> {
    let key = KeyFile::new("replaced")?;
    let Some(relay) = start(&key).await? else { return Ok(()) };
    let claims = r#"{"put":"call","get":"call"}"#;
    let old = key.sign(claims)?;
    let publisher = Publisher::connect_to(url(Carrier::Quic, &relay, "/call", &old), DRAFT).await?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::WebSocket, &relay, "/call", &old), DRAFT, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "a", Random::new(3)).await?;
    call.exchange().await?;
    let is_accepted = async |token: &str| {
        http_status(relay.http(), &format!("/fetch/call/x/y?jwt={token}"))
            .await
            .is_ok_and(|status| status != 401)
    };

    // What is no key changes nothing, and is told.
    std::fs::write(&key.path, "{}")?;
    relay.signal("-HUP").await?;
    until_logged(&relay, "token keys not reloaded").await?;
    ensure!(is_accepted(&old).await, "the old keys are gone");

    // Another one is seen without a signal.
    let other = key.replace()?;
    let new = other.sign(claims, &SystemRandom::new())?;
    until_logged(&relay, "token keys reloaded").await?;
    ensure!(
        is_accepted(&new).await && !is_accepted(&old).await,
        "the new keys are not there"
    );
    let web = |token: &str| url(Carrier::WebTransport, &relay, "/call", token);
    ensure!(
        Publisher::connect_to(web(&new), DRAFT).await.is_ok(),
        "the shard has the old keys"
    );
    ensure!(
        Publisher::connect_to(web(&old), DRAFT).await.is_err(),
        "the shard has the old keys"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_key_let_in_ends_and_nothing_else() -> Result<()> {
    let (key, other) = (KeyFile::new("removed")?, KeyFile::new("stays")?);
    let set = |keys: &[&Key]| -> Result<String> {
        let keys = keys.iter().map(|key| Ok(key.to_public()?.to_json()));
        Ok(format!(
            r#"{{"keys":[{}]}}"#,
            keys.collect::<Result<Vec<_>>>()?.join(",")
        ))
    };
    std::fs::write(&key.path, set(&[&key.key, &other.key])?)?;
    let Some(relay) = start(&key).await? else { return Ok(()) };
    let claims = r#"{"put":"call","get":"call"}"#;
    let (gone, stays) = (key.sign(claims)?, other.sign(claims)?);
    let publisher = Publisher::connect_to(url(Carrier::WebTransport, &relay, "/call", &stays), DRAFT).await?;
    let mut subscriber = Subscriber::connect_to(url(Carrier::Quic, &relay, "/call", &stays), DRAFT, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "a", Random::new(3)).await?;
    call.exchange().await?;
    let mut ending = Vec::new();
    for carrier in Carrier::ALL {
        let publisher = Publisher::connect_to(url(carrier, &relay, "/call", &gone), DRAFT).await?;
        let published = publisher.publish(&format!("{carrier:?}"), "audio", &group())?;
        ending.push((carrier, publisher, published));
    }
    std::fs::write(&key.path, set(&[&other.key])?)?;
    relay.signal("-HUP").await?;
    for (carrier, publisher, _published) in &ending {
        let closed = async {
            while publisher.is_connected() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::time::timeout(LIMIT, closed).await;
        ended.with_context(|| format!("{carrier:?}: the session of the removed key stays"))?;
    }
    call.exchange().await?;
    let metrics = relay.metrics().await?;
    ensure!(
        metrics.sum_containing("moqswitch_sessions_revoked_total") == ending.len() as f64,
        "the counter"
    );
    Ok(())
}

/// A key in a file of which the relay knows.
struct KeyFile {
    key: Key,
    path: PathBuf,
}

impl KeyFile {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("moqswitch-tokens-{}-{name}.jwk", std::process::id()));
        let key = Key::generate(Algorithm::ES256, name, &SystemRandom::new())?;
        std::fs::write(&path, key.to_public()?.to_json())?;
        Ok(Self { key, path })
    }

    fn sign(&self, claims: &str) -> Result<String> {
        Ok(self.key.sign(claims, &SystemRandom::new())?)
    }

    fn replace(&self) -> Result<Key> {
        let key = Key::generate(Algorithm::EdDSA, "new", &SystemRandom::new())?;
        std::fs::write(&self.path, key.to_public()?.to_json())?;
        Ok(key)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `None`: it is another relay, which has no such setting.
async fn start(key: &KeyFile) -> Result<Option<Relay>> {
    let path = key.path.to_string_lossy();
    let settings = [("MOQSWITCH_AUTH_KEY", &*path), ("MOQSWITCH_AUTH_PUBLIC", "anon/**")];
    let relay = Relay::start_with(2, &settings).await?;
    Ok((relay.kind() == RelayKind::Moqswitch).then_some(relay))
}

fn url(carrier: Carrier, relay: &Relay, path: &str, token: &str) -> Url {
    let mut url = carrier.url(relay);
    url.set_path(path);
    url.set_query(Some(&format!("jwt={token}")));
    url
}

fn group() -> PlannedGroup {
    Random::new(9).group(0, &[10])
}

fn since_1970(at: SystemTime) -> Result<Duration> {
    Ok(at.duration_since(SystemTime::UNIX_EPOCH)?)
}

async fn until_logged(relay: &Relay, text: &str) -> Result<()> {
    let waiting = async {
        while !std::fs::read_to_string(relay.log())?.contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .with_context(|| format!("no line with {text}"))?
}

/// The SETUP stream of a client that names its path.
pub(crate) fn setup_with_path(path: &str) -> Result<Vec<u8>> {
    let setup = Setup {
        path: Some(path.into()),
        ..Setup::default()
    };
    let mut bytes = BytesMut::new();
    setup.encode(Version::Lite06, &mut bytes)?;
    Ok([&[1][..], &bytes].concat())
}

const DRAFT: Draft = Draft::Lite06;
const FIRST_UNI: u64 = 2;
const UNAUTHORIZED: u64 = 2;
const LIMIT: Duration = Duration::from_secs(20);

/// Long enough for a refusal to come.
const QUIET: Duration = Duration::from_millis(300);

/// Of each carrier.
const TRIES: usize = 5;

/// What was granted ends so soon.
const LAPSE_MAX: Duration = Duration::from_millis(100);
