//! What the call plane is told.
//!
//! A request has an id, and is answered by exactly one [`Reply`](crate::Reply) with that id. Everything else is a fact and
//! is not answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::codec::{Codec, Codecs};
use crate::dialplan::{Dialplan, Target};
use crate::ids::{CallId, HookId, LegId, LegNumber, Number, Payload, PlayId, RequestId, SessionId, Text};
use crate::media::{Counters, Quality};
use crate::presence::AgentState;
use crate::settings::Settings;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Of a device's registration.
    Register(RegisterEvent),
    /// Somebody wants something of a call.
    Call {
        /// The reply has the same.
        request: RequestId,
        /// Who wants it.
        actor: Actor,
        /// What.
        event: CallEvent,
    },
    /// A supervisor wants something.
    Supervise {
        /// The reply has the same.
        request: RequestId,
        /// Who wants it: a session registered as a supervisor's, or a program.
        actor: Actor,
        /// What.
        event: SuperviseEvent,
    },
    /// A session wants to be told of others, or tells how its agent is.
    Watch {
        /// The reply has the same.
        request: RequestId,
        /// Who wants it.
        session: SessionId,
        /// What.
        event: WatchEvent,
    },
    /// A control program decides on one of its dialogs.
    Control {
        /// The reply has the same.
        request: RequestId,
        /// What.
        event: ControlEvent,
    },
    /// Facts about media.
    Media(MediaEvent),
    /// Of the switch itself.
    Admin(AdminEvent),
}

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// A registered device, for its own leg. Of several that a trunk has in a call it is the first that is up; to ring, to
    /// answer and to reject it is the first that is called.
    Session(SessionId),
    /// The same of an adapter that knows which leg it is: it may what the leg's session may. The call that a request names is
    /// the one that the leg is in or began in.
    Leg(LegId),
    /// A program (REST, mediaswitch's HTTP) that the adapter let in. It acts for a leg of the call; `None` is the caller's
    /// leg or, where that is gone, the first one.
    Api {
        /// The leg it acts for.
        leg: Option<LegNumber>,
    },
}

/// Of a device's registration. The adapter has checked who it is.
#[derive(Clone, Debug)]
pub enum RegisterEvent {
    /// A device comes, or comes again: the same session refreshes, another session with the same device name takes over. Who
    /// was lost, or takes over, is told of what rings once more: an adapter that has the leg already passes over it.
    Register {
        /// The reply has the same.
        request: RequestId,
        /// What it says of itself.
        registration: Box<Registration>,
    },
    /// A device goes. Its legs end.
    Unregister {
        /// The reply has the same.
        request: RequestId,
        /// Who.
        session: SessionId,
    },
    /// A device's socket is lost, or a telephone's flow. It may come back by `Resume`, or by `Register` with the same session.
    /// Until then its media goes on, and what it says by another way (a telephone's BYE) counts.
    Lost {
        /// Whose.
        session: SessionId,
    },
    /// A device is back on another socket, with the session that it had.
    Resume {
        /// The reply has the same.
        request: RequestId,
        /// Who.
        session: SessionId,
    },
    /// A device of another machine is gone, or that machine is: its legs end, [`Cause::Unreachable`].
    Gone {
        /// Which.
        session: SessionId,
    },
    /// The legs that a device has in calls of other machines: they count for who watches it, for who looks for a device that
    /// is free, and for how many calls its number may have.
    Elsewhere {
        /// Whose.
        session: SessionId,
        /// How many.
        legs: u16,
        /// Is one of them more than called?
        is_busy: bool,
    },
}

/// A device as it registers.
#[derive(Clone, Debug)]
pub struct Registration {
    /// 128 random bits, the adapter's.
    pub session: SessionId,
    /// The number that the device answers for.
    pub number: Number,
    /// Its name among the number's devices. None: it is never taken for another.
    pub device: Option<Text>,
    /// The name for people.
    pub display_name: Text,
    /// What it is.
    pub kind: DeviceKind,
    /// How long to keep it.
    pub expires: Option<Duration>,
    /// What it was let in by is valid for so long: it is registered for no longer. None: it does not end.
    pub valid_for: Option<Duration>,
    /// May it be rung? If not, it only makes calls. A device that cannot be reached for now registers again without it, and
    /// keeps its legs.
    pub ringable: bool,
    /// Can the plane have it answer: when its number and another call each other at once, and when it supervises? A browser
    /// takes that. A SIP telephone is answered by itself alone, and so is a trunk, whatever is said here.
    pub meets: bool,
    /// May it supervise, and watch all calls?
    pub supervisor: bool,
    /// What it takes and sends. Empty: everything.
    pub codecs: Codecs,
    /// Where it is, for people and for the adapter: a SIP contact, an address.
    pub contact: Text,
    /// What its program calls itself.
    pub agent: Text,
}

