//! What the call plane wants done. An adapter carries it out and decides nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::codec::{Codec, Codecs};
use crate::event::{Signal, SuperviseMode};
use crate::grants::Grants;
use crate::ids::{CallId, HookId, LegId, Number, Payload, PlayId, RequestId, SessionId, Text};
use crate::media::Warning;
use crate::presence::{AgentState, Status};
use crate::record::{CallRecord, EndedBy, LegRecord};
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::{CallView, LegView, Participant, Party};

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Answer a request: each is answered once.
    Reply {
        /// Of the request.
        request: RequestId,
        /// What.
        reply: Reply,
    },
    /// Tell a device. While its socket is lost, the adapter keeps it for the resumption.
    Notify {
        /// Whom.
        session: SessionId,
        /// What.
        notice: Notice,
    },
    /// Do something about media.
    Media(MediaAction),
    /// Keep it, and tell those who follow events.
    Report(Report),
    /// Tell the control program of a dialog. What else becomes of it is told by [`Report::Leg`].
    Control(ControlNotice),
    /// Ask a hook where a call goes. [`AdminEvent::HookAnswered`](crate::AdminEvent::HookAnswered) answers.
    AskHook(HookQuestion),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The device is registered.
    Registered(Box<Registered>),
    /// The device is back: what it has now. What it knew beside this is no more.
    Resumed(Box<Registered>),
    /// The call begins. More is told by notices.
    Calling {
        /// Which call.
        call: CallId,
        /// The caller's leg. None: of a program's call nobody has one yet.
        leg: Option<LegId>,
    },
    /// It is done.
    Done,
    /// It is not, and nothing has changed.
    Refused(Refusal),
}

/// What a registered device is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// Its session.
    pub session: SessionId,
    /// Its number.
    pub number: Number,
    /// Its name among the number's devices.
    pub device: Text,
    /// How long it is registered.
    pub expires: Duration,
    /// How long it may be away and come back.
    pub resume_for: Duration,
    /// Every call in which it has a leg.
    pub calls: Vec<CallView>,
}

/// What a device is told without having asked. `call` is the call as the device knows it, `leg` its own leg there (`own`,
/// where `leg` is another's). A trunk with several legs in a call is told for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// Somebody calls.
    Incoming(Box<Incoming>),
    /// How far the device's own call is.
    Progress {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// The request by which it dialled.
        request: Option<RequestId>,
        /// Calling or ringing.
        state: LegState,
        /// How many devices are being called.
        devices: usize,
        /// The broadcast of media before the answer, with an answer for it.
        early: Option<(LegId, Option<Payload>)>,
    },
    /// The device's leg is up.
    Accepted(Box<Accepted>),
    /// Who is in the call, whenever that, or what one of them sends, changes.
    Participants {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Everybody that is up, and who is told of.
        participants: Vec<Participant>,
    },
    /// Somebody came into the call.
    Joined {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Who.
        participant: Box<Participant>,
    },
    /// Somebody left the call, which goes on.
    Left {
        /// Which call.
        call: CallId,
        /// The device's leg.
        own: LegId,
        /// Who.
        leg: LegId,
        /// Why.
        cause: Cause,
    },
    /// Somebody, maybe the device itself, holds or goes on.
    Held {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Who.
        by: LegId,
        /// Holds?
        hold: bool,
        /// What this device hears instead: a broadcast.
        music: Option<String>,
    },
    /// Somebody else sends nothing, or sends again.
    Muted {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Who.
        by: LegId,
        /// Muted?
        muted: bool,
    },
    /// Somebody else pressed digits.
    Dtmf {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Who.
        by: LegId,
        /// What.
        digits: Text,
        /// How long each.
        duration: Duration,
    },
    /// SDP or a candidate of somebody else.
    Signal {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Of whom.
        by: LegId,
        /// What.
        signal: Signal,
    },
    /// The device is to speak this codec from here on, as those who hear it do not take what it speaks: a SIP telephone agrees on
    /// it by a re-INVITE. [`CallEvent::Codecs`](crate::CallEvent::Codecs) says what came of it. Until then others transcode.
    /// Told once; only of legs that have said what they speak.
    Speak {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// What.
        codec: Codec,
    },
    /// How far the device's transfer or addition is.
    Transfer {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// How far.
        progress: TransferProgress,
    },
    /// The caller's place in a queue changed.
    Queue {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Which queue.
        queue: Text,
        /// From 1.
        position: usize,
        /// What is heard meanwhile: a broadcast.
        music: Option<String>,
    },
    /// Something is played to the device once, before the call goes on.
    Announcement {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// What.
        name: Text,
        /// A broadcast. None: it is over.
        music: Option<String>,
    },
    /// The call is recorded, or is not any more.
    Recording {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// Recorded?
        on: bool,
        /// For a while nothing is.
        paused: bool,
        /// The device is to hear a tone that says so, at once and after each such time.
        #[serde(default)]
        tone: Option<Duration>,
    },
    /// What the device reported is worth a warning, or is not any more.
    QualityWarning {
        /// Which call.
        call: CallId,
        /// The device's leg.
        leg: LegId,
        /// What.
        warning: Warning,
        /// Begins?
        on: bool,
    },
    /// The device's leg is over: once for each.
    Ended(Box<Ended>),
    /// How a watched number is.
    Presence {
        /// Which.
        number: Number,
        /// How.
        status: Status,
        /// How its agent is.
        agent: AgentState,
    },
    /// How a call is, for those who watch all.
    Call(Box<CallView>),
    /// The session is over; nothing more is told to it.
    Unregistered {
        /// Why.
        reason: UnregisterReason,
    },
}

