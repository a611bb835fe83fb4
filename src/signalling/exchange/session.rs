//! One registered device: its socket, what it was told lately, and its own names for calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use moqswitch_calls::{CallId, LegId, Number, Refusal, Signal, Text};
use serde::Serialize;
use serde_json::{Map, Value};

use super::line::{Close, Line};
use crate::access::Proof;
use crate::journal::DeviceEntry;
use crate::limits::{
    ALIASES_MAX, EARLY_SIGNAL_BYTES_MAX, EARLY_SIGNALS_MAX, IDS_KEPT_MAX, REPLAY_AGE_MAX, REPLAY_BYTES_MAX,
    REPLAY_MESSAGES_MAX,
};
use crate::messages::{Dialect, MessageId, Told, flattened};

/// A device.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) dn: Number,
    pub(super) device: Text,
    pub(super) dialect: Dialect,
    /// Does it say itself that it rings? If not, it rings as soon as it is told.
    pub(super) rings_itself: bool,
    /// It takes part by WebRTC: with who does not it is given a leg here.
    pub(super) speaks_webrtc: bool,
    /// By what it was let in last.
    pub(super) proof: Proof,
    /// As it is noted for a restart. None: it is not.
    pub(super) entry: Option<Box<DeviceEntry>>,
    line: Option<Line>,
    seq: u64,
    /// What it was told by the process before is gone.
    has_gap: bool,
    replay: VecDeque<Kept>,
    replay_bytes: usize,
    /// Requests by their ids, each with the first message that repeats it.
    seen: VecDeque<Seen>,
    known: Vec<Known>,
    early: Vec<(Text, Signal)>,
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    text: Arc<str>,
    at: Instant,
}

/// A request that came.
#[derive(Debug)]
struct Seen {
    id: MessageId,
    digest: u64,
    reply: Option<Arc<str>>,
}

/// A call as the device knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) call: CallId,
    pub(super) leg: LegId,
    pub(super) alias: Option<Text>,
    /// The message that it dialled with.
    pub(super) id: Option<MessageId>,
    pub(super) is_over: bool,
}

impl Session {
    pub(super) fn new(dn: Number, device: Text, dialect: Dialect, rings_itself: bool, line: Line) -> Self {
        Self {
            dn,
            device,
            dialect,
            rings_itself,
            speaks_webrtc: false,
            proof: Proof::default(),
            entry: None,
            has_gap: false,
            line: Some(line),
            seq: 0,
            replay: VecDeque::new(),
            replay_bytes: 0,
            seen: VecDeque::new(),
            known: Vec::new(),
            early: Vec::new(),
        }
    }

