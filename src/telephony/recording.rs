//! Calls that are recorded: shards listen to their legs, and hand frames over to the thread that writes.

use anyhow::Context;
use moqswitch_audio::Codec;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_recording::{Ear, Ears, Frame, Frames, LocalDisk, Recorder, RecorderView, Settings};
use moqswitch_relay::shard::ShardPort;
use moqswitch_services::{Tapped, Taps};
use moqswitch_signalling::calls::{CallId, LegId};

/// Starts it.
pub(super) fn start(settings: Settings, shards: &[ShardPort]) -> anyhow::Result<(Recorder, RecorderView)> {
    let place = settings.directory.display().to_string();
    let mut taps = Vec::new();
    let ears = |frames: Frames| {
        for shard in shards {
            let frames = frames.clone();
            // It is one of the shard's first applications: there is room.
            let installed = Taps::install(shard, move |tapped| frames.push(frame(tapped)));
            taps.push(installed.map(|(taps, _)| taps));
        }
        RelayEars {
            taps: taps.into_iter().flatten().collect(),
        }
    };
    Recorder::start(settings, LocalDisk, ears).with_context(|| format!("recordings in {place}"))
}

/// The ears of all shards. A call is listened to on one of them.
struct RelayEars {
    taps: Vec<Taps>,
}

impl Ears for RelayEars {
    fn listen(&mut self, call: CallId, stream: u64, leg: LegId, codec: Option<Codec>) -> Option<Ear> {
        let shards = u128::try_from(self.taps.len()).ok()?;
        let shard = usize::try_from(call.0.checked_rem(shards)?).ok()?;
        let broadcast = BroadcastPath::new(&leg.path());
        match self.taps.get(shard)?.listen(stream, broadcast, codec) {
            Ok(tap) => Some(Ear::new(tap)),
            Err(error) => {
                tracing::warn!(%leg, %error, "a leg is not recorded");
                None
            }
        }
    }
}

fn frame(tapped: Tapped) -> Frame {
    Frame {
        stream: tapped.stream,
        codec: tapped.codec,
        group: tapped.group,
        is_first: tapped.is_first,
        time_us: tapped.time_us,
        came: tapped.came,
        payload: tapped.payload,
    }
}
