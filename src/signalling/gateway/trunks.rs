//! Trunks of SIP, and groups of them. Each is a device of the call plane for as long as the settings have it; while it cannot
//! be reached, it is not rung, and its calls go on.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_calls::{DeviceKind, Number, Registration, SessionId, Text};
use moqswitch_sip::agent::{
    End, EndedBy, Member, NoTrunk, NumberRules, Reachable, Registered, TrunkChange, TrunkGroup, TrunkId, TrunkLoads,
};
use moqswitch_sip::flow::Transport;

use super::settings::{SrtpPolicy, TrunkEncryption, TrunkPlan, TrunkSettings};
use super::view::TrunkState;
use super::{Gateway, codecs};
use crate::exchange::Exchange;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Trunks {
    known: BTreeMap<TrunkId, Known>,
    ways: BTreeMap<Number, Way>,
    sessions: HashMap<SessionId, Number>,
    loads: TrunkLoads,
    /// The names of trunks, which stay.
    named: u64,
    /// Calls that went out, for the shares of trunks in groups.
    turns: u64,
    /// Something is to be shown otherwise.
    has_changed: bool,
    /// Others were taken, and connections to those before may be left over.
    were_replaced: bool,
}

#[derive(Debug)]
struct Known {
    number: Number,
    peer: IpAddr,
    address: SocketAddr,
    /// Where its messages come from: this one, and others.
    addresses: Vec<IpAddr>,
    contact: String,
    encryption: Option<Secure>,
    srtp: Option<SrtpPolicy>,
    transport: Transport,
    registers: bool,
    is_registered: bool,
    is_down: bool,
    calls_max: u32,
    numbers_out: NumberRules,
    numbers_in: NumberRules,
}

/// How a trunk is reached by TLS.
#[derive(Clone, Debug)]
pub(super) struct Secure {
    pub(super) encryption: Arc<dyn TrunkEncryption>,
    /// The trunk's own name, by which what comes by such a connection is known.
    pub(super) name: Option<String>,
}

impl Secure {
    fn is_as(&self, other: &Self) -> bool {
        self.name == other.name && self.encryption.fingerprint() == other.encryption.fingerprint()
    }
}

/// What `trunk/…` of the dialplan names: a trunk, or several.
#[derive(Debug)]
struct Way {
    group: TrunkGroup,
    /// Of more than one trunk, or of one under another name.
    is_group: bool,
    session: Option<SessionId>,
    /// As the plane has it.
    is_there: bool,
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
    /// What a device of trunks is.
    pub(super) fn way(&self, session: SessionId) -> Option<&Number> {
        self.sessions.get(&session)
    }

    /// Of calls that come by a trunk.
    pub(super) fn session(&self, trunk: TrunkId) -> Option<SessionId> {
        let known = self.known.get(&trunk)?;
        self.ways.get(&known.number)?.session
    }

    /// What encrypts streams to who is there.
    pub(super) fn encryption(&self, peer: SocketAddr) -> Option<Secure> {
        let is_there = |known: &&Known| known.transport == Transport::Tls && known.address == peer;
        self.known.values().find(is_there)?.encryption.clone()
    }

    /// Whether others were taken since this was asked.
    pub(super) fn poll_replaced(&mut self) -> bool {
        std::mem::take(&mut self.were_replaced)
    }

    pub(super) fn peer(&self, trunk: TrunkId) -> Option<IpAddr> {
        self.known.get(&trunk).map(|known| known.peer)
    }

    /// Whether it talks over SRTP, and what it is reached over.
    pub(super) fn secrecy(&self, trunk: TrunkId) -> Option<(Option<SrtpPolicy>, Transport)> {
        self.known.get(&trunk).map(|known| (known.srtp, known.transport))
    }

    /// A number of theirs as it is dialled here.
    pub(super) fn read(&self, trunk: TrunkId, number: &str) -> String {
        let known = self.known.get(&trunk);
        known.map_or_else(|| number.to_owned(), |known| known.numbers_in.translate(number))
    }

    /// A number as they write it.
    pub(super) fn write(&self, trunk: TrunkId, number: &str) -> String {
        let known = self.known.get(&trunk);
        known.map_or_else(|| number.to_owned(), |known| known.numbers_out.translate(number))
    }

