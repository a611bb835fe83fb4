//! After each event: what devices and the relay were told is compared with what is so, and the difference is told.
//!
//! Grants go first, those that take something away before those that give. So nobody is told of a call that the relay
//! does not know of, and nobody hears for a moment whom it should not.

use crate::action::{Action, MediaAction, Notice};
use crate::event::DeviceKind;
use crate::grants::Grants;
use crate::ids::{CallId, Number, SessionId};
use crate::presence::{AgentState, Status};
use crate::state::LegState;
use crate::view::LegRole;

use super::CallPlane;
use super::state::NumberEntry;

impl CallPlane {
    pub(super) fn settle(&mut self) {
        for number in self.changed.numbers.clone() {
            self.agent_changed(&number);
        }
        while let Some(queue) = self.changed.queues.pop_first() {
            self.serve_queue(&queue);
        }
        let calls = std::mem::take(&mut self.changed.calls);
        for call in &calls {
            self.settle_codecs(*call);
            self.settle_recording(*call);
        }
        self.settle_grants();
        let staged = std::mem::take(&mut self.staged);
        for mut action in staged {
            if let Action::Notify {
                notice: Notice::Accepted(accepted),
                ..
            } = &mut action
            {
                accepted.grants = self.grants_of_leg(accepted.leg);
            }
            self.actions.push_back(action);
        }
        for call in calls {
            self.settle_participants(call);
        }
        while let Some(number) = self.changed.numbers.pop_first() {
            self.settle_presence(&number);
        }
    }

    fn settle_codecs(&mut self, id: CallId) {
        if let Some(legs) = self.choose_codecs(id) {
            self.staged.push(Action::Media(MediaAction::Codecs { call: id, legs }));
        }
        if let Some(call) = self.calls.get(&id) {
            let sessions = call
                .legs
                .iter()
                .filter_map(|leg| self.legs.get(leg))
                .map(|leg| leg.session);
            self.changed.sessions.extend(sessions);
        }
    }

    fn settle_recording(&mut self, id: CallId) {
        self.tell_recording(id);
        if let Some(call) = self.calls.get(&id).filter(|call| call.is_recorded) {
            let view = Box::new(self.view_of(call, None));
            self.staged.push(Action::Media(MediaAction::Recorded(view)));
        }
    }

    fn settle_grants(&mut self) {
        let mut widened = Vec::new();
        for session in std::mem::take(&mut self.changed.sessions) {
            let grants = self.grants_of(session);
            let Some(device) = self.devices.get_mut(&session) else {
                continue;
            };
            if grants == device.granted {
                continue;
            }
            let takes_away = device.granted.exceeds(&grants);
            device.granted = grants.clone();
            if takes_away {
                self.grant(session, grants);
            } else {
                widened.push((session, grants));
            }
        }
        for (session, grants) in widened {
            self.grant(session, grants);
        }
    }

    /// Ahead of everything that devices are told of this event.
    pub(super) fn grant(&mut self, session: SessionId, grants: Grants) {
        self.actions
            .push_back(Action::Media(MediaAction::Grants { session, grants }));
    }

    fn settle_participants(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let mut told = Vec::new();
        for own in call.legs.iter().filter_map(|leg| self.legs.get(leg)) {
            if own.state != LegState::Up {
                continue;
            }
            let participants = self.participants_for(call, own);
            if participants != own.told {
                told.push((own.session, own.id, participants));
            }
        }
        let view = if self.call_watchers.is_empty() {
            None
        } else {
            Some(self.view_of(call, None))
        };
        for (session, leg, participants) in told {
            if let Some(own) = self.legs.get_mut(&leg) {
                own.told.clone_from(&participants);
            }
            let call = leg.call;
            let notice = Notice::Participants {
                call,
                leg,
                participants,
            };
            self.actions.push_back(Action::Notify { session, notice });
        }
        let Some(view) = view else { return };
        for session in &self.call_watchers {
            self.actions.push_back(Action::Notify {
                session: *session,
                notice: Notice::Call(Box::new(view.clone())),
            });
        }
    }

    fn settle_presence(&mut self, number: &Number) {
        let Some(entry) = self.numbers.get(number) else { return };
        let state = (self.status_of(entry), entry.agent);
        if entry.told != state {
            let watchers = entry.watchers.clone();
            if let Some(entry) = self.numbers.get_mut(number) {
                entry.told = state;
            }
            for session in watchers {
                self.actions.push_back(Action::Notify {
                    session,
                    notice: Notice::Presence {
                        number: number.clone(),
                        status: state.0,
                        agent: state.1,
                    },
                });
            }
        }
        self.forget_number(number);
    }

    pub(super) fn status_of(&self, entry: &NumberEntry) -> Status {
        if entry.devices.is_empty() {
            return Status::Offline;
        }
        let devices = entry.devices.iter().filter_map(|session| self.devices.get(session));
        // A trunk is not busy with one call, and has too many to look at each.
        let phones = devices.filter(|device| device.registration.kind == DeviceKind::Phone);
        let mut is_ringing = false;
        for (legs, is_busy) in phones.clone().map(|device| device.elsewhere) {
            if is_busy {
                return Status::Busy;
            }
            is_ringing |= legs > 0;
        }
        let legs = phones
            .flat_map(|device| &device.legs)
            .filter_map(|leg| self.legs.get(leg));
        for leg in legs {
            match (leg.state, leg.role) {
                (LegState::Up, _) | (_, LegRole::Caller) => return Status::Busy,
                (LegState::Down | LegState::Calling | LegState::Ringing, _) => is_ringing = true,
                (LegState::Hangup, _) => {}
            }
        }
        let mut devices = entry.devices.iter().filter_map(|session| self.devices.get(session));
        if !is_ringing && !devices.any(|device| device.registration.ringable) {
            return Status::Offline;
        }
        match (is_ringing, entry.agent) {
            (true, _) => Status::Ringing,
            (false, AgentState::Ready) => Status::Available,
            (false, AgentState::Away | AgentState::WrapUp) => Status::Away,
        }
    }
}
