//! What is known of control programs: the directory that they pushed, the dialogs that they decide on, and the way to them.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use moqswitch_calls::{CallId, Number, Party, SessionId, Text};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::channels::{ChannelNews, ChannelNotice, ChannelPool};
use super::dialog::{Dialog, Failure, Invited, Refer, Remote, halves};
use super::directory::{Directory, DomainName, Full};
use super::servers::{Callback, Failed, Server, Servers};
use crate::limits::{CHANNEL_ENDS_WAITING_MAX, CONTROL_SERVERS_MAX, DIALOGS_MAX};
use crate::media::Media;

/// See the module's documentation.
pub(crate) struct Board {
    pub(crate) directory: Directory,
    pub(crate) channels: Box<dyn ChannelPool>,
    /// The domain of numbers that have none.
    plain: Option<DomainName>,
    dialogs: BTreeMap<CallId, Dialog>,
    begun: u64,
    /// Why the dialog ended that was forgotten last.
    last_failure: Option<Failure>,
    servers: Servers,
    /// The ways to control servers of channels. They are others than those of dialogs, which end when there is no room.
    channel_servers: Servers,
    /// Those that are told something, or were.
    told: BTreeMap<String, Rc<Server>>,
    /// Ends of channels for which a server had no room.
    late: VecDeque<ChannelNotice>,
    /// Of domains.
    controls: BTreeMap<DomainName, Rc<Server>>,
}

/// There is no room for one more dialog or control server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Nobody took what was to be told: these dialogs end.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Untold(pub(crate) Vec<CallId>);

/// Somebody is to be called for a control program.
#[derive(Debug)]
pub(crate) struct Invitation {
    pub(crate) user: String,
    /// None: of numbers without one.
    pub(crate) domain: Option<DomainName>,
    /// Who calls, as it is shown.
    pub(crate) from: (Number, Text),
    /// The control server that is told. None: the domain's.
    pub(crate) control: Option<String>,
    pub(crate) parent: Option<CallId>,
    pub(crate) timeout: Option<Duration>,
}

/// Why a directory stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPushed {
    UnknownDomain,
    Full,
    NoServer,
}

impl From<Full> for NotPushed {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// A dialog that a program begins.
pub(crate) struct Begun {
    pub(crate) id: CallId,
    pub(crate) domain: String,
    pub(crate) listener: SessionId,
    pub(crate) started_ms: u64,
    pub(crate) parent: Option<CallId>,
}

impl Board {
    /// `failed` is told of dialogs whose control server does not take what it is told within `wait`.
    pub(crate) fn new(
        plain: Option<DomainName>,
        channels: Box<dyn ChannelPool>,
        wait: Duration,
        failed: mpsc::Sender<Failed>,
    ) -> Self {
        Self {
            directory: Directory::default(),
            channels,
            plain,
            dialogs: BTreeMap::new(),
            begun: 0,
            last_failure: None,
            servers: Servers::new(wait, failed.clone(), "its calls end"),
            channel_servers: Servers::new(wait, failed, "events of its channels are lost"),
            told: BTreeMap::new(),
            late: VecDeque::new(),
            controls: BTreeMap::new(),
        }
    }

    /// Dialogs that there are, and that there ever were.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.dialogs.len(), self.begun)
    }

    /// Tells control servers what happened on their channels. What a server does not take is lost: it ends no call. A digit for which it
    /// has no room is lost, too; an end waits.
    pub(crate) fn tell_of_channels(&mut self) {
        for late in std::mem::take(&mut self.late) {
            self.tell_of_channel(late);
        }
        for _ in 0..CHANNEL_EVENTS_MAX {
            let Some(event) = self.channels.poll_event() else {
                return;
            };
            self.tell_of_channel(event);
        }
    }

    fn tell_of_channel(&mut self, event: ChannelNotice) {
        let Some(server) = self.server_of_channels(&event.control) else {
            return;
        };
        let callback = Callback {
            method: "PUT",
            path: format!("/channel/{}", event.channel),
            body: Some(body_of(&event).to_string()),
            dialogs: Vec::new(),
        };
        let digits = event.channel.replace('-', "");
        let is_told = server.tell(u128::from_str_radix(&digits, 16).unwrap_or_default(), callback);
        let is_end = matches!(event.news, ChannelNews::Closed { .. });
        if !is_told && is_end && self.late.len() < CHANNEL_ENDS_WAITING_MAX {
            self.late.push_back(event);
        }
    }

    /// Is there a way to a control server of channels, or can there be one?
    pub(crate) fn reaches_for_channels(&mut self, url: &str) -> bool {
        self.server_of_channels(url).is_some()
    }

