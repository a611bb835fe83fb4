//! What one session may publish and subscribe, until when, and who decides it.

use std::sync::Arc;
use std::time::Instant;

use super::pattern::Patterns;

/// What one session may do. Paths are full paths: the session's root is part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Broadcasts that the session may announce.
    pub publish: Patterns,
    /// Broadcasts that the session may subscribe, fetch and hear of.
    pub subscribe: Patterns,
    /// When the grant lapses: from then on the session may do nothing. `None`: it does not lapse.
    pub until: Option<Instant>,
}

impl Grant {
    /// Every path, both ways, without end.
    pub fn everything() -> Self {
        Self::of(Patterns::everything())
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The same patterns both ways, without end.
    pub fn of(patterns: Patterns) -> Self {
        Self {
            publish: patterns.clone(),
            subscribe: patterns,
            until: None,
        }
    }

    /// Whether the session may announce this broadcast.
    pub fn may_publish(&self, path: &str) -> bool {
        self.publish.matches(path)
    }

    /// Whether the session may subscribe this broadcast, fetch of it and hear of it.
    pub fn may_subscribe(&self, path: &str) -> bool {
        self.subscribe.matches(path)
    }

    /// Whether there can be anything at or below `prefix` that the session may publish or subscribe.
    pub fn may_use_below(&self, prefix: &str) -> bool {
        self.publish.may_match_below(prefix) || self.subscribe.may_match_below(prefix)
    }
}

/// Gives each session its grant when it begins. The only place that does.
#[derive(Clone, Debug)]
pub struct Policy {
    default: Arc<Grant>,
}

/// What a session gets that is let in.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// Path without query: where the session's broadcasts are rooted.
    pub root: &'a str,
    /// What it may do.
    pub grant: Arc<Grant>,
}

impl Policy {
    /// Every session gets the same.
    pub fn uniform(grant: Grant) -> Self {
        Self {
            default: Arc::new(grant),
        }
    }

    /// What a session has that names no path.
    pub fn default_grant(&self) -> Arc<Grant> {
        self.default.clone()
    }

    /// Decides on a session by the path and query of its SETUP or of its URL. `None`: it may do nothing there.
    pub fn admit<'a>(&self, target: &'a str) -> Option<Admission<'a>> {
        // The query is the credential of a deployment that checks one.
        let root = target.split_once('?').map_or(target, |(path, _query)| path);
        self.default.may_use_below(root).then(|| Admission {
            root,
            grant: self.default_grant(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_has_its_own_patterns() {
        let grant = Grant {
            publish: patterns(&["call/7/a/**"]),
            subscribe: patterns(&["call/7/**"]),
            until: None,
        };
        assert!(grant.may_publish("call/7/a/audio") && !grant.may_publish("call/7/b/audio"));
        assert!(grant.may_subscribe("call/7/b/audio") && !grant.may_subscribe("call/8/b"));
        assert!(grant.may_use_below("call/7") && !grant.may_use_below("call/8"));
        assert!(!Grant::nothing().may_use_below(""));
    }

    #[test]
    fn who_could_do_nothing_below_a_path_is_not_let_in() {
        let policy = Policy::uniform(Grant::of(patterns(&["anon/**"])));
        assert_eq!(policy.admit("/anon/room?jwt=x").unwrap().root, "/anon/room");
        assert!(policy.admit("").is_some());
        assert!(policy.admit("/anonymous").is_none());
    }

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }
}
