//! What HTTP/3 and WebTransport say to each other: settings, requests, responses, and codes.

use bytes::{BufMut, Bytes, BytesMut};
use moqswitch_proto::wire::varint;
use quiche::h3::{Header, NameValue, qpack};
use web_transport_proto::{Capsule, Setting, Settings, VarInt};

/// The head of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query.
    pub(super) path: String,
    /// Of an extended CONNECT (RFC 9220).
    pub(super) protocol: Option<String>,
    /// Scheme and credential of the client.
    pub(super) authorization: Option<Vec<u8>>,
    /// Protocols to run in the session, best first; `None` when the client negotiates none.
    pub(super) available: Option<Vec<String>>,
}

/// The head of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// The protocol that runs in the session.
    pub(super) protocol: Option<String>,
}

/// Why a field section cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldError {
    /// The compression is wrong, which is the end of the connection.
    Compression,
    /// The message is.
    Malformed,
}

impl Request {
    pub(super) fn decode(block: &[u8]) -> Result<Self, FieldError> {
        let mut request = Self::default();
        let (mut has_method, mut has_path) = (false, false);
        for field in &decode_fields(block)? {
            let value = || text(field.value());
            match field.name() {
                b":method" if !std::mem::replace(&mut has_method, true) => request.method = value()?,
                b":path" if !std::mem::replace(&mut has_path, true) => request.path = value()?,
                b":protocol" if request.protocol.is_none() => request.protocol = Some(value()?),
                b":scheme" | b":authority" => {}
                // RFC 9114, section 4.3: unknown and repeated pseudo-header fields are malformed.
                [b':', ..] => return Err(FieldError::Malformed),
                b"authorization" => join_field(&mut request.authorization, field.value()),
                name if name == AVAILABLE_PROTOCOLS => {
                    // A field that is no list of strings is ignored (RFC 9651, section 4.2).
                    request.available = sfv_list(field.value());
                }
                _ => {}
            }
        }
        // RFC 9114, section 4.3.1.
        if !has_method || !has_path || !request.path.starts_with('/') {
            return Err(FieldError::Malformed);
        }
        Ok(request)
    }

    pub(super) fn connect(authority: &str, path: &str, protocols: &[&str]) -> Bytes {
        let available = sfv_serialize_list(protocols);
        let fields = [
            (&b":method"[..], &b"CONNECT"[..]),
            (b":protocol", WEB_TRANSPORT),
            (b":scheme", b"https"),
            (b":authority", authority.as_bytes()),
            (b":path", path.as_bytes()),
            (b"sec-webtransport-http3-draft02", b"1"),
            (AVAILABLE_PROTOCOLS, available.as_bytes()),
        ];
        headers_frame(if protocols.is_empty() {
            &fields[..fields.len() - 1]
        } else {
            &fields
        })
    }

    pub(super) fn is_web_transport(&self) -> bool {
        self.method == "CONNECT" && self.protocol.as_deref() == str::from_utf8(WEB_TRANSPORT).ok()
    }
}

impl Response {
    pub(super) fn decode(block: &[u8]) -> Result<Self, FieldError> {
        let mut response = Self::default();
        for field in &decode_fields(block)? {
            match field.name() {
                b":status" => {
                    response.status = text(field.value())?.parse().map_err(|_| FieldError::Malformed)?;
                }
                name if name == SELECTED_PROTOCOL => response.protocol = sfv_item(field.value()),
                _ => {}
            }
        }
        Ok(response)
    }

    /// Accepts a session.
    pub(super) fn accept(protocol: Option<&str>) -> Bytes {
        let selected = protocol.map(sfv_serialize_string).unwrap_or_default();
        let fields = [
            (&b":status"[..], &b"200"[..]),
            // Browsers that speak draft 02 ask for it.
            (b"sec-webtransport-http3-draft", b"draft02"),
            (SELECTED_PROTOCOL, selected.as_bytes()),
        ];
        headers_frame(if protocol.is_none() { &fields[..2] } else { &fields })
    }

