//! Channels of mediaswitch's HTTP, as legs on the shards: an RTP port each, whose audio is the broadcast of a call.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use moqswitch_legs::{LegCodec, LegEvent, LegHears, LegSettings, LegStatistics};
use moqswitch_player::{Announcer, Played};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_signalling::calls::{CallId, LegId, LegNumber};
use moqswitch_signalling::{
    Channel, ChannelCommand, ChannelCounts, ChannelError, ChannelLoad, ChannelNews, ChannelNotice, ChannelPool,
};
use serde_json::Value;

use crate::limits::LEG_EVENTS_MAX;

use super::pool::{Opener, Pooled, RtpPool, Unpooled};

/// All of them.
pub(super) struct RtpChannels {
    pool: RtpPool,
    channels: HashMap<String, Open>,
    /// Which channel a leg is.
    names: HashMap<Pooled, String>,
    /// Those whose end their shard has not told yet, with their control servers.
    closing: HashMap<Pooled, (String, String)>,
    /// What was not asked for yet.
    told: VecDeque<ChannelNotice>,
    /// What plays files once. `None`: there are none.
    announcer: Option<Announcer>,
    /// Which channel hears one, until it has ended.
    once: HashMap<u64, String>,
    /// So many were.
    begun: u64,
}

/// An open one.
struct Open {
    leg: Pooled,
    settings: LegSettings,
    /// Where its peer is, and the payload types that it takes, the first of them preferred.
    target: Option<SocketAddr>,
    offered: Vec<u8>,
    /// Whom it hears, and who hears it.
    mixed: Option<String>,
    /// What is played to it, if anything is.
    played: Option<BroadcastPath>,
    /// It is played once, by this name.
    once: Option<u64>,
    /// Where its events go.
    control: Option<String>,
}

impl RtpChannels {
    pub(super) fn new(pool: RtpPool, announcer: Option<Announcer>) -> Self {
        Self {
            pool,
            channels: HashMap::new(),
            names: HashMap::new(),
            closing: HashMap::new(),
            told: VecDeque::new(),
            announcer,
            once: HashMap::new(),
            begun: 0,
        }
    }

    /// Takes what shards tell. Channels that their shard refused are not there.
    fn catch_up(&mut self) {
        while let Some((leg, event)) = self.pool.poll(Opener::Channels) {
            match event {
                LegEvent::Refused { reason, .. } => {
                    tracing::warn!(%reason, "a channel of RTP is not opened after all");
                    let told = self.told_of(leg);
                    if let Some(open) = self.names.remove(&leg).and_then(|name| self.channels.remove(&name)) {
                        self.stop_once(open.once, open.played.as_ref());
                    }
                    self.closing.remove(&leg);
                    let news = ChannelNews::Closed {
                        reason: "refused",
                        counts: ChannelCounts::default(),
                    };
                    self.tell(told, news);
                }
                LegEvent::Digit { digit, duration_ms, .. } => {
                    if self.told.len() < LEG_EVENTS_MAX / 2 {
                        self.tell(self.told_of(leg), ChannelNews::Digit { digit, duration_ms });
                    }
                }
                LegEvent::Closed { statistics, .. } => {
                    let told = self.closing.remove(&leg);
                    let counts = counts(&statistics);
                    let reason = "requested";
                    self.tell(told, ChannelNews::Closed { reason, counts });
                }
                LegEvent::Silent { .. }
                | LegEvent::OtherCodec { .. }
                | LegEvent::Gone { .. }
                | LegEvent::Counted { .. } => {}
            }
        }
    }

    /// Takes what the player tells: what was played once is over.
    fn catch_up_with_player(&mut self) {
        while let Some(Played { id, whole }) = self.announcer.as_ref().and_then(Announcer::poll) {
            let Some(channel) = self.once.remove(&id) else { continue };
            let Some(open) = self.channels.get_mut(&channel) else {
                continue;
            };
            (open.once, open.played) = (None, None);
            let leg = open.leg;
            // It hears nothing by now: a full shard may keep the subscription, which finds nothing.
            let _ = self.pool.hear(leg, None);
            let reason = if whole { "completed" } else { "doesntexist" };
            self.tell(self.told_of(leg), ChannelNews::Played { event: "end", reason });
        }
    }

    /// A channel and the control server that is told of it, if one is.
    fn told_of(&self, leg: Pooled) -> Option<(String, String)> {
        let Some(name) = self.names.get(&leg) else {
            return self.closing.get(&leg).cloned();
        };
        let open = self.channels.get(name)?;
        Some((name.clone(), open.control.clone()?))
    }

