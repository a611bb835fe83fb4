//! The relay and peers that this project did not write. One program: each file more would be linked with all of them again.

mod announce;
mod attacks;
mod authority;
mod certificates;
mod channels;
mod delivery;
mod everyone;
mod fan_out;
mod garbage;
mod grants;
mod in_band;
mod loadgen;
mod local;
mod mesh;
mod patterns;
mod phone;
mod port_change;
mod probe;
mod rtp;
mod slow_subscriber;
mod srtp;
mod telephones;
mod tokens;
mod transcoding;
mod web;
mod websocket;
