//! Calls that go out by trunks: by one that can, and by another one where that could not.

use std::time::Instant;

use moqswitch_calls::{Cause, Number};
use moqswitch_sip::agent::{End, LegKey, NoTrunk, TrunkId};
use moqswitch_sip::sdp::{self, Direction};

use super::{Gateway, Stage};

/// A call on its way out.
pub(super) struct Outgoing {
    /// `trunk/…` of the dialplan.
    pub(super) way: Number,
    /// Who is called, as it is dialled here.
    pub(super) number: String,
    /// The number that calls, and its name for people.
    pub(super) from: (String, String),
    /// What came with the call and goes on.
    pub(super) headers: Vec<(String, String)>,
    pub(super) max_forwards: Option<u8>,
    pub(super) codecs: Vec<sdp::Codec>,
    /// By which it was tried.
    pub(super) tried: Vec<TrunkId>,
}

impl Gateway {
    /// Calls by the next trunk that can.
    pub(super) fn call_by_trunk(&mut self, outgoing: &mut Outgoing, offer: &str) -> Result<(LegKey, TrunkId), Cause> {
        loop {
            let trunk = self.trunks.choose(&outgoing.way, &outgoing.tried).map_err(cause_of)?;
            outgoing.tried.push(trunk);
            let number = self.trunks.write(trunk, &outgoing.number);
            let from = (self.trunks.write(trunk, &outgoing.from.0), outgoing.from.1.clone());
            let Some(mut call) = self.agent.trunk_call(trunk, &number, from, offer.to_owned()) else {
                continue;
            };
            call.headers.clone_from(&outgoing.headers);
            call.max_forwards = outgoing.max_forwards;
            let key = self.agent.call(Instant::now(), call).map_err(|error| {
                tracing::warn!(%error, "a call by a trunk");
                Cause::Congestion
            })?;
            self.trunks.begin(trunk);
            return Ok((key, trunk));
        }
    }

    /// A trunk could not. True: another one is being tried.
    pub(super) fn call_by_another(&mut self, key: LegKey, end: &End) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let Some(trunk) = call.trunk.take() else { return false };
        let is_to_go_on = self.trunks.end(trunk, end) && matches!(call.stage, Stage::Called);
        let Some(mut outgoing) = call.outgoing.take().filter(|_| is_to_go_on) else {
            return false;
        };
        let offer = call.session_description.offer(&outgoing.codecs, Direction::SendReceive);
        let Ok((next, trunk)) = self.call_by_trunk(&mut outgoing, &offer) else {
            return false;
        };
        let Some(mut call) = self.calls.remove(&key) else {
            return false;
        };
        tracing::info!(status = end.status, way = %outgoing.way, "SIP: a call goes by another trunk");
        call.outgoing = Some(outgoing);
        call.trunk = Some(trunk);
        if let Some(peer) = self.trunks.peer(trunk) {
            call.peer = peer;
        }
        if let Some(media) = call.media {
            self.streams.insert(media, next);
        }
        self.insert(next, call);
        true
    }
}

/// What callers are told, and fallbacks go by.
const fn cause_of(none: NoTrunk) -> Cause {
    match none {
        NoTrunk::Full => Cause::Congestion,
        NoTrunk::Tried | NoTrunk::Out(_) => Cause::Unreachable,
    }
}
