//! The contract of moq-relay 0.17 (crate moq-auth 0.2): one JSON object for each event, and the grant that answers it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use moqswitch_proto::wire::{Role, Version};
use moqswitch_relay::auth::token::grant_below;
use moqswitch_relay::auth::{ClientIdentity, Grant};
use moqswitch_relay::shard::{AdmissionRequest, SessionTransport};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::client::Failure;

/// What is known of a session. The same in each of its events.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    /// 128 random bits in hexadecimal.
    id: String,
    node: String,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<String>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Certificate>,
}

/// The verified certificate of the client.
#[derive(Debug, Serialize)]
struct Certificate {
    name: String,
    /// SHA-256 in hexadecimal.
    fingerprint: String,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    issuer: String,
}

/// A credential that is not in the query. Kind 0 is a format that both ends know; a JWT to `moq auth serve`.
#[derive(Debug, Serialize)]
struct Token {
    kind: u64,
    /// base64url without padding.
    value: String,
}

/// An event of a session.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    Connect,
    Revalidate,
    End {
        reason: &'a str,
        /// In seconds.
        duration: f64,
        #[serde(skip)]
        sent: u64,
        #[serde(skip)]
        received: u64,
    },
}

/// What is asked about one request over HTTP.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// The broadcast, or the prefix of some.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The token of the field Authorization.
    pub bearer: Option<&'a str>,
    pub host: Option<&'a str>,
    pub identity: Option<&'a ClientIdentity>,
    pub remote: Option<SocketAddr>,
}

/// A grant that holds.
#[derive(Debug)]
pub(super) struct Granted {
    /// Where the session's paths are rooted.
    pub(super) root: String,
    pub(super) grant: Grant,
    /// When to ask again.
    pub(super) revalidate: Option<Duration>,
}

/// The answer as it is written. What is not here widens nothing: `mounts` and `tier` are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reply {
    publish: Vec<String>,
    subscribe: Vec<String>,
    root: Option<String>,
    /// Seconds since 1970.
    expires: Option<i64>,
    /// In seconds.
    revalidate: Option<u64>,
    /// The session is another relay's.
    peer: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    event: Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Moved>,
    #[serde(flatten)]
    facts: &'a Facts,
}

#[derive(Serialize)]
struct Moved {
    sent: u64,
    received: u64,
}

impl Facts {
    pub(super) fn of_session(node: &str, request: &AdmissionRequest) -> Self {
        let (path, query) = split(&request.target);
        Self {
            id: random_id(),
            node: node.to_owned(),
            transport: match request.transport {
                SessionTransport::Quic => "quic",
                SessionTransport::WebSocket => "websocket",
            },
            remote: request.remote,
            server_name: request.server_name.clone(),
            alpn: request.version.map(|version: Version| version.name().to_owned()),
            path,
            query,
            token: request.bearer.as_deref().map(Token::out_of_band),
            role: match request.role {
                Role::Both => None,
                Role::Publisher => Some("publisher"),
                Role::Subscriber => Some("subscriber"),
            },
            tls: request.identity.as_ref().map(Certificate::of),
        }
    }

    pub(super) fn of_http(node: &str, request: HttpRequest<'_>) -> Self {
        Self {
            id: random_id(),
            node: node.to_owned(),
            transport: "http",
            remote: request.remote,
            server_name: request.host.map(str::to_owned),
            alpn: None,
            path: format!("/{}", request.path.trim_start_matches('/')),
            query: request.query.map(str::to_owned),
            token: request.bearer.map(Token::out_of_band),
            role: None,
            tls: request.identity.map(Certificate::of),
        }
    }

    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// The JSON of an event.
    pub(super) fn body(&self, event: Event<'_>) -> Bytes {
        let bytes = match event {
            Event::End { sent, received, .. } => Some(Moved { sent, received }),
            Event::Connect | Event::Revalidate => None,
        };
        let body = Body {
            event,
            bytes,
            facts: self,
        };
        serde_json::to_vec(&body).expect("texts and numbers serialise").into()
    }
}

impl Certificate {
    fn of(identity: &ClientIdentity) -> Self {
        let expires = identity.expires.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            name: identity.name.clone(),
            fingerprint: identity.fingerprint.clone(),
            expires: expires.ok().map(|since| since.as_secs()),
            issuer: identity.issuer.clone(),
        }
    }
}

impl Token {
    fn out_of_band(token: &str) -> Self {
        Self {
            kind: 0,
            value: base64url(token.as_bytes()),
        }
    }
}

impl Granted {
    /// Reads an answer, and holds it against what the contract demands: something is granted, it has not expired, and who
    /// is asked again has an end.
    pub(super) fn parse(text: &[u8], facts: &Facts) -> Result<Self, Failure> {
        let reply: Reply = serde_json::from_slice(text).map_err(|error| Failure::answer(error.to_string()))?;
        if reply.publish.is_empty() && reply.subscribe.is_empty() {
            return Err(Failure::useless());
        }
        let root = reply.root.unwrap_or_else(|| facts.path.clone());
        let grant = grant_below(&root, reply.publish, reply.subscribe);
        let grant = grant.map_err(|error| Failure::answer(error.to_string()))?;
        let expires = reply.expires.map(time_of).transpose()?.flatten();
        if expires.is_some_and(|at| at <= SystemTime::now()) {
            return Err(Failure::answer("the grant has expired".to_owned()));
        }
        let revalidate = reply.revalidate.map(Duration::from_secs);
        if revalidate.is_some_and(|every| every.is_zero()) {
            return Err(Failure::answer("`revalidate` is 0".to_owned()));
        }
        if revalidate.is_some() && reply.expires.is_none() {
            return Err(Failure::answer("`revalidate` without `expires`".to_owned()));
        }
        Ok(Self {
            root,
            grant: Grant {
                expires,
                is_peer: reply.peer,
                ..grant
            },
            revalidate,
        })
    }
}