    /// Its numbers go on behind the last that the client had of another process.
    pub(super) fn begin_after(&mut self, seq: u64) {
        self.seq = seq;
        self.has_gap = true;
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Its socket, if it has one.
    pub(super) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    pub(super) fn is_attached(&self) -> bool {
        self.line.is_some()
    }

    /// Takes another socket. The one before is closed.
    pub(super) fn attach(&mut self, line: Line) {
        if let Some(old) = self.line.replace(line)
            && self.line.as_ref().is_some_and(|new| new.number() != old.number())
        {
            old.close(Close::REPLACED);
        }
    }

    /// False: it has another socket by now, or none.
    pub(super) fn detach(&mut self, number: u64) -> bool {
        let is_it = self.line.as_ref().is_some_and(|line| line.number() == number);
        if is_it {
            self.line = None;
        }
        is_it
    }

    pub(super) fn close(&mut self, close: Close) {
        if let Some(line) = self.line.take() {
            line.close(close);
        }
    }

    /// Says something that is kept until the client has it. False: its socket was too slow, and is lost.
    pub(super) fn tell(&mut self, told: &Told, id: Option<&MessageId>, now: Instant) -> bool {
        let flat;
        let told = match self.dialect {
            Dialect::Payload => told,
            Dialect::Flat => match flattened(told) {
                Some(told) => {
                    flat = told;
                    &flat
                }
                None => return true,
            },
        };
        self.say(told, id, now)
    }

    /// As [`tell`](Self::tell), of what is in the client's dialect already.
    pub(super) fn say(&mut self, told: &Told, id: Option<&MessageId>, now: Instant) -> bool {
        self.seq += 1;
        let text = self.written(told, id, self.seq);
        self.replay_bytes += text.len();
        self.replay.push_back(Kept {
            seq: self.seq,
            text: Arc::clone(&text),
            at: now,
        });
        self.forget_old(now);
        if let Some(id) = id
            && let Some(seen) = self.seen.iter_mut().rev().find(|seen| seen.id == *id)
        {
            seen.reply.get_or_insert_with(|| Arc::clone(&text));
        }
        if told.is_end() {
            return self.write_by(text, Line::send_final);
        }
        self.write(text)
    }

    /// Says that the device is back: its number is the last that the client had, so that what follows follows it.
    pub(super) fn say_resumed(&mut self, told: &Told, id: Option<&MessageId>, after: u64) -> bool {
        let text = self.written(told, id, after);
        self.write(text)
    }

    fn written(&self, told: &Told, id: Option<&MessageId>, seq: u64) -> Arc<str> {
        match self.dialect {
            Dialect::Payload => written(told, id, Some(seq)),
            Dialect::Flat => {
                let flat = FlatMessage {
                    kind: told.kind,
                    fields: &told.payload,
                };
                serde_json::to_string(&flat).unwrap_or_default().into()
            }
        }
    }

    fn write(&mut self, text: Arc<str>) -> bool {
        self.write_by(text, Line::send)
    }

    fn write_by(&mut self, text: Arc<str>, send: impl FnOnce(&Line, Arc<str>) -> bool) -> bool {
        let Some(line) = &self.line else { return true };
        let is_sent = send(line, text);
        if !is_sent {
            self.line = None;
        }
        is_sent
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |kept: &Kept| now.saturating_duration_since(kept.at) > REPLAY_AGE_MAX;
        while self.replay.len() > REPLAY_MESSAGES_MAX
            || self.replay_bytes > REPLAY_BYTES_MAX
            || self.replay.front().is_some_and(is_old)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(kept) = self.replay.pop_front() {
            self.replay_bytes = self.replay_bytes.saturating_sub(kept.text.len());
        }
    }

    /// The client has everything up to this one.
    pub(super) fn acknowledge(&mut self, seq: u64) {
        while self.replay.front().is_some_and(|kept| kept.seq <= seq) {
            self.forget_oldest();
        }
    }

    /// How many messages the client missed, and whether all of them are still there.
    pub(super) fn missed(&mut self, after: u64) -> (u64, bool) {
        if std::mem::take(&mut self.has_gap) {
            return (0, false);
        }
        let missed = self.seq.saturating_sub(after);
        let kept = self.replay.iter().filter(|kept| kept.seq > after).count();
        (missed, u64::try_from(kept).is_ok_and(|kept| kept == missed))
    }

    /// Says what the client missed once more.
    pub(super) fn replay(&mut self, after: u64) -> bool {
        let missed: Vec<Arc<str>> = self
            .replay
            .iter()
            .filter(|kept| kept.seq > after)
            .map(|kept| Arc::clone(&kept.text))
            .collect();
        missed.into_iter().all(|text| self.write(text))
    }

    /// True: the request came before. It has its reply once more, if there was one. A page that was loaded anew counts its
    /// ids from the beginning: what reads otherwise is another request.
    pub(super) fn is_repeated(&mut self, id: &MessageId, digest: u64) -> bool {
        let seen = self.seen.iter().find(|seen| seen.id == *id && seen.digest == digest);
        if let Some(seen) = seen {
            if let Some(reply) = seen.reply.clone() {
                self.write(reply);
            }
            return true;
        }
        if self.seen.len() >= IDS_KEPT_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen {
            id: id.clone(),
            digest,
            reply: None,
        });
        false
    }

    pub(super) fn known(&self, call: CallId) -> Option<&Known> {
        self.known.iter().rev().find(|known| known.call == call)
    }

    /// The call as the client knows it.
    pub(super) fn name_of(&self, call: CallId) -> String {
        let alias = self.known(call).and_then(|known| known.alias.as_ref());
        alias.map_or_else(|| call.to_string(), Text::to_string)
    }

    /// The call that the client means.
    pub(super) fn resolve(&self, name: &Text) -> Result<CallId, Refusal> {
        let known = self.known.iter().rev().find(|known| known.alias.as_ref() == Some(name));
        match known {
            Some(known) if known.is_over => Err(Refusal::UnknownCall),
            Some(known) => Ok(known.call),
            None => name.as_str().parse().map_err(|_| Refusal::UnknownCall),
        }
    }

    /// Is it the name of a call that is not over?
    pub(super) fn uses_alias(&self, alias: &Text) -> bool {
        self.known
            .iter()
            .any(|known| !known.is_over && known.alias.as_ref() == Some(alias))
    }

    /// Was it ever the name of a call that is remembered?
    pub(super) fn knows_alias(&self, alias: &Text) -> bool {
        self.known.iter().any(|known| known.alias.as_ref() == Some(alias))
    }