impl Registration {
    /// A browser's tab: it rings, can be made to answer, supervises nobody and takes every codec.
    pub fn phone(session: SessionId, number: Number) -> Self {
        Self {
            session,
            number,
            device: None,
            display_name: Text::default(),
            kind: DeviceKind::Phone,
            expires: None,
            valid_for: None,
            ringable: true,
            meets: true,
            supervisor: false,
            codecs: Codecs::all(),
            contact: Text::default(),
            agent: Text::default(),
        }
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A phone, for one caller.
    Phone,
    /// A way to other numbers (a SIP trunk, a gateway): it may name the caller, may be sent any number, has as many legs
    /// as there is room for, and several of them in one call.
    Trunk,
}

/// What a control program wants. A dialog is one party of a call that a program controls: it is named by the call that it
/// began in, wherever its leg is by now.
#[derive(Clone, Debug)]
pub enum ControlEvent {
    /// Call a number, as a dialog of its own. Who answers is alone until it is mixed with another.
    Invite(Box<Invite>),
    /// Tell the caller that it rings. Nothing changes where it rings already, or is up.
    Ring {
        /// Whose.
        dialog: CallId,
    },
    /// Answer the caller, who is alone until it is mixed with another.
    Answer {
        /// Whose.
        dialog: CallId,
    },
    /// End the dialog. Who is with it stays.
    Hangup {
        /// Which.
        dialog: CallId,
        /// None: [`Cause::Normal`] for one that is up, otherwise [`Cause::Cancelled`].
        cause: Option<Cause>,
    },
    /// Everybody that is with `other` comes to `dialog`. Both are up.
    Mix {
        /// Where to.
        dialog: CallId,
        /// Who.
        other: CallId,
    },
    /// The dialog is alone again. The reply has the call that it is in from here on.
    Unmix {
        /// Which.
        dialog: CallId,
    },
    /// What the dialog's device asked for by a transfer is done, and its leg ends; or it failed, and nothing ends.
    Referred {
        /// Whose.
        dialog: CallId,
        /// Why it failed.
        failed: Option<Cause>,
    },
}

/// A number is called for a control program.
#[derive(Clone, Debug)]
pub struct Invite {
    /// 128 random bits of the adapter's: the dialog.
    pub dialog: CallId,
    /// Who.
    pub to: Number,
    /// The trunk that is to call it. None: its own devices ring.
    pub via: Option<Number>,
    /// Who calls, as it is shown.
    pub from: (Number, Text),
    /// How long to ring. None: [`limits::RING_MAX`](crate::limits::RING_MAX).
    pub timeout: Option<Duration>,
}

/// What somebody wants of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CallEvent {
    /// Call a number. Of a session only.
    Dial(Box<Dial>),
    /// Ring `from`; when it answers, call `to`. Of a program only.
    Originate {
        /// Who is rung first.
        from: Number,
        /// Who is called then.
        to: Number,
        /// 128 random bits of the adapter's. None: the plane's source of ids.
        call: Option<CallId>,
        /// How long each of them rings.
        timeout: Option<Duration>,
    },
    /// Come in the place of another leg: that of a device of the same number, or somebody else's behind the same trunk. Of a session
    /// only.
    Replace(Box<Replace>),
    /// What the device takes and sends in this call, as its program and the switch agreed. Nothing of it that its profile allows,
    /// or to speak what that does not: [`Refusal::Incompatible`](crate::Refusal::Incompatible), and it stays as it was.
    Codecs {
        /// Which call.
        call: CallId,
        /// Every codec that both sides listed: what it could speak after another agreement.
        codecs: Codecs,
        /// The one that it speaks now, both ways, until it agrees on another: [`Notice::Speak`](crate::Notice::Speak) asks
        /// for that. None: any of them at any moment, as browsers do.
        speaks: Option<Codec>,
    },
    /// The device rings.
    Ringing {
        /// The call that it was told of.
        call: CallId,
        /// Does it send media before the answer? Heeded of trunks and telephones ([`Registration::meets`] is false): of several that
        /// ring the caller hears the first, in a queue its music.
        early_media: bool,
        /// An answer for that media.
        sdp: Option<Payload>,
    },
    /// The device answers.
    Answer {
        /// The call that it was told of.
        call: CallId,
        /// Its answer.
        sdp: Option<Payload>,
    },
    /// The device's user does not want the call.
    Reject {
        /// The call that it was told of.
        call: CallId,
        /// Why.
        reason: RejectReason,
        /// For whom.
        scope: RejectScope,
    },
    /// The device, which is called, would have another number called. It is followed as the dialplan says, and as the profiles of the
    /// caller and of the device's number allow; of trunks, in queues and where a program decides it is not. The leg ends either way.
    Forward {
        /// The call that it was told of.
        call: CallId,
        /// Where to.
        to: Number,
    },
    /// Hang up: a session its own leg, a program the call. Before the answer the caller cancels by it.
    Hangup {
        /// Which call.
        call: CallId,
        /// None: [`Cause::Normal`].
        cause: Option<Cause>,
    },
    /// Hold or go on.
    Hold {
        /// Which call.
        call: CallId,
        /// Hold?
        hold: bool,
    },
    /// The device sends nothing, or sends again. Information only.
    Mute {
        /// Which call.
        call: CallId,
        /// Muted?
        muted: bool,
    },
    /// Digits were pressed.
    Dtmf {
        /// Which call.
        call: CallId,
        /// Of `0-9A-D*#,`, at most 32.
        digits: Text,
        /// How long each.
        duration: Duration,
    },
    /// Connect the others with somebody else.
    Transfer {
        /// Which call.
        call: CallId,
        /// With whom.
        to: TransferTo,
    },
    /// Have one more in the call.
    Add {
        /// Which call.
        call: CallId,
        /// Who.
        to: Number,
    },
    /// Have one less in the call.
    Remove {
        /// Which call.
        call: CallId,
        /// Who: [`Participant::leg`](crate::Participant::leg).
        leg: LegId,
    },
    /// In a conference these alone are heard from here on, or everybody again. Of programs alone.
    Lecture {
        /// Which call.
        call: CallId,
        /// Who is heard: legs of the call. None: everybody.
        speakers: Option<Vec<LegId>>,
    },
    /// Make one conference of two calls of the device.
    Merge {
        /// The call that stays.
        call: CallId,
        /// The call whose legs come into it.
        other: CallId,
    },
    /// SDP and candidates between devices, handed on as they are.
    Signal {
        /// Which call.
        call: CallId,
        /// To whom. None: to the other side.
        to: Option<LegId>,
        /// What.
        signal: Signal,
    },
    /// Record the call, or stop.
    Record {
        /// Which call.
        call: CallId,
        /// Record?
        on: bool,
    },
    /// While a call is recorded: nothing of it is written for a while, or is again.
    PauseRecording {
        /// Which call.
        call: CallId,
        /// Pause?
        paused: bool,
    },
}

