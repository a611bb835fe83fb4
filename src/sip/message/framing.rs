//! Messages out of a stream (RFC 3261, section 18.3): TCP and TLS have no datagrams.

use crate::limits::{MESSAGE_BYTES_MAX, STREAM_HEAD_BYTES_MAX};

/// Bytes of one connection, until a message is whole.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// What is before this was taken.
    begin: usize,
    /// So far behind that there is no end of headers.
    seen: usize,
    /// How long the message is, once its headers are there. At most [`MESSAGE_BYTES_MAX`].
    length: Option<usize>,
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
        self.bytes.drain(..self.begin);
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// What is whole by now. Whatever it is was taken out, so there is an end of it.
    pub fn poll(&mut self) -> Result<Option<Framed>, FramingError> {
        if self.length.is_none() {
            if self.rest().starts_with(b"\r\n\r\n") {
                self.take(4);
                return Ok(Some(Framed::Ping));
            }
            let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let blank = self.rest().iter().take_while(is_blank).count();
            if blank == self.rest().len() && blank < 4 {
                return Ok(None);
            }
            self.take(blank);
            self.length = self.measure()?;
        }
        let Some(length) = self.length.filter(|length| *length <= self.rest().len()) else {
            return Ok(None);
        };
        let message = self.rest()[..length].to_vec();
        self.take(length);
        Ok(Some(Framed::Message(message)))
    }

    /// How long the message is, with its headers. None: they have no end yet.
    fn measure(&mut self) -> Result<Option<usize>, FramingError> {
        let from = self.seen.saturating_sub(3);
        let rest = self.rest();
        let Some(end) = head_end(&rest[from..]).map(|end| from + end) else {
            self.seen = rest.len();
            let is_endless = self.seen > STREAM_HEAD_BYTES_MAX;
            return if is_endless { Err(FramingError::Head) } else { Ok(None) };
        };
        if end > STREAM_HEAD_BYTES_MAX {
            return Err(FramingError::Head);
        }
        let body = content_length(&rest[..end]).ok_or(FramingError::Length)?;
        let length = end.checked_add(body).filter(|length| *length <= MESSAGE_BYTES_MAX);
        length.map(Some).ok_or(FramingError::Length)
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }

    fn take(&mut self, count: usize) {
        self.begin += count;
        if count > 0 {
            (self.seen, self.length) = (0, None);
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
            assert!(framer.rest().is_empty());
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
            // With the headers before it these are nothing at all, and one more than there are numbers.
            "A\r\nl:18446744073709551587\r\n\r\n",
            "l: 18446744073709551615\r\n\r\n",
            "l: 18446744073709551616\r\n\r\n",
            "l: -1\r\n\r\n",
            "Subject: x\r\n l: 0\r\n\r\n",
        ] {
            assert_eq!(next(head.as_bytes()), Err(FramingError::Length), "{head}");
        }
        assert_eq!(next(b"l: 5\r\n\r\nab"), Ok(None));
    }

    #[test]
    fn whatever_comes_there_is_an_end_of_what_it_is() {
        let mut seed = 7_u32;
        for _ in 0..2000 {
            let mut framer = Framer::default();
            for _ in 0..4 {
                let pieces = [
                    "\r\n",
                    "\n",
                    "A",
                    "l:",
                    "1",
                    "18446744073709551587",
                    "\r\n\r\n",
                    "\0",
                    " ",
                ];
                let bytes: String = (0..6)
                    .map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        pieces[(seed >> 24) as usize % pieces.len()]
                    })
                    .collect();
                framer.push(bytes.as_bytes());
                let turns = (0..)
                    .take_while(|_| matches!(framer.poll(), Ok(Some(_))))
                    .take(2000)
                    .count();
                assert!(turns <= 600, "{bytes:?}");
            }
        }
    }
}
