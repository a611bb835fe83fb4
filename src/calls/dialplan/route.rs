//! Where one dialled number goes, and why: rules in order, forwards followed, loops found.

use std::time::Duration;

use super::plan::{Dialplan, Fallbacks, Hook, Rule};
use super::target::Target;
use crate::cause::Cause;
use crate::ids::{Number, Text};
use crate::limits::FORWARDS_MAX;
use crate::moment::LocalTime;

/// Where a call goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The rule that decided, with its line.
    pub rule: Option<(Text, usize)>,
    /// Where to.
    pub destination: Destination,
    /// The number after translation.
    pub dialled: Number,
    /// How long it rings, where the rule says so.
    pub ring: Option<Duration>,
    /// What then.
    pub fallbacks: Fallbacks,
    /// What the caller hears once before that: of the last rule that says so.
    pub play: Option<Text>,
    /// Is the call to be recorded?
    pub record: bool,
    /// May a caller on a trunk go out by a trunk? The rule says so, or a number that was reached sends the call on.
    pub transit: bool,
}

/// What a call reaches in the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// The devices of a number.
    Number(Number),
    /// [`Route::dialled`] by the trunk that is registered as this number.
    Trunk(Number),
    /// A ring group.
    Group(Text),
    /// A queue.
    Queue(Text),
    /// A hook decides.
    Hook(Hook),
    /// Nowhere.
    Reject(Cause),
}

/// Where a call has been: so that forwards end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trail {
    visited: Vec<Target>,
}

/// Who calls what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Who.
    pub from: &'a Number,
    /// What.
    pub to: &'a Number,
    /// When.
    pub when: LocalTime,
    /// The trunk that the one who dials is on. None: somebody of the house.
    pub by: Option<&'a Number>,
    /// A number that was reached sends the call on, so it is not the caller who chooses.
    pub is_sent_on: bool,
}

/// One step of a decision, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was found.
    pub text: String,
    /// The line of the file that says so. None: no line does.
    pub line: Option<usize>,
}

impl Trail {
    /// Notes the next target, unless that would be a loop (482) or too far (483).
    fn enter(&mut self, target: Target) -> Result<(), Cause> {
        if self.visited.contains(&target) {
            return Err(Cause::LoopDetected);
        }
        // The first is what was dialled itself.
        if self.visited.len() > FORWARDS_MAX {
            return Err(Cause::TooManyHops);
        }
        self.visited.push(target);
        Ok(())
    }

    /// How often the call was sent on.
    pub fn hops(&self) -> usize {
        self.visited.len().saturating_sub(1)
    }
}

impl Dialplan {
    /// Where a dialled number goes.
    pub fn dial(&self, query: Query<'_>, trail: &mut Trail) -> Route {
        self.route(query, Target::Dial(query.to.clone()), trail, &mut |_, _| {})
    }

    /// Where a target leads that a rule, a hook or a fallback names.
    pub fn follow(&self, query: Query<'_>, target: Target, trail: &mut Trail) -> Route {
        self.route(query, target, trail, &mut |_, _| {})
    }

    /// The same, telling each step.
    pub(super) fn route(
        &self,
        query: Query<'_>,
        mut target: Target,
        trail: &mut Trail,
        tell: &mut dyn FnMut(String, Option<usize>),
    ) -> Route {
        let mut route = Route {
            rule: None,
            destination: Destination::Reject(Cause::Internal),
            dialled: query.to.clone(),
            ring: None,
            fallbacks: Fallbacks::default(),
            play: None,
            record: false,
            transit: query.is_sent_on,
        };
        // Each turn enters one more target, so it ends.
        loop {
            if let Err(cause) = trail.enter(target.clone()) {
                tell(format!("{target} ends the call: {cause}"), None);
                route.destination = Destination::Reject(cause);
                return route;
            }
            let Target::Dial(number) = target else {
                route.destination = self.destination(target, &mut route.fallbacks);
                return route;
            };
            route.dialled = number.clone();
            let step = Query {
                to: &number,
                is_sent_on: route.transit,
                ..query
            };
            let Some(rule) = self.matching(step, tell) else {
                route.destination = if self.is_closed {
                    tell("no rule matches, and the plan is closed".to_owned(), None);
                    Destination::Reject(Cause::Unallocated)
                } else {
                    tell("no rule matches: the number's own devices".to_owned(), None);
                    Destination::Number(number)
                };
                return route;
            };
            route.take(rule, tell);
            let Some(translated) = rule.translate(&number) else {
                tell(
                    "nothing is left of the number after translation".to_owned(),
                    Some(rule.line),
                );
                route.destination = Destination::Reject(Cause::Unallocated);
                return route;
            };
            if translated != number {
                tell(format!("{number} becomes {translated}"), Some(rule.line));
            }
            route.dialled = translated.clone();
            if let Some(hook) = &rule.hook {
                tell(format!("asks {}", hook.url), Some(rule.line));
                route.destination = Destination::Hook(hook.clone());
                return route;
            }
            match &rule.target {
                Some(next) => {
                    tell(format!("goes to {next}"), Some(rule.line));
                    // Who was reached decides that it goes on.
                    route.transit |= matches!(next, Target::Dial(_));
                    target = next.clone();
                }
                None => {
                    tell(format!("goes to number/{translated}"), Some(rule.line));
                    route.destination = Destination::Number(translated);
                    return route;
                }
            }
        }
    }

