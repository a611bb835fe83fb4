//! Mediaswitch's HTTP in other hands: who may use it, what breaks it, and channels.

use std::collections::VecDeque;

use moqswitch_signalling::{
    ApiKey, Channel, ChannelCommand, ChannelCounts, ChannelError, ChannelLoad, ChannelNews, ChannelNotice, ChannelPool,
    MediaswitchSettings, Scope,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::control::{Control, DOMAIN, Edge};

#[tokio::test]
async fn only_this_host_may_without_a_key_and_only_the_key_with_one() {
    let edge = Edge::plain().await;
    for (headers, status) in [
        (&[][..], 200),
        (&[("Origin", "https://evil.example")][..], 403),
        (&[("X-Forwarded-For", "10.0.0.1")][..], 403),
        (&[("Origin", "null")][..], 403),
    ] {
        let answer = edge.ask_with("GET", "/dialog", headers, "").await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let key = ApiKey::new("control", "k", [Scope::Call].into_iter().collect());
    let edge = Edge::start(MediaswitchSettings {
        keys: vec![key],
        ..MediaswitchSettings::default()
    })
    .await;
    for (headers, status) in [
        (&[][..], 401),
        (&[("Authorization", "Bearer x")][..], 401),
        (&[("Authorization", "Bearer k")][..], 200),
        (
            &[("Authorization", "Bearer k"), ("Origin", "https://evil.example")][..],
            403,
        ),
    ] {
        let answer = edge.ask_with("GET", "/dialog", headers, "").await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn hostile_bodies_and_paths_are_answered_and_break_nothing() {
    let control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000"]).await;
    let domain = format!("/dir/{DOMAIN}");
    let deep = "[".repeat(100_000);
    let wide = format!("{{\"users\":[{}]}}", vec!["0"; 100_000].join(","));
    let digits = format!("{{\"maxforwards\":{}}}", "9".repeat(10_000));
    let long = "x".repeat(2 * 1024 * 1024);
    for (path, body, status) in [
        (domain.as_str(), deep.as_str(), 500),
        (domain.as_str(), wide.as_str(), 500),
        (domain.as_str(), "{\"users\":", 500),
        (domain.as_str(), "\u{0}", 500),
        (domain.as_str(), long.as_str(), 413),
        ("/dialog/invite", digits.as_str(), 500),
        ("/dialog/invite", &wide[..60_000], 500),
        ("/dialog/hangup", &long[..100_000], 413),
        ("/dialog/ring", "[[]]", 500),
        ("/dialog/ring", "7", 500),
        ("/dir/a%0d%0aX:%20y", "{}", 400),
        ("/dir/%2e%2e", "{}", 400),
        ("/dir/a%00b", "{}", 400),
        (&format!("{domain}/a%0d%0ab"), r#"{"secret":"x"}"#, 400),
        ("/dialog/ring%0d%0a", "{}", 404),
    ] {
        let answer = edge.ask("PUT", path, body).await;
        assert_eq!(answer.status, status, "{path} {}", &body[..body.len().min(40)]);
    }
    let sly = json!({ "callid": "0".repeat(32), "reason": "x\r\nContent-Length: 0\r\n\r\n", "code": -7 });
    assert_eq!(edge.post("/dialog/hangup", &sly).await.status, 404);
    // A name may not add a header to what the switch says to others.
    let named = json!({
        "from": "1\r\nX: y", "to": { "user": "1000", "domain": DOMAIN },
        "cid": { "number": "1\r\nX: y", "name": "N\r\nX: y" },
    });
    let mut phone = edge.phone("1000").await;
    assert_eq!(edge.post("/dialog/invite", &named).await.status, 200);
    let incoming = phone.expect("incomingCall").await;
    assert_eq!(
        (&incoming["from"], &incoming["displayName"]),
        (&json!("anonymous"), &json!("N  X: y"))
    );
    assert_eq!(
        edge.get(&domain).await.json(),
        json!({ "users": ["1000"], "control": control.url() }),
        "nothing was changed"
    );
}

/// The request breaks off: the next one is answered.
#[tokio::test]
async fn half_a_request_holds_up_nobody() {
    let edge = Edge::plain().await;
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    stream
        .write_all(b"PUT /dir/a.example HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{\"users\":")
        .await
        .unwrap();
    assert_eq!(edge.get("/reg").await.status, 200);
    drop(stream);
    assert_eq!(edge.get("/dir/a.example").await.status, 404);
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x00nonsense\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It is refused or cut; either way the server goes on.
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(edge.get("/reg").await.status, 200);
}

#[tokio::test]
async fn without_rtp_there_are_no_channels() {
    let edge = Edge::plain().await;
    for path in ["/", "/channel", "/channel/"] {
        let answer = edge.ask("POST", path, "{}").await;
        assert!(
            answer.head.starts_with("http/1.1 503 currently out of channels"),
            "{answer:?}"
        );
    }
    for (method, path) in [
        ("DELETE", "/channel/x"),
        ("PUT", "/channel/x"),
        ("PUT", "/channel/x/mix/y"),
        ("PUT", "/channel/x/dance"),
    ] {
        assert_eq!(edge.ask(method, path, "{}").await.status, 404, "{method} {path}");
    }
    let answer = edge.ask("POST", "/", r#"{"control":"x"}"#).await;
    assert_eq!(answer.status, 400);
}

/// Two channels, and what was wanted of them.
#[derive(Debug, Default)]
struct Two {
    open: Vec<String>,
    next: u16,
    done: Vec<ChannelCommand>,
}

impl ChannelPool for Two {
    fn load(&self) -> ChannelLoad {
        let active = self.open.len();
        ChannelLoad {
            active,
            available: 2 - active,
        }
    }

    fn open(&mut self, control: Option<&str>) -> Result<Channel, ChannelError> {
        if self.open.len() == 2 {
            return Err(ChannelError::Exhausted);
        }
        self.next += 1;
        let uuid = format!("{}-{}", control.unwrap_or("none"), self.next).replace("http://", "");
        self.open.push(uuid.clone());
        Ok(Channel {
            uuid,
            ip: "127.0.0.1".to_owned(),
            port: 10_000 + self.next,
        })
    }

    fn close(&mut self, channel: &str) -> Result<(), ChannelError> {
        let at = self.open.iter().position(|open| open == channel);
        self.open.remove(at.ok_or(ChannelError::Unknown)?);
        Ok(())
    }

    fn command(&mut self, channel: &str, command: ChannelCommand) -> Result<(), ChannelError> {
        let is_open = |name: &str| self.open.iter().any(|open| open == name);
        match &command {
            ChannelCommand::Mix(other) if !is_open(other) => return Err(ChannelError::Unknown),
            ChannelCommand::Play(_) => return Err(ChannelError::Unsupported),
            _ => {}
        }
        if !is_open(channel) {
            return Err(ChannelError::Unknown);
        }
        self.done.push(command);
        Ok(())
    }

    fn poll_event(&mut self) -> Option<ChannelNotice> {
        None
    }
}

/// One channel, on which a digit is pressed as soon as it is there.
#[derive(Debug, Default)]
struct Pressed {
    control: Option<String>,
    told: VecDeque<ChannelNotice>,
}

const PRESSED: &str = "0123abcd-0123-0123-0123-0123456789ab";

impl Pressed {
    fn tell(&mut self, news: ChannelNews) {
        let control = self.control.clone().expect("it was opened with a control");
        let channel = PRESSED.to_owned();
        self.told.push_back(ChannelNotice { channel, control, news });
    }
}

impl ChannelPool for Pressed {
    fn load(&self) -> ChannelLoad {
        ChannelLoad {
            active: usize::from(self.control.is_some()),
            available: usize::from(self.control.is_none()),
        }
    }

    fn open(&mut self, control: Option<&str>) -> Result<Channel, ChannelError> {
        self.control = control.map(str::to_owned);
        self.tell(ChannelNews::Digit {
            digit: '#',
            duration_ms: 120,
        });
        Ok(Channel {
            uuid: PRESSED.to_owned(),
            ip: "127.0.0.1".to_owned(),
            port: 10_000,
        })
    }

    fn close(&mut self, _: &str) -> Result<(), ChannelError> {
        let counts = ChannelCounts {
            received: 500,
            dropped: 2,
            lost: 1,
            mos: Some(4.25),
            sent: 499,
            unsent: 3,
        };
        self.tell(ChannelNews::Closed {
            reason: "requested",
            counts,
        });
        self.control = None;
        Ok(())
    }

    fn command(&mut self, _: &str, _: ChannelCommand) -> Result<(), ChannelError> {
        Err(ChannelError::Unsupported)
    }

    fn poll_event(&mut self) -> Option<ChannelNotice> {
        self.told.pop_front()
    }
}

#[tokio::test]
async fn what_happens_on_a_channel_is_told_to_the_server_that_was_named_with_it() {
    let mut control = Control::start().await;
    let edge = Edge::start(MediaswitchSettings {
        channels: Box::new(Pressed::default()),
        ..MediaswitchSettings::default()
    })
    .await;
    let body = json!({ "control": control.url() });
    assert_eq!(edge.post("/", &body).await.status, 200);
    let (request, body) = control.next().await;
    assert_eq!(request, format!("PUT /channel/{PRESSED}"));
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        body,
        json!({ "action": "telephone-event", "event": "#", "duration": 120 })
    );
    // A server that refuses what it is told loses it, and nothing else.
    control.answer(500);
    assert_eq!(edge.ask("DELETE", &format!("/channel/{PRESSED}"), "").await.status, 200);
    let (request, body) = control.next().await;
    assert_eq!(request, format!("PUT /channel/{PRESSED}"));
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let stats = json!({
        "in": { "count": 500, "dropped": 2, "skip": 1, "mos": 4.25 },
        "out": { "count": 499, "skip": 3 },
    });
    assert_eq!(
        body,
        json!({ "action": "close", "reason": "requested", "stats": stats })
    );
    control.answer(200);
    assert_eq!(edge.post("/", &json!({ "control": control.url() })).await.status, 200);
    assert_eq!(control.next().await.0, format!("PUT /channel/{PRESSED}"));
}

#[tokio::test]
async fn channels_are_opened_with_the_load_of_their_server() {
    let edge = Edge::start(MediaswitchSettings {
        channels: Box::new(Two::default()),
        ..MediaswitchSettings::default()
    })
    .await;
    let opened = edge.ask("POST", "/", "{}").await;
    assert_eq!(
        opened.body,
        r#"{"uuid":"none-1","channel":"none-1","port":10001,"ip":"127.0.0.1","channels":{"active":1,"available":1}}"#
    );
    let opened = edge
        .ask("POST", "/channel/", r#"{"control":"http://c:1"}"#)
        .await
        .json();
    assert_eq!(opened["channels"], json!({ "active": 2, "available": 0 }));
    assert_eq!(edge.ask("POST", "/", "").await.status, 503);
    for (method, path, body, status) in [
        (
            "PUT",
            "/channel/none-1",
            r#"{"ip":"127.0.0.1","port":4000,"audio":{"payloads":[0,8]}}"#,
            200,
        ),
        ("PUT", "/channel/none-1/mix/c:1-2", "", 200),
        ("PUT", "/channel/none-1/mix/other", "", 404),
        ("PUT", "/channel/none-1/unmix", "", 200),
        ("PUT", "/channel/none-1/play", r#"{"files":[{"wav":"a.wav"}]}"#, 501),
        ("DELETE", "/channel/other", "", 404),
    ] {
        assert_eq!(edge.ask(method, path, body).await.status, status, "{method} {path}");
    }
    let closed = edge.ask("DELETE", "/channel/none-1", "").await;
    assert_eq!(closed.body, r#"{"channels":{"active":1,"available":1}}"#);
}
