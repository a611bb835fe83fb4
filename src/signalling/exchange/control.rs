//! Control programs and the call plane: what they decide becomes events, and what becomes of their dialogs is told to them.

use std::collections::{BTreeMap, BTreeSet};

use moqswitch_calls::{
    AdminEvent, CallId, Cause, ControlEvent, ControlNotice, Event, Grants, Invite, LegState, LegView, Number, Reply,
    RequestId, SessionId, Text,
};

use super::{Asker, Exchange, draw, unix_ms};
use crate::control::{Begun, Board, Change, DomainName, Failure, Invitation, NoRoom, NotPushed, Untold, User};
use crate::journal::{DomainEntry, DomainFound, Entry, UserEntry};

impl Exchange {
    /// Control programs may come, from here on.
    pub(crate) fn set_board(&mut self, board: Board) {
        self.board = Some(board);
    }

    pub(crate) fn board(&self) -> Option<&Board> {
        self.board.as_ref()
    }

    pub(crate) fn board_mut(&mut self) -> Option<&mut Board> {
        self.board.as_mut()
    }

    /// Is this the secret of a user of the directory? `None`: the directory does not have the number's domain.
    pub(crate) fn knows_secret(&self, number: &Number, secret: Option<&str>) -> Option<bool> {
        self.board.as_ref()?.admits(number, secret)
    }

    /// Pushes a domain: in the place of what was there, or beside it.
    pub(crate) fn push_domain(
        &mut self,
        domain: &DomainName,
        control: Option<String>,
        users: &[User],
        is_whole: bool,
    ) -> Result<(), NotPushed> {
        let board = self.board.as_mut().ok_or(NotPushed::UnknownDomain)?;
        if let Some(url) = &control {
            board.check_server(url).map_err(|NoRoom| NotPushed::NoServer)?;
        }
        let change = if is_whole {
            board.directory.replace(domain, control, users)?
        } else {
            board
                .directory
                .merge(domain, control, users)
                .ok_or(NotPushed::UnknownDomain)??
        };
        self.note_domain(domain, users, is_whole);
        self.follow_directory(domain, &change);
        Ok(())
    }

    /// Removes a domain with all that is below. False: there is none.
    pub(crate) fn remove_domain(&mut self, domain: &DomainName) -> bool {
        let Some(board) = &mut self.board else { return false };
        let removed = board.directory.remove(domain);
        for (domain, removed) in &removed {
            self.note(Entry::NoDomain(domain.as_str().to_owned()));
            let change = Change {
                removed: removed.clone(),
                ..Change::default()
            };
            self.follow_directory(domain, &change);
        }
        !removed.is_empty()
    }

    /// `None`: there is no such domain.
    pub(crate) fn remove_user(&mut self, domain: &DomainName, user: &str) -> Option<()> {
        let was_there = self.board.as_mut()?.directory.remove_user(domain, user)?;
        if was_there {
            self.note(Entry::NoUser {
                domain: domain.as_str().to_owned(),
                user: user.to_owned(),
            });
            let removed = vec![user.to_owned()];
            self.follow_directory(
                domain,
                &Change {
                    removed,
                    ..Change::default()
                },
            );
        }
        Some(())
    }

    /// Notes what was pushed, by its hashes: who is there already registers again before it is pushed anew.
    fn note_domain(&self, domain: &DomainName, users: &[User], is_whole: bool) {
        let Some(directory) = self.board.as_ref().map(|board| &board.directory) else {
            return;
        };
        let names: BTreeSet<&str> = users.iter().map(|user| user.name.as_str()).collect();
        let users = names.into_iter().filter_map(|name| {
            let (sha256, md5) = directory.hashes(domain, name)?;
            Some(UserEntry {
                name: name.to_owned(),
                sha256: sha256.to_owned(),
                md5: md5.to_owned(),
            })
        });
        let control = directory.control(domain);
        for entry in DomainEntry::several(domain.as_str(), control, is_whole, users) {
            self.note(entry);
        }
    }

    /// What was pushed to the process before stands until it is pushed again. What finds no room, or is no domain, is gone.
    pub(super) fn restore_domains(&mut self, found: BTreeMap<String, DomainFound>) {
        for (name, found) in found {
            let Some(board) = &mut self.board else { return };
            let users = found.users.into_values().map(|user| (user.name, user.sha256, user.md5));
            let control = found.control.filter(|url| board.check_server(url).is_ok());
            let domain = DomainName::parse(&name);
            let restored = domain
                .as_ref()
                .and_then(|domain| board.directory.restore(domain, control, users).ok());
            let (Some(domain), Some(added)) = (domain, restored) else {
                self.note(Entry::NoDomain(name));
                continue;
            };
            let change = Change {
                added,
                ..Change::default()
            };
            self.follow_directory(&domain, &change);
        }
    }