    /// A whole response.
    pub(super) fn whole(status: u16, fields: &[(&str, &str)], body: &Bytes) -> Bytes {
        let (status, length) = (status.to_string(), body.len().to_string());
        let mut all = vec![(&b":status"[..], status.as_bytes())];
        all.extend(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        all.push((b"content-length", length.as_bytes()));
        let head = headers_frame(&all);
        let mut out = BytesMut::with_capacity(head.len() + body.len() + FRAME_HEAD_BYTES_MAX);
        out.extend_from_slice(&head);
        if !body.is_empty() {
            put_frame(&mut out, frame::DATA, body);
        }
        out.freeze()
    }
}

/// The whole of our control stream: its type and SETTINGS.
pub(super) fn settings(is_server: bool) -> Bytes {
    let mut settings = Settings::default();
    settings.enable_webtransport(SESSIONS_PER_CONNECTION);
    if is_server {
        // Drafts 14 and later in place of the number of sessions.
        settings.insert(Setting(VarInt::from_u32(WEB_TRANSPORT_ENABLED)), VarInt::from_u32(1));
    }
    let mut out = BytesMut::new();
    settings.encode(&mut out);
    out.freeze()
}

/// Whether what SETTINGS says is allowed (RFC 9114, sections 7.2.4 and 7.2.4.1): no setting twice,
/// and none of those that HTTP/2 had.
pub(super) fn check_settings(mut payload: &[u8]) -> bool {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let Ok((setting, used)) = varint::get(payload) else {
            return false;
        };
        let Ok((_, more)) = varint::get(&payload[used..]) else {
            return false;
        };
        payload = &payload[used + more..];
        if (0x02..=0x05).contains(&setting) || seen.contains(&setting) || seen.len() >= SETTINGS_MAX {
            return false;
        }
        seen.push(setting);
    }
    true
}

/// The capsule that ends a session, in its frame.
pub(super) fn close_capsule(code: u32, reason: &str) -> Bytes {
    let end = reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX);
    capsule(&Capsule::CloseWebTransportSession {
        code,
        reason: reason[..end].to_owned(),
    })
}

/// The capsule that asks the peer to end the session soon, in its frame.
pub(super) fn drain_capsule() -> Bytes {
    capsule(&Capsule::Unknown {
        typ: VarInt::from_u32(DRAIN_SESSION),
        payload: Bytes::new(),
    })
}

fn capsule(capsule: &Capsule) -> Bytes {
    let mut payload = BytesMut::new();
    capsule.encode(&mut payload);
    let mut out = BytesMut::new();
    put_frame(&mut out, frame::DATA, &payload);
    out.freeze()
}

/// Code and reason of the capsule that ends a session.
pub(super) fn read_close(value: &[u8]) -> Option<(u32, String)> {
    let (code, reason) = value.split_first_chunk()?;
    Some((u32::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned()))
}

/// A field that comes more than once is a list (RFC 9110, section 5.3).
fn join_field(joined: &mut Option<Vec<u8>>, value: &[u8]) {
    match joined {
        None => *joined = Some(value.to_vec()),
        Some(joined) => joined.extend([b", ", value].concat()),
    }
}

fn decode_fields(block: &[u8]) -> Result<Vec<Header>, FieldError> {
    qpack::Decoder::new()
        .decode(block, FIELD_SECTION_BYTES_MAX)
        .map_err(|_| FieldError::Compression)
}

pub(super) fn headers_frame(fields: &[(&[u8], &[u8])]) -> Bytes {
    let room = fields
        .iter()
        .map(|(name, value)| name.len() + value.len() + FIELD_OVERHEAD_BYTES)
        .sum::<usize>();
    let mut block = vec![0; room + FIELD_OVERHEAD_BYTES];
    let used = qpack::Encoder::new()
        .encode(fields, &mut block)
        .expect("each field has room for the longest form of its lengths");
    let mut out = BytesMut::with_capacity(used + FRAME_HEAD_BYTES_MAX);
    put_frame(&mut out, frame::HEADERS, &block[..used]);
    out.freeze()
}

fn put_frame(out: &mut BytesMut, kind: u64, payload: &[u8]) {
    for value in [kind, payload.len() as u64] {
        varint::put(out, value).expect("types and lengths of frames are far below 2^62");
    }
    out.put_slice(payload);
}

fn text(bytes: &[u8]) -> Result<String, FieldError> {
    str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| FieldError::Malformed)
}

