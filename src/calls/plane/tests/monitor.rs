//! What must be true of every run, whatever happened: seen from outside, by actions alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::*;

/// What is known of a leg by what was reported of it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) view: LegView,
    pub(super) early: bool,
    ended_told: bool,
    recorded: bool,
    counted: bool,
}

#[derive(Default)]
pub(super) struct Monitor {
    pub(super) legs: BTreeMap<LegId, Seen>,
    requests: BTreeSet<RequestId>,
    replied: BTreeSet<RequestId>,
    begun: BTreeSet<CallId>,
    /// Those that are for a place in a call that there is.
    replacing: BTreeSet<RequestId>,
    /// Calls that a callee has answered.
    won: BTreeSet<CallId>,
    accepted: BTreeSet<LegId>,
    /// Dialogs of control programs, and those that are over.
    pub(super) dialogs: BTreeSet<CallId>,
    dialogs_over: BTreeSet<CallId>,
    recorded: BTreeSet<CallId>,
    sessions: BTreeMap<SessionId, bool>,
    pub(super) grants: BTreeMap<SessionId, Grants>,
    trunks: BTreeSet<SessionId>,
}

type Check = Result<(), String>;

fn require(condition: bool, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(what()) }
}

/// What may follow, in words of its own.
fn may_follow(from: LegState, to: LegState) -> bool {
    match from {
        LegState::Down => matches!(to, LegState::Calling | LegState::Hangup),
        LegState::Calling => matches!(to, LegState::Ringing | LegState::Up | LegState::Hangup),
        LegState::Ringing => matches!(to, LegState::Up | LegState::Hangup),
        LegState::Up => matches!(to, LegState::Hangup),
        LegState::Hangup => false,
    }
}

impl Monitor {
    pub(super) fn asked(&mut self, event: &Event) {
        if let Event::Call {
            request,
            event: CallEvent::Replace(_),
            ..
        } = event
        {
            self.replacing.insert(*request);
        }
        match event {
            Event::Call { request, .. }
            | Event::Supervise { request, .. }
            | Event::Watch { request, .. }
            | Event::Control { request, .. } => {
                self.requests.insert(*request);
            }
            Event::Register(
                RegisterEvent::Register { request, .. }
                | RegisterEvent::Unregister { request, .. }
                | RegisterEvent::Resume { request, .. },
            ) => {
                self.requests.insert(*request);
            }
            Event::Register(
                RegisterEvent::Lost { .. } | RegisterEvent::Gone { .. } | RegisterEvent::Elsewhere { .. },
            )
            | Event::Media(_)
            | Event::Admin(_) => {}
        }
    }

    pub(super) fn see(&mut self, action: &Action) -> Check {
        match action {
            Action::Reply { request, reply } => {
                require(self.requests.contains(request), || {
                    format!("a reply to nobody: {request:?}")
                })?;
                require(self.replied.insert(*request), || {
                    format!("{request:?} is answered twice")
                })?;
                match reply {
                    Reply::Calling { call, .. } if self.replacing.contains(request) => {
                        require(self.begun.contains(call), || format!("{call} was none"))?;
                    }
                    Reply::Calling { call, .. } => {
                        require(self.begun.insert(*call), || format!("{call} begins twice"))?;
                    }
                    Reply::Registered(registered) => {
                        // The runs have one trunk, of this number; its media is no matter of grants.
                        if registered.number.as_str() == "9" {
                            self.trunks.insert(registered.session);
                        } else {
                            self.trunks.remove(&registered.session);
                        }
                        self.sessions.insert(registered.session, true);
                    }
                    Reply::Resumed(_) | Reply::Done | Reply::Refused(_) => {}
                }
                Ok(())
            }
            Action::Notify { session, notice } => self.see_notice(*session, notice),
            Action::Media(MediaAction::Grants { session, grants }) => {
                self.grants.insert(*session, grants.clone());
                Ok(())
            }
            Action::Media(MediaAction::Count { leg }) => {
                let seen = self.legs.get_mut(leg).ok_or("an unknown leg is counted")?;
                require(!std::mem::replace(&mut seen.counted, true), || {
                    format!("{leg} is counted twice")
                })
            }
            Action::Control(notice) => self.see_control(notice),
            Action::Media(_) | Action::AskHook(_) => Ok(()),
            Action::Report(report) => self.see_report(report),
        }
    }

