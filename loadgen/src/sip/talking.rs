//! Packets: sent on their schedule, and heard.

use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt;

use crate::engine::CallId;
use crate::model::{Purpose, random};
use crate::truth::interval::Measure;
use crate::truth::stamp;

use super::call::Holding;
use super::shard::{Due, Shard};
use super::stream::Read;
use super::way::Heard;

impl Shard {
    /// What a telephone says is due from here on.
    pub(super) fn begin_talking(&mut self, id: CallId, participant: u16) {
        let seed = self.parts.load.seed;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let end = &mut call.ends[usize::from(participant)];
        if std::mem::replace(&mut end.has_begun, true) {
            return;
        }
        // Spread, so that not all frames of a call are due at once.
        let mut spread = random(seed, Purpose::Behaviour, (u64::from(id) << 16) | u64::from(participant));
        end.way.begin(self.now_ns + spread.random_range(0..FRAME_NS));
        let next_ns = end.way.next_ns();
        self.at(next_ns, Due::Tick { call: id, participant });
    }

    /// A frame time has come.
    pub(super) fn tick(&mut self, id: CallId, participant: u16) {
        // The time at which it is handed over, not that at which this turn began.
        let handed_ns = self.parts.clock.ns(Instant::now());
        let Some(call) = self.calls.get_mut(&id) else { return };
        let is_silent = call.is_silent(participant);
        let is_ending = call.ending_ns.is_some();
        let end = &mut call.ends[usize::from(participant)];
        if is_ending && !end.stream.is_pressing() {
            return;
        }
        self.packet.clear();
        let is_key = end.stream.tick(&mut self.packet);
        match end.way.say(is_silent || is_key, &mut self.ledger) {
            Some(said) => {
                end.stream.write(&said.payload, &mut self.packet);
                let lag_ns = handed_ns.saturating_sub(said.intended_ns);
                self.ledger.at(said.intended_ns).record(Measure::Lag, lag_ns / 1000);
            }
            None => end.stream.pause(),
        }
        if let Some(to) = end.stream.to.filter(|_| !self.packet.is_empty()) {
            self.wire.send_rtp(end.stream.socket, to, &self.packet);
        }
        let next_ns = end.way.next_ns();
        self.at(next_ns, Due::Tick { call: id, participant });
    }

    /// Takes a frame that came by MoQ. Those of other shards, and of calls that are over, are none of ours.
    pub(super) fn hear_beside(&mut self, listener: usize, payload: &[u8]) {
        let Some(stamp) = stamp::read(payload) else { return };
        if let Some(call) = self.calls.get_mut(&stamp.call)
            && let Some(end) = call.ends.get_mut(usize::from(stamp.participant))
        {
            end.way
                .hear_beside(listener, stamp, payload.len(), self.now_ns, &mut self.ledger);
        }
    }

    /// Takes a packet that came.
    pub(super) fn hear_packet(&mut self, socket: usize, source: SocketAddr, datagram: &[u8]) {
        let ssrc = datagram.get(SSRC_AT..).and_then(<[u8]>::first_chunk::<4>);
        let own = ssrc.and_then(|ssrc| self.by_ssrc.get(&u32::from_be_bytes(*ssrc)));
        let found = own.or_else(|| self.by_source.get(&(socket, source))).copied();
        let found = found.and_then(|(id, listener)| Some((id, listener, self.calls.get_mut(&id)?)));
        let Some((id, listener, call)) = found else {
            self.ledger.at(self.now_ns).counts.sip.packets_foreign += 1;
            return;
        };
        let [first, second] = &mut call.ends;
        let (own, other) = match listener {
            0 => (first, second),
            _ => (second, first),
        };
        match own.stream.read(datagram) {
            Read::Nothing => {}
            Read::Foreign => self.ledger.at(self.now_ns).counts.sip.packets_foreign += 1,
            Read::Key(digit) => self.hear_key(id, listener, digit),
            Read::Speech(payload, number) => {
                if let Holding::Held { .. } = call.holding {
                    // What is none of the other's is music.
                    let bytes = stamp::read(payload).map_or(0, |_| payload.len());
                    self.ledger.at(self.now_ns).counts.phones.held_bytes += bytes as u64;
                    return;
                }
                let sequence = own.stream.frame_of(number).and_then(|low| other.way.nearest(low));
                let heard = Heard {
                    payload,
                    sequence,
                    now_ns: self.now_ns,
                };
                let Some(frame) = other.way.hear(heard, &mut self.ledger) else {
                    return;
                };
                own.stream.learn(number, frame);
                if !own.has_heard && call.note_heard(listener, self.now_ns, &mut self.ledger) {
                    self.begin_behaviour(id);
                }
                self.look_at_hold(id);
            }
        }
    }
}

/// In the header of a packet (RFC 3550, section 5.1).
const SSRC_AT: usize = 8;
const FRAME_NS: u64 = 20_000_000;
