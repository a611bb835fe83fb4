//! Calls that go out by trunks: by one that can, and by another one where that could not.

use std::time::Instant;

use moqswitch_calls::{Cause, Number};
use moqswitch_sip::agent::{End, LegKey, NoTrunk, TrunkId};
use moqswitch_sip::flow::Transport;
use moqswitch_sip::sdp::{self, Direction};

use super::{Again, Call, Gateway, Stage};

/// A call on its way out.
pub(super) struct Outgoing {
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
    /// Calls by the next trunk that can, as that wants it.
    pub(super) fn call_by_trunk(
        &mut self,
        call: &mut Call,
        way: Number,
        mut outgoing: Outgoing,
    ) -> Result<LegKey, Cause> {
        loop {
            let trunk = self.trunks.choose(&way, &outgoing.tried).map_err(cause_of)?;
            outgoing.tried.push(trunk);
            let number = self.trunks.write(trunk, &outgoing.number);
            let from = (self.trunks.write(trunk, &outgoing.from.0), outgoing.from.1.clone());
            let address = call.session_description.local().address;
            let secrecy = self.secrecy(Some(trunk), Transport::Udp);
            let mut description = self.new_description(address);
            secrecy.arm_called(&mut description);
            let offer = description.offer(&outgoing.codecs, Direction::SendReceive);
            let Some(mut sent) = self.agent.trunk_call(trunk, &number, from, offer) else {
                continue;
            };
            sent.headers.clone_from(&outgoing.headers);
            sent.max_forwards = outgoing.max_forwards;
            call.again = secrecy.may_do_without().then(|| {
                Box::new(Again {
                    sent: sent.clone(),
                    codecs: outgoing.codecs.clone(),
                })
            });
            let key = self.agent.call(Instant::now(), sent).map_err(|error| {
                tracing::warn!(%error, "a call by a trunk");
                Cause::Congestion
            })?;
            self.trunks.begin(trunk);
            (call.secrecy, call.session_description) = (secrecy, description);
            if let Some(peer) = self.trunks.peer(trunk) {
                call.peer = peer;
            }
            call.trunk = Some(trunk);
            call.outgoing = Some(Box::new((way, outgoing)));
            return Ok(key);
        }
    }

    /// A trunk could not. True: another one is being tried.
    pub(super) fn call_by_another(&mut self, key: LegKey, end: &End) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let Some(trunk) = call.trunk.take() else { return false };
        let is_to_go_on = self.trunks.end(trunk, end) && matches!(call.stage, Stage::Called);
        let outgoing = call.outgoing.take().filter(|_| is_to_go_on);
        let Some((way, outgoing)) = outgoing.map(|outgoing| *outgoing) else {
            return false;
        };
        let Some(mut call) = self.calls.remove(&key) else {
            return false;
        };
        let Ok(next) = self.call_by_trunk(&mut call, way, outgoing) else {
            // It ends as what was tried last.
            self.calls.insert(key, call);
            return false;
        };
        tracing::info!(status = end.status, "SIP: a call goes by another trunk");
        self.move_call(key, next, call);
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
