//! Every bound of the signalling, and every time that it waits. The unit is in the name; what happens at the bound is said
//! beside it. [`Settings`](crate::Settings) has the same values as defaults where an operator may change them.

use std::time::Duration;

/// Bytes of a message of a WebSocket. A longer one closes the socket, 4409.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Bytes that a WebSocket reads at once, which it keeps and clears for each read. Longer messages are read in several steps.
pub const READ_BYTES: usize = 2048;

/// Levels of objects and arrays in JSON that comes in. One more is bad JSON.
pub const JSON_DEPTH_MAX: usize = 12;

/// Values in one JSON text that comes in. One more is bad JSON.
pub const JSON_VALUES_MAX: usize = 1024;

/// Characters of a number in JSON that comes in. A longer one is bad JSON.
pub const JSON_NUMBER_CHARS_MAX: usize = 24;

/// Bytes of a message's `id`. A longer one is bad JSON.
pub const MESSAGE_ID_BYTES_MAX: usize = 64;

/// Messages that a client may send at once, and then in each second. One more closes the socket, 4429.
pub const MESSAGES_PER_SECOND_MAX: u32 = 50;

/// Bytes of a body of REST. A longer one is answered 413.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a password or a token. A longer one is refused unread.
pub const SECRET_BYTES_MAX: usize = 4096;

/// Sockets at once. One more is answered 503.
pub const SOCKETS_MAX: usize = 65_536;

/// Sockets of one address, of IPv6 of one /64. One more is closed: 4429.
pub const SOCKETS_PER_ADDRESS_MAX: usize = 4096;

/// What waits for the calls thread: requests of REST, new sockets, facts about media. One more is refused: REST answers
/// 503, a socket is not opened, a fact is lost and counted.
pub const COMMANDS_MAX: usize = 4096;

/// What is taken of it in one turn before timers have theirs.
pub const COMMANDS_PER_TURN_MAX: usize = 256;

/// Messages that wait to be written to one socket. One more closes it, 4408: nobody waits for a slow client, which may come
/// back and have the messages again.
pub const OUTBOX_MESSAGES_MAX: usize = 512;

/// Bytes of these. As with one message too many.
pub const OUTBOX_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Calls that a supervisor is told in one message, when it begins to watch all.
pub const CALL_STATES_MAX: usize = 32;

/// Bytes of such a message. A call that does not fit comes with the next; one alone may be longer.
pub const CALL_STATES_BYTES_MAX: usize = 64 * 1024;

/// Bytes of such messages for one request. Behind that the last says where to go on, and the supervisor asks for more.
pub const CALL_STATES_TOLD_BYTES_MAX: usize = 512 * 1024;

/// Messages that are kept of a session for its return. The oldest goes for one more; the return then says that some are
/// missing, and its snapshot tells what is so.
pub const REPLAY_MESSAGES_MAX: usize = 256;

/// Bytes of these. The oldest go for more.
pub const REPLAY_BYTES_MAX: usize = 256 * 1024;

/// A kept message goes after this time.
pub const REPLAY_AGE_MAX: Duration = Duration::from_secs(60);

/// Requests of a session whose ids are known, with their replies. The oldest is forgotten for one more.
pub const IDS_KEPT_MAX: usize = 64;

/// SDP and candidates that a device sends ahead of its call. One more is refused.
pub const EARLY_SIGNALS_MAX: usize = 16;

/// Bytes of these.
pub const EARLY_SIGNAL_BYTES_MAX: usize = 64 * 1024;

/// Names of its own that a session has for its calls: as many as it has legs, and those that just ended.
pub const ALIASES_MAX: usize = 16;

/// Attempts to register on one socket. One more closes it, 4401.
pub const REGISTER_ATTEMPTS_MAX: u32 = 5;

/// Passwords that are being checked at once, each on a thread of its own.
pub const PASSWORD_CHECKS_MAX: usize = 2;

/// Passwords that wait for a check. One more is refused: 429.
pub const PASSWORD_CHECKS_WAITING_MAX: usize = 256;

/// Numbers and addresses of which failed passwords are remembered. The oldest is forgotten for one more.
pub const LOGIN_FAILURES_MAX: usize = 4096;

/// After so many failed passwords in a row from one address a number has to wait there: 429.
pub const LOGIN_FAILURES_FREE: u32 = 5;

/// How long then, for each further failure; a quarter of an hour at most.
pub const LOGIN_BACK_OFF: Duration = Duration::from_secs(2);

/// The most of it.
pub const LOGIN_BACK_OFF_MAX: Duration = Duration::from_secs(900);

/// Events that are kept for those who come back. The oldest goes for one more.
pub const EVENTS_KEPT_MAX: usize = 4096;

