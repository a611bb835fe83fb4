//! Our side of the offers and answers of one SIP leg (RFC 3264). Pure: it says what to say, and what came of it.

use std::net::SocketAddr;

use super::agreed::{Agreed, Choice, PTIME_MS};
use super::audio::{Audio, Place};
use super::codec::{Codec, Format};
use super::crypto::{Crypto, Keys, Secret};
use super::description::{Description, Section};
use super::direction::Direction;
use super::numbers::Numbers;
use super::text::{Outline, Stream, body, origin};

/// What is ours in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Where we take the stream, as the peer can reach it.
    pub address: SocketAddr,
    /// RTCP is taken there, too: offered, and agreed to (RFC 5761). Otherwise it is taken one port above.
    pub rtcp_mux: bool,
    /// Our keys, one line for each suite, each with a tag of its own. Without any, streams over SRTP are neither offered nor
    /// taken.
    pub crypto: Vec<Crypto>,
    /// A stream is over SRTP or there is none.
    pub needs_keys: bool,
    /// Streams are as browsers have them, with keys by DTLS, and others are not taken. What is said is completed by whoever
    /// has ICE and the keys.
    pub is_browser: bool,
}

/// One side of a leg: who it is, what it said last, and what was agreed on last.
///
/// An offer may have several answers, one after the other or of several peers (`Clone` it for each): it stays until another
/// offer or answer is made. That both offer at once is a matter of the dialog (491).
#[derive(Clone, Debug)]
pub struct Session {
    local: Local,
    id: u64,
    version: u64,
    /// What was said last, behind the version. It may have keys in it.
    said: Option<Secret>,
    /// The sections of the last description, and which of them is ours.
    outlines: Vec<Outline>,
    place: usize,
    numbers: Numbers,
    offered: Option<Offered>,
    agreed: Option<Agreed>,
}

#[derive(Clone, Debug)]
struct Offered {
    formats: Vec<Format>,
    direction: Direction,
    is_secure: bool,
    crypto: Vec<Crypto>,
}

/// A description that cannot be agreed to. An offer is answered with 488; what was agreed before stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no audio in it that is RTP.
    #[error("there is no audio over RTP")]
    NoAudio,
    /// None of the codecs.
    #[error("there is no codec that both have")]
    NoCodec,
    /// SRTP is wanted, and there are no keys; or it was, and is not.
    #[error("there are no keys that both can use")]
    Keys,
    /// It answers nothing.
    #[error("nothing was offered")]
    NotOffered,
}

impl From<SocketAddr> for Local {
    /// Plain RTP, with RTCP one port above.
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            rtcp_mux: false,
            crypto: Vec::new(),
            needs_keys: false,
            is_browser: false,
        }
    }
}

impl Session {
    /// Of a leg. `id` and `version` are those of the line `o=`; some peers take neither beyond 2^63.
    pub fn new(local: impl Into<Local>, id: u64, version: u64) -> Self {
        Self {
            local: local.into(),
            id,
            version,
            said: None,
            outlines: Vec::new(),
            place: 0,
            numbers: Numbers::default(),
            offered: None,
            agreed: None,
        }
    }

    /// What is ours.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// From the next description on the stream is taken elsewhere.
    pub fn move_to(&mut self, address: SocketAddr) {
        self.local.address = address;
    }

    /// From here on streams over SRTP are taken and, in a session that has no stream yet, offered.
    pub fn set_keys(&mut self, crypto: Vec<Crypto>, needs_keys: bool) {
        (self.local.crypto, self.local.needs_keys) = (crypto, needs_keys);
    }

    /// From here on streams are those of browsers.
    pub fn set_browser(&mut self) {
        self.local.is_browser = true;
    }

    /// Whether [`Self::answer`] would refuse the offer.
    pub fn refuses(&self, offer: &Description, preferred: &[Codec]) -> Option<Refused> {
        let wants_something = offer.sections.iter().any(|section| section.port != 0);
        wants_something
            .then(|| self.acceptable(offer, preferred).err())
            .flatten()
    }

    /// Whether streams over SRTP can be taken.
    pub fn has_keys(&self) -> bool {
        !self.local.crypto.is_empty()
    }

