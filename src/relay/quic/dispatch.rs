//! Received datagrams: to the connection they name, to a new one, or to a stateless answer.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use crate::limits::CONNECTION_ID_BYTES;
use crate::ratelimit::prefix;

use super::ZeroCopy;
use super::doorkeeper::Unproven;
use super::endpoint::{ConnectionKey, Endpoint};
use super::identity::IssuedId;

impl Endpoint {
    /// Takes one datagram; it is decrypted in place.
    pub fn handle_datagram(&mut self, datagram: &mut [u8], source: SocketAddr, local: SocketAddr, now: Instant) {
        if !self.handle_known(datagram, source, local, now) {
            self.handle_stranger(datagram, source, local, now);
        }
    }

    /// Takes one datagram of a connection that is here. False: it is of none, and was not touched.
    pub fn handle_known(&mut self, datagram: &mut [u8], source: SocketAddr, local: SocketAddr, now: Instant) -> bool {
        let Some(key) = self.connection_of(datagram) else {
            return false;
        };
        self.deliver(key, datagram, source, local, now);
        true
    }

    /// Takes one datagram of no connection that is here: it may begin one, or is answered without state, or dropped.
    pub fn handle_stranger(&mut self, datagram: &mut [u8], source: SocketAddr, local: SocketAddr, now: Instant) {
        let header = match quiche::Header::from_slice(datagram, CONNECTION_ID_BYTES) {
            Ok(header) => header,
            Err(error) => {
                self.statistics.malformed += 1;
                return self.notice(source, || format!("a datagram that is no QUIC packet: {error}"));
            }
        };
        // It may have begun since.
        if let Some(key) = self.find(&header.dcid) {
            return self.deliver(key, datagram, source, local, now);
        }
        self.handle_unknown(&header, datagram, source, local, now);
    }

    /// The connection that a datagram names, if it is here.
    pub fn connection_of(&self, datagram: &[u8]) -> Option<ConnectionKey> {
        self.find_short(datagram).or_else(|| self.find_long(datagram))
    }

    /// The connection of a packet with a long header (RFC 8999, section 5.1).
    fn find_long(&self, datagram: &[u8]) -> Option<ConnectionKey> {
        if datagram.first()? & LONG_HEADER == 0 {
            return None;
        }
        let (length, rest) = datagram.get(LONG_ID_AT..)?.split_first()?;
        self.find(rest.get(..usize::from(*length))?)
    }

    /// The connection of a packet with a short header, without parsing it further.
    fn find_short(&self, datagram: &[u8]) -> Option<ConnectionKey> {
        let (first, rest) = datagram.split_first()?;
        if first & LONG_HEADER != 0 {
            return None;
        }
        let id = rest.first_chunk::<CONNECTION_ID_BYTES>()?;
        self.issued.get(id).copied()
    }

    fn find(&self, id: &[u8]) -> Option<ConnectionKey> {
        let issued = IssuedId::try_from(id).ok().and_then(|id| self.issued.get(&id));
        issued.or_else(|| self.chosen.get(id)).copied()
    }

    /// The connection that a stateless reset is about: it names none, but ends with the token of one (RFC 9000, section
    /// 10.3.1).
    fn find_reset(&self, datagram: &[u8]) -> Option<ConnectionKey> {
        self.resets.get(datagram.last_chunk::<16>()?).copied()
    }

