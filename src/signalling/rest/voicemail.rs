//! Boxes of voice mail: what is in them, heard and removed.

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::response::IntoResponse;
use moqswitch_calls::Number;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::answer::Answer;
use super::caller::Caller;
use super::problem::Problem;
use super::recordings::{failed_question, send_file};
use crate::access::Scope;
use crate::mailboxes::Mailboxes;
use crate::media::Busy;
use crate::recordings::NoRecording;

pub(super) async fn list(caller: Caller, Path(dn): Path<String>) -> Answer {
    let number = number(&dn)?;
    let found = look(&caller, Scope::Read, move |boxes| {
        let messages = boxes.list(&number)?;
        Ok((boxes.waiting(&number), messages))
    });
    let ((new, old), messages) = found.await?;
    Ok(Json(json!({ "dn": dn, "new": new, "old": old, "messages": messages })).into_response())
}

pub(super) async fn remove(caller: Caller, Path((dn, id)): Path<(String, String)>) -> Answer {
    let number = number(&dn)?;
    look(&caller, Scope::Admin, move |boxes| boxes.remove(&number, &id)).await?;
    Ok(Json(json!({ "status": "ok" })).into_response())
}

/// Who hears what was said needs what who listens to calls needs.
pub(super) async fn audio(caller: Caller, Path((dn, id)): Path<(String, String)>) -> Answer {
    let number = number(&dn)?;
    let opened = look(&caller, Scope::Supervise, move |boxes| boxes.open(&number, &id));
    send_file(&caller, opened.await?)
}

fn number(text: &str) -> Result<Number, Problem> {
    Number::new(text).map_err(|_| failed_question(NoRecording::Unknown))
}

async fn look<T: Send + 'static>(
    caller: &Caller,
    scope: Scope,
    question: impl FnOnce(&dyn Mailboxes) -> Result<T, NoRecording> + Send + 'static,
) -> Result<T, Problem> {
    caller.ask(scope, |_| ()).await?;
    let boxes = caller.mailboxes().ok_or_else(|| {
        Problem::new(
            axum::http::StatusCode::NOT_FOUND,
            "no-voicemail",
            "There is no voice mail here",
        )
    });
    let boxes = Arc::clone(boxes?);
    let place = caller.recording_place().ok_or(Busy)?;
    let asked = spawn_blocking(move || {
        let answer = question(&*boxes);
        drop(place);
        answer
    });
    asked.await.map_err(|_| Busy)?.map_err(failed_question)
}
