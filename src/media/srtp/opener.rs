//! Takes what comes, if it is authentic and has not come before.

use std::fmt;

use super::header::{Header, control_source};
use super::index::{INDEX_MAX, Window, candidates};
use super::key::Key;
use super::transform::Keys;

/// Opens the packets of one peer: of a few sources, since a peer may change its source in a call.
pub struct Opener {
    keys: Keys,
    mki: Vec<u8>,
    /// The one that was heard last is the last.
    pub(super) sources: Vec<Source>,
}

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is no packet of SRTP or SRTCP.
    #[error("it is no packet")]
    Malformed,
    /// It has come before, or is too old for that to be known; or it is not authentic, with the number of one that has come.
    #[error("it has come before")]
    Repeated,
    /// It is of somebody who does not have the key.
    #[error("it is not authentic")]
    Unauthentic,
}

/// One source of the peer.
pub(super) struct Source {
    ssrc: u32,
    rtp: Option<Window>,
    rtcp: Option<Window>,
    /// How far it was under another key.
    former: Option<u64>,
}

impl Opener {
    /// Of a peer that has not been heard.
    pub fn new(key: &Key) -> Self {
        Self {
            keys: Keys::new(key),
            mki: key.mki().to_vec(),
            sources: Vec::new(),
        }
    }

    /// Of a peer that has changed its key. Its numbers go on (RFC 3711, section 3.3.1), or begin anew, as those of many do.
    pub fn after(key: &Key, before: &Self) -> Self {
        let of_before = |source: &Source| Source {
            ssrc: source.ssrc,
            rtp: None,
            rtcp: None,
            former: source.rtp.map(|window| window.highest()).or(source.former),
        };
        Self {
            sources: before.sources.iter().map(of_before).collect(),
            ..Self::new(key)
        }
    }

    /// The packet of RTP that is in a datagram, in place of what `out` has.
    ///
    /// # Errors
    /// [`Unopened`]; what `out` has then does not matter.
    pub fn open_rtp(&mut self, datagram: &[u8], out: &mut Vec<u8>) -> Result<(), Unopened> {
        let header = Header::read(datagram).ok_or(Unopened::Malformed)?;
        let Header { bytes, ssrc, sequence } = header;
        let source = self.source(ssrc);
        let window = source.and_then(|source| source.rtp);
        let likely = match (window, source.and_then(|source| source.former)) {
            (Some(window), _) => {
                let [first, second] = candidates(window.highest(), sequence);
                [first, second, None]
            }
            (None, former) => first_candidates(former, sequence),
        };
        let is_admitted = |index: &u64| window.is_none_or(|window| window.admits(*index));
        let fresh = likely.into_iter().flatten().filter(is_admitted);
        let opened = self.keys.rtp.open_rtp(datagram, &self.mki, bytes, ssrc, fresh, out);
        let index = opened.ok_or(match likely.iter().flatten().all(is_admitted) {
            true => Unopened::Unauthentic,
            false => Unopened::Repeated,
        })?;
        note(&mut self.heard(ssrc).rtp, index);
        Ok(())
    }

    /// The packet of RTCP that is in a datagram, in place of what `out` has.
    ///
    /// # Errors
    /// [`Unopened`]; what `out` has then does not matter.
    pub fn open_rtcp(&mut self, datagram: &[u8], out: &mut Vec<u8>) -> Result<(), Unopened> {
        let ssrc = control_source(datagram).ok_or(Unopened::Malformed)?;
        let keys = &self.keys.rtcp;
        let index = keys.control_index(datagram, &self.mki).ok_or(Unopened::Malformed)?;
        let window = self.source(ssrc).and_then(|source| source.rtcp);
        if window.is_some_and(|window| !window.admits(index.into())) {
            return Err(Unopened::Repeated);
        }
        if !keys.open_rtcp(datagram, &self.mki, ssrc, index, out) {
            return Err(Unopened::Unauthentic);
        }
        note(&mut self.heard(ssrc).rtcp, index.into());
        Ok(())
    }

    fn source(&self, ssrc: u32) -> Option<&Source> {
        self.sources.iter().rev().find(|source| source.ssrc == ssrc)
    }

    /// A source of which something authentic came.
    fn heard(&mut self, ssrc: u32) -> &mut Source {
        let last = self.sources.len().wrapping_sub(1);
        let source = match self.sources.iter().rposition(|source| source.ssrc == ssrc) {
            Some(at) if at == last => return &mut self.sources[at],
            Some(at) => self.sources.remove(at),
            None => Source {
                ssrc,
                rtp: None,
                rtcp: None,
                former: None,
            },
        };
        if self.sources.len() >= SOURCES_MAX {
            self.sources.remove(0);
        }
        self.sources.push(source);
        let last = self.sources.len() - 1;
        &mut self.sources[last]
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Opener")
            .field("sources", &self.sources.len())
            .finish_non_exhaustive()
    }
}

/// What the number of the first packet of a source may stand for: itself, what it was under another key, or one turn more,
/// where the first packets did not come.
fn first_candidates(former: Option<u64>, sequence: u16) -> [Option<u64>; 3] {
    let first = u64::from(sequence);
    let is_early = sequence < 1 << 15;
    let further = is_early.then_some(first + (1 << 16));
    let [goes_on, _] = former.map_or([None; 2], |former| candidates(former, sequence));
    let goes_on = goes_on.filter(|index| *index != first && *index <= INDEX_MAX);
    [
        Some(first),
        goes_on,
        further.filter(|further| Some(*further) != goes_on),
    ]
}

fn note(window: &mut Option<Window>, index: u64) {
    match window {
        Some(window) => window.note(index),
        None => *window = Some(Window::new(index)),
    }
}

/// Sources of one peer that are remembered. With a further one that which was not heard for the longest is forgotten, and
/// old packets of it could be played again.
pub const SOURCES_MAX: usize = 16;
