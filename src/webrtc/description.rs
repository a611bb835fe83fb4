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