/// Events that wait for one follower. Who lags more is cut off, and may come back by the id of its last event.
pub const EVENTS_WAITING_MAX: usize = 1024;

/// Followers of events at once. One more is answered 503.
pub const EVENT_FOLLOWERS_MAX: usize = 256;

/// Questions on recordings that wait for the disk at once. One more is answered 503.
pub const RECORDING_QUESTIONS_MAX: usize = 8;

/// Bytes of a recording that are read at once, and wait to be sent.
pub const RECORDING_READ_BYTES: usize = 128 * 1024;

/// Rows of a list by REST.
pub const ROWS_MAX: usize = 1000;

/// Callers by address or key whose requests are counted. The one that has been silent longest is forgotten for one more.
pub const CALLERS_COUNTED_MAX: usize = 4096;

/// Requests of REST by one key at once, and then in each second. One more is answered 429.
pub const REQUESTS_PER_SECOND_MAX: u32 = 100;

/// So often in `RENEWALS_PERIOD` the call plane begins anew after a fault of this program. Once more, and the calls thread
/// ends: media goes on, and whoever asks for signalling is told 503.
pub const RENEWALS_MAX: u32 = 8;

/// See `RENEWALS_MAX`.
pub const RENEWALS_PERIOD: Duration = Duration::from_secs(60);

/// Sockets are pinged at moments so far apart, all that are due at once: of 10 000 some 170 at a time.
pub const PING_GRID: Duration = Duration::from_millis(250);

/// Records that wait to be written. One more is lost in the file, counted and said; it is still in memory, and calls go on.
pub const RECORDS_WAITING_MAX: usize = 8192;

/// Records that are written with one `fdatasync`.
pub const RECORDS_PER_SYNC_MAX: usize = 256;

/// Records that are kept in memory: where there are no files, those that queries find. The oldest goes for one more.
pub const RECORDS_KEPT_MAX: usize = 20_000;

/// Queries over files of records that wait. One more is answered 503.
pub const SEARCHES_WAITING_MAX: usize = 16;

/// How long one query may take, its wait for those before it included. Then it is answered 503: it has to be for a shorter time.
pub const SEARCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Bytes of a file that are read at once.
pub const SEARCH_BLOCK_BYTES: u64 = 1024 * 1024;

/// Bytes of a record that is read back. A longer line is skipped and counted.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// How long after a failure to write the store tries again.
pub const RECORDS_RETRY: Duration = Duration::from_millis(500);

/// What waits for the journal of registrations and calls. One more is not noted, counted and said: after a restart that
/// device has to register again, or that call has no record.
pub const JOURNAL_WAITING_MAX: usize = 16_384;

/// Entries of the journal that are handed to the system at once.
pub const JOURNAL_PER_FLUSH_MAX: usize = 256;

/// Users of a control program's domain in one line of the journal. More are several lines.
pub const JOURNAL_USERS_MAX: usize = 512;

/// How long `callEnded` waits for the journal to have the call's record. Then it is told all the same.
pub const NOTED_WAIT_MAX: Duration = Duration::from_millis(250);

/// The journal is written anew when it has so many bytes more than four times what was in force the last time.
pub const JOURNAL_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of a line of the journal that is read back. A longer one is passed over.
pub const JOURNAL_LINE_BYTES_MAX: u64 = RECORD_BYTES_MAX as u64 + 1024;

/// What a clock shows that has just begun to run: longer than calls may last, so that those of before the start have a
/// beginning.
pub const CLOCK_BEGINS: Duration = Duration::from_secs(48 * 3600);

/// Bytes of an answer to a webhook or a hook. A longer one is none.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Events that wait for one webhook. One more is not told to it, and counted.
pub const WEBHOOK_EVENTS_MAX: usize = 1024;

/// How often an event is posted that is not taken.
pub const WEBHOOK_ATTEMPTS_MAX: u32 = 6;

/// How long after the first time; then twice as long each time.
pub const WEBHOOK_BACK_OFF: Duration = Duration::from_secs(1);

/// The most of it.
pub const WEBHOOK_BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// How long a webhook has to answer.
pub const WEBHOOK_WAIT_MAX: Duration = Duration::from_secs(10);

/// Questions to hooks that wait, and that are asked at once. One more has failed at once: its rule's fallback decides.
pub const HOOKS_ASKED_MAX: usize = 256;

/// How long a program has to say whether a device is let in. Then it is not: 503.
pub const CALLBACK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Labels of a domain of the directory. A name with more is refused, 400.
pub const DOMAIN_LABELS_MAX: usize = 5;

/// Domains of the directory. One more is refused, 507.
pub const DIRECTORY_DOMAINS_MAX: usize = 4096;

/// Users of all domains of the directory. One more is refused, 507, with all that came with it.
pub const DIRECTORY_USERS_MAX: usize = 65_536;

