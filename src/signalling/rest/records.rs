//! Records of calls that were, and what they come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, json_text, whole};
use super::caller::Caller;
use super::problem::Problem;
use crate::access::Scope;
use crate::exchange::{Exchange, unix_ms};
use crate::limits::ROWS_MAX;
use crate::records::{CSV_HEAD, Filter, MOS_STEPS, NoAnswer, Row, Sums};

/// `/api/cdr?since&until&dn&cause&limit`. Times are milliseconds since 1970 of the calls' beginnings.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    since: Option<String>,
    until: Option<String>,
    dn: Option<String>,
    cause: Option<String>,
    limit: Option<String>,
    format: Option<String>,
    /// Of `/api/stats`: seconds.
    interval: Option<String>,
}

impl Asked {
    fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            since_ms: whole(self.since.as_ref(), "since")?.unwrap_or(0),
            until_ms: whole(self.until.as_ref(), "until")?,
            dn: self.dn.clone(),
            cause: self.cause.clone(),
            call: None,
        })
    }
}

pub(super) async fn list(caller: Caller, Query(asked): Query<Asked>) -> Answer {
    let filter = asked.filter()?;
    let limit = whole(asked.limit.as_ref(), "limit")?.unwrap_or(100);
    let limit = usize::try_from(limit).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
    let of_memory = filter.clone();
    let look = move |exchange: &mut Exchange| {
        let rows: Vec<Arc<Row>> = exchange
            .records_in_no_file(&of_memory)
            .take(limit + 1)
            .cloned()
            .collect();
        (rows, exchange.search())
    };
    let (mut rows, search) = caller.ask(Scope::Read, look).await?;
    if let Some(search) = search {
        let left = (limit + 1).saturating_sub(rows.len());
        rows.append(&mut search.list(filter, left).await.map_err(unanswered)?);
    }
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let is_csv = match asked.format.as_deref() {
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(Problem::invalid("format", "json or csv")),
        None => caller.accepts("text/csv"),
    };
    if is_csv {
        let table: String = std::iter::once(CSV_HEAD.to_owned())
            .chain(rows.iter().map(|row| row.csv()))
            .collect();
        return Ok((
            [(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")],
            table,
        )
            .into_response());
    }
    let lines: Vec<&str> = rows.iter().map(|row| &*row.line).collect();
    Ok(json_text(format!(
        r#"{{"records":[{}],"count":{},"more":{has_more}}}"#,
        lines.join(","),
        lines.len()
    )))
}

/// What records of a time come to, and how the switch does now.
pub(super) async fn stats(caller: Caller, Query(asked): Query<Asked>) -> Answer {
    let now = unix_ms();
    let mut filter = asked.filter()?;
    if asked.since.is_none() {
        filter.since_ms = now.saturating_sub(DAY_MS);
    }
    let seconds = whole(asked.interval.as_ref(), "interval")?.unwrap_or(3600);
    let interval_ms = seconds.max(1).saturating_mul(1000);
    let until = filter.until_ms.unwrap_or(now);
    if until.saturating_sub(filter.since_ms) / interval_ms > u64::try_from(ROWS_MAX).unwrap_or(0) {
        return Err(Problem::invalid("interval", "at most 1000 of them"));
    }
    let of_memory = filter.clone();
    let look = move |exchange: &mut Exchange| {
        let mut sums = Sums::new(of_memory.since_ms, interval_ms);
        exchange
            .records_in_no_file(&of_memory)
            .for_each(|row| sums.add_row(row));
        (sums, exchange.search(), now_of(exchange))
    };
    let (mut sums, search, now) = caller.ask(Scope::Read, look).await?;
    if let Some(search) = search {
        sums = search.sum(filter, sums).await.map_err(unanswered)?;
    }
    let mut told = told(&sums, interval_ms);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("now".to_owned(), now);
    }
    Ok(Json(told).into_response())
}

pub(super) fn unanswered(why: NoAnswer) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "records", why.to_string())
}

fn told(sums: &Sums, interval_ms: u64) -> Value {
    let intervals = sums.intervals.iter().map(|(start_ms, (calls, answered, duration_ms))| {
        json!({
            "startMs": start_ms,
            "calls": calls,
            "answered": answered,
            "erlangs": ratio(*duration_ms, interval_ms),
        })
    });
    let mos = MOS_STEPS
        .iter()
        .zip(sums.mos)
        .map(|(from, count)| json!({ "from": from, "calls": count }));
    json!({
        "calls": sums.calls,
        "answered": sums.answered,
        "answerSeizureRatio": ratio(sums.answered, sums.calls),
        "averageDuration": ratio(sums.duration_ms, sums.answered.saturating_mul(1000)),
        "causes": sums.causes,
        "mos": mos.collect::<Vec<_>>(),
        "intervals": intervals.collect::<Vec<_>>(),
    })
}

/// `None`: of nothing.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 1000.0).round() / 1000.0)
}

fn now_of(exchange: &Exchange) -> Value {
    let counts = exchange.counts;
    let store = exchange.store_counts().map(|store| {
        json!({
            "stored": store.stored.load(Ordering::Relaxed),
            "lost": store.lost.load(Ordering::Relaxed),
            "failures": store.failures.load(Ordering::Relaxed),
            "unreadable": store.unreadable.load(Ordering::Relaxed),
            "failing": store.is_failing.load(Ordering::Relaxed),
        })
    });
    json!({
        "calls": exchange.plane().calls_count(),
        "devices": exchange.plane().devices_count(),
        "sessions": exchange.sessions_count(),
        "eventFollowers": exchange.events.followers(),
        "messages": counts.messages,
        "badMessages": counts.bad_messages,
        "slowClients": counts.slow_clients,
        "grantsRefused": counts.grants_refused,
        "hooksUnasked": counts.hooks_unasked,
        "webhooksDropped": exchange.events.unposted,
        "refused": refused_of(exchange),
        "store": store,
    })
}

/// `{"message":{"481":2}}`: what there was any of.
fn refused_of(exchange: &Exchange) -> Value {
    let mut places: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    for refused in exchange.counters.all() {
        let codes = places.entry(refused.place.name()).or_default();
        codes.insert(refused.code.to_string(), refused.count);
    }
    json!(places)
}

const DAY_MS: u64 = 24 * 3600 * 1000;
