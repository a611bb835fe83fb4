//! Bounds of the program: configuration, HTTP and WebSocket. Those of the relay are in `moqswitch_relay::limits`, those of
//! the wire in `moqswitch_proto::limits`. The unit is in the name; what happens at the bound is said with it.

use std::time::Duration;

/// Longest coalescing pause of a shard; a longer one would be audible. More is a configuration error.
pub const BATCH_WINDOW_MAX: Duration = Duration::from_millis(10);

/// The longest batch window of `auto`.
pub const BATCH_WINDOW_BY_LOAD: Duration = Duration::from_micros(750);

/// Longest configurable duration of any other kind. More is a configuration error.
pub const CONFIGURED_DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Configuration file size; a larger one is refused unread.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A list of other relays; a longer one is refused, and the last one stays.
pub const PEER_LIST_BYTES_MAX: usize = 1024 * 1024;
/// How often such a file is looked at.
pub const PEER_FILE_LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often a URL may be asked for such a list. Other intervals are configuration errors.
pub const PEER_ASK_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// See [`PEER_ASK_INTERVAL_MIN`].
pub const PEER_ASK_INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);
/// Time for one such answer, from the connection to its last byte. Then there is none.
pub const PEER_LIST_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the addresses of a name are asked for.
pub const PEER_NAME_LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Time for looking up where a peer is. Then the attempt has failed.
pub const PEER_LOOK_UP_MAX: Duration = Duration::from_secs(5);
/// What a relay may answer `moqswitch mesh`. More is an error.
pub const MESH_ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How often the files with keys of tokens are looked at. A change is seen so much later at worst; SIGHUP is at once.
pub const KEYS_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Longest configurable age of call records. More is a configuration error.
pub const RECORDS_AGE_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
/// From one question whether a telephone is there to the next, at most.
pub const SIP_PING_MAX: Duration = Duration::from_secs(60 * 60);

/// A file of users, and how many there may be in it. A larger one is refused.
pub const USERS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// See [`USERS_BYTES_MAX`].
pub const USERS_MAX: usize = 100_000;

/// Users whose passwords are in files of their own. Each is hashed when it is read, which takes tens of milliseconds. With
/// more the file of users is refused.
pub const PASSWORD_FILES_MAX: usize = 256;

/// A file of keys of programs or of webhooks. A larger one is refused.
pub const PROGRAMS_BYTES_MAX: usize = 1024 * 1024;

/// Keys of programs; a request is compared with each. With more the file is refused.
pub const API_KEYS_MAX: usize = 1024;

/// Webhooks; each has a queue of its own. With more the file is refused.
pub const WEBHOOKS_MAX: usize = 64;

/// What a process hands to the one that follows: a description of so many bytes, and so many descriptors. With more nobody
/// follows.
pub const HANDED_BYTES_MAX: usize = 64 * 1024;
/// See [`HANDED_BYTES_MAX`]: 256 sockets, listeners, and signs of life.
pub const HANDED_DESCRIPTORS_MAX: usize = 288;
/// Time for the process that follows until it serves. Then it is ended, and the one that ran goes on.
pub const UPGRADE_START_MAX: Duration = Duration::from_secs(45);
/// Time for one word between both. Then the other counts as dead.
pub const UPGRADE_WORD_WAIT_MAX: Duration = Duration::from_secs(15);
/// Time for the link between both. Then nobody follows.
pub const UPGRADE_LINK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long `moqswitch upgrade` waits for an answer.
pub const UPGRADE_ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the service manager takes the process before for the main one, so that it goes on if the new one dies.
pub const UPGRADE_TRIAL: Duration = Duration::from_secs(30);
/// How often the process before looks whether its sessions have gone.
pub const UPGRADE_LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// So many looks must find none, one after the other.
pub const UPGRADE_QUIET_LOOKS: u32 = 2;
/// Time for the process before to hang up what is left, and for its shards to be told.
pub const UPGRADE_LAST_WORDS: Duration = Duration::from_millis(500);
/// Pause between two tries to tell a shard.
pub const UPGRADE_RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// How long the calls thread has to say farewell when the program ends, and to end what it records.
pub const CALLS_STOP_WAIT_MAX: Duration = Duration::from_secs(8);

/// How long the calls thread has for its figures. Then `/metrics` does without them.
pub const CALLS_ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// A password on standard input; a longer one is refused.
pub const PASSWORD_INPUT_BYTES_MAX: u64 = 4096;

/// A token on standard input; a longer text is refused.
pub const TOKEN_INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Sessions that wait for the control thread to ask the auth server. A further one is refused, and told to try again.
pub const ADMISSION_REQUESTS_MAX: usize = 1024;

/// Requests to the auth server at once; further ones wait for their turn.
pub const AUTHORITY_REQUESTS_MAX: usize = 64;

