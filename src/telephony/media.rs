//! What the call plane says about media, on its way from the calls thread.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use moqswitch_player::Announcer;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_recording::Recorder;
use moqswitch_relay::auth::token::Key;
use moqswitch_signalling::calls::{CallId, CallView, Grants, LegId, PlayId, SessionId};
use moqswitch_signalling::{Busy, Media, MediaPlane};
use ring::rand::SystemRandom;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::limits::{DEVICE_CHANGES_MAX, DEVICE_TOKEN_LIFE};

/// Something about a device's session with the relay.
#[derive(Debug)]
pub(super) enum Told {
    /// From here on it may do this and nothing else.
    Grants(SessionId, Grants),
    /// It has none any more.
    Over(SessionId),
    /// A leg is over: what was counted of it?
    Count(LegId),
}

/// The relay, seen from the calls thread.
pub(super) struct RelayMedia {
    url: String,
    key: Arc<Key>,
    certificate: Option<watch::Receiver<Arc<str>>>,
    random: SystemRandom,
    tell: mpsc::Sender<Told>,
    /// Of those whose end found no room: told before anything else is.
    over: Vec<SessionId>,
    /// None: nothing is recorded.
    recorder: Option<Recorder>,
    /// None: no files are played.
    announcer: Option<Announcer>,
}

impl RelayMedia {
    /// `url` is where clients reach it; `certificate` the hash of a certificate that nobody vouches for.
    pub(super) fn new(
        url: String,
        key: Arc<Key>,
        certificate: Option<watch::Receiver<Arc<str>>>,
        recorder: Option<Recorder>,
        announcer: Option<Announcer>,
    ) -> (Self, mpsc::Receiver<Told>) {
        let (tell, told) = mpsc::channel(DEVICE_CHANGES_MAX);
        let media = Self {
            url,
            key,
            certificate,
            random: SystemRandom::new(),
            tell,
            over: Vec::new(),
            recorder,
            announcer,
        };
        (media, told)
    }

    /// What finds no room is told as soon as there is some, whether there are further calls or not.
    fn tell_over(&mut self) {
        while let Some(session) = self.over.pop() {
            if self.tell.try_send(Told::Over(session)).is_ok() {
                continue;
            }
            self.over.push(session);
            if let Ok(runtime) = Handle::try_current() {
                let (tell, over) = (self.tell.clone(), std::mem::take(&mut self.over));
                runtime.spawn(async move {
                    for session in over {
                        // Nobody reads when the relay has ended.
                        let _ = tell.send(Told::Over(session)).await;
                    }
                });
            }
            return;
        }
    }
}

impl MediaPlane for RelayMedia {
    fn grants(&mut self, session: SessionId, grants: &Grants) -> Result<(), Busy> {
        self.tell_over();
        let told = Told::Grants(session, grants.clone());
        self.tell.try_send(told).map_err(|_| Busy)
    }

    fn media(&mut self, session: SessionId) -> Media {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = now + DEVICE_TOKEN_LIFE;
        // The relay takes the subject of it and nothing else: what the session may do comes with its calls. But a token has
        // to grant something to be one.
        let claims = format!(
            r#"{{"sub":"{session}","publish":["device/{session}"],"exp":{}}}"#,
            expires.as_secs()
        );
        let token = self.key.sign(&claims, &self.random).unwrap_or_else(|error| {
            tracing::error!(%error, "no token for a device");
            String::new()
        });
        Media {
            url: self.url.clone(),
            token,
            expires: DEVICE_TOKEN_LIFE,
            certificate_hash: self.certificate.as_ref().map(|hash| hash.borrow().to_string()),
        }
    }

    fn record(&mut self, call: CallId, on: bool) {
        match &mut self.recorder {
            Some(recorder) if !on => recorder.end(call, Instant::now()),
            // It begins when it is known what the call is like.
            Some(_) => {}
            None if on => tracing::warn!(%call, "a call is to be recorded, and there is no recording.directory"),
            None => {}
        }
    }

    fn pause_recording(&mut self, call: CallId, paused: bool) {
        if let Some(recorder) = &mut self.recorder {
            recorder.pause(call, paused, Instant::now());
        }
    }

    fn recorded(&mut self, call: &CallView) {
        if let Some(recorder) = &mut self.recorder {
            recorder.update(call, Instant::now());
        }
    }

    fn count(&mut self, leg: LegId) {
        // Behind what takes the leg's grants away. Without room its record says that nothing is known.
        if self.tell.try_send(Told::Count(leg)).is_err() {
            tracing::warn!("devices: no room to ask what was counted of a leg");
        }
    }

    fn play(&mut self, play: PlayId, name: &str, path: &str) -> bool {
        let Some(announcer) = &self.announcer else {
            tracing::warn!(name, "an announcement is to be played, and there are no media.prompts");
            return false;
        };
        announcer.play(play.0, name, &BroadcastPath::new(path));
        true
    }

    fn stop_playing(&mut self, path: &str) {
        if let Some(announcer) = &self.announcer {
            announcer.stop(&BroadcastPath::new(path));
        }
    }

    fn over(&mut self, session: SessionId) {
        self.over.push(session);
        self.tell_over();
    }
}

/// Where a relay that listens there is reached from its own host.
pub(super) fn url_of(listen: SocketAddr) -> String {
    let mut reached = listen;
    if listen.ip().is_unspecified() {
        reached.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("https://{reached}/")
}
