//! Legs of WebRTC on the shards of a relay, with browsers over loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
use moqswitch_webrtc::exercise::Browser;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

use super::*;

/// Of which no other test has addresses.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 78, 1));
const LIMIT: Duration = Duration::from_secs(30);

/// A browser on a socket.
struct Caller {
    browser: Browser,
    socket: UdpSocket,
    says: u32,
}

impl Caller {
    async fn new() -> Self {
        let socket = UdpSocket::bind((HOST, 0)).await.unwrap();
        let made = DevelopmentCertificate::generate(&[], SystemTime::now()).unwrap();
        let certificate = Certificate {
            certificate: made.certificate_der,
            key: made.key_der,
        };
        let address = socket.local_addr().unwrap();
        Self {
            browser: Browser::new(&certificate, address, &[Codec::Opus], std::time::Instant::now()),
            socket,
            says: 0,
        }
    }

    /// Goes on until something is so; meanwhile it speaks, if it may.
    async fn run(&mut self, speaks: bool, is_done: impl Fn(&Browser) -> bool) {
        let deadline = Instant::now() + LIMIT;
        let mut datagram = [0; 2000];
        while !is_done(&self.browser) {
            assert!(Instant::now() < deadline, "it takes too long");
            let now = std::time::Instant::now();
            if speaks && self.browser.is_up {
                self.says += 1;
                self.browser.speak(111, self.says, &[7; 60], now);
            }
            let (sent, _) = self.browser.poll();
            for (destination, datagram) in sent {
                self.socket.send_to(&datagram, destination).await.unwrap();
            }
            let until = Instant::now() + Duration::from_millis(20);
            while let Ok(received) = timeout_at(until, self.socket.recv_from(&mut datagram)).await {
                let (length, source) = received.unwrap();
                self.browser
                    .handle_datagram(source, &datagram[..length], std::time::Instant::now());
            }
            self.browser.handle_timeout(std::time::Instant::now());
        }
    }
}

fn start() -> (RelayHandle, Browsers) {
    let relay = Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(1),
        ..RelayOptions::default()
    })
    .unwrap();
    let config = WebrtcConfig {
        listen: (HOST, 0).into(),
        address: HOST,
        ice_servers: Vec::new(),
        turn_secret: None,
        turn_life: Duration::from_secs(60),
        is_by_itself: true,
    };
    let browsers = Browsers::start(&config, relay.ports()).unwrap();
    (relay, browsers)
}

async fn stop(relay: RelayHandle) {
    relay.drain(Duration::ZERO);
    tokio::task::spawn_blocking(move || relay.join())
        .await
        .unwrap()
        .unwrap();
}

fn wanted(broadcast: &str, receives: bool, sends: bool) -> BrowserWanted {
    BrowserWanted {
        opener: Opener::Endpoints,
        broadcast: broadcast.to_owned(),
        codecs: vec![Codec::Opus],
        receives,
        sends,
    }
}

async fn next(browsers: &Browsers) -> (BrowserLeg, LegEvent) {
    let news = browsers.news(Opener::Endpoints);
    let waiting = async {
        loop {
            if let Some(told) = browsers.poll(Opener::Endpoints) {
                return told;
            }
            news.notified().await;
        }
    };
    timeout(LIMIT, waiting).await.expect("something happens")
}

