//! The eight paths that call centres know, with their bodies, status codes and types of fields.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use moqswitch_calls::{Actor, CallEvent, CallView, DeviceKind, Event, Number, NumberView, Refusal, Reply, Text};
use serde_json::{Value, json};

use super::answer::{Answer, Page};
use super::caller::{Caller, Fields};
use super::problem::Problem;
use crate::access::Scope;
use crate::exchange::{Exchange, unix_ms};
use crate::limits::ROWS_MAX;

/// Seconds since 1970, as a string: so it was.
fn timestamp() -> String {
    (unix_ms() / 1000).to_string()
}

/// For monitors: no key, no rate.
pub(super) async fn health(caller: Caller) -> Answer {
    let look = |exchange: &mut Exchange| {
        json!({
            "status": if exchange.is_stopping() { "stopping" } else { "ok" },
            "service": "moqswitch",
            "version": env!("CARGO_PKG_VERSION"),
            "timestamp": timestamp(),
            "uptime": exchange.uptime().as_secs(),
            "registered_agents": exchange.plane().devices_count(),
            "active_calls": exchange.calls_count(),
        })
    };
    let health = caller.ask_freely(look).await.map_err(Problem::old)?;
    Ok(Json(health).into_response())
}

pub(super) async fn number(caller: Caller, Path(dn): Path<String>) -> Answer {
    let shown = Text::new(&dn).to_string();
    let found = caller
        .ask(Scope::Read, move |exchange| {
            exchange.plane().number(&Number::new(&dn).ok()?)
        })
        .await;
    let view = found
        .map_err(Problem::old)?
        .ok_or_else(|| Problem::no_number(&shown).old())?;
    let (dn, host) = (view.number.as_str(), caller.host());
    Ok(Json(json!({
        "dn": dn,
        "status": view.status.name(),
        "sip_uri": format!("sip:{dn}@{host}"),
        "genesysAgent": false,
        "skills": [],
        "agent": view.agent.name(),
        "devices": view.devices.len(),
        "calls": view.calls,
    }))
    .into_response())
}

pub(super) async fn numbers(caller: Caller, Query(page): Query<Page>) -> Answer {
    let limit = page.limit();
    let after = page.after.as_deref().and_then(|after| Number::new(after).ok());
    let found = caller
        .ask(Scope::Read, move |exchange| {
            exchange.plane().numbers(after.as_ref(), limit)
        })
        .await;
    let (found, host) = (found.map_err(Problem::old)?, caller.host());
    let next = (found.len() == limit)
        .then(|| found.last().map(|view| view.number.as_str().to_owned()))
        .flatten();
    let row = |view: &NumberView| {
        let dn = view.number.as_str();
        json!({ "dn": dn, "sip_uri": format!("sip:{dn}@{host}"), "status": "registered", "presence": view.status.name() })
    };
    let dns: Vec<Value> = found.iter().filter(|view| !view.devices.is_empty()).map(row).collect();
    Ok(Json(json!({ "dns": dns, "next": next })).into_response())
}

/// The trunk that the settings name.
pub(super) async fn genesys(caller: Caller) -> Answer {
    let found = caller.ask(Scope::Read, |exchange| {
        let number = exchange.trunk().filter(|number| is_there(exchange, number));
        number.and_then(|number| exchange.plane().number(number))
    });
    trunk_status(found.await, "wwe")
}

pub(super) async fn trunk(caller: Caller, Path(name): Path<String>) -> Answer {
    let number = name.clone();
    let found = caller.ask(Scope::Read, move |exchange| {
        let number = Number::new(&number).ok().filter(|number| is_there(exchange, number))?;
        exchange.plane().number(&number)
    });
    trunk_status(found.await, &name)
}

/// A trunk of SIP is a device of the plane while it cannot be reached, too.
fn is_there(exchange: &Exchange, number: &Number) -> bool {
    let mut trunks = exchange.sip_view.trunks.iter();
    trunks
        .find(|state| state.number == *number)
        .is_none_or(|state| state.is_there)
}

fn trunk_status(found: Result<Option<NumberView>, Problem>, service: &str) -> Answer {
    let view = found.map_err(Problem::old)?;
    let device = view
        .as_ref()
        .and_then(|view| view.devices.iter().find(|device| device.kind == DeviceKind::Trunk));
    let Some(device) = device.filter(|device| !device.is_lost) else {
        let name = if service == "wwe" { "Genesys server" } else { "Trunk" };
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unreachable",
            format!("{name} unreachable"),
        )
        .old());
    };
    let agents = view.as_ref().map_or(0, |view| view.devices.len());
    Ok(Json(json!({
        "connected": true,
        "server": device.contact.as_str(),
        "service": service,
        "status": "active",
        "registeredAgents": agents,
    }))
    .into_response())
}

