//! Music and prompts: the player on a shard, and which directories it has.
#![forbid(unsafe_code)]

use std::sync::Arc;

use anyhow::Context;
use moqswitch_player::{Inspection, Player, PlayerStatistics, Shelves};
use moqswitch_relay::RelayHandle;

use crate::config::Config;

/// It plays for as long as this, or a clone, is there.
#[derive(Clone)]
pub struct Music(Arc<Player>);

impl Music {
    /// Starts it, and has it read the files. `None`: nobody wants any.
    pub(crate) fn start(config: &Config, relay: &RelayHandle) -> anyhow::Result<Option<Self>> {
        let shelves = shelves(config);
        if shelves == Shelves::default() {
            return Ok(None);
        }
        let shard = relay.ports().first().context("a relay has a shard")?;
        let player = Player::start(shard).context("music and prompts")?;
        // What comes of it is logged, and is no reason to wait.
        drop(player.load(shelves));
        Ok(Some(Self(Arc::new(player))))
    }

    /// Reads the files again, from where they are now.
    pub(crate) fn reload(&self, config: &Config) {
        drop(self.0.load(shelves(config)));
    }

    /// What plays.
    pub(crate) fn player(&self) -> &Player {
        &self.0
    }

    /// What is played, and was.
    pub(crate) fn statistics(&self) -> PlayerStatistics {
        self.0.statistics()
    }
}

/// Reads every file, and plays none.
pub(crate) fn inspect(config: &Config) -> Inspection {
    shelves(config).inspect()
}

fn shelves(config: &Config) -> Shelves {
    Shelves {
        music: config.media.music.clone(),
        prompts: config.media.prompts.clone(),
        // Calls name music that somebody has to make.
        has_tones: config.media.tones && config.calls.is_some(),
    }
}
