//! What clients are told, in the dialect with payloads.

use std::time::Duration;

use moqswitch_calls::{
    Accepted, CallId, Ended, EndedBy, Grants, Incoming, LegId, Notice, Participant, Refusal, Registered, Signal, Text,
    TransferProgress, UnregisterReason,
};
use serde_json::{Map, Value, json};

use super::bounds::is_bounded;
use super::fields::BadMessage;
use super::views::{self, party};
use crate::media::Media;

/// A message to a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// Its type.
    pub(crate) kind: &'static str,
    /// What it says.
    pub(crate) payload: Map<String, Value>,
}

impl Told {
    pub(super) fn new(kind: &'static str, payload: Value) -> Self {
        let payload = match payload {
            Value::Object(payload) => payload,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        Self { kind, payload }
    }

    /// The code by which something is refused, if that is what it says.
    pub(crate) fn refused(&self) -> Option<u16> {
        let refuses = matches!(self.kind, "error" | "call_failed" | "registrationFailed");
        let code = self.payload.get("code").filter(|_| refuses)?.as_u64()?;
        u16::try_from(code).ok()
    }

    /// Does it say that a call is over?
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.kind, "callEnded" | "call_ended" | "call_failed")
    }

    fn with(mut self, name: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.payload.insert(name.to_owned(), value);
        }
        self
    }
}

/// The device is registered, or back. `kind` says which.
pub(crate) fn registered(
    kind: &'static str,
    registered: &Registered,
    server: &str,
    media: &Media,
    ping: Duration,
) -> Told {
    let calls = registered
        .calls
        .iter()
        .map(|call| views::snapshot(call, registered.session));
    Told::new(
        kind,
        json!({
            "dn": registered.number.as_str(),
            "expires": registered.expires.as_secs(),
            "server": server,
            "session": registered.session.to_string(),
            "device": registered.device.as_str(),
            "resumeFor": registered.resume_for.as_secs(),
            "pingInterval": ping.as_secs(),
            "media": media_of(media),
            "calls": calls.collect::<Vec<_>>(),
        }),
    )
}

fn media_of(media: &Media) -> Value {
    let expires = media.expires.as_secs();
    let mut value = json!({ "url": media.url, "token": media.token, "expires": expires });
    if let (Some(hash), Some(fields)) = (&media.certificate_hash, value.as_object_mut()) {
        fields.insert("certificateHash".to_owned(), json!(hash));
    }
    value
}

/// It is not registered.
pub(crate) fn failed_registration(reason: &str, code: u16) -> Told {
    Told::new("registrationFailed", json!({ "reason": reason, "code": code }))
}

/// The first message has to say who it is.
pub(crate) fn unauthorized() -> Told {
    Told::new("error", json!({ "message": "Register or resume first", "code": 401 }))
}

/// Nothing was done.
pub(crate) fn refused(refusal: Refusal, call: Option<&Text>) -> Told {
    let told = json!({ "message": refusal.to_string(), "code": refusal.code(), "details": refusal.name() });
    Told::new("error", told).with("callId", call.map(|call| json!(call.as_str())))
}

/// A call that could not begin, in the dialect without payloads.
pub(crate) fn call_failed(refusal: Refusal, call: Option<&Text>) -> Told {
    let told = Told::new(
        "call_failed",
        json!({ "reason": refusal.name(), "code": refusal.code() }),
    );
    told.with("session_id", call.map(|call| json!(call.as_str())))
}

/// It was done, and nothing else says so.
pub(crate) fn done(call: Option<&Text>) -> Told {
    Told::new("ok", json!({})).with("callId", call.map(|call| json!(call.as_str())))
}

/// Calls that there are, for who begins to watch them. `next`: there are more, behind this one.
pub(crate) fn call_states(calls: Vec<Value>, next: Option<CallId>) -> Told {
    Told::new("callStates", json!({ "calls": calls })).with("next", next.map(|next| json!(next.to_string())))
}

