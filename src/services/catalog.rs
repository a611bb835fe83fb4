//! What a broadcast's catalog says of its audio.

use moqswitch_audio::{Codec, Rate};
use serde_json::{Value, json};

use crate::limits::CATALOG_BYTES_MAX;

/// The codec of the track `audio`. `None`: it is no catalog, or the codec is none of telephones.
pub(crate) fn codec_of(catalog: &[u8]) -> Option<Codec> {
    if catalog.len() > CATALOG_BYTES_MAX {
        return None;
    }
    let catalog: Value = serde_json::from_slice(catalog).ok()?;
    named(catalog.pointer("/audio/renditions/audio/codec")?.as_str()?)
}

/// Those that there are tracks of.
pub(crate) const CODECS: [(Codec, &str); 4] = [
    (Codec::Opus, "opus"),
    (Codec::Pcmu, "pcmu"),
    (Codec::Pcma, "pcma"),
    (Codec::G722, "g722"),
];

/// Of a broadcast whose `audio` has this codec.
pub(crate) fn catalog_of(codec: Codec) -> Vec<u8> {
    let name = CODECS.into_iter().find(|(other, _)| *other == codec);
    let track = json!({
        "codec": name.map(|(_, name)| name),
        "sampleRate": codec.full_rate().hertz(),
        "numberOfChannels": 1,
        "container": { "kind": "raw" },
    });
    json!({ "audio": { "renditions": { "audio": track } } })
        .to_string()
        .into_bytes()
}

/// What timestamps of its tracks count in a second.
pub(crate) fn clock_of(codec: Codec) -> u64 {
    u64::from(codec.clock(Rate::Hz48000))
}

fn named(name: &str) -> Option<Codec> {
    CODECS
        .into_iter()
        .find(|(_, other)| *other == name)
        .map(|(codec, _)| codec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codec_is_found_or_there_is_none() {
        let catalog = br#"{"audio":{"renditions":{"audio":{"codec":"g722","sampleRate":16000}}}}"#;
        assert_eq!(codec_of(catalog), Some(Codec::G722));
        for (codec, _) in CODECS {
            assert_eq!(codec_of(&catalog_of(codec)), Some(codec));
        }
        for bad in [
            &b""[..],
            b"{",
            b"[]",
            br#"{"audio":{"renditions":{"audio":{"codec":7}}}}"#,
            br#"{"audio":{"renditions":{"audio":{"codec":"mp4a"}}}}"#,
            br#"{"audio":{"renditions":{"other":{"codec":"opus"}}}}"#,
            &vec![b' '; CATALOG_BYTES_MAX + 1],
        ] {
            assert_eq!(codec_of(bad), None);
        }
    }
}
