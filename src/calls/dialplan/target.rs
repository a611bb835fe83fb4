//! Where a call may be sent, as the dialplan and hooks write it: `1002`, `number/1002`, `dial/1002`, `trunk/city`,
//! `group/sales`, `queue/support`, `reject/busy`.

use std::fmt;
use std::str::FromStr;

use crate::cause::Cause;
use crate::ids::{Number, Text};

/// Where a call may be sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The devices of a number; no rule is asked again.
    Number(Number),
    /// A number, as if it had been dialled: the rules are asked again.
    Dial(Number),
    /// What was dialled, after translation, by the trunk that is registered as this number.
    Trunk(Number),
    /// A ring group.
    Group(Text),
    /// A queue.
    Queue(Text),
    /// Nowhere.
    Reject(Cause),
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// What stands before the slash is no kind of target.
    #[error("`{0}` is no kind of target: number, dial, trunk, group, queue and reject are")]
    Kind(String),
    /// What stands behind the slash is no number.
    #[error("`{0}` is no number: letters, digits and + * # - _ . @")]
    Number(String),
    /// What stands behind the slash is no cause.
    #[error("`{0}` is no cause")]
    Cause(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (kind, name) = text.split_once('/').unwrap_or(("number", text));
        let number = || Number::new(name).map_err(|_| TargetError::Number(Text::new(name).to_string()));
        Ok(match kind {
            "number" => Self::Number(number()?),
            "dial" => Self::Dial(number()?),
            "trunk" => Self::Trunk(number()?),
            "group" => Self::Group(Text::new(name)),
            "queue" => Self::Queue(Text::new(name)),
            "reject" => Self::Reject(
                name.parse()
                    .map_err(|_| TargetError::Cause(Text::new(name).to_string()))?,
            ),
            _ => return Err(TargetError::Kind(Text::new(kind).to_string())),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "number/{number}"),
            Self::Dial(number) => write!(formatter, "dial/{number}"),
            Self::Trunk(number) => write!(formatter, "trunk/{number}"),
            Self::Group(name) => write!(formatter, "group/{name}"),
            Self::Queue(name) => write!(formatter, "queue/{name}"),
            Self::Reject(cause) => write!(formatter, "reject/{cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_written() {
        for text in [
            "number/1002",
            "dial/+49",
            "trunk/city",
            "group/sales",
            "queue/support",
            "reject/busy",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("1002".parse(), Ok(Target::Number(Number::new("1002").unwrap())));
        assert!(matches!("voicemail/1".parse::<Target>(), Err(TargetError::Kind(_))));
        assert!(matches!("number/".parse::<Target>(), Err(TargetError::Number(_))));
        assert!(matches!("reject/never".parse::<Target>(), Err(TargetError::Cause(_))));
    }
}