/// The device itself holds, or does not.
pub(crate) fn held(call: &str, own: Option<LegId>, hold: bool) -> Told {
    let party = own.map(|own| own.to_string());
    Told::new(
        "held",
        json!({ "callId": call, "by": "local", "party": party, "hold": hold }),
    )
}

/// The device itself is muted, or is not.
pub(crate) fn muted(call: &str, own: Option<LegId>, muted: bool) -> Told {
    let party = own.map(|own| own.to_string());
    Told::new("muted", json!({ "callId": call, "party": party, "muted": muted }))
}

/// The switch goes: come back after a while.
pub(crate) fn goaway(reconnect: Duration) -> Told {
    Told::new("goaway", json!({ "reconnectMs": milliseconds(reconnect) }))
}

/// Nothing could be made of it.
pub(crate) fn bad_message(bad: &BadMessage) -> Told {
    let told = Told::new("error", json!({ "message": bad.message, "code": 400 }));
    told.with("details", bad.details.as_ref().map(|details| json!(details)))
}

/// The call that a notice is about.
pub(crate) fn call_of(notice: &Notice) -> Option<CallId> {
    match notice {
        Notice::Incoming(incoming) => Some(incoming.call),
        Notice::Accepted(accepted) => Some(accepted.call),
        Notice::Ended(ended) => Some(ended.call),
        Notice::Progress { call, .. }
        | Notice::Participants { call, .. }
        | Notice::Joined { call, .. }
        | Notice::Left { call, .. }
        | Notice::Held { call, .. }
        | Notice::Muted { call, .. }
        | Notice::Dtmf { call, .. }
        | Notice::Signal { call, .. }
        | Notice::Speak { call, .. }
        | Notice::Transfer { call, .. }
        | Notice::Queue { call, .. }
        | Notice::Announcement { call, .. }
        | Notice::Recording { call, .. }
        | Notice::QualityWarning { call, .. } => Some(*call),
        Notice::Presence { .. } | Notice::Call(_) | Notice::Unregistered { .. } => None,
    }
}

/// What is heard by who waits.
fn told_waiting(notice: &Notice, name: &str) -> Option<Told> {
    let (told, music) = match notice {
        Notice::Queue {
            queue, position, music, ..
        } => {
            let told = json!({ "callId": name, "queue": queue.as_str(), "position": position });
            (Told::new("queuePosition", told), music)
        }
        Notice::Announcement {
            name: played, music, ..
        } => {
            let told = json!({ "callId": name, "name": played.as_str(), "on": music.is_some() });
            (Told::new("announcement", told), music)
        }
        _ => return None,
    };
    Some(told.with("music", music.as_ref().map(|music| json!(music))))
}

