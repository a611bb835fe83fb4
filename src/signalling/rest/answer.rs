//! What handlers give, and parts of lists.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::problem::Problem;
use crate::limits::ROWS_MAX;

/// What a handler gives.
pub(super) type Answer = Result<Response, Problem>;

/// A part of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    pub(super) after: Option<String>,
    limit: Option<String>,
}

impl Page {
    pub(super) fn limit(&self) -> usize {
        let limit = self.limit.as_ref().and_then(|limit| limit.parse().ok());
        limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX)
    }
}

/// A whole number of a query, where there is one.
pub(super) fn whole(value: Option<&String>, name: &str) -> Result<Option<u64>, Problem> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| Problem::invalid(name, "a whole number is needed"))
    };
    value.map(parse).transpose()
}

/// JSON that is text already.
pub(super) fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
