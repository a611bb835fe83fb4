//! Bounds of legs, and what happens there.

use std::time::Duration;

/// Commands that wait for the legs of one shard. When full a command is refused, and whoever sent it says so.
pub const COMMANDS_MAX: usize = 1024;

/// What happened on the legs of one shard and nobody has asked for. Ends of legs and of their peers have half of it to
/// themselves, and wait for room; what else finds none is dropped.
pub const EVENTS_MAX: usize = 2 * LEGS_MAX;

/// Ends that wait for room there: of each leg that it falls silent, that its peer is gone, and that it is closed. A further
/// one is lost, with a word in the log.
pub const ENDS_WAITING_MAX: usize = 4 * LEGS_MAX;

/// After that it is looked whether there is room for them.
pub const ENDS_RETRY: Duration = Duration::from_millis(20);

/// Legs of one shard. A further one is refused.
pub const LEGS_MAX: usize = 8192;

/// Packets of one leg in a second, each way; telephones send 100 at most. Further ones are dropped, those that came are
/// counted.
pub const PACKETS_PER_SECOND_MAX: u32 = 400;

/// Bytes of a packet's payload, in and out. A longer one is dropped and counted. 60 ms of the fastest codec are below.
pub const PAYLOAD_BYTES_MAX: usize = 2048;

/// So many packets in a row of another codec than was agreed on, and it is told.
pub const OTHER_CODEC_PACKETS: u32 = 5;

/// Payload types that a leg takes, of audio and of events each. Those behind are not taken.
pub const PAYLOAD_TYPES_MAX: usize = 16;

/// The shortest packets that are sent.
pub const PTIME_MIN: Duration = Duration::from_millis(10);

/// The longest. What is agreed on beyond either is this.
pub const PTIME_MAX: Duration = Duration::from_millis(60);

/// From one tone that says that somebody is recorded to the next, at least.
pub const TONE_EVERY_MIN: Duration = Duration::from_secs(1);

/// Digits that wait to be sent on one leg. A further one is dropped.
pub const DIGITS_MAX: usize = 64;

/// Digits of one leg that are told in a second. Nobody presses more; further ones are dropped.
pub const DIGITS_PER_SECOND_MAX: u32 = 20;

/// A digit whose end does not come ends by itself.
pub const DIGIT_MAX: Duration = Duration::from_secs(8);

/// For so long after the subscription of a track of digits may come what was pressed before it.
pub const REPLAY_MAX: Duration = Duration::from_secs(1);

/// In that time a digit is sent so much later: of what is of the past the end has come by then.
pub const DOUBT: Duration = Duration::from_millis(20);

/// From one packet of a digit to the next.
pub const DIGIT_STEP: Duration = Duration::from_millis(20);

/// What a comma among digits waits.
pub const DIGIT_PAUSE: Duration = Duration::from_millis(500);

/// From the end of a digit to the next, which receivers need to tell them apart.
pub const DIGIT_GAP: Duration = Duration::from_millis(60);

/// A peer that ought to speak, and of which nothing has come for so long, is told of. Silence suppression sends comfort noise
/// or reports more often.
pub const MEDIA_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// After a subscription was refused, until it is tried again. Each time in a row it is twice as long,
pub const SUBSCRIBE_RETRY_MIN: Duration = Duration::from_millis(250);

/// and no longer than this.
pub const SUBSCRIBE_RETRY_MAX: Duration = Duration::from_secs(32);

/// A port that a leg has given back rests for so long at least: what the peer still sends is not the next leg's. The longest
/// unused one is taken first, so that ports rest for minutes where calls are few.
pub const PORT_REST_MIN: Duration = Duration::from_secs(1);

/// Frames that wait to be said by the legs of frames of one shard. What finds no room is lost.
pub const FRAMES_MAX: usize = 8192;

/// Of those, in one turn. The others wait for the next.
pub const FRAMES_PER_TURN_MAX: usize = 1024;

/// Frames that a leg of frames hears and nobody has taken. The oldest goes when there is one more: 640 ms are of no use.
pub const FRAMES_HEARD_MAX: usize = 32;

/// A leg of frames whose peer has said nothing for longer was silent: what it says then is so much later. Less is a network
/// that is uneven.
pub const FRAME_GAP: Duration = Duration::from_millis(100);

/// Legs of one shard that are carried by WebRTC. A further one is refused.
pub const WEBRTC_LEGS_MAX: usize = 2048;

/// Datagrams of one such leg in a second, of all kinds and of any address that says its name. Further ones are dropped before
/// anything is done with them, and counted.
pub const DATAGRAMS_PER_SECOND_MAX: u32 = 1000;

/// Addresses from which the peer of such a leg has come, one after the other. Further ones are dropped.
pub const ADDRESSES_OF_LEG_MAX: usize = 256;

/// Addresses from which the peer of such a leg may come. The oldest is forgotten for another one, that which is sent to never.
pub const ADDRESSES_PER_PEER_MAX: usize = 16;

const _: () = assert!(WEBRTC_LEGS_MAX <= LEGS_MAX && ADDRESSES_PER_PEER_MAX > 1);
const _: () = assert!(DATAGRAMS_PER_SECOND_MAX > PACKETS_PER_SECOND_MAX);
const _: () = assert!(SUBSCRIBE_RETRY_MIN.as_millis() < SUBSCRIBE_RETRY_MAX.as_millis());
const _: () = assert!(PTIME_MAX.as_millis() * 8 <= PAYLOAD_BYTES_MAX as u128);

/// Bytes of a digit on a track `dtmf`. A longer one is none.
pub const DIGIT_BYTES_MAX: usize = 1024;