    /// What nobody asks for is bounded, and the newest is lost; of digits before it is of ends.
    fn tell(&mut self, of: Option<(String, String)>, news: ChannelNews) {
        if let Some((channel, control)) = of
            && self.told.len() < LEG_EVENTS_MAX
        {
            self.told.push_back(ChannelNotice { channel, control, news });
        }
    }

    fn channel(&self, channel: &str) -> Result<&Open, ChannelError> {
        self.channels.get(channel).ok_or(ChannelError::Unknown)
    }

    fn hear(&self, channel: &str, other: Option<&str>) -> Result<(), ChannelError> {
        let heard = other.map(|other| self.channel(other)).transpose()?;
        let broadcast = heard.map(|open| open.settings.broadcast.clone());
        Ok(self.pool.hear(self.channel(channel)?.leg, broadcast.map(Into::into))?)
    }

    /// What is played once to a channel is played no longer. False: nothing was.
    fn stop_once(&mut self, once: Option<u64>, played: Option<&BroadcastPath>) -> bool {
        let (Some(id), Some(path)) = (once, played) else {
            return false;
        };
        self.once.remove(&id);
        if let Some(announcer) = &self.announcer {
            announcer.stop(path);
        }
        true
    }

    fn unmix(&mut self, channel: &str) -> Result<(), ChannelError> {
        if self.channel(channel)?.played.is_some() {
            self.hear(channel, None)?;
        }
        if let Some(open) = self.channels.get_mut(channel) {
            let (played, leg) = (open.played.take(), open.leg);
            let once = open.once.take();
            if self.stop_once(once, played.as_ref()) {
                let (event, reason) = ("end", "replaced");
                self.tell(self.told_of(leg), ChannelNews::Played { event, reason });
            }
        }
        let Some(other) = self.channel(channel)?.mixed.clone() else {
            return Ok(());
        };
        // Told before it is noted: what a full shard did not take is tried again by who asks again.
        self.hear(channel, None)?;
        if self.channels.contains_key(&other) {
            self.hear(&other, None)?;
        }
        for one in [channel, &other] {
            if let Some(open) = self.channels.get_mut(one) {
                open.mixed = None;
            }
        }
        Ok(())
    }

    /// What both take: nobody transcodes.
    fn common(&self, offered: &[u8], other: &str) -> Result<u8, ChannelError> {
        let other = self.channel(other)?;
        let is_common = |kind: &&u8| other.offered.contains(kind);
        offered.iter().find(is_common).copied().ok_or(ChannelError::Unsupported)
    }

    fn speak(&mut self, channel: &str, kind: u8) -> Result<(), ChannelError> {
        let codec = LegCodec::of_static(kind).ok_or(ChannelError::Unsupported)?;
        let open = self.channel(channel)?;
        let mut settings = open.settings.clone();
        (settings.payload_type, settings.codec) = (kind, codec);
        settings.taken = vec![(kind, codec)];
        self.pool.change(open.leg, settings.clone(), None)?;
        if let Some(open) = self.channels.get_mut(channel) {
            open.settings = settings;
        }
        Ok(())
    }

    fn mix(&mut self, channel: &str, other: &str) -> Result<(), ChannelError> {
        self.channel(channel)?;
        self.channel(other)?;
        if channel == other {
            return Err(ChannelError::Unsupported);
        }
        // Before anything is done: what is refused changes nothing.
        let kind = self.common(&self.channel(channel)?.offered, other)?;
        self.unmix(channel)?;
        self.unmix(other)?;
        for name in [channel, other] {
            self.speak(name, kind)?;
        }
        for (one, two) in [(channel, other), (other, channel)] {
            if let Some(open) = self.channels.get_mut(one) {
                open.mixed = Some(two.to_owned());
            }
        }
        for (one, two) in [(channel, other), (other, channel)] {
            self.hear(one, Some(two))?;
            // The call is answered: from here on its peers may be where their packets come from, for a moment.
            let open = self.channel(one)?;
            if let Some(target) = open.target {
                self.pool.meet(open.leg, target, false)?;
            }
        }
        Ok(())
    }

