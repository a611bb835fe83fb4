//! What phones say and hear, of the messages that `src/signalling/README.md` lists.

use serde_json::{Value, json};

/// A message of the switch, as far as a phone cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Where media goes, and by what the phone is let in there.
    Registered {
        url: String,
        token: String,
    },
    Refused {
        reason: String,
    },
    Incoming {
        /// The call's own name, 32 digits.
        call: String,
        from: String,
    },
    Ringing {
        call: String,
    },
    Accepted {
        call: String,
        /// The broadcast of this phone.
        publish: String,
    },
    Held {
        hold: bool,
    },
    Digits(String),
    Ended {
        reason: String,
    },
    /// Something that was asked for is not done.
    Error {
        code: u64,
        message: String,
    },
    /// The switch goes, or the registration has.
    Leaving(String),
}

impl Word {
    /// `None`: a message that changes nothing for a phone. With the number of the message, to be acknowledged.
    pub(crate) fn read(text: &str) -> Result<(Option<Self>, Option<u64>), serde_json::Error> {
        let message: Value = serde_json::from_str(text)?;
        let payload = &message["payload"];
        let of = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
        let word = match message["type"].as_str().unwrap_or_default() {
            "registered" => Some(Self::Registered {
                url: payload["media"]["url"].as_str().unwrap_or_default().to_owned(),
                token: payload["media"]["token"].as_str().unwrap_or_default().to_owned(),
            }),
            "registrationFailed" => Some(Self::Refused { reason: of("reason") }),
            "incomingCall" => Some(Self::Incoming {
                call: of("callId"),
                from: of("from"),
            }),
            "callProgress" if payload["state"] == "ringing" => Some(Self::Ringing { call: of("call") }),
            "callAccepted" => Some(Self::Accepted {
                call: of("call"),
                publish: payload["media"]["publish"].as_str().unwrap_or_default().to_owned(),
            }),
            "held" => Some(Self::Held {
                hold: payload["hold"].as_bool().unwrap_or_default(),
            }),
            "dtmf" => Some(Self::Digits(of("digit"))),
            "callEnded" => Some(Self::Ended { reason: of("reason") }),
            "error" => Some(Self::Error {
                code: payload["code"].as_u64().unwrap_or_default(),
                message: of("message"),
            }),
            "goaway" => Some(Self::Leaving("the switch said that it goes away (goaway)".to_owned())),
            "unregistered" => Some(Self::Leaving(format!("unregistered: {}", of("reason")))),
            _ => None,
        };
        Ok((word, message["seq"].as_u64()))
    }
}

/// What a phone says last.
pub(super) const UNREGISTER: &str = r#"{"type":"unregister","payload":{}}"#;

/// A phone that names its device says itself that it rings, as real ones do.
pub(super) fn register(number: &str, password: Option<&str>) -> String {
    let mut payload = json!({ "dn": number, "device": "loadgen", "expires": 86_400 });
    if let Some(password) = password {
        payload["password"] = json!(password);
    }
    json!({ "type": "register", "payload": payload }).to_string()
}

pub(crate) fn call(to: &str, name: &str) -> Value {
    json!({ "type": "call", "payload": { "to": to, "callId": name } })
}

pub(crate) fn ringing(name: &str) -> Value {
    of_call("ringing", name)
}

pub(crate) fn answer(name: &str) -> Value {
    of_call("answer", name)
}

pub(crate) fn reject(name: &str) -> Value {
    json!({ "type": "reject", "payload": { "callId": name, "reason": "busy" } })
}

pub(crate) fn hang_up(name: &str) -> Value {
    of_call("hangup", name)
}

pub(crate) fn hold(name: &str, on: bool) -> Value {
    json!({ "type": "hold", "payload": { "callId": name, "hold": on } })
}

pub(crate) fn dtmf(name: &str, digit: char) -> Value {
    json!({ "type": "dtmf", "payload": { "callId": name, "digit": digit.to_string() } })
}

fn of_call(kind: &str, name: &str) -> Value {
    json!({ "type": kind, "payload": { "callId": name } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_switch_are_understood_and_others_passed_over() {
        let read = |text: &str| Word::read(text).unwrap();
        let accepted = r#"{"type":"callAccepted","payload":{"callId":"c1","call":"ab","media":{"url":"u","publish":"call/ab/1","subscribe":["call/ab/**"]}},"seq":7}"#;
        let word = Word::Accepted {
            call: "ab".into(),
            publish: "call/ab/1".into(),
        };
        assert_eq!(read(accepted), (Some(word), Some(7)));
        let registered = r#"{"type":"registered","payload":{"media":{"url":"https://h/","token":"t"}}}"#;
        let word = Word::Registered {
            url: "https://h/".into(),
            token: "t".into(),
        };
        assert_eq!(read(registered), (Some(word), None));
        let calling = r#"{"type":"callProgress","payload":{"state":"calling"},"seq":1}"#;
        assert_eq!(read(calling), (None, Some(1)));
        assert_eq!(read(r#"{"type":"new","payload":3}"#), (None, None));
        assert!(Word::read("no JSON").is_err());
    }
}
