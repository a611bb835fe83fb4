//! What is bounded, by how much, and what happens then.

/// Bytes of a message. A longer one gets no answer, and ends a connection.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Bytes of the headers of a message on a stream. More end the connection.
pub const STREAM_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines of headers. More are answered 513.
pub const HEADERS_MAX: usize = 128;
/// Bytes of one header's value. More are answered 513.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Items of a header that is a list. Further ones are not looked at.
pub const LIST_ITEMS_MAX: usize = 64;
/// Parameters of a value. Further ones are not looked at.
pub const PARAMETERS_MAX: usize = 32;
/// Requests that came and are remembered, each for 32 s after its answer on datagrams. When full, those that were answered
/// longest ago are forgotten; where there are none, further requests are answered 503.
pub const SERVER_TRANSACTIONS_MAX: usize = 65_536;
/// Requests that went out and are waited for. Further ones are not sent.
pub const CLIENT_TRANSACTIONS_MAX: usize = 16_384;
/// How long a call may ring after its last provisional answer (RFC 3261, timer C: more than 3 minutes).
pub const PROVISIONAL_WAIT: std::time::Duration = std::time::Duration::from_secs(185);
