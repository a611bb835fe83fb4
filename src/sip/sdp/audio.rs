//! A section of audio over RTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::codec::{Codec, EventType, Format, Meaning};
use super::crypto::Crypto;
use super::direction::Direction;

/// What is said of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Over SRTP, with keys by SDES: `RTP/SAVP` and `RTP/SAVPF`.
    pub is_secure: bool,
    /// Over SRTP, with keys by DTLS, as browsers have it: `UDP/TLS/RTP/SAVPF`.
    pub is_browser: bool,
    /// Where it is to be sent.
    pub place: Place,
    /// What it may consist of, the most wanted first. No payload type stands here twice.
    pub formats: Vec<Format>,
    /// Of the section, else of the session, else both ways.
    pub direction: Direction,
    /// How much of it a packet should hold.
    pub ptime_ms: Option<u32>,
    /// How much of it a packet may hold.
    pub maxptime_ms: Option<u32>,
    /// Where its RTCP is to be sent, if that does not go where the stream goes: as they say (RFC 3605), else one port
    /// above (RFC 3550, section 11).
    pub rtcp: Option<SocketAddr>,
    /// RTCP may go where the stream goes (RFC 5761).
    pub rtcp_mux: bool,
    /// They want VoIP metrics in its RTCP (RFC 3611, section 5).
    pub has_metrics: bool,
    /// Keys that are offered, or the one that is answered.
    pub crypto: Vec<Crypto>,
}

/// Where a stream is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Here.
    At(SocketAddr),
    /// Nowhere, for as long as the address is `0.0.0.0` or `::`: the old way to hold a call (RFC 3264, section 8.4).
    Unspecified,
    /// Port 0: there is no stream.
    Off,
    /// No address is told, or a name, or one of a group. Where packets come from may tell.
    Unknown,
}

impl Audio {
    /// The codecs that are spoken here, in the order told.
    pub fn codecs(&self) -> impl Iterator<Item = (Codec, u8)> {
        let formats = self.formats.iter();
        formats.filter_map(|format| Some((format.codec()?, format.payload_type)))
    }

    /// The types of telephone events, in the order told.
    pub fn events(&self) -> impl Iterator<Item = EventType> {
        self.formats.iter().filter_map(|format| format.event())
    }

    /// What they do, with what an address of nowhere means: they receive nothing.
    pub fn effective_direction(&self) -> Direction {
        match self.place {
            Place::Unspecified => self.direction.and(Direction::SendOnly),
            Place::Off => Direction::Inactive,
            Place::At(_) | Place::Unknown => self.direction,
        }
    }

    pub(super) fn of(media: &sdp_types::Media, session: &sdp_types::Session, formats: &[String]) -> Option<Self> {
        let is = |protocol: &str| media.proto.eq_ignore_ascii_case(protocol);
        let is_secure = is("RTP/SAVP") || is("RTP/SAVPF");
        let is_plain = is("RTP/AVP") || is("RTP/AVPF");
        let is_browser = is("UDP/TLS/RTP/SAVPF") || is("UDP/TLS/RTP/SAVP");
        if !media.media.eq_ignore_ascii_case("audio") || !(is_secure || is_plain || is_browser) {
            return None;
        }
        let own = Attributes(&media.attributes);
        let general = Attributes(&session.attributes);
        let connection = media.connections.first().or(session.connection.as_ref());
        let address = connection.map_or("", |connection| &connection.connection_address);
        let place = match Place::of(address, media.port) {
            Place::Off => Place::Off,
            // Where they are ICE tells.
            _ if is_browser => Place::Unknown,
            place => place,
        };
        Some(Self {
            is_secure,
            is_browser,
            place,
            formats: formats_of(formats, own),
            direction: own.direction().or_else(|| general.direction()).unwrap_or_default(),
            ptime_ms: own.milliseconds("ptime").or_else(|| general.milliseconds("ptime")),
            maxptime_ms: own
                .milliseconds("maxptime")
                .or_else(|| general.milliseconds("maxptime")),
            rtcp: rtcp_of(place, own),
            rtcp_mux: own.has("rtcp-mux"),
            // What the media says counts for it (RFC 3611, section 5.1).
            has_metrics: match own.values("rtcp-xr").next() {
                Some(_) => own.wants_metrics(),
                None => general.wants_metrics(),
            },
            crypto: own.values("crypto").filter_map(Crypto::parse).collect(),
        })
    }
}