    pub(super) fn learn(&mut self, known: Known) {
        if self.known.iter().any(|old| old.leg == known.leg) {
            return;
        }
        if self.known.len() >= ALIASES_MAX {
            let oldest = self.known.iter().position(|known| known.is_over).unwrap_or(0);
            self.known.remove(oldest);
        }
        self.known.push(known);
    }

    pub(super) fn is_over(&mut self, leg: LegId) {
        if let Some(known) = self.known.iter_mut().find(|known| known.leg == leg) {
            known.is_over = true;
        }
    }

    /// Keeps what came ahead of its call. False: there is no room.
    pub(super) fn keep_early(&mut self, alias: Text, signal: Signal) -> bool {
        let bytes = |signal: &Signal| match signal {
            Signal::Offer(payload) | Signal::Answer(payload) | Signal::Candidate(payload) => payload.as_str().len(),
        };
        let total: usize = self.early.iter().map(|(_, signal)| bytes(signal)).sum();
        if self.early.len() >= EARLY_SIGNALS_MAX || total + bytes(&signal) > EARLY_SIGNAL_BYTES_MAX {
            return false;
        }
        self.early.push((alias, signal));
        true
    }

    /// What came ahead of this call. What came ahead of others goes: they never began.
    pub(super) fn take_early(&mut self, alias: Option<&Text>) -> Vec<Signal> {
        let early = std::mem::take(&mut self.early);
        early
            .into_iter()
            .filter(|(of, _)| Some(of) == alias)
            .map(|(_, signal)| signal)
            .collect()
    }
}

#[derive(Serialize)]
struct PayloadMessage<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    payload: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

#[derive(Serialize)]
struct FlatMessage<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

/// A message to a client that has no session.
pub(crate) fn unnumbered(told: &Told, id: Option<&MessageId>, dialect: Dialect) -> Option<Arc<str>> {
    match dialect {
        Dialect::Payload => Some(written(told, id, None)),
        Dialect::Flat => {
            let told = flattened(told)?;
            let flat = FlatMessage {
                kind: told.kind,
                fields: &told.payload,
            };
            Some(serde_json::to_string(&flat).unwrap_or_default().into())
        }
    }
}

fn written(told: &Told, id: Option<&MessageId>, seq: Option<u64>) -> Arc<str> {
    let message = PayloadMessage {
        kind: told.kind,
        payload: &told.payload,
        id: id.map(MessageId::value),
        seq,
    };
    serde_json::to_string(&message).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::line::LineEnd;
    use super::*;
    use crate::messages;

    fn session() -> (Session, LineEnd) {
        let (line, end) = Line::new(1, None);
        let dn = Number::new("5001").unwrap();
        (Session::new(dn, Text::new("one"), Dialect::Payload, false, line), end)
    }

    #[test]
    fn replay_is_bounded_by_number_and_by_age() {
        let (mut session, _end) = session();
        let (told, now) = (messages::done(None), Instant::now());
        for _ in 0..REPLAY_MESSAGES_MAX + 5 {
            session.tell(&told, None, now);
        }
        let last = session.seq();
        assert_eq!(session.missed(5), (last - 5, true));
        assert_eq!(session.missed(4), (last - 4, false), "the oldest has gone");
        session.acknowledge(last - 2);
        assert_eq!(session.replay.len(), 2);
        let later = now + REPLAY_AGE_MAX + Duration::from_secs(1);
        session.tell(&told, None, later);
        assert_eq!(session.replay.len(), 1);
        // From the future: nothing was missed.
        assert_eq!(session.missed(u64::MAX), (0, true));
    }

    #[test]
    fn names_and_signals_ahead_of_calls_are_bounded() {
        let (mut session, _end) = session();
        for number in 0..100_u16 {
            let leg = LegId {
                call: CallId(u128::from(number)),
                leg: moqswitch_calls::LegNumber(1),
            };
            let alias = Some(Text::new(&number.to_string()));
            session.learn(Known {
                call: leg.call,
                leg,
                alias,
                id: None,
                is_over: number > 50,
            });
        }
        assert_eq!(session.known.len(), ALIASES_MAX);
        let candidate = || Signal::Candidate(moqswitch_calls::Payload::new("x").unwrap());
        let kept = (0..100)
            .filter(|_| session.keep_early(Text::new("s"), candidate()))
            .count();
        assert_eq!(kept, EARLY_SIGNALS_MAX);
        assert_eq!(session.take_early(Some(&Text::new("other"))).len(), 0);
        assert_eq!(
            session.take_early(Some(&Text::new("s"))).len(),
            0,
            "what never began is gone"
        );
    }
}
