//! Webhooks: events are posted to others, signed, in order, and again where they were not taken.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::{digest, hmac};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::http::{Address, Answer, NoAnswer};
use crate::events::{Event, WebhookIdentity};
use crate::limits::{WEBHOOK_ATTEMPTS_MAX, WEBHOOK_BACK_OFF, WEBHOOK_BACK_OFF_MAX, WEBHOOK_WAIT_MAX};

/// Somebody who is told of events.
#[derive(Clone)]
pub struct Webhook {
    address: Address,
    key: hmac::Key,
    /// Of address, secret and kinds: two with the same are one.
    identity: [u8; digest::SHA256_OUTPUT_LEN],
    /// Kinds of events. Empty: all.
    pub(crate) kinds: Vec<String>,
}

impl Webhook {
    /// `url` is `http://…`; events of `kinds`, or all where there are none, are posted there, signed with `secret`.
    /// `None`: the URL is none of that form.
    pub fn new(url: &str, secret: &[u8], kinds: Vec<String>) -> Option<Self> {
        let address = Address::parse(url)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        let parts = [url.as_bytes(), secret].into_iter();
        for part in parts.chain(kinds.iter().map(String::as_bytes)) {
            // With its length, so that no two lists of parts read alike.
            hash.update(&part.len().to_be_bytes());
            hash.update(part);
        }
        let mut identity = [0; digest::SHA256_OUTPUT_LEN];
        identity.copy_from_slice(hash.finish().as_ref());
        Some(Self {
            address,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            identity,
            kinds,
        })
    }

    pub(crate) fn identity(&self) -> WebhookIdentity {
        WebhookIdentity(self.identity)
    }

    /// `sha256=` and the HMAC of the time, a dot and the body: nobody else could have posted it, nor posts it again.
    fn signature(&self, seconds: u64, body: &str) -> String {
        let signature = hmac::sign(&self.key, format!("{seconds}.{body}").as_bytes());
        let digits: Vec<String> = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={}", digits.concat())
    }

    async fn post(&self, event: &Event) -> Result<Answer, NoAnswer> {
        let body = format!(
            r#"{{"id":"{}","type":"{}","data":{}}}"#,
            event.id, event.kind, event.data
        );
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let (seconds, signature) = (since.as_secs().to_string(), self.signature(since.as_secs(), &body));
        let headers = [
            ("Moqswitch-Event", event.kind),
            ("Moqswitch-Delivery", event.id.as_str()),
            ("Moqswitch-Timestamp", seconds.as_str()),
            ("Moqswitch-Signature", signature.as_str()),
        ];
        self.address.post(&headers, &body, WEBHOOK_WAIT_MAX).await
    }

    /// Until it is taken, or it cannot be, or has been tried often enough. Was it taken?
    async fn deliver(&self, event: &Event) -> bool {
        let mut waits = waits();
        loop {
            let (why, is_final) = match self.post(event).await {
                Ok(answer) if (200..300).contains(&answer.status) => return true,
                Ok(answer) => (format!("status {}", answer.status), is_final(answer.status)),
                Err(error) => (error.to_string(), false),
            };
            let Some(wait) = waits.next().filter(|_| !is_final) else {
                tracing::warn!(address = ?self.address, event = event.id, why, "a webhook was not taken");
                return false;
            };
            sleep(wait).await;
        }
    }
}

/// How long is waited after each attempt but the last.
fn waits() -> impl Iterator<Item = Duration> {
    let doubled = std::iter::successors(Some(WEBHOOK_BACK_OFF), |wait| {
        Some((*wait * 2).min(WEBHOOK_BACK_OFF_MAX))
    });
    (1..WEBHOOK_ATTEMPTS_MAX).zip(doubled).map(|(_, wait)| wait)
}

/// What was refused for what it is will be refused again.
fn is_final(status: u16) -> bool {
    (400..500).contains(&status) && ![408, 429].contains(&status)
}

/// Posts what comes, one after the other, until there is no more to come; says of each whether it was taken.
pub(crate) async fn deliver(webhook: Webhook, mut events: mpsc::Receiver<Arc<Event>>, said: impl Fn(bool)) {
    while let Some(event) = events.recv().await {
        said(webhook.deliver(&event).await);
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Webhook");
        shown
            .field("address", &self.address)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_taken_is_posted_again_after_1_2_4_8_and_16_seconds() {
        let seconds: Vec<u64> = waits().map(|wait| wait.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn what_is_wrong_with_the_event_itself_is_not() {
        for (status, is_so) in [
            (400, true),
            (404, true),
            (410, true),
            (499, true),
            (408, false),
            (429, false),
        ] {
            assert_eq!(is_final(status), is_so, "{status}");
        }
        for status in [100, 199, 301, 500, 503, 599] {
            assert!(!is_final(status), "{status}");
        }
    }
}