/// Time for one request to the auth server, the wait for its turn included. Then it counts as failed.
pub const AUTHORITY_WAIT_MAX: Duration = Duration::from_secs(10);

/// What the auth server may answer. A longer answer counts as none.
pub const AUTHORITY_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Ends of sessions that wait to be told. Of a further one the auth server is not told, which is counted.
pub const AUTHORITY_ENDS_MAX: usize = 1024;

/// Checks of wrong tokens in a second that may be configured: more than one core can do.
pub const TOKEN_CHECKS_MAX: u32 = 100_000;

/// UDP payload every QUIC path carries (RFC 9000 section 14); the configured maximum may not be lower.
pub const UDP_PAYLOAD_BYTES_MIN: u64 = 1200;

/// TCP connections whose request has not come, TLS handshakes included. A further one ends the oldest.
pub const HTTP_ARRIVING_MAX: usize = 512;

/// Reads of a TCP connection in a row, each of up to 16 KiB; then the other tasks of the control thread go on.
pub const TCP_READS_MAX: usize = 2;

/// HTTP connections served at once. A further one ends the oldest.
pub const HTTP_CONNECTIONS_MAX: usize = 256;

/// The same of the operators' address, of each kind.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;

/// The same of control programs' address.
pub const MEDIASWITCH_CONNECTIONS_MAX: usize = 256;

/// WebSocket connections that may be configured.
pub const WEBSOCKETS_MAX: u32 = 100_000;

/// Longest WebSocket message and frame: no record of QMux is longer. One that is ends the connection.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 16 * 1024;

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

/// Messages taken from a peer meanwhile, in each `WEBSOCKET_CLOSE_READ_INTERVAL`: what it had sent by then is not to be in
/// the way of its end, and who goes on sending is not read at line rate.
pub const WEBSOCKET_CLOSE_READS_MAX: usize = 16;

pub const WEBSOCKET_CLOSE_READ_INTERVAL: Duration = Duration::from_millis(10);

/// Life of one HTTP connection from accept to last byte; a slower client is disconnected.
pub const HTTP_CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// Time a client has from accept to the end of its request head, TLS included; a slower one is disconnected.
pub const HTTP_ARRIVAL_WAIT_MAX: Duration = Duration::from_secs(5);

/// Request path of `/announced` and `/fetch`; a longer one is answered 414.
pub const HTTP_PATH_BYTES_MAX: usize = 2048;

/// Broadcasts listed by one `/announced` request; the rest is left off and the response says so.
pub const ANNOUNCED_RESULTS_MAX: usize = 10_000;

/// Wait for a shard's snapshot; a slower shard is reported by 503.
pub const SHARD_ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// Wait for `/fetch` to find its group, upstream included; then 504.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Wait for HTTP requests in progress when the control thread stops; then they are cut off.
pub const HTTP_STOP_WAIT_MAX: Duration = Duration::from_secs(1);

/// Files of the process besides shards and HTTP connections.
pub const FILES_OF_PROCESS: usize = 64;

/// Requests over HTTP/3 that wait for the control thread. A further one is answered 503.
pub const HTTP3_REQUESTS_MAX: usize = 64;

/// Body of one answer over HTTP/3, which is gathered before it is sent. For a longer one the answer is 507; over TCP it
/// is not gathered.
pub const HTTP3_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Changes of what devices may do, on their way from the calls to the relay. When full the calls tell them again.
pub const DEVICE_CHANGES_MAX: usize = 4096;

/// Sessions with the relay of one device. A further one may do nothing.
pub const DEVICE_SESSIONS_MAX: usize = 8;

/// How long the token lets a device in that it got when it registered. By itself it grants nothing.
pub const DEVICE_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Grants of devices that wait for one shard's command queue. With as many, nothing more is taken in until it has taken some
/// or [`SHARD_PATIENCE_MAX`] is over: changes wait in the call plane meanwhile, where a later one takes the place of an earlier.
pub const DEVICE_GRANTS_WAITING_MAX: usize = 4096;

/// A shard whose command queue was full is asked again so much later.
pub const SHARD_RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// A shard that takes nothing for so long is given up: what waited for it is dropped, which is logged. When it takes
/// commands again, it says which sessions of devices it has, and those get their grants anew.
pub const SHARD_PATIENCE_MAX: Duration = Duration::from_secs(1);

/// What happened on legs of RTP and was not asked for. Digits and the like are dropped when half of it is full; with so many
/// ends no further leg is opened.
pub const LEG_EVENTS_MAX: usize = 65_536;

/// Most configurable threads that transcode and mix.
pub const AUDIO_THREADS_MAX: u64 = 64;

/// Most configurable calls that one number begins within an hour.
pub const CALLS_PER_HOUR_MAX: u64 = 1_000_000;

