//! The dialplan as one value: rules in order, and what they name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::pattern::Pattern;
use super::schedule::Schedule;
use super::target::Target;
use crate::codec::Codecs;
use crate::ids::{Number, Text};

/// Where dialled numbers go. It is replaced as a whole. By default there is no rule: every number is that of its devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dialplan {
    /// The first that matches decides.
    pub(super) rules: Vec<Rule>,
    pub(super) profiles: Vec<Profile>,
    pub(super) groups: BTreeMap<Text, Group>,
    pub(super) queues: BTreeMap<Text, Queue>,
    pub(super) times: BTreeMap<Text, Schedule>,
    /// The queues of each agent.
    pub(super) agents: BTreeMap<Number, Vec<Text>>,
    /// Are numbers that no rule matches refused?
    pub(super) is_closed: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) name: Text,
    /// Where it stands in its file.
    pub(super) line: usize,
    pub(super) to: Pattern,
    pub(super) from: Option<Pattern>,
    /// The trunk that the call came by. None: by any, or by none.
    pub(super) by: Option<By>,
    /// May callers on a trunk reach the target where that is a trunk as well?
    pub(super) transit: bool,
    pub(super) when: Option<Text>,
    pub(super) unless: Option<Text>,
    /// Characters taken off the front of the number.
    pub(super) strip: usize,
    /// Put before what is left.
    pub(super) prepend: String,
    /// What the caller hears once, before the call goes anywhere.
    pub(super) play: Option<Text>,
    /// None: the number's devices.
    pub(super) target: Option<Target>,
    pub(super) hook: Option<Hook>,
    pub(super) ring: Option<Duration>,
    pub(super) record: bool,
    pub(super) fallbacks: Fallbacks,
}

/// By which trunk calls have to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By any.
    AnyTrunk,
    /// By the one that is registered so.
    Trunk(Number),
}

/// Who decides what rules cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Whom to ask.
    pub url: String,
    /// How long to wait.
    pub timeout: Duration,
    /// Where the call goes when nobody answers. None: as if there were no hook.
    pub fallback: Option<Target>,
}

/// Where a call goes that was not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// It rang, and nobody answered, or everybody declined.
    pub no_answer: Option<Target>,
    /// Everybody was busy.
    pub busy: Option<Target>,
    /// Nothing could ring.
    pub unreachable: Option<Target>,
}

/// What callers with a number like this may do, and are.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Whose.
    pub(super) from: Pattern,
    /// The trunk that they are on. None: on any, or on none.
    pub(super) by: Option<By>,
    pub(super) line: usize,
    /// Shown instead of the name that the device gives.
    pub name: Option<Text>,
    /// The codecs that they may use.
    pub codecs: Option<Codecs>,
    /// Are their calls recorded?
    pub record: bool,
    /// Calls at once.
    pub calls_max: Option<usize>,
    /// Numbers that begin so are refused.
    pub forbidden: Vec<String>,
}

/// Numbers that ring together or in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who.
    pub members: Vec<Number>,
    /// How.
    pub strategy: Strategy,
    /// How long each round rings.
    pub ring: Duration,
    /// What then.
    pub fallbacks: Fallbacks,
}

/// The order in which members ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All at once.
    All,
    /// One at a time, in the order that they are written.
    InTurn,
    /// One at a time, whose last call is longest ago first.
    LeastRecent,
}

/// Callers that wait for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Who answers.
    pub agents: Vec<Number>,
    /// Heard meanwhile: the broadcast `moh/<name>`.
    pub music: Text,
    /// How long one agent rings before the next.
    pub ring: Duration,
    /// How long an agent is left alone after a call.
    pub wrap_up: Duration,
    /// Is an agent who does not answer set to away?
    pub away_unless_answered: bool,
    /// How many may wait.
    pub waiting_max: usize,
    /// How long.
    pub wait_max: Duration,
    /// For whom finds no place. None: busy.
    pub full: Option<Target>,
    /// For whom waited too long. None: no answer.
    pub timeout: Option<Target>,
}

impl Dialplan {
    /// A queue by its name.
    pub fn queue(&self, name: &Text) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// A ring group by its name.
    pub fn group(&self, name: &Text) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Every queue.
    pub fn queues(&self) -> impl Iterator<Item = (&Text, &Queue)> {
        self.queues.iter()
    }

    /// The queues that a number is an agent of.
    pub fn queues_of(&self, agent: &Number) -> impl Iterator<Item = &Text> {
        self.agents.get(agent).into_iter().flatten()
    }

    /// The first profile that matches the caller, who is on the trunk `by` or on none.
    pub fn profile(&self, from: &Number, by: Option<&Number>) -> Option<&Profile> {
        let is_for = |profile: &&Profile| {
            let is_by = profile.by.as_ref().is_none_or(|trunk| trunk.fits(by));
            is_by && profile.from.matches(from.as_str())
        };
        self.profiles.iter().find(is_for)
    }
}

impl Profile {
    /// Does the profile forbid this number?
    pub fn forbids(&self, to: &Number) -> bool {
        self.forbidden.iter().any(|prefix| to.as_str().starts_with(prefix))
    }
}

impl By {
    /// As the file has it: `trunk/city`, `trunk/*`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("trunk/")? {
            "*" => Some(Self::AnyTrunk),
            name => Number::new(name).ok().map(Self::Trunk),
        }
    }

    /// Did a call come so?
    pub(super) fn fits(&self, by: Option<&Number>) -> bool {
        match self {
            Self::AnyTrunk => by.is_some(),
            Self::Trunk(name) => by == Some(name),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyTrunk => formatter.write_str("a trunk"),
            Self::Trunk(name) => write!(formatter, "trunk/{name}"),
        }
    }
}

impl Strategy {
    /// As the file has it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "all" => Self::All,
            "in-turn" => Self::InTurn,
            "least-recent" => Self::LeastRecent,
            _ => return None,
        })
    }
}