    /// The plane knows which numbers exist, and whose calls a program decides on.
    fn follow_directory(&mut self, domain: &DomainName, change: &Change) {
        let Some(board) = &mut self.board else { return };
        let on = board.follow_directory(domain);
        let names = board.names_of(domain);
        let numbers = |users: &[String]| -> Vec<Number> {
            users.iter().flat_map(|user| board.numbers_of(user, domain)).collect()
        };
        let (added, removed) = (numbers(&change.added), numbers(&change.removed));
        // Who was let in by what counts no more is not in any longer.
        let out: BTreeSet<Number> = removed.iter().cloned().chain(numbers(&change.changed)).collect();
        if !out.is_empty() {
            self.turn_out(|session| out.contains(&session.dn));
            self.outlet.touch_entrance();
        }
        for (numbers, exist) in [(added, true), (removed, false)] {
            if !numbers.is_empty() {
                self.handle(Event::Admin(AdminEvent::Declare { numbers, exist }));
            }
        }
        for domain in names {
            self.handle(Event::Admin(AdminEvent::Control { domain, on }));
        }
    }

    /// Asks the plane for a control program. The reply comes at once.
    pub(crate) fn decide(&mut self, event: ControlEvent) -> Reply {
        self.ask_now(|request| Event::Control { request, event })
    }

    /// Ends a dialog as its program says.
    pub(crate) fn end_dialog(&mut self, dialog: CallId, cause: Option<Cause>, failure: Failure) -> Reply {
        if let Some(known) = self.board.as_mut().and_then(|board| board.dialog_mut(dialog)) {
            known.give_reason(failure);
        }
        self.decide(ControlEvent::Hangup { dialog, cause })
    }

    /// Calls somebody for a control program. Who cannot be called at all has failed at once.
    pub(crate) fn invite(&mut self, invitation: Invitation) -> Result<CallId, Failure> {
        let full = |_| Failure::new(503);
        let (id, listener) = (CallId(draw(&self.random)), SessionId(draw(&self.random)));
        let board = self.board.as_mut().ok_or_else(|| Failure::new(503))?;
        if let Some(url) = &invitation.control {
            board.check_server(url).map_err(full)?;
        }
        let (to, via) = self.number_of(&invitation).ok_or_else(|| Failure::new(404))?;
        let domain = invitation.domain.as_ref().map(|domain| domain.as_str().to_owned());
        let begun = Begun {
            id,
            domain: domain.unwrap_or_default(),
            listener,
            started_ms: unix_ms(),
            parent: invitation.parent,
        };
        let board = self.board.as_mut().ok_or_else(|| Failure::new(503))?;
        board.begin_calling(&begun).map_err(full)?;
        let invite = Invite {
            dialog: id,
            to,
            via,
            from: invitation.from,
            timeout: invitation.timeout,
        };
        let reply = self.decide(ControlEvent::Invite(Box::new(invite)));
        if let Reply::Refused(refusal) = reply {
            self.board.as_mut().map(|board| board.forget(id));
            return Err(Failure::new(refusal.code()));
        }
        let board = self.board.as_mut().ok_or_else(|| Failure::new(503))?;
        let Some(dialog) = board.dialog(id) else {
            return Err(board.take_failure().unwrap_or_else(|| Failure::new(480)));
        };
        let is_changed = dialog.is_ringing() || dialog.is_answered();
        // It was looked at above, and dialogs of before may have ended: there is room.
        let _ = board.follow(id, invitation.control.as_deref());
        if is_changed {
            self.tell_control(id, Vec::new());
        }
        Ok(id)
    }

    /// What is called, and by which trunk: a domain may be the number of one.
    fn number_of(&self, invitation: &Invitation) -> Option<(Number, Option<Number>)> {
        let Some(domain) = &invitation.domain else {
            return Some((Number::new(&invitation.user).ok()?, None));
        };
        let trunk = Number::new(domain.as_str()).ok()?;
        let is_trunk = |device: &moqswitch_calls::DeviceView| device.kind == moqswitch_calls::DeviceKind::Trunk;
        let devices = self
            .plane
            .number(&trunk)
            .map(|number| number.devices)
            .unwrap_or_default();
        if devices.iter().any(is_trunk) {
            return Some((Number::new(&invitation.user).ok()?, Some(trunk)));
        }
        let numbers = self.board.as_ref()?.numbers_of(&invitation.user, domain);
        let is_there = |number: &&Number| {
            self.plane
                .number(number)
                .is_some_and(|number| !number.devices.is_empty())
        };
        let registered = numbers.iter().find(is_there);
        let number = registered.or(numbers.first())?;
        Some((number.clone(), None))
    }

