//! What a run found: for a person, for a machine, for a later merge.

pub(crate) mod file;
pub(crate) mod html;
pub(crate) mod jsonl;
mod plots;
pub(crate) mod recording;
pub(crate) mod summary;
pub(crate) mod text;
pub(crate) mod threshold;
