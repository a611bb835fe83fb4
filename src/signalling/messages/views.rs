//! Calls, legs, numbers and records as JSON, for messages, REST and files alike. Sessions are secrets of their devices and
//! are in none of it.

use std::time::Duration;

use moqswitch_calls::{
    CallRecord, CallView, EndedBy, LastQuality, LegId, LegNumber, LegRecord, LegRole, LegView, NumberView, Party,
    SessionId, SuperviseMode, Text, Times, TransferredTo,
};
use serde_json::{Map, Value, json};

/// A leg as messages name it: `<call>/<number>`.
pub(crate) fn leg_id(text: &str) -> Option<LegId> {
    let (call, leg) = text.split_once('/')?;
    Some(LegId {
        call: call.parse().ok()?,
        leg: LegNumber(leg.parse().ok()?),
    })
}

pub(super) fn party(party: &Party) -> Value {
    json!({
        "dn": party.number.as_str(),
        "displayName": party.name.as_str(),
        "device": party.device.as_str(),
    })
}

pub(super) fn role(role: LegRole) -> &'static str {
    match role {
        LegRole::Caller => "caller",
        LegRole::Callee => "callee",
        LegRole::Member => "member",
        LegRole::Supervisor(SuperviseMode::Listen) => "listen",
        LegRole::Supervisor(SuperviseMode::Whisper(_)) => "whisper",
        LegRole::Supervisor(SuperviseMode::Barge) => "barge",
    }
}

pub(crate) fn leg_view(leg: &LegView) -> Value {
    let mut value = json!({
        "party": leg.leg.to_string(),
        "call": leg.call.to_string(),
        "dn": leg.party.number.as_str(),
        "displayName": leg.party.name.as_str(),
        "device": leg.party.device.as_str(),
        "role": role(leg.role),
        "state": leg.state.name(),
        "hold": leg.holds,
        "muted": leg.muted,
        "codec": leg.sends.map(|codec| codec.name()),
        "startMs": leg.start_ms,
        "ringMs": leg.ring_ms,
        "answerMs": leg.answer_ms,
    });
    if let (Some(fields), Some(quality)) = (value.as_object_mut(), leg.quality) {
        fields.insert("quality".to_owned(), last_quality(quality));
    }
    if let Some(fields) = value.as_object_mut()
        && leg.end_ms.is_some()
    {
        fields.insert("endMs".to_owned(), json!(leg.end_ms));
        fields.insert("reason".to_owned(), json!(leg.cause.map(|cause| cause.name())));
    }
    value
}

fn last_quality(quality: LastQuality) -> Value {
    json!({
        "rtt": quality.rtt_ms,
        "jitter": quality.jitter_ms,
        "loss": f64::from(quality.loss_permille) / 1000.0,
        "mos": quality.mos_tenths.map(|tenths| f64::from(tenths) / 10.0),
    })
}

pub(crate) fn call_view(call: &CallView) -> Value {
    json!({
        "callId": call.call.to_string(),
        "state": call.state.name(),
        "from": party(&call.from),
        "to": call.dialled.as_str(),
        "startMs": call.start_ms,
        "ringMs": call.ring_ms,
        "answerMs": call.answer_ms,
        "duration": call.duration.as_secs(),
        "queue": call.queue.as_ref().map(Text::as_str),
        "recording": call.recorded,
        "reason": call.cause.map(|cause| cause.name()),
        "parties": call.legs.iter().map(leg_view).collect::<Vec<_>>(),
    })
}

/// A call as one of its devices knows it: by its own name, with its own leg.
pub(crate) fn snapshot(call: &CallView, own: SessionId) -> Value {
    let mut value = call_view(call);
    let leg = call.legs.iter().find(|leg| leg.session == own);
    if let (Some(leg), Some(fields)) = (leg, value.as_object_mut()) {
        let name = leg
            .alias
            .as_ref()
            .map_or_else(|| leg.leg.call.to_string(), Text::to_string);
        fields.insert("callId".to_owned(), json!(name));
        fields.insert("call".to_owned(), json!(call.call.to_string()));
        fields.insert("party".to_owned(), json!(leg.leg.to_string()));
    }
    value
}

