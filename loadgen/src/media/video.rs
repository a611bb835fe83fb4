//! IVF and Annex B, with a group from each key frame to the next.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{BufMut, BytesMut};
use rtc_media::io::h26x_reader::{H26xNAL, H26xReader, H264NalUnitType};
use rtc_media::io::ivf_reader::IVFReader;

use super::Frame;

pub(super) fn ivf(file: &Path) -> anyhow::Result<Vec<Frame>> {
    let bytes = std::fs::read(file)?;
    let mut whole = whole_frames(&bytes);
    let (mut reader, header) = IVFReader::new(&mut whole).context("it is no IVF file")?;
    ensure!(
        header.timebase_numerator > 0 && header.timebase_denominator > 0,
        "its header has no time base"
    );
    let tick = f64::from(header.timebase_numerator) / f64::from(header.timebase_denominator);
    let mut frames: Vec<Frame> = Vec::new();
    let mut last = 0;
    // The reader does not tell the end from an error.
    while let Ok((bytes, frame)) = reader.parse_next_frame() {
        if let Some(before) = frames.last_mut() {
            let ticks = frame
                .timestamp
                .checked_sub(last)
                .context("its timestamps go backwards")?;
            before.lasts = Duration::from_secs_f64(tick * f64::from(u32::try_from(ticks)?));
        }
        last = frame.timestamp;
        frames.push(Frame {
            is_key: is_key(header.four_cc, &bytes)?,
            bytes: bytes.freeze(),
            lasts: Duration::from_secs_f64(tick),
        });
    }
    // The last lasts as long as the one before it.
    if let [.., before, last] = &mut frames[..] {
        last.lasts = before.lasts;
    }
    Ok(frames)
}

/// The file without what was cut off at its end. The reader makes room for as much as a frame's
/// header says, before it looks whether that is there.
fn whole_frames(file: &[u8]) -> &[u8] {
    let mut end = IVF_HEADER_BYTES;
    while let Some(size) = file.get(end..).and_then(<[u8]>::first_chunk) {
        let next = end + IVF_FRAME_HEADER_BYTES + u32::from_le_bytes(*size) as usize;
        if next > file.len() {
            break;
        }
        end = next;
    }
    &file[..end.min(file.len())]
}

/// Access units of H.264, with their start codes. The reader leaves SEI units out, so captions and
/// timing are not sent.
pub(super) fn annex_b(file: &Path, rate: f64) -> anyhow::Result<Vec<Frame>> {
    let mut reader = H26xReader::new(BufReader::new(File::open(file)?), READ_BYTES, false);
    let lasts = Duration::from_secs_f64(1.0 / rate);
    let mut frames = Vec::new();
    let mut unit = AccessUnit::default();
    let mut push = |unit: AccessUnit| {
        frames.push(Frame {
            bytes: unit.bytes.freeze(),
            lasts,
            is_key: unit.is_key,
        });
    };
    while let Ok(H26xNAL::H264(nal)) = reader.next_nal() {
        let is_slice = matches!(
            nal.unit_type,
            H264NalUnitType::CodedSliceNonIdr | H264NalUnitType::CodedSliceIdr
        );
        // H.264, section 7.4.1.2.3: the first slice of a picture begins with macroblock 0, which
        // is a set first bit; what is no slice comes before it.
        let begins = !is_slice || nal.data.get(1).is_some_and(|first| first & 0x80 != 0);
        if unit.has_slice && begins {
            push(std::mem::take(&mut unit));
        }
        unit.bytes.put_slice(&START_CODE);
        unit.bytes.put_slice(&nal.data);
        unit.has_slice |= is_slice;
        unit.is_key |= nal.unit_type == H264NalUnitType::CodedSliceIdr;
    }
    if unit.has_slice {
        push(unit);
    }
    ensure!(!frames.is_empty(), "it is no H.264 in Annex B");
    Ok(frames)
}

#[derive(Default)]
struct AccessUnit {
    bytes: BytesMut,
    has_slice: bool,
    is_key: bool,
}

fn is_key(four_cc: [u8; 4], frame: &[u8]) -> anyhow::Result<bool> {
    let first = *frame.first().context("it has an empty frame")?;
    match &four_cc {
        // RFC 6386, section 9.1: bit 0 is clear in key frames.
        b"VP80" => Ok(first & 1 == 0),
        // VP9, section 6.2: marker, profile, show_existing_frame and frame_type, from the top.
        b"VP90" => {
            let bit = |index: u32| first >> (7 - index) & 1;
            let at = if bit(2) == 1 && bit(3) == 1 { 5 } else { 4 };
            Ok(bit(at) == 0 && bit(at + 1) == 0)
        }
        // AV1, section 7.5: a key frame's temporal unit has a sequence header (OBU type 1), which
        // follows the temporal delimiter.
        b"AV01" => Ok(frame.get(2).is_some_and(|header| header >> 3 & 0x0f == 1)),
        other => anyhow::bail!("`{}` is none of VP80, VP90 and AV01", String::from_utf8_lossy(other)),
    }
}

const IVF_HEADER_BYTES: usize = 32;
const IVF_FRAME_HEADER_BYTES: usize = 12;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
const READ_BYTES: usize = 64 * 1024;
