//! Bodies: one JSON object, or an array with one. Fields are looked for by name, and what is of another kind is not there.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::messages::is_bounded_to;

/// The fields of a body, or of an object in one.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Nothing at all is an empty object. `None`: it cannot be read, or is too deep or too large.
    pub(super) fn read(bytes: &[u8], values_max: usize) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if text.trim().is_empty() {
            return Some(Self::default());
        }
        if !is_bounded_to(text, values_max) {
            return None;
        }
        match serde_json::from_str(text).ok()? {
            Value::Object(fields) => Some(Self(fields)),
            Value::Array(values) => match <[Value; 1]>::try_from(values) {
                Ok([Value::Object(fields)]) => Some(Self(fields)),
                Ok(_) | Err(_) => None,
            },
            _ => None,
        }
    }

    /// All of them, as an object.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    pub(super) fn whole(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn object(&self, name: &str) -> Option<Self> {
        self.get(name)?.as_object().cloned().map(Self)
    }

    pub(super) fn objects(&self, name: &str) -> Option<Vec<Self>> {
        let list = self.get(name)?.as_array()?;
        list.iter().map(|value| value.as_object().cloned().map(Self)).collect()
    }

    /// The address of a control server: an URL, or a host and a port.
    pub(super) fn control(&self) -> Option<Result<String, BadControl>> {
        let url = match self.get("control")? {
            Value::String(url) => url.clone(),
            Value::Object(fields) => {
                let host = fields.get("host").and_then(Value::as_str);
                let port: Option<&dyn Display> = match fields.get("port") {
                    Some(port @ (Value::Number(_) | Value::String(_))) => Some(port),
                    _ => None,
                };
                match (host, port) {
                    (Some(host), Some(port)) => format!("http://{host}:{port}").replace('"', ""),
                    (Some(host), None) => format!("http://{host}"),
                    (None, _) => return Some(Err(BadControl)),
                }
            }
            _ => return Some(Err(BadControl)),
        };
        let is_address = crate::outward::Address::parse(&url).is_some() && url.len() <= URL_BYTES_MAX;
        Some(if is_address { Ok(url) } else { Err(BadControl) })
    }
}

/// It is no address: `http://…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadControl;

/// A control server's address has no more bytes.
const URL_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Fields> {
        Fields::read(text.as_bytes(), 100)
    }

    #[test]
    fn objects_and_arrays_of_one_are_bodies() {
        assert!(read("").is_some() && read("{}").is_some() && read("[{}]").is_some());
        for bad in ["[]", "[{},{}]", "[[]]", "1", "{", "\"x\"", "{\"a\":1}x"] {
            assert!(read(bad).is_none(), "{bad}");
        }
        assert!(Fields::read(b"\xff", 100).is_none());
        assert!(read(&("[".repeat(1000) + &"]".repeat(1000))).is_none());
        assert!(read(&format!("{{\"a\":[{}]}}", vec!["1"; 200].join(","))).is_none());
    }

    #[test]
    fn control_is_an_url_or_host_and_port() {
        let control = |text: &str| read(&format!("{{\"control\":{text}}}")).unwrap().control();
        assert_eq!(control(r#""http://a:1""#), Some(Ok("http://a:1".to_owned())));
        assert_eq!(
            control(r#"{"host":"a","port":9001}"#),
            Some(Ok("http://a:9001".to_owned()))
        );
        assert_eq!(
            control(r#"{"host":"a","port":"9001"}"#),
            Some(Ok("http://a:9001".to_owned()))
        );
        assert_eq!(control("null"), None);
        for bad in [
            "1",
            "{}",
            "[]",
            r#""https://a""#,
            r#""a""#,
            r#"{"host":"a","port":99999}"#,
            r#"{"host":"a/\r\nX: y"}"#,
        ] {
            assert_eq!(control(bad), Some(Err(BadControl)), "{bad}");
        }
    }
}