    fn deliver(
        &mut self,
        key: ConnectionKey,
        datagram: &mut [u8],
        source: SocketAddr,
        local: SocketAddr,
        now: Instant,
    ) {
        let (every, delay) = (self.options.transport.ack_every, self.options.transport.ack_delay);
        // Packets of a handshake are answered at once (RFC 9000, section 13.2.1).
        let is_long = datagram.first().is_some_and(|first| first & LONG_HEADER != 0);
        let Some(connection) = self.get_mut(key) else { return };
        let (result, has_moved) = connection.receive(datagram, source, local);
        let may_wait =
            connection.may_wait(datagram.len(), every, delay, now) && result.is_ok() && !has_moved && !is_long;
        let has_retired = connection.quic.retired_scids() > 0;
        let newly_established = !connection.announced_established && connection.quic.is_established();
        if let Err(error) = result
            && error != quiche::Error::Done
        {
            self.statistics.malformed += 1;
            self.notice(source, || format!("its connection failed: {error}"));
        }
        self.statistics.migrations += u64::from(has_moved);
        if has_retired {
            // At once: a late packet by a retired id must not reach quiche, which would close.
            self.replenish_ids(key);
        }
        if newly_established {
            self.on_established(key);
        }
        self.mark_ready(key);
        if !may_wait || newly_established {
            self.mark_dirty(key);
        } else if self.get_mut(key).is_some_and(|connection| !connection.is_dirty) {
            // Dirty ones are armed by the flush that follows.
            self.rearm(key, now);
        }
    }

    /// A packet for no connection that is here.
    fn handle_unknown(
        &mut self,
        header: &quiche::Header,
        datagram: &mut [u8],
        source: SocketAddr,
        local: SocketAddr,
        now: Instant,
    ) {
        if header.ty == quiche::Type::VersionNegotiation {
            // Never answered (RFC 9000, section 6.1).
            self.statistics.unknown_connection += 1;
            return;
        }
        if header.ty == quiche::Type::Short {
            self.statistics.unknown_connection += 1;
            if let Some(key) = self.find_reset(datagram) {
                if let Some(connection) = self.get_mut(key) {
                    connection.was_reset = true;
                }
                return self.deliver(key, datagram, source, local, now);
            }
            return self.reset_statelessly(&header.dcid, datagram.len(), source, local, now);
        }
        if self.server.is_none() {
            self.statistics.unknown_connection += 1;
            return;
        }
        // A client must fill its first datagrams (RFC 9000, section 14.1); answering
        // smaller ones would make an amplifier of us.
        if datagram.len() < quiche::MIN_CLIENT_INITIAL_LEN {
            self.statistics.malformed += 1;
            return self.notice(source, || "a first packet below 1200 bytes".into());
        }
        if !quiche::version_is_supported(header.version) {
            return self.negotiate_version(header, source, local, now);
        }
        if header.ty != quiche::Type::Initial {
            self.statistics.unknown_connection += 1;
            return;
        }
        self.accept(header, datagram, source, local, now);
    }

    fn accept(
        &mut self,
        header: &quiche::Header,
        datagram: &mut [u8],
        source: SocketAddr,
        local: SocketAddr,
        now: Instant,
    ) {
        if self.is_draining {
            return;
        }
        if self.connections.len() >= self.options.connections_max {
            self.statistics.refused_full += 1;
            self.is_crowded = true;
            return;
        }
        let prefix = prefix(source.ip());
        let held = self.by_prefix.get(&prefix).copied().unwrap_or_default();
        if held >= self.options.connections_per_address {
            self.statistics.refused_address += 1;
            return self.notice(source, || format!("its address has {held} connections"));
        }
        let token = header.token.as_deref().unwrap_or_default();
        let original = self.identity.open_retry_token(source, token, SystemTime::now());
        let is_crowded = self.handshaking >= self.options.retry_above || self.doorkeeper.is_suspicious(now);
        // What each address may have while there is too much to do is given to whoever is there.
        if original.is_none() && (is_crowded || self.is_overloaded) {
            return self.ask_for_retry(header, source, local, now);
        }
        if self.is_overloaded && !self.doorkeeper.may_be_told(source, now) {
            self.statistics.refused_overload += 1;
            return;
        }
        if !self.doorkeeper.may_begin(source, now) {
            self.statistics.refused_attempts += 1;
            return self.notice(source, || "too many attempts to connect".into());
        }
        let id = self.identity.connection_id();
        let scid = quiche::ConnectionId::from_ref(&id);
        let reset_token = u128::from_be_bytes(self.identity.reset_token(&id));
        let Some(config) = self.server.as_mut() else { return };
        // With the ids of a Retry it does not fit what quiche encodes parameters into.
        config.set_stateless_reset_token(original.is_none().then_some(reset_token));
        let accepted = match &original {
            Some(original) => quiche::accept_with_retry::<ZeroCopy>(
                &scid,
                quiche::RetryConnectionIds {
                    original_destination_cid: &quiche::ConnectionId::from_ref(original),
                    retry_source_cid: &header.dcid,
                },
                local,
                source,
                config,
            ),
            None => quiche::accept_with_buf_factory::<ZeroCopy>(&scid, None, local, source, config),
        };
        match accepted {
            Ok(quic) => {
                self.statistics.accepted += 1;
                let key = self.insert(quic, id, source, Some(header.dcid.to_vec()));
                *self.by_prefix.entry(prefix).or_default() += 1;
                if let Some(connection) = self.get_mut(key) {
                    connection.prefix = Some(prefix);
                }
                if original.is_none()
                    && let Some(connection) = self.get_mut(key)
                {
                    connection.unproven = Some(Unproven::default());
                }
                self.deliver(key, datagram, source, local, now);
            }
            Err(error) => {
                self.statistics.malformed += 1;
                self.notice(source, || format!("could not be accepted: {error}"));
            }
        }
    }