    /// Each dialog ends once, and nothing is told of it afterwards.
    fn see_control(&mut self, notice: &ControlNotice) -> Check {
        let (dialog, is_over) = match notice {
            ControlNotice::Dialled { dialog, .. } | ControlNotice::Referred { dialog, .. } => (dialog, false),
            ControlNotice::Over { dialog, .. } => (dialog, true),
        };
        require(!self.dialogs_over.contains(dialog), || {
            format!("{dialog} is over, then {notice:?}")
        })?;
        self.dialogs.insert(*dialog);
        if is_over {
            self.dialogs_over.insert(*dialog);
        }
        Ok(())
    }

    fn see_notice(&mut self, session: SessionId, notice: &Notice) -> Check {
        if let Notice::Unregistered { .. } = notice {
            let was = self.sessions.insert(session, false);
            return require(was == Some(true), || format!("{session} ends twice"));
        }
        require(self.sessions.get(&session) == Some(&true), || {
            format!("{session} is told {notice:?} when it is gone")
        })?;
        if let Some((call, own)) = own_leg(notice) {
            let seen = self.legs.get(&own).ok_or_else(|| format!("{own} is not known"))?;
            require(seen.view.session == session && own.call == call, || {
                format!(
                    "{session} is told {notice:?} of {own}, which is of {}",
                    seen.view.session
                )
            })?;
            require(!seen.ended_told, || format!("{own} is told {notice:?} after its end"))?;
        }
        if let Notice::Transfer {
            progress: TransferProgress::Failed(cause),
            ..
        } = notice
        {
            require(cause.sip_status() >= 300, || format!("it failed with {cause}"))?;
        }
        let leg = match notice {
            Notice::Ended(ended) => {
                let seen = self.legs.get_mut(&ended.leg).ok_or("an unknown leg ended")?;
                return require(!std::mem::replace(&mut seen.ended_told, true), || {
                    format!("{} is told twice of its end", ended.leg)
                });
            }
            Notice::Progress { leg, early, .. } => {
                if let Some((early, _)) = early
                    && let Some(seen) = self.legs.get_mut(early)
                {
                    seen.early = true;
                }
                *leg
            }
            Notice::Accepted(accepted) => {
                let leg = accepted.leg;
                require(self.accepted.insert(leg), || format!("{leg} is accepted twice"))?;
                leg
            }
            _ => return Ok(()),
        };
        let over = self.legs.get(&leg).is_some_and(|seen| seen.ended_told);
        require(!over, || format!("{leg} is told {notice:?} after its end"))
    }

    fn see_report(&mut self, report: &Report) -> Check {
        match report {
            Report::Leg(view) => {
                let Some(seen) = self.legs.get_mut(&view.leg) else {
                    let first = matches!(view.state, LegState::Calling | LegState::Hangup);
                    self.legs.insert(
                        view.leg,
                        Seen {
                            view: (**view).clone(),
                            early: false,
                            ended_told: false,
                            recorded: false,
                            counted: false,
                        },
                    );
                    return require(first, || format!("{} begins with {}", view.leg, view.state));
                };
                let (from, to) = (seen.view.state, view.state);
                if view.role == LegRole::Callee && from != LegState::Up && to == LegState::Up {
                    require(self.won.insert(view.leg.call), || {
                        format!("{} is won twice", view.leg.call)
                    })?;
                }
                let same = from == to && to != LegState::Hangup;
                seen.view = (**view).clone();
                require(same || may_follow(from, to), || format!("{}: {from} to {to}", view.leg))
            }
            Report::LegRecord(record) => {
                let seen = self.legs.get_mut(&record.leg).ok_or("a record of an unknown leg")?;
                require(seen.view.state == LegState::Hangup, || {
                    format!("{} is recorded alive", record.leg)
                })?;
                require(!std::mem::replace(&mut seen.recorded, true), || {
                    format!("{} is recorded twice", record.leg)
                })
            }
            Report::CallEnded(record) => {
                require(!self.recorded.contains(&record.call), || {
                    format!("{} ends after its record", record.call)
                })?;
                for seen in self.legs.values().filter(|seen| seen.view.call == record.call) {
                    let is_in = record.legs.iter().any(|leg| leg.leg == seen.view.leg);
                    require(is_in || record.legs_left_out > 0, || {
                        format!("{} is not in what is known of {}", seen.view.leg, record.call)
                    })?;
                }
                Ok(())
            }
            Report::CallRecord(record) => {
                require(self.begun.contains(&record.call), || {
                    format!("{} never began", record.call)
                })?;
                require(self.recorded.insert(record.call), || {
                    format!("{} is recorded twice", record.call)
                })?;
                for seen in self.legs.values().filter(|seen| seen.view.call == record.call) {
                    require(seen.recorded, || {
                        format!("{} is recorded before its leg {}", record.call, seen.view.leg)
                    })?;
                }
                Ok(())
            }
            Report::Supervision { .. }
            | Report::Forward { .. }
            | Report::Dtmf { .. }
            | Report::Announcement { .. }
            | Report::Registration { .. } => Ok(()),
        }
    }

