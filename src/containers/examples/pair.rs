//! Makes one file of two channels of two files of one: `cargo run --example pair LEFT RIGHT OUT`. Two of Ogg Opus in packets
//! of 20 ms, or two of WAV of one encoding. Nothing is transcoded.

use std::error::Error;
use std::fs::{self, File};
use std::io::BufWriter;

use moqswitch_containers::{OpusFile, OpusWriter, Wav, WavWriter};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [left, right, out] = arguments.as_slice() else {
        return Err("LEFT RIGHT OUT".into());
    };
    let (left, right) = (fs::read(left)?, fs::read(right)?);
    let out = BufWriter::new(File::create(out)?);
    match left.starts_with(b"RIFF") {
        true => wav(&left, &right, out),
        false => opus(&left, &right, out),
    }
}

fn opus(left: &[u8], right: &[u8], out: BufWriter<File>) -> Result<(), Box<dyn Error>> {
    let (left, right) = (OpusFile::read(left)?.packets, OpusFile::read(right)?.packets);
    let mut writer = OpusWriter::pair(out, 1, &[("TITLE", "two parties")])?;
    for slot in 0..left.len().max(right.len()) {
        let at = |packets: &[bytes::Bytes]| packets.get(slot).cloned();
        writer.write_pair(at(&left).as_deref(), at(&right).as_deref())?;
    }
    writer.finish()?;
    Ok(())
}

fn wav(left: &[u8], right: &[u8], out: BufWriter<File>) -> Result<(), Box<dyn Error>> {
    let (first, second) = (Wav::read(left)?, Wav::read(right)?);
    if (first.encoding, first.sample_rate, 1, 1)
        != (second.encoding, second.sample_rate, first.channels, second.channels)
    {
        return Err("two files of one channel, one encoding and one rate".into());
    }
    let bytes = usize::from(first.encoding.bytes());
    let mut writer = WavWriter::new(out, first.encoding, 2, first.sample_rate)?;
    let (left, right) = (left[first.data].chunks(bytes), right[second.data].chunks(bytes));
    for (left, right) in left.zip(right) {
        writer.write(left)?;
        writer.write(right)?;
    }
    writer.finish()?;
    Ok(())
}
