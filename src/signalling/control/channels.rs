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
}
