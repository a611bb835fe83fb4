//! Events as they come (`text/event-stream`), resumable by `Last-Event-ID`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Deserialize;

use super::answer::Answer;
use super::caller::Caller;
use super::problem::Problem;
use crate::access::Scope;
use crate::events::{Event, Events, Following};

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// Kinds, by commas. None: all.
    types: Option<String>,
    /// For who cannot set headers.
    #[serde(rename = "lastEventId")]
    last: Option<String>,
}

pub(super) async fn follow(caller: Caller, Query(wanted): Query<Wanted>) -> Answer {
    let last = caller.header("last-event-id").or(wanted.last);
    let following = caller
        .ask(Scope::Read, move |exchange| exchange.events.follow(last.as_deref()))
        .await?;
    let full = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-followers",
            "Too many follow events",
        )
    };
    let following = following.ok_or_else(full)?;
    let types = wanted
        .types
        .map(|types| types.split(',').map(str::to_owned).collect::<Vec<_>>());
    let events = Sse::new(events(following, types)).keep_alive(KeepAlive::default());
    let mut response: Response = events.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What was missed, then what comes. It ends when the follower lags too much, or the switch stops.
fn events(following: Following, types: Option<Vec<String>>) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold((following, types), async move |(mut following, types)| {
        if following.is_gap {
            following.is_gap = false;
            let told = sse::Event::default().event("gap").data(Events::gap().to_string());
            return Some((Ok(told), (following, types)));
        }
        loop {
            let event: Arc<Event> = match following.missed.pop_front() {
                Some(event) => event,
                None => following.coming.recv().await.ok()?,
            };
            if types
                .as_ref()
                .is_none_or(|types| types.iter().any(|kind| kind == event.kind))
            {
                let told = sse::Event::default().id(&event.id).event(event.kind).data(&event.data);
                return Some((Ok(told), (following, types)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use serde_json::json;

    use super::*;
    use crate::limits::EVENTS_WAITING_MAX;

    #[tokio::test]
    async fn who_lags_is_cut_off_and_may_come_back() {
        let mut history = Events::new(7);
        let keeps_up = history.follow(None).unwrap();
        let lags = history.follow(None).unwrap();
        assert_eq!(EVENTS_WAITING_MAX, 1024, "as its page says");
        for number in 0..EVENTS_WAITING_MAX {
            history.push("leg", &json!(number));
        }
        let told: Vec<_> = events(keeps_up, None).take(EVENTS_WAITING_MAX).collect().await;
        assert_eq!(told.len(), EVENTS_WAITING_MAX);
        history.push("leg", &json!("one more"));
        assert_eq!(events(lags, None).count().await, 0, "its stream ends");
        let again = history.follow(Some("7-0")).unwrap();
        assert!(!again.is_gap && again.missed.len() == EVENTS_WAITING_MAX + 1);
    }
}