/// `None`: later than any clock tells.
fn time_of(seconds: i64) -> Result<Option<SystemTime>, Failure> {
    let seconds = u64::try_from(seconds).map_err(|_| Failure::answer("`expires` lies before 1970".to_owned()))?;
    Ok(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
}

/// The path as it was dialed, which begins with a slash, and the query.
fn split(target: &str) -> (String, Option<String>) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    (path, query)
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel's random generator is available after boot");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn base64url(bytes: &[u8]) -> String {
    boring::base64::encode_block(bytes)
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

#[cfg(test)]
mod tests {
    use moqswitch_relay::routing::PeerKey;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn events_are_those_of_moq_auth() {
        // What the tests of moq-auth 0.2.2 have.
        let vector = r#"{"id":"00ff","event":"end","reason":"expired","duration":1.5,"bytes":{"sent":10,"received":20},"node":"relay-1","transport":"websocket","remote":"203.0.113.9:4433","path":"/demo/room","query":"jwt=abc"}"#;
        let facts = Facts {
            id: "00ff".to_owned(),
            ..facts("/demo/room?jwt=abc")
        };
        let end = Event::End {
            reason: "expired",
            duration: 1.5,
            sent: 10,
            received: 20,
        };
        assert_eq!(value(&facts, end), serde_json::from_str::<Value>(vector).unwrap());
        let connect = value(&facts, Event::Connect);
        assert_eq!((&connect["event"], connect.get("bytes")), (&json!("connect"), None));
        assert_eq!(value(&facts, Event::Revalidate)["event"], "revalidate");
    }

    #[test]
    fn a_session_is_described_as_it_came() {
        let request = AdmissionRequest {
            transport: SessionTransport::Quic,
            bearer: Some("\u{0}\u{7fb}".to_owned()),
            server_name: Some("relay.example".to_owned()),
            version: Some(Version::Lite06),
            role: Role::Publisher,
            ..request("")
        };
        let facts = Facts::of_session("n", &request);
        assert_eq!(facts.id.len(), 32);
        let value = value(&facts, Event::Connect);
        assert_eq!(value["token"], json!({ "kind": 0, "value": "AN-7" }));
        let told = ["transport", "path", "alpn", "role", "server_name"].map(|name| value[name].clone());
        assert_eq!(
            told,
            ["quic", "/", "moq-lite-06", "publisher", "relay.example"].map(Value::from)
        );
        assert_eq!(value.get("query"), None);
        assert_ne!(Facts::of_session("n", &request).id, facts.id);
    }

    #[test]
    fn grants_of_moq_auth_are_read() {
        let vector = r#"{"publish":["alice/**"],"subscribe":["**"],"root":"pid/room","expires":4102444800,"revalidate":60,"tier":"websocket","peer":true}"#;
        let granted = Granted::parse(vector.as_bytes(), &facts("/demo")).unwrap();
        assert_eq!(
            (&*granted.root, granted.revalidate),
            ("pid/room", Some(Duration::from_secs(60)))
        );
        let texts = (granted.grant.publish.to_string(), granted.grant.subscribe.to_string());
        assert_eq!(texts, ("pid/room/alice/**".to_owned(), "pid/room/**".to_owned()));
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
        assert_eq!(granted.grant.expires, Some(expires));
        let dialed = Granted::parse(br#"{"subscribe":["x"]}"#, &facts("/demo/a?b")).unwrap();
        assert_eq!((&*dialed.root, dialed.grant.expires), ("/demo/a", None));
        assert_eq!(dialed.grant.subscribe.to_string(), "demo/a/x");
    }

    #[test]
    fn answers_that_cannot_be_honoured_let_nobody_in() {
        for (text, reason) in [
            ("", "EOF"),
            ("[]", "EOF"),
            ("{}", "granted nothing"),
            (r#"{"publish":[],"expires":4102444800}"#, "granted nothing"),
            (r#"{"publish":["**"],"publish":["a"]}"#, "duplicate"),
            (r#"{"publish":["a**"]}"#, "more than one `*`"),
            (r#"{"publish":"a"}"#, "invalid type"),
            (r#"{"publish":["a"],"expires":1}"#, "has expired"),
            (r#"{"publish":["a"],"expires":-1}"#, "before 1970"),
            (r#"{"publish":["a"],"revalidate":5}"#, "without `expires`"),
            (r#"{"publish":["a"],"revalidate":0,"expires":4102444800}"#, "is 0"),
        ] {
            let failure = Granted::parse(text.as_bytes(), &facts("/")).unwrap_err().to_string();
            assert!(failure.contains(reason) || text == "[]", "{text}: {failure}");
        }
    }

    fn value(facts: &Facts, event: Event<'_>) -> Value {
        serde_json::from_slice(&facts.body(event)).unwrap()
    }

    fn facts(target: &str) -> Facts {
        Facts::of_session("relay-1", &request(target))
    }

    fn request(target: &str) -> AdmissionRequest {
        AdmissionRequest {
            shard: 0,
            session: PeerKey {
                index: 1,
                generation: 0,
            },
            transport: SessionTransport::WebSocket,
            remote: Some("203.0.113.9:4433".parse().unwrap()),
            target: target.to_owned(),
            bearer: None,
            identity: None,
            server_name: None,
            version: None,
            role: Role::Both,
        }
    }
}
