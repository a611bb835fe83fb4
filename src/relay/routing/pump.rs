//! Media out: one peer's connection is given what it takes now, the most important first.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use moqswitch_proto::wire::{ErrorCode, FrameForm, GroupHeader, StreamId, Transcoder, Written, stream_error};

use super::action::Action;
use super::egress::{Egress, EgressStatistics, Out, OutState, Requested, Serves};
use super::group::{Group, Progress};
use super::ids::{PeerKey, RequestKey};
use super::tracks::Tracks;
use super::transport::Transport;

/// What became of one cursor's turn.
enum Outcome {
    /// All there is was sent; more may come.
    Idle,
    /// The group is sent whole.
    Complete,
    /// The stream takes no more now.
    Blocked,
    /// The connection takes no more now.
    ConnectionBlocked,
    /// No stream could be opened.
    Unopened,
    /// The group cannot be sent to its end.
    GivenUp(ErrorCode),
    /// The peer does not want it.
    Stopped,
}

impl Tracks {
    /// Sends what the transport takes now. Called at the end of a turn, so that what came
    /// in the turn leaves together.
    pub fn pump(&mut self, peer: PeerKey, transport: &mut impl Transport) {
        let Some(egress) = self.peers.get_mut(peer) else {
            return;
        };
        for (stream, code) in egress.drain_resets() {
            transport.reset(stream, code);
        }
        if egress.has_datagrams() {
            self.send_datagrams(peer, transport);
        }
        // Groups with a stream go on when no further one can be opened.
        let mut may_open = true;
        while !transport.connection_blocked() {
            let Some(index) = self.peers.get(peer).and_then(|egress| egress.best(may_open)) else {
                return;
            };
            match self.send_one(peer, index, transport) {
                Outcome::Unopened => may_open = false,
                outcome => self.settle(peer, index, outcome, transport),
            }
        }
        if let Some(egress) = self.peers.get_mut(peer) {
            egress.mark_behind();
        }
    }

    /// A stream that was blocked takes more.
    pub fn handle_writable(&mut self, peer: PeerKey, stream: StreamId) {
        if let Some(egress) = self.peers.get_mut(peer) {
            egress.unblock(stream);
        }
    }

    /// The connection heard from its peer: capacity or stream credit may have come.
    pub fn handle_progress(&mut self, peer: PeerKey) {
        if self.peers.get(peer).is_some_and(Egress::has_ready) {
            self.peers.mark_dirty(peer);
        }
    }

    /// The peer stopped a stream that we send a group on.
    pub fn handle_stop_sending(&mut self, peer: PeerKey, stream: StreamId) {
        let Some(index) = self.peers.get(peer).and_then(|egress| egress.on_stream(stream)) else {
            return;
        };
        self.finish_out(peer, index);
    }

    fn send_one(&mut self, peer: PeerKey, index: u32, transport: &mut impl Transport) -> Outcome {
        let Some(out) = self.peers.get(peer).and_then(|egress| egress.out(index)) else {
            return Outcome::Stopped;
        };
        if let Some(code) = self.reason_to_give_up(out) {
            return Outcome::GivenUp(code);
        }
        let Self {
            peers, groups, sent, ..
        } = self;
        let Some(egress) = peers.get_mut(peer) else {
            return Outcome::Stopped;
        };
        let form = egress.version().frame_form();
        let Some(out) = egress.out_mut(index) else {
            return Outcome::Stopped;
        };
        let Some(group) = groups.get(out.group) else {
            return Outcome::GivenUp(stream_error::EVICTED);
        };
        let mut opened = None;
        let frames = sent.frames;
        let outcome = write_group(out, group, form, &mut opened, transport, sent);
        if let Some(counted) = group.counted() {
            counted.deliver(sent.frames - frames);
        }
        out.is_behind = matches!(outcome, Outcome::Blocked | Outcome::ConnectionBlocked);
        if let Outcome::Unopened = outcome {
            out.rewind();
        }
        // A group that was sent whole at once needs no place among those that go on.
        if let (Some(stream), Outcome::Idle | Outcome::Blocked | Outcome::ConnectionBlocked) = (opened, &outcome) {
            egress.open(index, stream);
        }
        outcome
    }

