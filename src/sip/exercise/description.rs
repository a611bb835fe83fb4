//! One description of a session: what can be read can be answered, and what we say can be read.

use std::net::SocketAddr;

use super::Outcome;
use crate::sdp::{Codec, Crypto, Description, Direction, Local, Secret, Session};

/// Reads a description, answers it, and takes it for an answer.
///
/// # Errors
/// What does not hold.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let Ok(description) = Description::parse(input) else {
        return Ok(Outcome::Rejected);
    };
    let mut is_taken = false;
    for is_secure in [false, true] {
        let mut called = session(is_secure);
        if let Ok((text, agreed)) = called.answer(&description, &ORDER, Direction::SendReceive) {
            is_taken = true;
            check_answer(&description, &text)?;
            if !(10..=60).contains(&agreed.ptime_ms) {
                return Err(format!("{} ms in a packet", agreed.ptime_ms));
            }
            read(&called.offer(&ORDER, Direction::SendReceive))?;
        }
        let mut caller = session(is_secure);
        read(&caller.offer(&ORDER, Direction::SendReceive))?;
        is_taken |= caller.take_answer(&description).is_ok();
    }
    Ok(Outcome::of(is_taken))
}

/// Offers of telephones, and an answer.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seeds = SEEDS.iter();
    seeds
        .map(|(name, text)| ((*name).to_owned(), text.replace('\n', "\r\n").into_bytes()))
        .collect()
}

fn session(is_secure: bool) -> Session {
    let key = Secret::new("inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd".to_owned());
    let crypto = Crypto {
        tag: 1,
        suite: "AES_CM_128_HMAC_SHA1_80".to_owned(),
        key,
        parameters: String::new(),
    };
    let local = Local {
        address: SocketAddr::from(([192, 0, 2, 10], 10_000)),
        rtcp_mux: is_secure,
        crypto: if is_secure { vec![crypto] } else { Vec::new() },
        needs_keys: false,
        is_browser: false,
    };
    Session::new(local, 4_611_686_018, 1)
}

fn read(text: &str) -> Result<Description, String> {
    Description::parse(text.as_bytes()).map_err(|error| format!("{text} is ours and not read: {error}"))
}

/// As many sections, in their order, with their protocols (RFC 3264, section 6).
fn check_answer(offer: &Description, text: &str) -> Result<(), String> {
    let answer = read(text)?;
    let is_same = answer.sections.len() == offer.sections.len()
        && offer.sections.iter().zip(&answer.sections).all(|(offered, answered)| {
            let is_wanted = offered.port != 0 || answered.port == 0;
            offered.kind == answered.kind && offered.protocol == answered.protocol && is_wanted
        });
    let streams = answer.sections.iter().filter(|section| section.port != 0).count();
    if is_same && streams <= 1 {
        Ok(())
    } else {
        Err(format!("{offer:?} is answered by {text}"))
    }
}

const ORDER: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma];

const SEEDS: [(&str, &str); 4] = [
    (
        "telephone",
        "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 8 0 101\n\
         a=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=ptime:20\na=sendrecv\n",
    ),
    (
        "secure",
        "v=0\no=x 2 3 IN IP6 2001:db8::1\ns= \nt=0 0\nm=audio 5000 RTP/SAVP 111 9 0\nc=IN IP6 2001:db8::1\n\
         a=rtpmap:111 opus/48000/2\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\n\
         a=rtcp:5001 IN IP6 2001:db8::2\na=rtcp-mux\na=maxptime:60\n",
    ),
    (
        "held",
        "v=0\no=- 1 2 IN IP4 0.0.0.0\ns=-\nc=IN IP4 0.0.0.0\nt=0 0\na=inactive\nm=video 0 RTP/AVP 31\nm=audio 4000 RTP/AVP 0\n\
         m=image 0 udptl t38\n",
    ),
    (
        "video-first",
        "v=0\no=- 1 2 IN IP4 h\ns=-\nt=0 0\nm=video 6000 RTP/AVP 107\na=rtpmap:107 H264/90000\nm=audio 4000 RTP/AVP 0 3 18 96\n\
         c=IN IP4 192.0.2.4\na=rtpmap:96 G726-32/8000\na=sendonly",
    ),
];
