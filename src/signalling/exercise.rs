//! One entry to everything that strangers send, shared by the fuzz target and the replay of its corpus: messages of both
//! dialects, bodies of REST, dialplans, and what three phones say to one switch.
//!
//! What is read once is read the same again; a plan that is taken decides about every number; and whatever three phones say,
//! each answer has an id that was asked, messages are numbered without a gap, and nothing is left when the switch stops.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use moqswitch_calls::{Dialplan, Now, Number, SessionId, Text};
use serde_json::Value;
use tokio::sync::Notify;

use crate::access::Admission;
use crate::counters::Counters;
use crate::exchange::{Exchange, Line, LineEnd, Newcomer};
use crate::fake::RecordingMedia;
use crate::messages::{Dialect, Envelope, Register};
use crate::rest;
use crate::settings::Settings;

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, or there was no input.
    Rejected,
    /// It was taken, and what it gave held.
    Accepted,
}

/// Does what the first byte picks.
///
/// # Errors
/// A broken promise, described.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let Some((&selector, body)) = input.split_first() else {
        return Ok(Outcome::Rejected);
    };
    let Ok(text) = std::str::from_utf8(body) else {
        return Ok(Outcome::Rejected);
    };
    let is_accepted = match selector % SELECTORS {
        MESSAGE => check_message(text, Dialect::Payload)?,
        FLAT_MESSAGE => check_message(text, Dialect::Flat)?,
        BODY => rest::reads(body),
        DIALPLAN => check_dialplan(text),
        _ => Conversation::new()?.hold(text)?,
    };
    Ok(match is_accepted {
        true => Outcome::Accepted,
        false => Outcome::Rejected,
    })
}

