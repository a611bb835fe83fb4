//! Bounds of what is on the wire, and how they relate. What a peer can make a session hold has its limits
//! in `session/limits.rs`. The unit is in the name; what happens at the bound is said with it.

/// Largest QUIC variable-length integer; hop ids and costs may not exceed it.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Body of one length-prefixed message. A longer one is refused as soon as its length is read.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Hop ids in one advertisement. The released peers refuse a longer chain, so it is neither
/// accepted nor sent.
pub const HOPS_MAX: usize = 32;

/// A broadcast path, prefix or suffix as it is on the wire. A longer one is refused.
pub const PATH_BYTES_MAX: usize = 1024;

/// Segments of a broadcast path. The released peers refuse a deeper one, so it is neither
/// accepted nor sent.
pub const PATH_SEGMENTS_MAX: usize = 32;

/// A track name. A longer one is refused.
pub const TRACK_NAME_BYTES_MAX: usize = 1024;

/// Parameters of one SETUP, known and unknown together. More are refused.
pub const SETUP_PARAMETERS_MAX: usize = 64;

/// The Path parameter of SETUP: path and query, which may hold a credential. A longer one is refused.
pub const SETUP_PATH_BYTES_MAX: usize = 8192;

/// Versions in one SESSION_CLIENT. More are refused.
pub const SESSION_VERSIONS_MAX: usize = 64;

/// Body of one ANNOUNCE_INIT that is received. A longer one is refused as soon as its length is read.
pub const ANNOUNCE_INIT_BYTES_MAX: usize = 1024 * 1024;

/// Suffixes in one ANNOUNCE_INIT. More are refused.
pub const ANNOUNCE_INIT_SUFFIXES_MAX: usize = 65_536;

/// The URI of a GOAWAY. A longer one is refused.
pub const GOAWAY_URI_BYTES_MAX: usize = 8192;

/// Body of one GROUP message: three variable-length integers of eight bytes.
pub const GROUP_HEADER_BODY_BYTES_MAX: usize = 24;

/// A datagram body with its header. A larger one is dropped, and never sent.
pub const DATAGRAM_BODY_BYTES_MAX: usize = 1200;

/// Payload of one frame. A larger one is refused as soon as its header is read.
pub const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Properties of one object of moq-transport. An object with more is refused.
pub const OBJECT_PROPERTIES_BYTES_MAX: usize = 16 * 1024;

const _: () = {
    assert!(OBJECT_PROPERTIES_BYTES_MAX + 64 < u16::MAX as usize);
    // The largest message of each family fits in a message: a SUBSCRIBE has a path, a name and at
    // most eight integers, an announcement has a path, its hops and at most five integers.
    assert!(PATH_BYTES_MAX + TRACK_NAME_BYTES_MAX + 10 * 8 < MESSAGE_BYTES_MAX);
    assert!(PATH_BYTES_MAX + (HOPS_MAX + 6) * 8 < MESSAGE_BYTES_MAX);
    assert!(GOAWAY_URI_BYTES_MAX + 8 < MESSAGE_BYTES_MAX);
    assert!(SETUP_PATH_BYTES_MAX + SETUP_PARAMETERS_MAX * 16 < MESSAGE_BYTES_MAX);
    assert!(SETUP_PATH_BYTES_MAX + SESSION_VERSIONS_MAX * 8 + 24 < u16::MAX as usize);
    assert!(MESSAGE_BYTES_MAX <= ANNOUNCE_INIT_BYTES_MAX);
    assert!(GROUP_HEADER_BODY_BYTES_MAX < 64);
    assert!(FRAME_BYTES_MAX < 1 << 30);
};
