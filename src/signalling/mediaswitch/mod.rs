//! The HTTP of mediaswitch, for control programs: the directory, registrations, dialogs and channels, as its three servers
//! had them. The README beside this file documents it.

mod answer;
mod body;
mod channels;
mod dialogs;
mod directory;
mod routes;

pub(crate) use routes::router;