/// One notice. `name` is the call as the client knows it, `own` its leg there. None: sockets are not told of it.
pub(crate) fn notice(notice: &Notice, name: &str, own: Option<LegId>, media: Option<&Media>) -> Option<Told> {
    Some(match notice {
        Notice::Incoming(incoming) => told_incoming(incoming, name),
        Notice::Progress {
            call,
            leg,
            state,
            devices,
            early,
            ..
        } => {
            let early_media = early.as_ref().map(|(leg, _)| json!(leg.path()));
            let sdp = early.as_ref().and_then(|(_, sdp)| sdp.as_ref());
            let told = json!({ "callId": name, "call": call.to_string(), "state": state.name(), "devices": devices, "party": leg.to_string() });
            Told::new("callProgress", told)
                .with("earlyMedia", early_media)
                .with("sdp", sdp.map(|sdp| json!(sdp.as_str())))
        }
        Notice::Accepted(accepted) => told_accepted(accepted, name, media),
        Notice::Participants { participants, .. } => Told::new(
            "participants",
            json!({ "callId": name, "participants": participants.iter().map(participant).collect::<Vec<_>>() }),
        ),
        Notice::Joined { participant: who, .. } => Told::new(
            "participantJoined",
            json!({ "callId": name, "participant": participant(who) }),
        ),
        Notice::Left { leg, cause, .. } => Told::new(
            "participantLeft",
            json!({ "callId": name, "party": leg.to_string(), "reason": cause.name() }),
        ),
        Notice::Held { by, hold, music, .. } => {
            let told = json!({ "callId": name, "by": side(*by, own), "party": by.to_string(), "hold": hold });
            Told::new("held", told).with("music", music.as_ref().map(|music| json!(music)))
        }
        Notice::Muted { by, muted, .. } => Told::new(
            "muted",
            json!({ "callId": name, "party": by.to_string(), "muted": muted }),
        ),
        Notice::Dtmf {
            by, digits, duration, ..
        } => Told::new(
            "dtmf",
            json!({ "callId": name, "party": by.to_string(), "digit": digits.as_str(), "duration": milliseconds(*duration) }),
        ),
        Notice::Signal { by, signal, .. } => told_signal(name, *by, signal),
        // A browser speaks what its own part says, and is never asked.
        Notice::Speak { .. } => return None,
        Notice::Transfer { progress, .. } => told_transfer(name, *progress),
        Notice::Queue { .. } | Notice::Announcement { .. } => return told_waiting(notice, name),
        Notice::Recording { on, paused, tone, .. } => Told::new("recording", json!({ "callId": name, "on": on }))
            .with("paused", paused.then_some(json!(true)))
            .with("tone", tone.map(|tone| json!(tone.as_secs()))),
        Notice::QualityWarning { warning, on, .. } => Told::new(
            "qualityWarning",
            json!({ "callId": name, "name": warning.name(), "value": on }),
        ),
        Notice::Ended(ended) => told_ended(ended, name),
        Notice::Presence { number, status, agent } => Told::new(
            "presence",
            json!({ "dn": number.as_str(), "status": status.name(), "agent": agent.name() }),
        ),
        Notice::Call(view) => Told::new("callState", views::call_view(view)),
        Notice::Unregistered { reason } => Told::new("unregistered", json!({ "reason": unregistered(*reason) })),
    })
}

fn side(by: LegId, own: Option<LegId>) -> &'static str {
    if own == Some(by) { "local" } else { "remote" }
}

fn told_incoming(incoming: &Incoming, call: &str) -> Told {
    let told = json!({
        "callId": call,
        "from": incoming.from.number.as_str(),
        "displayName": incoming.from.name.as_str(),
        "lifetime": incoming.lifetime.as_secs(),
        "party": incoming.leg.to_string(),
        "to": incoming.dialled.as_str(),
    });
    let metadata = incoming.metadata.as_ref().map(|metadata| unpacked(metadata.as_str()));
    Told::new("incomingCall", told)
        .with("sdp", incoming.sdp.as_ref().map(|sdp| json!(sdp.as_str())))
        .with("metadata", metadata)
        .with(
            "forwardedBy",
            incoming.forwarded_by.as_ref().map(|by| json!(by.as_str())),
        )
        .with("queue", incoming.queue.as_ref().map(|queue| json!(queue.as_str())))
}

/// What was an object or a list when it came is one again. Nobody is told what would not be taken from anybody.
pub(super) fn unpacked(text: &str) -> Value {
    let is_object = text.starts_with(['{', '[']) && is_bounded(text);
    let parsed = is_object.then(|| serde_json::from_str(text).ok()).flatten();
    parsed.unwrap_or_else(|| json!(text))
}

fn told_accepted(accepted: &Accepted, call: &str, media: Option<&Media>) -> Told {
    let told = json!({
        "callId": call,
        "call": accepted.call.to_string(),
        "party": accepted.leg.to_string(),
        "peer": party(&accepted.peer),
        "media": grants_of(accepted.leg, &accepted.grants, media),
    });
    Told::new("callAccepted", told).with("sdp", accepted.sdp.as_ref().map(|sdp| json!(sdp.as_str())))
}

