//! A switch on loopback, phones by WebSocket, and what they said to each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use moqswitch_signalling::calls::{Grants, SessionId};
use moqswitch_signalling::{MediaPlane, Place, RecordingMedia, Settings, Signalling, SignallingHandle};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

/// Each has an id of its own, also of a phone that came back.
static SYNCS: AtomicU32 = AtomicU32::new(1);

/// Nothing in a test takes so long; it is there so that a test that fails ends.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) struct Switch {
    pub(crate) address: SocketAddr,
    pub(crate) media: RecordingMedia,
    pub(crate) handle: Option<SignallingHandle>,
}

impl Switch {
    pub(crate) async fn start(settings: Settings) -> Self {
        let media = RecordingMedia::default();
        Self::with_media(settings, media.clone(), Box::new(media)).await
    }

    /// With another plane of media than the one that remembers.
    pub(crate) async fn with_media(settings: Settings, media: RecordingMedia, plane: Box<dyn MediaPlane>) -> Self {
        let handle = Signalling::start(settings, plane).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = handle.router().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let handle = Some(handle);
        Self { address, media, handle }
    }

    /// One in another process.
    pub(crate) fn elsewhere(address: SocketAddr) -> Self {
        Self {
            address,
            media: RecordingMedia::default(),
            handle: None,
        }
    }

    pub(crate) fn handle(&self) -> &SignallingHandle {
        self.handle.as_ref().expect("it is in this process")
    }

    /// Records are not waited for, and media does not end calls: there is none. Nobody is closed for having been slow: the
    /// machine may be busy, and a phone of a test answers pings only while it is listened to.
    pub(crate) fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.times.first_message = PATIENCE;
        settings.times.silence = PATIENCE;
        settings.times.request = PATIENCE;
        settings.calls.half_dead = Duration::ZERO;
        settings.calls.counters_wait = Duration::ZERO;
        settings
    }

    pub(crate) async fn plain() -> Self {
        Self::start(Self::settings()).await
    }

    /// Whatever rings does so until it is answered, and who is lost may come back for as long as a test may take.
    pub(crate) fn patient() -> Settings {
        let mut settings = Self::settings();
        settings.calls.ring = Duration::from_secs(180);
        settings.calls.grace_alerting = PATIENCE / 2;
        settings.calls.grace_up = PATIENCE;
        settings
    }

    pub(crate) async fn phone(&self, dn: &str) -> Phone {
        let mut phone = Phone::connect(self.address, "/signaling").await;
        phone.register(dn).await;
        phone
    }

    pub(crate) fn grants(&self, phone: &Phone) -> Grants {
        self.media.grants_of(phone.session())
    }

    /// One request by HTTP: status, headers and body.
    pub(crate) async fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.address
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Who asks again and again until something is so stays below the rate of one address.
    pub(crate) async fn breathe(&self) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// What it refused, as `/api/stats` says it: a place and a code, none being zero.
    pub(crate) fn refused(&self, place: Place, code: u16) -> u64 {
        let refused = self.handle().refused().into_iter();
        refused
            .filter(|one| one.place == place && one.code == code)
            .map(|one| one.count)
            .sum()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.http("POST", path, &[("Content-Type", "application/json")], &body.to_string())
            .await
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

pub(crate) struct Phone {
    socket: WebSocketStream<TcpStream>,
    sent: u32,
    /// Everything that was said, `>` and `<`.
    pub(crate) said: Vec<(char, Value)>,
    pub(crate) session: Option<String>,
    last_seq: u64,
}

impl Phone {
    pub(crate) async fn connect(address: SocketAddr, path: &str) -> Self {
        Self::try_connect(address, path, None).await.unwrap()
    }

    pub(crate) async fn try_connect(
        address: SocketAddr,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", origin.parse().unwrap());
        }
        Self::open(request, stream).await
    }

    /// As a browser connects that takes the switch for another host.
    pub(crate) async fn named(address: SocketAddr, host: &str, origin: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{host}/ws").into_client_request().unwrap();
        request.headers_mut().insert("Origin", origin.parse().unwrap());
        Self::open(request, stream).await.unwrap()
    }

    async fn open(request: Request, stream: TcpStream) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self {
            socket,
            sent: 0,
            said: Vec::new(),
            session: None,
            last_seq: 0,
        })
    }

    pub(crate) async fn register(&mut self, dn: &str) -> Value {
        self.send(
            "register",
            json!({ "dn": dn, "password": "x", "displayName": format!("Agent {dn}") }),
        )
        .await;
        let registered = self.expect("registered").await;
        self.session = registered["session"].as_str().map(str::to_owned);
        registered
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session.as_deref().unwrap().parse().unwrap()
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(crate) async fn send(&mut self, kind: &str, payload: Value) -> String {
        self.sent += 1;
        let id = format!("msg-{}", self.sent);
        self.raw(json!({ "type": kind, "payload": payload, "id": id })).await;
        id
    }

    pub(crate) async fn raw(&mut self, message: Value) {
        let text = message.to_string();
        self.said.push(('>', message));
        self.text(&text).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        // The other side may have closed it: who reads is told.
        let _ = self.socket.send(Message::Text(text.into())).await;
    }

    pub(crate) async fn binary(&mut self, bytes: Vec<u8>) {
        let _ = self.socket.send(Message::Binary(bytes.into())).await;
    }

    /// The next message, or the code by which the socket was closed.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            // Pings alone do not make it longer.
            let next = tokio::time::timeout_at(deadline, self.socket.next()).await;
            match next.unwrap_or_else(|_| panic!("no message in time, after {:#?}", self.said.last())) {
                Some(Ok(Message::Text(text))) => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    if let Some(seq) = value["seq"].as_u64() {
                        self.last_seq = self.last_seq.max(seq);
                    }
                    self.said.push(('<', value.clone()));
                    return Ok(value);
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    self.said.push(('<', json!({ "close": code })));
                    return Err(code);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// The payload of the next message of a type; others before it are passed over.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        self.expect_whole(kind).await["payload"].take()
    }

    pub(crate) async fn expect_whole(&mut self, kind: &str) -> Value {
        let mut passed = Vec::new();
        loop {
            match self.next().await {
                Ok(message) if message["type"] == kind => return message,
                Ok(message) => passed.push(message),
                Err(code) => panic!("closed {code}, waiting for {kind}, after {passed:#?}"),
            }
        }
    }

    /// Waits until the switch has done everything that this phone asked, and this phone has heard of it. What others asked
    /// before is done as well.
    pub(crate) async fn sync(&mut self) {
        let text = json!({ "type": "subscribe", "payload": { "dns": [] }, "id": "sync" }).to_string();
        let id = format!("sync-{}", SYNCS.fetch_add(1, Ordering::Relaxed));
        self.text(&text.replace("sync", &id)).await;
        loop {
            let message = self.next().await.unwrap();
            if message["id"] == *id {
                self.said.pop();
                return;
            }
        }
    }

    /// What has come and nothing has waited for, when everything is done that this phone asked.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let known = self.said.len();
        self.sync().await;
        let rest = self.said.drain(known..);
        rest.filter(|(direction, _)| *direction == '<')
            .map(|(_, message)| message)
            .collect()
    }

    /// What came since the last look, without what was sent.
    pub(crate) fn heard(&mut self) -> Vec<Value> {
        let said = std::mem::take(&mut self.said);
        said.into_iter()
            .filter(|(direction, _)| *direction == '<')
            .map(|(_, message)| message)
            .collect()
    }

    /// The code by which the other side closes.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// Cuts the socket without a word.
    pub(crate) fn cut(self) {
        drop(self.socket);
    }
}

