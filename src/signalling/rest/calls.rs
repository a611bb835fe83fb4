//! Calls by program: seen, and changed. What a participant can do a program can do for one of them.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::response::IntoResponse;
use moqswitch_calls::{
    Actor, CallEvent, CallId, Event, LegId, Number, SessionId, SuperviseEvent, SuperviseMode, Text, TransferTo,
};
use serde_json::{Value, json};

use super::answer::{Answer, Page, json_text};
use super::caller::{Caller, Fields, call_id};
use super::problem::Problem;
use crate::access::Scope;
use crate::exchange::Exchange;
use crate::messages;

pub(super) async fn list(caller: Caller, Query(page): Query<Page>) -> Answer {
    let limit = page.limit();
    let after = page.after.as_deref().map(call_id);
    let after = after.transpose().map_err(|_| Problem::invalid("after", "no call"))?;
    let calls = caller
        .ask(Scope::Read, move |exchange| exchange.calls(after, limit))
        .await?;
    let next = (calls.len() == limit)
        .then(|| calls.last().map(|call| call.call.to_string()))
        .flatten();
    let rows: Vec<Value> = calls.iter().map(messages::call_view).collect();
    Ok(Json(json!({ "calls": rows, "next": next })).into_response())
}

/// A call that is, or the record of one that was.
pub(super) async fn one(caller: Caller, Path(id): Path<String>) -> Answer {
    let call = call_id(&id)?;
    let filter = crate::records::Filter {
        call: Some(call.to_string()),
        ..crate::records::Filter::default()
    };
    let of_memory = filter.clone();
    let look = move |exchange: &mut Exchange| {
        if let Some(view) = exchange.call(call) {
            return (Some(messages::call_view(&view).to_string()), None);
        }
        let row = exchange.records(&of_memory).next();
        (row.map(|row| row.line.to_string()), exchange.search())
    };
    let found = match caller.ask(Scope::Read, look).await? {
        (None, Some(search)) => {
            let rows = search.list(filter, 1).await.map_err(super::records::unanswered)?;
            rows.first().map(|row| row.line.to_string())
        }
        (found, _) => found,
    };
    Ok(json_text(found.ok_or_else(Problem::no_call)?))
}

/// What a program wants of a call. The last part of the path says it.
pub(super) async fn act(caller: Caller, Path((id, verb)): Path<(String, String)>, body: Bytes) -> Answer {
    let call = call_id(&id)?;
    let fields = Fields::read(&body)?;
    if matches!(
        verb.as_str(),
        "listen" | "whisper" | "barge" | "stop" | "disconnect" | "takeover"
    ) {
        supervise(&caller, call, &verb, fields).await?;
    } else {
        let leg = party(&fields)?.map(|leg| leg.leg);
        let event = call_event(call, &verb, &fields)?;
        let actor = Actor::Api { leg };
        caller
            .request(Scope::Call, move |_, request| Ok(Event::Call { request, actor, event }))
            .await?;
    }
    Ok(Json(json!({ "status": "ok", "callId": call.to_string() })).into_response())
}

/// The participant for whom a program acts: none is the caller.
fn party(fields: &Fields) -> Result<Option<LegId>, Problem> {
    let leg = fields
        .text("party")?
        .map(|party| messages::leg_id(party).ok_or_else(|| Problem::invalid("party", "no party")));
    leg.transpose()
}

fn call_event(call: CallId, verb: &str, fields: &Fields) -> Result<CallEvent, Problem> {
    Ok(match verb {
        "hangup" => CallEvent::Hangup {
            call,
            cause: fields
                .text("reason")?
                .map(|reason| reason.parse().map_err(|_| Problem::invalid("reason", "no cause")))
                .transpose()?,
        },
        "hold" => CallEvent::Hold {
            call,
            hold: fields.flag("hold", true)?,
        },
        "mute" => CallEvent::Mute {
            call,
            muted: fields.flag("muted", true)?,
        },
        "dtmf" => CallEvent::Dtmf {
            call,
            digits: Text::new(fields.required("digit")?),
            duration: Duration::from_millis(fields.whole("duration")?.unwrap_or(160).clamp(40, 6000)),
        },
        "transfer" => CallEvent::Transfer {
            call,
            to: match fields.text("replaces")? {
                Some(other) => TransferTo::Call(call_id(other)?),
                None => TransferTo::Number(fields.number("to")?),
            },
        },
        "add" => CallEvent::Add {
            call,
            to: fields.number("to")?,
        },
        "remove" => CallEvent::Remove {
            call,
            leg: party(fields)?.ok_or_else(|| Problem::missing("party"))?,
        },
        "record" if fields.get("paused").is_some() => CallEvent::PauseRecording {
            call,
            paused: fields.flag("paused", false)?,
        },
        "record" => CallEvent::Record {
            call,
            on: fields.flag("on", true)?,
        },
        _ => {
            return Err(Problem::new(
                axum::http::StatusCode::NOT_FOUND,
                "unknown-path",
                "There is no such path",
            ));
        }
    })
}

