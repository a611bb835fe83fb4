//! What clients are told in the dialect without payloads. It has few words: what it has none for is not said.

use moqswitch_calls::{Cause, Ended, LegState, Notice, Signal};
use serde_json::{Value, json};

use super::told::{Told, unpacked};

/// What the dialect with payloads has for everything that is no notice, in this one.
pub(crate) fn flattened(told: &Told) -> Option<Told> {
    let take = |names: &[(&str, &str)]| {
        let fields = names
            .iter()
            .filter_map(|(name, flat)| Some(((*flat).to_owned(), told.payload.get(*name)?.clone())));
        fields.collect::<serde_json::Map<_, _>>()
    };
    let (kind, mut payload) = match told.kind {
        "registered" => (
            "registered",
            take(&[("dn", "user_id"), ("media", "media"), ("expires", "expires")]),
        ),
        "registrationFailed" => ("registration_failed", take(&[("reason", "reason"), ("code", "code")])),
        "error" => (
            "error",
            take(&[
                ("message", "message"),
                ("code", "code"),
                ("details", "details"),
                ("callId", "session_id"),
            ]),
        ),
        "unregistered" => ("unregistered", take(&[("reason", "reason")])),
        "goaway" => ("goaway", take(&[("reconnectMs", "reconnect_ms")])),
        _ => return None,
    };
    if kind == "registered" {
        payload.insert("status".to_owned(), json!("success"));
    }
    Some(Told { kind, payload })
}

/// A notice as this dialect says it: maybe not at all.
pub(crate) fn flat(notice: &Notice, call: &str, own: &str) -> Vec<Told> {
    match notice {
        Notice::Incoming(incoming) => {
            let from = incoming.from.number.as_str();
            let mut told = vec![Told::new("incoming_call", json!({ "session_id": call, "from": from }))];
            if let Some(sdp) = &incoming.sdp {
                told.push(description("offer", sdp.as_str(), call, from, own));
            }
            told
        }
        Notice::Progress {
            state: LegState::Ringing,
            ..
        } => vec![Told::new("ringing", json!({ "session_id": call }))],
        // Who answers knows it.
        Notice::Accepted(accepted) if accepted.request.is_some() => {
            let mut told = vec![Told::new("call_answered", json!({ "session_id": call }))];
            if let Some(sdp) = &accepted.sdp {
                told.push(description(
                    "answer",
                    sdp.as_str(),
                    call,
                    accepted.peer.number.as_str(),
                    own,
                ));
            }
            told
        }
        Notice::Ended(ended) => vec![told_ended(ended, call)],
        Notice::Unregistered { reason } => vec![Told::new("unregistered", json!({ "reason": reason.name() }))],
        Notice::Signal { signal, .. } => vec![match signal {
            Signal::Offer(sdp) => description("offer", sdp.as_str(), call, "", own),
            Signal::Answer(sdp) => description("answer", sdp.as_str(), call, "", own),
            Signal::Candidate(candidate) => Told::new(
                "ice_candidate",
                json!({ "candidate": unpacked(candidate.as_str()), "session_id": call, "dest": own }),
            ),
        }],
        _ => Vec::new(),
    }
}

/// As browsers' `RTCSessionDescription` takes it.
fn description(kind: &str, sdp: &str, call: &str, from: &str, own: &str) -> Told {
    let name = if kind == "offer" { "sdp_offer" } else { "sdp_answer" };
    let mut told = json!({ "sdp": { "type": kind, "sdp": sdp }, "session_id": call, "dest": own });
    if let Value::Object(fields) = &mut told
        && !from.is_empty()
    {
        fields.insert("from".to_owned(), json!(from));
    }
    Told::new(name, told)
}

/// A call that its caller could not get is failed; every other one is ended.
fn told_ended(ended: &Ended, call: &str) -> Told {
    let is_failed = ended.request.is_some() && ended.setup.is_none() && ended.cause != Cause::Cancelled;
    if !is_failed {
        return Told::new(
            "call_ended",
            json!({ "session_id": call, "reason": ended.cause.name() }),
        );
    }
    let reason = match ended.cause {
        Cause::Unallocated | Cause::Unreachable => "user_not_found",
        other => other.name(),
    };
    Told::new("call_failed", json!({ "session_id": call, "reason": reason }))
}
