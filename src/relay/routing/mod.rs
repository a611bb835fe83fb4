//! Who gets what: announcements, tracks, the group cache and the order of sending.
//!
//! Pure state machines of one shard (the announce table is shared by all): time is an
//! argument, the transport is a trait, decisions come out of `poll_*`. Two halves that use
//! nothing of each other: [`Announcer`] with [`AnnounceTable`] and [`select()`], and
//! [`Tracks`]. Both have `ids` and `route`.
//!
//! In go announcements, requests, groups and answers, with full paths; out come what a peer is to be told
//! ([`AnnounceAction`], [`Action`]), messages to other shards ([`RemoteMessage`]), and the bytes that
//! [`Tracks::pump`] gives to a [`Transport`]. Begin with [`select()`], which says which source wins; then
//! [`Announcer::route`], and [`Tracks::handle_subscribe`] down to [`Tracks::pump`].
#![forbid(unsafe_code)]

mod action;
mod announcer;
mod cache;
mod counting;
mod datagrams;
mod deadlines;
mod decisions;
mod demand;
mod derived;
mod downstream;
mod egress;
mod fetch;
mod group;
mod ids;
mod names;
mod peers;
mod properties;
mod pump;
mod remote;
mod route;
mod select;
mod serving;
mod settling;
mod store;
mod subscription;
mod table;
mod track_groups;
mod track_state;
mod tracks;
mod transport;
mod upstream;

#[cfg(test)]
mod tests;

pub use action::{Action, TrackLimits};
pub use announcer::{AnnounceAction, Announcer, PathChange, Route, TooManyRequests, Visible};
pub use counting::BroadcastCounts;
pub use demand::Demand;
pub use egress::EgressStatistics;
pub use ids::{FetchKey, PeerKey, RemoteTrack, RequestKey, ShardId, Source, TrackKey};
pub use remote::RemoteMessage;
pub use route::{Entry, Precedence, Provenance, Publisher, RouteFate, RouteView};
pub use select::{NameRule, is_spliceable, reason, select, tie};
pub use table::{AnnounceTable, BROADCASTS_MAX, Holder, TableFull, TableLimits};
pub use tracks::{Tracks, TracksStatistics};
pub use transport::Transport;
