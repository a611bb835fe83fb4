//! Announcements of the peer, on announce streams that we opened.

use crate::wire::{
    Advertisement, Announce, AnnounceOk, BroadcastPath, ErrorCode, HopId, StreamId, advertisement, session_error,
    stream_error,
};

use super::inbound::Step;
use super::streams::{Announced, Stream};
use super::{Event, Session};

/// Why an announce stream is reset (draft, "Announce").
struct Refused(&'static str);

impl Session {
    pub(super) fn handle_announced(
        &mut self,
        stream: StreamId,
        mut announced: Box<Announced>,
        data: &[u8],
        fin: bool,
    ) -> Step {
        announced.inbox.push(data);
        loop {
            match self.next_announcement(stream, &mut announced) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Refused(reason)) => {
                    tracing::debug!(stream = stream.0, reason, "an announce stream was reset");
                    self.cancel_transport(stream, stream_error::INTERNAL);
                    self.end_announced(stream, *announced);
                    return Step::Done;
                }
            }
            if self.is_closed {
                self.end_announced(stream, *announced);
                return Step::Done;
            }
        }
        if !fin {
            return Step::Keep(Stream::Announced(announced));
        }
        self.write(stream, bytes::Bytes::new(), true);
        self.end_announced(stream, *announced);
        Step::Done
    }

    /// Handles one message, if a whole one is there.
    fn next_announcement(&mut self, stream: StreamId, announced: &mut Announced) -> Result<bool, Refused> {
        let version = self.config.version;
        if version.has_announce_ok() && announced.hop.is_none() {
            let ok = announced
                .inbox
                .take(|bytes| AnnounceOk::decode(version, bytes))
                .map_err(|_| Refused("no ANNOUNCE_OK first"))?;
            announced.hop = ok.map(|ok| ok.hop);
            return Ok(announced.hop.is_some());
        }
        let message = announced
            .inbox
            .take(|bytes| Announce::decode(version, bytes))
            .map_err(|_| Refused("a malformed announcement"))?;
        match message {
            None => return Ok(false),
            Some(Announce::Start { suffix, advertisement }) => {
                self.handle_start(stream, announced, &suffix, advertisement)?;
            }
            Some(Announce::Update { id, advertisement }) => {
                let path = announced
                    .by_id
                    .get(&id)
                    .cloned()
                    .ok_or(Refused("an update of no live announcement"))?;
                self.tell_announced(stream, announced, path, advertisement, true);
            }
            Some(Announce::EndId { id }) => {
                let path = announced
                    .by_id
                    .remove(&id)
                    .ok_or(Refused("an end of no live announcement"))?;
                announced.ids.remove(&path);
                self.tell_ended(stream, path);
            }
            Some(Announce::EndSuffix { suffix }) => {
                let path = announced.prefix.join(&suffix);
                // Drafts up to 05 retract by path; what is not there needs no retracting.
                if let Some(id) = announced.ids.remove(&path) {
                    announced.by_id.remove(&id);
                    self.tell_ended(stream, path);
                }
            }
            Some(Announce::Unknown { .. }) => {}
        }
        Ok(true)
    }

    fn handle_start(
        &mut self,
        stream: StreamId,
        announced: &mut Announced,
        suffix: &BroadcastPath,
        advertisement: Advertisement,
    ) -> Result<(), Refused> {
        let path = announced.prefix.join(suffix);
        if !path.is_within_limits() {
            return Err(Refused("a path longer than allowed"));
        }
        if announced.ids.contains_key(&path) {
            // 06: a violation. Before it a second one replaces the first, and 05 sends
            // route changes so.
            if self.config.version.has_announce_ids() {
                return Err(Refused("a second start for a live path"));
            }
            self.tell_announced(stream, announced, path, advertisement, true);
            return Ok(());
        }
        if self.announced >= self.config.limits.announced_max {
            self.violate(
                session_error::INTERNAL,
                "more broadcasts announced than this relay keeps",
            );
            return Ok(());
        }
        let id = announced.next_id;
        announced.next_id += 1;
        announced.by_id.insert(id, path.clone());
        announced.ids.insert(path.clone(), id);
        self.announced += 1;
        self.tell_announced(stream, announced, path, advertisement, false);
        Ok(())
    }

    fn tell_announced(
        &mut self,
        stream: StreamId,
        announced: &Announced,
        path: BroadcastPath,
        mut advertisement: Advertisement,
        is_replacement: bool,
    ) {
        // 05 and later: the path of hops ends with the hop of ANNOUNCE_OK.
        if let Some(hop) = announced.hop {
            advertisement.hops.push(hop);
        }
        // Draft, "Routing": what passed through us before is neither forwarded nor a route.
        // An announcement that turns into one is as good as gone.
        let own = self.config.hop;
        let is_reflected = own != HopId::UNKNOWN && advertisement.hops.contains(&own);
        if is_reflected || !advertisement::is_hop_chain_valid(&advertisement.hops) {
            self.reflected += 1;
            if is_replacement {
                self.events.push_back(Event::Unannounced { stream, path });
            }
            return;
        }
        self.events.push_back(if is_replacement {
            Event::AnnounceReplaced {
                stream,
                path,
                advertisement,
            }
        } else {
            Event::Announced {
                stream,
                path,
                advertisement,
            }
        });
    }

    fn tell_ended(&mut self, stream: StreamId, path: BroadcastPath) {
        self.announced -= 1;
        self.events.push_back(Event::Unannounced { stream, path });
    }

    /// Draft, "Announce": when the stream is closed, all of it is unavailable.
    pub(super) fn end_announced(&mut self, stream: StreamId, announced: Announced) {
        for path in announced.ids.into_keys() {
            self.tell_ended(stream, path);
        }
        self.events.push_back(Event::AnnounceStreamEnded { stream });
    }

    /// Ends both directions of a stream.
    pub(super) fn cancel_transport(&mut self, stream: StreamId, code: ErrorCode) {
        self.reset(stream, code);
        self.stop_sending(stream, code);
    }
}