    /// Why a cursor's group is not to be sent any more.
    fn reason_to_give_up(&self, out: &Out) -> Option<ErrorCode> {
        let group = match self.groups.get(out.group) {
            Some(group) => group,
            None => return Some(stream_error::EVICTED),
        };
        if let Progress::Aborted(code) = group.progress() {
            return Some(code);
        }
        let Serves::Subscription { track, slot, .. } = out.serves else {
            return None;
        };
        if self.is_spared(track, out) {
            return None;
        }
        let max_latency = self
            .track(track)
            .and_then(|track| track.subscription(slot))
            .map_or(Duration::ZERO, |subscription| subscription.max_latency());
        self.is_expired(track, out.group, max_latency)
            .then_some(stream_error::DELIVERY_TIMEOUT)
    }

    fn settle(&mut self, peer: PeerKey, index: u32, outcome: Outcome, transport: &mut impl Transport) {
        match outcome {
            Outcome::Idle => self.set_out_state(peer, index, OutState::Idle),
            Outcome::Blocked => self.set_out_state(peer, index, OutState::Blocked),
            Outcome::Complete | Outcome::Stopped => self.finish_out(peer, index),
            Outcome::GivenUp(code) => self.give_up(peer, index, code, transport),
            // It stays ready.
            Outcome::ConnectionBlocked | Outcome::Unopened => {}
        }
    }

    fn set_out_state(&mut self, peer: PeerKey, index: u32, state: OutState) {
        if let Some(egress) = self.peers.get_mut(peer) {
            egress.set_state(index, state);
        }
    }

    /// Resets a group's stream, or tells that it will not come when it has none.
    fn give_up(&mut self, peer: PeerKey, index: u32, code: ErrorCode, transport: &mut impl Transport) {
        let Some(out) = self.peers.get(peer).and_then(|egress| egress.out(index)) else {
            return;
        };
        let (stream, serves, sequence) = (out.stream, out.serves, out.sequence);
        self.sent.count_given_up(code);
        match (stream, serves) {
            (Some(stream), Serves::Subscription { .. }) => transport.reset(stream, code),
            (None, Serves::Subscription { track, slot, .. }) => self.tell_drop(track, slot, sequence, sequence, code),
            (_, Serves::Fetch(RequestKey { peer, request })) => {
                self.peers.remove_request(RequestKey { peer, request });
                self.decisions.push(Action::Refuse { peer, request, code });
            }
        }
        self.finish_out(peer, index);
    }

    /// A cursor has done its work, or lost its purpose.
    fn finish_out(&mut self, peer: PeerKey, index: u32) {
        let Some(out) = self.peers.get_mut(peer).and_then(|egress| egress.remove(index)) else {
            return;
        };
        self.forget_reader(out.group, peer, index as usize);
        match out.serves {
            Serves::Subscription { track, slot, .. } => {
                if let Some(subscription) = self.track_mut(track).and_then(|track| track.subscription_mut(slot)) {
                    subscription.remove_out(index);
                    self.finish_if_done(track, slot);
                }
            }
            Serves::Fetch(key) => {
                if let Some(Requested::Fetched { .. }) = self.peers.remove_request(key) {
                    self.decisions.push(Action::Fetched {
                        peer: key.peer,
                        request: key.request,
                    });
                }
            }
        }
    }
}