    /// What must be true between events.
    pub(super) fn check(&self, plane: &CallPlane) -> Check {
        require(self.requests == self.replied, || "a request is not answered".to_owned())?;
        let live: Vec<&Seen> = self.live().collect();
        let mut places = BTreeSet::new();
        for seen in live.iter().filter(|seen| !self.trunks.contains(&seen.view.session)) {
            require(places.insert((seen.view.session, seen.view.call)), || {
                format!("{} hears itself in {}", seen.view.session, seen.view.call)
            })?;
        }
        for (session, grants) in &self.grants {
            if !self.trunks.contains(session) {
                check_grants(*session, grants, &live)?;
            }
        }
        self.check_sets(plane)
    }

    fn live(&self) -> impl Iterator<Item = &Seen> {
        self.legs.values().filter(|seen| seen.view.state != LegState::Hangup)
    }

    /// What the plane holds is what was reported to be alive.
    fn check_sets(&self, plane: &CallPlane) -> Check {
        let alive: BTreeSet<LegId> = self.live().map(|seen| seen.view.leg).collect();
        let held: BTreeSet<LegId> = plane.legs.keys().copied().collect();
        require(alive == held, || format!("alive {alive:?}, held {held:?}"))?;
        for (id, call) in &plane.calls {
            require(self.begun.contains(id), || format!("{id} never began"))?;
            require(!self.recorded.contains(id), || format!("{id} is recorded and alive"))?;
            let up = call
                .legs
                .iter()
                .filter(|leg| plane.legs[leg].is_up() && !plane.legs[leg].is_supervisor());
            let fewest = if call.is_controlled { 1 } else { 2 };
            let lives = call.attempt.is_some() || up.count() >= fewest;
            require(lives, || format!("{id} has nobody to talk to"))?;
            for leg in &call.legs {
                require(plane.legs[leg].call == *id, || format!("{leg} is not in {id}"))?;
            }
        }
        for (session, device) in &plane.devices {
            for leg in &device.legs {
                require(plane.legs[leg].session == *session, || {
                    format!("{leg} is not of {session}")
                })?;
            }
        }
        let in_devices: usize = plane.devices.values().map(|device| device.legs.len()).sum();
        let in_calls: usize = plane.calls.values().map(|call| call.legs.len()).sum();
        require(in_devices == held.len() && in_calls == held.len(), || {
            format!(
                "{in_devices} legs in devices, {in_calls} in calls, {} in all",
                held.len()
            )
        })
    }

    /// Everything that began has ended, with one record each.
    pub(super) fn check_end(&self) -> Check {
        require(self.begun == self.recorded, || {
            let missing: Vec<_> = self.begun.difference(&self.recorded).collect();
            format!("no record of {missing:?}")
        })?;
        require(self.dialogs == self.dialogs_over, || {
            let left: Vec<_> = self.dialogs.difference(&self.dialogs_over).collect();
            format!("no end of the dialogs {left:?}")
        })?;
        for (leg, seen) in &self.legs {
            let was_up = seen.view.answer_ms.is_some();
            require(was_up == self.accepted.contains(leg), || {
                format!("{leg} was up: {was_up}")
            })?;
            require(seen.recorded && seen.ended_told, || {
                format!("{leg} has no end: {seen:?}")
            })?;
        }
        for (session, grants) in &self.grants {
            require(grants.is_empty(), || format!("{session} still may {grants:?}"))?;
        }
        Ok(())
    }
}