#[tokio::test]
async fn what_one_browser_says_another_hears_whatever_strangers_send() {
    let (relay, browsers) = start();
    let (mut speaker, mut hearer) = (Caller::new().await, Caller::new().await);
    let offer = speaker.browser.offer(true, false);
    let (published, answer) = browsers.answer(&wanted("room/a", true, false), &offer).unwrap();
    speaker.browser.answered(&answer);
    let offer = hearer.browser.offer(false, true);
    let (heard, answer) = browsers.answer(&wanted("room/a", false, true), &offer).unwrap();
    hearer.browser.answered(&answer);
    assert!(browsers.hear(heard, Some(BroadcastPath::new("room/a").into())));
    assert_eq!(browsers.legs(), [2]);

    // Nobody's, of all kinds.
    let stranger = UdpSocket::bind((HOST, 0)).await.unwrap();
    let (_, address) = browsers.lock().least_busy().unwrap();
    for first in 0..=u8::MAX {
        for length in [1, 2, 19, 20, 28, 100, 1400] {
            stranger.send_to(&vec![first; length], address).await.unwrap();
        }
    }
    tokio::join!(
        speaker.run(true, |browser| browser.is_up),
        hearer.run(false, |browser| browser.is_up)
    );
    // The one goes on until the other has heard it.
    let hears = hearer.run(false, |browser| browser.heard.len() >= 5);
    tokio::select! {
        () = speaker.run(true, |_| false) => {}
        () = hears => {}
    }
    let packets = &hearer.browser.heard;
    assert!(
        packets.iter().all(|packet| packet.payload[..] == [7; 60]),
        "{packets:?}"
    );

    // Who ends it is gone, and what it said is over.
    speaker.browser.close();
    let (sent, _) = speaker.browser.poll();
    for (destination, datagram) in sent {
        speaker.socket.send_to(&datagram, destination).await.unwrap();
    }
    let (leg, event) = next(&browsers).await;
    assert!(leg == published && matches!(event, LegEvent::Gone { .. }), "{event:?}");
    browsers.close(published);
    browsers.close(heard);
    let mut closed = Vec::new();
    while closed.len() < 2 {
        let (leg, event) = next(&browsers).await;
        if matches!(event, LegEvent::Closed { .. }) {
            closed.push(leg);
        }
    }
    assert_eq!(browsers.legs(), [0]);
    stop(relay).await;
}

#[tokio::test]
async fn who_is_called_answers_and_what_cannot_be_is_refused() {
    let (relay, browsers) = start();
    let (offer, text) = browsers.offer(wanted("call/7/1", true, true)).unwrap();
    assert_eq!(browsers.legs(), [0], "nobody has answered");
    let mut called = Caller::new().await;
    let answer = called.browser.answer(&text);
    let leg = browsers.open(&mut offer.accept(&answer).ok(), None).unwrap();
    called.run(false, |browser| browser.is_up).await;
    assert_eq!(browsers.legs(), [1]);
    browsers.close(leg);
    let (closed, event) = next(&browsers).await;
    assert!(closed == leg && matches!(event, LegEvent::Closed { .. }));

    let refused = browsers.answer(&wanted("room/b", true, false), "v=0\r\n");
    assert!(matches!(refused, Err(BrowserError::Description(_))));
    // A path that cannot be announced is told by the shard.
    let mut caller = Caller::new().await;
    let offer = caller.browser.offer(true, false);
    let (leg, _) = browsers
        .answer(&wanted(&"x".repeat(100_000), true, false), &offer)
        .unwrap();
    let (refused, event) = next(&browsers).await;
    assert!(refused == leg && matches!(event, LegEvent::Refused { .. }), "{event:?}");
    assert_eq!(browsers.legs(), [0]);
    stop(relay).await;
}

#[tokio::test]
async fn who_speaks_or_hears_when_that_is_not_wanted_is_refused() {
    let (relay, browsers) = start();
    for (speaks, hears) in [(false, true), (true, false)] {
        let mut caller = Caller::new().await;
        let offer = caller.browser.offer(speaks, hears);
        // It is to speak where it only hears, and the other way round.
        let refused = browsers.answer(&wanted("room/a", hears, speaks), &offer);
        assert!(matches!(refused, Err(BrowserError::OtherWay)), "{speaks} {hears}");
        // Who wants both may be held.
        browsers.answer(&wanted("call/7/1", true, true), &offer).unwrap();
    }
    stop(relay).await;
}

#[tokio::test]
async fn ends_are_told_however_little_was_asked_for() {
    let (relay, browsers) = start();
    let mut caller = Caller::new().await;
    let offer = caller.browser.offer(true, false);
    let (leg, _) = browsers.answer(&wanted("room/a", true, false), &offer).unwrap();
    {
        let mut pool = browsers.lock();
        let digit = LegEvent::Digit {
            leg: leg.leg,
            digit: '1',
            duration_ms: 100,
        };
        for _ in 0..2 * BROWSER_EVENTS_MAX {
            pool.take(leg, digit.clone());
        }
        assert_eq!(pool.told[Opener::Endpoints as usize].len(), BROWSER_EVENTS_MAX / 2);
        for _ in 0..BROWSER_EVENTS_MAX {
            pool.take(leg, LegEvent::Gone { leg: leg.leg });
        }
    }
    let told = std::iter::from_fn(|| browsers.poll(Opener::Endpoints));
    let ends = told.filter(|(_, event)| matches!(event, LegEvent::Gone { .. })).count();
    assert_eq!(ends, BROWSER_EVENTS_MAX);
    stop(relay).await;
}
