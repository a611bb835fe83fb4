//! Domains of control programs, with their users: a tree by label. What is pushed stays until it is pushed again. Of secrets
//! only hashes are known, here as in the journal.

use std::collections::{BTreeMap, BTreeSet};

use moqswitch_calls::Number;
use moqswitch_sip::digest::{Algorithm, Ha1};

use crate::limits::{DIRECTORY_DOMAINS_MAX, DIRECTORY_USERS_MAX, DOMAIN_LABELS_MAX};

/// `bling.babblevoice.com`, in small letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DomainName(String);

/// The directory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// By labels, the last first: what is below a domain follows it.
    domains: BTreeMap<Vec<String>, Domain>,
    users: usize,
}

#[derive(Debug, Default)]
struct Domain {
    control: Option<String>,
    users: BTreeMap<String, Secret>,
}

/// Who a user is, by hashes that only whoever has the secret can make: what SIP's digest starts from (RFC 7616, section
/// 3.4.2), so that the secret itself is not kept.
#[derive(Clone, PartialEq, Eq)]
struct Secret {
    sha256: Ha1,
    md5: Ha1,
}

/// A user as it is pushed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) secret: String,
}

/// A node of the tree, as it is shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) users: Vec<String>,
    /// The labels below.
    pub(crate) domains: Vec<String>,
    pub(crate) control: Option<String>,
}

