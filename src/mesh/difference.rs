//! What another list of peers changes, for a line of the log.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::PeerUrl;

/// Names of peers that were not there before, are not there any more, or are dialled otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Difference {
    /// From one list to the next.
    pub fn between(before: &BTreeMap<String, PeerUrl>, after: &BTreeMap<String, PeerUrl>) -> Self {
        let names = |of: &BTreeMap<String, PeerUrl>, is_one: &dyn Fn(&PeerUrl) -> bool| -> Vec<String> {
            let found = of.values().filter(|peer| is_one(peer));
            found.map(|peer| peer.name.clone()).collect()
        };
        let is_changed = |peer: &PeerUrl| before.get(&peer.name).is_some_and(|before| before != peer);
        Self {
            added: names(after, &|peer| !before.contains_key(&peer.name)),
            removed: names(before, &|peer| !after.contains_key(&peer.name)),
            changed: names(after, &is_changed),
        }
    }

    /// The same of what two configurations name.
    pub fn of(before: &[PeerUrl], after: &[PeerUrl]) -> Self {
        let named = |peers: &[PeerUrl]| peers.iter().map(|peer| (peer.name.clone(), peer.clone())).collect();
        Self::between(&named(before), &named(after))
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return formatter.write_str("none");
        }
        let parts = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
        ];
        let parts = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| {
                let shown: Vec<&str> = names.iter().map(String::as_str).take(NAMES_LOGGED_MAX).collect();
                let more = match names.len() - shown.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("{what} {}{more}", shown.join(", "))
            });
        formatter.write_str(&parts.collect::<Vec<String>>().join("; "))
    }
}

const NAMES_LOGGED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_came_went_and_changed() {
        let peers = |urls: &[&str]| -> Vec<PeerUrl> { urls.iter().map(|url| url.parse().unwrap()).collect() };
        let before = peers(&["moql://a", "moql://b", "moql://c?cost=1"]);
        let after = peers(&["moql://a", "moql://c?cost=2", "moql://d?jwt=secret"]);
        let difference = Difference::of(&before, &after);
        assert_eq!(
            difference.to_string(),
            "added moql://d; removed moql://b; changed moql://c"
        );
        assert!(Difference::of(&after, &after).is_empty());
        let many: Vec<String> = (1..=20).map(|port| format!("moql://a:{port}")).collect();
        let many = peers(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(Difference::of(&[], &many).to_string().ends_with(" and 4 more"));
    }
}
