//! What a SUBSCRIBE wants, and what it is answered (RFC 6665, sections 4.2.1 and 4.4).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::agent::dialog::{Dialog, contact_of};
use crate::agent::event::{Host, LegKey};
use crate::agent::registering::domain_of;
use crate::agent::{ALLOW, Agent, Event};
use crate::flow::Flow;
use crate::limits::{
    SUBSCRIPTION_MAX, SUBSCRIPTION_MIN, SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_PER_USER_MAX, SUBSCRIPTIONS_PER_WATCHER_MAX,
    WATCHED_NAME_BYTES_MAX,
};
use crate::message::syntax::{Parameters, Uri};
use crate::message::{Message, Method};
use crate::transaction::ServerId;

use super::{ALLOW_EVENTS, Package, Subscription, SubscriptionId, TIMEOUT, Watch, remove_from};

/// What a SUBSCRIBE asks for.
struct Asked {
    package: Package,
    id: Option<String>,
    /// Zero: to be told once, or no more.
    expires: Duration,
}

/// A refusal: its status and one header.
pub(super) type Refusal = (u16, Option<(&'static str, String)>);

impl Agent {
    /// Somebody wants to watch, outside of calls and of subscriptions.
    pub(in crate::agent) fn take_subscribe(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        message: &Message,
        host: &mut dyn Host,
    ) {
        let asked = match asked_of(message) {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse_watch(now, id, message, &refusal),
        };
        let from = message.from().and_then(|from| from.address());
        let (Some(from), Some(to)) = (from, Uri::parse(message.uri())) else {
            return self.reply(now, id, message, 400, &[]);
        };
        let is_short = to.user.len() <= WATCHED_NAME_BYTES_MAX && from.user.len() <= WATCHED_NAME_BYTES_MAX;
        if contact_of(message).is_none() || message.from_tag().is_none() || !is_short {
            return self.reply(now, id, message, 400, &[]);
        }
        let domain = domain_of(&from);
        if !self.is_known(now, flow, id, message, (&from.user, &domain), host) {
            return;
        }
        let flow = self.transactions.reply_flow(id).unwrap_or(flow);
        let tag = self.random_text();
        let Some(dialog) = Dialog::of_request(message, tag, flow) else {
            return self.reply(now, id, message, 400, &[]);
        };
        let watch = Watch {
            subscription: self.next_subscription(),
            package: asked.package,
            domain: domain_of(&to),
            user: to.user,
            watcher: (from.user, domain),
            leg: None,
            flow,
        };
        self.begin_watch(now, id, message, (watch, asked, Some(dialog)), host);
    }

    /// The peer of a call wants to watch whom it talks to, and nobody else; or goes on, or ends it.
    pub(in crate::agent) fn take_subscribe_inside(
        &mut self,
        now: Instant,
        key: LegKey,
        id: ServerId,
        message: &Message,
        host: &mut dyn Host,
    ) {
        let asked = match asked_of(message) {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse_watch(now, id, message, &refusal),
        };
        let known = self.watching.legs.get(&key).into_iter().flatten().copied();
        let known = known.filter_map(|id| Some((id, self.watching.subscriptions.get(&id)?)));
        let mut known = known.filter(|(_, own)| own.watch.package == asked.package && own.id == asked.id);
        if let Some((subscription, _)) = known.next() {
            return self.go_on_watching(now, id, message, subscription, &asked);
        }
        let Some(leg) = self.legs.get(&key).filter(|leg| leg.is_up()) else {
            return self.refuse_watch(now, id, message, &(481, None));
        };
        // Who was checked when the call began. What the headers of this one say was not (RFC 3261, section 12.2.2).
        let parties = leg.dialog.parties();
        let parties = parties.and_then(|(own, peer)| Some((own.address()?, peer.address()?)));
        let (Some((to, from)), flow) = (parties, leg.dialog.flow) else {
            return self.refuse_watch(now, id, message, &(400, None));
        };
        let asked_for = message.to().and_then(|to| to.address());
        if asked_for.is_none_or(|asked_for| asked_for.user != to.user || domain_of(&asked_for) != domain_of(&to)) {
            return self.refuse_watch(now, id, message, &(403, None));
        }
        let watch = Watch {
            subscription: self.next_subscription(),
            package: asked.package,
            domain: domain_of(&to),
            user: to.user,
            watcher: (from.user.clone(), domain_of(&from)),
            leg: Some(key),
            flow,
        };
        self.begin_watch(now, id, message, (watch, asked, None), host);
    }

    /// A request in the dialog of a subscription. False: there is none.
    pub(in crate::agent) fn take_watched(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        message: &Message,
        tag: &str,
    ) -> bool {
        let key = (message.call_id().to_owned(), tag.to_owned());
        let Some(own) = self.watching.dialogs.get(&key).copied() else {
            return false;
        };
        let flow = self.transactions.reply_flow(id).unwrap_or(flow);
        let Some(subscription) = self.watching.subscriptions.get_mut(&own) else {
            return false;
        };
        let Some(dialog) = &mut subscription.dialog else {
            return false;
        };
        if message.from_tag() != dialog.remote_tag {
            return false;
        }
        let number = message.cseq().map(|(number, _)| number);
        if number <= dialog.remote_cseq {
            self.refuse_watch(now, id, message, &(500, None));
            return true;
        }
        dialog.remote_cseq = number;
        match message.method() {
            Some(Method::Subscribe) => {}
            Some(Method::Options) => {
                self.answer_options(now, id, message);
                return true;
            }
            _ => {
                self.refuse_watch(now, id, message, &(405, Some(("Allow", ALLOW.to_owned()))));
                return true;
            }
        }
        dialog.retarget(message);
        dialog.flow = flow;
        let before = std::mem::replace(&mut subscription.watch.flow, flow).connection;
        remove_from(&mut self.watching.connections, before, own);
        if flow.connection != 0 {
            self.watching
                .connections
                .entry(flow.connection)
                .or_default()
                .insert(own);
        }
        let (package, name) = (subscription.watch.package, subscription.id.clone());
        match asked_of(message) {
            Ok(asked) if asked.package == package && asked.id == name => {
                self.go_on_watching(now, id, message, own, &asked);
            }
            // One subscription in one dialog (RFC 6665, section 4.5.1): others have their own.
            Ok(_) => self.refuse_watch(now, id, message, &(403, None)),
            Err(refusal) => self.refuse_watch(now, id, message, &refusal),
        }
        true
    }

    fn next_subscription(&mut self) -> SubscriptionId {
        self.begun += 1;
        SubscriptionId(self.begun)
    }

    pub(super) fn refuse_watch(&mut self, now: Instant, id: ServerId, message: &Message, (status, header): &Refusal) {
        if message.to_tag().is_none() {
            let header = header.as_ref().map(|(name, value)| (*name, value.as_str()));
            return self.reply(now, id, message, *status, header.as_slice());
        }
        // Within a dialog. A repetition is too late for that, so this answer is kept for it.
        let mut response = Message::response(message, *status, crate::agent::reason_of(*status));
        if let Some((name, value)) = header {
            response.push(name, value);
        }
        response.push("Server", &self.settings.agent);
        self.transactions.respond(now, id, &response);
    }

    /// There may be so many, and not more.
    fn has_room_to_watch(&self, watch: &Watch) -> Result<(), Refusal> {
        let watching = &self.watching;
        if watching.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err((503, Some(("Retry-After", "60".to_owned()))));
        }
        let of_watcher = watching.watchers.get(&watch.watcher).map_or(0, BTreeSet::len);
        let user = (watch.user.clone(), watch.domain.clone());
        let of_user = watching.watched.get(&user).copied().unwrap_or(0);
        if of_watcher >= SUBSCRIPTIONS_PER_WATCHER_MAX || of_user >= SUBSCRIPTIONS_PER_USER_MAX {
            return Err((403, None));
        }
        Ok(())
    }

    fn begin_watch(
        &mut self,
        now: Instant,
        id: ServerId,
        message: &Message,
        (watch, asked, dialog): (Watch, Asked, Option<Dialog>),
        host: &mut dyn Host,
    ) {
        let contact = contact_of(message).unwrap_or_default();
        if !asked.expires.is_zero() {
            self.end_watch_before(&watch, &asked, &contact);
        }
        if let Err(refusal) = self.has_room_to_watch(&watch) {
            return self.refuse_watch(now, id, message, &refusal);
        }
        let state = match host.watch(&watch) {
            Ok(state) if state.package() == watch.package => state,
            Ok(_) => return self.refuse_watch(now, id, message, &(500, None)),
            Err(status) => {
                let allow = (ALLOW_EVENTS.0, ALLOW_EVENTS.1.to_owned());
                return self.refuse_watch(now, id, message, &(status.clamp(300, 699), Some(allow)));
            }
        };
        let key = watch.subscription;
        let subscription = Subscription {
            dialog: dialog.map(Box::new),
            id: asked.id,
            contact,
            end: now + asked.expires,
            state,
            version: 0,
            is_new: false,
            sent: None,
            quiet_until: now,
            misses: 0,
            watch: watch.clone(),
        };
        self.remember_watch(subscription);
        self.answer_watch(now, id, message, key, asked.expires);
        if asked.expires.is_zero() {
            // It wants to know once (section 4.4.3).
            self.send_notice(now, key, Some(TIMEOUT));
            return self.forget_subscription(key);
        }
        self.send_notice(now, key, None);
        self.events.push_back(Event::Subscribed(Box::new(watch)));
    }

    /// A telephone that was started again knows nothing of what it asked for before.
    fn end_watch_before(&mut self, watch: &Watch, asked: &Asked, contact: &str) {
        let all = self.watching.watchers.get(&watch.watcher).into_iter().flatten();
        let is_before = |id: &&SubscriptionId| {
            self.watching.subscriptions.get(id).is_some_and(|own| {
                let same = |own: &Watch| {
                    (own.package, &own.user, &own.domain, own.leg)
                        == (watch.package, &watch.user, &watch.domain, watch.leg)
                };
                same(&own.watch) && own.id == asked.id && own.contact == contact && !contact.is_empty()
            })
        };
        let before: Vec<SubscriptionId> = all.filter(is_before).copied().collect();
        for id in before {
            self.lose_subscription(id);
        }
    }

    /// 200, with our tag, our Contact and for how long.
    fn answer_watch(&mut self, now: Instant, id: ServerId, message: &Message, key: SubscriptionId, expires: Duration) {
        let Some(subscription) = self.watching.subscriptions.get(&key) else {
            return;
        };
        let (user, transport) = (subscription.watch.user.clone(), subscription.watch.flow.transport);
        let tag = subscription.dialog.as_ref().map(|dialog| dialog.local_tag.clone());
        let mut response = Message::response(message, 200, crate::agent::reason_of(200));
        if let Some(tag) = tag.filter(|_| response.to_tag().is_none()) {
            let to = response.get("To").unwrap_or_default().to_owned();
            response.set("To", format!("{to};tag={tag}"));
        }
        response.push("Expires", expires.as_secs().to_string());
        response.push("Contact", self.contact(&user, transport));
        response.push(ALLOW_EVENTS.0, ALLOW_EVENTS.1);
        response.push("Server", &self.settings.agent);
        self.transactions.respond(now, id, &response);
    }

    /// It is renewed, or given up: told of once more either way (section 4.2.1.2).
    fn go_on_watching(&mut self, now: Instant, id: ServerId, message: &Message, key: SubscriptionId, asked: &Asked) {
        let Some(subscription) = self.watching.subscriptions.get_mut(&key) else {
            return self.refuse_watch(now, id, message, &(481, None));
        };
        subscription.end = now + asked.expires;
        subscription.misses = 0;
        if let Some(contact) = contact_of(message) {
            subscription.contact = contact;
        }
        self.answer_watch(now, id, message, key, asked.expires);
        if asked.expires.is_zero() {
            self.send_notice(now, key, Some(TIMEOUT));
            return self.lose_subscription(key);
        }
        if let Some(subscription) = self.watching.subscriptions.get_mut(&key) {
            subscription.is_new = true;
            subscription.quiet_until = now;
        }
        self.tell_watcher(now, key);
    }
}

/// What a SUBSCRIBE asks for, or how it is refused.
fn asked_of(message: &Message) -> Result<Asked, Refusal> {
    let event = message.get("Event").unwrap_or_default();
    let (name, parameters) = event.split_once(';').unwrap_or((event, ""));
    let Some(package) = Package::parse(name.trim()) else {
        return Err((489, Some((ALLOW_EVENTS.0, ALLOW_EVENTS.1.to_owned()))));
    };
    let accepts: Vec<&str> = message.items("Accept").collect();
    let takes = |kind: &&str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        ["*/*", "application/*", package.kind()]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(kind))
    };
    if !accepts.is_empty() && !accepts.iter().any(takes) {
        return Err((406, Some(("Accept", package.kind().to_owned()))));
    }
    let expires = expires_of(message)?;
    let id = Parameters::parse(parameters)
        .value("id")
        .map(|id| id.chars().take(64).collect());
    Ok(Asked { package, id, expires })
}

/// How long it is to be, within bounds. Too little is refused.
pub(super) fn expires_of(message: &Message) -> Result<Duration, Refusal> {
    let asked = message
        .number("Expires")
        .map(|seconds| Duration::from_secs(seconds.into()));
    let asked = asked.unwrap_or(SUBSCRIPTION_MAX);
    if !asked.is_zero() && asked < SUBSCRIPTION_MIN {
        let least = SUBSCRIPTION_MIN.as_secs().to_string();
        return Err((423, Some(("Min-Expires", least))));
    }
    Ok(asked.min(SUBSCRIPTION_MAX))
}
