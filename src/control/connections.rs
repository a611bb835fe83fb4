//! The connections of the HTTP server, by whether their request has come. One more than there may be
//! of a kind ends the oldest of it: nobody keeps others out by saying nothing, or by not reading.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time;

use crate::limits;

pub(super) struct Connections {
    arriving_max: usize,
    served_max: usize,
    /// Oldest first.
    open: VecDeque<Connection>,
    tasks: JoinSet<()>,
    /// A request has come on one of them.
    news: Arc<Notify>,
}

struct Connection {
    has_arrived: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Of one connection, for its task to say that the request is there.
#[derive(Clone)]
pub(super) struct Arrival {
    has_arrived: Arc<AtomicBool>,
    news: Arc<Notify>,
}

impl Connections {
    pub(super) fn new(arriving_max: usize, served_max: usize) -> Self {
        Self {
            arriving_max,
            served_max,
            open: VecDeque::new(),
            tasks: JoinSet::new(),
            news: Arc::default(),
        }
    }

    /// Serves one more, until it has taken longer than it may.
    pub(super) fn spawn<F>(&mut self, serve: impl FnOnce(Arrival) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let arrival = Arrival {
            has_arrived: Arc::default(),
            news: Arc::clone(&self.news),
        };
        let has_arrived = Arc::clone(&arrival.has_arrived);
        let served = serve(arrival.clone());
        let task = self.tasks.spawn(async move {
            tokio::select! {
                () = served => {}
                () = arrival.overdue() => {}
            }
        });
        self.open.push_back(Connection { has_arrived, task });
        self.trim();
    }

    /// Waits until some have ended or got their request, and ends those that are too many.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            Some(_) = self.tasks.join_next() => {}
            () = self.news.notified() => {}
        }
        self.trim();
    }

    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    fn trim(&mut self) {
        self.open.retain(|connection| !connection.task.is_finished());
        self.trim_kind(false, self.arriving_max);
        self.trim_kind(true, self.served_max);
    }

    fn trim_kind(&mut self, has_arrived: bool, bound: usize) {
        let is_one = |connection: &Connection| connection.has_arrived.load(Ordering::Relaxed) == has_arrived;
        let mut surplus = self.open.iter().filter(|one| is_one(one)).count().saturating_sub(bound);
        self.open.retain(|connection| {
            let goes = surplus > 0 && is_one(connection);
            if goes {
                connection.task.abort();
                surplus -= 1;
            }
            !goes
        });
    }
}

impl Arrival {
    pub(super) fn announce(&self) {
        self.has_arrived.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Ends when the connection should have.
    async fn overdue(&self) {
        time::sleep(limits::HTTP_ARRIVAL_WAIT_MAX).await;
        if self.has_arrived.load(Ordering::Relaxed) {
            time::sleep(limits::HTTP_CONNECTION_AGE_MAX - limits::HTTP_ARRIVAL_WAIT_MAX).await;
        }
    }
}
