//! Messages out of a stream (RFC 3261, section 18.3): TCP and TLS have no datagrams.

use crate::limits::{MESSAGE_BYTES_MAX, STREAM_HEAD_BYTES_MAX};

/// Bytes of one connection, until a message is whole.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Up to here there is no end of headers.
    seen: usize,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed {
    /// A whole message.
    Message(Vec<u8>),
    /// Two empty lines: a keep-alive that wants one back (RFC 5626, section 3.5.1).
    Ping,
}

/// The stream is no SIP: where the next message begins cannot be known, so the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The headers do not end.
    #[error("headers of more than {STREAM_HEAD_BYTES_MAX} bytes")]
    Head,
    /// No length, or no number, or one that is too large (section 20.14).
    #[error("no Content-Length of at most {MESSAGE_BYTES_MAX}")]
    Length,
}

impl Framer {
    /// Takes bytes in. At most a message and what a read brings is held.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is whole by now.
    pub fn poll(&mut self) -> Result<Option<Framed>, FramingError> {
        if self.bytes.starts_with(b"\r\n\r\n") {
            self.take(4);
            return Ok(Some(Framed::Ping));
        }
        let blank = self
            .bytes
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        if blank == self.bytes.len() && blank < 4 {
            return Ok(None);
        }
        self.take(blank);
        let from = self.seen.saturating_sub(3);
        let Some(end) = head_end(&self.bytes[from..]).map(|end| from + end) else {
            self.seen = self.bytes.len();
            let is_endless = self.bytes.len() > STREAM_HEAD_BYTES_MAX;
            return if is_endless { Err(FramingError::Head) } else { Ok(None) };
        };
        if end > STREAM_HEAD_BYTES_MAX {
            return Err(FramingError::Head);
        }
        let length = content_length(&self.bytes[..end]).ok_or(FramingError::Length)?;
        if end + length > MESSAGE_BYTES_MAX {
            return Err(FramingError::Length);
        }
        if self.bytes.len() < end + length {
            self.seen = end;
            return Ok(None);
        }
        let message = self.bytes[..end + length].to_vec();
        self.take(end + length);
        Ok(Some(Framed::Message(message)))
    }

    fn take(&mut self, count: usize) {
        if count > 0 {
            self.bytes.drain(..count);
            self.seen = 0;
        }
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    let (head, _) = super::parse::split_head(bytes)?;
    let end = head.len();
    Some(if bytes[end] == b'\r' { end + 2 } else { end + 1 })
}

fn content_length(head: &[u8]) -> Option<usize> {
    let mut lengths = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        // Folded, so it is of the header before (section 7.3.1).
        if line.starts_with([' ', '\t']) {
            return None;
        }
        let (name, value) = line.split_once(':')?;
        let is_length = ["content-length", "l"]
            .iter()
            .any(|own| name.trim().eq_ignore_ascii_case(own));
        is_length.then(|| value.trim().to_owned())
    });
    let length = lengths.next()?;
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    // Two of them are a way to smuggle a message past somebody else.
    (is_number && lengths.next().is_none())
        .then(|| length.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let stream = b"\r\nOPTIONS sip:a SIP/2.0\r\nl: 3\r\n\r\nabc\r\n\r\nBYE sip:a SIP/2.0\nContent-Length: 0\n\n";
        let first = &stream[2..36];
        for step in [1, 2, 7, stream.len()] {
            let (mut framer, mut found) = (Framer::default(), Vec::new());
            for bytes in stream.chunks(step) {
                framer.push(bytes);
                while let Some(framed) = framer.poll().unwrap() {
                    found.push(framed);
                }
            }
            assert_eq!(found.len(), 3, "{step}: {found:?}");
            assert_eq!(found[0], Framed::Message(first.to_vec()));
            assert_eq!(found[1], Framed::Ping);
            assert!(framer.bytes.is_empty());
        }
    }

    #[test]
    fn a_stream_that_cannot_be_cut_ends() {
        let next = |bytes: &[u8]| {
            let mut framer = Framer::default();
            framer.push(bytes);
            framer.poll()
        };
        assert_eq!(next(&[b'a'; STREAM_HEAD_BYTES_MAX + 1]), Err(FramingError::Head));
        for head in [
            "A\r\n\r\n",
            "l: x\r\n\r\n",
            "l: 1\r\nl: 1\r\n\r\n",
            "l: 99999999\r\n\r\n",
            "l: -1\r\n\r\n",
            "Subject: x\r\n l: 0\r\n\r\n",
        ] {
            assert_eq!(next(head.as_bytes()), Err(FramingError::Length), "{head}");
        }
        assert_eq!(next(b"l: 5\r\n\r\nab"), Ok(None));
    }
}
