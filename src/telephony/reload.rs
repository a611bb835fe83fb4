//! What calls take over while they go on: users, keys, origins, webhooks, the dialplan and what calls may be. Each is whole
//! or not at all.

use std::fmt::Display;

use moqswitch_signalling::calls::AdminEvent;
use moqswitch_signalling::{Busy, SignallingHandle};

use crate::config::CallsConfig;
use crate::directory::{self, FileError};

/// The calls that there are, and what is in force.
pub(crate) struct Reloading {
    handle: SignallingHandle,
    config: CallsConfig,
}

/// Why something is as it was.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("{0}")]
    File(#[from] FileError),
    #[error("the calls thread has no room for it now")]
    Busy,
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<Busy> for Kept {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

impl Reloading {
    pub(crate) fn new(handle: SignallingHandle, config: CallsConfig) -> Self {
        Self { handle, config }
    }

    /// What is in force.
    pub(crate) fn config(&self) -> &CallsConfig {
        &self.config
    }

    /// Reads everything again, from where it is now. Who may issue certificates of trunks is in force by then.
    pub(crate) async fn reload(&mut self, after: &CallsConfig) {
        if let (Some(own), Some(after)) = (&mut self.config.sip, &after.sip) {
            own.tls_client_ca.clone_from(&after.tls_client_ca);
        }
        self.reload_dialplan(after).await;
        self.reload_entrance(after).await;
        self.reload_programs(after).await;
        self.reload_webhooks(after).await;
        self.reload_trunks(after).await;
        if after.origins != self.config.origins {
            self.handle.replace_origins(after.origins.clone());
            self.config.origins.clone_from(&after.origins);
            tracing::info!(origins = after.origins.join(", "), "origins reloaded");
        }
        if after.plane != self.config.plane {
            let settings = AdminEvent::ReplaceSettings(Box::new(after.plane_settings()));
            let outcome = self.handle.admin(settings).map_err(Kept::from);
            if say("limits of calls", outcome.map(|()| format!("{:?}", after.plane))) {
                self.config.plane.clone_from(&after.plane);
            }
        }
    }

    async fn reload_dialplan(&mut self, after: &CallsConfig) {
        if after.dialplan.is_none() && self.config.dialplan.is_none() {
            return;
        }
        let outcome = match read(after, directory::dialplan).await {
            Ok(plan) => self
                .handle
                .admin(AdminEvent::ReplaceDialplan(Box::new(plan)))
                .map_err(Kept::from),
            Err(kept) => Err(kept),
        };
        let from = after.dialplan.as_ref().map(|path| path.display().to_string());
        if say("dialplan", outcome.map(|()| from.unwrap_or_else(|| "none".to_owned()))) {
            self.config.dialplan.clone_from(&after.dialplan);
        }
    }

    async fn reload_entrance(&mut self, after: &CallsConfig) {
        let is_none =
            |config: &CallsConfig| config.users.is_none() && config.tokens.is_none() && config.callback.is_none();
        if is_none(after) && is_none(&self.config) {
            return;
        }
        let handle = self.handle.clone();
        let replace = move |config: &CallsConfig| -> Result<String, Kept> {
            let entrance = directory::entrance(config)?;
            let count = entrance.users.as_ref().map_or(0, |users| users.len());
            handle.replace_entrance(entrance)?;
            Ok(format!("{count} users"))
        };
        if say("users", read(after, replace).await) {
            self.config.users.clone_from(&after.users);
            self.config.tokens.clone_from(&after.tokens);
            self.config.callback.clone_from(&after.callback);
        }
    }

    async fn reload_programs(&mut self, after: &CallsConfig) {
        let is_none = |config: &CallsConfig| config.keys.is_none() && config.api_tokens.is_none();
        if is_none(after) && is_none(&self.config) {
            return;
        }
        let handle = self.handle.clone();
        let replace = move |config: &CallsConfig| -> Result<String, Kept> {
            let (keys, tokens) = directory::programs(config)?;
            let count = keys.len();
            handle.replace_keys(keys, tokens)?;
            Ok(format!("{count} keys"))
        };
        if say("API keys", read(after, replace).await) {
            self.config.keys.clone_from(&after.keys);
            self.config.api_tokens.clone_from(&after.api_tokens);
        }
    }

    async fn reload_webhooks(&mut self, after: &CallsConfig) {
        if after.webhooks.is_none() && self.config.webhooks.is_none() {
            return;
        }
        let handle = self.handle.clone();
        let replace = move |config: &CallsConfig| -> Result<String, Kept> {
            let webhooks = directory::webhooks(config)?;
            let count = webhooks.len();
            handle.replace_webhooks(webhooks)?;
            Ok(format!("{count} webhooks"))
        };
        if say("webhooks", read(after, replace).await) {
            self.config.webhooks.clone_from(&after.webhooks);
        }
    }
}

impl Reloading {
    /// Where SIP was not served at the start, it is not after this.
    async fn reload_trunks(&mut self, after: &CallsConfig) {
        let path = |config: &CallsConfig| config.sip.as_ref().and_then(|sip| sip.trunks.clone());
        if path(after).is_none() && path(&self.config).is_none() {
            return;
        }
        let handle = self.handle.clone();
        let replace = move |config: &CallsConfig| -> Result<String, Kept> {
            let plan = directory::trunks(config)?;
            if let Some(reason) = directory::without_way_in(config, &plan) {
                tracing::warn!("{reason}");
            }
            let (trunks, groups) = (plan.trunks.len(), plan.groups.len());
            handle.replace_trunks(plan)?;
            Ok(format!("{trunks} trunks, {groups} groups"))
        };
        if say("trunks", read(after, replace).await)
            && let Some(sip) = &mut self.config.sip
        {
            sip.trunks = path(after);
        }
    }
}

/// Files are read, and passwords hashed, where nobody waits for it.
async fn read<T: Send + 'static, E>(
    config: &CallsConfig,
    read: impl FnOnce(&CallsConfig) -> Result<T, E> + Send + 'static,
) -> Result<T, Kept>
where
    E: Send + 'static,
    Kept: From<E>,
{
    let config = config.clone();
    Ok(tokio::task::spawn_blocking(move || read(&config)).await??)
}

/// One line for what was taken over, or was not. Was it?
fn say(what: &str, outcome: Result<impl Display, Kept>) -> bool {
    match &outcome {
        Ok(taken) => tracing::info!(%taken, "{what} reloaded"),
        Err(kept) => tracing::error!("{what} not reloaded: {kept}"),
    }
    outcome.is_ok()
}
