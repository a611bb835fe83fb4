//! One entry to what is decoded of HTTP/3 and WebTransport, shared by the fuzz target and the replay
//! of its corpus.
//!
//! Records come to the same however their bytes are cut, gathered values stay within their bound, and
//! a head that is accepted is one that may be acted upon.

use bytes::{Bytes, BytesMut};

use super::http::{self, Request, Response};
use super::peer_streams::{CAPSULE_KINDS, CONTROL_KINDS, REQUEST_KINDS};
use super::records::{Kinds, Record, Records};

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The decoder refused it, or there was no input.
    Rejected,
    /// The decoder took it, and what it gave held.
    Accepted,
}

/// A record as it came: what became of it, its type, its value.
type Told = (char, u64, BytesMut);

/// Decodes what the first byte picks; an error describes a broken promise.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let Some((&selector, body)) = input.split_first() else {
        return Ok(Outcome::Rejected);
    };
    let accepted = match selector % SELECTORS {
        0 => check_request(body)?,
        1 => Response::decode(body).is_ok(),
        2 => http::check_settings(body),
        3 => http::read_close(body).is_some(),
        4 => check_records(CONTROL_KINDS, body)?,
        5 => check_records(REQUEST_KINDS, body)?,
        _ => check_records(CAPSULE_KINDS, body)?,
    };
    Ok(if accepted { Outcome::Accepted } else { Outcome::Rejected })
}

/// Inputs to start a fuzzer from: one of each kind that is accepted.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let request = Request::connect("relay:4443", "/room?jwt=a.b", &["moq-lite-06", "moq-lite-05"]);
    let response = Response::accept(Some("moq-lite-06"));
    let close = http::close_capsule(3, "bye");
    // Datagrams, and WebTransport of draft 02. Our own settings are in no order.
    let settings = b"\x33\x01\xab\x60\x37\x42\x01";
    // Frames begin with a type of one byte; the lengths of these have two, and one.
    let seed = |name: &str, selector: u8, body: &[u8]| (name.to_owned(), [&[selector][..], body].concat());
    vec![
        seed("request", 0, &value(&request)),
        seed("response", 1, &value(&response)),
        seed("settings", 2, settings),
        seed("close", 3, &value(&value(&close))),
        seed("control-stream", 4, &[&[4, 7][..], settings].concat()),
        seed("request-stream", 5, &[&request[..], &close].concat()),
        seed("capsules", 6, &value(&close)),
    ]
}

fn check_request(block: &[u8]) -> Result<bool, String> {
    let Ok(request) = Request::decode(block) else {
        return Ok(false);
    };
    if !request.path.starts_with('/') {
        return Err(format!("the path {:?} was accepted", request.path));
    }
    Ok(true)
}

/// The value of a record that is whole.
fn value(record: &Bytes) -> Bytes {
    let mut records = Records::new(Kinds {
        gathered: &[http::frame::HEADERS, http::frame::SETTINGS, http::CLOSE_SESSION],
        gathered_bytes_max: 4096,
        streamed: Some(http::frame::DATA),
    });
    match records.poll(&mut record.clone()) {
        Ok(Some(Record::Gathered { value, .. } | Record::Streamed(value))) => value,
        _ => Bytes::new(),
    }
}

fn check_records(kinds: Kinds, body: &[u8]) -> Result<bool, String> {
    let whole = told(kinds, &[body])?;
    let (cut, rest) = body.split_at(body.len() / 2);
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    for pieces in [&[cut, rest][..], &bytes] {
        if told(kinds, pieces)? != whole {
            return Err("what is cut comes to something else".to_owned());
        }
    }
    Ok(whole.1)
}

/// Records as they came, adjoining parts of a streamed value put together, and whether all were allowed.
fn told(kinds: Kinds, pieces: &[&[u8]]) -> Result<(Vec<Told>, bool), String> {
    let mut records = Records::new(kinds);
    let mut all: Vec<Told> = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match records.poll(&mut input) {
                Err(_) => return Ok((all, false)),
                Ok(None) => break,
                Ok(Some(Record::Skipped(kind))) => all.push(('-', kind, BytesMut::new())),
                Ok(Some(Record::Gathered { kind, value })) => {
                    if value.len() as u64 > kinds.gathered_bytes_max {
                        return Err(format!("{} bytes were gathered", value.len()));
                    }
                    all.push(('g', kind, BytesMut::from(value)));
                }
                Ok(Some(Record::Streamed(part))) => match all.last_mut() {
                    Some(('s', _, bytes)) => bytes.extend_from_slice(&part),
                    _ => all.push(('s', 0, BytesMut::from(part))),
                },
            }
        }
        if !input.is_empty() {
            return Err("bytes are left".to_owned());
        }
    }
    Ok((all, true))
}

const SELECTORS: u8 = 7;