impl Place {
    fn of(address: &str, port: u16) -> Self {
        if port == 0 {
            return Self::Off;
        }
        match ip(address) {
            Some(ip) if ip.is_unspecified() => Self::Unspecified,
            Some(ip) if is_of_one(ip) => Self::At(SocketAddr::new(ip, port)),
            Some(_) => Self::Unknown,
            // A name that none has (RFC 2606) says the same where there is IPv6 only.
            None if is_invalid_name(address) => Self::Unspecified,
            None => Self::Unknown,
        }
    }
}

/// The attributes of a section, or of the session.
#[derive(Clone, Copy)]
struct Attributes<'a>(&'a [sdp_types::Attribute]);

impl<'a> Attributes<'a> {
    fn has(self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.attribute == name)
    }

    fn values(self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |attribute| attribute.attribute == name);
        named.filter_map(|attribute| attribute.value.as_deref().map(str::trim))
    }

    fn wants_metrics(self) -> bool {
        let mut formats = self.values("rtcp-xr").flat_map(str::split_whitespace);
        formats.any(|format| format.eq_ignore_ascii_case("voip-metrics"))
    }

    /// The last one told.
    fn direction(self) -> Option<Direction> {
        let mut names = self.0.iter().rev();
        names.find_map(|attribute| Direction::named(&attribute.attribute))
    }

    /// Fractions are left out (RFC 8866, section 6.4, has them).
    fn milliseconds(self, name: &str) -> Option<u32> {
        let value = self.values(name).next()?;
        value.split('.').next()?.parse().ok()
    }

    /// What is said of each payload type, where something is; of two words the first.
    fn encodings(self) -> [Option<&'a str>; PAYLOAD_TYPES] {
        let mut encodings = [None; PAYLOAD_TYPES];
        for value in self.values("rtpmap") {
            let Some((number, encoding)) = value.split_once(char::is_whitespace) else {
                continue;
            };
            if let Some(told) = number.parse().ok().and_then(|number: usize| encodings.get_mut(number)) {
                told.get_or_insert(encoding.trim());
            }
        }
        encodings
    }
}

/// Those that are payload types, each once.
fn formats_of(formats: &[String], attributes: Attributes<'_>) -> Vec<Format> {
    let encodings = attributes.encodings();
    let mut found: Vec<Format> = Vec::with_capacity(formats.len());
    for payload_type in formats.iter().filter_map(|format| format.parse::<u8>().ok()) {
        let Some(encoding) = encodings.get(usize::from(payload_type)) else {
            continue;
        };
        if found.iter().all(|format| format.payload_type != payload_type) {
            let meaning = Meaning::of(payload_type, *encoding);
            found.push(Format { payload_type, meaning });
        }
    }
    found
}

fn rtcp_of(place: Place, attributes: Attributes<'_>) -> Option<SocketAddr> {
    let Place::At(place) = place else {
        return None;
    };
    let beside = || Some(SocketAddr::new(place.ip(), place.port().checked_add(1)?));
    let Some(told) = attributes.values("rtcp").next() else {
        return beside();
    };
    // 53020, or: 53020 IN IP4 126.16.64.4
    let mut fields = told.split_whitespace();
    match fields.next().and_then(|port| port.parse().ok()) {
        None => beside(),
        Some(0) => None,
        Some(port) => match fields.nth(2) {
            None => Some(SocketAddr::new(place.ip(), port)),
            Some(address) => {
                let ip = ip(address).filter(|ip| is_of_one(*ip))?;
                Some(SocketAddr::new(ip, port))
            }
        },
    }
}

/// Without the time to live, and without the brackets that some write.
fn ip(address: &str) -> Option<IpAddr> {
    let address = address.split('/').next()?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    address.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Not of many, nor of none.
fn is_of_one(ip: IpAddr) -> bool {
    !ip.is_multicast() && !ip.is_unspecified() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn is_invalid_name(name: &str) -> bool {
    name.rsplit('.')
        .find(|label| !label.is_empty())
        .is_some_and(|label| label.eq_ignore_ascii_case("invalid"))
}

/// Seven bits of an RTP packet.
const PAYLOAD_TYPES: usize = 128;