/// A call as it is dialled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dial {
    /// The number.
    pub to: Number,
    /// One of its devices, which is called alone where the number is that of its devices. None: all of them.
    #[serde(default)]
    pub device: Option<SessionId>,
    /// 128 random bits of the adapter's. None: the plane's source of ids.
    pub call: Option<CallId>,
    /// The caller's own name for the call. It is handed back with what concerns the caller's leg.
    pub alias: Option<Text>,
    /// How long to ring.
    pub timeout: Option<Duration>,
    /// Who calls, with a name. Heeded of trunks only.
    pub from: Option<(Number, Text)>,
    /// Handed to whom is rung.
    pub metadata: Option<Payload>,
    /// The caller's offer.
    pub sdp: Option<Payload>,
    /// What the caller takes and sends in this call: every codec of its offer. Empty: what it registered with.
    pub codecs: Codecs,
}

impl Dial {
    /// Calls a number, nothing else said.
    pub fn to(to: Number) -> Self {
        Self {
            to,
            device: None,
            call: None,
            alias: None,
            timeout: None,
            from: None,
            metadata: None,
            sdp: None,
            codecs: Codecs::default(),
        }
    }
}

/// A device wants to be in a call in the place of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replace {
    /// Whose place: one that is up, or one that rings, for which the call is answered.
    pub leg: LegId,
    /// Who comes, with a name. Heeded of trunks only.
    pub from: Option<(Number, Text)>,
    /// What it takes and sends in this call. Empty: what it registered with.
    pub codecs: Codecs,
}

/// Why a callee does not want a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectReason {
    /// Busy: [`Cause::Busy`].
    Busy,
    /// Declined: [`Cause::Rejected`].
    Declined,
}

/// For whom a callee's device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectScope {
    /// It alone stops ringing.
    Device,
    /// Every device of the number stops ringing.
    All,
}

