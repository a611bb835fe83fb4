//! Names of tracks and codecs, and the catalog in hang's form that says which is which.

use bytes::Bytes;
use moqswitch_audio::{Codec, Rate};
use moqswitch_player::CODECS;
use serde_json::{Value, json};

use crate::config::CodecName;

pub(super) const AUDIO: &str = "audio";
pub(super) const CATALOG: &str = "catalog.json";

/// As the command line has it.
pub(super) fn codec_of(name: CodecName) -> Codec {
    match name {
        CodecName::Opus => Codec::Opus,
        CodecName::Pcmu => Codec::Pcmu,
        CodecName::Pcma => Codec::Pcma,
        CodecName::G722 => Codec::G722,
    }
}

pub(super) fn name_of(codec: Codec) -> &'static str {
    CODECS
        .iter()
        .find(|(other, _)| *other == codec)
        .map_or("another codec", |(_, name)| name)
}

/// Of `audio.pcmu` and its like.
pub(super) fn codec_of_track(track: &str) -> Option<Codec> {
    named(track.strip_prefix(AUDIO)?.strip_prefix('.')?)
}

/// Units of timestamps in a second.
pub(super) fn clock_of(codec: Codec) -> u64 {
    u64::from(codec.clock(codec.full_rate()))
}

/// What a broadcast is of.
pub(super) fn catalog(codec: Codec) -> Bytes {
    let track = json!({
        "codec": name_of(codec),
        "sampleRate": codec.rate(Rate::Hz48000).hertz(),
        "numberOfChannels": 1,
        "container": { "kind": "raw" },
    });
    json!({ "audio": { "renditions": { AUDIO: track } } })
        .to_string()
        .into()
}

/// What a catalog says of a track.
pub(super) fn codec_in(catalog: &[u8], track: &str) -> Result<Codec, String> {
    let says = |what: String| format!("the catalog says {what}: name the codec by --codec");
    let catalog: Value = serde_json::from_slice(catalog).map_err(|_| says("nothing that is JSON".to_owned()))?;
    let renditions = catalog.pointer("/audio/renditions").and_then(Value::as_object);
    let Some(rendition) = renditions.and_then(|renditions| renditions.get(track)) else {
        let names: Vec<&str> = renditions
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        return Err(says(match names.is_empty() {
            true => "nothing of audio".to_owned(),
            false => format!("nothing of {track}, there is {}", names.join(", ")),
        }));
    };
    let name = rendition.get("codec").and_then(Value::as_str).unwrap_or_default();
    named(name).ok_or_else(|| format!("{track} is of `{name}`, which is not heard"))
}

fn named(name: &str) -> Option<Codec> {
    CODECS.iter().find(|(_, other)| *other == name).map(|(codec, _)| *codec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogs_and_names_say_which_codec_it_is() {
        for (codec, name) in CODECS {
            assert_eq!(codec_in(&catalog(codec), AUDIO), Ok(codec));
            assert_eq!(codec_of_track(&format!("audio.{name}")), Some(codec));
        }
        assert_eq!((codec_of_track("audio"), codec_of_track("audio.flac")), (None, None));
        let video = br#"{"audio":{"renditions":{"speech":{"codec":"opus"}}}}"#;
        assert!(codec_in(video, AUDIO).unwrap_err().contains("there is speech"));
        let aac = br#"{"audio":{"renditions":{"audio":{"codec":"mp4a.40.2"}}}}"#;
        assert!(codec_in(aac, AUDIO).unwrap_err().contains("mp4a.40.2"));
        for bad in [&b""[..], b"[]", b"{"] {
            assert!(codec_in(bad, AUDIO).is_err());
        }
    }
}
