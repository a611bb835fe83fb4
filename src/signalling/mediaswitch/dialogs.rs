//! `/dialog`: calls are begun, and control programs decide on them.

use moqswitch_calls::{CallId, ControlEvent, Number, Refusal, Reply, Text};
use serde_json::{Value, json};

use super::answer::Answer;
use super::body::Fields;
use crate::control::{DomainName, Failure, Invitation, MAX_FORWARDS, cause_of, reason_of};
use crate::exchange::Exchange;

pub(super) fn counts(exchange: &Exchange) -> Answer {
    let (count, counter) = exchange.board().map(|board| board.counts()).unwrap_or_default();
    Answer::json(&json!({ "count": count, "counter": counter }))
}

/// One action of a control program.
pub(super) fn act(exchange: &mut Exchange, action: &str, fields: &Fields) -> Answer {
    let Some(dialog) = dialog_in(fields, "callid") else {
        // Only what begins a call goes without.
        return if action == "invite" && fields.get("callid").is_none() {
            invite(exchange, fields)
        } else {
            Answer::NOT_FOUND
        };
    };
    let code = fields.whole("code").and_then(|code| u16::try_from(code).ok());
    let event = match action {
        "ring" => ControlEvent::Ring { dialog },
        "answer" => ControlEvent::Answer { dialog },
        // SDP is left to the relay: there is nothing to acknowledge, and nothing to offer anew.
        "ok" | "invite" => return exists(exchange, dialog),
        "hangup" => return hang_up(exchange, dialog, code, fields.text("reason").unwrap_or_default()),
        "notify" => ControlEvent::Referred {
            dialog,
            failed: code.filter(|code| *code >= 300).map(cause_of),
        },
        "mix" => match dialog_in(fields, "with") {
            Some(other) => ControlEvent::Mix { dialog, other },
            None => return Answer::NOT_FOUND,
        },
        "unmix" => ControlEvent::Unmix { dialog },
        _ => return Answer::NOT_FOUND,
    };
    answer(exchange.decide(event))
}

fn dialog_in(fields: &Fields, name: &str) -> Option<CallId> {
    fields.text(name)?.parse().ok()
}

fn exists(exchange: &Exchange, dialog: CallId) -> Answer {
    let is_there = exchange.board().is_some_and(|board| board.dialog(dialog).is_some());
    if is_there {
        Answer::new(200, "Ok")
    } else {
        Answer::NOT_FOUND
    }
}

/// Without a code a caller that was not answered hears that there is no such number, as it always was.
fn hang_up(exchange: &mut Exchange, dialog: CallId, code: Option<u16>, reason: &str) -> Answer {
    let is_up = exchange
        .board()
        .and_then(|board| board.dialog(dialog))
        .map(|dialog| dialog.is_answered());
    let code = match (code, is_up) {
        (_, None) => return Answer::NOT_FOUND,
        (Some(code), Some(_)) => code,
        (None, Some(true)) => 0,
        (None, Some(false)) => 404,
    };
    let failure = Failure {
        code,
        status: Text::new(reason).to_string(),
    };
    answer(exchange.end_dialog(dialog, Some(cause_of(code)), failure))
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Refused(Refusal::UnknownCall | Refusal::UnknownLeg) => Answer::NOT_FOUND,
        Reply::Refused(Refusal::WrongState | Refusal::Pending) => Answer::new(409, "Wrong state"),
        Reply::Refused(Refusal::TooManyLegs) => Answer::new(429, "Too many legs"),
        Reply::Refused(_) => Answer::BUSY,
        Reply::Done | Reply::Calling { .. } | Reply::Registered(_) | Reply::Resumed(_) => Answer::new(200, "Ok"),
    }
}

fn invite(exchange: &mut Exchange, fields: &Fields) -> Answer {
    let missing = Answer::new(500, "Missing param or params in invite");
    if fields.whole("maxforwards").unwrap_or(u64::from(MAX_FORWARDS)) == 0 {
        return Answer::new(483, reason_of(483));
    }
    let control = match fields.control().transpose() {
        Ok(control) => control,
        Err(_) => return Answer::new(400, "Bad control"),
    };
    let (Some(to), Some(from)) = (party(fields, "to"), party(fields, "from")) else {
        return missing;
    };
    if to.user.is_empty() {
        return missing;
    }
    let domain = [to.domain, fields.text("domain").map(str::to_owned), from.domain];
    let domain = match domain
        .into_iter()
        .flatten()
        .next()
        .map(|domain| DomainName::parse(&domain))
    {
        Some(Some(domain)) => Some(domain),
        Some(None) => return Answer::new(404, reason_of(404)),
        None => None,
    };
    let invitation = Invitation {
        user: to.user,
        domain,
        from: shown(fields, &from.user),
        control,
        parent: dialog_in(fields, "parent"),
        timeout: fields.whole("timeout").map(std::time::Duration::from_secs),
    };
    match exchange.invite(invitation) {
        Ok(dialog) => Answer::json(&json!({ "callid": dialog.to_string() })),
        Err(Failure { code, .. }) => Answer::new(code, reason_of(code)),
    }
}

/// Who calls or is called.
struct Named {
    user: String,
    domain: Option<String>,
}

/// `"1003"`, `"1003@domain"` or `{"user", "domain"}`.
fn party(fields: &Fields, name: &str) -> Option<Named> {
    match fields.get(name)? {
        Value::String(text) => Some(match text.rsplit_once('@') {
            Some((user, domain)) => Named {
                user: user.to_owned(),
                domain: Some(domain.to_owned()),
            },
            None => Named {
                user: text.clone(),
                domain: None,
            },
        }),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
            Some(Named {
                user: text("user")?,
                domain: text("domain").filter(|domain| !domain.is_empty()),
            })
        }
        _ => None,
    }
}

/// The number and the name that the other side sees.
fn shown(fields: &Fields, from: &str) -> (Number, Text) {
    let id = fields
        .object("cid")
        .or_else(|| fields.object("callerid"))
        .unwrap_or_default();
    let anonymous = || Number::new("anonymous").ok();
    let number = id.text("number").filter(|number| !number.is_empty()).unwrap_or(from);
    let number = if id.flag("private") {
        None
    } else {
        Number::new(number).ok()
    };
    let name = if id.flag("private") {
        ""
    } else {
        id.text("name").unwrap_or_default()
    };
    let number = number.or_else(anonymous).expect("it can be dialled");
    (number, Text::new(name))
}