    /// `{"loop": true, "files": [{"wav": "hello.wav"}]}`: one whole file of the music, round and round. Without `loop` a
    /// prompt, or music, once.
    fn play(&mut self, channel: &str, soup: &Value) -> Result<(), ChannelError> {
        let open = self.channel(channel)?;
        let (codec, leg) = (open.settings.codec, open.leg);
        let (name, is_round) = asked(soup).ok_or(ChannelError::Unsupported)?;
        // What is refused changes nothing.
        let announcer = self.announcer.clone();
        if announcer.is_none() && !is_round {
            return Err(ChannelError::Unsupported);
        }
        self.unmix(channel)?;
        let (broadcast, once) = match announcer.as_ref().filter(|_| !is_round) {
            None => (BroadcastPath::new(&format!("moh/{name}")), None),
            Some(announcer) => {
                self.begun += 1;
                let path = BroadcastPath::new(&format!("prompt/{name}/{channel}-{}", self.begun));
                announcer.play(self.begun, name, &path);
                (path, Some(self.begun))
            }
        };
        let hears = LegHears {
            broadcast: broadcast.clone(),
            transcoded: Some(codec),
        };
        if let Err(error) = self.pool.hear(leg, Some(hears)) {
            self.stop_once(once, Some(&broadcast));
            return Err(error.into());
        }
        let open = self.channels.get_mut(channel).ok_or(ChannelError::Unknown)?;
        (open.played, open.once) = (Some(broadcast), once);
        let target = open.target;
        if let Some(id) = once {
            self.once.insert(id, channel.to_owned());
            let (event, reason) = ("start", "new");
            self.tell(self.told_of(leg), ChannelNews::Played { event, reason });
        }
        // Its peer may be where its packets come from, as when it is mixed.
        if let Some(target) = target {
            self.pool.meet(leg, target, false)?;
        }
        Ok(())
    }

    /// `{"ip", "port", "audio": {"payloads": [0]}}`: the first payload type that is known is spoken.
    fn target(&mut self, channel: &str, target: &Value) -> Result<(), ChannelError> {
        let open = self.channel(channel)?;
        let ip = target["ip"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = target["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let (Some(ip), Some(port)) = (ip, port.filter(|port| *port > 0)) else {
            return Err(ChannelError::Unsupported);
        };
        let address = SocketAddr::new(ip.to_canonical(), port);
        let mixed = open.mixed.clone();
        let mut offered = open.offered.clone();
        if let Some(payloads) = target["audio"]["payloads"].as_array() {
            let types = payloads.iter().filter_map(Value::as_u64);
            let types = types.filter_map(|kind| u8::try_from(kind).ok());
            offered = types.filter(|kind| LegCodec::of_static(*kind).is_some()).collect();
        }
        let first = *offered.first().ok_or(ChannelError::Unsupported)?;
        let kind = match &mixed {
            Some(other) => self.common(&offered, other)?,
            None => first,
        };
        self.pool.meet(open.leg, address, false)?;
        if let Some(open) = self.channels.get_mut(channel) {
            (open.target, open.offered) = (Some(address), offered);
        }
        for name in mixed.iter().map(String::as_str).chain([channel]) {
            self.speak(name, kind)?;
        }
        Ok(())
    }
}

impl ChannelPool for RtpChannels {
    fn load(&self) -> ChannelLoad {
        ChannelLoad {
            active: self.channels.len(),
            available: self.pool.available(1),
        }
    }

    fn open(&mut self, control: Option<&str>) -> Result<Channel, ChannelError> {
        self.catch_up();
        let id = self.pool.random()?;
        let broadcast = LegId {
            call: CallId(id),
            leg: LegNumber(1),
        };
        let broadcast = BroadcastPath::new(&broadcast.path());
        let mut settings = None;
        let (leg, address) = self.pool.open(Opener::Channels, None, false, |source| {
            let own = LegSettings::new(broadcast, LegCodec::Pcmu, 0, source);
            settings.insert(own).clone()
        })?;
        let uuid = uuid(id);
        let open = Open {
            leg,
            settings: settings.ok_or(ChannelError::Exhausted)?,
            target: None,
            offered: vec![0],
            mixed: None,
            played: None,
            once: None,
            control: control.map(str::to_owned),
        };
        self.names.insert(leg, uuid.clone());
        self.channels.insert(uuid.clone(), open);
        Ok(Channel {
            uuid,
            ip: address.ip().to_string(),
            port: address.port(),
        })
    }

