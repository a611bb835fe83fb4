//! What clients say, as types. Unknown fields are not looked at; unknown types and wrong ones are errors that name them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use moqswitch_calls::{
    AgentState, CallId, Cause, NameError, Number, Payload, RejectReason, RejectScope, SessionId, Signal, Text,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::bounds;
use super::fields::{BadMessage, Fields, bad};
use crate::limits::MESSAGE_ID_BYTES_MAX;

/// How a client writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `{"type":"call","payload":{"to":"5002"},"id":"msg-2"}`.
    Payload,
    /// `{"type":"call","dest":"bob","session_id":"s1"}`.
    Flat,
}

/// What a reply repeats: a string or a number, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageId(Value);

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// What the reply repeats.
    pub(crate) id: Option<MessageId>,
    /// Of its text: another request may have the same id.
    pub(crate) digest: u64,
    /// Everything up to this number has come to the client.
    pub(crate) ack: Option<u64>,
    /// How it was written.
    pub(crate) dialect: Dialect,
    /// What it says. An error has the call that it names.
    pub(crate) request: Result<Request, BadMessage>,
}

/// Who registers.
pub(crate) struct Register {
    pub(crate) dn: Number,
    pub(crate) password: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) display_name: Text,
    pub(crate) device: Option<Text>,
    pub(crate) ringable: bool,
    pub(crate) supervisor: bool,
    pub(crate) codecs: Vec<String>,
    pub(crate) webrtc: bool,
    pub(crate) expires: Option<Duration>,
}

/// A call as it is dialled.
#[derive(Debug)]
pub(crate) struct ToDial {
    pub(crate) to: Number,
    pub(crate) alias: Option<Text>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Option<Payload>,
    pub(crate) sdp: Option<Payload>,
}

/// What a client wants. A call is named as the client knows it.
#[derive(Debug)]
pub(crate) enum Request {
    Register(Box<Register>),
    Resume {
        session: SessionId,
        seq: u64,
    },
    Unregister,
    Dial(Box<ToDial>),
    Ringing {
        call: Text,
    },
    Answer {
        call: Text,
        sdp: Option<Payload>,
    },
    Reject {
        call: Text,
        reason: RejectReason,
        scope: RejectScope,
    },
    Hangup {
        call: Text,
        cause: Option<Cause>,
    },
    Hold {
        call: Text,
        hold: bool,
    },
    Mute {
        call: Text,
        muted: bool,
    },
    Dtmf {
        call: Text,
        digits: Text,
        duration: Duration,
    },
    Signal {
        call: Text,
        party: Option<Text>,
        signal: Signal,
    },
    Transfer {
        call: Text,
        to: Option<Number>,
        replaces: Option<Text>,
    },
    Add {
        call: Text,
        to: Number,
    },
    Remove {
        call: Text,
        party: Text,
    },
    Merge {
        call: Text,
        other: Text,
    },
    Record {
        call: Text,
        on: bool,
    },
    PauseRecording {
        call: Text,
        paused: bool,
    },
    Subscribe {
        numbers: Option<Vec<Number>>,
        calls: Option<bool>,
        /// Of calls that there are, those behind this one.
        after: Option<CallId>,
    },
    Agent {
        state: AgentState,
    },
    Supervise {
        call: Text,
        mode: Supervision,
    },
    Quality {
        call: Text,
        quality: Quality,
    },
    /// Nothing but the `ack` of the envelope.
    Ack,
}

/// What a supervisor wants.
#[derive(Debug)]
pub(crate) enum Supervision {
    Listen,
    Whisper(Option<Text>),
    Barge,
    Stop,
    Disconnect,
    TakeOver(Text),
}

/// What a client says of what it hears. Milliseconds; loss of 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Quality {
    pub(crate) rtt: f64,
    pub(crate) jitter: f64,
    pub(crate) loss: f64,
    pub(crate) buffer: f64,
    pub(crate) underruns: u32,
    pub(crate) mos: Option<f32>,
}

/// Without its secrets.
impl std::fmt::Debug for Register {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Register")
            .field("dn", &self.dn)
            .finish_non_exhaustive()
    }
}