    /// The trunk for the next try of a call that went by all those in `tried`.
    pub(super) fn choose(&mut self, way: &Number, tried: &[TrunkId]) -> Result<TrunkId, NoTrunk> {
        let Some(way) = self.ways.get(way) else {
            return Err(NoTrunk::Tried);
        };
        let members = way.group.members().iter().map(|member| member.trunk);
        let is_out = |trunk: &TrunkId| self.known.get(trunk).is_none_or(|known| !known.is_there());
        let passed: Vec<TrunkId> = members.filter(is_out).chain(tried.iter().copied()).collect();
        let chosen = way.group.choose(Instant::now(), &self.loads, &passed, self.turns);
        self.turns = self.turns.wrapping_add(1);
        chosen
    }

    /// A place for a call, either way. False: it has as many as it may.
    pub(super) fn begin(&mut self, trunk: TrunkId) -> bool {
        self.has_changed = true;
        self.loads.begin(trunk)
    }

    /// The same for one in the place of another one of the trunk, which ends.
    pub(super) fn begin_instead(&mut self, trunk: TrunkId) {
        self.has_changed = true;
        self.loads.begin_instead(trunk);
    }

    /// Its call is over. True: another one may be tried.
    pub(super) fn end(&mut self, trunk: TrunkId, end: &End) -> bool {
        self.has_changed = true;
        let is_to_go_on = self.loads.end(Instant::now(), trunk, end);
        self.forget_load(trunk);
        is_to_go_on
    }

    /// Of a trunk that is gone, with its last call.
    fn forget_load(&mut self, trunk: TrunkId) {
        if !self.known.contains_key(&trunk) && self.loads.calls(trunk) == 0 {
            self.loads.remove(trunk);
        }
    }

    /// The same, where we have ended it.
    pub(super) fn leave(&mut self, trunk: TrunkId) {
        self.end(trunk, &End::of(EndedBy::Own, 487));
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        if let Some(number) = self.sessions.remove(&session)
            && let Some(way) = self.ways.get_mut(&number)
        {
            way.session = None;
            // What ended it is over by then.
            way.renew = Some(Instant::now() + RETRY);
        }
    }

    fn id(&mut self, number: &Number) -> TrunkId {
        let known = self.known.iter().find(|(_, known)| known.number == *number);
        if let Some((id, _)) = known {
            return *id;
        }
        self.named += 1;
        TrunkId(self.named)
    }

    fn is_there(&self, way: &Way) -> bool {
        let mut members = way.group.members().iter();
        members.any(|member| self.known.get(&member.trunk).is_some_and(Known::is_there))
    }
}

impl Gateway {
    /// Takes the trunks of the settings in the place of those that were. Calls of those that are gone go on.
    pub(crate) fn set_trunks(&mut self, exchange: &mut Exchange, plan: TrunkPlan) {
        let mut kept: Vec<TrunkId> = Vec::new();
        let mut ways: BTreeMap<Number, (TrunkGroup, bool)> = BTreeMap::new();
        for settings in plan.trunks {
            let number = settings.number.clone();
            if let Some(id) = self.set_trunk(settings) {
                let member = Member {
                    trunk: id,
                    priority: 0,
                    weight: 1,
                };
                kept.push(id);
                ways.insert(number, (TrunkGroup::new([member]), false));
            }
        }
        for group in plan.groups {
            let members = group.members.iter().filter_map(|(name, priority, weight)| {
                let named = self.trunks.known.iter().find(|(_, known)| known.number == *name);
                Some(Member {
                    trunk: *named?.0,
                    priority: *priority,
                    weight: *weight,
                })
            });
            ways.insert(group.number.clone(), (TrunkGroup::new(members), true));
        }
        let gone: Vec<TrunkId> = self
            .trunks
            .known
            .keys()
            .copied()
            .filter(|id| !kept.contains(id))
            .collect();
        for id in gone {
            self.agent.remove_trunk(Instant::now(), id);
            self.trunks.known.remove(&id);
            self.trunks.forget_load(id);
        }
        self.trunks.were_replaced = true;
        self.set_ways(exchange, ways);
    }

