//! The handshake of 01, 02 and gomoqt, and the Session Stream that it leaves behind.
//!
//! Until it is done the version in the configuration is only the best there is to choose from.
//! Nothing of ours is asked before that. A client sends nothing beside the handshake (draft 01
//! "Handshake"), so its first stream tells who it is; what a server asks may overtake its answer, and
//! waits as requests on 05 wait for SETUP.

use crate::wire::{
    BidiType, DecodeError, HandshakeForm, SessionClient, SessionServer, SessionUpdate, Setup, StreamId, Version,
    session_error,
};

use super::opened::State;
use super::{Session, Side};

impl Session {
    /// Whether the version is still to be agreed on.
    pub fn is_negotiating(&self) -> bool {
        self.config.version.is_in_band() && self.peer_setup.is_none()
    }

    /// Whether the peer has yet to say what its version begins with. Its requests wait for that.
    pub fn is_setup_due(&self) -> bool {
        let has_setup = self.config.version.has_setup() || self.config.version.is_in_band();
        has_setup && self.peer_setup.is_none()
    }

    /// The first thing a client does.
    pub(super) fn open_session_stream(&mut self) {
        let version = self.config.version;
        if self.config.side == Side::Server || !version.is_in_band() {
            return;
        }
        let form = HandshakeForm::of(version);
        let mut client = SessionClient {
            versions: offered(version).filter_map(Version::code).collect(),
            path: self.config.setup.path.clone(),
        };
        let kind = form.stream_type();
        let stream = self.open_bidi(kind, |_, out| client.encode(form, out)).or_else(|| {
            // Without a path that cannot be said the server's default is asked for.
            client.path = None;
            self.open_bidi(kind, |_, out| client.encode(form, out))
        });
        if let Some(stream) = stream {
            self.session_stream = Some(stream);
            self.insert_opened(
                stream,
                State::Session {
                    form,
                    is_answered: false,
                },
            );
        }
    }

    /// A client's first stream is of this type, or of none that we know. True when the handshake may
    /// be read from it, or when it is no matter of the handshake.
    pub(super) fn check_first_stream(&mut self, kind: Option<BidiType>) -> bool {
        let is_session = matches!(kind, Some(BidiType::Session | BidiType::SessionCompat));
        if self.config.side == Side::Client {
            if is_session {
                self.violate("Session Stream from a server");
            }
            return !is_session;
        }
        if self.is_negotiating() && !is_session {
            // moq-transport before draft 11 begins so, as it shares an ALPN token with gomoqt.
            self.violate_with(session_error::VERSION, NO_MOQ_LITE.to_owned());
            return false;
        }
        true
    }

    /// SESSION_CLIENT is there: picks the first version that we speak, as the released servers do,
    /// and says so.
    pub(super) fn accept_client(&mut self, stream: StreamId, form: HandshakeForm, client: SessionClient) {
        // moq-transport-11 to -14 begin with the same message, and offer versions of their own.
        let Some(version) = client.versions.iter().copied().find_map(Version::from_code) else {
            return self.violate_with(session_error::VERSION, NO_MOQ_LITE.to_owned());
        };
        self.config.version = version;
        self.session_stream = Some(stream);
        let answer = SessionServer {
            version: version.code().unwrap_or_default(),
        };
        let sent = self.outbox.write(stream, |out| answer.encode(form, out));
        self.count_unsendable(sent);
        self.accept_setup(Setup {
            path: client.path,
            ..Setup::default()
        });
    }

    /// SESSION_SERVER is there.
    pub(super) fn accept_server(&mut self, server: SessionServer) {
        let chosen = Version::from_code(server.version).filter(|chosen| {
            let mut offered = offered(self.config.version);
            offered.any(|version| version == *chosen)
        });
        match chosen {
            Some(version) => {
                self.config.version = version;
                self.accept_setup(Setup::default());
            }
            None => self.violate_with(
                session_error::VERSION,
                "the server chose a version that was not offered".to_owned(),
            ),
        }
    }

    /// Tells the peer of the bitrate of the connection, when it is far from what was said last. 01, 02
    /// and gomoqt, else a no-op.
    pub fn update_bitrate(&mut self, bitrate: Option<u64>) {
        if self.is_closed || self.is_negotiating() {
            return;
        }
        let Some(stream) = self.session_stream else { return };
        let said = self.bitrate_said;
        let current = bitrate.unwrap_or(0);
        if current.abs_diff(said) <= said / BITRATE_CHANGE_SHARE {
            return;
        }
        self.bitrate_said = current;
        let version = self.config.version;
        let update = SessionUpdate { bitrate };
        let sent = self.outbox.write(stream, |out| update.encode(version, out));
        self.count_unsendable(sent);
    }

    /// Either end closes the session by closing this stream (draft 01 "Session").
    pub(super) fn end_session_stream(&mut self) {
        if self.is_closed {
            return;
        }
        if self.is_negotiating() {
            // A server that speaks none of our versions resets it.
            return self.violate_with(
                session_error::VERSION,
                "the Session Stream ended inside the handshake".to_owned(),
            );
        }
        self.end(session_error::NO_ERROR, "the Session Stream ended".to_owned());
    }

    /// Whatever is wrong on the Session Stream, the session cannot go on without it.
    pub(super) fn reject_handshake(&mut self, error: DecodeError) {
        self.violate_message("Session Stream", error);
    }
}

/// What a client that wants `version` offers, best first: one form of the handshake reaches those
/// who speak it.
fn offered(version: Version) -> impl Iterator<Item = Version> {
    Version::IN_BAND
        .into_iter()
        .filter(move |other| *other <= version && HandshakeForm::of(*other) == HandshakeForm::of(version))
}

/// A bitrate is said anew when it has changed by more than one part in so many.
const BITRATE_CHANGE_SHARE: u64 = 4;

const NO_MOQ_LITE: &str = "no version of moq-lite was offered; moq-transport is not spoken here";