    /// What was agreed on last.
    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// An offer: of a new session or, with what belongs to it, of a change. Without a codec it is one of all.
    pub fn offer(&mut self, codecs: &[Codec], direction: Direction) -> String {
        let codecs = if codecs.is_empty() { &Codec::ALL } else { codecs };
        let formats = self.numbers.offer(codecs);
        if self.outlines.is_empty() {
            let protocol = match (self.local.is_browser, self.local.crypto.is_empty()) {
                (true, _) => "UDP/TLS/RTP/SAVPF",
                (false, false) => "RTP/SAVP",
                (false, true) => "RTP/AVP",
            };
            self.outlines.push(Outline {
                kind: "audio".to_owned(),
                protocol: protocol.to_owned(),
                formats: String::new(),
            });
            self.place = 0;
        }
        let protocol = self.outlines.get(self.place).map(|outline| &outline.protocol);
        let is_secure = protocol.is_some_and(|protocol| protocol.to_ascii_uppercase().starts_with("RTP/SAVP"));
        let crypto = match self.keys() {
            _ if !is_secure => Vec::new(),
            // A change of the session is none of its keys.
            Some(keys) => vec![keys.ours.clone()],
            None => self.local.crypto.clone(),
        };
        let text = self.say(Some(&Stream {
            port: self.local.address.port(),
            formats: &formats,
            direction,
            ptime_ms: PTIME_MS,
            rtcp_mux: self.local.rtcp_mux,
            has_metrics: false,
            crypto: &crypto,
        }));
        self.offered = Some(Offered {
            formats,
            direction,
            is_secure,
            crypto,
        });
        text
    }

    /// The answer to an offer, by nothing but that offer: with the first of our codecs that it has. `direction` is what we
    /// would do; no more is done than the peer's allows.
    pub fn answer(
        &mut self,
        offer: &Description,
        preferred: &[Codec],
        direction: Direction,
    ) -> Result<(String, Agreed), Refused> {
        if offer.sections.iter().all(|section| section.port == 0) {
            return self.answer_nothing(offer, preferred);
        }
        let acceptable = self.acceptable(offer, preferred)?;
        let Acceptable {
            place,
            audio,
            codec,
            choice,
            keys,
        } = acceptable;
        let direction = audio.effective_direction().mirrored().and(direction);
        let formats = choice.formats(codec);
        let mut agreed = Agreed::of(codec, choice, audio, direction, self.local.rtcp_mux);
        agreed.keys = keys;
        self.take_sections(offer, place, audio);
        let crypto: Vec<Crypto> = agreed.keys.iter().map(|keys| keys.ours.clone()).collect();
        let text = self.say(Some(&Stream {
            port: self.local.address.port(),
            formats: &formats,
            direction,
            ptime_ms: agreed.ptime_ms,
            rtcp_mux: agreed.rtcp_mux,
            has_metrics: agreed.has_metrics,
            crypto: &crypto,
        }));
        self.agreed = Some(agreed.clone());
        Ok((text, agreed))
    }

    /// The answer to our last offer: of a provisional response, of the last one, or of an ACK.
    pub fn take_answer(&mut self, answer: &Description) -> Result<Agreed, Refused> {
        let offered = self.offered.as_ref().ok_or(Refused::NotOffered)?;
        let mut audios = answer.audios();
        let at_its_place = answer
            .sections
            .get(self.place)
            .and_then(|section| section.audio.as_ref());
        // Some leave out what they refused before.
        let audio = at_its_place.or_else(|| audios.next().map(|(_, audio)| audio));
        let audio = audio.ok_or(Refused::NoAudio)?;
        if audio.place == Place::Off {
            let agreed = self.agreed.clone().ok_or(Refused::NoAudio)?.off();
            self.agreed = Some(agreed.clone());
            return Ok(agreed);
        }
        let keys = Crypto::take_answer(&audio.crypto, &offered.crypto).filter(|_| offered.is_secure);
        if audio.is_browser != self.local.is_browser {
            return Err(Refused::NoAudio);
        }
        if audio.is_secure != offered.is_secure || offered.is_secure != keys.is_some() {
            return Err(Refused::Keys);
        }
        let formats = explained(&audio.formats, &offered.formats);
        let (codec, choice) = Choice::of_answer(&formats, &offered.formats).ok_or(Refused::NoCodec)?;
        let direction = audio.effective_direction().mirrored().and(offered.direction);
        let mut agreed = Agreed::of(codec, choice, audio, direction, self.local.rtcp_mux);
        agreed.keys = keys;
        if !offered.direction.sends() {
            // They had nothing to receive: their answer does not say whether they would.
            agreed.is_held_by_peer = self.agreed.as_ref().is_some_and(|agreed| agreed.is_held_by_peer);
        }
        self.numbers.learn(&audio.formats);
        self.agreed = Some(agreed.clone());
        Ok(agreed)
    }

