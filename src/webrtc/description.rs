//! Offers and answers before they are read: how much they may be, and what of them is of no use.

use std::collections::BTreeMap;

use crate::limits::{DESCRIPTION_BYTES_MAX, FORMATS_MAX, MEDIA_MAX};

/// Why there is no session, or it was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// It is longer than one may be, or has more media.
    #[error(
        "it is longer than {DESCRIPTION_BYTES_MAX} bytes, or has more than {MEDIA_MAX} media or {FORMATS_MAX} formats"
    )]
    TooLong,
    /// It is not a description of a WebRTC session.
    #[error("it cannot be used: {0}")]
    Unusable(String),
    /// Nothing that both sides speak.
    #[error("no audio codec in common")]
    NoCodec,
}

/// What of it is read. Where the peer is its checks tell, so that its candidates are passed over: nothing is ever sent to an
/// address that somebody wrote.
pub(crate) fn admit(description: &str) -> Result<String, DescriptionError> {
    if description.len() > DESCRIPTION_BYTES_MAX {
        return Err(DescriptionError::TooLong);
    }
    let lines = description.lines().map(str::trim_end).filter(|line| !line.is_empty());
    if lines.clone().filter(|line| line.starts_with("m=")).count() > MEDIA_MAX {
        return Err(DescriptionError::TooLong);
    }
    if lines.clone().filter(|line| is_of_format(line)).count() > FORMATS_MAX {
        return Err(DescriptionError::TooLong);
    }
    if lines.clone().any(|line| line.starts_with("m=application")) {
        return Err(DescriptionError::Unusable("it has data channels".to_owned()));
    }
    check_types(lines.clone())?;
    let mut admitted = String::with_capacity(description.len());
    // Nothing is repeated here, so that nobody needs to say by which type.
    let is_repetition = |line: &str| line.starts_with("a=fmtp:") && line.to_ascii_lowercase().contains("apt=");
    let is_read = |line: &&str| !line.starts_with("a=candidate:") && !is_repetition(line);
    for line in lines.filter(is_read) {
        admitted.push_str(line);
        admitted.push_str("\r\n");
    }
    Ok(admitted)
}

fn is_of_format(line: &str) -> bool {
    ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
        .iter()
        .any(|attribute| line.starts_with(attribute))
}

/// A payload type is one thing in all media, which whoever reads it counts on (RFC 8843, section 9.1).
fn check_types<'a>(lines: impl Iterator<Item = &'a str>) -> Result<(), DescriptionError> {
    let fixed = [(0, "pcmu/8000"), (8, "pcma/8000"), (9, "g722/8000")];
    let mut types: BTreeMap<u8, String> = fixed.map(|(kind, name)| (kind, name.to_owned())).into();
    for line in lines.filter_map(|line| line.strip_prefix("a=rtpmap:")) {
        let named = line.trim().split_once(' ').and_then(|(kind, name)| {
            let name = name.trim().to_ascii_lowercase();
            // One channel need not be said.
            let name = name.strip_suffix("/1").map_or(name.clone(), str::to_owned);
            Some((kind.parse::<u8>().ok()?, name))
        });
        let Some((kind, name)) = named else {
            return Err(DescriptionError::Unusable("an `a=rtpmap` that is none".to_owned()));
        };
        if *types.entry(kind).or_insert_with(|| name.clone()) != name {
            return Err(DescriptionError::Unusable(format!(
                "the payload type {kind} is two things"
            )));
        }
    }
    Ok(())
}

/// How an offer names the first audio of it that is not refused (RFC 5888).
pub(crate) fn audio_of(description: &str) -> Option<&str> {
    let mut is_audio = false;
    for line in description.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            is_audio = media.starts_with("audio ") && !media.starts_with("audio 0 ");
        } else if is_audio && let Some(mid) = line.strip_prefix("a=mid:") {
            return Some(mid);
        }
    }
    None
}

/// What was said last, said again with another direction and the next version: the answer to an offer that changes nothing
/// else. `None`: the offer changes more, or the peer begins ICE anew.
pub fn redirect(said: &str, sends: bool, receives: bool, (before, offer): (&str, &str)) -> Option<String> {
    let count = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    let is_the_same = |name: &str| attribute(before, name) == attribute(offer, name);
    if count(offer) != count(said) || !is_the_same("a=ice-ufrag:") || !is_the_same("a=fingerprint:") {
        return None;
    }
    let direction = match (sends, receives) {
        (true, true) => "a=sendrecv",
        (true, false) => "a=sendonly",
        (false, true) => "a=recvonly",
        (false, false) => "a=inactive",
    };
    let mut text = String::with_capacity(said.len());
    for line in said.lines() {
        match line {
            "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive" => text.push_str(direction),
            // It was chosen when the session began.
            "a=setup:actpass" => text.push_str("a=setup:passive"),
            _ if line.starts_with("o=") => text.push_str(&next_version(line)?),
            _ => text.push_str(line),
        }
        text.push_str("\r\n");
    }
    Some(text)
}

