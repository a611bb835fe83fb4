//! What a plan does with a number, in words: for people who ask why.

use std::fmt;

use super::plan::Dialplan;
use super::route::{Destination, Query, Route, Step, Trail};
use super::target::Target;
use crate::ids::Number;
use crate::moment::LocalTime;

/// What a plan does with a number, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Each rule that was looked at and what followed, in order.
    pub steps: Vec<Step>,
    /// What came of it.
    pub route: Route,
}

impl Dialplan {
    /// Which rule decides when `from`, who is on no trunk, dials `to`, and why.
    pub fn explain(&self, to: &Number, from: &Number, when: LocalTime) -> Explanation {
        self.explain_query(Query {
            from,
            to,
            when,
            by: None,
            is_sent_on: false,
        })
    }

    /// The same for whoever dials: a caller on a trunk as well.
    pub fn explain_query(&self, query: Query<'_>) -> Explanation {
        let Query { from, to, by, .. } = query;
        let mut steps = Vec::new();
        if let Some(profile) = self.profile(from, by) {
            let forbids = profile.forbids(to);
            let verdict = if forbids {
                "forbids the number: the call is refused"
            } else {
                "allows the number"
            };
            steps.push(Step {
                text: format!("the profile of {from} {verdict}"),
                line: Some(profile.line),
            });
        }
        let mut tell = |text: String, line: Option<usize>| steps.push(Step { text, line });
        let route = self.route(query, Target::Dial(to.clone()), &mut Trail::default(), &mut tell);
        let forbids = |profile: &super::plan::Profile| profile.forbids(&route.dialled) && !profile.forbids(to);
        if let Some(profile) = self.profile(from, by).filter(|profile| forbids(profile)) {
            steps.push(Step {
                text: format!("the profile of {from} forbids {}: the call ends", route.dialled),
                line: Some(profile.line),
            });
        }
        Explanation { steps, route }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step.line {
                Some(line) => writeln!(formatter, "line {line}: {}", step.text)?,
                None => writeln!(formatter, "{}", step.text)?,
            }
        }
        let route = &self.route;
        match &route.rule {
            Some((rule, line)) => write!(formatter, "rule {rule} (line {line}): ")?,
            None => write!(formatter, "no rule: ")?,
        }
        if let Some(name) = &route.play {
            write!(formatter, "plays {name}, then ")?;
        }
        match &route.destination {
            Destination::Number(number) => write!(formatter, "rings {number}")?,
            Destination::Trunk(trunk) => write!(formatter, "{} by trunk {trunk}", route.dialled)?,
            Destination::Group(name) => write!(formatter, "rings group {name}")?,
            Destination::Queue(name) => write!(formatter, "waits in queue {name}")?,
            Destination::Hook(hook) => write!(formatter, "asks {}", hook.url)?,
            Destination::Reject(cause) => {
                write!(
                    formatter,
                    "ends with {cause} (SIP {}, Q.850 {})",
                    cause.sip_status(),
                    cause.q850()
                )?;
            }
        }
        let fallbacks = [
            ("no answer", &route.fallbacks.no_answer),
            ("busy", &route.fallbacks.busy),
            ("unreachable", &route.fallbacks.unreachable),
        ];
        for (when, target) in fallbacks {
            if let Some(target) = target {
                write!(formatter, "; {when}: {target}")?;
            }
        }
        Ok(())
    }
}
