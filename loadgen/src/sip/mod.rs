//! Telephones that speak SIP and RTP (RFC 3261, RFC 3550): they register at a switch, call each other in pairs, talk, press
//! keys (RFC 4733), hold by re-INVITE and hang up.
//!
//! A shard has them in groups. Each group is one user agent ([`moqswitch_sip::agent::Agent`]) on one socket, in which each
//! telephone has a Contact of its own. Calls share a few sockets of RTP: thousands of them would cost the generator more
//! than they tell of the switch. Whose a packet is is known by the port of the switch that it comes from.

mod call;
mod calling;
mod group;
mod holding;
mod listening;
mod random;
mod registering;
mod registrar;
mod shard;
mod stream;
mod talking;
mod telephones;
mod way;
mod wire;

pub(crate) use shard::{Parts, Shard};
pub(crate) use telephones::TelephonesPlan;