    /// RFC 9000, section 6.1: tell a client of an unknown version which ones are spoken.
    fn negotiate_version(&mut self, header: &quiche::Header, source: SocketAddr, local: SocketAddr, now: Instant) {
        if !self.doorkeeper.may_answer(now) {
            self.statistics.unanswered += 1;
            return self.notice(source, || "too many answers were due: it got none".into());
        }
        let mut answer = vec![0; STATELESS_BYTES_MAX];
        if let Ok(length) = quiche::negotiate_version(&header.scid, &header.dcid, &mut answer) {
            answer.truncate(length);
            self.statistics.version_negotiations += 1;
            self.queue_stateless(source, local, answer);
        }
    }

    fn ask_for_retry(&mut self, header: &quiche::Header, source: SocketAddr, local: SocketAddr, now: Instant) {
        if !self.doorkeeper.may_retry(now) {
            self.statistics.unanswered += 1;
            return;
        }
        let token = self.identity.retry_token(source, &header.dcid, SystemTime::now());
        let id = self.identity.connection_id();
        let id = quiche::ConnectionId::from_ref(&id);
        let mut answer = vec![0; STATELESS_BYTES_MAX];
        let written = quiche::retry(&header.scid, &header.dcid, &id, &token, header.version, &mut answer);
        if let Ok(length) = written {
            answer.truncate(length);
            self.statistics.retries += 1;
            self.queue_stateless(source, local, answer);
        }
    }

    /// RFC 9000, section 10.3.
    fn reset_statelessly(&mut self, id: &[u8], length: usize, source: SocketAddr, local: SocketAddr, now: Instant) {
        if !self.doorkeeper.may_answer(now) {
            self.statistics.unanswered += 1;
            return self.notice(source, || "too many answers were due: it got none".into());
        }
        let mut answer = vec![0; STATELESS_BYTES_MAX];
        if let Some(length) = self.identity.stateless_reset(id, length, &mut answer) {
            answer.truncate(length);
            self.statistics.stateless_resets += 1;
            self.queue_stateless(source, local, answer);
        }
    }

    /// Queues a datagram that belongs to no connection; when too many wait it is dropped,
    /// as the network might have done.
    fn queue_stateless(&mut self, destination: SocketAddr, local: SocketAddr, datagram: Vec<u8>) {
        if self.stateless.len() < STATELESS_QUEUE_MAX {
            self.stateless.push_back((destination, local.ip(), datagram));
        }
    }
}

const LONG_HEADER: u8 = 0x80;
/// The length of the destination's id, after the first byte and the version.
const LONG_ID_AT: usize = 5;
const STATELESS_BYTES_MAX: usize = 256;

/// Stateless answers waiting for the end of the turn.
const STATELESS_QUEUE_MAX: usize = 64;