    /// An offer that wants nothing, as some hold a call. Nothing is the answer, and the call goes on.
    fn answer_nothing(&mut self, offer: &Description, preferred: &[Codec]) -> Result<(String, Agreed), Refused> {
        let first = offer.audios().next();
        let kept = offer.audios().find(|(at, _)| *at == self.place).or(first);
        let (place, audio) = kept.ok_or(Refused::NoAudio)?;
        let agreed = match &self.agreed {
            Some(agreed) => agreed.clone(),
            None => {
                let formats = self.numbers.explain(&audio.formats);
                let (codec, choice) = Choice::for_answer(&formats, preferred).ok_or(Refused::NoCodec)?;
                Agreed::of(codec, choice, audio, Direction::Inactive, false)
            }
        };
        let agreed = agreed.off();
        self.take_sections(offer, place, audio);
        let text = self.say(None);
        self.agreed = Some(agreed.clone());
        Ok((text, agreed))
    }

    fn keys(&self) -> Option<&Keys> {
        self.agreed.as_ref()?.keys.as_ref()
    }

    /// The first section that we can take.
    fn acceptable<'a>(&self, offer: &'a Description, preferred: &[Codec]) -> Result<Acceptable<'a>, Refused> {
        let mut refused = Refused::NoAudio;
        // What was secret stays so.
        let needs_keys = !self.local.is_browser && (self.local.needs_keys || self.keys().is_some());
        let is_ours = |audio: &Audio| audio.place != Place::Off && audio.is_browser == self.local.is_browser;
        for (place, audio) in offer.audios().filter(|(_, audio)| is_ours(audio)) {
            let keys = Crypto::answer(&audio.crypto, &self.local.crypto).filter(|_| audio.is_secure);
            if (audio.is_secure || needs_keys) && keys.is_none() {
                refused = Refused::Keys;
                continue;
            }
            let formats = self.numbers.explain(&audio.formats);
            match Choice::for_answer(&formats, preferred) {
                None => refused = Refused::NoCodec,
                Some((codec, choice)) => {
                    return Ok(Acceptable {
                        place,
                        audio,
                        codec,
                        choice,
                        keys,
                    });
                }
            }
        }
        Err(refused)
    }

    /// The offer's sections become those of the session, and the offer of ours that may be pending is none.
    fn take_sections(&mut self, offer: &Description, place: usize, audio: &Audio) {
        self.outlines = offer.sections.iter().map(Outline::of).collect();
        self.place = place;
        self.numbers.learn(&audio.formats);
        self.offered = None;
    }

    /// The description. Its version goes up if, and only if, it is not what was said last (RFC 3264, section 8).
    fn say(&mut self, stream: Option<&Stream<'_>>) -> String {
        let address = self.local.address.ip();
        let body = body(address, &self.outlines, stream.map(|stream| (self.place, stream)));
        let is_change = self.said.as_ref().is_some_and(|said| said.reveal() != body);
        if is_change {
            self.version = self.version.wrapping_add(1);
        }
        let text = origin(self.id, self.version, address) + &body;
        self.said = Some(Secret::new(body));
        text
    }
}

impl Outline {
    fn of(section: &Section) -> Self {
        Self {
            kind: section.kind.clone(),
            protocol: section.protocol.clone(),
            formats: section.formats.join(" "),
        }
    }
}

/// A section that can be taken, and how.
struct Acceptable<'a> {
    place: usize,
    audio: &'a Audio,
    codec: Codec,
    choice: Choice,
    keys: Option<Keys>,
}

/// Formats of an answer, with what the offer says of numbers that it does not explain.
fn explained(answered: &[Format], offered: &[Format]) -> Vec<Format> {
    let mut numbers = Numbers::default();
    numbers.learn(offered);
    numbers.explain(answered)
}
