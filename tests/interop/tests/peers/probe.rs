//! A Probe Stream is answered with what the relay knows of the path (draft, "Probe").

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::raw_peer::FIRST_BIDI;
use moqswitch_interop::{Case, Draft, RawPeer, run_matrix};

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_answered_and_goes_on() {
    run_matrix(&same_draft(&Draft::ALL), LIMIT, probe).await;
}

/// The released peers open the stream with its type and say nothing on it.
async fn probe(mut case: Case) -> Result<()> {
    let mut peer = RawPeer::connect(case.relay.udp(), case.subscriber_draft, &mut case.random).await?;
    peer.send(FIRST_BIDI, &[PROBE_STREAM], false).await?;
    let mut received = Vec::new();
    let mut scratch = vec![0; 2048];
    let two_reports = |connection: &mut quiche::Connection| {
        while let Ok((length, _)) = connection.stream_recv(FIRST_BIDI, &mut scratch) {
            received.extend_from_slice(&scratch[..length]);
        }
        reports(&received).filter(|reports| reports.len() >= 2)
    };
    let reports = peer
        .drive_until(Duration::from_secs(10), two_reports)
        .await?
        .context("no two reports in time")?;
    for report in reports {
        // A bitrate, and from 04 on a round-trip time in milliseconds that is not zero.
        let fields = if case.subscriber_draft == Draft::Lite03 { 1 } else { 2 };
        ensure!(report.len() == fields, "{report:?}");
        ensure!(report.get(1) != Some(&0), "{report:?}");
    }
    Ok(())
}

/// PROBE messages as their fields, or `None` when the last one is not whole.
fn reports(mut bytes: &[u8]) -> Option<Vec<Vec<u64>>> {
    let mut reports = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(integer(&mut bytes)?).ok()?;
        let mut body = bytes.get(..length)?;
        bytes = &bytes[length..];
        let mut fields = Vec::new();
        while !body.is_empty() {
            fields.push(integer(&mut body)?);
        }
        reports.push(fields);
    }
    Some(reports)
}

/// A variable-length integer of RFC 9000, section 16.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let length = 1 << (bytes.first()? >> 6);
    let (field, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let value = field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some(value & (u64::MAX >> (66 - 8 * length)))
}

const PROBE_STREAM: u8 = 4;
const LIMIT: Duration = Duration::from_secs(60);