    /// A control server does not take what it is told: its dialogs end.
    pub(crate) fn control_failed(&mut self, dialogs: &[CallId]) {
        for dialog in dialogs {
            let event = self.failed(*dialog);
            self.handle(event);
        }
    }

    fn failed(&mut self, dialog: CallId) -> Event {
        let cause = Some(Cause::Unreachable);
        Event::Control {
            request: self.request_id(Asker::Nobody),
            event: ControlEvent::Hangup { dialog, cause },
        }
    }

    /// As soon as this event is done with.
    fn end_untold(&mut self, Untold(dialogs): Untold) {
        for dialog in dialogs {
            let event = self.failed(dialog);
            self.follow_up.push_back(event);
        }
    }

    pub(super) fn take_control(&mut self, notice: ControlNotice) {
        match notice {
            ControlNotice::Dialled {
                dialog,
                domain,
                from,
                dialled,
            } => self.begin_dialog(dialog, &domain, &from, &dialled),
            ControlNotice::Referred { dialog, to, replaces } => {
                if let Some(board) = &mut self.board {
                    board.refer(dialog, &to, replaces);
                    self.tell_control(dialog, Vec::new());
                }
            }
            ControlNotice::Over {
                dialog, cause, call, ..
            } => self.over(dialog, cause, call),
        }
    }

    fn begin_dialog(&mut self, dialog: CallId, domain: &Text, from: &moqswitch_calls::Party, dialled: &Number) {
        let caller = self.plane.call(dialog).and_then(|call| call.legs.into_iter().next());
        let contact = caller.as_ref().map(|leg| self.contact_of(leg.session));
        let begun = Begun {
            id: dialog,
            domain: domain.as_str().to_owned(),
            listener: SessionId(draw(&self.random)),
            started_ms: unix_ms(),
            parent: None,
        };
        let Some(board) = &mut self.board else { return };
        if board
            .begin_called(begun, from, dialled, contact.as_deref().unwrap_or_default())
            .is_err()
        {
            let request: RequestId = self.request_id(Asker::Nobody);
            let cause = Some(Cause::Congestion);
            let event = ControlEvent::Hangup { dialog, cause };
            self.follow_up.push_back(Event::Control { request, event });
            return;
        }
        if let Some(leg) = caller {
            self.follow_leg(&leg);
        }
        self.tell_control(dialog, Vec::new());
    }

    fn contact_of(&self, session: SessionId) -> String {
        let device = self.plane.device(session);
        device.map(|device| device.contact.to_string()).unwrap_or_default()
    }

    /// A leg of a dialog has changed.
    pub(super) fn follow_leg(&mut self, view: &LegView) {
        let contact = self.contact_of(view.session);
        let Some(dialog) = self.board.as_mut().and_then(|board| board.dialog_mut(view.leg.call)) else {
            return;
        };
        let was_answered = dialog.is_answered();
        let is_changed = dialog.follow(view, &contact);
        let listener = dialog.listener();
        if view.state == LegState::Up && !was_answered {
            let grants = Grants {
                publish: Vec::new(),
                subscribe: vec![format!("{}/**", view.leg.path())],
            };
            self.grant(listener, grants);
        }
        if is_changed {
            self.tell_control(view.leg.call, Vec::new());
        }
    }

    fn tell_control(&mut self, dialog: CallId, others: Vec<CallId>) {
        let Some(board) = &mut self.board else { return };
        let Some(listener) = board
            .dialog(dialog)
            .filter(|dialog| dialog.is_followed())
            .map(|dialog| dialog.listener())
        else {
            return;
        };
        let media = self.media.media(listener);
        let untold = board.tell(dialog, &media, others);
        self.end_untold(untold);
    }

    fn over(&mut self, id: CallId, cause: Cause, call: CallId) {
        let Some(dialog) = self.board.as_mut().and_then(|board| board.dialog_mut(id)) else {
            return;
        };
        dialog.end(cause, unix_ms());
        // Who was with it is alone, and has only its program.
        let others = self.plane.call(call).map(|call| call.legs).unwrap_or_default();
        let others = others.iter().filter(|leg| leg.is_controlled && leg.leg.call != id);
        let others: Vec<CallId> = others.map(|leg| leg.leg.call).collect();
        self.tell_control(id, if others.len() == 1 { others } else { Vec::new() });
        let Some(dialog) = self.board.as_mut().and_then(|board| board.forget(id)) else {
            return;
        };
        self.untold.remove(&dialog.listener());
        self.media.over(dialog.listener());
    }

    pub(super) fn follow_registration(&mut self, number: &Number, contact: &Text, on: bool) {
        let is_registered = self
            .plane
            .number(number)
            .is_some_and(|number| !number.devices.is_empty());
        // One of several devices may go: the user is still there.
        if on || !is_registered {
            let Some(board) = &self.board else { return };
            board.tell_registration(number, contact.as_str(), on);
        }
    }
}