/// By default there is one of them for so many shards.
pub const SHARDS_PER_AUDIO_THREAD: usize = 4;

/// Legs that are over, of which the relay is to say what it counted. When full their records are written without.
pub const LEGS_COUNTED_MAX: usize = 4096;

/// What of a leg that is over may be on its way between shards has arrived after this time. Well below what a record waits
/// for counts.
pub const COUNTS_SETTLE: Duration = Duration::from_millis(100);

/// Servers of STUN and TURN that browsers are told of. More are a configuration error.
pub const ICE_SERVERS_MAX: usize = 8;

/// From one tone that says that a call is recorded to the next, at least and at most.
pub const RECORDING_TONE_MIN: Duration = Duration::from_secs(5);
/// See [`RECORDING_TONE_MIN`].
pub const RECORDING_TONE_MAX: Duration = Duration::from_secs(10 * 60);

/// Recordings that are looked at, at once, of those that wait to be uploaded. Further ones wait with their marks on the disk.
pub const UPLOADS_WAITING_MAX: usize = 1024;

/// How often it is looked whether recordings are over that are to be uploaded.
pub const UPLOAD_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// After a failure nothing is uploaded for so long, twice as long after each further one.
pub const UPLOAD_BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// And never longer.
pub const UPLOAD_BACK_OFF_MAX: Duration = Duration::from_secs(5 * 60);

/// A file of so many bytes or more is uploaded in parts of so many, one in memory at a time. Stores want 5 MiB at least; of
/// the 10 000 parts that they take, a recording has none too many.
pub const UPLOAD_PART_BYTES: usize = 8 << 20;

/// A request to the store that takes longer has failed.
pub const UPLOAD_REQUEST_TIME_MAX: Duration = Duration::from_secs(120);

/// Bytes of what the store answers. With more the request has failed.
pub const UPLOAD_ANSWER_BYTES_MAX: usize = 64 << 10;

/// Bytes of the file with the key of the store.
pub const UPLOAD_CREDENTIALS_BYTES_MAX: u64 = 8 << 10;

/// For how long credentials of TURN are good, at least and at most.
pub const TURN_LIFE_MIN: Duration = Duration::from_secs(60);
/// See [`TURN_LIFE_MIN`].
pub const TURN_LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What happened on legs of WebRTC and was not asked for, of each who opens them. Digits and the like are dropped when half of
/// it is full; with so many ends no further leg is opened.
pub const BROWSER_EVENTS_MAX: usize = 8192;

/// Sessions of WHIP and WHEP. A further one is answered 503.
pub const BROWSER_SESSIONS_MAX: usize = 4096;

/// How often the shards are asked which legs have media. Several times within which a call without media ends.
pub const FLOWING_INTERVAL: Duration = Duration::from_secs(5);

const _: () = {
    assert!(SHARD_ANSWER_WAIT_MAX.as_millis() < FETCH_WAIT_MAX.as_millis());
    assert!(FETCH_WAIT_MAX.as_millis() < HTTP_CONNECTION_AGE_MAX.as_millis());
    // An answer that comes in time finds its session.
    assert!(AUTHORITY_WAIT_MAX.as_millis() < moqswitch_relay::limits::ADMISSION_WAIT_MAX.as_millis());
    assert!(HTTP_ARRIVAL_WAIT_MAX.as_millis() < HTTP_CONNECTION_AGE_MAX.as_millis());
    // Answers to pings have room behind a message, and behind what is gathered.
    let control = WEBSOCKET_CONTROL_FRAMES_MAX as usize * WEBSOCKET_CONTROL_FRAME_BYTES_MAX;
    assert!(WEBSOCKET_WRITE_BYTES + WEBSOCKET_MESSAGE_BYTES_MAX + control < WEBSOCKET_UNWRITTEN_BYTES_MAX);
};
/// Trunks of SIP.
pub const TRUNKS_MAX: usize = 64;

/// Connections of Asterisk, if nothing else is said, and at most. Further ones are closed at once.
pub const ASTERISK_CHANNELS_MAX: usize = 4096;

/// Of one address: one Asterisk has one. Further ones are closed at once.
pub const ASTERISK_PER_ADDRESS_MAX: usize = 2048;

/// Orders for channels that wait for their thread. When full the call whose order it is ends.
pub const ASTERISK_ORDERS_MAX: usize = 16_384;

/// Of one channel. When full it is hung up.
pub const ASTERISK_ORDERS_PER_CHANNEL_MAX: usize = 256;

/// What happened on channels and waits for the calls thread. When full channels are not read until there is room.
pub const ASTERISK_EVENTS_MAX: usize = 4096;

/// Messages that wait to be written to a connection: 320 ms. Audio that finds no room is lost.
pub const ASTERISK_OUTBOX_MAX: usize = 16;

