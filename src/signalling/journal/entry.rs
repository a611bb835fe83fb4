//! Lines of the journal, and what they come to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use moqswitch_calls::{CallView, LegRole, LegState, LegView, SessionId};
use moqswitch_sip::agent::KeptBinding;
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::JOURNAL_USERS_MAX;

/// A session by its SHA-256: who reads the file can be nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionHash([u8; digest::SHA256_OUTPUT_LEN]);

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Entry {
    /// A device is registered, or is what it is from here on.
    Device(Box<DeviceEntry>),
    /// It is not registered any more.
    Gone(String),
    /// A telephone of SIP that is reached by datagrams is registered.
    Contact(Box<ContactEntry>),
    /// It is not any more.
    NoContact(String),
    /// A call goes on.
    Call(Box<CallEntry>),
    /// It is over, and this is its record, or what was known of it by then.
    Ended(Value),
    /// It is over, and nothing has to be kept of it here: the disk has its record.
    Over(String),
    /// Users of a control program's domain are what they are from here on.
    Domain(DomainEntry),
    /// Such a domain is not there any more; those below it have entries of their own.
    NoDomain(String),
    /// A user of such a domain is not there any more.
    NoUser {
        /// The domain.
        domain: String,
        /// The user.
        user: String,
    },
}

/// What was pushed for a domain, or a part of it: a long list is several entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DomainEntry {
    pub(crate) domain: String,
    /// None: it is what it was.
    pub(crate) control: Option<String>,
    /// Is it in the place of what was there, or beside it?
    pub(crate) is_whole: bool,
    pub(crate) users: Vec<UserEntry>,
}

/// A user by the hashes of its secret, never by the secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UserEntry {
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) md5: String,
}

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceEntry {
    pub(crate) session: String,
    pub(crate) dn: String,
    pub(crate) device: String,
    pub(crate) display_name: String,
    pub(crate) ringable: bool,
    pub(crate) supervisor: bool,
    pub(crate) codecs: Vec<String>,
    pub(crate) rings_itself: bool,
    /// It is offered WebRTC by who has none.
    #[serde(default)]
    pub(crate) speaks_webrtc: bool,
    /// Of its password. None: it was let in by something else.
    pub(crate) proof: Option<String>,
    /// For how long it is registered.
    pub(crate) expires_ms: u64,
    pub(crate) until_ms: u64,
    /// What let it in is valid until then. None: for as long as it is registered.
    #[serde(default)]
    pub(crate) valid_until_ms: Option<u64>,
}

/// A telephone of SIP, and where it is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContactEntry {
    /// Its number and its name among the number's devices.
    pub(crate) key: String,
    #[serde(flatten, with = "KeptFields")]
    pub(crate) kept: KeptBinding,
    /// Of its password. None: there was none.
    pub(crate) proof: Option<String>,
    /// For how long it is registered.
    pub(crate) expires_ms: u64,
    pub(crate) until_ms: u64,
}

/// As [`KeptBinding`] is written, whose crate writes nothing.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "KeptBinding")]
struct KeptFields {
    user: String,
    domain: String,
    name: String,
    contact: String,
    peer: SocketAddr,
    path: Vec<String>,
    instance: Option<String>,
    agent: String,
    call_id: String,
    cseq: u32,
}

/// A call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallEntry {
    pub(crate) call: String,
    pub(crate) from: PartyEntry,
    pub(crate) to: String,
    pub(crate) start_ms: u64,
    pub(crate) ring_ms: Option<u64>,
    pub(crate) answer_ms: Option<u64>,
    pub(crate) answered_by: Option<PartyEntry>,
    pub(crate) queue: Option<String>,
    pub(crate) recorded: bool,
    /// Those that are up and are no supervisor's.
    pub(crate) legs: Vec<LegEntry>,
}

/// A leg that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LegEntry {
    /// `<call>/<number>`: it may have begun in another call.
    pub(crate) leg: String,
    pub(crate) session: String,
    pub(crate) role: String,
    pub(crate) alias: Option<String>,
    pub(crate) hold: bool,
    pub(crate) muted: bool,
    pub(crate) start_ms: u64,
    pub(crate) ring_ms: Option<u64>,
    pub(crate) answer_ms: Option<u64>,
}

/// Who is at one end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartyEntry {
    pub(crate) dn: String,
    pub(crate) name: String,
    pub(crate) device: String,
}

/// What was in force.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) devices: BTreeMap<String, Box<DeviceEntry>>,
    pub(crate) contacts: BTreeMap<String, Box<ContactEntry>>,
    pub(crate) calls: BTreeMap<String, Box<CallEntry>>,
    /// Records of calls that are over, which may be in no file.
    pub(crate) ended: BTreeMap<String, Value>,
    /// What control programs pushed.
    pub(crate) domains: BTreeMap<String, DomainFound>,
}