    /// The way to a control server of channels. `None`: it is no address, or so many are told something just now.
    fn server_of_channels(&mut self, url: &str) -> Option<Rc<Server>> {
        if let Some(server) = self.told.get(url) {
            return Some(Rc::clone(server));
        }
        if self.told.len() >= CONTROL_SERVERS_MAX {
            self.told.retain(|_, server| !server.is_idle());
        }
        let server = self.channel_servers.of(url)?;
        self.told.insert(url.to_owned(), Rc::clone(&server));
        Some(server)
    }

    /// Callbacks that are not answered yet.
    pub(crate) fn callbacks_under_way(&self) -> usize {
        self.servers.under_way()
    }

    pub(crate) fn dialog(&self, id: CallId) -> Option<&Dialog> {
        self.dialogs.get(&id)
    }

    pub(crate) fn dialog_mut(&mut self, id: CallId) -> Option<&mut Dialog> {
        self.dialogs.get_mut(&id)
    }

    /// A number's user and domain.
    pub(crate) fn place_of(&self, number: &Number) -> Option<(String, DomainName)> {
        let (user, domain) = halves(number);
        let domain = match domain {
            Some(domain) => DomainName::parse(domain)?,
            None => self.plain.clone()?,
        };
        Some((user.to_owned(), domain))
    }

    /// The numbers of a user.
    pub(crate) fn numbers_of(&self, user: &str, domain: &DomainName) -> Vec<Number> {
        let whole = Number::new(&format!("{user}@{}", domain.as_str())).ok();
        let plain = (self.plain.as_ref() == Some(domain)).then(|| Number::new(user).ok());
        whole.into_iter().chain(plain.flatten()).collect()
    }

    /// Domains as the call plane names them.
    pub(crate) fn names_of(&self, domain: &DomainName) -> Vec<Text> {
        let plain = (self.plain.as_ref() == Some(domain)).then(Text::default);
        [Text::new(domain.as_str())].into_iter().chain(plain).collect()
    }

    /// Is this the secret of the number's user? `None`: the directory does not have its domain.
    pub(crate) fn admits(&self, number: &Number, secret: Option<&str>) -> Option<bool> {
        let (user, domain) = self.place_of(number)?;
        self.directory.admits(&domain, &user, secret)
    }

    /// Can one more control server be referred to, or is this one of those that are?
    pub(crate) fn check_server(&mut self, url: &str) -> Result<(), NoRoom> {
        self.servers.of(url).map(drop).ok_or(NoRoom)
    }

    /// A domain's control server is what the directory says. Is there one?
    pub(crate) fn follow_directory(&mut self, domain: &DomainName) -> bool {
        let url = self.directory.control(domain).map(str::to_owned);
        match url.and_then(|url| self.servers.of(&url)) {
            Some(server) => {
                self.controls.insert(domain.clone(), server);
                true
            }
            None => {
                self.controls.remove(domain);
                false
            }
        }
    }

    /// Somebody calls. `domain` is as the call plane names it.
    pub(crate) fn begin_called(
        &mut self,
        begun: Begun,
        from: &Party,
        dialled: &Number,
        contact: &str,
    ) -> Result<(), NoRoom> {
        let domain = match begun.domain.as_str() {
            "" => self.plain.clone(),
            domain => DomainName::parse(domain),
        };
        let domain = domain.ok_or(NoRoom)?;
        let short = |number: &Number| match self.place_of(number) {
            Some((user, of)) if of == domain => user,
            Some(_) | None => number.as_str().to_owned(),
        };
        let is_authenticated = self.place_of(&from.number).is_some_and(|(_, of)| of == domain);
        let user = short(&from.number);
        let invited = Invited {
            to: halves(dialled).0.to_owned(),
            contact: format!("<sip:{}@{contact}>", halves(&from.number).0),
            from: user,
        };
        let server = self.controls.get(&domain).cloned();
        let begun = Begun {
            domain: domain.as_str().to_owned(),
            ..begun
        };
        let mut dialog = self.begin(&begun)?;
        dialog.server = server;
        dialog.invited = Some(invited);
        dialog.is_authenticated = is_authenticated;
        self.dialogs.insert(begun.id, dialog);
        Ok(())
    }

    /// A program calls somebody. Nothing is told of it before [`follow`](Self::follow) says to whom.
    pub(crate) fn begin_calling(&mut self, begun: &Begun) -> Result<(), NoRoom> {
        let mut dialog = self.begin(begun)?;
        dialog.is_originator = true;
        self.dialogs.insert(begun.id, dialog);
        if let Some(parent) = begun.parent.and_then(|parent| self.dialogs.get_mut(&parent)) {
            parent.add_child(begun.id);
        }
        Ok(())
    }

    /// From here on this control server is told of a dialog: the one that was named, or its domain's.
    pub(crate) fn follow(&mut self, id: CallId, url: Option<&str>) -> Result<(), NoRoom> {
        let Some(dialog) = self.dialogs.get_mut(&id) else {
            return Ok(());
        };
        dialog.server = match url {
            Some(url) => Some(self.servers.of(url).ok_or(NoRoom)?),
            None => DomainName::parse(&dialog.domain).and_then(|domain| self.controls.get(&domain).cloned()),
        };
        Ok(())
    }