/// Users that are there from here on, that are not, and that have another secret.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// The directory has as many domains or users as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl DomainName {
    /// `None`: it is no name of a domain, or has too many labels.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_label = |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_plain);
        let is_name = text.len() <= DOMAIN_BYTES_MAX
            && text.split('.').all(is_label)
            && text.split('.').count() <= DOMAIN_LABELS_MAX;
        is_name.then(|| Self(text.to_ascii_lowercase()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn path(&self) -> Vec<String> {
        self.0.split('.').rev().map(str::to_owned).collect()
    }

    fn of(path: &[String]) -> Self {
        let labels: Vec<&str> = path.iter().rev().map(String::as_str).collect();
        Self(labels.join("."))
    }
}

impl User {
    /// `None`: it has no name that can be dialled.
    pub(crate) fn new(name: &str, secret: &str) -> Option<Self> {
        let is_name = Number::new(name).is_ok() && !name.contains('@') && name.len() <= USER_BYTES_MAX;
        is_name.then(|| Self {
            name: name.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

impl Directory {
    /// Puts a whole domain in the place of what was there.
    pub(crate) fn replace(
        &mut self,
        name: &DomainName,
        control: Option<String>,
        users: &[User],
    ) -> Result<Change, Full> {
        let old = self.domains.get(&name.path());
        let old_users = old.map_or(0, |domain| domain.users.len());
        let new: BTreeMap<String, Secret> = users
            .iter()
            .map(|user| (user.name.clone(), Secret::of(name, user)))
            .collect();
        let count = self.users - old_users + new.len();
        if count > DIRECTORY_USERS_MAX || (old.is_none() && self.domains.len() >= DIRECTORY_DOMAINS_MAX) {
            return Err(Full);
        }
        let was: BTreeSet<String> = old
            .map(|domain| domain.users.keys().cloned().collect())
            .unwrap_or_default();
        let is: BTreeSet<String> = new.keys().cloned().collect();
        let is_changed = |(user, secret): &(&String, &Secret)| {
            old.and_then(|domain| domain.users.get(*user))
                .is_some_and(|had| had != *secret)
        };
        let changed = new.iter().filter(is_changed).map(|(user, _)| user.clone()).collect();
        self.users = count;
        self.domains.insert(name.path(), Domain { control, users: new });
        Ok(Change {
            added: is.difference(&was).cloned().collect(),
            removed: was.difference(&is).cloned().collect(),
            changed,
        })
    }

    /// What was pushed to the process before, by hashes. What is none is left out.
    pub(crate) fn restore(
        &mut self,
        name: &DomainName,
        control: Option<String>,
        users: impl Iterator<Item = (String, String, String)>,
    ) -> Result<Vec<String>, Full> {
        let secret = |sha256: &str, md5: &str| {
            Some(Secret {
                sha256: Ha1::from_hex(Algorithm::Sha256, sha256)?,
                md5: Ha1::from_hex(Algorithm::Md5, md5)?,
            })
        };
        let users: BTreeMap<String, Secret> = users
            .filter(|(user, ..)| User::new(user, "").is_some())
            .filter_map(|(user, sha256, md5)| Some((user, secret(&sha256, &md5)?)))
            .collect();
        let is_full = self.users + users.len() > DIRECTORY_USERS_MAX || self.domains.len() >= DIRECTORY_DOMAINS_MAX;
        if is_full || self.domains.contains_key(&name.path()) {
            return Err(Full);
        }
        self.users += users.len();
        let names = users.keys().cloned().collect();
        self.domains.insert(name.path(), Domain { control, users });
        Ok(names)
    }

    /// The hashes of a user's secret, SHA-256 and MD5, to be kept.
    pub(crate) fn hashes(&self, name: &DomainName, user: &str) -> Option<(&str, &str)> {
        let secret = self.domains.get(&name.path())?.users.get(user)?;
        Some((secret.sha256.hex(), secret.md5.hex()))
    }

    /// Changes what is said, and removes nothing. `None`: there is no such domain.
    pub(crate) fn merge(
        &mut self,
        name: &DomainName,
        control: Option<String>,
        users: &[User],
    ) -> Option<Result<Change, Full>> {
        let domain = self.domains.get_mut(&name.path())?;
        let added: BTreeSet<&str> = users
            .iter()
            .map(|user| user.name.as_str())
            .filter(|name| !domain.users.contains_key(*name))
            .collect();
        if self.users + added.len() > DIRECTORY_USERS_MAX {
            return Some(Err(Full));
        }
        self.users += added.len();
        let added = added.into_iter().map(str::to_owned).collect();
        let mut changed = Vec::new();
        for user in users {
            let secret = Secret::of(name, user);
            let is_another = domain.users.get(&user.name).is_some_and(|had| *had != secret);
            changed.extend(is_another.then(|| user.name.clone()));
            domain.users.insert(user.name.clone(), secret);
        }
        if control.is_some() {
            domain.control = control;
        }
        Some(Ok(Change {
            added,
            removed: Vec::new(),
            changed,
        }))
    }

    /// Removes a domain with everything below it: each, with the users that it had.
    pub(crate) fn remove(&mut self, name: &DomainName) -> Vec<(DomainName, Vec<String>)> {
        let below: Vec<Vec<String>> = self.below(&name.path()).map(|(path, _)| path.clone()).collect();
        let mut removed = Vec::new();
        for path in below {
            if let Some(domain) = self.domains.remove(&path) {
                self.users -= domain.users.len();
                removed.push((DomainName::of(&path), domain.users.into_keys().collect()));
            }
        }
        removed
    }

    /// `None`: there is no such domain. False: no such user was in it.
    pub(crate) fn remove_user(&mut self, name: &DomainName, user: &str) -> Option<bool> {
        let domain = self.domains.get_mut(&name.path())?;
        let was_there = domain.users.remove(user).is_some();
        self.users -= usize::from(was_there);
        Some(was_there)
    }

    /// A node; without a name the root.
    pub(crate) fn node(&self, name: Option<&DomainName>) -> Option<Node> {
        let path = name.map(DomainName::path).unwrap_or_default();
        let mut node = Node::default();
        let mut is_there = path.is_empty();
        let mut labels = BTreeSet::new();
        for (below, domain) in self.below(&path) {
            is_there = true;
            match below.get(path.len()) {
                Some(label) => {
                    labels.insert(label.clone());
                }
                None => {
                    node.users = domain.users.keys().cloned().collect();
                    node.control.clone_from(&domain.control);
                }
            }
        }
        node.domains = labels.into_iter().collect();
        is_there.then_some(node)
    }

    /// Users of a domain, in order. `None`: there is no such domain.
    pub(crate) fn users(&self, name: &DomainName) -> Option<impl Iterator<Item = &str>> {
        let domain = self.domains.get(&name.path())?;
        Some(domain.users.keys().map(String::as_str))
    }

    pub(crate) fn control(&self, name: &DomainName) -> Option<&str> {
        self.domains.get(&name.path())?.control.as_deref()
    }

    /// Is this the user's secret? `None`: there is no such domain, and nothing is said of its users.
    pub(crate) fn admits(&self, name: &DomainName, user: &str, secret: Option<&str>) -> Option<bool> {
        let domain = self.domains.get(&name.path())?;
        let asked = User {
            name: user.to_owned(),
            secret: secret.unwrap_or_default().to_owned(),
        };
        // Hashed whoever is meant, so that it takes as long.
        let asked = Secret::of(name, &asked);
        Some(secret.is_some() && domain.users.get(user).is_some_and(|known| *known == asked))
    }

    /// What SIP's digest of a user starts from. The realm is the domain.
    pub(crate) fn digest(&self, name: &DomainName, user: &str, algorithm: Algorithm) -> Option<Ha1> {
        let secret = self.domains.get(&name.path())?.users.get(user)?;
        Some(match algorithm {
            Algorithm::Sha256 => secret.sha256.clone(),
            Algorithm::Md5 => secret.md5.clone(),
        })
    }

    /// Is there such a domain?
    pub(crate) fn has(&self, name: &DomainName) -> bool {
        self.domains.contains_key(&name.path())
    }

    fn below(&self, path: &[String]) -> impl Iterator<Item = (&Vec<String>, &Domain)> {
        let domains = self.domains.range(path.to_vec()..);
        let path = path.to_vec();
        domains.take_while(move |(below, _)| below.starts_with(&path))
    }
}

impl Secret {
    fn of(domain: &DomainName, user: &User) -> Self {
        let of = |algorithm| Ha1::of(algorithm, &user.name, domain.as_str(), &user.secret);
        Self {
            sha256: of(Algorithm::Sha256),
            md5: of(Algorithm::Md5),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

/// As DNS has it.
const LABEL_BYTES_MAX: usize = 63;

/// A user and a domain are a number together.
const USER_BYTES_MAX: usize = 48;
const DOMAIN_BYTES_MAX: usize = 79;

const _: () = assert!(USER_BYTES_MAX + 1 + DOMAIN_BYTES_MAX <= moqswitch_calls::limits::NUMBER_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn user(name: &str) -> User {
        User::new(name, "secret").unwrap()
    }

    #[test]
    fn domains_are_a_tree_of_five_labels() {
        let mut directory = Directory::default();
        assert_eq!(directory.node(None), Some(Node::default()));
        let control = Some("http://127.0.0.1:9001".to_owned());
        directory
            .replace(&name("Bling.babblevoice.com"), control.clone(), &[user("1003")])
            .unwrap();
        directory.replace(&name("a.bling.babblevoice.com"), None, &[]).unwrap();
        let bling = directory.node(Some(&name("bling.babblevoice.COM"))).unwrap();
        assert_eq!(
            bling,
            Node {
                users: vec!["1003".to_owned()],
                domains: vec!["a".to_owned()],
                control
            }
        );
        assert_eq!(directory.node(None).unwrap().domains, ["com"]);
        assert_eq!(directory.node(Some(&name("com"))).unwrap().domains, ["babblevoice"]);
        assert_eq!(directory.node(Some(&name("ling.babblevoice.com"))), None);
        assert_eq!(directory.remove(&name("babblevoice.com")).len(), 2);
        assert_eq!(directory.node(Some(&name("com"))), None, "empty parents go");
        assert_eq!(directory.users, 0);
        for bad in ["", ".", "a..b", "a.b.c.d.e.f", "a b", "a/b", "a\r\nX: y", "ä.example"] {
            assert_eq!(DomainName::parse(bad), None, "{bad}");
        }
        assert_eq!(DomainName::parse(&"x".repeat(64)), None);
        assert!(DomainName::parse("a.b.c.d.e").is_some());
    }

    #[test]
    fn pushing_replaces_and_patching_adds() {
        let (mut directory, domain) = (Directory::default(), name("a.example"));
        assert!(directory.merge(&domain, None, &[user("1")]).is_none());
        directory.replace(&domain, None, &[user("1"), user("2")]).unwrap();
        let change = directory.replace(&domain, None, &[user("2"), user("3")]).unwrap();
        assert_eq!(
            change,
            Change {
                added: vec!["3".to_owned()],
                removed: vec!["1".to_owned()],
                changed: Vec::new(),
            }
        );
        // Another secret, and the one that it had.
        let users = [User::new("2", "another").unwrap(), user("3")];
        assert_eq!(directory.merge(&domain, None, &users).unwrap().unwrap().changed, ["2"]);
        let change = directory.replace(&domain, None, &[user("2"), user("3")]).unwrap();
        assert_eq!((change.changed, change.removed.len()), (vec!["2".to_owned()], 0));
        let change = directory
            .merge(&domain, None, &[user("3"), user("4")])
            .unwrap()
            .unwrap();
        assert_eq!(change.added, ["4"]);
        assert_eq!(directory.remove_user(&domain, "9"), Some(false));
        assert_eq!(directory.remove_user(&domain, "4"), Some(true));
        assert_eq!(directory.remove_user(&name("b.example"), "4"), None);
        assert_eq!(directory.users, 2);
    }

    #[test]
    fn directory_has_bounds() {
        let mut directory = Directory::default();
        for number in 0..DIRECTORY_DOMAINS_MAX {
            directory.replace(&name(&format!("d{number}")), None, &[]).unwrap();
        }
        assert_eq!(directory.replace(&name("more"), None, &[]), Err(Full));
        let many: Vec<User> = (0..=DIRECTORY_USERS_MAX)
            .map(|number| user(&number.to_string()))
            .collect();
        assert_eq!(directory.replace(&name("d0"), None, &many), Err(Full));
        directory.replace(&name("d0"), None, &many[1..]).unwrap();
        assert_eq!(directory.merge(&name("d1"), None, &[user("x")]), Some(Err(Full)));
    }

    #[test]
    fn secrets_are_asked_and_never_shown() {
        let (mut directory, domain) = (Directory::default(), name("a.example"));
        directory.replace(&domain, None, &[user("1")]).unwrap();
        assert_eq!(directory.admits(&domain, "1", Some("secret")), Some(true));
        assert_eq!(directory.admits(&domain, "1", Some("other")), Some(false));
        assert_eq!(directory.admits(&domain, "1", None), Some(false));
        assert_eq!(directory.admits(&domain, "2", Some("secret")), Some(false));
        assert_eq!(directory.admits(&name("b.example"), "1", None), None);
        assert!(!format!("{directory:?}").contains("secret"));
        assert!(User::new("a@b", "x").is_none() && User::new("a\r\nb", "x").is_none() && User::new("", "x").is_none());
    }
}