/// A domain as it was last.
#[derive(Debug, Default)]
pub(crate) struct DomainFound {
    pub(crate) control: Option<String>,
    pub(crate) users: BTreeMap<String, UserEntry>,
}

impl SessionHash {
    pub(crate) fn of(session: SessionId) -> Self {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, session.to_string().as_bytes()).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for SessionHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl CallEntry {
    pub(crate) fn of(view: &CallView) -> Self {
        let party = |party: &moqswitch_calls::Party| PartyEntry {
            dn: party.number.to_string(),
            name: party.name.to_string(),
            device: party.device.to_string(),
        };
        let is_kept = |leg: &&LegView| leg.state == LegState::Up && !matches!(leg.role, LegRole::Supervisor(_));
        let leg = |leg: &LegView| LegEntry {
            leg: leg.leg.to_string(),
            session: SessionHash::of(leg.session).to_string(),
            role: leg.role.name().to_owned(),
            alias: leg.alias.as_ref().map(ToString::to_string),
            hold: leg.holds,
            muted: leg.muted,
            start_ms: leg.start_ms,
            ring_ms: leg.ring_ms,
            answer_ms: leg.answer_ms,
        };
        Self {
            call: view.call.to_string(),
            from: party(&view.from),
            to: view.dialled.to_string(),
            start_ms: view.start_ms,
            ring_ms: view.ring_ms,
            answer_ms: view.answer_ms,
            answered_by: view.answered_by.as_ref().map(party),
            queue: view.queue.as_ref().map(ToString::to_string),
            recorded: view.recorded,
            legs: view.legs.iter().filter(is_kept).map(leg).collect(),
        }
    }
}

impl Entry {
    pub(crate) fn gone(session: SessionId) -> Self {
        Self::Gone(SessionHash::of(session).to_string())
    }
}

impl DomainEntry {
    /// Lines of a length that is read back, the first with what there is beside users.
    pub(crate) fn several(
        domain: &str,
        control: Option<&str>,
        is_whole: bool,
        users: impl Iterator<Item = UserEntry>,
    ) -> Vec<Entry> {
        let mut entries = vec![Self {
            domain: domain.to_owned(),
            control: control.map(str::to_owned),
            is_whole,
            users: Vec::new(),
        }];
        for user in users {
            if entries.last().is_none_or(|last| last.users.len() >= JOURNAL_USERS_MAX) {
                entries.push(Self {
                    domain: domain.to_owned(),
                    control: None,
                    is_whole: false,
                    users: Vec::new(),
                });
            }
            if let Some(last) = entries.last_mut() {
                last.users.push(user);
            }
        }
        entries.into_iter().map(Entry::Domain).collect()
    }
}

impl Found {
    pub(super) fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Device(device) => {
                self.devices.insert(device.session.clone(), device);
            }
            Entry::Gone(session) => {
                self.devices.remove(&session);
            }
            Entry::Contact(contact) => {
                self.contacts.insert(contact.key.clone(), contact);
            }
            Entry::NoContact(key) => {
                self.contacts.remove(&key);
            }
            Entry::Call(call) => {
                self.calls.insert(call.call.clone(), call);
            }
            Entry::Ended(record) => {
                if let Some(call) = record.get("callId").and_then(Value::as_str).map(str::to_owned) {
                    self.calls.remove(&call);
                    self.ended.insert(call, record);
                }
            }
            Entry::Over(call) => {
                self.calls.remove(&call);
                self.ended.remove(&call);
            }
            Entry::Domain(entry) => {
                let domain = self.domains.entry(entry.domain).or_default();
                if entry.is_whole {
                    *domain = DomainFound::default();
                }
                domain.control = entry.control.or(domain.control.take());
                let users = entry.users.into_iter().map(|user| (user.name.clone(), user));
                domain.users.extend(users);
            }
            Entry::NoDomain(domain) => {
                self.domains.remove(&domain);
            }
            Entry::NoUser { domain, user } => {
                if let Some(domain) = self.domains.get_mut(&domain) {
                    domain.users.remove(&user);
                }
            }
        }
    }

    /// Everything as entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let devices = self.devices.values().cloned().map(Entry::Device);
        let contacts = self.contacts.values().cloned().map(Entry::Contact);
        let calls = self.calls.values().cloned().map(Entry::Call);
        let ended = self.ended.values().cloned().map(Entry::Ended);
        let domains = self.domains.iter();
        let domains = domains.flat_map(|(name, found)| {
            DomainEntry::several(name, found.control.as_deref(), true, found.users.values().cloned())
        });
        devices.chain(contacts).chain(calls).chain(ended).chain(domains)
    }
}