/// The call that a notice names, and the leg of whoever is told.
fn own_leg(notice: &Notice) -> Option<(CallId, LegId)> {
    match notice {
        Notice::Incoming(incoming) => Some((incoming.call, incoming.leg)),
        Notice::Accepted(accepted) => Some((accepted.call, accepted.leg)),
        Notice::Ended(ended) => Some((ended.call, ended.leg)),
        Notice::Left { call, own, .. } => Some((*call, *own)),
        Notice::Progress { call, leg, .. }
        | Notice::Participants { call, leg, .. }
        | Notice::Joined { call, leg, .. }
        | Notice::Held { call, leg, .. }
        | Notice::Muted { call, leg, .. }
        | Notice::Dtmf { call, leg, .. }
        | Notice::Signal { call, leg, .. }
        | Notice::Speak { call, leg, .. }
        | Notice::Transfer { call, leg, .. }
        | Notice::Queue { call, leg, .. }
        | Notice::Announcement { call, leg, .. }
        | Notice::Recording { call, leg, .. }
        | Notice::QualityWarning { call, leg, .. } => Some((*call, *leg)),
        Notice::Presence { .. } | Notice::Call(_) | Notice::Unregistered { .. } => None,
    }
}

fn hears(hearer: &LegView, speaker: &LegView) -> bool {
    let both_up = hearer.state == LegState::Up && speaker.state == LegState::Up;
    let same_call = hearer.call == speaker.call && hearer.leg != speaker.leg;
    let holds = hearer.holds || speaker.holds;
    let speaks = match speaker.role {
        LegRole::Supervisor(SuperviseMode::Listen) => false,
        LegRole::Supervisor(SuperviseMode::Whisper(target)) => target == hearer.leg,
        _ => true,
    };
    both_up && same_call && !holds && speaks
}

/// Exactly who may hear whom, computed from what was reported alone.
fn check_grants(session: SessionId, grants: &Grants, live: &[&Seen]) -> Check {
    let own: Vec<&Seen> = live
        .iter()
        .copied()
        .filter(|seen| seen.view.session == session)
        .collect();
    for pattern in &grants.publish {
        let is_own = |seen: &&Seen| *pattern == format!("{}/**", seen.view.leg.path());
        let leg = own.iter().copied().find(|seen| is_own(seen));
        let leg = leg.ok_or_else(|| format!("{session} may publish {pattern} without a leg"))?;
        require(leg.view.state == LegState::Up || leg.early, || {
            format!("{session} may publish {pattern} when {}", leg.view.state)
        })?;
    }
    for leg in &own {
        let pattern = format!("{}/**", leg.view.leg.path());
        let listens = leg.view.role == LegRole::Supervisor(SuperviseMode::Listen);
        let may = leg.view.state == LegState::Up && !listens;
        require(grants.publish.contains(&pattern) == may || leg.early, || {
            format!("{session} and {pattern}: {grants:?}")
        })?;
    }
    for other in live {
        let path = other.view.leg.path();
        let matches = |pattern: &String| match pattern.strip_suffix("/**") {
            Some(below) => path == below || path.starts_with(&format!("{below}/")),
            None => false,
        };
        let may = grants.subscribe.iter().any(matches);
        let should = own.iter().any(|own| hears(&own.view, &other.view));
        let is_own_path = other.view.session == session;
        // What nobody publishes, nobody hears: a pattern for all may cover it.
        let listens = other.view.role == LegRole::Supervisor(SuperviseMode::Listen);
        let is_silent = (other.view.state != LegState::Up && !other.early) || listens;
        require(may == should || is_own_path || is_silent || other.early, || {
            format!("{session} and {path}: may {may}, should {should}; {grants:?}")
        })?;
    }
    for pattern in grants.subscribe.iter().filter(|pattern| pattern.starts_with("call/")) {
        let is_inside = own.iter().any(|own| {
            let in_it = live.iter().filter(|seen| seen.view.call == own.view.call);
            in_it
                .map(|seen| seen.view.leg)
                .any(|leg| *pattern == format!("call/{}/**", leg.call) || *pattern == format!("{}/**", leg.path()))
        });
        require(is_inside, || format!("{session} is outside of {pattern}"))?;
    }
    Ok(())
}
