//! Bounds of moqswitch, and how they relate. What a peer can make a session, a track or an
//! endpoint hold has its limits beside the code: `session/limits.rs`, `TrackLimits`,
//! `TransportOptions`. The unit is in the name; what happens at the bound is said with it.

use std::time::Duration;

// ---- Configuration and control thread
/// Shards of one process; `ShardId` is one byte. More is a configuration error.
pub const SHARDS_MAX: usize = 256;

/// A CPU number no Linux kernel exceeds (`NR_CPUS` is at most 8192). Higher is a configuration error.
pub const CORE_NUMBER_MAX: usize = 8191;

/// Longest coalescing pause of a shard; a longer one would be audible. More is a configuration error.
pub const BATCH_WINDOW_MAX: Duration = Duration::from_millis(10);

/// Longest configurable duration of any other kind. More is a configuration error.
pub const CONFIGURED_DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Configuration file size; a larger one is refused unread.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Certificate or key file size; a larger one is refused unread.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// UDP payload every QUIC path carries (RFC 9000 section 14); the configured maximum may not be lower.
pub const UDP_PAYLOAD_BYTES_MIN: u64 = 1200;

/// Largest UDP payload there is.
pub const UDP_PAYLOAD_BYTES_MAX: u64 = 65_507;

/// Largest QUIC variable-length integer; hop ids and costs may not exceed it.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// TCP connections whose request has not come, TLS handshakes included. A further one ends the oldest.
pub const HTTP_ARRIVING_MAX: usize = 512;

/// Reads of a TCP connection in a row, each of up to 16 KiB; then the other tasks of the control thread go on.
pub const TCP_READS_MAX: usize = 2;

/// HTTP connections served at once. A further one ends the oldest.
pub const HTTP_CONNECTIONS_MAX: usize = 256;

/// WebSocket connections that may be configured.
pub const WEBSOCKETS_MAX: u32 = 100_000;

/// Longest WebSocket message and frame: no record of QMux is longer. One that is ends the connection.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Read at once from a WebSocket.
pub const WEBSOCKET_READ_BYTES: usize = 16 * 1024;

/// Gathered before a WebSocket is written to.
pub const WEBSOCKET_WRITE_BYTES: usize = 16 * 1024;

/// What a WebSocket may hold that its socket has not taken: the above, a message and answers to pings.
/// With more of those waiting, the last of them is answered for all; no room for a message ends the connection.
pub const WEBSOCKET_UNWRITTEN_BYTES_MAX: usize = 128 * 1024;

/// Pings and pongs of one WebSocket in `WEBSOCKET_CONTROL_INTERVAL`. With more it is closed (1008).
pub const WEBSOCKET_CONTROL_FRAMES_MAX: u32 = 128;
pub const WEBSOCKET_CONTROL_INTERVAL: Duration = Duration::from_secs(5);

/// A control frame with the longest payload (RFC 6455, section 5.5).
const WEBSOCKET_CONTROL_FRAME_BYTES_MAX: usize = 2 + 125;

/// Unsent bytes in the kernel from which on a WebSocket takes no more: what is urgent waits behind them.
pub const WEBSOCKET_UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// Time a client has for its first message; a slower one is disconnected.
pub const WEBSOCKET_FIRST_WAIT_MAX: Duration = Duration::from_secs(10);

/// Pings of a WebSocket, or a third of the idle timeout if that is less.
pub const WEBSOCKET_PING_INTERVAL: Duration = Duration::from_secs(5);

/// Wait for a peer to close after it was told to; then the socket is dropped.
pub const WEBSOCKET_CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Life of one HTTP connection from accept to last byte; a slower client is disconnected.
pub const HTTP_CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// Time a client has from accept to the end of its request head, TLS included; a slower one is disconnected.
pub const HTTP_ARRIVAL_WAIT_MAX: Duration = Duration::from_secs(5);

/// Request path of `/announced` and `/fetch`; a longer one is answered 414.
pub const HTTP_PATH_BYTES_MAX: usize = 2048;

/// Broadcasts listed by one `/announced` request; the rest is left off and the response says so.
pub const ANNOUNCED_RESULTS_MAX: usize = 10_000;

/// Commands waiting for one shard; when full the request is answered 503.
pub const SHARD_COMMANDS_MAX: usize = 64;

/// Wait for a shard's snapshot; a slower shard is reported by 503.
pub const SHARD_ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// Wait for `/fetch` to find its group, upstream included; then 504.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Wait for HTTP requests in progress when the control thread stops; then they are cut off.
pub const HTTP_STOP_WAIT_MAX: Duration = Duration::from_secs(1);

/// Memory a shard's rings lock; `moqswitch check` fails when the host allows less.
pub const LOCKED_BYTES_PER_SHARD: u64 = 512 * 1024;

/// Files a shard opens: its socket, rings, event and timer descriptors.
pub const FILES_PER_SHARD: usize = 32;

/// Files of the process besides shards and HTTP connections.
pub const FILES_OF_PROCESS: usize = 64;

const _: () = {
    assert!(SHARDS_MAX <= 1 << 8);
    assert!(SHARD_ANSWER_WAIT_MAX.as_millis() < FETCH_WAIT_MAX.as_millis());
    assert!(FETCH_WAIT_MAX.as_millis() < HTTP_CONNECTION_AGE_MAX.as_millis());
    assert!(HTTP_ARRIVAL_WAIT_MAX.as_millis() < HTTP_CONNECTION_AGE_MAX.as_millis());
    // Answers to pings have room behind a message, and behind what is gathered.
    let control = WEBSOCKET_CONTROL_FRAMES_MAX as usize * WEBSOCKET_CONTROL_FRAME_BYTES_MAX;
    assert!(WEBSOCKET_WRITE_BYTES + WEBSOCKET_MESSAGE_BYTES_MAX + control < WEBSOCKET_UNWRITTEN_BYTES_MAX);
};