    fn set_trunk(&mut self, settings: TrunkSettings) -> Option<TrunkId> {
        let TrunkSettings {
            number,
            trunk,
            encryption,
            srtp,
            calls_max,
            numbers_out,
            numbers_in,
        } = settings;
        let id = self.trunks.id(&number);
        let encryption = encryption.map(|encryption| Secure {
            encryption,
            name: trunk.certificate_name.clone(),
        });
        // Connections go on where nothing is another.
        let before = self.trunks.known.get(&id).and_then(|known| known.encryption.clone());
        let kept = before.filter(|before| encryption.as_ref().is_some_and(|after| after.is_as(before)));
        let mut known = Known {
            peer: trunk.target.peer.ip().to_canonical(),
            address: trunk.target.peer,
            encryption: kept.or(encryption),
            addresses: trunk
                .addresses
                .iter()
                .copied()
                .chain([trunk.target.peer.ip()])
                .collect(),
            contact: trunk.target.peer.to_string(),
            srtp,
            transport: trunk.target.transport,
            registers: trunk.registers.is_some(),
            is_registered: false,
            is_down: false,
            calls_max,
            numbers_out,
            numbers_in,
            number,
        };
        if let Err(error) = self.agent.set_trunk(Instant::now(), id, trunk) {
            tracing::error!(trunk = %known.number, %error, "no trunk");
            return None;
        }
        // As its registration and its health are known after the change.
        let view = self.agent.trunk(id);
        known.is_down = view.is_some_and(|view| view.reachable == Reachable::Down);
        known.is_registered = view.is_some_and(|view| matches!(view.registered, Registered::Until(_)));
        if !known.is_down {
            self.trunks.loads.take_change(Instant::now(), id, TrunkChange::Up);
        }
        self.trunks.loads.limit(id, calls_max);
        self.trunks.known.insert(id, known);
        Some(id)
    }

    fn set_ways(&mut self, exchange: &mut Exchange, wanted: BTreeMap<Number, (TrunkGroup, bool)>) {
        let is_gone = |number: &&Number| !wanted.contains_key(*number);
        let gone: Vec<Number> = self.trunks.ways.keys().filter(is_gone).cloned().collect();
        for number in gone {
            let session = self.trunks.ways.remove(&number).and_then(|way| way.session);
            if let Some(session) = session {
                self.trunks.sessions.remove(&session);
                self.leave_way(exchange, session, number);
            }
        }
        for (number, (group, is_group)) in wanted {
            let session = self.trunks.ways.get(&number).and_then(|way| way.session);
            let session = session.or_else(|| self.registry.left(&number, DEVICE));
            let way = Way {
                group,
                is_group,
                session,
                is_there: false,
                renew: None,
            };
            self.trunks.ways.insert(number.clone(), way);
            self.register_way(exchange, &number);
        }
        let addresses = self
            .trunks
            .known
            .values()
            .flat_map(|known| known.addresses.iter().copied());
        self.registry.guard.trust(addresses);
        self.trunks.has_changed = true;
        self.show_trunks(exchange);
    }

    /// It is no way any more. Its calls go on, and end as they end.
    fn leave_way(&mut self, exchange: &mut Exchange, session: SessionId, number: Number) {
        if self.calls.values().any(|call| call.session == session) {
            let gone = (number, DEVICE.to_owned());
            self.registry.leave(exchange, session, gone, DeviceKind::Trunk);
        } else {
            exchange.unregister_device(session);
        }
    }

    pub(super) fn take_trunk(&mut self, exchange: &mut Exchange, id: TrunkId, change: TrunkChange) {
        let Some(known) = self.trunks.known.get_mut(&id) else {
            return;
        };
        self.trunks.loads.take_change(Instant::now(), id, change);
        match change {
            TrunkChange::Registered => known.is_registered = true,
            TrunkChange::Unregistered(_) => known.is_registered = false,
            TrunkChange::Up => known.is_down = false,
            TrunkChange::Down => known.is_down = true,
            TrunkChange::Busy(_) => {}
        }
        tracing::info!(trunk = %known.number, ?change, "SIP: a trunk");
        self.trunks.has_changed = true;
        let has = |way: &Way| way.group.members().iter().any(|member| member.trunk == id);
        let touched = self.trunks.ways.iter().filter(|(_, way)| has(way));
        let otherwise = touched.filter(|(_, way)| self.trunks.is_there(way) != way.is_there);
        let otherwise: Vec<Number> = otherwise.map(|(number, _)| number.clone()).collect();
        for number in otherwise {
            self.register_way(exchange, &number);
        }
        self.show_trunks(exchange);
    }