/// A connection that takes nothing for so long is over.
pub const ASTERISK_WRITE_WAIT_MAX: Duration = Duration::from_secs(10);

/// A connection says within this time who it is, or is closed.
pub const ASTERISK_HELLO_WAIT_MAX: Duration = Duration::from_secs(5);

/// Messages with audio that come before it is known what they are. Further ones are lost.
pub const ASTERISK_EARLY_FRAMES_MAX: usize = 10;

/// Who is called is connected within this time, and answers what it is asked.
pub const ASTERISK_CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Asterisk connects within this time after it was asked to.
pub const ASTERISK_CALL_WAIT_MAX: Duration = Duration::from_secs(30);

/// Frames that wait in Asterisk's queue. When there are more it drops them: it plays by its own time, so they would be late
/// for ever.
pub const ASTERISK_QUEUE_MAX: u32 = 5;

/// Frames of one channel in a second: twice what is said. Further ones are lost.
pub const ASTERISK_FRAMES_PER_SECOND_MAX: u32 = 100;

/// Messages of one connection in a second. With more it is closed.
pub const ASTERISK_MESSAGES_PER_SECOND_MAX: u32 = 1000;

/// Bytes of one connection in a second: four times what the fastest format has. With more it is closed.
pub const ASTERISK_BYTES_PER_SECOND_MAX: usize = 1_536_000;

/// Digits of one channel in a second. With more it is closed.
pub const ASTERISK_DIGITS_PER_SECOND_MAX: u32 = 20;

/// Ways and announced UUIDs of a file, each.
pub const ASTERISK_WAYS_MAX: usize = 1024;

/// Addresses of a relay's name that `moqswitch say` and `listen` try; further ones are not.
pub const HANDSET_ADDRESSES_MAX: usize = 8;
/// What each has for the handshake. Then the next one is tried.
pub const HANDSET_CONNECT_WAIT_MAX: Duration = Duration::from_secs(3);
/// How often the relay is asked whether it is there.
pub const HANDSET_PING_INTERVAL: Duration = Duration::from_secs(5);
/// What waits for a relay that does not take it. A frame more is dropped and counted.
pub const HANDSET_BACKLOG_BYTES_MAX: usize = 1024 * 1024;
/// Frames that wait for one before them, and for how long. Then that is lost.
pub const HANDSET_HELD_MAX: usize = 16;
/// See [`HANDSET_HELD_MAX`].
pub const HANDSET_HOLD: Duration = Duration::from_millis(80);
/// Bytes of a frame that is heard, or of a catalog. A longer one is neither, and counts as lost.
pub const HANDSET_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a group that is heard; some publishers put seconds into one. A longer one counts as lost.
pub const HANDSET_GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Groups that are being heard. The oldest makes room, and is lost.
pub const HANDSET_GROUPS_MAX: usize = 64;
/// Lost frames in a row that are made up. The rest of them is silence.
pub const HANDSET_CONCEALED_MAX: u64 = 5;
/// Silence in one piece that is written into a file. A longer one is shortened.
pub const HANDSET_SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a catalog is waited for. Then the codec has to be named.
pub const HANDSET_CATALOG_WAIT_MAX: Duration = Duration::from_secs(3);
/// Subscriptions of what is said. A further one is refused.
pub const HANDSET_LISTENERS_MAX: usize = 64;
/// For what was said last to leave, and for what was sent last to come.
pub const HANDSET_FAREWELL: Duration = Duration::from_millis(300);

/// What the client of NATS tells of itself and waits to be looked at. With more it waits.
pub const STORE_EVENTS_MAX: usize = 64;

/// What waits to be written to a server of NATS. With more, what is said to other machines waits before it.
pub const STORE_COMMANDS_MAX: usize = 2048;

/// Messages of one subscription that wait to be heard. One more is lost, and asked for again.
pub const STORE_HEARD_MAX: usize = moqswitch_signalling::limits::NODE_MESSAGES_IN_MAX;

/// How often it is looked whether a server of NATS is there, beside what the client tells of it.
pub const STORE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// For a connection to a server of NATS.
pub const STORE_CONNECT_MAX: Duration = Duration::from_secs(2);

/// From one question whether the server is there to the next: after two without an answer it is not. That is found out before
/// other machines would count as gone ([`NODE_SILENCE_MAX`](moqswitch_signalling::limits::NODE_SILENCE_MAX)).
pub const STORE_PING_INTERVAL: Duration = Duration::from_secs(1);

/// The longest wait before a server of NATS is dialled again.
pub const STORE_RETRY_MAX: Duration = Duration::from_secs(1);

/// How long the end waits until other machines are told of it.
pub const NODES_FAREWELL: Duration = Duration::from_secs(1);

const _: () = assert!(STORE_PING_INTERVAL.as_secs() * 4 < moqswitch_signalling::limits::NODE_SILENCE_MAX.as_secs());
