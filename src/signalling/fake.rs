//! A media plane and legs of RTP that only remember what they were told: for tests, of other crates too.
#![expect(
    clippy::disallowed_types,
    reason = "no shard is near, and tests read it from another thread"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moqswitch_calls::{Codec, Grants, PlayId, SessionId};
use tokio::sync::Notify;

use crate::gateway::{
    RtpAgreed, RtpError, RtpEvent, RtpHeard, RtpIceServer, RtpLeg, RtpLegs, RtpOpened, RtpStatistics, RtpWanted,
};
use crate::media::{Busy, Media, MediaPlane};

/// Told of grants, it remembers them. A clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct RecordingMedia(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    grants: BTreeMap<SessionId, Grants>,
    history: Vec<(SessionId, Grants)>,
    over: Vec<SessionId>,
    refusals: u32,
    /// There is something that plays files.
    plays: bool,
    played: Vec<(PlayId, String)>,
    stopped: Vec<String>,
}

impl RecordingMedia {
    /// What a session may do.
    pub fn grants_of(&self, session: SessionId) -> Grants {
        self.with(|told| told.grants.get(&session).cloned().unwrap_or_default())
    }

    /// Everything that was told, in order.
    pub fn history(&self) -> Vec<(SessionId, Grants)> {
        self.with(|told| told.history.clone())
    }

    /// Sessions that are over, in order.
    pub fn over(&self) -> Vec<SessionId> {
        self.with(|told| told.over.clone())
    }

    /// From here on there is something that plays files, which tells of no end by itself.
    pub fn with_player(self) -> Self {
        self.with(|told| told.plays = true);
        self
    }

    /// What was to be played, by broadcast, in order.
    pub fn played(&self) -> Vec<(PlayId, String)> {
        self.with(|told| told.played.clone())
    }

    /// What is not to be played any more.
    pub fn stopped(&self) -> Vec<String> {
        self.with(|told| told.stopped.clone())
    }

    /// The next so many grants are not taken, as if the relay's queue were full.
    pub fn refuse(&self, count: u32) {
        self.with(|told| told.refusals = count);
    }

    fn with<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut told)
    }
}

impl MediaPlane for RecordingMedia {
    fn grants(&mut self, session: SessionId, grants: &Grants) -> Result<(), Busy> {
        self.with(|told| {
            if told.refusals > 0 {
                told.refusals -= 1;
                return Err(Busy);
            }
            told.grants.insert(session, grants.clone());
            told.history.push((session, grants.clone()));
            Ok(())
        })
    }

    fn media(&mut self, session: SessionId) -> Media {
        Media {
            url: "https://127.0.0.1:4443/".to_owned(),
            token: format!("token-of-{session}"),
            expires: Duration::from_secs(3600),
            certificate_hash: Some("00".repeat(32)),
        }
    }

    fn play(&mut self, play: PlayId, _name: &str, path: &str) -> bool {
        self.with(|told| {
            told.played.push((play, path.to_owned()));
            told.plays
        })
    }

    fn stop_playing(&mut self, path: &str) {
        self.with(|told| told.stopped.push(path.to_owned()));
    }

    fn over(&mut self, session: SessionId) {
        self.with(|told| {
            told.grants.remove(&session);
            told.over.push(session);
        });
    }
}

/// Legs of RTP without sockets: addresses count up from port 10 000 of the documentation's hosts. A clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct RecordingRtp(Arc<Mutex<Legs>>, Arc<Notify>);

#[derive(Debug, Default)]
struct Legs {
    opened: u64,
    open: BTreeSet<RtpLeg>,
    history: Vec<RtpCommand>,
    events: VecDeque<RtpEvent>,
    refusals: VecDeque<RtpError>,
    /// Beyond them none can be opened. None: there are 10 000.
    most: Option<usize>,
    /// There are legs of WebRTC.
    has_browsers: bool,
    /// What browsers are told of; the name of each is that of who asks.
    ice_servers: Vec<RtpIceServer>,
}

/// What legs of RTP were told.
#[derive(Clone, Debug, PartialEq)]
pub enum RtpCommand {
    /// To open one.
    Open {
        /// It became this.
        leg: RtpLeg,
        /// Its broadcast.
        path: String,
    },
    /// What was agreed on.
    Agree(RtpLeg, Box<RtpAgreed>),
    /// What is heard.
    Hear(RtpLeg, RtpHeard),
    /// A tone that says that it is recorded, from one to the next.
    Announce(RtpLeg, Option<Duration>),
    /// A digit that is to be sent, and how long in milliseconds.
    Press(RtpLeg, char, u32),
    /// To close one.
    Close(RtpLeg),
    /// What a browser answered.
    Answered(RtpLeg, String),
}

impl RecordingRtp {
    /// What they were told since this was last called, in order.
    pub fn take_history(&self) -> Vec<RtpCommand> {
        std::mem::take(&mut self.legs().history)
    }

    /// Those that are open.
    pub fn open_legs(&self) -> Vec<RtpLeg> {
        self.legs().open.iter().copied().collect()
    }

    /// Something happens.
    pub fn tell(&self, event: RtpEvent) {
        self.legs().events.push_back(event);
        self.1.notify_one();
    }

    /// The next call that may fail does so by this; the one after it by what is said after it.
    pub fn refuse(&self, error: RtpError) {
        self.legs().refusals.push_back(error);
    }

    /// There are legs of WebRTC, too.
    #[must_use]
    pub fn with_browsers(self) -> Self {
        self.legs().has_browsers = true;
        self
    }