    /// Its device, as it is now.
    fn register_way(&mut self, exchange: &mut Exchange, number: &Number) {
        let Some(way) = self.trunks.ways.get(number) else {
            return;
        };
        let is_there = self.trunks.is_there(way);
        let members = way.group.members().iter();
        let contacts: Vec<&str> = members
            .filter_map(|member| Some(self.trunks.known.get(&member.trunk)?.contact.as_str()))
            .collect();
        let known = way.session;
        let session = known.unwrap_or_else(|| exchange.new_session());
        let registration = Registration {
            device: Some(Text::new(DEVICE)),
            kind: DeviceKind::Trunk,
            ringable: is_there,
            expires: Some(REGISTERED),
            codecs: codecs::of_telephones(),
            contact: Text::new(&contacts.join(", ")),
            ..Registration::phone(session, number.clone())
        };
        if known.is_none() {
            exchange.outlet.insert(session);
        }
        let now = Instant::now();
        let registered = exchange.register_device(registration);
        let Some(way) = self.trunks.ways.get_mut(number) else {
            return;
        };
        way.is_there = is_there;
        match registered {
            Ok(granted) => {
                way.session = Some(session);
                way.renew = Some(now + granted / 2);
                self.trunks.sessions.insert(session, number.clone());
            }
            Err(refusal) => {
                tracing::warn!(trunk = %number, %refusal, "SIP: a trunk is no device");
                if known.is_none() {
                    exchange.outlet.remove(session);
                }
                way.renew = Some(now + RETRY);
            }
        }
    }

    /// Devices of trunks are registered anew before their time is over.
    pub(super) fn renew_trunks(&mut self, exchange: &mut Exchange) {
        let now = Instant::now();
        let is_due = |way: &Way| way.renew.is_some_and(|renew| renew <= now);
        let due = self.trunks.ways.iter().filter(|(_, way)| is_due(way));
        let due: Vec<Number> = due.map(|(number, _)| number.clone()).collect();
        for number in due {
            self.register_way(exchange, &number);
        }
    }

    /// How all of them are, if it is not as it was told before.
    pub(super) fn show_trunks(&mut self, exchange: &mut Exchange) {
        if std::mem::take(&mut self.trunks.has_changed) {
            let states = self.trunks.ways.iter().map(|(number, way)| self.state(number, way));
            exchange.sip_view.trunks = states.collect();
        }
    }

    fn state(&self, number: &Number, way: &Way) -> TrunkState {
        let trunks = &self.trunks;
        let members = way.group.members().iter();
        let known: Vec<(TrunkId, &Known)> = members
            .filter_map(|member| Some((member.trunk, trunks.known.get(&member.trunk)?)))
            .collect();
        let sum = |of: &dyn Fn(TrunkId, &Known) -> u32| known.iter().map(|(id, known)| of(*id, known)).sum::<u32>();
        let has_limit = known.iter().all(|(_, known)| known.calls_max > 0);
        let contacts: Vec<&str> = known.iter().map(|(_, known)| known.contact.as_str()).collect();
        let own = known.first().filter(|_| !way.is_group);
        let view = own.and_then(|(id, _)| self.agent.trunk(*id));
        let (is_registered, status) = match view.map(|view| view.registered) {
            None | Some(Registered::Unwanted) => (None, None),
            Some(Registered::Until(_)) => (Some(true), None),
            Some(Registered::Not { status, .. }) => (Some(false), status),
        };
        TrunkState {
            number: number.clone(),
            members: match way.is_group {
                true => known.iter().map(|(_, known)| known.number.clone()).collect(),
                false => Vec::new(),
            },
            is_there: way.is_there,
            contact: contacts.join(", "),
            is_registered,
            status,
            answers: match view.map(|view| view.reachable) {
                None | Some(Reachable::Unknown) => None,
                Some(reachable) => Some(reachable == Reachable::Up),
            },
            round_trip: view.and_then(|view| view.round_trip),
            calls: sum(&|id, _| trunks.loads.calls(id)),
            calls_max: if has_limit { sum(&|_, known| known.calls_max) } else { 0 },
        }
    }
}

/// What the device of a trunk is called.
const DEVICE: &str = "sip";
/// Of a trunk's device, each time.
const REGISTERED: Duration = Duration::from_secs(3600);
/// After a registration was refused.
const RETRY: Duration = Duration::from_secs(10);