/// Ids, times and ports as they are each time.
#[derive(Default)]
pub(crate) struct Normal {
    ids: BTreeMap<String, String>,
}

impl Normal {
    pub(crate) fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| {
                    let is_length = name == "duration" && fields.contains_key("reason");
                    let is_time = (name.ends_with("Ms") || is_length) && value.is_number();
                    (name.clone(), if is_time { json!("<time>") } else { self.value(value) })
                });
                Value::Object(fields.collect())
            }
            Value::Array(values) => values.iter().map(|value| self.value(value)).collect(),
            Value::String(text) => Value::String(self.text(text)),
            other => other.clone(),
        }
    }

    /// Each run of 32 or 16 hexadecimal digits gets a number, in the order in which they come.
    fn text(&mut self, text: &str) -> String {
        let mut normal = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let run = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
            if run == 32 || run == 16 {
                let count = self.ids.len() + 1;
                let name = self
                    .ids
                    .entry(rest[..run].to_owned())
                    .or_insert_with(|| format!("<id-{count}>"));
                normal.push_str(name);
                rest = &rest[run..];
            } else {
                let step = run.max(rest.chars().next().map_or(1, char::len_utf8));
                normal.push_str(&rest[..step]);
                rest = &rest[step..];
            }
        }
        normal
    }
}

/// Writes what was said as lines, and compares it with the file of that name below `golden/`; with `GOLDEN=write` in the
/// environment it writes the file instead.
pub(crate) fn compare(name: &str, phones: &[(&str, &Phone)]) {
    let mut normal = Normal::default();
    let mut lines = String::new();
    for (who, phone) in phones {
        for (direction, message) in &phone.said {
            lines += &format!("{who} {direction} {}\n", normal.value(message));
        }
    }
    compare_text(name, &lines);
}

/// A file of this crate, wherever it was compiled: a build may be of another checkout of the same sources.
pub(crate) fn beside(path: &str) -> String {
    let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".to_owned());
    format!("{directory}/{path}")
}

pub(crate) fn compare_text(name: &str, text: &str) {
    let path = beside(&format!("tests/golden/{name}"));
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{path} differs; GOLDEN=write writes it anew");
}
