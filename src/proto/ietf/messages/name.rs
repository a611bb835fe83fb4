//! Namespaces and the names of tracks (section 2.4.1), and the paths that stand for them.
//!
//! ```text
//! Namespace  Number of Fields (vi64) | [ Length (vi64) | Field ] ...
//! ```
//!
//! A field is a segment of a path. A `/` within a field is written `%2F`, and what would be read so by mistake gets a
//! further `25` behind its `%`; everything else stays as it is, so both ways lead back to the same name.

use bytes::BytesMut;

use super::fields::{Fields, put_bytes};
use crate::ietf::limits::{FULL_NAME_BYTES_MAX, NAMESPACE_FIELDS_MAX};
use crate::limits::TRACK_NAME_BYTES_MAX;
use crate::wire::{BroadcastPath, DecodeError, EncodeError, TrackName, vi64};

/// A namespace, a prefix or a suffix of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ietf) struct Namespace {
    /// `None`: no path can stand for it.
    pub(in crate::ietf) path: Option<BroadcastPath>,
    bytes: usize,
}

/// A namespace and the name of a track in it. `None`: nothing here can stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ietf) struct FullName(pub(in crate::ietf) Option<(BroadcastPath, TrackName)>);

impl Namespace {
    pub(in crate::ietf) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let count = fields.integer()?;
        if count > NAMESPACE_FIELDS_MAX as u64 {
            return Err(DecodeError::TooLarge("fields of a namespace"));
        }
        let (mut text, mut bytes, mut is_text) = (String::new(), 0, true);
        for _ in 0..count {
            let field = fields.bytes(FULL_NAME_BYTES_MAX, "namespace")?;
            bytes += field.len();
            if field.is_empty() {
                return Err(DecodeError::Invalid("empty field of a namespace"));
            }
            match std::str::from_utf8(field) {
                Ok(field) => push_segment(&mut text, field),
                Err(_) => is_text = false,
            }
        }
        if bytes > FULL_NAME_BYTES_MAX {
            return Err(DecodeError::TooLarge("namespace"));
        }
        let path = is_text.then(|| BroadcastPath::new(&text));
        Ok(Self {
            path: path.filter(BroadcastPath::is_within_limits),
            bytes,
        })
    }
}

impl FullName {
    pub(in crate::ietf) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let namespace = Namespace::decode(fields)?;
        let name = fields.bytes(FULL_NAME_BYTES_MAX, "track name")?;
        if namespace.bytes + name.len() > FULL_NAME_BYTES_MAX {
            return Err(DecodeError::TooLarge("full track name"));
        }
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| name.len() <= TRACK_NAME_BYTES_MAX);
        Ok(Self(namespace.path.zip(name.map(TrackName::from))))
    }
}

pub(in crate::ietf) fn put_namespace(out: &mut BytesMut, path: &BroadcastPath) -> Result<(), EncodeError> {
    if !path.is_within_limits() {
        return Err(EncodeError::TooLarge("broadcast path"));
    }
    vi64::put(out, path.segments().count() as u64);
    for segment in path.segments() {
        let field = field_of(segment);
        put_bytes(out, field.as_bytes(), FULL_NAME_BYTES_MAX, "namespace")?;
    }
    Ok(())
}

pub(in crate::ietf) fn put_track_name(out: &mut BytesMut, name: &TrackName) -> Result<(), EncodeError> {
    put_bytes(out, name.as_bytes(), TRACK_NAME_BYTES_MAX, "track name")
}

fn push_segment(text: &mut String, field: &str) {
    if !text.is_empty() {
        text.push('/');
    }
    let mut rest = field;
    while let Some(at) = rest.find(['/', '%']) {
        text.push_str(&rest[..at]);
        let (sign, behind) = rest.split_at(at + 1);
        match &sign[at..] {
            "/" => text.push_str("%2F"),
            _ if is_escape(behind) => text.push_str("%25"),
            _ => text.push('%'),
        }
        rest = behind;
    }
    text.push_str(rest);
}

fn field_of(segment: &str) -> String {
    let mut field = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        field.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        rest = match (behind.strip_prefix("2F"), behind.strip_prefix("25")) {
            (Some(behind), _) => {
                field.push('/');
                behind
            }
            (_, Some(behind)) if is_escape(behind) => {
                field.push('%');
                behind
            }
            _ => {
                field.push('%');
                behind
            }
        };
    }
    field.push_str(rest);
    field
}

/// Whether what is behind a `%` makes it one of ours: any number of `25`, then `2F`.
fn is_escape(mut behind: &str) -> bool {
    while let Some(rest) = behind.strip_prefix("25") {
        behind = rest;
    }
    behind.starts_with("2F")
}
