//! Who asks: within bounds of time and number, counted, and with a line in the log when there is no answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use moqswitch_relay::auth::Grant;
use moqswitch_relay::auth::token::Refusal;
use moqswitch_relay::ratelimit::RateLimit;
use tokio::sync::Semaphore;
use tokio::time;

use crate::config::AuthorityConfig;
use crate::limits;

use super::client::{Client, Failure};
use super::contract::{Event, Facts, Granted, HttpRequest};

/// The auth server, as the control thread sees it.
pub struct Authority {
    client: Client,
    pub(super) node: String,
    /// Requests under way.
    slots: Semaphore,
    /// Reports of ends that wait for a slot.
    ends_waiting: AtomicUsize,
    answers: [AtomicU64; Answer::ALL.len()],
    #[expect(clippy::disallowed_types, reason = "only tasks of the control thread take it")]
    complaints: std::sync::Mutex<RateLimit>,
}

/// What became of a request, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Granted,
    Refused,
    /// No answer, none in time, or one that is none.
    Failed,
    /// It was told that a session is over.
    Told,
    /// It was not told that, because too many such reports waited.
    Untold,
}

impl Answer {
    const ALL: [Self; 5] = [Self::Granted, Self::Refused, Self::Failed, Self::Told, Self::Untold];

    fn label(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Told => "told",
            Self::Untold => "untold",
        }
    }
}

impl Authority {
    /// # Errors
    ///
    /// The file with certificate authorities cannot be read.
    pub fn new(config: &AuthorityConfig) -> anyhow::Result<Arc<Self>> {
        #[expect(clippy::disallowed_types, reason = "as above")]
        let complaints = std::sync::Mutex::new(RateLimit::new(COMPLAINT_PERIOD, 3));
        Ok(Arc::new(Self {
            client: Client::new(&config.url, config.ca.as_deref())?,
            node: config.node.clone(),
            slots: Semaphore::new(limits::AUTHORITY_REQUESTS_MAX),
            ends_waiting: AtomicUsize::new(0),
            answers: Default::default(),
            complaints,
        }))
    }

    /// What the client of one HTTP request may do. The server is told at once that it is over.
    pub async fn permit(self: Arc<Self>, request: HttpRequest<'_>) -> Result<Arc<Grant>, Refusal> {
        let facts = Facts::of_http(&self.node, request);
        let granted = self.ask(&facts, Event::Connect).await?;
        let grant = Arc::new(granted.grant);
        tokio::spawn(async move {
            let end = Event::End {
                reason: "finished",
                duration: 0.0,
                sent: 0,
                received: 0,
            };
            self.tell(&facts, end).await;
        });
        Ok(grant)
    }

    /// How many requests had which answer.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.answers.iter().map(|count| count.load(Ordering::Relaxed));
        Answer::ALL.into_iter().map(Answer::label).zip(counts)
    }

    /// Asks about a session, within the time that one request may take, the wait for its turn included.
    pub(super) async fn ask(&self, facts: &Facts, event: Event<'_>) -> Result<Granted, Refusal> {
        let asked = async {
            let _slot = self.slots.acquire().await.map_err(|_| Failure::closed())?;
            self.client.ask(&facts.body(event)).await
        };
        let answer = time::timeout(limits::AUTHORITY_WAIT_MAX, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(Failure::late()));
        match answer.and_then(|answer| answer.map(|text| Granted::parse(&text, facts)).transpose()) {
            Ok(Some(granted)) => {
                self.count(Answer::Granted);
                Ok(granted)
            }
            Ok(None) => {
                self.count(Answer::Refused);
                Err(Refusal::AuthorityRefused)
            }
            Err(failure) => {
                self.count(Answer::Failed);
                self.complain(&failure, facts.remote());
                Err(failure.refusal())
            }
        }
    }

    /// Tells of an end. It is not told again.
    pub(super) async fn tell(&self, facts: &Facts, event: Event<'_>) {
        if self.ends_waiting.fetch_add(1, Ordering::Relaxed) >= limits::AUTHORITY_ENDS_MAX {
            self.ends_waiting.fetch_sub(1, Ordering::Relaxed);
            return self.count(Answer::Untold);
        }
        let told = async {
            let _slot = self.slots.acquire().await.map_err(|_| Failure::closed())?;
            self.client.tell(&facts.body(event)).await
        };
        let told = time::timeout(limits::AUTHORITY_WAIT_MAX, told).await;
        self.ends_waiting.fetch_sub(1, Ordering::Relaxed);
        match told.unwrap_or_else(|_| Err(Failure::late())) {
            Ok(()) => self.count(Answer::Told),
            Err(failure) => {
                self.count(Answer::Failed);
                self.complain(&failure, facts.remote());
            }
        }
    }

    fn count(&self, answer: Answer) {
        self.answers[answer as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn complain(&self, failure: &Failure, remote: Option<SocketAddr>) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = complaints.allow(Instant::now()) {
            tracing::warn!(error = %failure, peer = ?remote, suppressed, "auth server");
        }
    }
}

const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
