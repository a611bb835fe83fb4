//! The seam to the relay: who may publish and subscribe what, and where media goes.

use std::time::Duration;

use moqswitch_calls::{CallId, CallView, Grants, LegCodecs, LegId, PlayId, SessionId};

/// What carries media. It is called on the calls thread: nothing here may block, and each method is for a bounded queue.
pub trait MediaPlane: Send {
    /// From here on the session may do this and nothing else. It is always the complete list, so a later one makes an
    /// earlier one needless.
    ///
    /// # Errors
    /// [`Busy`] when there is no room to take it: it is told again in a moment.
    fn grants(&mut self, session: SessionId, grants: &Grants) -> Result<(), Busy>;

    /// Where the session's one connection goes, and by what it is let in.
    fn media(&mut self, session: SessionId) -> Media;

    /// The session is over: its connection may go, and nothing is told of it any more.
    fn over(&mut self, session: SessionId);

    /// What the legs of a call send has changed.
    fn codecs(&mut self, _call: CallId, _legs: &[LegCodecs]) {}

    /// Record the call, or stop.
    fn record(&mut self, _call: CallId, _on: bool) {}

    /// For a while nothing is written of a call that is recorded, or is again.
    fn pause_recording(&mut self, _call: CallId, _paused: bool) {}

    /// A call that is recorded is like this now.
    fn recorded(&mut self, _call: &CallView) {}

    /// Play a file once, as this broadcast. [`SignallingHandle::media`](crate::SignallingHandle::media) tells that it is over.
    /// False: there is nothing that plays, and nothing is told.
    fn play(&mut self, _play: PlayId, _name: &str, _path: &str) -> bool {
        false
    }

    /// Play it no longer.
    fn stop_playing(&mut self, _path: &str) {}

    /// Say what was counted of a leg that is over, by
    /// [`SignallingHandle::media`](crate::SignallingHandle::media). Its record waits for it as long as the calls' settings
    /// say.
    fn count(&mut self, _leg: LegId) {}
}

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Where media goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// The relay's URL.
    pub url: String,
    /// For the query `jwt`, or as the relay wants it.
    pub token: String,
    /// For how long it lets in who connects. What is connected stays.
    pub expires: Duration,
    /// The SHA-256 of the relay's certificate in hexadecimal, where no authority vouches for it.
    pub certificate_hash: Option<String>,
}
