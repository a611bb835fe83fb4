//! Trunks of SIP, and groups of them: how each is.

use axum::Json;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::access::Scope;
use crate::gateway::TrunkState;

use super::answer::Answer;
use super::caller::Caller;

/// Each, in the order of their names.
pub(super) async fn list(caller: Caller) -> Answer {
    let states = caller
        .ask(Scope::Read, |exchange| exchange.sip_view.trunks.clone())
        .await?;
    let rows: Vec<Value> = states.iter().map(row).collect();
    Ok(Json(json!({ "trunks": rows })).into_response())
}

fn row(state: &TrunkState) -> Value {
    let members: Vec<&str> = state.members.iter().map(moqswitch_calls::Number::as_str).collect();
    let mut row = json!({
        "name": state.number.as_str(),
        "available": state.is_there,
        "address": state.contact,
        "calls": state.calls,
    });
    let round_trip = state.round_trip.map(|time| time.as_secs_f64() * 1000.0);
    let told = [
        ("members", (!members.is_empty()).then(|| json!(members))),
        ("callsMax", (state.calls_max > 0).then(|| json!(state.calls_max))),
        ("registered", state.is_registered.map(Value::from)),
        ("registrationStatus", state.status.map(Value::from)),
        ("answers", state.answers.map(Value::from)),
        ("roundTripMs", round_trip.map(Value::from)),
    ];
    if let Some(row) = row.as_object_mut() {
        row.extend(
            told.into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?))),
        );
    }
    row
}
