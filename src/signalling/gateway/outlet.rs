//! What the exchange tells devices that have no socket of its own: telephones of SIP.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::rc::Rc;

use moqswitch_calls::{Notice, Number, SessionId};
use tokio::sync::Notify;

use super::TrunkPlan;

/// Sessions of the gateway, and what they are to be told.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    sessions: HashSet<SessionId>,
    told: VecDeque<(SessionId, Notice)>,
    bell: Rc<Notify>,
    /// Numbers that telephones watch, and those of them that have changed.
    watched: BTreeSet<Number>,
    changed: BTreeSet<Number>,
    /// Trunks in the place of those that are there.
    trunks: Option<TrunkPlan>,
    /// Others are let in.
    has_entrance: bool,
}

impl Outlet {
    /// Rung when there is something.
    pub(crate) fn bell(&self) -> Rc<Notify> {
        Rc::clone(&self.bell)
    }

    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.sessions.contains(&session)
    }

    pub(crate) fn insert(&mut self, session: SessionId) {
        self.sessions.insert(session);
    }

    pub(crate) fn remove(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// For the gateway. It takes everything before anybody else has a turn, so what waits is what one event brought.
    pub(crate) fn tell(&mut self, session: SessionId, notice: &Notice) {
        self.told.push_back((session, notice.clone()));
        self.bell.notify_one();
    }

    pub(crate) fn watch(&mut self, number: Number) {
        self.watched.insert(number);
    }

    pub(crate) fn unwatch(&mut self, number: &Number) {
        self.watched.remove(number);
        self.changed.remove(number);
    }

    /// Something about a number is otherwise.
    pub(crate) fn touch(&mut self, number: &Number) {
        if self.watched.contains(number) {
            self.changed.insert(number.clone());
            self.bell.notify_one();
        }
    }

    /// Not everybody is let in who was.
    pub(crate) fn touch_entrance(&mut self) {
        self.has_entrance = true;
        self.bell.notify_one();
    }

    pub(crate) fn poll_entrance(&mut self) -> bool {
        std::mem::take(&mut self.has_entrance)
    }

    pub(crate) fn replace_trunks(&mut self, plan: TrunkPlan) {
        self.trunks = Some(plan);
        self.bell.notify_one();
    }

    pub(crate) fn poll_trunks(&mut self) -> Option<TrunkPlan> {
        self.trunks.take()
    }

    pub(crate) fn poll_changed(&mut self) -> Option<Number> {
        self.changed.pop_first()
    }

    /// Is everything taken?
    pub(crate) fn is_told(&self) -> bool {
        self.told.is_empty()
    }

    pub(crate) fn poll(&mut self) -> Option<(SessionId, Notice)> {
        self.told.pop_front()
    }
}
