//! Threads that transcode and mix, and what the shards have of them.

use anyhow::Context;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::ShardPort;
use moqswitch_services::{Mix, MixPort, MixersBusy, Pool, install, install_mixers};

/// All of them.
pub(super) struct Services {
    pub(super) pool: Pool,
    pub(super) mixers: Mixers,
}

/// The mixers of all shards. A clone has to tell them on its own what is over.
#[derive(Clone)]
pub(super) struct Mixers {
    shards: Vec<MixPort>,
    /// What is over, and its shard had no room to be told.
    unended: Vec<BroadcastPath>,
}

impl Services {
    /// `None`: no threads are wanted.
    pub(super) fn start(threads: usize, shards: &[ShardPort]) -> anyhow::Result<Option<Self>> {
        if threads == 0 {
            return Ok(None);
        }
        let pool = Pool::start(threads).context("threads that transcode")?;
        let mut ports = Vec::new();
        for shard in shards {
            // Each shard has room for the applications of this program.
            drop(install(shard, &pool).context("transcoders")?);
            let (port, _) = install_mixers(shard, &pool).context("mixers")?;
            ports.push(port);
        }
        let mixers = Mixers {
            shards: ports,
            unended: Vec::new(),
        };
        Ok(Some(Self { pool, mixers }))
    }
}

impl Mixers {
    /// From here on this is what is published there.
    pub(super) fn mix(&mut self, path: &BroadcastPath, mix: Mix) -> Result<(), MixersBusy> {
        self.catch_up();
        // What was to end goes on.
        self.unended.retain(|other| other != path);
        self.at(path).mix(path.clone(), mix)
    }

    pub(super) fn end(&mut self, path: BroadcastPath) {
        self.unended.push(path);
        self.catch_up();
    }

    fn catch_up(&mut self) {
        for path in std::mem::take(&mut self.unended) {
            if self.at(&path).end(path.clone()).is_err() {
                self.unended.push(path);
            }
        }
    }

    /// All of one call are at one shard: `mix/<call>/…`.
    fn at(&self, path: &BroadcastPath) -> &MixPort {
        let call = path.as_str().rsplit_once('/').map_or("", |(call, _)| call);
        let sum = call
            .bytes()
            .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        &self.shards[sum % self.shards.len()]
    }
}