pub(crate) fn number_view(number: &NumberView) -> Value {
    let device = |device: &moqswitch_calls::DeviceView| {
        json!({
            "device": device.device.as_str(),
            "displayName": device.display_name.as_str(),
            "lost": device.is_lost,
            "registeredMs": device.registered_ms,
            "expires": device.expires.as_secs(),
            "calls": device.legs.len(),
        })
    };
    json!({
        "dn": number.number.as_str(),
        "status": number.status.name(),
        "agent": number.agent.name(),
        "calls": number.calls,
        "devices": number.devices.iter().map(device).collect::<Vec<_>>(),
    })
}

fn ended_by(by: EndedBy) -> Value {
    match by {
        EndedBy::Leg(leg) => json!(leg.to_string()),
        EndedBy::Supervisor => json!("supervisor"),
        EndedBy::Api => json!("api"),
        EndedBy::System => json!("system"),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds as a table wants them.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn hundredths(score: f32) -> f64 {
    (f64::from(score) * 100.0).round() / 100.0
}

fn put_times(fields: &mut Map<String, Value>, times: &Times) {
    fields.insert("startMs".to_owned(), json!(times.start_ms));
    fields.insert("ringMs".to_owned(), json!(times.ring_ms));
    fields.insert("answerMs".to_owned(), json!(times.answer_ms));
    fields.insert("endMs".to_owned(), json!(times.end_ms));
    fields.insert("durationMs".to_owned(), json!(milliseconds(times.duration)));
    fields.insert("setupMs".to_owned(), json!(times.setup.map(milliseconds)));
}

pub(crate) fn leg_record(record: &LegRecord) -> Value {
    let counters = record.counters.map(|counters| {
        json!({
            "frames": counters.frames,
            "bytes": counters.bytes,
            "lost": counters.lost,
            "paused": counters.paused,
            "late": counters.late,
            "delivered": counters.delivered,
            "jitterMs": counters.jitter.map(tenths),
            "mos": record.codec.and_then(|codec| counters.mos(codec, record.quality.rtt)).map(hundredths),
        })
    });
    let quality = &record.quality;
    let quality = (quality.reports > 0).then(|| {
        json!({
            "reports": quality.reports,
            "rttMs": milliseconds(quality.rtt),
            "jitterMs": milliseconds(quality.jitter),
            "loss": quality.loss_permille / 1000.0,
            "underruns": quality.underruns,
            "mos": quality.mos,
            "mosWorst": quality.mos_worst,
        })
    });
    let mut value = json!({
        "party": record.leg.to_string(),
        "callId": record.call.to_string(),
        "dn": record.party.number.as_str(),
        "displayName": record.party.name.as_str(),
        "device": record.party.device.as_str(),
        "role": role(record.role),
        "reason": record.cause.name(),
        "code": record.cause.sip_status(),
        "q850": record.cause.q850(),
        "by": ended_by(record.by),
        "codec": record.codec.map(|codec| codec.name()),
        "sent": counters,
        "heard": quality,
    });
    if let Some(fields) = value.as_object_mut() {
        put_times(fields, &record.times);
    }
    value
}

pub(crate) fn call_record(record: &CallRecord) -> Value {
    let transfer = |step: &moqswitch_calls::Transferred| {
        let (kind, to) = match &step.to {
            TransferredTo::Target(target) => ("target", target.to_string()),
            TransferredTo::Into(call) => ("into", call.to_string()),
            TransferredTo::From(call) => ("from", call.to_string()),
        };
        json!({ "by": step.by.as_ref().map(|by| by.as_str().to_owned()), kind: to, "atMs": step.at_ms })
    };
    let mut value = json!({
        "callId": record.call.to_string(),
        "from": party(&record.from),
        "to": record.dialled.as_str(),
        "answeredBy": record.answered_by.as_ref().map(party),
        "reason": record.cause.name(),
        "code": record.cause.sip_status(),
        "q850": record.cause.q850(),
        "by": ended_by(record.by),
        "rule": record.rule.as_ref().map(Text::as_str),
        "queue": record.queue.as_ref().map(Text::as_str),
        "recorded": record.recorded,
        "recording": record.recorded.then(|| format!("/api/recordings/{}", record.call)),
        "transfers": record.transfers.iter().map(transfer).collect::<Vec<_>>(),
        "transfersLeftOut": record.transfers_left_out,
        "parties": record.legs.iter().map(leg_record).collect::<Vec<_>>(),
        "partiesLeftOut": record.legs_left_out,
    });
    if let Some(fields) = value.as_object_mut() {
        put_times(fields, &record.times);
    }
    value
}
