//! The way to control servers. Each has a few lanes, and what concerns one dialog takes one lane, so that it comes in
//! order. Nobody waits for a server: a lane that is full, a server that is late or that does not answer 200 ends the dialog.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use moqswitch_calls::CallId;
use tokio::sync::mpsc;

use crate::limits::{CALLBACKS_AT_ONCE_MAX, CALLBACKS_WAITING_MAX, CONTROL_SERVERS_MAX};
use crate::outward::Address;

/// Every control server that somebody refers to.
#[derive(Debug)]
pub(super) struct Servers {
    known: BTreeMap<String, Weak<Server>>,
    failed: mpsc::Sender<Failed>,
    wait: Duration,
    under_way: Rc<Cell<usize>>,
    /// What it means that one fails.
    loss: &'static str,
}

/// One control server.
#[derive(Debug)]
pub(super) struct Server {
    lanes: Vec<mpsc::Sender<Callback>>,
    under_way: Rc<Cell<usize>>,
}

/// What a control server is told.
#[derive(Debug)]
pub(super) struct Callback {
    pub(super) method: &'static str,
    /// Below the server's address.
    pub(super) path: String,
    pub(super) body: Option<String>,
    /// Dialogs that end when it is not taken.
    pub(super) dialogs: Vec<CallId>,
}

/// Dialogs whose control server has failed.
pub(crate) type Failed = Vec<CallId>;

impl Servers {
    /// `failed` is told of dialogs that have to end.
    pub(super) fn new(wait: Duration, failed: mpsc::Sender<Failed>, loss: &'static str) -> Self {
        Self {
            known: BTreeMap::new(),
            failed,
            wait,
            under_way: Rc::default(),
            loss,
        }
    }

    /// The server at an address. `None`: it is no address, or there are too many.
    pub(super) fn of(&mut self, url: &str) -> Option<Rc<Server>> {
        if let Some(server) = self.known.get(url).and_then(Weak::upgrade) {
            return Some(server);
        }
        let address = Address::parse(url)?;
        self.known.retain(|_, server| server.strong_count() > 0);
        if self.known.len() >= CONTROL_SERVERS_MAX {
            return None;
        }
        let is_well = Rc::new(Cell::new(true));
        let lane = || {
            let (lane, callbacks) = mpsc::channel(CALLBACKS_WAITING_MAX);
            let other_end = Lane {
                address: address.clone(),
                wait: self.wait,
                failed: self.failed.clone(),
                is_well: Rc::clone(&is_well),
                under_way: Rc::clone(&self.under_way),
                loss: self.loss,
            };
            tokio::task::spawn_local(other_end.carry(callbacks));
            lane
        };
        let server = Rc::new(Server {
            lanes: (0..CALLBACKS_AT_ONCE_MAX).map(|_| lane()).collect(),
            under_way: Rc::clone(&self.under_way),
        });
        self.known.insert(url.to_owned(), Rc::downgrade(&server));
        Some(server)
    }

    /// Callbacks that are not answered yet.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.get()
    }
}

impl Server {
    /// False: there is no room. `key` is the same for what has to come in order.
    pub(super) fn tell(&self, key: u128, callback: Callback) -> bool {
        let lanes = u128::try_from(self.lanes.len()).unwrap_or(1);
        let lane = usize::try_from(key % lanes.max(1)).unwrap_or(0);
        let is_taken = self.lanes.get(lane).is_some_and(|lane| lane.try_send(callback).is_ok());
        if is_taken {
            self.under_way.set(self.under_way.get() + 1);
        }
        is_taken
    }

    /// Nothing waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.capacity() == lane.max_capacity())
    }
}

struct Lane {
    address: Address,
    wait: Duration,
    failed: mpsc::Sender<Failed>,
    /// Of the whole server: it is said once when it fails, and once when it is back.
    is_well: Rc<Cell<bool>>,
    under_way: Rc<Cell<usize>>,
    loss: &'static str,
}

impl Lane {
    /// Ends when nobody refers to the server any more.
    async fn carry(self, mut callbacks: mpsc::Receiver<Callback>) {
        while let Some(callback) = callbacks.recv().await {
            let body = callback.body.as_deref();
            let answer = self.address.ask(callback.method, &callback.path, body, self.wait).await;
            self.under_way.set(self.under_way.get().saturating_sub(1));
            let why = match answer {
                Ok(answer) if answer.status == 200 => {
                    if !self.is_well.replace(true) {
                        tracing::info!(server = ?self.address, "a control server answers again");
                    }
                    continue;
                }
                Ok(answer) => format!("status {}", answer.status),
                Err(error) => error.to_string(),
            };
            if self.is_well.replace(false) {
                tracing::warn!(server = ?self.address, why, "a control server fails: {}", self.loss);
            }
            // It fails when the calls thread ends.
            if !callback.dialogs.is_empty() && self.failed.send(callback.dialogs).await.is_err() {
                return;
            }
        }
    }
}
