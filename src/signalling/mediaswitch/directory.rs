//! `/dir`: domains and users are pushed. `/reg`: who of them is registered.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::answer::Answer;
use super::body::Fields;
use crate::control::{DomainName, NotPushed, Remote, User};
use crate::exchange::Exchange;

/// What a request wants of the directory.
#[derive(Debug)]
pub(super) enum Wanted {
    Show,
    Replace(Fields),
    Merge(Fields),
    Remove,
}

/// A domain as it is shown: what is empty is left out.
#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    users: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    domains: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<String>,
}

pub(super) fn serve(exchange: &mut Exchange, wanted: Wanted, path: &[String]) -> Answer {
    let mut path = path.iter().map(String::as_str);
    let (domain, user, rest) = (path.next(), path.next(), path.next());
    let Some(domain) = domain else {
        return match wanted {
            Wanted::Show => show(exchange, None),
            _ => Answer::new(400, "Path too short"),
        };
    };
    if rest.is_some() {
        return Answer::new(400, "Path wrong length");
    }
    let Some(domain) = DomainName::parse(domain) else {
        return Answer::BAD_PATH;
    };
    match (wanted, user) {
        (Wanted::Show, None) => show(exchange, Some(&domain)),
        (Wanted::Show, Some(_)) => Answer::new(400, "Path wrong length"),
        (Wanted::Replace(fields), None) => push(exchange, &domain, &fields, true),
        (Wanted::Merge(fields), None) => push(exchange, &domain, &fields, false),
        (Wanted::Replace(fields) | Wanted::Merge(fields), Some(user)) => set_secret(exchange, &domain, user, &fields),
        (Wanted::Remove, None) if exchange.remove_domain(&domain) => Answer::new(200, "Removed"),
        (Wanted::Remove, None) => Answer::BAD_PATH,
        (Wanted::Remove, Some(user)) => match exchange.remove_user(&domain, user) {
            Some(()) => Answer::new(200, "Removed"),
            None => Answer::new(404, "No such domain"),
        },
    }
}

fn show(exchange: &Exchange, domain: Option<&DomainName>) -> Answer {
    let node = exchange.board().and_then(|board| board.directory.node(domain));
    let Some(node) = node else { return Answer::NOT_FOUND };
    let shown = Shown {
        users: node.users,
        domains: node.domains,
        control: node.control,
    };
    Answer::text(serde_json::to_string(&shown).unwrap_or_default())
}

fn push(exchange: &mut Exchange, domain: &DomainName, fields: &Fields, is_whole: bool) -> Answer {
    let control = match fields.control().transpose() {
        Ok(control) => control,
        Err(_) => return Answer::new(400, "Bad control"),
    };
    let Some(users) = users(fields) else {
        return Answer::new(400, "Bad users");
    };
    match exchange.push_domain(domain, control, &users, is_whole) {
        Ok(()) if is_whole => Answer::new(201, "Created"),
        Ok(()) => Answer::new(200, "Updated"),
        Err(error) => not_pushed(error),
    }
}

/// A user without a name or a secret is skipped. `None`: one has a name that cannot be dialled.
fn users(fields: &Fields) -> Option<Vec<User>> {
    if fields.get("users").is_none() {
        return Some(Vec::new());
    }
    let listed = fields.objects("users")?;
    let complete = listed
        .iter()
        .filter_map(|user| Some((user.text("username")?, user.text("secret")?)));
    complete.map(|(name, secret)| User::new(name, secret)).collect()
}

fn set_secret(exchange: &mut Exchange, domain: &DomainName, user: &str, fields: &Fields) -> Answer {
    let Some(secret) = fields.text("secret") else {
        return Answer::new(400, "Secret required");
    };
    let Some(user) = User::new(user, secret) else {
        return Answer::BAD_PATH;
    };
    match exchange.push_domain(domain, None, &[user], false) {
        Ok(()) => Answer::new(200, "Updated"),
        Err(error) => not_pushed(error),
    }
}

fn not_pushed(error: NotPushed) -> Answer {
    match error {
        NotPushed::UnknownDomain => Answer::new(404, "Domain not found"),
        NotPushed::Full => Answer::new(507, "Directory full"),
        NotPushed::NoServer => Answer::new(503, "Too many control servers"),
    }
}

/// The fields of the contract, in its order.
#[derive(Serialize)]
struct Registrations<'a> {
    domain: &'a str,
    count: usize,
    registered: usize,
    users: BTreeMap<String, State>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum State {
    There(Registered),
    Away { registered: bool },
}

#[derive(Serialize)]
struct Registered {
    registered: bool,
    outstandingping: u8,
    remote: Place,
    epochs: Epochs,
}

#[derive(Serialize)]
struct Place {
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    agent: String,
}

#[derive(Serialize)]
struct Epochs {
    registered: u64,
}

pub(super) fn registrations(exchange: &Exchange, path: &[String]) -> Answer {
    let Some(domain) = path.first() else {
        return Answer::json(&json!({ "count": exchange.plane().devices_count() }));
    };
    if path.len() > 2 {
        return Answer::new(400, "Path wrong length");
    }
    let unknown = || Answer::new(404, "Domain not found");
    let Some(domain) = DomainName::parse(domain) else {
        return unknown();
    };
    let Some(board) = exchange.board() else {
        return unknown();
    };
    let Some(users) = board.directory.users(&domain) else {
        return unknown();
    };
    let one = path.get(1);
    let (mut count, mut registered, mut shown) = (0, 0, BTreeMap::new());
    for user in users {
        count += 1;
        if one.is_some_and(|one| one != user) {
            continue;
        }
        let state = state_of(exchange, user, &domain);
        registered += usize::from(state.is_some());
        let state = state.map_or(State::Away { registered: false }, State::There);
        shown.insert(user.to_owned(), state);
    }
    let shown = Registrations {
        domain: domain.as_str(),
        count,
        registered,
        users: shown,
    };
    Answer::text(serde_json::to_string(&shown).unwrap_or_default())
}

/// The device that registered first. `None`: none is there.
fn state_of(exchange: &Exchange, user: &str, domain: &DomainName) -> Option<Registered> {
    let numbers = exchange.board()?.numbers_of(user, domain);
    let mut views = numbers.iter().filter_map(|number| exchange.plane().number(number));
    let device = views.find_map(|view| view.devices.into_iter().next())?;
    let place = Remote::of(device.contact.as_str());
    Some(Registered {
        registered: true,
        // Its socket is pinged; when that is lost it has not answered.
        outstandingping: u8::from(device.is_lost),

        remote: Place {
            host: place.host,
            port: place.port,
            agent: device.agent.as_str().to_owned(),
        },
        epochs: Epochs {
            registered: device.registered_ms / 1000,
        },
    })
}
