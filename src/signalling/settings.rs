//! What an operator may set. The defaults are those of `limits`: a whole small phone system on loopback.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moqswitch_calls::{Dialplan, Number};

use crate::access::{ApiKey, Entrance, TokenKey, Users};
use crate::asterisk::AsteriskSettings;
use crate::clock::WallClock;
use crate::control::{ChannelPool, NoChannels};
use crate::gateway::{NoRtp, RtpLegs, SipSettings};
use crate::limits;
use crate::mailboxes::Mailboxes;
use crate::nodes::NodeSettings;
use crate::outward::{Callback, Webhook};
use crate::recordings::Recordings;

/// Settings of the signalling.
#[derive(Debug)]
pub struct Settings {
    /// The switch's name, for clients.
    pub server: String,
    /// Of the call plane.
    pub calls: moqswitch_calls::Settings,
    /// Where numbers go.
    pub dialplan: Dialplan,
    /// Numbers that exist whether anybody is registered or not.
    pub numbers: Vec<Number>,
    /// Who may register; their numbers exist. None: whoever comes from this host may register any number, and nobody else.
    pub users: Option<Users>,
    /// Tokens by which devices may register, beside passwords or instead of them.
    pub tokens: Option<TokenKey>,
    /// A program that says who may register, where neither a token nor `users` says so.
    pub callback: Option<Callback>,
    /// Who may use REST. Without these and `api_tokens` whoever comes from this host may do everything, and nobody else.
    pub keys: Vec<ApiKey>,
    /// Tokens by which programs may use REST.
    pub api_tokens: Option<TokenKey>,
    /// Web pages of these origins may open sockets and use REST, beside those that the switch itself serves:
    /// `https://phone.example`. `*` is any.
    pub origins: Vec<String>,
    /// Where records go. None: they are in memory only.
    pub records: Option<RecordSettings>,
    /// Where it is noted who is registered and which calls go on, for a restart. None: it is not.
    pub state: Option<StateSettings>,
    /// What was recorded. None: nothing is.
    pub recordings: Option<Arc<dyn Recordings>>,
    /// Boxes of voice mail. None: there are none.
    pub mailboxes: Option<Arc<dyn Mailboxes>>,
    /// Who is told of events.
    pub webhooks: Vec<Webhook>,
    /// The trunk that `/api/genesys/status` tells of.
    pub trunk: Option<Number>,
    /// For the times of the dialplan.
    pub utc_offset: UtcOffset,
    /// By which calls say when they began, and what is noted for a restart lapses.
    pub clock: WallClock,
    /// Control programs by mediaswitch's HTTP. None: there are none.
    pub mediaswitch: Option<MediaswitchSettings>,
    /// Telephones of SIP. None: there are none.
    pub sip: Option<SipSettings>,
    /// Channels of Asterisk. None: there are none.
    pub asterisk: Option<AsteriskSettings>,
    /// Legs of WebRTC for devices that speak with who does not.
    pub browsers: Box<dyn RtpLegs>,
    /// The other machines of one phone system. None: this is the only one.
    pub nodes: Option<NodeSettings>,
    /// Times that tests shorten.
    pub times: SocketTimes,
}

/// Control programs, and mediaswitch's HTTP for them.
#[derive(Debug)]
pub struct MediaswitchSettings {
    /// Who may use it, by `Authorization: Bearer …`; scopes are not looked at. Without these whoever comes from this host may,
    /// and nobody else.
    pub keys: Vec<ApiKey>,
    /// The domain of numbers that have none. None: such numbers are of no control program.
    pub domain: Option<String>,
    /// How long a control server has to answer.
    pub control_wait: Duration,
    /// What opens channels of RTP.
    pub channels: Box<dyn ChannelPool>,
}

/// How far clocks on the wall are ahead of UTC, in minutes: 60 for Central European winter time.
#[derive(Clone)]
pub struct UtcOffset(Arc<dyn Fn(u64) -> i16 + Send + Sync>);

