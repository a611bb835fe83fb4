//! What an announcement says of a broadcast: its generation, its route and what the route costs.

use bytes::BytesMut;

use crate::limits::HOPS_MAX;

use super::body::Body;
use super::{DecodeError, EncodeError, HopId, Version, varint};

/// What subscribing over a route costs. The draft 06 text has one cost, the released 06 two: the
/// path as it is cached at present (`warm`), and as if nothing were (`cold`). Decided by `warm`,
/// then `cold`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteCost {
    /// As the path is cached at present. 0 to 2^62-1; what is above is sent as 2^62-1.
    pub warm: u64,
    /// As if nothing on the path were cached. The same range.
    pub cold: u64,
}

/// The route and state of an announced broadcast (draft "ANNOUNCE_START").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// Generation of the content, 0 when unspecified. In the draft 06 text alone, never sent.
    pub epoch: u64,
    /// Complete content, to be fetched and not subscribed. In the draft 06 text alone, never sent.
    pub ended: bool,
    /// From the original publisher on; on 05 and 06 without the sender, whom ANNOUNCE_OK names.
    pub hops: Vec<HopId>,
    /// On the wire of 06 alone.
    pub cost: RouteCost,
}

impl RouteCost {
    /// The cost behind a link: saturating, so that an absurd value ranks last instead of wrapping
    /// round to best (draft "Route Cost").
    #[must_use]
    pub fn plus_link(self, link: u64) -> RouteCost {
        let add = |cost: u64| cost.saturating_add(link).min(varint::VALUE_MAX);
        RouteCost {
            warm: add(self.warm),
            cold: add(self.cold),
        }
    }

    fn put(self, out: &mut BytesMut) -> Result<(), EncodeError> {
        varint::put(out, self.warm.min(varint::VALUE_MAX))?;
        varint::put(out, self.cold.min(varint::VALUE_MAX))
    }

    fn get(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            warm: body.integer()?,
            cold: body.integer()?,
        })
    }
}

impl Advertisement {
    /// `Hop Count (i) | Hop ID (i) ... | Warm Cost (i) | Cold Cost (i)`: released 06.
    pub(super) fn put_released(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_hops(Version::Lite06, out, &self.hops)?;
        self.cost.put(out)
    }

    pub(super) fn get_released(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let hops = get_hops(Version::Lite06, body)?;
        Ok(Self {
            hops,
            cost: RouteCost::get(body)?,
            ..Self::default()
        })
    }

    /// `Epoch (i) | Ended (i) | Hop Count (i) | Hop ID (i) ... | Route Cost (i)`: draft 06
    /// "ANNOUNCE_START" and "ANNOUNCE_UPDATE".
    ///
    /// With Epoch 0 it always has more integers than the released form, so the two are told apart
    /// by their number; with an Epoch that is Hop Count + 1 they are not, but an Epoch made as the
    /// draft recommends is far above any hop count.
    pub(super) fn get_draft(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let epoch = body.integer()?;
        let ended = body.flag("Ended that is neither 0 nor 1")?;
        let hops = get_hops(Version::Lite06, body)?;
        let cost = body.integer()?;
        Ok(Self {
            epoch,
            ended,
            hops,
            cost: RouteCost { warm: cost, cold: cost },
        })
    }
}

/// Whether peers accept this chain of hops. The released peers close a session over a chain that
/// is too long or names a hop twice (a loop), so such a chain is neither accepted nor sent.
/// Unknown hops may repeat: they match nothing (draft "Routing").
pub fn is_hop_chain_valid(hops: &[HopId]) -> bool {
    let repeats =
        |(index, hop): (usize, &HopId)| !hop.is_unknown() && hops.iter().take(index).any(|earlier| earlier == hop);
    hops.len() <= HOPS_MAX && !hops.iter().enumerate().any(repeats)
}

/// 04 and later: `Hop Count (i) | Hop ID (i) ...`. On 03 the count alone.
pub(super) fn put_hops(version: Version, out: &mut BytesMut, hops: &[HopId]) -> Result<(), EncodeError> {
    if hops.len() > HOPS_MAX {
        return Err(EncodeError::TooLarge("hop count"));
    }
    varint::put(out, hops.len() as u64)?;
    if version == Version::Lite03 {
        return Ok(());
    }
    if !is_hop_chain_valid(hops) {
        return Err(EncodeError::Invalid("hop twice in a chain"));
    }
    hops.iter().try_for_each(|hop| varint::put(out, hop.0))
}

pub(super) fn get_hops(version: Version, body: &mut Body<'_>) -> Result<Vec<HopId>, DecodeError> {
    let count = usize::try_from(body.integer()?).unwrap_or(usize::MAX);
    if count > HOPS_MAX {
        return Err(DecodeError::TooLarge("hop count"));
    }
    if version == Version::Lite03 {
        return Ok(vec![HopId::UNKNOWN; count]);
    }
    let mut hops = Vec::with_capacity(count);
    for _ in 0..count {
        hops.push(HopId(body.integer()?));
    }
    if is_hop_chain_valid(&hops) {
        Ok(hops)
    } else {
        Err(DecodeError::Invalid("hop twice in a chain"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_chains_are_bounded_and_free_of_loops() {
        let chain = |ids: &[u64]| ids.iter().copied().map(HopId).collect::<Vec<_>>();
        assert!(is_hop_chain_valid(&[]));
        assert!(is_hop_chain_valid(&chain(&[0, 1, 0, 2, 0])));
        assert!(!is_hop_chain_valid(&chain(&[1, 2, 1])));
        assert!(is_hop_chain_valid(&[HopId::UNKNOWN; HOPS_MAX]));
        assert!(!is_hop_chain_valid(&[HopId::UNKNOWN; HOPS_MAX + 1]));
    }

    #[test]
    fn link_costs_saturate() {
        let cost = RouteCost {
            warm: 0,
            cold: varint::VALUE_MAX,
        };
        assert_eq!(
            cost.plus_link(3),
            RouteCost {
                warm: 3,
                cold: varint::VALUE_MAX
            }
        );
        assert_eq!(cost.plus_link(u64::MAX).warm, varint::VALUE_MAX);
        let mut out = BytesMut::new();
        RouteCost {
            warm: u64::MAX,
            cold: u64::MAX,
        }
        .put(&mut out)
        .unwrap();
        assert_eq!(out[..], [0xff; 16]);
    }
}
