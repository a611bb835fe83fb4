//! What holds of the tables, whatever came.

use super::{CLIENT_TRANSACTIONS_MAX, SERVER_TRANSACTIONS_MAX, Timer, Transactions};

impl Transactions {
    /// Do they agree with each other?
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        let is = |holds: bool, what: &str| {
            if holds {
                Ok(())
            } else {
                Err(format!("transactions: {what}"))
            }
        };
        let is_bounded = self.servers.len() <= SERVER_TRANSACTIONS_MAX && self.clients.len() <= CLIENT_TRANSACTIONS_MAX;
        is(is_bounded, "there are more than there may be")?;
        is(self.server_keys.len() == self.servers.len(), "keys without a server")?;
        is(self.client_keys.len() == self.clients.len(), "keys without a client")?;
        let mut timers = self.clients.len();
        let (mut unanswered, mut finished) = (0, 0);
        for (id, server) in &self.servers {
            is(
                self.server_keys.get(&server.key) == Some(id),
                "a server without its key",
            )?;
            unanswered += usize::from(!server.is_final());
            if let Some(due) = server.due() {
                timers += 1;
                is(
                    self.timers.contains(&(due, Timer::Server(*id))),
                    "a server without its timer",
                )?;
            }
            is(
                server.may_be_forgotten() == server.finished.is_some(),
                "a server in the wrong line",
            )?;
            if let Some(place) = server.finished {
                finished += 1;
                is(self.finished.get(&place) == Some(id), "a server without its place")?;
            }
        }
        let waiting = self.clients.values().filter(|client| !client.is_finished()).count();
        is(self.waiting == waiting, "a wrong count of what is waited for")?;
        for (id, client) in &self.clients {
            is(
                self.client_keys.get(&client.key) == Some(id),
                "a client without its key",
            )?;
            is(
                self.timers.contains(&(client.due(), Timer::Client(*id))),
                "a client without its timer",
            )?;
        }
        is(self.timers.len() == timers, "timers of nobody")?;
        is(self.finished.len() == finished, "places of nobody")?;
        is(self.unanswered == unanswered, "a wrong count of what is to be answered")
    }
}
