//! One session that the auth server decides on, from its beginning to its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moqswitch_relay::auth::token::Refusal;
use moqswitch_relay::shard::{
    AdmissionRequest, AdmissionRequests, Decision, SessionEnd, ShardCommand, ShardPort, UnknownSession,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use crate::limits;

use super::contract::{Event, Facts, Granted};
use super::server::Authority;

/// A queue for sessions to be decided on.
pub fn admissions() -> (AdmissionRequests, mpsc::Receiver<AdmissionRequest>) {
    mpsc::channel(limits::ADMISSION_REQUESTS_MAX)
}

/// Decides on sessions until the shards are gone. Each has a task of its own for as long as it lives.
pub async fn serve(authority: Arc<Authority>, mut requests: mpsc::Receiver<AdmissionRequest>, shards: Vec<ShardPort>) {
    while let Some(request) = requests.recv().await {
        if let Some(port) = shards.get(request.shard).cloned() {
            tokio::spawn(keep(Arc::clone(&authority), request, port));
        }
    }
}

/// Has it decided on, asks again as often as the server wants, and tells of the end.
async fn keep(authority: Arc<Authority>, request: AdmissionRequest, port: ShardPort) {
    let facts = Facts::of_session(&authority.node, &request);
    let session = Session { request, facts, port };
    let granted = match authority.ask(&session.facts, Event::Connect).await {
        Ok(granted) => granted,
        Err(refusal) => {
            // One that is gone needs no answer.
            let _ = session.decide(Decision::Refuse(refusal)).await;
            return;
        }
    };
    let begun = Instant::now();
    let (ended, mut end) = oneshot::channel();
    let admitted = Decision::Admit {
        root: granted.root.clone(),
        grant: Arc::new(granted.grant.clone()),
        ended,
    };
    let (reason, end) = match session.decide(admitted).await {
        Ok(()) => session.watch(&authority, granted, &mut end).await,
        Err(UnknownSession) => (None, end.await.ok()),
    };
    let end = end.unwrap_or(SessionEnd {
        reason: "dropped".to_owned(),
        sent: 0,
        received: 0,
    });
    let event = Event::End {
        reason: reason.unwrap_or(&end.reason),
        duration: begun.elapsed().as_secs_f64(),
        sent: end.sent,
        received: end.received,
    };
    authority.tell(&session.facts, event).await;
}

struct Session {
    request: AdmissionRequest,
    facts: Facts,
    port: ShardPort,
}

impl Session {
    /// Until the session is over. Why it is, if that is the server's doing, and what the shard says of it.
    async fn watch(
        &self,
        authority: &Authority,
        mut granted: Granted,
        end: &mut oneshot::Receiver<SessionEnd>,
    ) -> (Option<&'static str>, Option<SessionEnd>) {
        let root = granted.root.clone();
        let mut failures = 0;
        let mut next = granted.revalidate;
        loop {
            let asked = async {
                match next {
                    Some(wait) => time::sleep(wait).await,
                    None => std::future::pending().await,
                }
                authority.ask(&self.facts, Event::Revalidate).await
            };
            let answer = tokio::select! {
                ended = &mut *end => {
                    let expires = granted.grant.expires;
                    let is_expired = expires.is_some_and(|at| SystemTime::now() >= at);
                    return (is_expired.then_some("expired"), ended.ok());
                }
                answer = asked => answer,
            };
            match answer {
                Ok(fresh) if fresh.root != root => return self.revoke("root changed", end).await,
                Ok(fresh) => {
                    failures = 0;
                    next = fresh.revalidate;
                    granted = fresh;
                    // One that is over says so.
                    let _ = self.decide(Decision::Replace(Arc::new(granted.grant.clone()))).await;
                }
                // It says nothing about the session. What it has lapses on the shard.
                Err(Refusal::AuthorityUnavailable) => {
                    failures += 1;
                    next = Some(back_off(failures, granted.revalidate));
                }
                Err(Refusal::AuthorityInvalid) => return self.revoke("invalid", end).await,
                Err(_) => return self.revoke("refused", end).await,
            }
        }
    }

    async fn revoke(
        &self,
        reason: &'static str,
        end: &mut oneshot::Receiver<SessionEnd>,
    ) -> (Option<&'static str>, Option<SessionEnd>) {
        let _ = self.decide(Decision::Refuse(Refusal::Revoked)).await;
        (Some(reason), end.await.ok())
    }

    /// Takes a decision to the shard. One that takes no commands for so long has other worries; the session ends there
    /// when its time is over.
    async fn decide(&self, decision: Decision) -> Result<(), UnknownSession> {
        let (reply, answer) = oneshot::channel();
        let mut command = ShardCommand::Decide {
            session: self.request.session,
            decision,
            reply,
        };
        let deadline = Instant::now() + limits::AUTHORITY_WAIT_MAX;
        while let Err(refused) = self.port.offer(command) {
            if Instant::now() >= deadline {
                return Err(UnknownSession);
            }
            command = refused;
            time::sleep(DELIVERY_INTERVAL).await;
        }
        answer.await.unwrap_or(Err(UnknownSession))
    }
}

/// One second, doubled with each failure, no longer than the interval of asking and a minute; a quarter more or less, so
/// that not all ask at once.
fn back_off(failures: u32, every: Option<Duration>) -> Duration {
    let doubled = BACK_OFF_MIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(10));
    let wait = doubled.min(every.unwrap_or(BACK_OFF_MAX)).min(BACK_OFF_MAX);
    let mut byte = [0];
    // Without randomness all ask at once, which is no worse than before.
    let _ = SystemRandom::new().fill(&mut byte);
    wait.mul_f64(0.75 + f64::from(byte[0]) / 510.0)
}

const DELIVERY_INTERVAL: Duration = Duration::from_millis(5);
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_interval_of_asking() {
        let within = |failures, every, seconds: f64| {
            let wait = back_off(failures, every).as_secs_f64();
            assert!((0.75 * seconds..=1.25 * seconds).contains(&wait), "{failures}: {wait}");
        };
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (u32::MAX, 60.0)] {
            within(failures, None, seconds);
        }
        within(9, Some(Duration::from_secs(5)), 5.0);
    }
}