/// Where what outlives the process is noted.
#[derive(Clone, Debug)]
pub struct StateSettings {
    /// A directory of its own. It is made when it is not there.
    pub directory: PathBuf,
    /// Is it an error when it cannot be used? Otherwise that is logged, and nothing is noted.
    pub is_required: bool,
}

/// Where records go, and for how long they stay.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// The directory. It is made when it is not there.
    pub directory: PathBuf,
    /// A file with so many bytes is followed by another.
    pub file_bytes_max: u64,
    /// All files together: the oldest goes. Zero: none goes.
    pub total_bytes_max: u64,
    /// A file whose last record is older goes. Zero: none goes.
    pub age_max: Duration,
    /// What is done before the disk is waited for.
    pub before_sync: BeforeSync,
}

/// Something that is done by the thread of records before it waits for the disk: nothing, but for tests of a disk that is slow.
#[derive(Clone, Default)]
pub struct BeforeSync(Option<Arc<dyn Fn() + Send + Sync>>);

/// How long sockets and requests are waited for.
#[derive(Clone, Copy, Debug)]
pub struct SocketTimes {
    /// For the first message.
    pub first_message: Duration,
    /// From one ping to the next.
    pub ping: Duration,
    /// For any sign of life.
    pub silence: Duration,
    /// For a request of REST, its body and its answer.
    pub request: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: "moqswitch".to_owned(),
            calls: moqswitch_calls::Settings::default(),
            dialplan: Dialplan::default(),
            numbers: Vec::new(),
            users: None,
            tokens: None,
            callback: None,
            keys: Vec::new(),
            api_tokens: None,
            origins: Vec::new(),
            records: None,
            state: None,
            recordings: None,
            mailboxes: None,
            webhooks: Vec::new(),
            trunk: None,
            utc_offset: UtcOffset::fixed(0),
            clock: WallClock::default(),
            mediaswitch: None,
            sip: None,
            asterisk: None,
            browsers: Box::new(NoRtp::default()),
            nodes: None,
            times: SocketTimes::default(),
        }
    }
}

impl Default for MediaswitchSettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            domain: None,
            control_wait: limits::CONTROL_ANSWER_WAIT_MAX,
            channels: Box::new(NoChannels),
        }
    }
}

impl Settings {
    pub(crate) fn take_entrance(&mut self) -> Entrance {
        Entrance {
            users: self.users.take(),
            tokens: self.tokens.take(),
            callback: self.callback.take(),
        }
    }
}

impl UtcOffset {
    /// The same all the year.
    pub fn fixed(minutes: i16) -> Self {
        Self(Arc::new(move |_| minutes))
    }

    /// As `offset` says for a time in milliseconds since 1970. It is asked at each event, so it must be quick.
    pub fn new(offset: impl Fn(u64) -> i16 + Send + Sync + 'static) -> Self {
        Self(Arc::new(offset))
    }

    /// At a time in milliseconds since 1970.
    pub fn minutes(&self, unix_ms: u64) -> i16 {
        (self.0)(unix_ms)
    }
}

impl fmt::Debug for UtcOffset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UtcOffset")
    }
}

impl RecordSettings {
    /// Files below a directory, as large and for as long as most want: 64 MiB each, 4 GiB in all, for ever.
    pub fn below(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            file_bytes_max: 64 << 20,
            total_bytes_max: 4 << 30,
            age_max: Duration::ZERO,
            before_sync: BeforeSync::default(),
        }
    }
}

impl BeforeSync {
    /// This.
    pub fn new(what: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(what)))
    }

    pub(crate) fn run(&self) {
        if let Some(what) = &self.0 {
            what();
        }
    }
}

impl fmt::Debug for BeforeSync {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BeforeSync")
    }
}

impl Default for SocketTimes {
    fn default() -> Self {
        Self {
            first_message: limits::FIRST_MESSAGE_WAIT_MAX,
            ping: limits::PING_INTERVAL,
            silence: limits::SILENCE_MAX,
            request: limits::REQUEST_WAIT_MAX,
        }
    }
}