fn sfv_list(value: &[u8]) -> Option<Vec<String>> {
    let list: sfv::List = sfv::Parser::new(value).parse().ok()?;
    list.into_iter()
        .map(|entry| match entry {
            sfv::ListEntry::Item(item) => item.bare_item.as_string().map(|string| string.as_str().to_owned()),
            sfv::ListEntry::InnerList(_) => None,
        })
        .collect()
}

fn sfv_item(value: &[u8]) -> Option<String> {
    let item: sfv::Item = sfv::Parser::new(value).parse().ok()?;
    item.bare_item.as_string().map(|string| string.as_str().to_owned())
}

fn sfv_serialize_list(protocols: &[&str]) -> String {
    let quoted: Vec<String> = protocols
        .iter()
        .map(|protocol| sfv_serialize_string(protocol))
        .collect();
    quoted.join(", ")
}

/// Names of drafts are letters, digits and hyphens, which need no escapes.
fn sfv_serialize_string(protocol: &str) -> String {
    format!("\"{protocol}\"")
}

/// Types of frames (RFC 9114, section 7.2).
pub(super) mod frame {
    pub(in crate::quic::web) const DATA: u64 = 0x0;
    pub(in crate::quic::web) const HEADERS: u64 = 0x1;
    pub(in crate::quic::web) const SETTINGS: u64 = 0x4;
    /// In place of a frame: the rest of the stream belongs to a session.
    pub(in crate::quic::web) const WEB_TRANSPORT: u64 = 0x41;
}

/// Types of one-way streams (RFC 9114, section 6.2; RFC 9204, section 4.2).
pub(super) mod stream {
    pub(in crate::quic::web) const CONTROL: u64 = 0x0;
    pub(in crate::quic::web) const PUSH: u64 = 0x1;
    pub(in crate::quic::web) const QPACK_ENCODER: u64 = 0x2;
    pub(in crate::quic::web) const QPACK_DECODER: u64 = 0x3;
    pub(in crate::quic::web) const WEB_TRANSPORT: u64 = 0x54;
}

/// Codes of HTTP/3 (RFC 9114, section 8.1), QPACK (RFC 9204, section 6) and WebTransport.
pub(super) mod code {
    pub(in crate::quic::web) const NO_ERROR: u64 = 0x100;
    pub(in crate::quic::web) const STREAM_CREATION: u64 = 0x103;
    pub(in crate::quic::web) const CLOSED_CRITICAL_STREAM: u64 = 0x104;
    pub(in crate::quic::web) const FRAME_UNEXPECTED: u64 = 0x105;
    pub(in crate::quic::web) const EXCESSIVE_LOAD: u64 = 0x107;
    pub(in crate::quic::web) const ID: u64 = 0x108;
    pub(in crate::quic::web) const SETTINGS: u64 = 0x109;
    pub(in crate::quic::web) const MISSING_SETTINGS: u64 = 0x10a;
    pub(in crate::quic::web) const REQUEST_REJECTED: u64 = 0x10b;
    pub(in crate::quic::web) const REQUEST_CANCELLED: u64 = 0x10c;
    pub(in crate::quic::web) const REQUEST_INCOMPLETE: u64 = 0x10d;
    pub(in crate::quic::web) const MESSAGE: u64 = 0x10e;
    pub(in crate::quic::web) const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
    pub(in crate::quic::web) const QPACK_ENCODER_STREAM: u64 = 0x201;
    /// A stream came for a session that is not there.
    pub(in crate::quic::web) const BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;
    pub(in crate::quic::web) const SESSION_GONE: u64 = 0x170d_7b68;
}

/// Capsules (draft-ietf-webtrans-http3, section 6).
pub(super) const CLOSE_SESSION: u64 = 0x2843;
const DRAIN_SESSION: u32 = 0x78ae;
/// Of the longest reason that fits (same place).
pub(super) const CLOSE_REASON_BYTES_MAX: usize = 1024;

/// The decoded head of a request. A larger one is refused.
pub(super) const FIELD_SECTION_BYTES_MAX: u64 = 16 * 1024;

pub(super) const SESSIONS_PER_CONNECTION: u32 = 1;

