//! Messages of the signalling: what clients say, in both dialects, and what they are told.
//!
//! [`Dialect::Payload`] has `{"type","payload","id"}` and camelCase; [`Dialect::Flat`] has everything beside `type`, in
//! snake_case. A client speaks the one in which it registered.

mod bounds;
mod fields;
mod flat;
mod incoming;
mod told;
mod views;

pub(crate) use bounds::{is_bounded, is_bounded_to};
pub(crate) use fields::BadMessage;
pub(crate) use flat::{flat, flattened};
pub(crate) use incoming::{Dialect, Envelope, MessageId, Quality, Register, Request, Supervision, ToDial};
pub(crate) use told::{
    Told, bad_message, call_failed, call_of, call_states, done, failed_registration, goaway, held, muted, notice,
    refused, registered, unauthorized,
};
pub(crate) use views::{call_record, call_view, leg_id, leg_record, leg_view, number_view};
