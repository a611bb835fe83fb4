//! The members of a JSON object, each once.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

/// What is left of an object; each member is taken by its name.
#[derive(Clone, Debug)]
pub(super) struct Members(BTreeMap<String, Value>);

impl Members {
    /// `None`: no object, or a name that comes twice.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members.into_iter().collect())),
            _ => None,
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn to_value(&self) -> Value {
        Value::Object(self.0.clone().into_iter().collect())
    }

    /// The name of a member that was not taken.
    pub(super) fn left(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member comes twice"));
            }
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_once() {
        let mut members = Members::parse(br#"{"a":1,"b":{"c":2}}"#).unwrap();
        assert_eq!(members.take("a"), Some(Value::from(1)));
        assert_eq!((members.take("a"), members.left()), (None, Some("b")));
        for text in [r#"{"a":1,"a":1}"#, "[]", "1", "", "{} {}", "{"] {
            assert!(Members::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
