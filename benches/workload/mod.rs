//! What more than one bench does.
#![allow(dead_code, reason = "no bench uses all of it")]

pub(crate) mod fan_out;
pub(crate) mod group;
pub(crate) mod session;
pub(crate) mod timing;