pub(super) async fn active_calls(caller: Caller) -> Answer {
    let look = |exchange: &mut Exchange| (exchange.calls_count(), exchange.calls(None, ROWS_MAX));
    let (count, calls) = caller.ask(Scope::Read, look).await.map_err(Problem::old)?;
    let row = |call: &CallView| {
        json!({
            "call_id": call.call.to_string(),
            "agent_id": call.from.number.as_str(),
            "remote": call.dialled.as_str(),
            "direction": "outbound",
            "state": dialog_state(call),
            "duration": call.duration.as_secs(),
        })
    };
    Ok(Json(json!({
        "active_calls": count,
        "timestamp": timestamp(),
        "calls": calls.iter().map(row).collect::<Vec<_>>(),
        "count": count,
    }))
    .into_response())
}

pub(super) async fn calls_of(caller: Caller, Path(dn): Path<String>) -> Answer {
    let shown = Text::new(&dn).to_string();
    let look = move |exchange: &mut Exchange| {
        let number = Number::new(&dn).ok()?;
        exchange.plane().number(&number)?;
        Some(exchange.calls_of(&number))
    };
    let calls = caller.ask(Scope::Read, look).await.map_err(Problem::old)?;
    let calls = calls.ok_or_else(|| Problem::no_number(&shown).old())?;
    let host = caller.host();
    let row = |call: &CallView| {
        json!({
            "call_id": call.call.to_string(),
            "from": format!("sip:{}@{host}", call.from.number),
            "to": format!("sip:{}@{host}", call.dialled),
            "state": dialog_state(call),
            "duration": call.duration.as_secs(),
        })
    };
    let rows: Vec<Value> = calls.iter().map(row).collect();
    Ok(Json(json!({ "dn": shown, "active_calls": rows, "count": calls.len() })).into_response())
}

/// In the words of SIP servers.
fn dialog_state(call: &CallView) -> &'static str {
    if call.state.is_confirmed() {
        "confirmed"
    } else {
        "early"
    }
}

/// Click to dial: `from` rings first, then `to` is called.
pub(super) async fn make(caller: Caller, body: Bytes) -> Answer {
    make_call(&caller, &body).await.map_err(Problem::old)
}

async fn make_call(caller: &Caller, body: &Bytes) -> Answer {
    let fields = Fields::read(body)?;
    let (from, to) = (fields.number("from")?, fields.number("to")?);
    let timeout = fields.whole("timeout")?.map(std::time::Duration::from_secs);
    let (shown_from, shown_to) = (from.clone(), to.clone());
    let event = move |exchange: &Exchange, request| {
        if exchange.plane().number(&from).is_none() {
            return Err(Problem::no_number(from.as_str()));
        }
        let event = CallEvent::Originate {
            from,
            to,
            call: None,
            timeout,
        };
        Ok(Event::Call {
            request,
            actor: Actor::Api { leg: None },
            event,
        })
    };
    let reply = caller.request(Scope::Call, event).await;
    let call = match reply {
        Ok(Reply::Calling { call, .. }) => call,
        Ok(_) => return Err(Refusal::WrongState.into()),
        Err(problem) => return Err(problem),
    };
    let made = json!({
        "status": "initiated",
        "from": shown_from.as_str(),
        "to": shown_to.as_str(),
        "call_id": call.to_string(),
    });
    Ok((StatusCode::ACCEPTED, Json(made)).into_response())
}

pub(super) async fn hang_up(caller: Caller, body: Bytes) -> Answer {
    hang_up_call(&caller, &body).await.map_err(Problem::old)
}

async fn hang_up_call(caller: &Caller, body: &Bytes) -> Answer {
    let fields = Fields::read(body)?;
    let (shown, call) = (fields.required("call_id")?.to_owned(), fields.call("call_id")?);
    let event = CallEvent::Hangup { call, cause: None };
    caller
        .request(Scope::Call, move |_, request| {
            Ok(Event::Call {
                request,
                actor: Actor::Api { leg: None },
                event,
            })
        })
        .await?;
    Ok(Json(json!({ "status": "terminated", "call_id": shown })).into_response())
}
