//! Drafts by the names of their protocols.

use moqswitch_proto::wire::Version;

/// What the name of a protocol stands for: a draft, or the newest that may be agreed on in band.
pub(super) fn version_of(protocol: &[u8]) -> Option<Version> {
    Version::from_alpn(protocol).or_else(|| Version::in_band_from_alpn(protocol))
}

pub(super) fn alpns(versions: &[Version]) -> Vec<&'static [u8]> {
    let mut alpns: Vec<&[u8]> = versions.iter().map(|version| version.alpn()).collect();
    // Those that are agreed on in band are next to each other.
    alpns.dedup();
    alpns
}
