//! The seam to RTP: channels, each a port for one leg. Until something opens them there are none to be had.

use serde_json::Value;

/// What opens channels. It is called on the calls thread: nothing here may block.
pub trait ChannelPool: Send + std::fmt::Debug {
    /// How many are open, and how many more there could be.
    fn load(&self) -> ChannelLoad;

    /// Opens one. `control` is where its events go.
    ///
    /// # Errors
    /// [`ChannelError::Exhausted`].
    fn open(&mut self, control: Option<&str>) -> Result<Channel, ChannelError>;

    /// Closes one.
    ///
    /// # Errors
    /// [`ChannelError::Unknown`].
    fn close(&mut self, channel: &str) -> Result<(), ChannelError>;

    /// Does something with one.
    ///
    /// # Errors
    /// [`ChannelError::Unknown`], also of the other channel; [`ChannelError::Unsupported`].
    fn command(&mut self, channel: &str, command: ChannelCommand) -> Result<(), ChannelError>;

    /// What happened on one for which a `control` was named, in order.
    fn poll_event(&mut self) -> Option<ChannelNotice>;
}

/// Something that the control server of a channel is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelNotice {
    /// Of which channel.
    pub channel: String,
    /// The server, as it was named.
    pub control: String,
    /// What.
    pub news: ChannelNews,
}

/// What happens on a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelNews {
    /// Its peer has pressed a digit (RFC 4733), which is over.
    Digit {
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
        /// How long.
        duration_ms: u32,
    },
    /// Something is played once to it: it begins, or is over.
    Played {
        /// `start` or `end`.
        event: &'static str,
        /// Why: `new`; `completed`, `replaced` by something else or nothing, `doesntexist`.
        reason: &'static str,
    },
    /// It is closed, and nothing more is told of it.
    Closed {
        /// `requested`, or `refused`: its shard could not open it after all.
        reason: &'static str,
        /// What was counted.
        counts: ChannelCounts,
    },
}

/// Packets of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelCounts {
    /// That were taken.
    pub received: u64,
    /// That came twice, too late, or were of no use.
    pub dropped: u64,
    /// That are missing by their numbers.
    pub lost: u64,
    /// What is heard of the peer, 1 to 4.5. `None`: nothing was.
    pub mos: Option<f32>,
    /// That went to the peer.
    pub sent: u64,
    /// Of whom it hears: that did not come in time, and that came when their turn was over.
    pub unsent: u64,
}

/// How busy a [`ChannelPool`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelLoad {
    /// Open.
    pub active: usize,
    /// To be had.
    pub available: usize,
}

/// An open channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub uuid: String,
    /// Where it receives RTP.
    pub ip: String,
    /// At this port.
    pub port: u16,
}

/// What is wanted of a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelCommand {
    /// Send there: `{"ip", "port", "audio": {"payloads": []}}`.
    Target(Value),
    /// Hear another, and be heard by it.
    Mix(String),
    /// Be alone again.
    Unmix,
    /// Play files: `{"loop", "files": []}`.
    Play(Value),
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// There is no such channel.
    #[error("there is no such channel")]
    Unknown,
    /// There are no more.
    #[error("there are no channels left")]
    Exhausted,
    /// Channels cannot do that.
    #[error("channels cannot do that")]
    Unsupported,
}

/// There are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoChannels;

impl ChannelPool for NoChannels {
    fn load(&self) -> ChannelLoad {
        ChannelLoad::default()
    }

    fn open(&mut self, _control: Option<&str>) -> Result<Channel, ChannelError> {
        Err(ChannelError::Exhausted)
    }

    fn close(&mut self, _channel: &str) -> Result<(), ChannelError> {
        Err(ChannelError::Unknown)
    }

    fn command(&mut self, _channel: &str, _command: ChannelCommand) -> Result<(), ChannelError> {
        Err(ChannelError::Unknown)
    }

    fn poll_event(&mut self) -> Option<ChannelNotice> {
        None
    }
}
