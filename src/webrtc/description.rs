//! Offers and answers before they are read: how much they may be, and what of them is of no use.

use crate::limits::{DESCRIPTION_BYTES_MAX, MEDIA_MAX};

/// Why there is no session, or it was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// It is longer than one may be, or has more media.
    #[error("it is longer than {DESCRIPTION_BYTES_MAX} bytes, or has more than {MEDIA_MAX} media")]
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
    let mut admitted = String::with_capacity(description.len());
    for line in lines.filter(|line| !line.starts_with("a=candidate:")) {
        admitted.push_str(line);
        admitted.push_str("\r\n");
    }
    Ok(admitted)
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
