//! Announcements: a caller hears something once, before its call goes on. Nobody waits for the end of one longer than
//! [`PLAY_MAX`].

use crate::action::{Action, MediaAction, Notice, Report};
use crate::dialplan::Route;
use crate::grants::announcement_path;
use crate::ids::{CallId, LegId, PlayId, Text};
use crate::limits::PLAY_MAX;

use super::CallPlane;
use super::state::{Purpose, Wait};
use super::timers::Timer;

impl CallPlane {
    /// The caller hears the route's announcement first. The route comes back where nothing is to be heard, or by nobody: who
    /// is up already, as in transfers, hears none.
    pub(super) fn play_first(&mut self, id: CallId, mut route: Route) -> Option<Route> {
        let Some(name) = route.play.take() else {
            return Some(route);
        };
        let hearer = self.hearer_of(id);
        let Some((session, leg)) = hearer.filter(|_| !self.is_forbidden(id, &route.dialled)) else {
            return Some(route);
        };
        self.plays_begun += 1;
        let play = PlayId(self.plays_begun);
        let path = announcement_path(&name, id, play);
        let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) else {
            return Some(route);
        };
        attempt.wait = Wait::Play {
            play,
            name: name.clone(),
            path: path.clone(),
            then: Box::new(route),
        };
        self.plays.insert(play, id);
        self.timers.set(Timer::Play(play), self.after(PLAY_MAX));
        self.changed.calls.insert(id);
        self.staged.push(Action::Media(MediaAction::Play {
            play,
            name: name.clone(),
            path: path.clone(),
        }));
        let whole = None;
        self.report(Report::Announcement {
            call: id,
            name: name.clone(),
            whole,
        });
        let call = leg.call;
        let music = Some(path);
        self.notify(session, Notice::Announcement { call, leg, name, music });
        None
    }

    /// Who hears announcements: a caller that waits.
    fn hearer_of(&self, id: CallId) -> Option<(crate::ids::SessionId, LegId)> {
        let call = self.calls.get(&id)?;
        let attempt = call.attempt.as_ref()?;
        let leg = self.legs.get(&call.caller?)?;
        (attempt.purpose == Purpose::Dial && !leg.is_up()).then_some((leg.session, leg.id))
    }

    /// It is over, or nobody says so: the call goes on. What comes late is not heeded.
    pub(super) fn play_is_over(&mut self, play: PlayId, whole: bool) {
        let Some(id) = self.plays.remove(&play) else { return };
        self.timers.clear(&Timer::Play(play));
        let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) else {
            return;
        };
        if !matches!(attempt.wait, Wait::Play { .. }) {
            return;
        }
        let Wait::Play { name, then, .. } = std::mem::replace(&mut attempt.wait, Wait::Forks) else {
            return;
        };
        self.end_play(id, name, whole);
        self.take_route(id, *then);
    }

    /// Nobody says that it is over.
    pub(super) fn play_is_late(&mut self, play: PlayId) {
        let call = self.plays.get(&play).and_then(|id| self.calls.get(id));
        if let Some(Wait::Play { path, .. }) = call.and_then(|call| Some(&call.attempt.as_ref()?.wait)) {
            let path = path.clone();
            self.staged.push(Action::Media(MediaAction::StopPlaying { path }));
        }
        self.play_is_over(play, false);
    }

    /// The caller does not wait for it any more.
    pub(super) fn stop_playing(&mut self, id: CallId, play: PlayId, name: Text, path: String) {
        if self.plays.remove(&play).is_some() {
            self.timers.clear(&Timer::Play(play));
            self.staged.push(Action::Media(MediaAction::StopPlaying { path }));
            self.end_play(id, name, false);
        }
    }

    fn end_play(&mut self, id: CallId, name: Text, whole: bool) {
        self.changed.calls.insert(id);
        let report = Report::Announcement {
            call: id,
            name: name.clone(),
            whole: Some(whole),
        };
        self.report(report);
        if let Some((session, leg)) = self.hearer_of(id) {
            let (call, music) = (leg.call, None);
            self.notify(session, Notice::Announcement { call, leg, name, music });
        }
    }
}
