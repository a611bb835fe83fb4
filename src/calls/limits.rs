//! Every bound of the call plane, and every time that it waits. The unit is in the name; what happens at the bound is
//! said beside it. [`Settings`](crate::Settings) has the same values as defaults where an operator may change them.

use std::time::Duration;

/// Bytes of a number. A longer one is no number.
pub const NUMBER_BYTES_MAX: usize = 128;

/// Bytes of a text for people. The rest is cut off.
pub const TEXT_BYTES_MAX: usize = 128;

/// Bytes of an SDP, a candidate or metadata: those of a message of the signalling. A longer one is refused.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// Candidates of a caller that are kept for devices that ring later. Later ones reach only who rings by then.
pub const CANDIDATES_KEPT_MAX: usize = 32;

/// Bytes of these.
pub const CANDIDATE_BYTES_KEPT_MAX: usize = 8 * 1024;

/// Numbers that are known, registered or declared. One more is refused.
pub const NUMBERS_MAX: usize = 262_144;

/// Numbers that may be known for a session to watch one that nobody knows. With more it is refused: watchers cannot take
/// the room of those who register.
pub const NUMBERS_FOR_WATCHERS_MAX: usize = NUMBERS_MAX / 2;

/// Devices of one number. One more is refused; who registers by the same device name replaces its own.
pub const DEVICES_PER_NUMBER_MAX: usize = 4;

/// Devices of the plane. One more is refused.
pub const DEVICES_MAX: usize = 262_144;

/// Legs that one device has at once. It is busy for one more.
pub const LEGS_PER_DEVICE_MAX: usize = 8;

/// Legs that one trunk has at once. It is busy for one more.
pub const LEGS_PER_TRUNK_MAX: usize = 4096;

/// Calls of one number at once. It is busy for one more, and may make none.
pub const CALLS_PER_NUMBER_MAX: usize = 8;

/// What is counted of the calls that a number begins within an hour, each by itself: so long after an hour they are forgotten at the
/// latest.
pub const BEGUN_SLICE: Duration = Duration::from_secs(300);

/// Calls at once. One more is refused.
pub const CALLS_MAX: usize = 65_536;

/// Legs that one call has at once. One more is refused.
pub const LEGS_PER_CALL_MAX: usize = 32;

/// Legs that one call ever has. One more is refused.
pub const LEGS_EVER_MAX: u16 = 1024;

/// Devices that ring at once for one call. The rest does not ring.
pub const FORKS_MAX: usize = 16;

/// Forwards and fallbacks that one call goes through. One more ends it (483).
pub const FORWARDS_MAX: usize = 10;

/// Characters of one request to send DTMF. A longer one is refused.
pub const DTMF_DIGITS_MAX: usize = 32;

/// Codecs that one device offers. The rest is not looked at.
pub const CODECS_PER_DEVICE_MAX: usize = 8;

/// Numbers that one session watches. One more is refused.
pub const WATCHED_PER_SESSION_MAX: usize = 256;

/// Sessions that watch one number. One more is refused.
pub const WATCHERS_PER_NUMBER_MAX: usize = 256;

/// Sessions that watch all calls. One more is refused.
pub const CALL_WATCHERS_MAX: usize = 64;

/// Callers that wait in one queue, whatever the dialplan says. One more finds it full.
pub const QUEUE_WAITING_MAX: usize = 256;

/// Steps that a record keeps of where a call was transferred. Later ones are counted only.
pub const TRANSFERS_RECORDED_MAX: usize = 16;

/// Legs that the record of a call has. Later ones are counted only; each has a record of its own in any case.
pub const LEGS_RECORDED_MAX: usize = 64;

/// Calls whose records wait for the relay's counters. With more the records do not wait.
pub const RECORDS_WAITING_MAX: usize = 16_384;

/// Timers that one call of `handle_timeout` serves. The rest is served by the next, which is due at once.
pub const TIMERS_PER_TURN_MAX: usize = 1024;

/// Domains whose calls a control program decides on. One more is not heeded.
pub const CONTROLLED_DOMAINS_MAX: usize = 16_384;

/// Bytes of a dialplan. A longer one is refused unread.
pub const DIALPLAN_BYTES_MAX: usize = 1024 * 1024;

/// Rules of a dialplan, and profiles. One with more is refused. Each call costs as much as there are rules.
pub const RULES_MAX: usize = 4096;

/// Groups, queues and times of a dialplan, of each kind. One with more is refused.
pub const DIALPLAN_NAMES_MAX: usize = 1024;

/// Members of a group, agents of a queue, entries of any other list. A plan with more is refused.
pub const DIALPLAN_LIST_MAX: usize = 256;

/// Bytes of a hook's URL. A plan with a longer one is refused.
pub const URL_BYTES_MAX: usize = 1024;

/// How long a device stays registered that does not say how long.
pub const REGISTRATION_EXPIRES: Duration = Duration::from_secs(3600);

/// A registration is for no longer, whatever the device asks for.
pub const REGISTRATION_EXPIRES_MAX: Duration = Duration::from_secs(86_400);

/// How long a call rings.
pub const RING: Duration = Duration::from_secs(30);

/// A caller may ask for no more.
pub const RING_MAX: Duration = Duration::from_secs(180);

/// How long a device whose socket is lost keeps its legs that are up, and its registration.
pub const GRACE_UP: Duration = Duration::from_secs(30);

/// How long a device whose socket is lost keeps its legs that are not up yet.
pub const GRACE_ALERTING: Duration = Duration::from_secs(5);

/// How long a call may last.
pub const CALL_DURATION_MAX: Duration = Duration::from_secs(12 * 3600);

/// A call without media either way ends after this time.
pub const HALF_DEAD: Duration = Duration::from_secs(30);

/// How long a record waits for the relay's counters.
pub const COUNTERS_WAIT: Duration = Duration::from_secs(1);

/// A hook that has not answered by then has failed.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// A dialplan may not let a hook take longer.
pub const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// How long a control program may leave a caller without an answer. Then the call ends, 480.
pub const CONTROL_WAIT: Duration = Duration::from_secs(180);

/// Bytes of the name of a file that is played. A longer one is none.
pub const FILE_NAME_BYTES_MAX: usize = 64;

/// How long an announcement may take, whose end nobody tells. Then the call goes on.
pub const PLAY_MAX: Duration = Duration::from_secs(600);

/// How long a caller waits in a queue.
pub const QUEUE_WAIT: Duration = Duration::from_secs(600);

/// A dialplan may not let callers wait longer.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(3600);

const _: () = {
    assert!(GRACE_ALERTING.as_millis() < GRACE_UP.as_millis());
    assert!(RING.as_millis() <= RING_MAX.as_millis());
    assert!(HOOK_TIMEOUT.as_millis() <= HOOK_TIMEOUT_MAX.as_millis());
    assert!(FORKS_MAX < LEGS_PER_CALL_MAX);
    assert!(LEGS_PER_CALL_MAX < LEGS_EVER_MAX as usize);
    assert!(CALLS_PER_NUMBER_MAX <= LEGS_PER_DEVICE_MAX * DEVICES_PER_NUMBER_MAX);
};