/// Somebody calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incoming {
    /// Which call.
    pub call: CallId,
    /// The device's leg.
    pub leg: LegId,
    /// Who.
    pub from: Party,
    /// What was dialled, after translation: what a trunk is to call.
    pub dialled: Number,
    /// Do not ring longer.
    pub lifetime: Duration,
    /// Who sent the call on.
    pub forwarded_by: Option<Number>,
    /// The queue that it waits in.
    pub queue: Option<Text>,
    /// What those could take and send who would hear the device: more than what they speak now, as they may agree anew
    /// ([`Notice::Speak`]).
    pub codecs: Codecs,
    /// The caller's.
    pub metadata: Option<Payload>,
    /// The caller's offer.
    pub sdp: Option<Payload>,
}

/// A leg is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Which call.
    pub call: CallId,
    /// The device's leg, whose path it publishes.
    pub leg: LegId,
    /// The request by which it dialled.
    pub request: Option<RequestId>,
    /// Who answered, or whose call was answered.
    pub peer: Party,
    /// The answer of the other side.
    pub sdp: Option<Payload>,
    /// What the leg may do from here on. It is the session's grants as far as this leg goes.
    pub grants: Grants,
}

/// A leg is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which call.
    pub call: CallId,
    /// The device's leg.
    pub leg: LegId,
    /// The request by which it dialled.
    pub request: Option<RequestId>,
    /// The caller's own name for the call.
    pub alias: Option<Text>,
    /// Why.
    pub cause: Cause,
    /// By whom.
    pub by: EndedBy,
    /// For a leg that was not first: who was.
    pub answered_by: Option<Party>,
    /// How long it was up.
    pub duration: Duration,
    /// From its beginning to its answer.
    pub setup: Option<Duration>,
    /// The mean of the scores that the device reported.
    pub mos: Option<f32>,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferProgress {
    /// The other is called.
    Trying,
    /// The other's phone rings.
    Ringing,
    /// It is done.
    Done,
    /// It failed, and the old call goes on. The cause is one of a failure: its SIP status is 300 or more.
    Failed(Cause),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnregisterReason {
    /// It wanted so.
    Requested,
    /// The time it registered for is over.
    Expired,
    /// Another session registered as the same device. Close 4403.
    Replaced,
    /// It did not come back in time.
    Lost,
    /// The switch stops.
    Shutdown,
}

/// About media.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaAction {
    /// From here on the session may do this, and nothing else.
    Grants {
        /// Whose.
        session: SessionId,
        /// Everything it may do.
        grants: Grants,
    },
    /// What legs send changed.
    Codecs {
        /// Of which call.
        call: CallId,
        /// Every leg that may publish.
        legs: Vec<LegCodecs>,
    },
    /// Record a call, or stop.
    Record {
        /// Which call.
        call: CallId,
        /// Record?
        on: bool,
    },
    /// For a while nothing is written of a call that is recorded, or is again.
    PauseRecording {
        /// Which call.
        call: CallId,
        /// Pause?
        paused: bool,
    },
    /// A call that is recorded is like this now: told when it begins to be, and whenever something of it changes.
    Recorded(Box<CallView>),
    /// Play something once: [`MediaEvent::Played`](crate::MediaEvent::Played) says when it is over.
    Play {
        /// By which name its end is told.
        play: PlayId,
        /// What.
        name: Text,
        /// As which broadcast.
        path: String,
    },
    /// Play it no longer.
    StopPlaying {
        /// Which broadcast.
        path: String,
    },
    /// Say what was counted of a leg that is over:
    /// [`MediaEvent::Counters`](crate::MediaEvent::Counters) answers. Its record waits a little for it.
    Count {
        /// Whose.
        leg: LegId,
    },
}

