//! Webhooks: who is told of which events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use moqswitch_signalling::{EVENT_KINDS, Webhook};
use serde::Deserialize;
use toml::Spanned;

use crate::limits::{PROGRAMS_BYTES_MAX, WEBHOOKS_MAX};

use super::file::{Document, FileError};
use super::secret::{self, SECRET_BYTES_MIN};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    webhooks: BTreeMap<Spanned<String>, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    url: Spanned<String>,
    /// What events are signed with.
    secret_file: Spanned<PathBuf>,
    /// Empty: all.
    #[serde(default)]
    events: Vec<Spanned<String>>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Webhook>, FileError> {
    let (document, File { webhooks }) = Document::read::<File>(path, PROGRAMS_BYTES_MAX)?;
    if webhooks.len() > WEBHOOKS_MAX {
        return Err(FileError::new(
            path,
            None,
            format!("has more than {WEBHOOKS_MAX} webhooks"),
        ));
    }
    webhooks.values().map(|entry| webhook(&document, entry)).collect()
}

fn webhook(document: &Document, entry: &Entry) -> Result<Webhook, FileError> {
    for kind in &entry.events {
        if !EVENT_KINDS.contains(&kind.get_ref().as_str()) {
            let reason = format!(
                "there is no event `{}`; there are {}",
                kind.get_ref(),
                EVENT_KINDS.join(", ")
            );
            return Err(document.fault(kind.span(), reason));
        }
    }
    let secret = secret::read(&document.beside(entry.secret_file.get_ref()), SECRET_BYTES_MIN)
        .map_err(|error| document.fault(entry.secret_file.span(), format!("`secret_file`: {error}")))?;
    let kinds = entry.events.iter().map(|kind| kind.get_ref().clone()).collect();
    let webhook = Webhook::new(entry.url.get_ref(), secret.as_bytes(), kinds);
    let reason = "`url` is http://host:port/path; for https put a proxy between";
    webhook.ok_or_else(|| document.fault(entry.url.span(), reason))
}
