//! The bytes of groups.

use bytes::{Bytes, BytesMut};
use moqswitch_proto::wire::{FrameForm, FrameHeader, GroupHeader, UniType, Version};

/// The newest draft, and how it frames.
pub(crate) const VERSION: Version = Version::Lite06;
pub(crate) const FORM: FrameForm = FrameForm::Timed;

/// `count` frames of `bytes` each.
pub(crate) fn frames(count: u64, bytes: usize) -> Bytes {
    let mut out = BytesMut::new();
    for _ in 0..count {
        let header = FrameHeader {
            timestamp_delta: 20,
            size: bytes as u64,
        };
        header.encode(FORM, &mut out).expect("a small header");
        out.extend_from_slice(&vec![7; bytes]);
    }
    out.freeze()
}

/// A whole Group Stream.
pub(crate) fn stream(header: &GroupHeader, frames: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    UniType::Group.encode(VERSION, &mut out).expect("a type of every draft");
    header.encode(VERSION, &mut out).expect("a small header");
    out.extend_from_slice(frames);
    out.freeze()
}

/// The same bytes, at most `bytes_max` at a time.
pub(crate) fn pieces(whole: &Bytes, bytes_max: usize) -> Vec<Bytes> {
    let mut rest = whole.clone();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        pieces.push(rest.split_to(bytes_max.min(rest.len())));
    }
    pieces
}