/// Bytes of a body of mediaswitch's HTTP that pushes a domain. A longer one is answered 413.
pub const DIRECTORY_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Values in one. More are no JSON.
pub const DIRECTORY_VALUES_MAX: usize = 65_536;

/// How long a request of mediaswitch's HTTP has for its body. Then it is answered 408.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Dialogs that control programs decide on, at once. One more ends at once, 503.
pub const DIALOGS_MAX: usize = 65_536;

/// Dialogs that were begun for one, and end with it when its control server fails. One more is not remembered: it ends by
/// itself when it is not answered.
pub const DIALOG_CHILDREN_MAX: usize = 64;

/// Control servers that there are at once, in the directory and by dialogs. One more is refused, 503.
pub const CONTROL_SERVERS_MAX: usize = 256;

/// Ends of channels that wait for room at their control servers. With more they are not told.
pub const CHANNEL_ENDS_WAITING_MAX: usize = 16_384;

/// Callbacks that are under way to one control server at once. Those of one dialog go one after the other.
pub const CALLBACKS_AT_ONCE_MAX: usize = 8;

/// Callbacks that wait for one of these ways. With one more the dialog that it is of ends, 480.
pub const CALLBACKS_WAITING_MAX: usize = 128;

/// How long a control server has to answer a callback. Then the dialog that it is of ends, 480.
pub const CONTROL_ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Threads for passwords and for names of hosts.
pub const BLOCKING_THREADS_MAX: usize = PASSWORD_CHECKS_MAX + 2;

/// For what waits for the disk when calls have ended. Beyond, it is left behind.
pub const BLOCKING_END_MAX: Duration = Duration::from_secs(2);

/// How long the calls thread has to answer REST. Then it is 503.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// A request of REST has to come whole, and be answered, within this time. Otherwise: 408.
pub const REQUEST_WAIT_MAX: Duration = Duration::from_secs(20);

/// A socket's first message has to come within this time. Otherwise: 4401.
pub const FIRST_MESSAGE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often a socket is pinged.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// A socket of which nothing came for this time, pings unanswered, is closed: 4408.
pub const SILENCE_MAX: Duration = Duration::from_secs(40);

/// A message has to be written within this time. Otherwise the socket is dropped.
pub const WRITE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Grants that the relay did not take are told again after this time.
pub const GRANTS_RETRY: Duration = Duration::from_millis(50);

/// A client that is told to come back should wait so long.
pub const RECONNECT: Duration = Duration::from_millis(500);

/// The same, where another process goes on with the calls.
pub const HANDED_ON: Duration = Duration::from_millis(100);

const _: () = {
    assert!(MESSAGE_BYTES_MAX <= moqswitch_calls::limits::PAYLOAD_BYTES_MAX);
    assert!(REPLAY_MESSAGES_MAX < OUTBOX_MESSAGES_MAX);
    assert!(REPLAY_BYTES_MAX < OUTBOX_BYTES_MAX);
    assert!(moqswitch_calls::limits::CALL_DURATION_MAX.as_secs() < CLOCK_BEGINS.as_secs());
    assert!(ANSWER_WAIT_MAX.as_millis() * 2 < REQUEST_WAIT_MAX.as_millis());
    assert!(ANSWER_WAIT_MAX.as_millis() + SEARCH_WAIT_MAX.as_millis() < REQUEST_WAIT_MAX.as_millis());
    assert!(CALL_STATES_BYTES_MAX < CALL_STATES_TOLD_BYTES_MAX);
    assert!(CALL_STATES_TOLD_BYTES_MAX < OUTBOX_BYTES_MAX / 2);
    assert!(SOCKETS_PER_ADDRESS_MAX < SOCKETS_MAX);
    // And one for numbers without a domain.
    assert!(DIRECTORY_DOMAINS_MAX < moqswitch_calls::limits::CONTROLLED_DOMAINS_MAX);
    assert!(DIRECTORY_USERS_MAX < moqswitch_calls::limits::NUMBERS_MAX);
    assert!(PING_INTERVAL.as_millis() * 2 < SILENCE_MAX.as_millis());
    assert!(moqswitch_calls::limits::GRACE_UP.as_millis() <= REPLAY_AGE_MAX.as_millis());
};

/// WebSockets of telephones that wait for the gateway. A further one ends at once.
pub const SIP_SOCKETS_WAITING_MAX: usize = 256;

/// A shard that has too much to do is asked for so long to open the leg of a browser. Then its call ends (`congestion`).
pub const BROWSER_AGAIN_MAX: Duration = Duration::from_secs(5);

/// Offers of browsers that call, until it is known who answers. Of further ones nothing is kept: where somebody answers who
/// does not speak WebRTC, the browser hears nothing.
pub const BROWSER_OFFERS_MAX: usize = 4096;

