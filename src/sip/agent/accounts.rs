//! By what we are known where somebody asks (RFC 3261, section 22): requests of ours, and the same once more with a password.

use std::time::{Duration, Instant};

use crate::digest::{Attempt, Client, Credentials, Place, Secret};
use crate::flow::Flow;
use crate::message::{Message, Method};
use crate::transaction::{ClientId, NoRoom};

use super::errands::Errand;
use super::event::LegKey;
use super::leg::{Offer, State};
use super::{Agent, Purpose};

/// What a request of ours was asked for, and by whom we are known there.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) account: u64,
    attempt: Attempt,
}

impl Agent {
    /// By which we are known to a peer that is no trunk: a trunk has its own ([`Agent::set_trunk`]).
    pub fn set_account(&mut self, account: u64, user: &str, secret: Secret) {
        self.accounts.insert(account, Client::new(user, secret));
    }

    /// Sends a request that has everything but its Via. What is known of the account from before goes along already.
    /// `wait`: how long any answer is waited for, where that is not the usual time.
    pub(super) fn send_request(
        &mut self,
        now: Instant,
        flow: Flow,
        mut request: Message,
        purpose: Purpose,
        (account, wait): (Option<u64>, Option<Duration>),
    ) -> Result<ClientId, NoRoom> {
        self.resolve(&mut request, account);
        request.push_front("Via", self.via(flow.transport));
        let asked = self.say_credentials(account, &mut request);
        let id = match wait {
            Some(wait) => self.transactions.request_within(now, flow, request, wait)?,
            None => self.transactions.request(now, flow, request)?,
        };
        self.clients.insert(id, purpose);
        if let Some(asked) = asked {
            self.asked.insert(id, asked);
        }
        Ok(id)
    }

    fn say_credentials(&mut self, account: Option<u64>, request: &mut Message) -> Option<Asked> {
        let cnonce = self.random_text();
        let account = account?;
        let mut attempt = Attempt::default();
        if let Some(client) = self.accounts.get_mut(&account) {
            let method = request.method().map_or("", Method::name).to_owned();
            let answers = client.begin(&mut attempt, &method, request.uri(), &cnonce);
            put(request, &answers);
        }
        Some(Asked { account, attempt })
    }

    /// A request that was answered 401 or 407, once more with what was asked for. None: that is its answer.
    pub(super) fn ask_again(&mut self, now: Instant, id: ClientId, response: &Message) -> Option<ClientId> {
        if !matches!(response.status(), 401 | 407) {
            return None;
        }
        let cnonce = self.random_text();
        let mut request = self.transactions.sent(id)?.clone();
        let asked = self.asked.get_mut(&id)?;
        let client = self.accounts.get_mut(&asked.account)?;
        let method = request.method().map_or("", Method::name);
        let answers = answers_to(client, &mut asked.attempt, (method, request.uri()), response, &cnonce)?;
        put(&mut request, &answers);
        self.send_again(now, id, request)
    }

    /// In the place of one that is answered: the same call, the next number (section 22.2).
    pub(super) fn send_again(&mut self, now: Instant, id: ClientId, mut request: Message) -> Option<ClientId> {
        let flow = self.transactions.flow_of(id)?;
        let purpose = self.clients.get(&id).copied()?;
        let number = self.next_number(purpose, &request)?;
        let method = request.method().map_or("", Method::name).to_owned();
        request.set("CSeq", format!("{number} {method}"));
        let via = self.via(flow.transport);
        request.set("Via", via);
        let sent = self.transactions.request(now, flow, request).ok()?;
        let asked = self.asked.remove(&id);
        self.forget_client(id);
        self.clients.insert(sent, purpose);
        if let Some(asked) = asked {
            self.asked.insert(sent, asked);
        }
        self.went_again(purpose, id, sent, number);
        Some(sent)
    }

    /// That of its dialog, where there still is one.
    fn next_number(&mut self, purpose: Purpose, request: &Message) -> Option<u32> {
        let leg = self.leg_of(purpose).and_then(|key| self.legs.get_mut(&key));
        match leg.and_then(|leg| leg.dialog_with(request.to_tag().as_deref())) {
            Some(dialog) => Some(dialog.count_request()),
            None => request.cseq()?.0.checked_add(1),
        }
    }

    /// In whose dialog a request is.
    pub(super) fn leg_of(&self, purpose: Purpose) -> Option<LegKey> {
        match purpose {
            Purpose::Invite(key)
            | Purpose::Offer(key)
            | Purpose::Inside(key)
            | Purpose::Prack(key)
            | Purpose::Notify(key)
            | Purpose::Errand(Errand::Refer(key)) => Some(key),
            Purpose::Last(leg) => leg,
            Purpose::Errand(Errand::Notice(subscription)) => self.leg_of_watch(subscription),
            Purpose::Errand(_) | Purpose::Ping(_) => None,
        }
    }

    /// Who waits for its answer waits for that of the other one.
    fn went_again(&mut self, purpose: Purpose, before: ClientId, sent: ClientId, number: u32) {
        match purpose {
            Purpose::Invite(key) => {
                if let Some(leg) = self.legs.get_mut(&key)
                    && let State::Calling {
                        invite,
                        can_cancel,
                        early,
                        rung,
                        ..
                    } = &mut leg.state
                {
                    *invite = sent;
                    *can_cancel = false;
                    early.clear();
                    rung.clear();
                }
            }
            Purpose::Offer(key) => {
                if let Some(leg) = self.legs.get_mut(&key)
                    && let Offer::Own { request, cseq, .. } = &mut leg.offer
                    && *request == before
                {
                    *request = sent;
                    *cseq = number;
                }
            }
            Purpose::Errand(Errand::Refer(key)) => self.refer_again(key, number),
            Purpose::Errand(Errand::Notice(subscription)) => self.notice_again(subscription, before, sent),
            Purpose::Inside(_)
            | Purpose::Prack(_)
            | Purpose::Notify(_)
            | Purpose::Errand(_)
            | Purpose::Ping(_)
            | Purpose::Last(_) => {}
        }
    }
}

/// What a 401 or a 407 is answered. None: nothing can be, or it was refused.
pub(super) fn answers_to(
    client: &mut Client,
    attempt: &mut Attempt,
    (method, uri): (&str, &str),
    response: &Message,
    cnonce: &str,
) -> Option<Vec<Credentials>> {
    let place = if response.status() == 401 {
        Place::Server
    } else {
        Place::Proxy
    };
    let challenges: Vec<&str> = response.all(place.asking()).collect();
    client.answer(attempt, place, &challenges, method, uri, cnonce).ok()
}

/// A header for each realm (section 22.3), in the place of those before.
fn put(request: &mut Message, answers: &[Credentials]) {
    for place in PLACES {
        request.remove(place.answering());
    }
    for answer in answers {
        request.push(answer.place.answering(), &answer.value);
    }
}

/// The ACK of a 2xx has the credentials of its INVITE (section 13.2.2.4).
pub(super) fn copy_credentials(invite: &Message, ack: &mut Message) {
    for place in PLACES {
        for value in invite.all(place.answering()) {
            ack.push(place.answering(), value);
        }
    }
}

const PLACES: [Place; 2] = [Place::Server, Place::Proxy];