const SETTINGS_MAX: usize = 64;
const FRAME_HEAD_BYTES_MAX: usize = 16;
/// The lengths of name and value of one field, and the prefix of a section.
const FIELD_OVERHEAD_BYTES: usize = 32;
const WEB_TRANSPORT_ENABLED: u32 = 0x2c7c_f000;
const WEB_TRANSPORT: &[u8] = b"webtransport";
const AVAILABLE_PROTOCOLS: &[u8] = b"wt-available-protocols";
const SELECTED_PROTOCOL: &[u8] = b"wt-protocol";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_request_is_read_as_it_was_written() {
        let wire = Request::connect("relay:4443", "/call?jwt=a.b", &["moq-lite-06", "moq-lite-05"]);
        let request = Request::decode(&payload(&wire)).unwrap();
        assert!(request.is_web_transport());
        assert_eq!(request.path, "/call?jwt=a.b");
        assert_eq!(
            request.available,
            Some(vec!["moq-lite-06".to_owned(), "moq-lite-05".to_owned()])
        );
        let without = Request::decode(&payload(&Request::connect("relay", "/", &[]))).unwrap();
        assert_eq!(without.available, None);
    }

    #[test]
    fn an_accepting_response_is_read_as_it_was_written() {
        let response = Response::decode(&payload(&Response::accept(Some("moq-lite-04")))).unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.protocol.as_deref(), Some("moq-lite-04"));
        let response = Response::decode(&payload(&Response::accept(None))).unwrap();
        assert_eq!((response.status, response.protocol), (200, None));
    }

    #[test]
    fn malformed_heads_are_refused() {
        let request = |fields: &[(&[u8], &[u8])]| Request::decode(&payload(&headers_frame(fields)));
        let whole: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", b"/")];
        assert!(request(&whole).is_ok());
        for wrong in [
            &whole[..1],
            &whole[1..],
            &[whole[0], (b":path", b"relative")],
            &[whole[0], whole[1], whole[1]],
            &[whole[0], whole[1], (b":status", b"200")],
            &[whole[0], (b":path", b"/\xff")],
        ] {
            assert_eq!(request(wrong), Err(FieldError::Malformed), "{wrong:?}");
        }
        assert_eq!(
            Request::decode(&[0, 0, 0x80]),
            Err(FieldError::Compression),
            "dynamic table"
        );
    }

    #[test]
    fn a_list_that_is_none_negotiates_nothing() {
        for value in [&b"moq-lite-06"[..], b"(\"a\")", b"\"open", b"1"] {
            assert_eq!(sfv_list(value), None, "{value:?}");
        }
        assert_eq!(sfv_list(b""), Some(Vec::new()));
    }

    #[test]
    fn settings_of_both_sides_are_allowed_and_wrong_ones_are_not() {
        for is_server in [false, true] {
            let wire = settings(is_server);
            assert_eq!(u64::from(wire[0]), stream::CONTROL);
            assert!(check_settings(&payload(&wire.slice(1..))));
        }
        assert!(check_settings(b""));
        for wrong in [&[0x02, 0][..], &[0x05, 1], &[0x33, 1, 0x33, 1], &[0x33], &[0x40]] {
            assert!(!check_settings(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_close_says_code_and_reason() {
        let wire = close_capsule(0xdead_beef, "because");
        // Frame, capsule, value.
        let capsule = payload(&wire);
        let value = payload(&capsule);
        assert_eq!(read_close(&value), Some((0xdead_beef, "because".to_owned())));
        let long = "ä".repeat(CLOSE_REASON_BYTES_MAX);
        let (_, reason) = read_close(&payload(&payload(&close_capsule(0, &long)))).unwrap();
        assert_eq!(reason.len(), CLOSE_REASON_BYTES_MAX);
        assert_eq!(read_close(&[0, 0, 0]), None);
    }

    /// What a frame or capsule has behind its type and length.
    fn payload(wire: &Bytes) -> Bytes {
        let (_, kind_bytes) = varint::get(wire).unwrap();
        let (length, length_bytes) = varint::get(&wire[kind_bytes..]).unwrap();
        let start = kind_bytes + length_bytes;
        wire.slice(start..start + usize::try_from(length).unwrap())
    }
}