impl MessageId {
    fn of(value: &Value) -> Option<Self> {
        let fits = match value {
            Value::String(text) => text.len() <= MESSAGE_ID_BYTES_MAX,
            Value::Number(number) => number.is_u64(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
        };
        fits.then(|| Self(value.clone()))
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0
    }
}

impl Envelope {
    /// Reads a message. An error: it is no JSON object with a type, or it is beyond the bounds.
    pub(crate) fn read(text: &str, spoken: Option<Dialect>) -> Result<Self, BadMessage> {
        if !bounds::is_bounded(text) {
            return Err(bad(
                "Invalid JSON",
                Some("too deep, too many values or too long a number"),
            ));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| bad("Invalid JSON", None))?;
        let Value::Object(fields) = value else {
            return Err(bad("Invalid JSON", Some("a message is an object")));
        };
        let Some(kind) = fields.get("type").and_then(Value::as_str) else {
            return Err(bad("Missing type", None));
        };
        let id = match fields.get("id") {
            None | Some(Value::Null) => None,
            Some(id) => Some(MessageId::of(id).ok_or_else(|| bad("Invalid id", Some("a string or a whole number")))?),
        };
        let is_flat = !fields.contains_key("payload") && fields.contains_key("user_id");
        let guessed = if is_flat { Dialect::Flat } else { Dialect::Payload };
        let dialect = spoken.unwrap_or(guessed);
        let request = match dialect {
            Dialect::Flat => flat(kind, &fields),
            Dialect::Payload => match fields.get("payload") {
                None | Some(Value::Null) => camel(kind, &Map::new()),
                Some(Value::Object(payload)) => camel(kind, payload),
                Some(_) => Err(bad("Invalid payload", Some("an object"))),
            },
        };
        Ok(Self {
            id,
            digest: digest(text),
            ack: acked(kind, &fields),
            dialect,
            request,
        })
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Of any message `ack`; of a message of this type its payload's `seq`.
fn acked(kind: &str, fields: &Map<String, Value>) -> Option<u64> {
    let of_payload = || fields.get("payload")?.get("seq")?.as_u64();
    let piggy_backed = fields.get("ack").and_then(Value::as_u64);
    if kind == "ack" {
        of_payload().or(piggy_backed)
    } else {
        piggy_backed
    }
}

fn camel(kind: &str, payload: &Map<String, Value>) -> Result<Request, BadMessage> {
    let fields = Fields(payload);
    let call = || fields.key("callId");
    Ok(match kind {
        "register" => Request::Register(Box::new(register(&fields)?)),
        "resume" => Request::Resume {
            session: fields
                .key("session")?
                .as_str()
                .parse()
                .map_err(|_| Fields::wrong("session", "32 digits"))?,
            seq: fields.get("seq").and_then(Value::as_u64).unwrap_or(0),
        },
        "unregister" => Request::Unregister,
        "call" => Request::Dial(Box::new(ToDial {
            to: fields.number("to")?,
            alias: fields.optional_key("callId")?,
            timeout: fields.seconds("timeout")?,
            metadata: fields.payload("metadata")?,
            sdp: fields.payload("sdp")?,
        })),
        "ringing" => Request::Ringing { call: call()? },
        "answer" => Request::Answer {
            call: call()?,
            sdp: fields.payload("sdp")?,
        },
        "reject" => reject(&fields)?,
        "hangup" => Request::Hangup {
            call: call()?,
            cause: fields.text("reason")?.and_then(cause),
        },
        "hold" => Request::Hold {
            call: call()?,
            hold: fields.flag("hold")?.ok_or_else(|| Fields::missing("hold"))?,
        },
        "mute" => Request::Mute {
            call: call()?,
            muted: fields.flag("muted")?.ok_or_else(|| Fields::missing("muted"))?,
        },
        "dtmf" => Request::Dtmf {
            call: call()?,
            digits: fields.key("digit")?,
            duration: Duration::from_millis(
                fields
                    .get("duration")
                    .and_then(Value::as_u64)
                    .unwrap_or(160)
                    .clamp(40, 6000),
            ),
        },
        "iceCandidate" => signal(&fields, "candidate", Signal::Candidate)?,
        "sdpOffer" => signal(&fields, "sdp", Signal::Offer)?,
        "sdpAnswer" => signal(&fields, "sdp", Signal::Answer)?,
        "ack" => Request::Ack,
        _ => return more(kind, &fields),
    })
}

/// Transfers, conferences, watching and supervision.
fn more(kind: &str, fields: &Fields<'_>) -> Result<Request, BadMessage> {
    let call = || fields.key("callId");
    Ok(match kind {
        "transfer" => Request::Transfer {
            call: call()?,
            to: fields.optional_number("to")?,
            replaces: fields.optional_key("replaces")?,
        },
        // Both words of the seeds' successors: another number, or another call of the same device.
        "conference" | "add" if fields.get("to").is_some() => Request::Add {
            call: call()?,
            to: fields.number("to")?,
        },
        "conference" => Request::Merge {
            call: call()?,
            other: fields.key("other")?,
        },
        "add" => return Err(Fields::missing("to")),
        "remove" => Request::Remove {
            call: call()?,
            party: fields.key("party")?,
        },
        "record" => match fields.flag("paused")? {
            Some(paused) => Request::PauseRecording { call: call()?, paused },
            None => Request::Record {
                call: call()?,
                on: fields.flag("on")?.unwrap_or(true),
            },
        },
        "subscribe" => subscribe(fields)?,
        "agent" => Request::Agent {
            state: match fields.key("state")?.as_str() {
                "ready" => AgentState::Ready,
                "away" => AgentState::Away,
                _ => return Err(Fields::wrong("state", "ready or away")),
            },
        },
        "listen" | "whisper" | "barge" | "stop" | "disconnect" | "takeOver" => Request::Supervise {
            call: call()?,
            mode: match kind {
                "listen" => Supervision::Listen,
                "whisper" => Supervision::Whisper(fields.optional_key("party")?),
                "barge" => Supervision::Barge,
                "disconnect" => Supervision::Disconnect,
                "takeOver" => Supervision::TakeOver(fields.key("party")?),
                _ => Supervision::Stop,
            },
        },
        "quality" => Request::Quality {
            call: call()?,
            quality: Quality::deserialize(Value::Object(fields.0.clone()))
                .map_err(|_| bad("Invalid parameter: quality", Some("numbers")))?,
        },
        _ => {
            let kind = Text::new(kind);
            return Err(bad("Unknown message type", Some(kind.as_str())));
        }
    })
}

fn register(fields: &Fields<'_>) -> Result<Register, BadMessage> {
    Ok(Register {
        dn: fields.number("dn")?,
        password: fields.secret("password")?,
        token: fields.secret("token")?,
        display_name: fields.name("displayName")?.unwrap_or_default(),
        device: fields.optional_key("device")?,
        ringable: fields.flag("ringable")?.unwrap_or(true),
        supervisor: fields.text("role")? == Some("supervisor"),
        codecs: fields
            .list("codecs")?
            .unwrap_or_default()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        webrtc: fields.flag("webrtc")?.unwrap_or(false),
        expires: fields.seconds("expires")?,
    })
}

fn reject(fields: &Fields<'_>) -> Result<Request, BadMessage> {
    Ok(Request::Reject {
        call: fields.key("callId")?,
        reason: match fields.text("reason")? {
            None | Some("declined") => RejectReason::Declined,
            Some("busy") => RejectReason::Busy,
            Some(_) => return Err(Fields::wrong("reason", "busy or declined")),
        },
        scope: match fields.text("scope")? {
            None | Some("all") => RejectScope::All,
            Some("device") => RejectScope::Device,
            Some(_) => return Err(Fields::wrong("scope", "device or all")),
        },
    })
}

/// Words of clients that are causes of ours. `user_hangup` and whatever else they say is none: the plane's own word counts.
fn cause(reason: &str) -> Option<Cause> {
    match reason {
        "user_busy" | "busy" => Some(Cause::Busy),
        "media_failed" | "ice_failed" | "ice_timeout" | "user_media_failed" => Some(Cause::MediaTimeout),
        _ => None,
    }
}

fn signal(fields: &Fields<'_>, name: &str, signal: fn(Payload) -> Signal) -> Result<Request, BadMessage> {
    Ok(Request::Signal {
        call: fields.key("callId")?,
        party: fields.optional_key("party")?,
        signal: signal(fields.required_payload(name)?),
    })
}

fn subscribe(fields: &Fields<'_>) -> Result<Request, BadMessage> {
    let numbers = match fields.list("dns")? {
        None => None,
        Some(texts) => {
            let numbers: Result<Vec<Number>, NameError> = texts.into_iter().map(Number::new).collect();
            Some(numbers.map_err(|error| Fields::wrong("dns", &error.to_string()))?)
        }
    };
    let calls = fields.flag("calls")?;
    let id = |text: Text| text.as_str().parse().map_err(|_| Fields::wrong("after", "32 digits"));
    let after = fields.optional_key("after")?.map(id).transpose()?;
    if numbers.is_none() && calls.is_none() {
        return Err(Fields::missing("dns"));
    }
    Ok(Request::Subscribe { numbers, calls, after })
}

/// The dialect without payloads. Who calls (`from`) and whom a message is for (`dest`) are not believed: the session says
/// who it is, and the call who the other side is.
fn flat(kind: &str, fields: &Map<String, Value>) -> Result<Request, BadMessage> {
    let fields = Fields(fields);
    let call = || fields.key("session_id");
    Ok(match kind {
        "register" => Request::Register(Box::new(Register {
            dn: fields.number("user_id")?,
            password: fields.secret("password")?,
            token: fields.secret("token")?,
            display_name: fields.name("display_name")?.unwrap_or_default(),
            device: fields.optional_key("device")?,
            ringable: true,
            supervisor: false,
            codecs: Vec::new(),
            webrtc: false,
            expires: None,
        })),
        "unregister" => Request::Unregister,
        "call" => Request::Dial(Box::new(ToDial {
            to: fields.number("dest")?,
            alias: fields.optional_key("session_id")?,
            timeout: None,
            metadata: None,
            sdp: None,
        })),
        "answer" => Request::Answer {
            call: call()?,
            sdp: None,
        },
        "hangup" => Request::Hangup {
            call: call()?,
            cause: None,
        },
        "sdp_offer" => Request::Signal {
            call: call()?,
            party: None,
            signal: Signal::Offer(description(&fields)?),
        },
        "sdp_answer" => Request::Signal {
            call: call()?,
            party: None,
            signal: Signal::Answer(description(&fields)?),
        },
        "ice_candidate" => Request::Signal {
            call: call()?,
            party: None,
            signal: Signal::Candidate(fields.required_payload("candidate")?),
        },
        _ => {
            let kind = Text::new(kind);
            return Err(bad("Unknown message type", Some(kind.as_str())));
        }
    })
}

/// What browsers make of an SDP, `{"type","sdp"}`: the SDP in it goes on, so that both dialects understand each other.
fn description(fields: &Fields<'_>) -> Result<Payload, BadMessage> {
    match fields.get("sdp").and_then(|value| value.get("sdp")) {
        Some(Value::String(sdp)) => Payload::new(sdp).map_err(|_| Fields::wrong("sdp", "too long")),
        Some(_) => Err(Fields::wrong("sdp", "a string")),
        None => fields.required_payload("sdp"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients said in the transcripts.
    fn said() -> Vec<String> {
        let transcripts = [
            include_str!("../tests/golden/call.txt"),
            include_str!("../tests/golden/conference.txt"),
            include_str!("../tests/golden/errors.txt"),
            include_str!("../tests/golden/seed-channel-driver.txt"),
            include_str!("../tests/golden/supervisor.txt"),
        ];
        let lines = transcripts.iter().flat_map(|text| text.lines());
        lines
            .filter_map(|line| Some(line.split_once(" > ")?.1.to_owned()))
            .collect()
    }

    #[test]
    fn messages_cut_and_spoilt_anywhere_are_read_or_refused() {
        // xorshift, from one seed: the same each time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % 1_000_003).unwrap() % below.max(1)
        };
        let mut read = 0;
        for message in said() {
            for end in 0..message.len() {
                let _ = message.get(..end).map(|cut| Envelope::read(cut, None));
            }
            for _ in 0..200 {
                let mut bytes = message.clone().into_bytes();
                for _ in 0..=random(3) {
                    let at = random(bytes.len());
                    match random(3) {
                        0 => bytes[at] = b"{}[],:\"0-e\\nt \x01\xff"[random(16)],
                        1 => drop(bytes.remove(at)),
                        _ => bytes.insert(at, b"{}[],:\"9"[random(8)]),
                    }
                }
                let text = String::from_utf8_lossy(&bytes);
                for dialect in [None, Some(Dialect::Payload), Some(Dialect::Flat)] {
                    read += usize::from(Envelope::read(&text, dialect).is_ok());
                }
            }
        }
        assert!(read > 1000, "{read}");
    }
}
