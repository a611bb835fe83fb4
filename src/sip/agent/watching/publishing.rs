//! Telephones publish how their users are (PUBLISH, RFC 3903): each has a tag for what it said, and says by it what it renews,
//! changes or takes back.

use std::collections::HashMap;
use std::time::Instant;

use crate::agent::errands::Alarm;
use crate::agent::event::Host;
use crate::agent::registering::domain_of;
use crate::agent::{Agent, Event, Timer};
use crate::flow::Flow;
use crate::limits::{PUBLICATIONS_MAX, PUBLICATIONS_PER_USER_MAX, PUBLISHED_BYTES_MAX, WATCHED_NAME_BYTES_MAX};
use crate::message::Message;
use crate::message::syntax::Uri;
use crate::transaction::ServerId;

use super::{Package, Presence, Refusal, expires_of, pidf};

/// What one telephone says of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::agent) struct PublicationId(u64);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    pub(super) publications: HashMap<PublicationId, Publication>,
    pub(super) tags: HashMap<String, PublicationId>,
    /// The last one that said something is the last.
    pub(super) users: HashMap<(String, String), Vec<PublicationId>>,
}

#[derive(Debug)]
pub(super) struct Publication {
    user: (String, String),
    pub(super) tag: String,
    state: Presence,
}

#[cfg(test)]
impl Publishing {
    /// Of each table how many.
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.publications.len(), self.tags.len(), self.users.len()]
    }
}

impl Agent {
    pub(in crate::agent) fn take_publish(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        message: &Message,
        host: &mut dyn Host,
    ) {
        let from = message.from().and_then(|from| from.address());
        let (Some(from), Some(to)) = (from, Uri::parse(message.uri())) else {
            return self.reply(now, id, message, 400, &[]);
        };
        let event = message
            .get("Event")
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        if Package::parse(event.trim()) != Some(Package::Presence) {
            return self.reply(now, id, message, 489, &[PUBLISHED]);
        }
        let domain = domain_of(&from);
        if !self.is_known(now, flow, id, message, (&from.user, &domain), host) {
            return;
        }
        // Of itself alone: of whom it showed to be.
        if to.user != from.user || to.user.is_empty() || to.user.len() > WATCHED_NAME_BYTES_MAX {
            return self.reply(now, id, message, 403, &[]);
        }
        if let Err(status) = host.publish(&from.user, &domain) {
            return self.reply(now, id, message, status.clamp(300, 699), &[PUBLISHED]);
        }
        let user = (from.user, domain);
        match self.publish(now, message, user) {
            Ok((tag, seconds)) => {
                let seconds = seconds.to_string();
                self.reply(now, id, message, 200, &[("SIP-ETag", &tag), ("Expires", &seconds)]);
            }
            Err(refusal) => self.refuse_watch(now, id, message, &refusal),
        }
    }

    /// In the order of section 6: the tag, and for how many seconds it is good.
    fn publish(&mut self, now: Instant, message: &Message, user: (String, String)) -> Result<(String, u64), Refusal> {
        let publishing = &self.watching.publishing;
        let known = match message.get("SIP-If-Match") {
            None => None,
            Some(tag) => {
                let found = publishing.tags.get(tag.trim()).copied();
                let own = found.filter(|id| publishing.publications.get(id).is_some_and(|own| own.user == user));
                Some(own.ok_or((412, None))?)
            }
        };
        let expires = expires_of(message)?;
        let state = match (document(message)?, known) {
            (None, None) => return Err((400, None)),
            (state, _) => state,
        };
        let (before, tag) = (self.published(&user), self.random_text());
        if expires.is_zero() {
            if let Some(id) = known {
                self.forget_publication(id);
                self.tell_published(user, before.as_ref());
            }
            return Ok((tag, 0));
        }
        let id = self.keep_publication(known, &user, tag.clone(), state)?;
        self.set_timer(Timer::Alarm(Alarm::Publication(id)), Some(now + expires));
        self.tell_published(user, before.as_ref());
        Ok((tag, expires.as_secs()))
    }

    /// Under another tag each time (section 6, step 6).
    fn keep_publication(
        &mut self,
        known: Option<PublicationId>,
        user: &(String, String),
        tag: String,
        state: Option<Presence>,
    ) -> Result<PublicationId, Refusal> {
        let publishing = &mut self.watching.publishing;
        let id = match known {
            Some(id) => id,
            None if publishing.publications.len() >= PUBLICATIONS_MAX => {
                return Err((503, Some(("Retry-After", "60".to_owned()))));
            }
            None if publishing.users.get(user).map_or(0, Vec::len) >= PUBLICATIONS_PER_USER_MAX => {
                return Err((403, None));
            }
            None => {
                self.begun += 1;
                PublicationId(self.begun)
            }
        };
        let before = publishing.publications.remove(&id);
        if let Some(before) = &before {
            publishing.tags.remove(&before.tag);
        }
        let all = publishing.users.entry(user.clone()).or_default();
        if state.is_some() {
            all.retain(|other| *other != id);
            all.push(id);
        }
        let state = state.or(before.map(|before| before.state)).unwrap_or_default();
        publishing.tags.insert(tag.clone(), id);
        let user = user.clone();
        publishing.publications.insert(id, Publication { user, tag, state });
        Ok(id)
    }

    /// What was said of a user last.
    fn published(&self, user: &(String, String)) -> Option<Presence> {
        let publishing = &self.watching.publishing;
        let last = publishing.users.get(user)?.last()?;
        Some(publishing.publications.get(last)?.state.clone())
    }

    /// If it is other than before.
    fn tell_published(&mut self, user: (String, String), before: Option<&Presence>) {
        let state = self.published(&user);
        if state.as_ref() != before {
            let (user, domain) = user;
            self.events.push_back(Event::Published { user, domain, state });
        }
    }

    fn forget_publication(&mut self, id: PublicationId) {
        self.set_timer(Timer::Alarm(Alarm::Publication(id)), None);
        let publishing = &mut self.watching.publishing;
        let Some(publication) = publishing.publications.remove(&id) else {
            return;
        };
        publishing.tags.remove(&publication.tag);
        if let Some(all) = publishing.users.get_mut(&publication.user) {
            all.retain(|other| *other != id);
            if all.is_empty() {
                publishing.users.remove(&publication.user);
            }
        }
    }

    /// It was not renewed.
    pub(in crate::agent) fn publication_due(&mut self, id: PublicationId) {
        let found = self.watching.publishing.publications.get(&id);
        let Some(user) = found.map(|publication| publication.user.clone()) else {
            return;
        };
        let before = self.published(&user);
        self.forget_publication(id);
        self.tell_published(user, before.as_ref());
    }
}

/// What a PUBLISH says. None: nothing, what was said before goes on.
fn document(message: &Message) -> Result<Option<Presence>, Refusal> {
    if message.body.is_empty() {
        return Ok(None);
    }
    if message.body.len() > PUBLISHED_BYTES_MAX {
        return Err((413, None));
    }
    let kind = Package::Presence.kind();
    let body = message.body_of(kind).ok_or((415, Some(("Accept", kind.to_owned()))))?;
    pidf::parse(body).map(Some).ok_or((400, None))
}

/// What may be published.
const PUBLISHED: (&str, &str) = ("Allow-Events", "presence");
