//! Sessions against each other over a network in memory, and against bytes no session sends.

mod announcements;
mod floods;
mod gomoqt;
mod groups;
mod in_band;
mod network;
mod queues;
mod random;
mod requests;
mod setup;
mod teardown;
mod violations;
