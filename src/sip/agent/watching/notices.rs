//! Watchers are told (NOTIFY): one notice at a time, the state of that moment, and no more when nobody is there.

use std::time::Instant;

use crate::agent::errands::{Alarm, Errand};
use crate::agent::event::LegKey;
use crate::agent::leg::State;
use crate::agent::{Agent, Purpose, Timer, address};
use crate::limits::{NOTICE_INTERVAL, NOTICES_MISSED_MAX};
use crate::message::{Message, Method};
use crate::transaction::ClientId;

use super::bodies::{self, Names};
use super::{ALLOW_EVENTS, SubscriptionId, TIMEOUT, Watched, WatchedDialog};

impl Agent {
    /// The call in which a subscription is.
    pub(in crate::agent) fn leg_of_watch(&self, id: SubscriptionId) -> Option<LegKey> {
        self.watching.subscriptions.get(&id)?.watch.leg
    }

    /// A notice went out once more, with a password.
    pub(in crate::agent) fn notice_again(&mut self, id: SubscriptionId, before: ClientId, sent: ClientId) {
        let subscription = self.watching.subscriptions.get_mut(&id);
        if let Some(subscription) = subscription.filter(|own| own.sent == Some(before)) {
            subscription.sent = Some(sent);
        }
    }

    /// Tells what there is, as soon as it may be.
    pub(super) fn tell_watcher(&mut self, now: Instant, id: SubscriptionId) {
        let Some(subscription) = self.watching.subscriptions.get(&id) else {
            return;
        };
        let may = subscription.is_new && subscription.sent.is_none() && subscription.quiet_until <= now;
        if may {
            self.send_notice(now, id, None);
        } else {
            self.rearm_subscription(id);
        }
    }

    /// Sends a notice. With a reason it is the last one.
    pub(super) fn send_notice(&mut self, now: Instant, id: SubscriptionId, over: Option<&str>) {
        let Some(body) = self.body_for(id) else { return };
        let Some(subscription) = self.watching.subscriptions.get_mut(&id) else {
            return;
        };
        let (leg, package) = (subscription.watch.leg, subscription.watch.package);
        let (user, event_id) = (subscription.watch.user.clone(), subscription.id.clone());
        let left = subscription.end.saturating_duration_since(now).as_secs();
        subscription.version += 1;
        let dialog = match (&mut subscription.dialog, leg) {
            (Some(dialog), _) => Some(&mut **dialog),
            (None, Some(leg)) => self.legs.get_mut(&leg).map(|leg| &mut leg.dialog),
            (None, None) => None,
        };
        let Some(dialog) = dialog else { return };
        let mut notify = dialog.request(Method::Notify);
        let flow = dialog.next_hop();
        let event_id = event_id.map(|id| format!(";id={id}")).unwrap_or_default();
        notify.push("Event", format!("{}{event_id}", package.name()));
        let state = match over {
            Some(reason) => format!("terminated;reason={reason}"),
            None => format!("active;expires={left}"),
        };
        notify.push("Subscription-State", state);
        notify.push("Contact", self.contact(&user, flow.transport));
        notify.push(ALLOW_EVENTS.0, ALLOW_EVENTS.1);
        notify.set_body(package.kind(), body);
        // Of the last one no answer changes anything.
        let purpose = match over {
            Some(_) => Purpose::Last(leg),
            None => Purpose::Errand(Errand::Notice(id)),
        };
        let sent = match leg {
            Some(leg) => self.send_inside(now, leg, flow, notify, purpose),
            None => {
                notify.push("User-Agent", &self.settings.agent);
                self.send_request(now, flow, notify, purpose, (None, None)).ok()
            }
        };
        if let Some(subscription) = self.watching.subscriptions.get_mut(&id) {
            // Without room it is told with what comes next.
            subscription.is_new = sent.is_none();
            subscription.sent = sent;
            subscription.quiet_until = now + NOTICE_INTERVAL;
        }
        self.rearm_subscription(id);
    }

    fn body_for(&self, id: SubscriptionId) -> Option<String> {
        let subscription = self.watching.subscriptions.get(&id)?;
        let watch = &subscription.watch;
        let entity = address(&watch.user, &watch.domain);
        Some(match &subscription.state {
            Watched::Presence(presence) => bodies::presence(&entity, presence),
            Watched::Messages(waiting) => bodies::summary(waiting),
            Watched::Dialogs(dialogs) => {
                let names = |dialog: &WatchedDialog| self.names_of(dialog);
                bodies::dialogs(&entity, &watch.user, subscription.version, dialogs, names)
            }
        })
    }

    /// How the user's telephone names its call: the other side there is ours.
    fn names_of(&self, dialog: &WatchedDialog) -> Option<Names> {
        let leg = self.legs.get(&dialog.leg?)?;
        let dialog = &leg.dialog;
        // Of one that rings it is the tag of who rang first.
        let rung = match &leg.state {
            State::Calling { rung, .. } => rung.first(),
            _ => None,
        };
        Some((
            dialog.call_id.clone(),
            dialog.remote_tag.as_ref().or(rung).cloned(),
            dialog.local_tag.clone(),
        ))
    }

    /// What a watcher says to a notice, or that it says nothing (RFC 6665, section 4.2.2).
    pub(in crate::agent) fn notice_answered(
        &mut self,
        now: Instant,
        id: ClientId,
        key: SubscriptionId,
        response: Option<&Message>,
    ) {
        let Some(subscription) = self.watching.subscriptions.get_mut(&key) else {
            return;
        };
        if subscription.sent != Some(id) {
            return;
        }
        subscription.sent = None;
        let is_over = match response.map(Message::status) {
            Some(200..=299) => {
                subscription.misses = 0;
                false
            }
            // One that is lost is no reason yet: a switch between is started anew.
            None | Some(408) => {
                subscription.misses += 1;
                subscription.is_new = true;
                subscription.misses >= NOTICES_MISSED_MAX
            }
            Some(404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604) => true,
            // It could not take this one.
            Some(_) => false,
        };
        if is_over {
            return self.lose_subscription(key);
        }
        self.tell_watcher(now, key);
    }

    /// Time has come: it is over, or there is something to tell.
    pub(in crate::agent) fn subscription_due(&mut self, now: Instant, id: SubscriptionId) {
        let Some(subscription) = self.watching.subscriptions.get(&id) else {
            return;
        };
        if subscription.end <= now {
            self.send_notice(now, id, Some(TIMEOUT));
            return self.lose_subscription(id);
        }
        self.tell_watcher(now, id);
    }

    fn rearm_subscription(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.watching.subscriptions.get(&id) else {
            return;
        };
        let told_at = (subscription.is_new && subscription.sent.is_none()).then_some(subscription.quiet_until);
        let due = told_at.map_or(subscription.end, |at| at.min(subscription.end));
        self.set_timer(Timer::Alarm(Alarm::Subscription(id)), Some(due));
    }
}
