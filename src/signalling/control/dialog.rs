//! One dialog as its control server sees it: the whole state, told whenever it changes.

use std::rc::Rc;

use moqswitch_calls::{CallId, Cause, LegId, LegState, LegView, Number, SessionId};
use serde::Serialize;

use super::servers::Server;
use crate::limits::DIALOG_CHILDREN_MAX;
use crate::media::Media;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(super) id: CallId,
    /// Who is told. None: nobody.
    pub(super) server: Option<Rc<Server>>,
    pub(super) domain: String,
    /// What an INVITE said: only where one came.
    pub(super) invited: Option<Invited>,
    /// Is the caller a device of the domain?
    pub(super) is_authenticated: bool,
    pub(super) is_originator: bool,
    pub(super) leg: Option<LegId>,
    pub(super) remote: Remote,
    pub(super) rang_ms: Option<u64>,
    pub(super) answered_ms: Option<u64>,
    pub(super) started_ms: u64,
    pub(super) ended_ms: Option<u64>,
    pub(super) holds: bool,
    pub(super) error: Failure,
    /// It is said once.
    pub(super) refer: Option<Refer>,
    /// The control program's own session with the relay, for this dialog.
    pub(super) listener: SessionId,
    /// Dialogs that were begun for this one.
    pub(super) children: Vec<CallId>,
}

/// What a caller said.
#[derive(Clone, Debug)]
pub(super) struct Invited {
    pub(super) to: String,
    pub(super) from: String,
    pub(super) contact: String,
}

/// Where a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Remote {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why a dialog ended, as SIP says it; 0 for one that ended as calls do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) status: String,
}

/// With whom the others are to talk.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Refer {
    pub(super) to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<String>,
}

/// The fields of the callback, in the order of the contract.
#[derive(Serialize)]
struct Shown<'a> {
    callid: String,
    domain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maxforwards: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refer: Option<Refer>,
    authenticated: bool,
    ring: bool,
    answered: bool,
    hold: bool,
    originator: bool,
    hangup: bool,
    error: &'a Failure,
    remote: &'a Remote,
    sdp: Sdp,
    media: Place<'a>,
    epochs: Epochs,
}

/// Nothing is in either: media goes by the relay. Old control programs look into them.
#[derive(Default, Serialize)]
struct Sdp {
    them: Nothing,
    us: Nothing,
}

#[derive(Default, Serialize)]
struct Nothing {}

/// Where the media of the dialog's leg is, and a token to hear it by.
#[derive(Serialize)]
struct Place<'a> {
    url: &'a str,
    path: String,
    token: &'a str,
    #[serde(rename = "certificateHash", skip_serializing_if = "Option::is_none")]
    certificate_hash: Option<&'a str>,
}

/// Seconds since 1970; 0: not yet.
#[derive(Serialize)]
struct Epochs {
    start: u64,
    ring: u64,
    answer: u64,
    end: u64,
}

impl Dialog {
    /// The whole state as JSON.
    pub(super) fn show(&mut self, media: &Media) -> String {
        let invited = self.invited.as_ref();
        let seconds = |at: Option<u64>| at.map_or(0, |at| at / 1000);
        let leg = self.leg;
        let shown = Shown {
            callid: self.id.to_string(),
            domain: &self.domain,
            to: invited.map(|invited| invited.to.as_str()),
            from: invited.map(|invited| invited.from.as_str()),
            contact: invited.map(|invited| invited.contact.as_str()),
            maxforwards: invited.map(|_| MAX_FORWARDS),
            refer: self.refer.take(),
            authenticated: self.is_authenticated,
            ring: self.rang_ms.is_some(),
            answered: self.answered_ms.is_some(),
            hold: self.holds,
            originator: self.is_originator,
            hangup: self.ended_ms.is_some(),
            error: &self.error,
            remote: &self.remote,
            sdp: Sdp::default(),
            media: Place {
                url: &media.url,
                path: leg.map(LegId::path).unwrap_or_default(),
                token: &media.token,
                certificate_hash: media.certificate_hash.as_deref(),
            },
            epochs: Epochs {
                start: seconds(Some(self.started_ms)),
                ring: seconds(self.rang_ms),
                answer: seconds(self.answered_ms),
                end: seconds(self.ended_ms),
            },
        };
        // Nothing in it can fail to be written.
        serde_json::to_string(&shown).unwrap_or_default()
    }

