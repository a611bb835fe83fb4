//! What is on a leg's tracks beside audio: digits, and the catalog by which players know what they get.

use moqswitch_proto::wire::TrackInfo;
use moqswitch_relay::shard::local::LocalTrack;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::codec::LegCodec;
use crate::tags::{Role, Tag};

/// A digit on the track `dtmf`: once when it begins, once more when it is over, with the same `at_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DigitEvent {
    pub(crate) digit: String,
    pub(crate) duration_ms: u32,
    /// Since the leg began.
    pub(crate) at_ms: u64,
    /// It is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) end: bool,
}

impl DigitEvent {
    /// `None`: it is no such event, or more than one digit.
    pub(crate) fn parse(payload: &[u8]) -> Option<(Self, char)> {
        let event: Self = serde_json::from_slice(payload).ok()?;
        let mut characters = event.digit.chars();
        let digit = characters.next()?;
        characters.next().is_none().then_some((event, digit))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// In the form of hang's catalog.
pub(crate) fn catalog(codec: LegCodec) -> Vec<u8> {
    let track = json!({
        "codec": codec.name(),
        "sampleRate": codec.sample_rate(),
        "numberOfChannels": 1,
        "container": { "kind": "raw" },
    });
    let catalog = json!({ "audio": { "renditions": { AUDIO: track } } });
    catalog.to_string().into_bytes()
}

/// The tracks that a leg offers, whose audio has this timescale.
pub(crate) fn offered(leg: u64, timescale: u32) -> Vec<LocalTrack> {
    let offer = |name: &str, role: Role, priority: u8, timescale: u32| LocalTrack {
        name: name.into(),
        info: TrackInfo {
            epoch: 0,
            priority,
            ordered: false,
            max_latency_ms: 1000,
            timescale: timescale.into(),
        },
        tag: Tag { leg, role, turn: 0 }.encode(),
    };
    vec![
        offer(AUDIO, Role::Audio, 200, timescale),
        offer(DTMF, Role::Dtmf, 210, 1000),
        offer(CATALOG, Role::Catalog, 220, 1000),
    ]
}

/// The track with what is said, as it is said or in a codec.
pub(crate) fn audio_track(transcoded: Option<LegCodec>) -> String {
    transcoded.map_or_else(|| AUDIO.to_owned(), |codec| format!("{AUDIO}.{}", codec.name()))
}

pub(crate) const AUDIO: &str = "audio";
pub(crate) const DTMF: &str = "dtmf";
pub(crate) const CATALOG: &str = "catalog.json";
