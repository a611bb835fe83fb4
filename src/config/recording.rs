//! Where recordings of calls go, how, and for how long they stay.

use std::path::PathBuf;
use std::time::Duration;

use moqswitch_recording::{Format, Settings, limits as ceilings};

use crate::limits;

use super::layers::Layers;
use super::upload::{UploadConfig, upload};
use super::{ConfigError, values};

/// `None` of these: nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// Made where there is none.
    pub directory: PathBuf,
    pub format: Format,
    /// Calls at once.
    pub calls_max: usize,
    /// Zero: for ever.
    pub age_max: Duration,
    /// Zero: as many as there are.
    pub bytes_max: u64,
    /// With less free room nothing is recorded.
    pub free_min: u64,
    /// Who is recorded hears a tone, at once and after each such time. Zero: nobody does.
    pub tone: Duration,
    /// Where recordings go that are over. `None`: they stay where they are, alone.
    pub upload: Option<UploadConfig>,
}

impl RecordingConfig {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            format: self.format,
            calls_max: self.calls_max,
            age_max: self.age_max,
            bytes_max: self.bytes_max,
            free_min: self.free_min,
            uploads: self.upload.is_some(),
            ..Settings::below(&self.directory)
        }
    }
}

/// There is none without a directory.
pub(super) fn recording(layers: &Layers) -> Result<Option<RecordingConfig>, ConfigError> {
    let calls_max = u32::try_from(ceilings::CALLS_MAX).unwrap_or(u32::MAX);
    let format = layers.one("recording.format", |text| match text {
        "native" => Ok(Format::Native),
        "wav" => Ok(Format::Wav),
        _ => Err("`native` or `wav`".to_owned()),
    })?;
    let calls_max = layers.one("recording.calls", |text| values::count(text, calls_max))?;
    let age_max = layers.one("recording.age", |text| values::duration(text, limits::RECORDS_AGE_MAX))?;
    let bytes_max = layers.one("recording.bytes", |text| values::bytes(text, 0..=u64::MAX))?;
    let free_min = layers.one("recording.free", |text| values::bytes(text, 0..=u64::MAX))?;
    let tone = layers.one("recording.tone", |text| {
        match values::duration(text, limits::RECORDING_TONE_MAX)? {
            tone if !tone.is_zero() && tone < limits::RECORDING_TONE_MIN => Err("at least 5s, or 0s".to_owned()),
            tone => Ok(tone),
        }
    })?;
    let upload = upload(layers)?;
    let directory = layers.optional("recording.directory", values::path)?;
    Ok(directory.map(|directory| RecordingConfig {
        directory,
        format,
        calls_max,
        age_max,
        bytes_max,
        free_min,
        tone,
        upload,
    }))
}
