//! Bounds of the relay, and how they relate. What a peer can make a track or an endpoint hold has its limits
//! beside the code: `TrackLimits`, `TransportOptions`. The unit is in the name; what happens at the bound is said with it.

use std::time::Duration;

/// Shards of one process; `ShardId` is one byte. More is a configuration error.
pub const SHARDS_MAX: usize = 256;

/// A CPU number no Linux kernel exceeds (`NR_CPUS` is at most 8192). Higher is a configuration error.
pub const CORE_NUMBER_MAX: usize = 8191;

/// Certificate or key file size; a larger one is refused unread.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Largest UDP payload there is.
pub const UDP_PAYLOAD_BYTES_MAX: u64 = 65_507;

/// Read at once from a WebSocket.
pub const WEBSOCKET_READ_BYTES: usize = 16 * 1024;

/// Commands waiting for one shard; when full the request is answered 503.
pub const SHARD_COMMANDS_MAX: usize = 64;

/// Memory a shard's rings lock; `moqswitch check` fails when the host allows less.
pub const LOCKED_BYTES_PER_SHARD: u64 = 512 * 1024;

/// Events of a feed that wait for its reader, 200 bytes each at most beside their paths. Further ones are lost, and the
/// reader is told how many.
pub const FEED_EVENTS_DEFAULT: usize = 65_536;

/// Files a shard opens: its socket, rings, event and timer descriptors.
pub const FILES_PER_SHARD: usize = 32;

/// Files that a shard opens before it serves. A start that cannot have them fails before any shard runs.
pub const FILES_TO_START: usize = 12;

/// Sessions of one shard that wait for the auth server. A further one is refused, and told to try again.
pub const ADMISSIONS_WAITING_MAX: usize = 1024;

/// Time in which the answer of the auth server must come to the shard, that in the queue before it included. Then the
/// session is refused, and told to try again.
pub const ADMISSION_WAIT_MAX: Duration = Duration::from_secs(15);

/// HTTP fetches that one shard serves at once. A further one is answered 503.
pub const HTTP_FETCHES_MAX: usize = 64;

/// Applications of one shard. A further one is refused.
pub const APPLICATIONS_MAX: usize = 16;

/// Local peers of one shard, of all its applications. A further one is refused.
pub const LOCAL_PEERS_MAX: usize = 65_536;

/// Tracks of one broadcast of a local peer. It is not published with more.
pub const LOCAL_TRACKS_MAX: usize = 64;

/// Broadcasts that a shard counts for whoever asks. Those that nobody publishes any more make room; if there are none, a
/// further one is not counted.
pub const COUNTED_BROADCASTS_MAX: usize = 65_536;

/// Broadcasts whose counts are asked of a shard by one command. Nothing is said of further ones.
pub const COUNTS_ASKED_MAX: usize = 256;

/// Subscriptions, watches and questions for track properties of one local peer. A further one is refused.
pub const LOCAL_REQUESTS_MAX: usize = 8_192;

/// Events of media that a local peer is given before its application has been called. The rest waits in the cache;
/// of datagrams it is dropped. A group of which more frames than this come in one piece ends with MALFORMED_TRACK.
pub const LOCAL_EVENTS_PER_TURN_MAX: usize = 1_024;

/// Announcements that a watch is told in one go. The rest follows in the next.
pub const LOCAL_ANNOUNCEMENTS_PER_TURN_MAX: usize = 1_024;

/// Prefixes of whose broadcasts one local peer makes tracks. A further one is refused.
pub const LOCAL_DERIVATIONS_MAX: usize = 8;

/// Bytes of one frame for a local peer, gathered from its pieces. The group of a larger one ends with FRAME_TOO_LARGE.
pub const LOCAL_FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often applications are called in one turn as long as what they do causes more events. The rest follows in the
/// next turn.
pub const APPLICATION_ROUNDS_PER_TURN_MAX: usize = 4;

/// Receptions on sockets of applications in one turn. The rest follows in the next.
pub const SOCKET_RECEIVES_PER_TURN_MAX: usize = 1_024;

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

/// Links to other relays on one shard. Further ones are not dialled; further relays that dial are sessions as others are.
pub const LINKS_MAX: usize = 256;

/// Links of one shard that may have news at once. With more, all of them are looked at.
pub const LINK_BELLS_MAX: usize = 4096;

/// Length of the connection ids this server issues. The steering program reads a long header's
/// id only when it has this length.
pub const CONNECTION_ID_BYTES: usize = 16;

/// Which byte of an issued connection id names the shard, and its generation.
pub const STEERING_BYTE_INDEX: usize = 0;

/// Which byte tells such an id from one that a client chose.
pub const STEERING_CHECK_INDEX: usize = 1;

/// Processes that may have connections of one address at once: one that takes new ones, and those that end theirs. With one
/// more an upgrade is refused.
pub const GENERATIONS_MAX: usize = 4;

/// How long an address that is in use is tried for: the kernel lets go of what an io_uring had some time after its process
/// has ended. Then the start fails.
pub const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(1);

/// Pause between two tries for an address.
pub const ADDRESS_RETRY_INTERVAL: Duration = Duration::from_millis(5);

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

const _: () = assert!(FILES_TO_START <= FILES_PER_SHARD);

const _: () = assert!(CONNECTION_ID_BYTES >= 8 && CONNECTION_ID_BYTES <= 20);

const _: () = assert!(STEERING_BYTE_INDEX < STEERING_CHECK_INDEX && STEERING_CHECK_INDEX + 2 < CONNECTION_ID_BYTES);

const _: () = assert!(SHARDS_MAX == 1 << u8::BITS);

const _: () = assert!(TRAIN_BYTES_MAX <= TRAIN_BUFFER_BYTES && UDP_PAYLOAD_BYTES_MAX <= TRAIN_BYTES_MAX as u64);

const _: () = assert!(RECEIVE_BUFFERS_DEFAULT.is_power_of_two());

const _: () = assert!(RECEIVE_BUFFERS_MAX.is_power_of_two());
const _: () = assert!(SOCKET_RECEIVE_BUFFERS_DEFAULT.is_power_of_two());
const _: () = assert!(SOCKET_DATAGRAM_BYTES as usize <= SOCKET_DATAGRAM_BUFFER_BYTES && SOCKETS_MAX < 1 << 24);
