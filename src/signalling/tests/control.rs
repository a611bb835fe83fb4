//! A switch with mediaswitch's HTTP, and a control server of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use moqswitch_signalling::MediaswitchSettings;
use moqswitch_signalling::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::harness::{Answer, Phone, Switch};

pub(crate) const DOMAIN: &str = "bling.babblevoice.com";

/// Nothing in a test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Edge {
    pub(crate) switch: Switch,
    /// Its HTTP.
    http: Switch,
}

impl Edge {
    pub(crate) async fn start(own: MediaswitchSettings) -> Self {
        Self::with(own, Switch::settings()).await
    }

    pub(crate) async fn with(own: MediaswitchSettings, settings: Settings) -> Self {
        let settings = Settings {
            mediaswitch: Some(own),
            ..settings
        };
        let switch = Switch::start(settings).await;
        let router = switch.handle().mediaswitch_router().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = Switch::elsewhere(listener.local_addr().unwrap());
        let routes = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { switch, http }
    }

    pub(crate) async fn plain() -> Self {
        Self::start(MediaswitchSettings::default()).await
    }

    /// One whose domain has these users, each with the secret `s`, and is decided on by `control`.
    pub(crate) async fn controlled(control: &Control, users: &[&str]) -> Self {
        let edge = Self::plain().await;
        edge.push(&control.url(), users).await;
        edge
    }

    pub(crate) async fn push(&self, control: &str, users: &[&str]) {
        let users: Vec<Value> = users
            .iter()
            .map(|user| json!({ "username": user, "secret": "s" }))
            .collect();
        let body = json!({ "control": control, "users": users });
        let answer = self.put(&format!("/dir/{DOMAIN}"), &body).await;
        assert_eq!(answer.status, 201);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.http.address
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.http
            .http(method, path, &[("Content-Type", "application/json")], body)
            .await
    }

    pub(crate) async fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.http.http(method, path, headers, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, &body.to_string()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// One action on a dialog.
    pub(crate) async fn act(&self, action: &str, body: &Value) {
        let answer = self.post(&format!("/dialog/{action}"), body).await;
        assert_eq!(answer.status, 200, "{action} {body}: {answer:?}");
    }

    /// A phone of a user of the domain.
    pub(crate) async fn phone(&self, user: &str) -> Phone {
        let mut phone = Phone::connect(self.switch.address, "/ws").await;
        phone
            .send("register", json!({ "dn": format!("{user}@{DOMAIN}"), "password": "s" }))
            .await;
        let registered = phone.expect("registered").await;
        phone.session = registered["session"].as_str().map(str::to_owned);
        phone
    }

    /// Dialogs and calls that there are.
    pub(crate) async fn live(&self) -> (Value, Value) {
        let dialogs = self.get("/dialog").await.json()["count"].take();
        let calls = self.switch.get("/api/calls").await.json()["calls"].take();
        (dialogs, calls)
    }
}

/// A control server that answers as it is told, and remembers what it was told.
pub(crate) struct Control {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    told: mpsc::Receiver<(String, String)>,
}

impl Control {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(200));
        let (tell, told) = mpsc::channel(1000);
        let answers = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, tell.clone(), Arc::clone(&answers)));
            }
        });
        Self { address, status, told }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on it answers so; 0: not at all.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The next request: its method and path, and its body as it came.
    pub(crate) async fn next(&mut self) -> (String, String) {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap()
    }

    /// The next state of a dialog of which `found` is so.
    pub(crate) async fn dialog(&mut self, found: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (what, body) = self.next().await;
            if !what.starts_with("PUT /dialog/") {
                continue;
            }
            let state: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(what, format!("PUT /dialog/{}", state["callid"].as_str().unwrap()));
            if found(&state) {
                return state;
            }
        }
    }

    /// A new call.
    pub(crate) async fn call(&mut self) -> String {
        let state = self
            .dialog(|state| state["originator"] == false && state["hangup"] == false)
            .await;
        state["callid"].as_str().unwrap().to_owned()
    }
}

async fn answer(mut stream: TcpStream, tell: mpsc::Sender<(String, String)>, status: Arc<AtomicU16>) {
    let mut text = String::new();
    let (head, body) = loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        text += std::str::from_utf8(&bytes[..count]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let what = head.split(" HTTP").next().unwrap().to_owned();
    let status = status.load(Ordering::SeqCst);
    tell.send((what, body)).await.unwrap();
    if status == 0 {
        // Until the other side has had enough.
        let _ = stream.read(&mut [0]).await;
        return;
    }
    let _ = stream
        .write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .await;
}