/// With whom the others are to be connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferTo {
    /// Blind: a number that is called. Who transfers is on hold until it answers; if it does not, the old call goes on.
    Number(Number),
    /// The same, where one of its devices is meant.
    Device(Number, SessionId),
    /// Attended: who is in another call of the device. Both are up. Of several legs of a trunk in it the first that is up is
    /// meant.
    Call(CallId),
    /// Attended: who is in the call of another leg of the device, for adapters that know which leg it is.
    Leg(LegId),
}

/// What WebRTC browsers tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// An offer, the first or a later one.
    Offer(Payload),
    /// An answer.
    Answer(Payload),
    /// An ICE candidate.
    Candidate(Payload),
}

/// What a supervisor wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SuperviseEvent {
    /// Take part in a call as `mode` says; once more with another mode changes it.
    Join {
        /// The supervisor's device. A session names its own. Where a program names one that cannot be made to answer
        /// ([`Registration::meets`]), the first of the number's devices that can is taken.
        session: SessionId,
        /// Which call.
        call: CallId,
        /// How.
        mode: SuperviseMode,
    },
    /// Leave the call.
    Stop {
        /// The supervisor's device.
        session: SessionId,
        /// Which call.
        call: CallId,
    },
    /// End the call.
    Disconnect {
        /// Which call.
        call: CallId,
    },
    /// Take the place of a participant, whose leg ends.
    TakeOver {
        /// The supervisor's device.
        session: SessionId,
        /// Which call.
        call: CallId,
        /// Whose place.
        leg: LegId,
    },
}

/// How a supervisor takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SuperviseMode {
    /// Hears everybody, is heard by nobody.
    Listen,
    /// Hears everybody, is heard by one.
    Whisper(LegId),
    /// Hears everybody, is heard by everybody.
    Barge,
}

/// What a session wants to be told, or says of its agent.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// How these numbers are, now and whenever it changes. They replace those of before.
    Numbers(Vec<Number>),
    /// Every call whenever it changes. Of supervisors only. Those that there are: [`CallPlane::calls`](crate::CallPlane::calls).
    Calls(bool),
    /// How the number's agent is.
    Agent(AgentState),
}

/// Facts about media: of the relay, or of who hears it.
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// Media of a leg came since the last time that this was said.
    Flowing {
        /// Whose.
        leg: LegId,
    },
    /// What a device says about what it hears.
    Quality {
        /// The leg that hears it: the device's own.
        leg: LegId,
        /// What.
        quality: Quality,
    },
    /// What was to be played once is over.
    Played {
        /// What.
        play: PlayId,
        /// To its end. False: there is no such thing, or no room for it.
        whole: bool,
    },
    /// What the relay counted of a leg's broadcast until now.
    Counters {
        /// Whose.
        leg: LegId,
        /// What.
        counters: Counters,
    },
}

/// Of the switch itself.
#[derive(Clone, Debug)]
pub enum AdminEvent {
    /// These numbers exist, whether somebody is registered or not: to call them is not "unallocated".
    Declare {
        /// Which.
        numbers: Vec<Number>,
        /// True: they exist; false: they exist only while somebody is registered.
        exist: bool,
    },
    /// Another dialplan, for calls from here on.
    ReplaceDialplan(Box<Dialplan>),
    /// Other settings, for what happens from here on.
    ReplaceSettings(Box<Settings>),
    /// A hook has answered.
    HookAnswered {
        /// Which question.
        hook: HookId,
        /// What.
        answer: HookAnswer,
    },
    /// Calls to and from numbers of this domain are decided by a control program, or not any more: what is behind the `@`
    /// of a number, in small letters. Empty: of numbers without one.
    Control {
        /// Which.
        domain: Text,
        /// Decided by a program?
        on: bool,
    },
    /// The switch stops: every call ends, nothing is let in.
    Shutdown,
}

/// What a hook decided beside where the call goes. What is none stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookDecision {
    /// Where it goes.
    pub target: Target,
    /// What the caller hears once before that.
    pub play: Option<Text>,
    /// How long that rings, unless its own rule or group says so.
    pub ring: Option<Duration>,
    /// Is it recorded?
    pub record: Option<bool>,
    /// What the caller may speak and hear of what it could. None of it: the call ends, `incompatible`.
    pub codecs: Option<Codecs>,
    /// What the caller is called.
    pub name: Option<Text>,
}

/// What a hook decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookAnswer {
    /// The call goes there.
    Target(Target),
    /// The call goes there, and something else is so from here on.
    Decided(Box<HookDecision>),
    /// The call ends.
    Reject(Cause),
    /// Nobody answered, or nonsense: the rule's fallback decides.
    Failed,
}