    fn close(&mut self, channel: &str) -> Result<(), ChannelError> {
        self.catch_up();
        self.unmix(channel)?;
        if let Some(open) = self.channels.remove(channel) {
            self.names.remove(&open.leg);
            if let Some(control) = open.control {
                self.closing.insert(open.leg, (channel.to_owned(), control));
            }
            self.pool.close(open.leg);
        }
        Ok(())
    }

    fn command(&mut self, channel: &str, command: ChannelCommand) -> Result<(), ChannelError> {
        self.catch_up();
        match command {
            ChannelCommand::Target(target) => self.target(channel, &target),
            ChannelCommand::Mix(other) => self.mix(channel, &other),
            ChannelCommand::Unmix => self.unmix(channel),
            ChannelCommand::Play(soup) => self.play(channel, &soup),
        }
    }

    fn poll_event(&mut self) -> Option<ChannelNotice> {
        self.catch_up();
        self.catch_up_with_player();
        self.told.pop_front()
    }
}

impl From<Unpooled> for ChannelError {
    fn from(_: Unpooled) -> Self {
        Self::Exhausted
    }
}

impl fmt::Debug for RtpChannels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RtpChannels")
            .field("load", &self.load())
            .finish()
    }
}

fn counts(statistics: &LegStatistics) -> ChannelCounts {
    let (received, sent) = (&statistics.received, &statistics.sent);
    ChannelCounts {
        received: received.packets + received.passed,
        dropped: received.refused + statistics.unusable + statistics.foreign + statistics.unauthentic,
        lost: received.lost,
        mos: statistics.mos(),
        sent: sent.packets,
        unsent: sent.lost + sent.late,
    }
}

/// The name of a soup's one whole file, and whether it goes on. `None`: it is something else, or no name of a file.
fn asked(soup: &Value) -> Option<(&str, bool)> {
    let [file] = soup["files"].as_array()?.as_slice() else {
        return None;
    };
    if ["start", "stop"].iter().any(|part| !file[part].is_null()) {
        return None;
    }
    let name = KINDS.iter().find_map(|kind| file[kind].as_str())?;
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte);
    let is_name = (1..=NAME_BYTES_MAX).contains(&stem.len()) && stem.bytes().all(is_plain);
    let mut repeats = [&soup["loop"], &file["loop"]]
        .into_iter()
        .filter(|repeat| !repeat.is_null());
    let is_round = repeats.clone().any(|repeat| repeat.as_bool() == Some(true));
    // So often is neither once nor for ever.
    let is_known = is_round || repeats.all(|repeat| repeat.as_bool() == Some(false));
    (is_name && is_known).then_some((stem, is_round))
}

/// What a soup calls its files, by their codecs. All of them are here in all codecs.
const KINDS: [&str; 7] = ["wav", "pcma", "pcmu", "l168k", "l1616k", "ilbc", "g722"];

/// Of a file's name without its end.
const NAME_BYTES_MAX: usize = 128;

/// The 128 bits of the broadcast's call, as other servers write them.
fn uuid(id: u128) -> String {
    let digits = format!("{id:032x}");
    let (a, b, c, d, e) = (
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn soups_of_one_whole_file_are_played_once_or_round_and_round() {
        let path = |soup: Value| asked(&soup).map(|(name, is_round)| format!("{name} {is_round}"));
        let jazz = json!({ "loop": true, "files": [{ "pcmu": "sounds/jazz.pcmu" }] });
        assert_eq!(path(jazz).as_deref(), Some("jazz true"));
        let blues = json!({ "files": [{ "wav": "blues.wav", "loop": true }] });
        assert_eq!(path(blues).as_deref(), Some("blues true"));
        for once in [
            json!({ "files": [{ "wav": "a.wav" }] }),
            json!({ "loop": false, "files": [{ "wav": "a.wav" }] }),
        ] {
            assert_eq!(path(once).as_deref(), Some("a false"));
        }
        for not in [
            json!({}),
            json!({ "loop": true, "files": [] }),
            // So often is something else.
            json!({ "loop": 3, "files": [{ "wav": "a.wav" }] }),
            json!({ "loop": true, "files": [{ "wav": "a.wav" }, { "wav": "b.wav" }] }),
            json!({ "loop": true, "files": [{ "wav": "a.wav", "start": 100 }] }),
            json!({ "loop": true, "files": [{ "wav": ".wav" }] }),
            json!({ "loop": true, "files": [{ "wav": "a\nb.wav" }] }),
            json!({ "loop": true, "files": [{ "mp3": "a.mp3" }] }),
        ] {
            assert_eq!(path(not.clone()), None, "{not}");
        }
    }
}
