//! Who gets what: announcements, tracks, the group cache and the order of sending.
//!
//! Pure state machines of one shard (the announce table is shared by all): time is an
//! argument, the transport is a trait, decisions come out of `poll_*`. Two halves:
//! [`Announcer`] with [`AnnounceTable`], and [`Tracks`]. They share no state; the first only names what became of a
//! route ([`RouteFate`]), which the second acts on.
#![forbid(unsafe_code)]

mod action;
mod announcer;
mod cache;
mod datagrams;
mod demand;
mod downstream;
mod egress;
mod fetch;
mod group;
mod groups;
mod ids;
mod pump;
mod remote;
mod select;
mod table;
mod track;
mod tracks;
mod transport;
mod upstream;

#[cfg(test)]
mod tests;

pub use action::{Action, TrackLimits};
pub use announcer::{AnnounceAction, Announcer, PathChange, Route, TooManyRequests, Visible};
pub use demand::Demand;
pub use egress::EgressStatistics;
pub use ids::{FetchKey, PeerKey, RemoteTrack, RequestKey, ShardId, Source, TrackKey};
pub use remote::RemoteMessage;
pub use select::{is_spliceable, select};
pub use table::{AnnounceTable, BROADCASTS_MAX, Entry, TableFull};
pub use tracks::{RouteFate, Tracks, TracksStatistics};
pub use transport::{Transport, Written};