fn attribute<'a>(description: &'a str, name: &str) -> Option<&'a str> {
    description
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// `o=name id version IN IP4 address` (RFC 8866, section 5.2).
fn next_version(origin: &str) -> Option<String> {
    let mut fields: Vec<String> = origin.split(' ').map(str::to_owned).collect();
    let version = fields.get_mut(2)?;
    *version = version.parse::<u64>().ok()?.wrapping_add(1).to_string();
    Some(fields.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_two_things_or_too_many_of_them_are_refused() {
        let offer =
            |rest: &str| format!("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n{rest}");
        let usable = |rest: &str| admit(&offer(rest));
        assert!(usable("a=rtpmap:0 PCMU/8000/1\r\na=rtpmap:111 OPUS/48000/2\r\n").is_ok());
        for two in [
            "a=rtpmap:96 PCMU/8000\r\na=rtpmap:96 PCMA/8000\r\n",
            "a=rtpmap:0 opus/48000/2\r\n",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 PCMU/8000\r\n",
            "a=rtpmap:96 opus/48000/2\r\na=rtpmap:96 rtx/48000\r\na=fmtp:96 apt=96\r\n",
            "a=rtpmap:x\r\n",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        ] {
            assert!(matches!(usable(two), Err(DescriptionError::Unusable(_))), "{two}");
        }
        let admitted = usable("a=rtpmap:97 rtx/48000\r\na=fmtp:97 APT=111\r\na=fmtp:111 useinbandfec=1\r\n").unwrap();
        assert!(!admitted.contains("APT") && admitted.contains("useinbandfec"));
        let many = "a=rtpmap:9 G722/8000\r\n".repeat(FORMATS_MAX);
        assert_eq!(usable(&many), Err(DescriptionError::TooLong));
    }

    #[test]
    fn the_first_audio_that_is_not_refused_counts() {
        let offer =
            "a=mid:x\r\nm=audio 0 RTP 0\r\na=mid:a\r\nm=video 9 RTP 0\r\na=mid:b\r\nm=audio 9 RTP 0\r\na=mid:c\r\n";
        assert_eq!(audio_of(offer), Some("c"));
        assert_eq!(audio_of("m=audio 9 RTP 0\r\n"), None);
    }

    #[test]
    fn what_was_said_is_said_again_with_another_direction() {
        let said =
            "v=0\r\no=- 5 9 IN IP4 0.0.0.0\r\nm=audio 9 RTP 0\r\na=setup:actpass\r\na=sendrecv\r\na=ice-ufrag:ours\r\n";
        let offer = "m=audio 9 RTP 0\r\na=ice-ufrag:theirs\r\na=fingerprint:x\r\na=sendonly\r\n";
        let answer = redirect(said, false, true, (offer, offer)).unwrap();
        let wanted = "v=0\r\no=- 5 10 IN IP4 0.0.0.0\r\nm=audio 9 RTP 0\r\na=setup:passive\r\na=recvonly\r\na=ice-ufrag:ours\r\n";
        assert_eq!(answer, wanted);
        let anew = offer.replace("theirs", "new");
        assert_eq!(redirect(said, false, true, (offer, &anew)), None);
        let more = format!("{offer}m=video 9 RTP 96\r\n");
        assert_eq!(redirect(said, true, true, (offer, &more)), None);
    }

    #[test]
    fn candidates_are_passed_over_and_length_has_a_bound() {
        let admitted = admit("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=candidate:1 1 udp 1 10.0.0.1 9 typ host\n\n");
        assert_eq!(admitted.unwrap(), "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n");
        assert_eq!(
            admit(&"m=audio 0\n".repeat(MEDIA_MAX + 1)),
            Err(DescriptionError::TooLong)
        );
        assert_eq!(
            admit(&"a".repeat(DESCRIPTION_BYTES_MAX + 1)),
            Err(DescriptionError::TooLong)
        );
    }
}
