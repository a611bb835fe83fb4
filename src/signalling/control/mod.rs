//! Control programs: which domains are theirs, the dialogs that they decide on, and how they are told. What they ask for
//! comes by `mediaswitch`.

mod board;
mod channels;
mod dialog;
mod directory;
mod servers;

pub(crate) use board::{Begun, Board, Invitation, NoRoom, NotPushed, Untold};
pub use channels::{
    Channel, ChannelCommand, ChannelCounts, ChannelError, ChannelLoad, ChannelNews, ChannelNotice, ChannelPool,
    NoChannels,
};
pub(crate) use dialog::{Failure, MAX_FORWARDS, Remote, cause_of, reason_of};
pub(crate) use directory::{Change, DomainName, User};
pub(crate) use servers::Failed;