/// Datagrams of SIP that are taken in one turn. What is behind them waits in the socket, and is lost when that is full.
pub const SIP_DATAGRAMS_PER_TURN_MAX: usize = 16;
/// Connections of SIP. Further ones are closed at once.
pub const SIP_CONNECTIONS_MAX: usize = 10_000;
/// Of one address, or of one network of 64 bits of IPv6.
pub const SIP_CONNECTIONS_PER_ADDRESS_MAX: usize = 1000;
/// Connections to trunks by UDP, for what is too long for a datagram. A further one is not opened: that goes as a datagram, and the next
/// such message tries again.
pub const SIP_LENGTH_CONNECTIONS_MAX: usize = 256;
/// How long one of these may be silent. An INVITE is answered within this time, or not at all.
pub const SIP_LENGTH_CONNECTION_IDLE: Duration = Duration::from_secs(200);
/// How long a connection lives on which nobody is let in.
pub const SIP_STRANGER_LIFE: Duration = Duration::from_secs(60);
/// How long any other may be silent.
pub const SIP_CONNECTION_IDLE: Duration = Duration::from_secs(7200);
/// How long a peer may take to be connected to, and to read a message.
pub const SIP_CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Who comes and cannot shake hands is told to the log so often at most, with how many were left out.
pub const SIP_HANDSHAKES_LOGGED_EVERY: Duration = Duration::from_secs(5);
/// Messages that wait for a connection. Further ones are dropped.
pub const SIP_OUTBOX_MESSAGES_MAX: usize = 64;
/// Messages of all connections that wait for the calls thread. Their senders wait.
pub const SIP_STREAM_MESSAGES_MAX: usize = 256;
/// The call plane keeps a telephone for so much longer than it is registered for.
pub const SIP_EXPIRES_MARGIN: Duration = Duration::from_secs(5);
/// How often telephones' calls are asked how they are heard.
pub const SIP_QUALITY_INTERVAL: Duration = Duration::from_secs(5);
/// So many of them in one second at most, so that shards have room for what is urgent. Others are asked later.
pub const SIP_QUALITY_PER_TICK_MAX: usize = 256;
/// A shard that was too busy to be told something is told again after this.
pub const SIP_MEDIA_AGAIN: Duration = Duration::from_millis(20);
/// Who speaks another codec is followed no more often.
pub const SIP_CODEC_INTERVAL: Duration = Duration::from_secs(1);
/// A telephone that is to speak, and of which neither RTP nor RTCP comes for so long, is hung up.
pub const SIP_MEDIA_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a telephone that waits for an answer is told that there is none yet.
pub const SIP_PROVISIONAL_INTERVAL: Duration = Duration::from_secs(55);

/// Bytes of a machine's name among others.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Other machines. What one more says is not heeded, and counted.
pub const NODES_MAX: usize = 64;

/// Messages of other machines that wait for the calls thread. One more is lost, and asked for again.
pub const NODE_MESSAGES_IN_MAX: usize = 16_384;

/// Messages to other machines that wait to be carried: as many as a table of all devices has parts, twice. One more is lost,
/// and asked for again.
pub const NODE_MESSAGES_OUT_MAX: usize = 16_384;

/// Bytes of a message between machines. A longer one is not sent, and counted.
pub const NODE_MESSAGE_BYTES_MAX: usize = 768 * 1024;

/// Devices, calls, legs and orders in one message. More of them are several messages.
pub const NODE_PART_ENTRIES: usize = 64;

/// Bytes of them in one message: what is beside them is short.
pub const NODE_PART_BYTES_MAX: usize = NODE_MESSAGE_BYTES_MAX - 4096;

/// Changes of a table that wait while the table comes. With more it is asked for again.
pub const NODE_CHANGES_DELAYED_MAX: usize = 1024;

/// Legs of devices here in calls of other machines. One more is refused: congestion.
pub const NODE_LEGS_MAX: usize = 65_536;

/// Requests that other machines have not answered. One more is refused: 503.
pub const NODE_REQUESTS_MAX: usize = 16_384;

/// Facts about media that wait to be told to one machine. One more is left out.
pub const NODE_FACTS_MAX: usize = 4096;

/// Legs that are over, of which other machines want the counters. For one more the oldest has none in its record.
pub const NODE_COUNTED_MAX: usize = 4096;

/// From one sign of life of a machine to the next.
pub const NODE_BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A machine that gives no sign of life for so long is gone. What carries messages may be away for longer: that is no sign of
/// anything.
pub const NODE_SILENCE_MAX: Duration = Duration::from_secs(8);

/// How long another machine may take to answer a request: then it is refused, 503.
pub const NODE_REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);

/// A device that only refreshes its registration is told of once in this time.
pub const NODE_REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
