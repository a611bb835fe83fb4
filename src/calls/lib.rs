//! Telephone calls without I/O: numbers, devices, calls, legs, the dialplan, queues, supervision and call records.
//!
//! No socket, no clock, no thread, no randomness. Whoever embeds this crate tells the [`CallPlane`] what happened and
//! what time it is, and does what it says. It does not know by what messages devices talk (JSON, SIP, HTTP), nor how
//! media flows: it says who may publish and subscribe what, as [`Grants`].
//!
//! # How to use it
//!
//! 1. [`CallPlane::handle`] takes an [`Event`].
//! 2. [`CallPlane::poll_action`] gives every [`Action`] that follows, in order. Take them all.
//! 3. [`CallPlane::poll_timeout`] says when [`CallPlane::handle_timeout`] is due. Then actions follow as well.
//!
//! A request (everything with a [`RequestId`]) is answered by exactly one [`Action::Reply`]. What else a device has to
//! know comes as [`Action::Notify`]. A [`Report`] is for those who follow events, and for the records.
//!
//! # A call
//!
//! ```
//! use std::time::Duration;
//! use moqswitch_calls::*;
//!
//! /// One moment of a test; a program asks its clocks.
//! fn at(seconds: u64) -> Now {
//!     Now { since_start: Duration::from_secs(seconds), unix_ms: seconds * 1000, utc_offset_min: 0 }
//! }
//!
//! fn drain(plane: &mut CallPlane) -> Vec<Action> {
//!     std::iter::from_fn(|| plane.poll_action()).collect()
//! }
//!
//! // A program draws 128 random bits for each id.
//! let mut drawn = 0;
//! let mut plane = CallPlane::new(Settings::default(), Dialplan::default(), Box::new(move || { drawn += 1; drawn }));
//! let (alice, bob) = (SessionId(1), SessionId(2));
//! for (request, session, number) in [(1, alice, "5001"), (2, bob, "5002")] {
//!     let registration = Box::new(Registration::phone(session, Number::new(number)?));
//!     plane.handle(at(0), Event::Register(RegisterEvent::Register { request: RequestId(request), registration }));
//! }
//! drain(&mut plane);
//!
//! // Alice dials. Bob's phone is told.
//! let dial = CallEvent::Dial(Box::new(Dial::to(Number::new("5002")?)));
//! plane.handle(at(1), Event::Call { request: RequestId(3), actor: Actor::Session(alice), event: dial });
//! let call = drain(&mut plane).into_iter().find_map(|action| match action {
//!     Action::Notify { session, notice: Notice::Incoming(incoming) } if session == bob => Some(incoming.call),
//!     _ => None,
//! }).expect("Bob is registered");
//!
//! // Bob answers. The relay is told what each may do, then both phones are told.
//! let answer = CallEvent::Answer { call, sdp: None };
//! plane.handle(at(4), Event::Call { request: RequestId(4), actor: Actor::Session(bob), event: answer });
//! let actions = drain(&mut plane);
//! let Action::Media(MediaAction::Grants { session, grants }) = &actions[0] else { panic!("{actions:?}") };
//! assert_eq!(*session, alice);
//! assert_eq!(grants.publish, [format!("call/{call}/1/**")]);
//! assert_eq!(grants.subscribe, [format!("call/{call}/**")]);
//!
//! // Alice hangs up. Nobody may do anything any more, and there is a record.
//! let hang_up = CallEvent::Hangup { call, cause: None };
//! plane.handle(at(9), Event::Call { request: RequestId(5), actor: Actor::Session(alice), event: hang_up });
//! drain(&mut plane);
//! // The relay was asked what it counted, and has a second to say so.
//! plane.handle_timeout(at(10));
//! let record = drain(&mut plane).into_iter().find_map(|action| match action {
//!     Action::Report(Report::CallRecord(record)) => Some(record),
//!     _ => None,
//! }).expect("each call has one");
//! assert_eq!((record.cause, record.times.duration.as_secs()), (Cause::Normal, 5));
//! # Ok::<(), NameError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod action;
mod cause;
mod codec;
pub mod dialplan;
mod event;
mod grants;
mod ids;
pub mod limits;
mod media;
mod moment;
mod mos;
mod plane;
mod presence;
mod record;
mod refusal;
mod settings;
mod state;
mod view;

pub use action::{
    Accepted, Action, ControlNotice, Ended, HookQuestion, Incoming, LegCodecs, MediaAction, Notice, Registered, Reply,
    Report, TransferProgress, UnregisterReason,
};
pub use cause::{Cause, UnknownCause};
pub use codec::{Choice, Codec, Codecs, UnknownCodec};
pub use dialplan::{Dialplan, Target};
pub use event::{
    Actor, AdminEvent, CallEvent, ControlEvent, DeviceKind, Dial, Event, HookAnswer, HookDecision, Invite, MediaEvent,
    RegisterEvent, Registration, RejectReason, RejectScope, Replace, Signal, SuperviseEvent, SuperviseMode, TransferTo,
    WatchEvent,
};
pub use grants::Grants;
pub use ids::{CallId, HookId, LegId, LegNumber, NameError, Number, Payload, PlayId, RequestId, SessionId, Text};
pub use media::{Counters, LastQuality, Quality, QualitySummary, Warning};
pub use moment::{LocalTime, Now};
pub use plane::{CallPlane, IdSource};
pub use presence::{AgentState, Status};
pub use record::{CallRecord, EndedBy, LegRecord, Times, Transferred, TransferredTo};
pub use refusal::Refusal;
pub use settings::Settings;
pub use state::{LegState, TRANSITIONS};
pub use view::{CallState, CallView, DeviceView, LegRole, LegView, NumberView, Participant, Party, QueueView};

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's dialplan, and its table of causes.
    #[test]
    fn the_readme_is_true() {
        let readme = include_str!("README.md");
        let plan = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next());
        Dialplan::parse(plan.expect("it has a dialplan")).expect("its dialplan is one");
        for cause in Cause::ALL {
            let row = format!("| `{cause}` | {}", cause.sip_status());
            let line = readme
                .lines()
                .find(|line| line.starts_with(&row))
                .unwrap_or_else(|| panic!("no row {row}"));
            let q850: u8 = line
                .split('|')
                .nth(3)
                .and_then(|cell| cell.trim().parse().ok())
                .expect("a number");
            assert_eq!(q850, cause.q850(), "{cause}");
        }
    }
}
