//! Whether a device is let in, asked of a program.

use std::net::IpAddr;
use std::time::Duration;

use moqswitch_calls::Number;
use serde::Deserialize;
use serde_json::json;

use super::http::Address;
use crate::limits::CALLBACK_WAIT_MAX;

/// Who is asked.
#[derive(Clone, Debug)]
pub struct Callback {
    address: Address,
    wait: Duration,
}

/// What it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it in.
    Admitted {
        /// As a supervisor, if it asks to be one.
        supervisor: bool,
    },
    /// Do not.
    Refused,
    /// It did not answer, or nonsense: nobody is let in.
    Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    supervisor: bool,
}

impl Callback {
    /// `url` is `http://…`. `None`: it is none of that form.
    pub fn new(url: &str) -> Option<Self> {
        let wait = CALLBACK_WAIT_MAX;
        Address::parse(url).map(|address| Self { address, wait })
    }

    /// Asks. 2xx lets it in, 401 and 403 do not.
    pub(crate) async fn ask(
        &self,
        dn: &Number,
        password: Option<&str>,
        token: Option<&str>,
        peer: Option<IpAddr>,
    ) -> Verdict {
        let body = json!({ "dn": dn.as_str(), "password": password, "token": token, "peer": peer });
        match self.address.post(&[], &body.to_string(), self.wait).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let is_bounded = crate::messages::is_bounded(&answer.body);
                let body: Option<Body> = is_bounded.then(|| serde_json::from_str(&answer.body).ok()).flatten();
                let supervisor = body.unwrap_or_default().supervisor;
                Verdict::Admitted { supervisor }
            }
            Ok(answer) if matches!(answer.status, 401 | 403 | 404) => Verdict::Refused,
            Ok(answer) => {
                tracing::warn!(
                    status = answer.status,
                    "the program that lets devices in did not decide"
                );
                Verdict::Unknown
            }
            Err(error) => {
                tracing::warn!(%error, "the program that lets devices in did not answer");
                Verdict::Unknown
            }
        }
    }
}
