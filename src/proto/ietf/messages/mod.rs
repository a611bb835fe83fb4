//! The messages of moq-transport: bytes to values and back, one file for each family.

pub(super) mod datagram;
pub(super) mod fields;
mod kind;
pub(super) mod message;
pub(super) mod name;
pub(super) mod parameters;
pub(super) mod properties;
pub(super) mod setup;
pub(super) mod subgroup;
#[cfg(test)]
mod tests;

pub(super) use datagram::ObjectDatagram;
pub(super) use message::{Message, Request};
pub(super) use name::{FullName, Namespace};
pub(super) use parameters::{Filter, Parameters};
pub(super) use properties::TrackProperties;
pub(super) use setup::Setup;
pub(super) use subgroup::{SubgroupHeader, UniStream};
