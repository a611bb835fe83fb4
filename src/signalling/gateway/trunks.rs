//! Trunks of SIP: each is a device of the call plane, which is there as long as the trunk can be reached.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use moqswitch_calls::{DeviceKind, Number, Registration, SessionId, Text};
use moqswitch_sip::agent::{TrunkChange, TrunkId};
use moqswitch_sip::flow::Transport;

use super::settings::{SrtpPolicy, TrunkSettings};
use super::{Gateway, codecs};
use crate::exchange::Exchange;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Trunks {
    known: HashMap<TrunkId, Known>,
    sessions: HashMap<SessionId, TrunkId>,
}

#[derive(Debug)]
struct Known {
    number: Number,
    contact: String,
    registers: bool,
    is_registered: bool,
    is_down: bool,
    session: Option<SessionId>,
    srtp: Option<SrtpPolicy>,
    transport: Transport,
    /// When its device is registered anew.
    renew: Option<Instant>,
}

impl Known {
    /// Can calls go by it?
    fn is_there(&self) -> bool {
        !self.is_down && (!self.registers || self.is_registered)
    }
}

impl Trunks {
    pub(super) fn trunk(&self, session: SessionId) -> Option<TrunkId> {
        self.sessions.get(&session).copied()
    }

    pub(super) fn session(&self, trunk: TrunkId) -> Option<SessionId> {
        self.known.get(&trunk)?.session
    }

    /// Whether it talks over SRTP, and what it is reached over. `None`: it is none.
    pub(super) fn secrecy(&self, session: SessionId) -> Option<(Option<SrtpPolicy>, Transport)> {
        let known = self.known.get(self.sessions.get(&session)?)?;
        Some((known.srtp, known.transport))
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        if let Some(trunk) = self.sessions.remove(&session)
            && let Some(known) = self.known.get_mut(&trunk)
        {
            known.session = None;
            // What ended it is over by then.
            known.renew = Some(Instant::now() + RETRY);
        }
    }
}

impl Gateway {
    /// Takes the trunks of the settings.
    pub(crate) fn set_trunks(&mut self, exchange: &mut Exchange, trunks: Vec<TrunkSettings>) {
        for (at, TrunkSettings { number, trunk, srtp }) in trunks.into_iter().enumerate() {
            let id = TrunkId(u64::try_from(at).unwrap_or(u64::MAX));
            let known = Known {
                contact: trunk.target.peer.to_string(),
                registers: trunk.registers.is_some(),
                is_registered: false,
                is_down: false,
                session: None,
                srtp,
                transport: trunk.target.transport,
                renew: None,
                number,
            };
            if let Err(error) = self.agent.set_trunk(Instant::now(), id, trunk) {
                tracing::error!(trunk = %known.number, %error, "no trunk");
                continue;
            }
            self.trunks.known.insert(id, known);
            self.settle_trunk(exchange, id);
        }
    }

    pub(super) fn take_trunk(&mut self, exchange: &mut Exchange, id: TrunkId, change: TrunkChange) {
        let Some(known) = self.trunks.known.get_mut(&id) else {
            return;
        };
        match change {
            TrunkChange::Registered => known.is_registered = true,
            TrunkChange::Unregistered(_) => known.is_registered = false,
            TrunkChange::Up => known.is_down = false,
            TrunkChange::Down => known.is_down = true,
            TrunkChange::Busy(_) => {}
        }
        tracing::info!(trunk = %known.number, ?change, "SIP: a trunk");
        self.settle_trunk(exchange, id);
    }

    /// Its device comes and goes with it.
    fn settle_trunk(&mut self, exchange: &mut Exchange, id: TrunkId) {
        let Some(known) = self.trunks.known.get(&id) else {
            return;
        };
        match (known.is_there(), known.session) {
            (true, _) => self.register_trunk(exchange, id),
            (false, Some(session)) => {
                self.trunks.sessions.remove(&session);
                if let Some(known) = self.trunks.known.get_mut(&id) {
                    (known.session, known.renew) = (None, None);
                }
                exchange.unregister_device(session);
            }
            (false, None) => {}
        }
    }

    fn register_trunk(&mut self, exchange: &mut Exchange, id: TrunkId) {
        let Some(known) = self.trunks.known.get_mut(&id) else {
            return;
        };
        let session = known.session.unwrap_or_else(|| exchange.new_session());
        let registration = Registration {
            device: Some(Text::new("sip")),
            kind: DeviceKind::Trunk,
            expires: Some(REGISTERED),
            codecs: codecs::of_telephones(),
            contact: Text::new(&known.contact),
            ..Registration::phone(session, known.number.clone())
        };
        exchange.outlet.insert(session);
        let now = Instant::now();
        match exchange.register_device(registration) {
            Ok(granted) => {
                known.session = Some(session);
                known.renew = Some(now + granted / 2);
                self.trunks.sessions.insert(session, id);
            }
            Err(refusal) => {
                tracing::warn!(trunk = %known.number, %refusal, "SIP: a trunk is no device");
                exchange.outlet.remove(session);
                known.renew = Some(now + RETRY);
            }
        }
    }

    /// Devices of trunks are registered anew before their time is over.
    pub(super) fn renew_trunks(&mut self, exchange: &mut Exchange) {
        let now = Instant::now();
        let due = self
            .trunks
            .known
            .iter()
            .filter(|(_, known)| known.is_there() && known.renew.is_some_and(|renew| renew <= now));
        let due: Vec<TrunkId> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.register_trunk(exchange, id);
        }
    }
}

/// Of a trunk's device, each time.
const REGISTERED: Duration = Duration::from_secs(3600);
/// After a registration was refused.
const RETRY: Duration = Duration::from_secs(10);
