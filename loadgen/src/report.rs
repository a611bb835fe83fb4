//! `loadgen report`: recordings side by side on one page.

use std::path::PathBuf;

use crate::merge::summarize;
use crate::output::html;
use crate::output::recording::Recording;
use crate::output::summary::Summary;
use crate::output::threshold::Threshold;

/// One page about recordings, side by side, and the worst exit status of their summaries.
pub(crate) fn report(files: &[PathBuf], thresholds: &[Threshold]) -> anyhow::Result<(String, u8)> {
    let mut recordings = Vec::new();
    let mut summaries = Vec::new();
    for file in files {
        let name = file
            .file_stem()
            .unwrap_or(file.as_os_str())
            .to_string_lossy()
            .into_owned();
        let recording = Recording::read(file)?;
        summaries.push(summarize(std::slice::from_ref(&recording), thresholds)?);
        recordings.push((name, recording));
    }
    let status = summaries.iter().map(Summary::exit_status).max().unwrap_or_default();
    Ok((html::page(&recordings, &summaries)?, status))
}
