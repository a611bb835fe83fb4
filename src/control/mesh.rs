//! What operators are told of the mesh: the links to other relays, and the routes to a broadcast.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use moqswitch_proto::wire::{BroadcastPath, escaped};
use moqswitch_relay::shard::LinkView;
use serde_json::{Value, json};

use crate::mesh::{Dialled, List, ListCounts};

use super::asking::ask_shards;
use super::{ControlState, ShardCommand};

/// A link and the number of its shard.
type Seen = (usize, LinkView);

pub(super) async fn cluster(State(state): State<ControlState>) -> Response {
    let links = match links(&state).await {
        Ok(links) => links,
        Err(reason) => return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    };
    let now = Instant::now();
    let mut answer = json!({
        "hop": state.mesh.hop.0,
        "links": described(&links, state.mesh.board.dialled(), now),
    });
    let list = state.mesh.board.list();
    if let Some(from) = list.from {
        answer["list"] = json!({
            "from": from,
            "peers": list.peers,
            "good_s": list.good.map(|good| now.saturating_duration_since(good).as_secs()),
            "fault": list.fault,
        });
    }
    answered(answer)
}

/// Each link that there is, and each that is to be.
fn described(links: &[Seen], mut dialled: BTreeMap<String, Dialled>, now: Instant) -> Vec<Value> {
    let mut all: Vec<Value> = links
        .iter()
        .map(|(shard, link)| {
            let name = link.name.as_deref();
            let dialled = name.and_then(|name| dialled.remove(name));
            let state = match (link.is_up, link.is_draining) {
                (_, true) => "draining",
                (true, false) => "up",
                (false, false) => "dialling",
            };
            json!({
                "peer": name,
                "direction": if name.is_some() { "dialled" } else { "accepted" },
                "state": state,
                "shard": shard,
                "remote": link.remote.map(|remote| remote.to_string()),
                "hop": (link.hop.0 != 0).then_some(link.hop.0),
                "draft": link.version.map(|version| version.name()),
                "rtt_ms": link.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                "cost": link.cost,
                "announced": link.announced,
                "subscriptions": link.subscriptions,
                "since_s": now.saturating_duration_since(link.since).as_secs(),
                "attempts": dialled.as_ref().map(|dialled| dialled.attempts),
                "last_end": dialled.and_then(|dialled| dialled.last_end),
            })
        })
        .collect();
    all.extend(dialled.into_iter().map(|(name, dialled)| {
        json!({
            "peer": name,
            "direction": "dialled",
            "state": "waiting",
            "shard": dialled.shard,
            "attempts": dialled.attempts,
            "last_end": dialled.last_end,
            "again_ms": dialled.next.map(|next| next.saturating_duration_since(now).as_millis()),
        })
    }));
    all
}

/// Looks at the list of whom to dial, by what came of them; none where there is no list.
pub(super) fn looks(list: &List) -> Vec<(&'static str, u64)> {
    let ListCounts {
        taken,
        unchanged,
        refused,
    } = list.counts;
    match list.from {
        Some(_) => vec![("taken", taken), ("unchanged", unchanged), ("refused", refused)],
        None => Vec::new(),
    }
}

pub(super) async fn route(State(state): State<ControlState>, Path(path): Path<String>) -> Response {
    let path = BroadcastPath::new(&path);
    let links = match links(&state).await {
        Ok(links) => links,
        Err(reason) => return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    };
    let by_session: HashMap<_, _> = links
        .iter()
        .map(|(shard, link)| ((*shard, link.session), link))
        .collect();
    let routes = (state.mesh.routes)(path.as_str());
    let routes: Vec<Value> = routes
        .iter()
        .map(|route| {
            let link = by_session.get(&(usize::from(route.source.shard.0), route.source.peer));
            let hops: Vec<u64> = route.advertisement.hops.iter().map(|hop| hop.0).collect();
            json!({
                "chosen": route.why.is_none(),
                "worse_by": route.why,
                "via": link.map(|link| link.name.as_deref().unwrap_or("accepted")),
                "remote": link.and_then(|link| link.remote).map(|remote| remote.to_string()),
                "shard": route.source.shard.0,
                "published_here": !route.is_forwarded,
                "draining": route.is_draining,
                "cost": [route.advertisement.cost.warm, route.advertisement.cost.cold],
                "hops": hops,
            })
        })
        .collect();
    let status = if routes.is_empty() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    let answer = json!({ "path": escaped(path.as_str()).to_string(), "hop": state.mesh.hop.0, "routes": routes });
    (status, answered(answer)).into_response()
}

fn answered(answer: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

async fn links(state: &ControlState) -> Result<Vec<Seen>, String> {
    let of_shards = ask_shards(state, ShardCommand::ListLinks).await?;
    let of_shards = of_shards.into_iter().enumerate();
    Ok(of_shards
        .flat_map(|(shard, links)| links.into_iter().map(move |link| (shard, link)))
        .collect())
}