/// What one leg sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegCodecs {
    /// Which leg.
    pub leg: LegId,
    /// On its track `audio`: what it speaks now, where it has said so.
    pub sends: Option<Codec>,
    /// What it has to be transcoded to for others.
    pub transcoded: Vec<Codec>,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A leg's state changed. Each leg begins with `calling` or `hangup` and ends with `hangup`.
    Leg(Box<LegView>),
    /// A leg's record. Each has one.
    LegRecord(Box<LegRecord>),
    /// A call is over, and its record waits for counters of the relay: what is known of it so far. Its record follows, but for
    /// a process that is gone by then.
    CallEnded(Box<CallRecord>),
    /// A call's record, after those of its legs. Each has one.
    CallRecord(Box<CallRecord>),
    /// A supervisor did something: for the audit.
    Supervision {
        /// Which call.
        call: CallId,
        /// Who. None: a program.
        supervisor: Option<Number>,
        /// What. None: left.
        mode: Option<SuperviseMode>,
    },
    /// A telephone that was called would have another number called.
    Forward {
        /// Which call.
        call: CallId,
        /// Whose telephone.
        by: Number,
        /// Where to.
        to: Number,
        /// Why it is not followed. None: it is.
        refused: Option<Cause>,
    },
    /// Something is played to a caller once, or is over.
    Announcement {
        /// Which call.
        call: CallId,
        /// What.
        name: Text,
        /// None: it begins. False: it was not heard to its end.
        whole: Option<bool>,
    },
    /// Digits were pressed: for control programs.
    Dtmf {
        /// Who.
        by: LegId,
        /// What.
        digits: Text,
    },
    /// A device registered or went: for control programs.
    Registration {
        /// Which.
        number: Number,
        /// Its name.
        device: Text,
        /// Its contact.
        contact: Text,
        /// Registered?
        on: bool,
    },
}

/// What a control program is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlNotice {
    /// Somebody calls, and the program decides: [`ControlEvent`](crate::ControlEvent). Without a decision the call ends
    /// after [`limits::CONTROL_WAIT`](crate::limits::CONTROL_WAIT).
    Dialled {
        /// The dialog.
        dialog: CallId,
        /// Whose program: the domain of what was dialled, or else of who calls.
        domain: Text,
        /// Who.
        from: Party,
        /// What was dialled.
        dialled: Number,
    },
    /// The dialog's device wants the others to talk to somebody else.
    /// [`ControlEvent::Referred`](crate::ControlEvent::Referred) says what became of it.
    Referred {
        /// The dialog.
        dialog: CallId,
        /// With whom.
        to: Number,
        /// Another dialog of the device, whose other side is meant.
        replaces: Option<CallId>,
    },
    /// The dialog is over: once for each.
    Over {
        /// The dialog.
        dialog: CallId,
        /// Why.
        cause: Cause,
        /// By whom.
        by: EndedBy,
        /// The call that its leg was in.
        call: CallId,
    },
}

/// A question to a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookQuestion {
    /// The answer has the same.
    pub hook: HookId,
    /// Of which call.
    pub call: CallId,
    /// Whom to ask.
    pub url: String,
    /// Until when an answer counts. Afterwards the rule's fallback decides, by itself.
    pub timeout: Duration,
    /// Who calls.
    pub from: Party,
    /// What was dialled.
    pub dialled: Number,
}

impl Ended {
    /// By whom, as messages have it: `local`, `remote`, `supervisor` or `system`.
    pub fn by_name(&self) -> &'static str {
        match self.by {
            EndedBy::Leg(leg) if leg == self.leg => "local",
            EndedBy::Leg(_) => "remote",
            EndedBy::Supervisor => "supervisor",
            EndedBy::Api | EndedBy::System => "system",
        }
    }
}

impl TransferProgress {
    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Ringing => "ringing",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }
}

impl UnregisterReason {
    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Lost => "lost",
            Self::Shutdown => "shutdown",
        }
    }
}