/// What the leg publishes, and every pattern that it may subscribe to.
fn grants_of(leg: LegId, grants: &Grants, media: Option<&Media>) -> Value {
    let mut value = media.map_or_else(|| json!({}), media_of);
    if let Some(fields) = value.as_object_mut() {
        let publish = (!grants.publish.is_empty()).then(|| leg.path());
        fields.insert("publish".to_owned(), json!(publish));
        fields.insert("subscribe".to_owned(), json!(grants.subscribe));
    }
    value
}

fn participant(participant: &Participant) -> Value {
    let track = match (participant.sends, participant.heard_as) {
        (None, _) => None,
        (Some(_), None) => Some("audio".to_owned()),
        (Some(_), Some(codec)) => Some(format!("audio.{codec}")),
    };
    json!({
        "party": participant.leg.to_string(),
        "broadcast": participant.leg.path(),
        "dn": participant.party.number.as_str(),
        "displayName": participant.party.name.as_str(),
        "device": participant.party.device.as_str(),
        "role": views::role(participant.role),
        // Of that track.
        "codec": participant.sends.map(|codec| participant.heard_as.unwrap_or(codec).name()),
        "track": track,
        "audible": participant.audible,
        "hold": participant.holds,
        "muted": participant.muted,
        "own": participant.own,
    })
}

fn told_signal(call: &str, by: LegId, signal: &Signal) -> Told {
    let party = by.to_string();
    match signal {
        Signal::Offer(sdp) => Told::new(
            "sdpOffer",
            json!({ "callId": call, "party": party, "sdp": sdp.as_str() }),
        ),
        Signal::Answer(sdp) => Told::new(
            "sdpAnswer",
            json!({ "callId": call, "party": party, "sdp": sdp.as_str() }),
        ),
        Signal::Candidate(candidate) => Told::new(
            "iceCandidate",
            json!({ "callId": call, "party": party, "candidate": unpacked(candidate.as_str()) }),
        ),
    }
}

fn told_transfer(call: &str, progress: TransferProgress) -> Told {
    let (state, cause) = match progress {
        TransferProgress::Trying => ("trying", None),
        TransferProgress::Ringing => ("ringing", None),
        TransferProgress::Done => ("done", None),
        TransferProgress::Failed(cause) => ("failed", Some(cause)),
    };
    Told::new("transferProgress", json!({ "callId": call, "state": state }))
        .with("reason", cause.map(|cause| json!(cause.name())))
        .with("code", cause.map(|cause| json!(cause.sip_status())))
}

fn told_ended(ended: &Ended, call: &str) -> Told {
    let by = match ended.by {
        EndedBy::Leg(leg) if leg == ended.leg => "local",
        EndedBy::Leg(_) => "remote",
        EndedBy::Supervisor => "supervisor",
        EndedBy::Api | EndedBy::System => "system",
    };
    let told = json!({
        "callId": call,
        "call": ended.call.to_string(),
        "reason": ended.cause.name(),
        "duration": ended.duration.as_secs(),
        "code": ended.cause.sip_status(),
        "q850": ended.cause.q850(),
        "by": by,
    });
    Told::new("callEnded", told)
        .with("answeredBy", ended.answered_by.as_ref().map(party))
        .with("setupMs", ended.setup.map(|setup| json!(milliseconds(setup))))
        .with("mos", ended.mos.map(|mos| json!(mos)))
}

fn unregistered(reason: UnregisterReason) -> &'static str {
    match reason {
        UnregisterReason::Requested => "requested",
        UnregisterReason::Expired => "expired",
        UnregisterReason::Replaced => "replaced",
        UnregisterReason::Lost => "lost",
        UnregisterReason::Shutdown => "shutdown",
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