/// Does a body say enough for this verb?
#[cfg(any(test, feature = "exercise"))]
pub(super) fn is_for(verb: &str, fields: &Fields) -> bool {
    call_event(CallId(1), verb, fields).is_ok() && party(fields).is_ok()
}

/// `dn`, and `device` where it has several, name the phone by which the supervisor hears.
async fn supervise(caller: &Caller, call: CallId, verb: &str, fields: Fields) -> Result<(), Problem> {
    let verb = verb.to_owned();
    let event = move |exchange: &Exchange, request| {
        let event = match verb.as_str() {
            "disconnect" => SuperviseEvent::Disconnect { call },
            verb => {
                let session = supervisor(exchange, &fields)?;
                let join = |mode| SuperviseEvent::Join { session, call, mode };
                let target = party(&fields)?;
                match verb {
                    "listen" => join(SuperviseMode::Listen),
                    "barge" => join(SuperviseMode::Barge),
                    "whisper" => {
                        let target = target.or_else(|| exchange.callee(call));
                        join(SuperviseMode::Whisper(target.ok_or_else(|| Problem::missing("party"))?))
                    }
                    "takeover" => SuperviseEvent::TakeOver {
                        session,
                        call,
                        leg: target.ok_or_else(|| Problem::missing("party"))?,
                    },
                    _ => SuperviseEvent::Stop { session, call },
                }
            }
        };
        let actor = Actor::Api { leg: None };
        Ok(Event::Supervise { request, actor, event })
    };
    caller.request(Scope::Supervise, event).await?;
    Ok(())
}

fn supervisor(exchange: &Exchange, fields: &Fields) -> Result<SessionId, Problem> {
    let dn: Number = fields.number("dn")?;
    let view = exchange
        .plane()
        .number(&dn)
        .ok_or_else(|| Problem::no_number(dn.as_str()))?;
    let wanted = fields.text("device")?;
    let device = view
        .devices
        .iter()
        .find(|device| wanted.is_none_or(|wanted| device.device.as_str() == wanted));
    device
        .map(|device| device.session)
        .ok_or_else(|| Problem::no_number(dn.as_str()))
}

pub(super) async fn queue(caller: Caller, Path(name): Path<String>) -> Answer {
    let found = caller
        .ask(Scope::Read, move |exchange| exchange.plane().queue(&Text::new(&name)))
        .await?;
    let missing = || Problem::new(axum::http::StatusCode::NOT_FOUND, "unknown-queue", "Queue not found");
    let queue = found.ok_or_else(missing)?;
    let agent = |(number, status, agent): &(Number, moqswitch_calls::Status, moqswitch_calls::AgentState)| json!({ "dn": number.as_str(), "status": status.name(), "agent": agent.name() });
    Ok(Json(json!({
        "name": queue.name.as_str(),
        "waiting": queue.waiting.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "agents": queue.agents.iter().map(agent).collect::<Vec<_>>(),
    }))
    .into_response())
}

/// A number with its devices.
pub(super) async fn number(caller: Caller, Path(dn): Path<String>) -> Answer {
    let shown = Text::new(&dn).to_string();
    let found = caller
        .ask(Scope::Read, move |exchange| {
            exchange.plane().number(&Number::new(&dn).ok()?)
        })
        .await?;
    let view = found.ok_or_else(|| Problem::no_number(&shown))?;
    Ok(Json(messages::number_view(&view)).into_response())
}