/// Inputs to start a fuzzer from: each message of both dialects, a body, a plan, and conversations.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |name: &str, selector: u8, text: &str| (name.to_owned(), [&[selector], text.as_bytes()].concat());
    let mut seeds = Vec::new();
    for (kind, payload) in MESSAGES {
        let text = format!(r#"{{"type":"{kind}","payload":{payload},"id":"m-1","ack":3}}"#);
        let name = format!("message-{kind}-{}", payload.len());
        seeds.push(seed(&name, MESSAGE, &text));
    }
    for (kind, fields) in FLAT_MESSAGES {
        let text = format!(r#"{{"type":"{kind}",{fields}}}"#);
        seeds.push(seed(&format!("flat-{kind}"), FLAT_MESSAGE, &text));
    }
    seeds.push(seed("body", BODY, WHOLE_BODY));
    seeds.push(seed("dialplan", DIALPLAN, PLAN));
    for (name, text) in CONVERSATIONS {
        seeds.push(seed(&format!("conversation-{name}"), CONVERSATION, text));
    }
    seeds
}

fn check_message(text: &str, dialect: Dialect) -> Result<bool, String> {
    let (once, again) = (Envelope::read(text, Some(dialect)), Envelope::read(text, Some(dialect)));
    match (once, again) {
        (Err(bad), Err(same)) if bad == same => Ok(false),
        (Ok(once), Ok(again)) => {
            let is_same = once.id == again.id && once.digest == again.digest && once.ack == again.ack;
            if !is_same || format!("{:?}", once.request) != format!("{:?}", again.request) {
                return Err(format!("{text:?} is read in two ways"));
            }
            Ok(once.request.is_ok())
        }
        _ => Err(format!("{text:?} is read once and not again")),
    }
}

/// A plan that is taken decides about whatever is dialled, whenever.
fn check_dialplan(text: &str) -> bool {
    let Ok(plan) = Dialplan::parse(text) else { return false };
    let numbers: Vec<Number> = ["1", "100", "+49301", "*97", "alice@example", "80"]
        .iter()
        .filter_map(|number| Number::new(number).ok())
        .collect();
    for to in &numbers {
        for unix_ms in [0, 1_795_964_400_000, u64::MAX] {
            let now = Now {
                unix_ms,
                ..Now::default()
            };
            let _ = plan.explain(to, to, now.local()).to_string();
        }
    }
    true
}

/// Three phones at one switch. Each line is one step: `1` to `3` says which phone, and what follows is its message; `@CALL`,
/// `@OTHER` and `@PARTY` in it are the last call that it was told of, the one before, and its part in it. `-` before the number
/// cuts its socket, `+` lets it come back.
struct Conversation {
    exchange: Exchange,
    phones: Vec<Phone>,
}

struct Phone {
    session: SessionId,
    dialect: Dialect,
    line: Line,
    end: LineEnd,
    seq: u64,
    asked: BTreeSet<String>,
    calls: Vec<String>,
    party: String,
}

impl Conversation {
    fn new() -> Result<Self, String> {
        let mut settings = Settings {
            dialplan: Dialplan::parse(PLAN).map_err(|error| error.to_string())?,
            ..Settings::default()
        };
        settings.calls.half_dead = Duration::ZERO;
        settings.calls.counters_wait = Duration::ZERO;
        let media = Box::new(RecordingMedia::default());
        let mut exchange = Exchange::new(settings, media, Rc::new(Notify::new()), Arc::new(Counters::default()));
        let mut phones = Vec::new();
        for (dn, dialect) in [
            ("5001", Dialect::Payload),
            ("5002", Dialect::Payload),
            ("5003", Dialect::Flat),
        ] {
            let (line, end) = exchange.open_line();
            let newcomer = Newcomer {
                register: Box::new(register(dn)?),
                admission: Admission {
                    supervisor: true,
                    ..Admission::default()
                },
                dialect,
                id: None,
                contact: String::new(),
            };
            let session = exchange
                .register(None, newcomer, &line)
                .map_err(|refusal| refusal.to_string())?;
            phones.push(Phone {
                session,
                dialect,
                line,
                end,
                seq: 0,
                asked: BTreeSet::new(),
                calls: Vec::new(),
                party: String::new(),
            });
        }
        Ok(Self { exchange, phones })
    }

    /// True: somebody said something that could be read.
    fn hold(mut self, text: &str) -> Result<bool, String> {
        let mut was_read = false;
        for line in text.lines().take(STEPS_MAX) {
            was_read |= self.step(line)?;
            self.listen()?;
        }
        self.exchange.stop();
        self.listen()?;
        let plane = self.exchange.plane();
        let left = (
            plane.calls_count(),
            plane.devices_count(),
            self.exchange.sessions_count(),
        );
        if left != (0, 0, 0) {
            return Err(format!("calls, devices and sessions are left: {left:?}"));
        }
        Ok(was_read)
    }

    fn step(&mut self, line: &str) -> Result<bool, String> {
        let (sign, rest) = match line.strip_prefix(['-', '+']) {
            Some(rest) => (line.chars().next(), rest),
            None => (None, line),
        };
        let mut letters = rest.chars();
        let number = letters.next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
        let index = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
        let Some(phone) = self.phones.get_mut(index) else {
            return Ok(false);
        };
        match sign {
            Some('-') => self.exchange.lose(phone.session, &phone.line),
            Some(_) => {
                let (line, end) = self.exchange.open_line();
                (phone.line, phone.end) = (line, end);
                self.exchange.resume(phone.session, phone.seq, None, &phone.line);
            }
            None => return Ok(phone.say(&mut self.exchange, letters.as_str())),
        }
        Ok(false)
    }

    /// What each phone was told.
    fn listen(&mut self) -> Result<(), String> {
        for phone in &mut self.phones {
            while let Some(text) = phone.end.inbox.try_recv() {
                phone.hear(&text.text)?;
            }
        }
        Ok(())
    }
}

impl Phone {
    fn say(&mut self, exchange: &mut Exchange, text: &str) -> bool {
        let nothing = String::new();
        let last = self.calls.last().unwrap_or(&nothing);
        let before = self.calls.iter().rev().nth(1).unwrap_or(&nothing);
        let text = text
            .replace("@CALL", last)
            .replace("@OTHER", before)
            .replace("@PARTY", &self.party);
        match Envelope::read(&text, Some(self.dialect)) {
            Ok(envelope) => {
                self.asked.extend(envelope.id.as_ref().map(|id| id.value().to_string()));
                let is_read = envelope.request.is_ok();
                exchange.take(self.session, envelope);
                is_read
            }
            Err(bad) => {
                exchange.reject(self.session, &bad, None);
                false
            }
        }
    }

    fn hear(&mut self, text: &str) -> Result<(), String> {
        let told: Value = serde_json::from_str(text).map_err(|_| format!("no JSON: {text}"))?;
        if let Some(id) = told.get("id")
            && !self.asked.contains(&id.to_string())
        {
            return Err(format!("an answer to nobody: {text}"));
        }
        let payload = told.get("payload").unwrap_or(&told);
        if payload.get("complete") == Some(&Value::Bool(false)) {
            // It is told that there is a gap, and how far it goes.
            self.seq = payload.get("lastSeq").and_then(Value::as_u64).unwrap_or(0);
        } else if let Some(seq) = told.get("seq").and_then(Value::as_u64) {
            // What was told before comes once more: to who is back, and to who asks the same again.
            if seq > self.seq + 1 {
                return Err(format!("{} is followed by {text}", self.seq));
            }
            self.seq = self.seq.max(seq);
        }
        let name = |field: &str| payload.get(field).and_then(Value::as_str).map(str::to_owned);
        if let Some(call) = name("callId").or_else(|| name("session_id"))
            && self.calls.last() != Some(&call)
        {
            self.calls.push(call);
        }
        self.party = name("party").unwrap_or_else(|| std::mem::take(&mut self.party));
        Ok(())
    }
}

fn register(dn: &str) -> Result<Register, String> {
    Ok(Register {
        dn: Number::new(dn).map_err(|error| error.to_string())?,
        password: None,
        token: None,
        display_name: Text::default(),
        device: None,
        ringable: true,
        supervisor: true,
        codecs: Vec::new(),
        webrtc: false,
        expires: None,
    })
}

const MESSAGE: u8 = 0;
const FLAT_MESSAGE: u8 = 1;
const BODY: u8 = 2;
const DIALPLAN: u8 = 3;
const CONVERSATION: u8 = 4;
const SELECTORS: u8 = 5;

/// A conversation has no more steps.
const STEPS_MAX: usize = 64;

const MESSAGES: [(&str, &str); 30] = [
    (
        "register",
        r#"{"dn":"5001","password":"p","displayName":"A","device":"d","codecs":["opus"],"expires":60}"#,
    ),
    (
        "register",
        r#"{"dn":"5001","token":"a.b.c","role":"supervisor","ringable":false}"#,
    ),
    ("resume", r#"{"session":"0123456789abcdef0123456789abcdef","seq":7}"#),
    ("unregister", "{}"),
    (
        "call",
        r#"{"to":"5002","callId":"c","sdp":"v=0","timeout":30,"metadata":{"a":[1,"\u00e4"]}}"#,
    ),
    ("ringing", r#"{"callId":"c"}"#),
    ("answer", r#"{"callId":"c","sdp":"v=0"}"#),
    ("reject", r#"{"callId":"c","reason":"busy","scope":"device"}"#),
    ("hangup", r#"{"callId":"c","reason":"user_hangup"}"#),
    ("hold", r#"{"callId":"c","hold":true}"#),
    ("mute", r#"{"callId":"c","muted":false}"#),
    ("dtmf", r#"{"callId":"c","digit":"1#","duration":100}"#),
    (
        "iceCandidate",
        r#"{"callId":"c","candidate":{"candidate":"x","sdpMLineIndex":0},"party":"p"}"#,
    ),
    ("sdpOffer", r#"{"callId":"c","sdp":"v=0"}"#),
    ("sdpAnswer", r#"{"callId":"c","sdp":{"type":"answer"}}"#),
    ("transfer", r#"{"callId":"c","to":"5003"}"#),
    ("transfer", r#"{"callId":"c","replaces":"d"}"#),
    ("add", r#"{"callId":"c","to":"5003"}"#),
    ("conference", r#"{"callId":"c","other":"d"}"#),
    ("remove", r#"{"callId":"c","party":"p/1"}"#),
    ("record", r#"{"callId":"c","on":false}"#),
    (
        "subscribe",
        r#"{"dns":["5001","+49"],"calls":true,"after":"0123456789abcdef0123456789abcdef"}"#,
    ),
    ("agent", r#"{"state":"away"}"#),
    ("listen", r#"{"callId":"c"}"#),
    ("whisper", r#"{"callId":"c","party":"p/1"}"#),
    ("stop", r#"{"callId":"c"}"#),
    ("disconnect", r#"{"callId":"c"}"#),
    ("takeOver", r#"{"callId":"c","party":"p/1"}"#),
    (
        "quality",
        r#"{"callId":"c","rtt":1.5,"jitter":2,"loss":0.1,"buffer":40,"underruns":1,"mos":4.2}"#,
    ),
    ("ack", r#"{"seq":18446744073709551615}"#),
];

const FLAT_MESSAGES: [(&str, &str); 8] = [
    ("register", r#""user_id":"alice","display_name":"A""#),
    ("unregister", r#""user_id":"alice""#),
    ("call", r#""session_id":"s","dest":"bob","from":"mallory""#),
    ("answer", r#""session_id":"s""#),
    ("hangup", r#""session_id":"s""#),
    ("sdp_offer", r#""session_id":"s","sdp":{"type":"offer","sdp":"v=0"}"#),
    ("sdp_answer", r#""session_id":"s","sdp":"v=0""#),
    ("ice_candidate", r#""session_id":"s","candidate":{"candidate":"x"}"#),
];

const WHOLE_BODY: &str = r#"{"from":"1","to":"2","timeout":30,"call_id":"call-0123456789abcdef0123456789abcdef","hold":true,
"muted":false,"digit":"1","duration":100,"party":"0123456789abcdef0123456789abcdef/1","replaces":null,"on":true,"reason":"busy"}"#;

const PLAN: &str = r#"[times.office]
days = ["mon-fri"]
hours = ["08:00-12:00", "22:00-06:00"]
[groups.both]
members = ["5002", "5003"]
strategy = "in-turn"
busy = "queue/line"
[queues.line]
agents = ["5002"]
music = "jazz"
[[rules]]
to = "80"
target = "group/both"
when = "office"
[[rules]]
to = "80"
target = "queue/line"
[[rules]]
to = "_9X."
strip = 1
target = "dial/80"
[[rules]]
to = "81"
hook = "http://127.0.0.1/"
hook_fallback = "number/5003"
[[profiles]]
from = "5003"
name = "Phone"
calls = 2
forbidden = ["0900"]
"#;

const CONVERSATIONS: [(&str, &str); 4] = [
    (
        "call",
        r#"1{"type":"call","payload":{"to":"5002","callId":"a"},"id":"1"}
2{"type":"answer","payload":{"callId":"@CALL"},"id":"1"}
1{"type":"hold","payload":{"callId":"a","hold":true},"id":"2"}
2{"type":"transfer","payload":{"callId":"@CALL","to":"5003"},"id":"2"}
3{"type":"answer","session_id":"@CALL"}
1{"type":"hangup","payload":{"callId":"a"},"id":"3"}
1{"type":"hangup","payload":{"callId":"a"},"id":"3"}
"#,
    ),
    (
        "lost",
        r#"1{"type":"subscribe","payload":{"calls":true,"dns":["5002","5003"]},"id":7}
2{"type":"call","payload":{"to":"80","callId":"a","sdp":"v=0"},"id":"1"}
-2
3{"type":"hangup","session_id":"@CALL"}
+2
-1
2{"type":"iceCandidate","payload":{"callId":"a","candidate":{"candidate":"x"}},"id":"2"}
+1
3{"type":"answer","session_id":"@CALL"}
"#,
    ),
    (
        "supervisor",
        r#"2{"type":"call","payload":{"to":"5003","callId":"a"},"id":"1"}
3{"type":"answer","session_id":"@CALL"}
1{"type":"listen","payload":{"callId":"@CALL"},"id":"1"}
1{"type":"subscribe","payload":{"calls":true},"id":"2"}
2{"type":"record","payload":{"callId":"a"},"id":"2"}
1{"type":"barge","payload":{"callId":"@CALL"},"id":"3"}
1{"type":"takeOver","payload":{"callId":"@CALL","party":"@PARTY"},"id":"4"}
1{"type":"disconnect","payload":{"callId":"@CALL"},"id":"5"}
"#,
    ),
    (
        "conference",
        r#"1{"type":"call","payload":{"to":"5002","callId":"a"},"id":"1"}
2{"type":"answer","payload":{"callId":"@CALL"},"id":"1"}
1{"type":"call","payload":{"to":"5003","callId":"b"},"id":"2"}
3{"type":"answer","session_id":"@CALL"}
1{"type":"conference","payload":{"callId":"a","other":"b"},"id":"3"}
1{"type":"call","payload":{"to":"81","callId":"c"},"id":"4"}
3{"type":"unregister"}
2{"type":"remove","payload":{"callId":"@CALL","party":"@PARTY"},"id":"2"}
2{"type":"nonsense","payload":[]}
"#,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_taken_and_spoilt_seeds_break_no_promise() {
        // xorshift, from one seed: the same each time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % 1_000_003).unwrap() % below.max(1)
        };
        for (name, seed) in seeds() {
            assert_eq!(exercise(&seed), Ok(Outcome::Accepted), "{name}");
            for _ in 0..60 {
                let mut bytes = seed.clone();
                for _ in 0..=random(4) {
                    let at = 1 + random(bytes.len() - 1);
                    match random(4) {
                        0 => bytes[at] = b"{}[],:\"0-e\\nt \x01\x7f"[random(16)],
                        1 => drop(bytes.remove(at)),
                        2 => bytes.insert(at, b"{}[],:\"9\n-+123"[random(14)]),
                        // Lines in another order.
                        _ => {
                            let text = String::from_utf8_lossy(&bytes).into_owned();
                            let mut lines: Vec<&str> = text[1..].lines().collect();
                            let line = lines.remove(random(lines.len()));
                            lines.insert(random(lines.len() + 1), line);
                            bytes.truncate(1);
                            bytes.extend(lines.join("\n").bytes());
                        }
                    }
                    if bytes.len() < 2 {
                        break;
                    }
                }
                exercise(&bytes).unwrap_or_else(|broken| {
                    panic!("{name}: {broken}\nof {}", String::from_utf8_lossy(&bytes));
                });
            }
        }
    }
}