    /// What a target that is not dialled again reaches. Groups bring their own fallbacks.
    fn destination(&self, target: Target, fallbacks: &mut Fallbacks) -> Destination {
        match target {
            Target::Number(number) | Target::Dial(number) => Destination::Number(number),
            Target::Trunk(name) => Destination::Trunk(name),
            Target::Group(name) => match self.groups.get(&name) {
                Some(group) => {
                    fallbacks.fill(&group.fallbacks);
                    Destination::Group(name)
                }
                None => Destination::Reject(Cause::Unallocated),
            },
            Target::Queue(name) if self.queues.contains_key(&name) => Destination::Queue(name),
            Target::Queue(_) => Destination::Reject(Cause::Unallocated),
            Target::Reject(cause) => Destination::Reject(cause),
        }
    }

    fn matching(&self, query: Query<'_>, tell: &mut dyn FnMut(String, Option<usize>)) -> Option<&Rule> {
        for rule in &self.rules {
            let refused = self.refusal(rule, query);
            let verdict = refused.as_deref().unwrap_or("matches");
            tell(format!("rule {}: {verdict}", rule.name), Some(rule.line));
            if refused.is_none() {
                return Some(rule);
            }
        }
        None
    }

    /// Why a rule is not for this call.
    fn refusal(&self, rule: &Rule, query: Query<'_>) -> Option<String> {
        if !rule.to.matches(query.to.as_str()) {
            return Some(format!("{} is not {}", query.to, rule.to));
        }
        if let Some(from) = &rule.from
            && !from.matches(query.from.as_str())
        {
            return Some(format!("the caller {} is not {from}", query.from));
        }
        if let Some(by) = &rule.by
            && !by.fits(query.by)
        {
            return Some(format!("the call did not come by {by}"));
        }
        if let (Some(Target::Trunk(_)), Some(own)) = (&rule.target, query.by)
            && !rule.transit
            && !query.is_sent_on
        {
            return Some(format!(
                "the caller is on trunk/{own}, and it does not say transit = true"
            ));
        }
        let holds = |name: &Text| self.times.get(name).is_some_and(|times| times.holds(query.when));
        if let Some(name) = &rule.when
            && !holds(name)
        {
            return Some(format!("it is not {name}"));
        }
        if let Some(name) = &rule.unless
            && holds(name)
        {
            return Some(format!("it is {name}"));
        }
        None
    }
}

impl Route {
    /// What a rule says beside where to.
    fn take(&mut self, rule: &Rule, tell: &mut dyn FnMut(String, Option<usize>)) {
        self.rule = Some((rule.name.clone(), rule.line));
        self.ring = rule.ring.or(self.ring);
        self.record |= rule.record;
        if let Some(name) = &rule.play {
            tell(format!("plays {name} once"), Some(rule.line));
            self.play = Some(name.clone());
        }
        self.transit |= rule.transit;
        self.fallbacks = rule.fallbacks.clone();
    }
}

impl Rule {
    fn translate(&self, number: &Number) -> Option<Number> {
        let rest = number.as_str().get(self.strip..)?;
        Number::new(&format!("{}{rest}", self.prepend)).ok()
    }
}

impl Fallbacks {
    /// Takes what is not said yet.
    fn fill(&mut self, other: &Self) {
        for (own, other) in [
            (&mut self.no_answer, &other.no_answer),
            (&mut self.busy, &other.busy),
            (&mut self.unreachable, &other.unreachable),
        ] {
            if own.is_none() {
                own.clone_from(other);
            }
        }
    }

    /// What is said for a cause.
    pub fn of(&self, cause: Cause) -> Option<&Target> {
        match cause {
            Cause::Busy => self.busy.as_ref(),
            Cause::NoAnswer | Cause::NoReply | Cause::Rejected => self.no_answer.as_ref(),
            Cause::Unreachable | Cause::Unallocated | Cause::Congestion => self.unreachable.as_ref(),
            Cause::Normal
            | Cause::Forbidden
            | Cause::PaymentRequired
            | Cause::AnsweredElsewhere
            | Cause::Cancelled
            | Cause::MediaTimeout
            | Cause::DurationExceeded
            | Cause::Transferred
            | Cause::Glare
            | Cause::LoopDetected
            | Cause::TooManyHops
            | Cause::Shutdown
            | Cause::Incompatible
            | Cause::ProtocolError
            | Cause::Internal => None,
        }
    }
}
