//! The members of a JSON object, each once, and each once in the objects within it: two readers that differ in which of two
//! counts would differ in what is granted.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is left of an object; each member is taken by its name.
#[derive(Clone, Debug)]
pub(super) struct Members(BTreeMap<String, Value>);

impl Members {
    /// `None`: no object, or a name that comes twice, at any depth.
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

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Members, A::Error> {
        Ok(Members(read_map(map)?.into_iter().collect()))
    }
}

/// A value in which no object has a member twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    // Depth is bounded by the parser's own limit.
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        read_map(map).map(Value::Object)
    }
}

fn read_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Map<String, Value>, A::Error> {
    let mut members = Map::new();
    while let Some((name, Unique(value))) = map.next_entry::<String, Unique>()? {
        if members.insert(name, value).is_some() {
            return Err(A::Error::custom("a member comes twice"));
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_once() {
        let mut members = Members::parse(br#"{"a":1,"b":{"c":2}}"#).unwrap();
        assert_eq!(members.take("a"), Some(Value::from(1)));
        assert_eq!((members.take("a"), members.left()), (None, Some("b")));
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"x",{"b":[]}]}"#;
        let read = Members::parse(text.as_bytes()).unwrap().to_value();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
            r#"{"a":{"b":{"c":1,"\u0063":1}}}"#,
            "[]",
            "1",
            "",
            "{} {}",
            "{",
        ] {
            assert!(Members::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