/// Writes chunks of a group from the cursor on, to a stream `opened` for them if it has none.
fn write_group(
    out: &mut Out,
    group: &Group,
    form: FrameForm,
    opened: &mut Option<StreamId>,
    transport: &mut impl Transport,
    sent: &mut EgressStatistics,
) -> Outcome {
    let has_ended = group.progress() == Progress::Ended;
    loop {
        fill(out, group, form);
        let is_last = out.chunk + 1 >= group.chunks().len();
        let empty = Bytes::new();
        let (piece, is_end) = match next_piece(out, group) {
            Some(piece) => (piece, has_ended && is_last && out.pieces.len() <= 1),
            // Everything there is was sent; an end that came later goes by itself.
            None if has_ended => (&empty, true),
            None if out.stream.or(*opened).is_some() => return Outcome::Idle,
            None => (&empty, false),
        };
        let offset = out.offset.min(piece.len());
        let length = piece.len() - offset;
        let written = match out.stream.or(*opened) {
            Some(stream) => transport.write(stream, piece.slice(offset..), is_end),
            None => {
                let begun =
                    header(out).and_then(|header| transport.open_group(&header, &begins(piece, offset), is_end));
                let Some((stream, written)) = begun else {
                    return Outcome::Unopened;
                };
                *opened = Some(stream);
                written
            }
        };
        match written {
            Written::All => advance(out, group, length, sent),
            Written::Partial(taken) => {
                advance_within(out, taken);
                return Outcome::Blocked;
            }
            Written::Blocked | Written::NoStreamCredit => return Outcome::ConnectionBlocked,
            Written::Stopped(_) => return Outcome::Stopped,
        }
        if is_end {
            return Outcome::Complete;
        }
    }
}

/// What a group's stream begins with; a fetched one is behind its request.
fn header(out: &Out) -> Option<GroupHeader> {
    match out.serves {
        Serves::Subscription { id, .. } => Some(GroupHeader {
            subscribe: id,
            sequence: out.sequence,
            frame_start: out.frames.0,
        }),
        Serves::Fetch(_) => None,
    }
}

/// Rewrites the next chunk when the subscriber's draft frames differently, or wants only
/// some frames.
fn fill(out: &mut Out, group: &Group, form: FrameForm) {
    while out.pieces.is_empty()
        && let Some(chunk) = group.chunks().get(out.chunk)
    {
        let (start, end) = out.frames;
        if out.transcoder.is_none() {
            let transcoder = Transcoder::new(form, start, end);
            if transcoder.is_identity(chunk.form) {
                return;
            }
            out.transcoder = Some(Box::new(transcoder));
        }
        let Out { transcoder, pieces, .. } = out;
        if let Some(transcoder) = transcoder {
            transcoder.push(chunk, &mut |piece| pieces.push_back(piece));
        }
        if pieces.is_empty() {
            // Nothing of this chunk is wanted.
            out.chunk += 1;
        }
    }
}

/// Of which what is behind `out.offset` was not sent.
fn next_piece<'a>(out: &'a Out, group: &'a Group) -> Option<&'a Bytes> {
    if out.transcoder.is_some() {
        return out.pieces.front();
    }
    Some(&group.chunks().get(out.chunk)?.bytes)
}

/// A group's stream begins with the whole of a piece, but where one could not be opened in the middle of it.
fn begins(piece: &Bytes, offset: usize) -> Cow<'_, Bytes> {
    match offset {
        0 => Cow::Borrowed(piece),
        offset => Cow::Owned(piece.slice(offset..)),
    }
}

/// A piece was taken whole.
fn advance(out: &mut Out, group: &Group, length: usize, sent: &mut EgressStatistics) {
    out.offset = 0;
    if length == 0 && out.pieces.is_empty() && out.chunk >= group.chunks().len() {
        return;
    }
    if out.transcoder.is_some() {
        out.pieces.pop_front();
        if !out.pieces.is_empty() {
            return;
        }
    }
    if let Some(chunk) = group.chunks().get(out.chunk) {
        sent.count_frames(chunk.marks.len());
    }
    out.chunk += 1;
}

fn advance_within(out: &mut Out, taken: usize) {
    out.offset += taken;
}
