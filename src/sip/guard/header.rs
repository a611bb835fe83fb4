//! What can be seen of a message before it is read: how long it is, how many lines it has, and what it says sent it.

use super::reason::Reason;
use crate::flow::Transport;
use crate::limits::{
    GUARD_HEADER_LINES_MAX, GUARD_MESSAGE_BYTES_MAX, GUARD_STREAM_HEADER_BYTES_MAX, GUARD_USER_AGENT_BYTES,
};

/// Looks at the lines of a message before its body. What comes back is where the body begins; `None`: the end of the header is
/// not there (yet). Blank lines before the first one are none (RFC 3261, section 7.5).
pub(super) fn inspect(
    transport: Transport,
    message: &[u8],
    mut see: impl FnMut(&[u8]) -> Result<(), Reason>,
) -> Result<Option<usize>, Reason> {
    if message.len() > GUARD_MESSAGE_BYTES_MAX {
        return Err(Reason::MessageTooLong);
    }
    let is_stream = transport.is_reliable();
    let header = message.len().min(if is_stream {
        GUARD_STREAM_HEADER_BYTES_MAX
    } else {
        GUARD_MESSAGE_BYTES_MAX
    });
    let (mut at, mut lines) = (0, 0);
    while let Some(end) = message[at..header].iter().position(|byte| *byte == b'\n') {
        let line = &message[at..at + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += end + 1;
        match (line.is_empty(), lines) {
            (true, 0) => continue,
            (true, _) => return Ok(Some(at)),
            (false, _) => lines += 1,
        }
        if lines > GUARD_HEADER_LINES_MAX {
            return Err(Reason::TooManyLines);
        }
        see(line)?;
    }
    if is_stream && message.len() >= GUARD_STREAM_HEADER_BYTES_MAX {
        return Err(Reason::HeaderTooLong);
    }
    // The last line may lack its end.
    see(&message[at..])?;
    Ok(None)
}

/// What a line says sent the message, or the beginning of it.
pub(super) fn user_agent(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(USER_AGENT.len())?;
    if !name.eq_ignore_ascii_case(USER_AGENT) {
        return None;
    }
    let value = value.trim_ascii_start().strip_prefix(b":")?;
    Some(value.get(..GUARD_USER_AGENT_BYTES).unwrap_or(value))
}

/// Does it stand there, in whatever letter case? `word` is not empty.
pub(super) fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len().max(1))
        .any(|window| window.eq_ignore_ascii_case(word))
}

const USER_AGENT: &[u8] = b"User-Agent";

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(transport: Transport, message: &[u8]) -> Result<Option<usize>, Reason> {
        inspect(transport, message, |_| Ok(()))
    }

    #[test]
    fn the_body_begins_behind_the_blank_line() {
        for (message, end) in [
            (&b"A\r\nB: c\r\n\r\nbody\r\n\r\n"[..], Some(11)),
            (b"A\nB\n\nbody", Some(5)),
            (b"\r\n\r\nA\r\n\r\n", Some(9)),
            (b"A\r\nB: c\r\n", None),
            (b"\r\n\r\n", None),
            (b"", None),
            (b"\0\0\0\0", None),
        ] {
            for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
                assert_eq!(end_of(transport, message), Ok(end), "{message:?}");
            }
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let long = vec![b'x'; GUARD_MESSAGE_BYTES_MAX + 1];
        assert_eq!(end_of(Transport::Udp, &long), Err(Reason::MessageTooLong));
        assert_eq!(end_of(Transport::Udp, &long[1..]), Ok(None));
        let long = &long[..GUARD_STREAM_HEADER_BYTES_MAX];
        assert_eq!(end_of(Transport::Tcp, long), Err(Reason::HeaderTooLong));
        assert_eq!(end_of(Transport::Tls, &long[1..]), Ok(None));
        let with_body = [b"A\r\n\r\n", long].concat();
        assert_eq!(end_of(Transport::Tcp, &with_body), Ok(Some(5)));
        let mut full = [&long[4..], b"\r\n\r\n"].concat();
        assert_eq!(end_of(Transport::Tcp, &full), Ok(Some(GUARD_STREAM_HEADER_BYTES_MAX)));
        full.insert(0, b'x');
        assert_eq!(end_of(Transport::Tcp, &full), Err(Reason::HeaderTooLong));
    }

    #[test]
    fn lines_are_bounded() {
        let lines = |count: usize| b"A: b\r\n".repeat(count);
        for transport in [Transport::Udp, Transport::Tcp] {
            assert!(end_of(transport, &lines(GUARD_HEADER_LINES_MAX)).is_ok());
            let more = lines(GUARD_HEADER_LINES_MAX + 1);
            assert_eq!(end_of(transport, &more), Err(Reason::TooManyLines));
        }
        let body = [b"A\r\n\r\n", &lines(1000)[..]].concat();
        assert_eq!(end_of(Transport::Udp, &body), Ok(Some(5)));
    }

    #[test]
    fn every_line_is_seen_once() {
        let mut seen = Vec::new();
        let message = b"\r\nA\r\nuser-agent : x\n\tfolded\r\nlast";
        let end = inspect(Transport::Udp, message, |line| {
            seen.push(line.to_vec());
            Ok(())
        });
        assert_eq!(end, Ok(None));
        assert_eq!(seen, [&b"A"[..], b"user-agent : x", b"\tfolded", b"last"]);
        assert_eq!(user_agent(&seen[1]), Some(&b" x"[..]));
        for line in ["User-Agents: x", "User-Agent", "User-Agen", "X-User-Agent: x", ""] {
            assert_eq!(user_agent(line.as_bytes()), None, "{line}");
        }
        let long = format!("User-Agent:{}", "x".repeat(100_000));
        assert_eq!(user_agent(long.as_bytes()).unwrap().len(), GUARD_USER_AGENT_BYTES);
        assert!(contains(b"a Friendly-SCANNER b", b"friendly-scanner") && !contains(b"friend", b"friendly"));
        assert!(!contains(b"x", b""));
    }
}