    /// Takes what became of a leg of the dialog. Is there anything to tell?
    pub(crate) fn follow(&mut self, view: &LegView, contact: &str) -> bool {
        // Of several phones that ring, one may answer: the others are no matter of the dialog's any more.
        if self.answered_ms.is_some() && self.leg != Some(view.leg) {
            return false;
        }
        match view.state {
            LegState::Down | LegState::Hangup => false,
            LegState::Calling => {
                if self.leg.is_none() {
                    self.leg = Some(view.leg);
                    self.remote = Remote::of(contact);
                }
                false
            }
            LegState::Ringing => {
                let is_first = self.rang_ms.is_none();
                self.rang_ms = self.rang_ms.or(view.ring_ms).or(Some(view.start_ms));
                is_first
            }
            LegState::Up => {
                let is_first = self.answered_ms.is_none();
                let held = std::mem::replace(&mut self.holds, view.holds);
                self.answered_ms = self.answered_ms.or(view.answer_ms).or(Some(view.start_ms));
                if is_first {
                    self.leg = Some(view.leg);
                    self.remote = Remote::of(contact);
                }
                is_first || held != view.holds
            }
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered_ms.is_some()
    }

    pub(crate) fn is_ringing(&self) -> bool {
        self.rang_ms.is_some()
    }

    /// Is somebody told?
    pub(crate) fn is_followed(&self) -> bool {
        self.server.is_some()
    }

    /// The control program's own session with the relay, for this dialog.
    pub(crate) fn listener(&self) -> SessionId {
        self.listener
    }

    /// Why it is about to end, in its program's words.
    pub(crate) fn give_reason(&mut self, failure: Failure) {
        self.error = failure;
    }

    /// It is over. What a program gave as a reason stays.
    pub(crate) fn end(&mut self, cause: Cause, now_ms: u64) {
        self.ended_ms = Some(now_ms);
        if self.error.code == 0 {
            self.error = Failure::of(cause, self.answered_ms.is_some());
        }
    }

    pub(super) fn add_child(&mut self, child: CallId) {
        if self.children.len() < DIALOG_CHILDREN_MAX {
            self.children.push(child);
        }
    }
}

impl Failure {
    fn of(cause: Cause, was_up: bool) -> Self {
        match cause {
            Cause::Normal | Cause::Transferred if was_up => Self::default(),
            Cause::Normal | Cause::AnsweredElsewhere => Self::new(487),
            cause => Self::new(cause.sip_status()),
        }
    }

    pub(crate) fn new(code: u16) -> Self {
        Self {
            code,
            status: reason_of(code).to_owned(),
        }
    }
}

impl Remote {
    /// A device's contact: an address and a port.
    pub(crate) fn of(contact: &str) -> Self {
        match contact.parse::<std::net::SocketAddr>() {
            Ok(address) => Self {
                host: address.ip().to_string(),
                port: address.port(),
            },
            Err(_) => Self {
                host: contact.to_owned(),
                port: 0,
            },
        }
    }
}

/// The phrases of SIP (RFC 3261, section 21).
pub(crate) const fn reason_of(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400 => "Bad Request",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not found",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy here",
        487 => "Request Terminated",
        491 => "Request Pending",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "",
    }
}

/// The cause that is nearest to a code of SIP.
pub(crate) const fn cause_of(code: u16) -> Cause {
    match code {
        400 => Cause::ProtocolError,
        488 => Cause::Incompatible,
        402 => Cause::PaymentRequired,
        401 | 403 | 407 => Cause::Forbidden,
        404 | 410 | 484 | 604 => Cause::Unallocated,
        408 => Cause::NoReply,
        482 => Cause::LoopDetected,
        483 => Cause::TooManyHops,
        486 | 600 => Cause::Busy,
        487 => Cause::Cancelled,
        500 => Cause::Internal,
        501..=599 => Cause::Congestion,
        601..=699 => Cause::Rejected,
        300..=699 => Cause::Unreachable,
        _ => Cause::Normal,
    }
}

/// A number's user and domain.
pub(super) fn halves(number: &Number) -> (&str, Option<&str>) {
    match number.as_str().rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain)),
        None => (number.as_str(), None),
    }
}

/// What a call begins with (RFC 3261, section 20.22).
pub(crate) const MAX_FORWARDS: u16 = 70;
