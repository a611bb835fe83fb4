//! Type, length, value: frames of HTTP/3 (RFC 9114, section 7.1) and the capsules inside of some
//! (RFC 9297, section 3.2), from bytes in any fragmentation.
//!
//! Values that are wanted whole are gathered up to a limit, those that are streamed are handed on as
//! they come, and all others are skipped without being kept, of which there may be so many.

use bytes::{Buf, Bytes, BytesMut};
use moqswitch_proto::wire::varint;
use smallvec::SmallVec;

#[derive(Debug)]
pub(super) struct Records {
    kinds: Kinds,
    skips_left: u32,
    /// Type and length, while they are incomplete.
    head: SmallVec<[u8; HEAD_BYTES_MAX]>,
    body: Option<Body>,
}

/// What becomes of which records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kinds {
    pub(super) gathered: &'static [u64],
    /// Of each gathered value. A longer one is refused when its length is read.
    pub(super) gathered_bytes_max: u64,
    pub(super) streamed: Option<u64>,
}

#[derive(Debug)]
struct Body {
    kind: u64,
    left: u64,
    gathered: BytesMut,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Gathered {
        kind: u64,
        value: Bytes,
    },
    /// Some of a streamed value.
    Streamed(Bytes),
    /// The beginning of one that is passed over.
    Skipped(u64),
}

/// A value that is too long, or too many that are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess;

impl Records {
    pub(super) fn new(kinds: Kinds) -> Self {
        Self {
            kinds,
            skips_left: SKIPS_MAX,
            head: SmallVec::new(),
            body: None,
        }
    }

    /// Takes from `input` until a record can be told of; `None` when there is nothing left of it.
    pub(super) fn poll(&mut self, input: &mut Bytes) -> Result<Option<Record>, Excess> {
        loop {
            let Some(body) = &mut self.body else {
                let Some((kind, left)) = self.take_head(input) else {
                    return Ok(None);
                };
                if let Some(record) = self.begin(kind, left)? {
                    return Ok(Some(record));
                }
                continue;
            };
            let ready = usize::try_from(body.left).unwrap_or(usize::MAX).min(input.len());
            let part = input.split_to(ready);
            body.left -= ready as u64;
            let is_whole = body.left == 0;
            if self.kinds.streamed == Some(body.kind) {
                if is_whole {
                    self.body = None;
                }
                match (part.is_empty(), is_whole) {
                    (false, _) => return Ok(Some(Record::Streamed(part))),
                    (true, true) => continue,
                    (true, false) => return Ok(None),
                }
            }
            let is_gathered = self.kinds.gathered.contains(&body.kind);
            if is_gathered {
                body.gathered.extend_from_slice(&part);
            }
            if !is_whole {
                return Ok(None);
            }
            let body = self.body.take().expect("it was looked at just now");
            if is_gathered {
                return Ok(Some(Record::Gathered {
                    kind: body.kind,
                    value: body.gathered.freeze(),
                }));
            }
        }
    }

    fn begin(&mut self, kind: u64, left: u64) -> Result<Option<Record>, Excess> {
        let is_gathered = self.kinds.gathered.contains(&kind);
        if is_gathered && left > self.kinds.gathered_bytes_max {
            return Err(Excess);
        }
        self.body = Some(Body {
            kind,
            left,
            gathered: BytesMut::new(),
        });
        if is_gathered || self.kinds.streamed == Some(kind) {
            return Ok(None);
        }
        self.skips_left = self.skips_left.checked_sub(1).ok_or(Excess)?;
        Ok(Some(Record::Skipped(kind)))
    }

    fn take_head(&mut self, input: &mut Bytes) -> Option<(u64, u64)> {
        while let Some(byte) = input.first() {
            self.head.push(*byte);
            input.advance(1);
            if let Ok((kind, used)) = varint::get(&self.head)
                && let Ok((left, _)) = varint::get(&self.head[used..])
            {
                self.head.clear();
                return Some((kind, left));
            }
        }
        None
    }
}

/// Two integers of eight bytes.
const HEAD_BYTES_MAX: usize = 16;

/// Records without meaning for us on one stream; with more of them the peer is only making work.
const SKIPS_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: Kinds = Kinds {
        gathered: &[1, 4],
        gathered_bytes_max: 100,
        streamed: Some(0),
    };

    #[test]
    fn records_come_whole_however_they_are_cut() {
        let mut wire = BytesMut::new();
        record(&mut wire, 4, b"settings");
        record(&mut wire, 0x1f * 1000 + 0x21, &[7; 300]);
        record(&mut wire, 0, b"data");
        record(&mut wire, 0, b"");
        record(&mut wire, 1, b"");
        let whole = told(&[wire.clone().freeze()]);
        assert_eq!(
            whole,
            ["gathered 4 settings", "skipped 31033", "streamed data", "gathered 1 "]
        );
        for cut in 1..wire.len() {
            let (first, second) = wire.split_at(cut);
            let cut_up = told(&[Bytes::copy_from_slice(first), Bytes::copy_from_slice(second)]);
            let joined = cut_up.join(",").replace(",streamed ", "");
            assert_eq!(joined, whole.join(",").replace(",streamed ", ""), "cut at {cut}");
        }
    }

    #[test]
    fn too_long_a_value_is_refused_by_its_length() {
        let mut records = Records::new(KINDS);
        let mut wire = Bytes::from_static(&[1, 0x40, 101]);
        assert_eq!(records.poll(&mut wire), Err(Excess));
    }

    #[test]
    fn a_flood_of_nothing_is_refused() {
        let mut records = Records::new(KINDS);
        let mut wire = Bytes::from([0x21, 0].repeat(SKIPS_MAX as usize + 1));
        for _ in 0..SKIPS_MAX {
            assert_eq!(records.poll(&mut wire), Ok(Some(Record::Skipped(0x21))));
        }
        assert_eq!(records.poll(&mut wire), Err(Excess));
    }

    #[test]
    fn a_value_of_any_length_is_skipped_without_being_kept() {
        let mut records = Records::new(KINDS);
        let mut wire = Bytes::from_static(&[0x21, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(records.poll(&mut wire), Ok(Some(Record::Skipped(0x21))));
        assert_eq!(records.poll(&mut wire), Ok(None));
        assert!(wire.is_empty() && records.body.is_some_and(|body| body.gathered.is_empty()));
    }

    fn record(out: &mut BytesMut, kind: u64, value: &[u8]) {
        varint::put(out, kind).unwrap();
        varint::put(out, value.len() as u64).unwrap();
        out.extend_from_slice(value);
    }

    fn told(inputs: &[Bytes]) -> Vec<String> {
        let mut records = Records::new(KINDS);
        let mut told = Vec::new();
        for mut input in inputs.iter().cloned() {
            while let Some(record) = records.poll(&mut input).unwrap() {
                told.push(match record {
                    Record::Gathered { kind, value } => format!("gathered {kind} {}", text(&value)),
                    Record::Streamed(part) => format!("streamed {}", text(&part)),
                    Record::Skipped(kind) => format!("skipped {kind}"),
                });
            }
        }
        assert!(records.head.is_empty() && records.body.is_none());
        told
    }

    fn text(bytes: &[u8]) -> &str {
        str::from_utf8(bytes).unwrap()
    }
}
