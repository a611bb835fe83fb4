//! Where voice mail is, and how much of it there may be.

use std::path::PathBuf;
use std::time::Duration;

use moqswitch_voicemail::{Settings, limits as ceilings};

use super::layers::Layers;
use super::{ConfigError, values};

/// `None` of these: nobody leaves messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoicemailConfig {
    /// Made where there is none.
    pub directory: PathBuf,
    /// What callers of boxes hear that have no greeting of their own. `None`: the tone alone.
    pub greeting: Option<PathBuf>,
    /// The longest message.
    pub message_max: Duration,
    /// Of a box.
    pub messages_max: usize,
    /// Of all messages.
    pub bytes_max: u64,
    /// Calls at once.
    pub calls_max: usize,
}

impl VoicemailConfig {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            directory: self.directory.clone(),
            message_max: self.message_max,
            messages_max: self.messages_max,
            bytes_max: self.bytes_max,
        }
    }
}

/// There is none without a directory.
pub(super) fn voicemail(layers: &Layers) -> Result<Option<VoicemailConfig>, ConfigError> {
    let count = |path, max: usize| {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        layers.one(path, move |text| values::count(text, max))
    };
    let message_max = layers.one("voicemail.message", |text| {
        let message = values::duration(text, ceilings::MESSAGE_MAX)?;
        match message >= ceilings::MESSAGE_MIN {
            true => Ok(message),
            false => Err("at least a second".to_owned()),
        }
    })?;
    let messages_max = count("voicemail.messages", ceilings::MESSAGES_MAX)?;
    let calls_max = count("voicemail.calls", ceilings::CALLS_MAX)?;
    let bytes_max = layers.one("voicemail.bytes", |text| values::bytes(text, 1..=u64::MAX))?;
    let greeting = layers.optional("voicemail.greeting", values::path)?;
    let directory = layers.optional("voicemail.directory", values::path)?;
    Ok(directory.map(|directory| VoicemailConfig {
        directory,
        greeting,
        message_max,
        messages_max,
        bytes_max,
        calls_max,
    }))
}
