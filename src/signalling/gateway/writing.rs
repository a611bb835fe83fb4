//! What telephones tell beside calls: texts to each other, and how their users are.

use std::time::Instant;

use moqswitch_calls::{AgentState, Event, Number, WatchEvent};
use moqswitch_sip::agent::{self, Activity, Binding, Letter, Presence};

use super::Gateway;
use crate::exchange::Exchange;

impl Gateway {
    /// A text goes to every telephone of whom it is for. Browsers have none.
    pub(super) fn take_text(&mut self, exchange: &Exchange, text: &agent::Text) {
        let Some(number) = exchange.number_of_text(text) else {
            return;
        };
        let contacts: Vec<Binding> = self.contacts(exchange, &number).cloned().collect();
        let (from, _, name) = &text.from;
        for contact in contacts {
            let realm = if contact.domain.is_empty() {
                &exchange.sip_entrance.realm
            } else {
                &contact.domain
            };
            let letter = Letter {
                target: contact.target(),
                from: (from.clone(), name.clone()),
                to: agent::address(&contact.user, realm),
                body: text.body.clone(),
                account: None,
            };
            if let Err(error) = self.agent.text(Instant::now(), letter) {
                tracing::info!(%error, "SIP: a text is lost");
            }
        }
    }

    fn contacts<'a>(&'a self, exchange: &Exchange, number: &Number) -> impl Iterator<Item = &'a Binding> {
        let view = exchange.plane().number(number);
        let devices = view.into_iter().flat_map(|view| view.devices);
        devices.filter_map(|device| self.agent.binding(self.registry.binding(device.session)?))
    }

    /// A telephone says how its user is: whether it wants calls of queues.
    pub(super) fn take_published(
        &mut self,
        exchange: &mut Exchange,
        user: &str,
        domain: &str,
        state: Option<&Presence>,
    ) {
        let Some(number) = exchange.sip_number(user, domain) else {
            return;
        };
        let state = match state {
            Some(state) if !state.is_open || matches!(state.activity, Activity::Away | Activity::Busy) => {
                AgentState::Away
            }
            _ => AgentState::Ready,
        };
        let view = exchange.plane().number(&number);
        let mut sessions = view
            .into_iter()
            .flat_map(|view| view.devices)
            .map(|device| device.session);
        if let Some(session) = sessions.find(|session| self.registry.binding(*session).is_some()) {
            let event = WatchEvent::Agent(state);
            // Who may not be an agent is none.
            let _ = exchange.ask_now(|request| Event::Watch {
                request,
                session,
                event,
            });
        }
    }
}

impl Exchange {
    /// Has the number a telephone? Whether it takes texts is not known before.
    pub(super) fn sip_takes_texts(&self, text: &agent::Text) -> u16 {
        let number = self.number_of_text(text);
        let view = number.and_then(|number| self.plane().number(&number));
        let Some(view) = view else { return 404 };
        let has_telephone = view.devices.iter().any(|device| self.outlet.has(device.session));
        if has_telephone { 202 } else { 480 }
    }

    /// Whom a text is for.
    fn number_of_text(&self, text: &agent::Text) -> Option<Number> {
        let (user, domain) = &text.to;
        let (_, own, _) = &text.from;
        self.sip_number(user, self.sip_domain(domain, own))
    }
}