/// Requests over HTTP/3 that wait for the control thread. A further one is answered 503.
pub const HTTP3_REQUESTS_MAX: usize = 64;

/// Body of one answer over HTTP/3, which is gathered before it is sent. For a longer one the answer is 507; over TCP it
/// is not gathered.
pub const HTTP3_BODY_BYTES_MAX: usize = 1024 * 1024;

/// HTTP fetches that one shard serves at once. A further one is answered 503.
pub const HTTP_FETCHES_MAX: usize = 64;

// ---- Shards

/// Messages waiting from one shard to another. When full an announcement becomes a look at
/// the whole table, and a piece of media costs its group.
pub const LANE_MESSAGES_MAX: usize = 8192;

/// A smaller group cache would not hold one video group for each of a few tracks.
pub const CACHE_BYTES_MIN: usize = 1024 * 1024;

/// Messages waiting between a WebSocket and its shard, in each direction: 64 KiB of them at most, and as much
/// is taken in by one turn. When full the socket is not read, or the shard holds back what it would send.
pub const LINK_MESSAGES_MAX: usize = 4;

/// Time a peer has for SETUP or SESSION_CLIENT, where its draft begins with one, and over WebSocket for its
/// transport parameters before; then it is closed with CONTROL_MESSAGE_TIMEOUT.
pub const SETUP_WAIT_MAX: Duration = Duration::from_secs(10);

/// Links of one shard that may have news at once. With more, all of them are looked at.
pub const LINK_BELLS_MAX: usize = 4096;

// ---- Network edge
/// Length of the connection ids this server issues. The steering program reads a long header's
/// id only when it has this length.
pub const CONNECTION_ID_BYTES: usize = 16;
/// Which byte of an issued connection id names the shard.
pub const STEERING_BYTE_INDEX: usize = 0;

/// Receive buffers of one shard; each holds one GRO super-datagram.
pub const RECEIVE_BUFFERS_DEFAULT: u16 = 64;
/// The kernel's limit on entries of a provided-buffer ring.
pub const RECEIVE_BUFFERS_MAX: u16 = 32_768;
/// Receive payload room of each buffer: no UDP payload and no GRO super-datagram is larger.
pub const RECEIVE_PAYLOAD_BYTES_MAX: u32 = 65_535;
/// Receive operations that may fail in a row before the ring reports the socket broken.
pub const RECEIVE_FAILURES_MAX: u32 = 64;

/// Trains one shard may hold at once; memory is touched only by those in use.
pub const SEND_BUFFERS_DEFAULT: u16 = 256;
/// Bounds the submission queue, which has one entry for each train.
pub const SEND_BUFFERS_MAX: u16 = 8_192;
/// Room of one train's buffer; no multiple of the page, so that the beginnings of all do not compete for the same few sets
/// of the cache.
pub const TRAIN_BUFFER_BYTES: usize = 65_536 + 320;
/// Largest UDP payload over IPv4, which also bounds a GSO train.
pub const TRAIN_BYTES_MAX: usize = 65_507;
/// `UDP_MAX_SEGMENTS` of the oldest kernel supported.
pub const TRAIN_SEGMENTS_MAX: usize = 64;

/// Sockets a ring serves besides its own. A further one is refused.
pub const SOCKETS_DEFAULT: u32 = 4_096;
/// Bounds the table of them; no process may have more files by default.
pub const SOCKETS_MAX: u32 = 1 << 20;
/// Receive buffers all of them share: what comes in during a turn of 5 ms on 4,096 sockets with 50
/// datagrams a second each. With none left datagrams wait in their sockets.
pub const SOCKET_RECEIVE_BUFFERS_DEFAULT: u16 = 1_024;
/// Datagrams for them that may be held or queued at once. With none left those queued are submitted.
pub const SOCKET_SEND_BUFFERS_DEFAULT: u16 = 512;
/// Payload of a datagram that needs no train's buffer, and of the largest received by default:
/// more than a packet of Ethernet carries. A larger one received is dropped and counted.
pub const SOCKET_DATAGRAM_BYTES: u32 = 1_500;
/// Room of one such datagram, so that the beginnings of all are spread over the sets of the cache.
pub const SOCKET_DATAGRAM_BUFFER_BYTES: usize = 1_536 + 64;
/// Receives armed, and receives cancelled, in one turn. The rest follows in the next, at once.
pub const SOCKET_ARMS_PER_TURN_MAX: usize = 256;

/// Kernel socket buffer asked for in each direction, for each shard.
pub const SOCKET_BUFFER_BYTES_DEFAULT: usize = 4 * 1024 * 1024;

const _: () = assert!(CONNECTION_ID_BYTES >= 8 && CONNECTION_ID_BYTES <= 20);
const _: () = assert!(STEERING_BYTE_INDEX < CONNECTION_ID_BYTES);
const _: () = assert!(SHARDS_MAX == 1 << u8::BITS);
const _: () = assert!(TRAIN_BYTES_MAX <= TRAIN_BUFFER_BYTES && UDP_PAYLOAD_BYTES_MAX <= TRAIN_BYTES_MAX as u64);
const _: () = assert!(RECEIVE_BUFFERS_DEFAULT.is_power_of_two());
const _: () = assert!(SOCKET_RECEIVE_BUFFERS_DEFAULT.is_power_of_two());
const _: () = assert!(SOCKET_DATAGRAM_BYTES as usize <= SOCKET_DATAGRAM_BUFFER_BYTES && SOCKETS_MAX < 1 << 24);
const _: () = assert!(RECEIVE_BUFFERS_MAX.is_power_of_two());

// ---- Wire
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

const _: () = {
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
