//! Where rules cannot decide, a hook does. Nobody waits for it longer than its rule says.

use crate::action::{Action, HookQuestion};
use crate::cause::Cause;
use crate::dialplan::{Hook, Target};
use crate::event::{HookAnswer, HookDecision};
use crate::ids::{CallId, HookId};

use super::CallPlane;
use super::state::Wait;
use super::timers::Timer;

impl CallPlane {
    pub(super) fn ask_hook(&mut self, id: CallId, hook: Hook) {
        self.hooks_asked += 1;
        let question = HookId(self.hooks_asked);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(attempt) = call.attempt.as_mut() else {
            return;
        };
        attempt.wait = Wait::Hook {
            hook: question,
            fallback: hook.fallback,
        };
        let action = Action::AskHook(HookQuestion {
            hook: question,
            call: id,
            url: hook.url,
            timeout: hook.timeout,
            from: call.from.clone(),
            dialled: attempt.dialled.clone(),
        });
        self.staged.push(action);
        self.hooks.insert(question, id);
        self.timers.set(Timer::Hook(question), self.after(hook.timeout));
    }

    /// A hook has answered, or has not. What comes late is not heeded.
    pub(super) fn handle_hook(&mut self, hook: HookId, answer: HookAnswer) {
        let Some(id) = self.hooks.remove(&hook) else {
            return;
        };
        self.timers.clear(&Timer::Hook(hook));
        let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) else {
            return;
        };
        let fallback = match &attempt.wait {
            Wait::Hook { fallback, .. } => fallback.clone(),
            Wait::Forks | Wait::Control | Wait::Play { .. } | Wait::Queue { .. } => return,
        };
        attempt.wait = Wait::Forks;
        let dialled = attempt.dialled.clone();
        match answer {
            // What it says may be what the caller dialled.
            HookAnswer::Target(target) => self.go_on(id, target, false),
            HookAnswer::Decided(decision) => self.carry_out_decision(id, *decision),
            HookAnswer::Reject(cause) => self.fail_attempt(id, cause),
            // Without a fallback it is as if there were no hook: the number's own devices.
            HookAnswer::Failed => {
                let target = fallback.unwrap_or(Target::Number(dialled));
                let is_sent_on = matches!(target, Target::Dial(_));
                self.go_on(id, target, is_sent_on);
            }
        }
    }

    fn carry_out_decision(&mut self, id: CallId, decision: HookDecision) {
        let HookDecision {
            target,
            play,
            ring,
            record,
            codecs,
            name,
        } = decision;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(attempt) = call.attempt.as_mut().filter(|_| ring.is_some()) {
            attempt.asked = ring;
        }
        let caller = call.caller.and_then(|caller| self.legs.get_mut(&caller));
        if let Some(name) = name {
            call.from.name = name;
        }
        if let Some(leg) = caller {
            leg.party.name = call.from.name.clone();
            let allowed = codecs.map_or(leg.codecs, |codecs| leg.codecs.and(codecs));
            if allowed.is_empty() || leg.speaks.is_some_and(|codec| !allowed.contains(codec)) {
                return self.fail_attempt(id, Cause::Incompatible);
            }
            leg.codecs = allowed;
        }
        if let Some(on) = record {
            self.record(id, on);
        }
        if let Some(mut route) = self.route_on(id, target, false, None) {
            route.play = play.or(route.play);
            self.take_route(id, route);
        }
    }
}