    /// Browsers are told of these, by their own name.
    #[must_use]
    pub fn with_ice_servers(self, servers: Vec<RtpIceServer>) -> Self {
        self.legs().ice_servers = servers;
        self
    }

    /// No more than so many are open at once from here on.
    pub fn limit(&self, most: usize) {
        self.legs().most = Some(most);
    }

    fn legs(&self) -> MutexGuard<'_, Legs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, leg: RtpLeg, command: RtpCommand) -> Result<(), RtpError> {
        let mut legs = self.legs();
        if let Some(error) = legs.refusals.pop_front() {
            return Err(error);
        }
        if !legs.open.contains(&leg) {
            return Err(RtpError::Unknown);
        }
        legs.history.push(command);
        Ok(())
    }
}

impl RtpLegs for RecordingRtp {
    fn open(&mut self, path: &str, wanted: RtpWanted) -> Result<RtpOpened, RtpError> {
        let mut legs = self.legs();
        if let Some(error) = legs.refusals.pop_front() {
            return Err(error);
        }
        if legs.most.is_some_and(|most| legs.open.len() >= most) {
            return Err(RtpError::Exhausted);
        }
        let leg = RtpLeg(legs.opened);
        let port = 10_000 + u16::try_from(legs.opened % 10_000).unwrap_or(0) * 2;
        let host: IpAddr = match wanted.peer {
            Some(IpAddr::V6(_)) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            Some(IpAddr::V4(_)) | None => Ipv4Addr::new(192, 0, 2, 1).into(),
        };
        legs.opened += 1;
        legs.open.insert(leg);
        let path = path.to_owned();
        legs.history.push(RtpCommand::Open { leg, path });
        Ok(RtpOpened {
            leg,
            address: SocketAddr::new(host, port),
        })
    }

    fn agree(&mut self, leg: RtpLeg, agreed: &RtpAgreed) -> Result<(), RtpError> {
        self.told(leg, RtpCommand::Agree(leg, Box::new(agreed.clone())))
    }

    fn serves_browsers(&self) -> bool {
        self.legs().has_browsers
    }

    fn ice_servers(&self, name: &str) -> Vec<RtpIceServer> {
        let mut servers = self.legs().ice_servers.clone();
        for server in &mut servers {
            server.username = server.username.take().map(|_| name.to_owned());
        }
        servers
    }

    fn answer_browser(&mut self, path: &str, _: &str, _: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        let opened = self.open(path, RtpWanted::default())?;
        Ok((opened.leg, "an answer".to_owned()))
    }

    fn offer_browser(&mut self, path: &str, _: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        let opened = self.open(path, RtpWanted::default())?;
        Ok((opened.leg, "an offer".to_owned()))
    }

    fn take_browser_answer(&mut self, leg: RtpLeg, answer: &str) -> Result<(), RtpError> {
        self.told(leg, RtpCommand::Answered(leg, answer.to_owned()))
    }

    fn hear(&mut self, leg: RtpLeg, heard: &RtpHeard) -> Result<(), RtpError> {
        self.told(leg, RtpCommand::Hear(leg, heard.clone()))
    }

    fn announce(&mut self, leg: RtpLeg, every: Option<Duration>) -> Result<(), RtpError> {
        self.told(leg, RtpCommand::Announce(leg, every))
    }

    fn press(&mut self, leg: RtpLeg, digit: char, duration_ms: u32) -> Result<(), RtpError> {
        self.told(leg, RtpCommand::Press(leg, digit, duration_ms))
    }

    fn count(&mut self, leg: RtpLeg) -> Result<(), RtpError> {
        if !self.legs().open.contains(&leg) {
            return Err(RtpError::Unknown);
        }
        let statistics = RtpStatistics::default();
        self.tell(RtpEvent::Counted { leg, statistics });
        Ok(())
    }

    fn close(&mut self, leg: RtpLeg) {
        if self.legs().open.remove(&leg) {
            self.legs().history.push(RtpCommand::Close(leg));
            let statistics = RtpStatistics::default();
            self.tell(RtpEvent::Closed { leg, statistics });
        }
    }

    fn poll(&mut self) -> Option<RtpEvent> {
        self.legs().events.pop_front()
    }

    fn news(&self) -> Arc<Notify> {
        self.1.clone()
    }

    fn available(&self) -> usize {
        let legs = self.legs();
        legs.most.unwrap_or(10_000).saturating_sub(legs.open.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn legs_remember_what_they_are_told() {
        let rtp = RecordingRtp::default();
        let mut told = rtp.clone();
        let wanted = RtpWanted {
            peer: Some(Ipv6Addr::LOCALHOST.into()),
        };
        rtp.refuse(RtpError::Exhausted);
        assert_eq!(told.open("call/7/1", wanted), Err(RtpError::Exhausted));
        let opened = told.open("call/7/1", wanted).unwrap();
        let leg = opened.leg;
        assert!(opened.address.is_ipv6() && opened.address.port() == 10_000);
        told.hear(leg, &RtpHeard::Nothing).unwrap();
        rtp.refuse(RtpError::Busy);
        assert_eq!(told.press(leg, '5', 100), Err(RtpError::Busy));
        told.press(leg, '5', 100).unwrap();
        assert_eq!(rtp.open_legs(), [leg]);
        told.close(leg);
        told.news().notified().await;
        assert!(matches!(told.poll(), Some(RtpEvent::Closed { leg: closed, .. }) if closed == leg));
        assert_eq!((told.poll(), told.count(leg)), (None, Err(RtpError::Unknown)));
        let history = rtp.take_history();
        assert_eq!(history.len(), 4);
        assert_eq!(history[2..], [RtpCommand::Press(leg, '5', 100), RtpCommand::Close(leg)]);
    }
}
