//! The fields of a message that came, each read as its kind, and what is said of one that cannot be.

use std::time::Duration;

use moqswitch_calls::{NameError, Number, Payload, Text, limits};
use serde_json::{Map, Value};

use crate::limits::SECRET_BYTES_MAX;

/// Why nothing can be made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadMessage {
    /// For people.
    pub(crate) message: String,
    /// What exactly.
    pub(crate) details: Option<String>,
}

/// The fields of a message, each read as its kind.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl Fields<'_> {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(name: &str, kind: &str) -> BadMessage {
        bad(&format!("Invalid parameter: {name}"), Some(kind))
    }

    pub(super) fn missing(name: &str) -> BadMessage {
        bad(&format!("Missing required parameter: {name}"), None)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, BadMessage> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Self::wrong(name, "a string")),
        }
    }

    pub(super) fn name(&self, name: &str) -> Result<Option<Text>, BadMessage> {
        Ok(self.text(name)?.map(Text::new))
    }

    /// A name that means something: what is too long is not cut, lest it mean something else.
    pub(super) fn key(&self, name: &str) -> Result<Text, BadMessage> {
        let text = self.text(name)?.ok_or_else(|| Self::missing(name))?;
        if text.is_empty() || text.len() > limits::TEXT_BYTES_MAX {
            return Err(Self::wrong(name, "1 to 128 bytes"));
        }
        Ok(Text::new(text))
    }

    pub(super) fn optional_key(&self, name: &str) -> Result<Option<Text>, BadMessage> {
        if self.get(name).is_none() {
            Ok(None)
        } else {
            self.key(name).map(Some)
        }
    }

    pub(super) fn secret(&self, name: &str) -> Result<Option<String>, BadMessage> {
        match self.text(name)? {
            Some(text) if text.len() > SECRET_BYTES_MAX => Err(Self::wrong(name, "too long")),
            text => Ok(text.map(str::to_owned)),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Number, BadMessage> {
        self.optional_number(name)?.ok_or_else(|| Self::missing(name))
    }

    pub(super) fn optional_number(&self, name: &str) -> Result<Option<Number>, BadMessage> {
        let wrong = |error: NameError| Self::wrong(name, &error.to_string());
        self.text(name)?
            .map(|text| Number::new(text).map_err(wrong))
            .transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, BadMessage> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Self::wrong(name, "true or false")),
        }
    }

    pub(super) fn seconds(&self, name: &str) -> Result<Option<Duration>, BadMessage> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => {
                let seconds = value.as_u64().filter(|seconds| *seconds > 0);
                let seconds = seconds.ok_or_else(|| Self::wrong(name, "seconds, a whole number above 0"))?;
                Ok(Some(Duration::from_secs(seconds.min(u64::from(u32::MAX)))))
            }
        }
    }

    pub(super) fn payload(&self, name: &str) -> Result<Option<Payload>, BadMessage> {
        let text = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        Payload::new(&text).map(Some).map_err(|_| Self::wrong(name, "too long"))
    }

    pub(super) fn required_payload(&self, name: &str) -> Result<Payload, BadMessage> {
        self.payload(name)?.ok_or_else(|| Self::missing(name))
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<&str>>, BadMessage> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let texts = value.as_array().map(|list| list.iter().map(Value::as_str).collect());
        match texts {
            Some(Some(texts)) => Ok(Some(texts)),
            Some(None) | None => Err(Self::wrong(name, "a list of strings")),
        }
    }
}

pub(super) fn bad(message: &str, details: Option<&str>) -> BadMessage {
    BadMessage {
        message: message.to_owned(),
        details: details.map(str::to_owned),
    }
}