    fn begin(&mut self, begun: &Begun) -> Result<Dialog, NoRoom> {
        if self.dialogs.len() >= DIALOGS_MAX {
            return Err(NoRoom);
        }
        self.begun += 1;
        Ok(Dialog {
            id: begun.id,
            server: None,
            domain: begun.domain.clone(),
            invited: None,
            is_authenticated: false,
            is_originator: false,
            leg: None,
            remote: Remote::default(),
            rang_ms: None,
            answered_ms: None,
            started_ms: begun.started_ms,
            ended_ms: None,
            holds: false,
            error: Failure::default(),
            refer: None,
            listener: begun.listener,
            children: Vec::new(),
        })
    }

    /// The dialog's device wants a transfer.
    pub(crate) fn refer(&mut self, id: CallId, to: &Number, replaces: Option<CallId>) {
        let to = match (self.place_of(to), self.dialogs.get(&id)) {
            (Some((user, domain)), Some(dialog)) if dialog.domain == domain.as_str() => user,
            _ => to.as_str().to_owned(),
        };
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            let replaces = replaces.map(|replaces| replaces.to_string());
            dialog.refer = Some(Refer { to, replaces });
        }
    }

    /// Tells the dialog's control server how it is. When that fails the dialog ends, with those that were begun for it and
    /// ring, and with `others`.
    pub(crate) fn tell(&mut self, id: CallId, media: &Media, others: Vec<CallId>) -> Untold {
        let Some(dialog) = self.dialogs.get_mut(&id) else {
            return Untold::default();
        };
        let Some(server) = dialog.server.clone() else {
            return Untold::default();
        };
        let body = dialog.show(media);
        let mut dialogs = vec![id];
        dialogs.extend(&dialog.children);
        let is_ringing = |child: &CallId| self.dialogs.get(child).is_none_or(|child| !child.is_answered());
        dialogs.retain(|other| *other == id || is_ringing(other));
        dialogs.extend(others);
        let CallId(key) = id;
        let callback = Callback {
            method: "PUT",
            path: format!("/dialog/{id}"),
            body: Some(body),
            dialogs: dialogs.clone(),
        };
        if server.tell(key, callback) {
            Untold::default()
        } else {
            Untold(dialogs)
        }
    }

    /// Of a dialog nothing more is known.
    pub(crate) fn forget(&mut self, id: CallId) -> Option<Dialog> {
        let dialog = self.dialogs.remove(&id)?;
        self.last_failure = Some(dialog.error.clone());
        Some(dialog)
    }

    /// Why the dialog ended that was forgotten last.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.last_failure.take()
    }

    /// Tells the domain's control server of a registration. When it does not take it nothing ends.
    pub(crate) fn tell_registration(&self, number: &Number, contact: &str, on: bool) {
        let Some((user, domain)) = self.place_of(number) else {
            return;
        };
        let Some(server) = self.controls.get(&domain) else {
            return;
        };
        let Remote { host, port } = Remote::of(contact);
        let whole = format!("{user}@{}", domain.as_str());
        let body = on.then(|| json!({ "host": host, "port": port, "user": whole }).to_string());
        let key = whole.bytes().fold(0_u128, |sum, byte| sum + u128::from(byte));
        let callback = Callback {
            method: if on { "PUT" } else { "DELETE" },
            path: format!("/reg/{}/{}", domain.as_str(), in_path(&user)),
            body,
            dialogs: Vec::new(),
        };
        if !server.tell(key, callback) {
            tracing::debug!(
                domain = domain.as_str(),
                "a control server has no room to be told of a registration"
            );
        }
    }
}

/// Of what numbers have, `#` means something else in a path.
fn in_path(user: &str) -> String {
    user.replace('#', "%23")
}

impl std::fmt::Debug for Board {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Board");
        shown.field("dialogs", &self.dialogs.len()).finish_non_exhaustive()
    }
}

/// As projectrtp says it.
fn body_of(event: &ChannelNotice) -> Value {
    match &event.news {
        ChannelNews::Digit { digit, duration_ms } => {
            json!({ "action": "telephone-event", "event": digit.to_string(), "duration": duration_ms })
        }
        ChannelNews::Played { event, reason } => json!({ "action": "play", "event": event, "reason": reason }),
        ChannelNews::Closed { reason, counts } => json!({
            "action": "close",
            "reason": reason,
            "stats": {
                "in": {
                    "count": counts.received,
                    "dropped": counts.dropped,
                    "skip": counts.lost,
                    "mos": f64::from((counts.mos.unwrap_or_default() * 100.0).round()) / 100.0,
                },
                "out": { "count": counts.sent, "skip": counts.unsent },
            },
        }),
    }
}

/// Events of channels that are told in one go.
const CHANNEL_EVENTS_MAX: usize = 256;
