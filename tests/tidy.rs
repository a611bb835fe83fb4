//! The rules of the house, checked: which layer may use which, that modules do not name each other in circles, how long
//! files may be, and that each says what it is for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use circles::Crate;

#[path = "tidy/circles.rs"]
mod circles;

/// What each module may name: of its own crate, of `moqswitch_proto` and of `moqswitch_relay`. Every module of a crate has
/// a row; what cargo enforces (who depends on which crate) has none.
struct Layer {
    /// Below `src/`; of the load generator, below `loadgen/src/`.
    place: &'static str,
    own: &'static [&'static str],
    proto: &'static [&'static str],
    relay: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    layer("proto/wire", &["wire", "limits"], &[], &[]),
    layer("proto/session", &["session", "wire", "limits"], &[], &[]),
    layer("proto/qmux", &["qmux", "wire", "limits"], &[], &[]),
    layer("proto/ietf", &["ietf", "session", "wire", "limits"], &[], &[]),
    layer("proto/peer", &["ietf", "session", "wire"], &[], &[]),
    layer("proto/limits", &[], &[], &[]),
    layer("relay/net", &["net", "limits"], &[], &[]),
    layer(
        "relay/quic",
        &["quic", "net", "certificate", "limits", "ratelimit"],
        &["wire", "limits"],
        &[],
    ),
    layer("relay/routing", &["routing", "limits"], &["wire", "limits"], &[]),
    layer("relay/driver", &["driver", "quic"], &["wire", "session", "peer"], &[]),
    layer(
        "relay/shard",
        &[
            "shard",
            "driver",
            "quic",
            "net",
            "routing",
            "auth",
            "ratelimit",
            "limits",
        ],
        &["wire", "session", "peer", "qmux", "limits"],
        &[],
    ),
    layer("relay/auth", &["auth"], &[], &[]),
    layer("relay/certificate", &["certificate", "limits"], &[], &[]),
    layer("relay/topology", &["topology", "limits"], &[], &[]),
    layer("relay/ratelimit", &["ratelimit"], &[], &[]),
    layer("relay/limits", &["limits"], &[], &[]),
    // They put a relay together.
    layer("relay/options", ANY, ANY, &[]),
    layer("relay/succession", &["net", "quic"], &[], &[]),
    layer("relay/start", ANY, ANY, &[]),
    // The call plane has its own names only, but for the plane, which has all of them.
    layer("calls/limits", &[], &[], &[]),
    layer("calls/moment", &[], &[], &[]),
    layer("calls/ids", &["limits"], &[], &[]),
    layer("calls/state", &[], &[], &[]),
    layer("calls/cause", &[], &[], &[]),
    layer("calls/codec", &["limits"], &[], &[]),
    layer("calls/mos", &["codec"], &[], &[]),
    layer("calls/media", &["codec", "mos"], &[], &[]),
    layer("calls/presence", &[], &[], &[]),
    layer("calls/grants", &["ids"], &[], &[]),
    layer("calls/refusal", &[], &[], &[]),
    layer("calls/settings", &["codec", "ids", "limits"], &[], &[]),
    layer(
        "calls/dialplan",
        &["cause", "codec", "dialplan", "ids", "limits", "moment"],
        &[],
        &[],
    ),
    layer(
        "calls/event",
        &["cause", "codec", "dialplan", "ids", "media", "presence", "settings"],
        &[],
        &[],
    ),
    layer(
        "calls/view",
        &["cause", "codec", "event", "ids", "media", "presence", "state"],
        &[],
        &[],
    ),
    layer("calls/record", &["cause", "codec", "ids", "media", "view"], &[], &[]),
    layer(
        "calls/action",
        &[
            "cause", "codec", "event", "grants", "ids", "media", "presence", "record", "refusal", "state", "view",
        ],
        &[],
        &[],
    ),
    layer("calls/plane", ANY, &[], &[]),
    // Telephone audio without I/O, and its legs on shards.
    layer("asterisk/limits", &[], &[], &[]),
    layer("asterisk/format", &[], &[], &[]),
    layer("asterisk/stretch", &[], &[], &[]),
    layer("asterisk/request", &[], &[], &[]),
    layer("asterisk/uuid", &[], &[], &[]),
    layer(
        "asterisk/audiosocket",
        &["format", "limits", "Format", "Uuid"],
        &[],
        &[],
    ),
    layer("asterisk/websocket", &["limits", "Format"], &[], &[]),
    layer("asterisk/sound", &["stretch", "Format"], &[], &[]),
    layer("asterisk/exercise", ANY, &[], &[]),
    layer("audio/rate", &[], &[], &[]),
    layer("audio/g711", &[], &[], &[]),
    layer("audio/g722", &[], &[], &[]),
    layer("audio/l16", &[], &[], &[]),
    layer("audio/level", &["exercise", "Rate"], &[], &[]),
    layer("audio/resampling", &["Rate"], &[], &[]),
    layer("audio/noise", &["level", "resampling"], &[], &[]),
    layer("audio/tones", &["Rate"], &[], &[]),
    layer(
        "audio/keys",
        &["exercise", "tones", "ComfortNoise", "Rate", "Tone"],
        &[],
        &[],
    ),
    layer("audio/jitter", &[], &[], &[]),
    layer("audio/mixing", &["level"], &[], &[]),
    layer("audio/concealment", &["exercise", "Rate"], &[], &[]),
    layer("audio/codec", &["concealment", "g711", "g722", "l16", "Rate"], &[], &[]),
    layer(
        "audio/transcoding",
        &[
            "exercise",
            "Codec",
            "CodecError",
            "Decoder",
            "Encoder",
            "OpusSettings",
            "Rate",
            "Resampler",
            "PAYLOAD_BYTES_MAX",
        ],
        &[],
        &[],
    ),
    layer("audio/exercise", &["Rate"], &[], &[]),
    layer(
        "audio/vectors",
        &["exercise", "Codec", "Decoder", "Encoder", "Rate"],
        &[],
        &[],
    ),
    layer("media/rtp", &[], &[], &[]),
    layer("media/dtmf", &[], &[], &[]),
    layer("media/burst", &[], &[], &[]),
    layer("media/rtcp", &["burst"], &[], &[]),
    layer("media/quality", &[], &[], &[]),
    layer("media/latch", &[], &[], &[]),
    layer("media/ingress", &["burst", "rtp"], &[], &[]),
    layer("media/packets", &["rtp"], &[], &[]),
    layer("media/egress", &["packets", "rtp", "Ingress"], &[], &[]),
    layer("media/srtp", &["rtp", "srtp"], &[], &[]),
    layer(
        "media/reports",
        &["egress", "ingress", "quality", "rtcp", "Bursts"],
        &[],
        &[],
    ),
    // Files of telephone audio.
    layer("containers/limits", &[], &[], &[]),
    layer("containers/opus", &["limits"], &[], &[]),
    layer("containers/ogg", &["limits", "opus"], &[], &[]),
    layer("containers/slots", &["limits"], &[], &[]),
    layer("containers/wav", &["limits"], &[], &[]),
    // Recordings of calls: everything of it names what is above it here.
    layer("recording/limits", &[], &[], &[]),
    layer("recording/settings", &[], &[], &[]),
    layer("recording/counters", &[], &[], &[]),
    layer("recording/disk", &[], &[], &[]),
    layer("recording/form", &["settings"], &[], &[]),
    layer("recording/frames", &["counters", "limits", "Ears"], &[], &[]),
    layer("recording/sidecar", &["limits"], &[], &[]),
    layer("recording/desk", &["form", "limits", "sidecar"], &[], &[]),
    layer(
        "recording/audio_file",
        &["counters", "disk", "form", "limits"],
        &[],
        &[],
    ),
    layer(
        "recording/seat",
        &["audio_file", "form", "frames", "limits", "sidecar"],
        &[],
        &[],
    ),
    layer("recording/archive", &["desk", "limits", "sidecar"], &[], &[]),
    layer("recording/pending", &["archive", "desk", "sidecar"], &[], &[]),
    layer(
        "recording/recording",
        &[
            "audio_file",
            "counters",
            "desk",
            "disk",
            "form",
            "frames",
            "limits",
            "seat",
            "settings",
            "sidecar",
        ],
        &[],
        &[],
    ),
    layer(
        "recording/keeping",
        &["archive", "counters", "desk", "limits", "settings", "sidecar"],
        &[],
        &[],
    ),
    layer(
        "recording/writer",
        &[
            "archive",
            "counters",
            "desk",
            "disk",
            "frames",
            "limits",
            "pending",
            "recording",
            "settings",
            "sidecar",
        ],
        &[],
        &[],
    ),
    layer(
        "recording/recorder",
        &[
            "archive", "counters", "desk", "disk", "form", "frames", "keeping", "limits", "pending", "settings",
            "writer",
        ],
        &[],
        &[],
    ),
    // Voice mail.
    layer("voicemail/limits", &[], &[], &[]),
    layer("voicemail/sound", &["limits"], &[], &[]),
    layer("voicemail/boxes", &["limits", "sound"], &[], &[]),
    layer("voicemail/leaving", &["limits", "sound"], &[], &[]),
    layer(
        "voicemail/listening",
        &["boxes", "leaving", "limits", "sound"],
        &[],
        &[],
    ),
    // SIP without I/O.
    layer("sip/sdp", &["limits", "sdp"], &[], &[]),
    // Sessions of WebRTC without I/O.
    layer("webrtc/limits", &[], &[], &[]),
    layer("webrtc/codec", &[], &[], &[]),
    layer("webrtc/crypto", &["limits"], &[], &[]),
    layer("webrtc/description", &["limits"], &[], &[]),
    layer("webrtc/exercise", &["codec", "crypto", "session"], &[], &[]),
    layer("webrtc/username", &[], &[], &[]),
    layer(
        "webrtc/session",
        &["codec", "crypto", "description", "limits"],
        &[],
        &[],
    ),
    layer("legs/limits", &[], &[], &[]),
    layer("legs/codec", &[], &[], &[]),
    layer("legs/statistics", &[], &[], &[]),
    layer("legs/udp_ports", &["limits"], &[], &[]),
    layer("legs/tags", &[], &[], &[]),
    layer("legs/tracks", &["codec", "tags"], &["wire"], &["shard"]),
    layer("legs/srtp", &[], &[], &[]),
    layer("legs/tone", &["codec"], &[], &[]),
    layer("legs/announcing", &["leg", "tone"], &[], &["shard"]),
    layer("legs/settings", &["codec", "limits", "srtp"], &["wire"], &["shard"]),
    layer(
        "legs/command",
        &["codec", "settings", "statistics", "tone"],
        &["wire"],
        &[],
    ),
    layer("legs/events", &["codec", "command", "limits", "statistics"], &[], &[]),
    layer("legs/entrance", &["limits"], &[], &["net"]),
    layer("legs/window", &[], &[], &[]),
    layer("legs/silence", &[], &[], &[]),
    layer("legs/expecting", &["events", "leg", "silence"], &[], &[]),
    layer("legs/carried", &["window"], &[], &[]),
    layer("legs/carrying", &["events", "leg", "limits"], &[], &["shard"]),
    layer(
        "legs/way_out",
        &["carried", "limits", "srtp", "window"],
        &[],
        &["net", "shard"],
    ),
    layer("legs/digits", &["limits"], &[], &[]),
    layer("legs/control", &["settings", "srtp"], &[], &["net", "shard"]),
    layer(
        "legs/hearing",
        &["command", "digits", "limits", "tags", "tracks"],
        &["wire"],
        &["routing", "shard"],
    ),
    layer(
        "legs/leg",
        &[
            "carried",
            "codec",
            "command",
            "control",
            "digits",
            "events",
            "hearing",
            "limits",
            "settings",
            "silence",
            "srtp",
            "statistics",
            "tags",
            "tone",
            "tracks",
            "way_out",
            "window",
        ],
        &["wire"],
        &["net", "routing", "shard"],
    ),
    layer(
        "legs/port",
        &[
            "application",
            "command",
            "events",
            "limits",
            "settings",
            "statistics",
            "tone",
        ],
        &["wire"],
        &["shard"],
    ),
    layer(
        "legs/frames",
        &[
            "codec", "command", "events", "frames", "hearing", "limits", "port", "tags", "tracks",
        ],
        &["wire"],
        &["routing", "shard"],
    ),
    layer(
        "legs/application",
        &[
            "carried",
            "command",
            "entrance",
            "events",
            "leg",
            "limits",
            "settings",
            "statistics",
            "tags",
        ],
        &["wire"],
        &["net", "shard"],
    ),
    // SIP without I/O.
    layer("sip/limits", &[], &[], &[]),
    layer("sip/flow", &[], &[], &[]),
    layer("sip/message", &["limits", "message"], &[], &[]),
    layer("sip/transaction", &["flow", "limits", "message"], &[], &[]),
    layer("sip/digest", &["limits"], &[], &[]),
    layer("sip/guard", &["flow", "limits"], &[], &[]),
    layer("sip/agent", ANY, &[], &[]),
    layer("sip/exercise", ANY, &[], &[]),
    // The HTTP edge of the call plane.
    layer("signalling/limits", &[], &[], &[]),
    layer("services/limits", &[], &["wire"], &[]),
    layer("services/catalog", &["limits"], &[], &[]),
    layer("services/ordering", &["limits"], &[], &[]),
    layer("services/results", &["limits"], &[], &[]),
    layer("services/window", &["limits"], &[], &[]),
    layer("services/room", &["limits"], &[], &[]),
    layer("services/worker", &["limits", "results", "room"], &[], &[]),
    layer("services/pool", &["limits", "results", "room", "worker"], &[], &[]),
    layer(
        "services/source",
        &["catalog", "limits", "window"],
        &["wire"],
        &["routing", "shard"],
    ),
    layer(
        "services/mixers",
        &["catalog", "limits", "pool", "results", "room", "source"],
        &["wire"],
        &["ratelimit", "routing", "shard"],
    ),
    layer(
        "services/taps",
        &["limits", "source", "worker"],
        &["wire"],
        &["ratelimit", "shard"],
    ),
    layer(
        "services/transcoders",
        &["catalog", "limits", "ordering", "pool", "results", "window", "worker"],
        &["wire"],
        &["ratelimit", "routing", "shard"],
    ),
    // Music and prompts.
    layer("player/limits", &[], &[], &[]),
    layer("player/statistics", &[], &[], &[]),
    layer("player/conversion", &["limits"], &[], &[]),
    layer("player/melody", &[], &[], &[]),
    layer("player/sound", &["conversion", "limits"], &[], &[]),
    layer("player/track", &["sound"], &[], &[]),
    layer("player/clip", &["sound", "track"], &[], &[]),
    layer("player/shelf", &["limits", "sound"], &[], &[]),
    layer("player/ending", &["limits"], &[], &[]),
    layer("player/once", &["ending", "jukebox"], &["wire"], &[]),
    layer(
        "player/jukebox",
        &["clip", "ending", "limits", "shelf", "statistics"],
        &["wire"],
        &["routing", "shard"],
    ),
    layer(
        "player/player",
        &[
            "clip",
            "ending",
            "jukebox",
            "limits",
            "melody",
            "once",
            "shelf",
            "sound",
            "statistics",
        ],
        &[],
        &["shard"],
    ),
    layer("signalling/media", &[], &[], &[]),
    layer("signalling/fake", &["gateway", "media"], &[], &[]),
    layer("signalling/counters", &[], &[], &[]),
    layer("signalling/recordings", &[], &[], &[]),
    layer("signalling/mailboxes", &["recordings"], &[], &[]),
    layer("signalling/events", &["limits"], &[], &[]),
    layer("signalling/figures", &["counters", "recordings"], &[], &[]),
    layer("signalling/messages", &["limits", "media"], &[], &[]),
    layer("signalling/nodes", &["figures", "limits"], &[], &[]),
    layer("signalling/outward", &["events", "limits", "messages"], &[], &[]),
    layer("signalling/clock", &[], &[], &[]),
    layer(
        "signalling/access",
        &["clock", "limits", "messages", "outward"],
        &[],
        &[],
    ),
    layer("signalling/control", &["limits", "media", "outward"], &[], &[]),
    layer(
        "signalling/settings",
        &[
            "access",
            "asterisk",
            "clock",
            "control",
            "gateway",
            "limits",
            "mailboxes",
            "nodes",
            "outward",
            "recordings",
        ],
        &[],
        &[],
    ),
    layer("signalling/journal", &["limits"], &[], &[]),
    layer("signalling/records", &["figures", "limits", "settings"], &[], &[]),
    // Devices without a socket of their own.
    layer(
        "signalling/asterisk",
        &["asterisk", "exchange", "figures", "gateway", "socket"],
        &[],
        &[],
    ),
    layer(
        "signalling/gateway",
        &["access", "control", "exchange", "figures", "limits", "socket"],
        &[],
        &[],
    ),
    layer(
        "signalling/exchange",
        &[
            "access",
            "asterisk",
            "clock",
            "control",
            "counters",
            "events",
            "figures",
            "gateway",
            "journal",
            "limits",
            "mailboxes",
            "media",
            "messages",
            "nodes",
            "records",
            "settings",
        ],
        &[],
        &[],
    ),
    layer(
        "signalling/socket",
        &["access", "counters", "exchange", "limits", "messages", "settings"],
        &[],
        &[],
    ),
    layer(
        "signalling/port",
        &[
            "access",
            "counters",
            "exchange",
            "gateway",
            "limits",
            "mailboxes",
            "media",
            "outward",
            "recordings",
        ],
        &[],
        &[],
    ),
    layer(
        "signalling/rest",
        &[
            "access",
            "counters",
            "events",
            "exchange",
            "gateway",
            "limits",
            "mailboxes",
            "media",
            "messages",
            "port",
            "recordings",
            "records",
        ],
        &[],
        &[],
    ),
    layer(
        "signalling/routes",
        &["access", "counters", "gateway", "limits", "port", "rest"],
        &[],
        &[],
    ),
    layer(
        "signalling/mediaswitch",
        &[
            "access", "control", "counters", "exchange", "limits", "messages", "outward", "port",
        ],
        &[],
        &[],
    ),
    // They put everything together.
    layer("signalling/start", ANY, &[], &[]),
    layer("signalling/exercise", ANY, &[], &[]),
    layer("limits", &["limits"], &["limits"], &["limits"]),
    layer(
        "config",
        &["config", "keys", "limits", "state"],
        &["limits", "session", "wire"],
        &[
            "auth",
            "certificate",
            "limits",
            "net",
            "quic",
            "routing",
            "topology",
            "BatchWindow",
            "RelayOptions",
        ],
    ),
    layer(
        "check",
        &["check", "config", "directory", "keys", "limits", "music", "state"],
        &[],
        &["auth", "certificate", "limits", "net", "topology"],
    ),
    layer(
        "authority",
        &["authority", "config", "connector", "limits"],
        &["wire"],
        &["auth", "ratelimit", "shard"],
    ),
    layer("connector", &["config"], &[], &[]),
    layer("uploads", &["config", "connector", "limits", "uploads"], &[], &[]),
    // `control` talks to shards by messages.
    layer(
        "control",
        &["authority", "browsers", "control", "limits", "logging", "mesh", "music"],
        &["limits", "qmux", "wire"],
        &[
            "auth",
            "certificate",
            "limits",
            "ratelimit",
            "shard",
            "Announcements",
            "Routes",
        ],
    ),
    layer(
        "mesh",
        &["config", "connector", "generate", "limits"],
        &["limits"],
        &["certificate", "quic", "shard"],
    ),
    layer(
        "browsers",
        &["config", "directory", "limits"],
        &["wire"],
        &["certificate", "shard"],
    ),
    layer(
        "handset",
        &["config", "limits", "signals"],
        &["session", "wire"],
        &["certificate", "driver", "net", "quic"],
    ),
    layer("music", &["config"], &[], &["RelayHandle"]),
    layer("nodes", &["config", "limits"], &[], &[]),
    layer("generate", &[], &[], &[]),
    layer("logging", &["config"], &[], &["ratelimit"]),
    layer("signals", &[], &[], &[]),
    layer("notify", &[], &[], &[]),
    layer(
        "reload",
        &[
            "config",
            "control",
            "keys",
            "limits",
            "logging",
            "mesh",
            "music",
            "telephony",
        ],
        &[],
        &["auth", "certificate", "quic", "shard", "ServerIdentity"],
    ),
    layer("keys", &[], &[], &["auth"]),
    layer("directory", &["config", "connector", "directory", "limits"], &[], &[]),
    layer("user", &["config", "generate", "limits"], &[], &[]),
    layer("dial", &["config", "directory", "generate"], &[], &[]),
    layer("state", &[], &[], &["ResetKey"]),
    layer(
        "telephony",
        &[
            "browsers",
            "config",
            "control",
            "directory",
            "limits",
            "nodes",
            "state",
            "telephony",
            "uploads",
        ],
        &["wire"],
        &["auth", "limits", "ratelimit", "routing", "shard", "RelayHandle"],
    ),
    layer("token", &["config", "generate", "keys", "limits"], &[], &["auth"]),
    layer(
        "switch",
        &[
            "authority",
            "browsers",
            "check",
            "config",
            "control",
            "keys",
            "limits",
            "logging",
            "mesh",
            "music",
            "nodes",
            "notify",
            "reload",
            "signals",
            "state",
            "telephony",
            "upgrade",
        ],
        &["wire"],
        &["limits", "net", "Relay", "RelayHandle", "RelayOptions"],
    ),
    layer(
        "upgrade",
        &["config", "control", "generate", "limits", "notify"],
        &[],
        &[
            "auth",
            "certificate",
            "limits",
            "quic",
            "shard",
            "Heritage",
            "RelayHandle",
            "RelayOptions",
            "Succession",
        ],
    ),
    // The load generator: of the relay it has the client's side.
    layer(
        "loadgen/arguments",
        &["disturbance", "link", "load", "model", "output", "scenario"],
        &[],
        &[],
    ),
    layer(
        "loadgen/capacity",
        &["arguments", "engine", "model", "output", "run", "scenario"],
        &[],
        &[],
    ),
    layer("loadgen/clock", &["output"], &[], &[]),
    layer("loadgen/disturbance", &[], &[], &[]),
    layer(
        "loadgen/engine",
        &["clock", "link", "load", "model", "signalling", "truth"],
        &["session", "wire"],
        &["driver", "net", "quic"],
    ),
    layer("loadgen/host", &[], &[], &[]),
    layer("loadgen/interrupt", &["output", "terminal"], &[], &[]),
    layer("loadgen/link", &["host", "interrupt", "model", "output"], &[], &["net"]),
    layer(
        "loadgen/live",
        &["engine", "host", "interrupt", "output", "terminal", "truth"],
        &[],
        &[],
    ),
    layer("loadgen/load", &["link", "media", "model"], &[], &[]),
    layer("loadgen/media", &[], &[], &[]),
    layer("loadgen/merge", &["host", "output", "truth"], &[], &[]),
    layer("loadgen/model", &["media", "truth"], &[], &[]),
    layer("loadgen/output", &["clock", "host", "scenario", "truth"], &[], &[]),
    layer("loadgen/report", &["merge", "output"], &[], &[]),
    layer(
        "loadgen/run",
        &[
            "arguments",
            "clock",
            "engine",
            "host",
            "interrupt",
            "live",
            "load",
            "output",
            "scenario",
            "signalling",
            "sip",
            "truth",
        ],
        &["wire"],
        &["Relay", "RelayHandle", "RelayOptions", "net"],
    ),
    layer(
        "loadgen/scenario",
        &["engine", "link", "load", "media", "model", "output"],
        &[],
        &[],
    ),
    layer("loadgen/signalling", &[], &[], &["net"]),
    layer(
        "loadgen/sip",
        &["clock", "engine", "load", "model", "truth"],
        &["session", "wire"],
        &["net", "quic"],
    ),
    layer(
        "loadgen/survive",
        &["arguments", "disturbance", "host", "output", "run", "scenario"],
        &[],
        &[],
    ),
    layer("loadgen/terminal", &[], &[], &[]),
    layer("loadgen/truth", &[], &["wire"], &[]),
];

const ANY: &[&str] = &["*"];

const fn layer(
    place: &'static str,
    own: &'static [&'static str],
    proto: &'static [&'static str],
    relay: &'static [&'static str],
) -> Layer {
    Layer {
        place,
        own,
        proto,
        relay,
    }
}

/// Of `shard`, `control` may name the messages and where they go.
const SHARD_FACE: &[&str] = &[
    "Attachment",
    "Bell",
    "Doorbell",
    "FetchError",
    "FetchGroup",
    "FetchReply",
    "FetchRequest",
    "Incoming",
    "Link",
    "LinkPort",
    "LinkView",
    "ShardCommand",
    "ShardPort",
    "WebRequest",
    "WebRequests",
    "WebResponse",
    "WebStream",
    "link",
    "statistics",
];

/// Modules that may not contain `unsafe`, beside the lint that denies it.
const PURE: &[&str] = &[
    "proto/wire",
    "proto/session",
    "proto/qmux",
    "proto/ietf",
    "proto/peer",
    "relay/routing",
    "relay/auth",
    "asterisk",
    "calls",
    "audio",
    "containers",
    "media",
    "sip",
    "webrtc",
    "signalling",
    "control",
    "config",
    "check",
];

/// Things a pure layer may not touch: time, sockets and threads come from outside.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::net::Udp",
    "std::net::Tcp",
    "std::thread",
    "tokio::",
];
const CLOCKLESS: &[&str] = &[
    "proto/wire",
    "proto/session",
    "proto/qmux",
    "proto/ietf",
    "proto/peer",
    "relay/routing",
    "relay/auth",
    "asterisk",
    "calls",
    "audio",
    "containers",
    "media",
    "sip",
    "webrtc",
];

const FILE_CODE_LINES_MAX: usize = 600;

#[test]
fn layers_name_only_what_is_below_them() {
    let mut offences = Vec::new();
    for layer in LAYERS {
        for file in files_of(layer.place) {
            let text = code(&file);
            for (root, allowed) in [
                ("crate", layer.own),
                ("moqswitch_proto", layer.proto),
                ("moqswitch_relay", layer.relay),
            ] {
                for used in names_below(&text, root) {
                    if allowed != ANY && !allowed.contains(&used.as_str()) {
                        offences.push(format!("{}: {} uses {root}::{used}", file.display(), layer.place));
                    }
                }
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn control_knows_shards_by_their_messages() {
    for file in files_of("control") {
        for used in names_below(&code(&file), "moqswitch_relay::shard") {
            assert!(SHARD_FACE.contains(&used.as_str()), "{}: {used}", file.display());
        }
    }
}

#[test]
fn every_module_has_a_row_and_every_row_a_module() {
    for layer in LAYERS {
        assert!(!files_of(layer.place).is_empty(), "no files of {}", layer.place);
    }
    let mut roots = vec![(PathBuf::from("loadgen/src/main.rs"), "loadgen/".to_owned())];
    for library in libraries() {
        let folder = match library.strip_prefix("src").expect("libraries are below src").to_str() {
            Some("") => String::new(),
            Some(folder) => format!("{folder}/"),
            None => unreachable!("names are ASCII"),
        };
        roots.push((library.join("lib.rs"), folder));
    }
    for (root, folder) in roots {
        let text = fs::read_to_string(&root).unwrap();
        let mut is_elsewhere = false;
        for line in text.lines() {
            let is_of_other = std::mem::replace(&mut is_elsewhere, line.starts_with("#[path = "));
            let line = line.trim_start_matches("pub ");
            let name = line.strip_prefix("mod ").and_then(|name| name.strip_suffix(';'));
            // The file of another crate has its row there.
            if let Some(name) = name.filter(|_| !is_of_other) {
                let place = format!("{folder}{name}");
                assert!(LAYERS.iter().any(|layer| layer.place == place), "no row for {place}");
            }
        }
    }
}

/// The folders below `src`, itself among them, that have a `lib.rs`.
fn libraries() -> Vec<PathBuf> {
    let files = rust_files("src").into_iter();
    let roots = files.filter(|file| file.ends_with("lib.rs"));
    roots.filter_map(|root| root.parent().map(Path::to_owned)).collect()
}

#[test]
fn the_checker_sees_each_form_of_a_name() {
    let text = "use crate::{limits, shard::Bell};\nuse crate::wire;\nlet x = crate::quic::Y(crate::net::Z);";
    assert_eq!(names_below(text, "crate"), ["limits", "shard", "wire", "quic", "net"]);
    assert_eq!(names_below("use crate::shard::{A, b::C};", "crate::shard"), ["A", "b"]);
    assert!(names_below("use mycrate::wire;", "crate").is_empty());
    assert_eq!(
        names_below("use moqswitch_relay::{Relay, shard};", "moqswitch_relay"),
        ["Relay", "shard"]
    );
}

#[test]
fn imports_are_of_one_module_each() {
    let mut offences = Vec::new();
    for file in ["src", "loadgen", "benches", "tests"].into_iter().flat_map(rust_files) {
        let text = code(&file);
        for (_, tree) in text.split(';').filter_map(use_tree) {
            let Some((_, names)) = tree.split_once('{') else {
                continue;
            };
            if names.contains("::") || tree.starts_with('{') {
                offences.push(format!("{}: use {tree}", file.display()));
            }
        }
        if text.contains("super::super") && !file.to_string_lossy().contains("tests") {
            offences.push(format!("{}: super::super", file.display()));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Modules that name each other in a circle; elsewhere there is none. They are one type, told in several files.
const CIRCLES: &[&str] = &[
    "src/calls/plane",
    "src/proto/session",
    "src/relay/net/ring",
    "src/relay/routing",
    "src/relay/shard",
    "src/signalling/gateway",
    "src/sip/agent",
    "src/sip/message",
];

#[test]
fn modules_do_not_name_each_other_in_circles() {
    let mut found = BTreeSet::new();
    let mut offences = Vec::new();
    let libraries = libraries();
    assert!(libraries.len() > 10, "{libraries:?}");
    let mut crates = vec![("loadgen/src".to_owned(), "main.rs", Vec::new())];
    for library in &libraries {
        // A library below another is not a part of it.
        let inner = libraries.iter().filter_map(|other| other.strip_prefix(library).ok());
        let but = inner.filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned);
        crates.push((library.display().to_string(), "lib.rs", but.collect()));
    }
    for (directory, root, but) in &crates {
        for circle in Crate::read(directory, root, but).circles() {
            let name = |module: &Vec<String>| format!("{directory}/{}", module.join("/"));
            let place = CIRCLES
                .iter()
                .find(|place| circle.keys().all(|module| name(module).starts_with(*place)));
            if let Some(place) = place {
                found.insert(*place);
                continue;
            }
            offences.push("a circle:".to_owned());
            for (module, named) in &circle {
                let named: Vec<String> = named.iter().map(name).collect();
                offences.push(format!("  {} names {}", name(module), named.join(", ")));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
    assert!(found.iter().eq(CIRCLES), "circles are left in {found:?} alone");
}

#[test]
fn the_checker_sees_circles_and_through_faces() {
    let circles = |modules: &[(&str, &str)]| -> Vec<String> {
        let module = |name: &str| {
            name.split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let modules = modules.iter().map(|(name, text)| (module(name), (*text).to_owned()));
        let names = |circle: &Vec<String>| circle.join("/");
        let circles = Crate::of(modules).circles();
        circles.iter().flat_map(|circle| circle.keys().map(names)).collect()
    };
    let face = ("a", "mod b;\nmod c;\npub(crate) use b::{B, Other as O};\nfn f() {}");
    let b = ("a/b", "struct B;");
    assert!(circles(&[("", "mod a;"), face, b, ("a/c", "use super::{B, O};")]).is_empty());
    assert_eq!(circles(&[("", "mod a;"), face, ("a/b", "use super::f;")]), ["a", "a/b"]);
    assert_eq!(
        circles(&[face, ("a/b", "use super::c::C;"), ("a/c", "crate::a::O::new()")]),
        ["a/b", "a/c"]
    );
    assert_eq!(
        circles(&[
            ("", ""),
            ("x", "use crate::y;"),
            ("y", "use crate::z::{self, Z};"),
            ("z", "use crate::x::X;")
        ]),
        ["x", "y", "z"]
    );
    assert!(circles(&[("", ""), ("x", "use std::y::Z;"), ("y", "use crate::x::X;")]).is_empty());
}

#[test]
fn module_faces_are_mod_rs() {
    for file in ["src", "loadgen/src"].into_iter().flat_map(rust_files) {
        let is_split = file.with_extension("").is_dir();
        let holds_tests_only = fs::read_dir(file.with_extension(""))
            .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == "tests.rs"));
        assert!(
            !is_split || holds_tests_only,
            "{} has a folder beside it: move it to mod.rs there",
            file.display()
        );
    }
}

#[test]
fn pure_layers_have_no_clock_no_sockets_and_no_unsafe() {
    let mut offences = Vec::new();
    for place in PURE {
        for file in files_of(place) {
            for (number, line) in code_lines(&file) {
                if line.contains("unsafe ") && !line.contains("forbid") {
                    offences.push(format!("{}:{number}: unsafe", file.display()));
                }
                // What drives a machine in tests has a time of its own to begin with.
                let is_driver = file.iter().any(|part| part == "exercise");
                if CLOCKLESS.contains(place) && !is_driver {
                    for word in IMPURE.iter().filter(|word| line.contains(*word)) {
                        offences.push(format!("{}:{number}: {word}", file.display()));
                    }
                }
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn loadgen_never_uses_shard_or_routing_and_the_program_in_one_place() {
    for file in rust_files("loadgen/src") {
        let text = code(&file);
        for used in names_below(&text, "moqswitch_relay") {
            let is_of_shards = ["shard", "routing", "self"].contains(&used.as_str());
            assert!(!is_of_shards, "{}: moqswitch_relay::{used}", file.display());
        }
        let is_renamed = ["moqswitch_relay as", "moqswitch_relay;"]
            .iter()
            .any(|text_of| text.contains(text_of));
        assert!(!is_renamed, "{}: the relay by another name, or whole", file.display());
        let program = names_below(&text, "moqswitch");
        assert!(
            program.is_empty() || file.ends_with(OWN_SWITCH),
            "{}: moqswitch::{program:?}",
            file.display()
        );
    }
    assert!(!names_below(&code(Path::new(OWN_SWITCH)), "moqswitch").is_empty());
}

/// Where the load generator starts a switch in its own process.
const OWN_SWITCH: &str = "loadgen/src/run/own/switch.rs";

#[test]
fn files_are_not_too_long() {
    let mut offences = Vec::new();
    for file in ["src", "loadgen/src"].into_iter().flat_map(rust_files) {
        if file.to_string_lossy().contains("/tests") {
            continue;
        }
        let lines = code_lines(&file).filter(|(_, line)| !line.trim().is_empty()).count();
        if lines > FILE_CODE_LINES_MAX {
            offences.push(format!(
                "{}: {lines} code lines, at most {FILE_CODE_LINES_MAX}",
                file.display()
            ));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn files_begin_with_what_they_are_for() {
    for file in ["src", "loadgen/src"].into_iter().flat_map(rust_files) {
        if file.to_string_lossy().contains("/tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} has no header", file.display());
    }
}

#[test]
fn the_top_level_is_the_agreed_one() {
    let agreed: BTreeSet<&str> = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "perf",
        "benches",
        "tuning",
        "loadgen",
        "tests",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "CHANGELOG.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
    ]
    .into();
    for entry in fs::read_dir(".").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || name == "target" || agreed.contains(name.as_str()),
            "{name} is not part of the agreed top level"
        );
    }
}

/// The first name behind `root::`, wherever it stands; of `root::{a, b::c}` each.
fn names_below(text: &str, root: &str) -> Vec<String> {
    let root = format!("{root}::");
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let name = |text: &str| {
        text.trim()
            .chars()
            .take_while(|character| is_part(*character))
            .collect::<String>()
    };
    let mut names = Vec::new();
    for (at, found) in text.match_indices(&root) {
        if text[..at].ends_with(is_part) || text[..at].ends_with("::") {
            continue;
        }
        let behind = &text[at + found.len()..];
        match behind.strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) => names.extend(list.split(',').map(name)),
            None => names.push(name(behind)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// What a statement imports, `a::{b, C}`, with what stands before its `use`; none for other statements. The text ends where
/// the statement does.
fn use_tree(text: &str) -> Option<(&str, &str)> {
    let (before, tree) = text.rsplit_once("use ")?;
    let is_statement = before.is_empty() || before.ends_with(['\n', ' ']);
    (is_statement && !tree.contains(['(', '"'])).then_some((before, tree))
}

/// A file's lines up to its test module, without comments and without what stands between quotes.
fn code(file: &Path) -> String {
    let unquoted = |line: String| {
        line.replace("\\\"", "")
            .split('"')
            .step_by(2)
            .collect::<Vec<_>>()
            .join("\"\"")
    };
    code_lines(file).map(|(_, line)| unquoted(line) + "\n").collect()
}

/// Lines of a file up to its test module, without comments.
fn code_lines(file: &Path) -> impl Iterator<Item = (usize, String)> + use<> {
    let text = fs::read_to_string(file).expect("a source file is readable");
    let end = text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines: Vec<(usize, String)> = text[..end]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.to_owned()))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect();
    lines.into_iter()
}

/// The files of a layer: `src/name.rs` and everything below `src/name/`, tests left out.
fn files_of(layer: &str) -> Vec<PathBuf> {
    let (folder, name) = match layer.strip_prefix("loadgen/") {
        Some(name) => ("loadgen/src", name),
        None => ("src", layer),
    };
    let single = Path::new(folder).join(format!("{name}.rs"));
    rust_files(folder)
        .into_iter()
        .filter(|file| *file == single || file.starts_with(single.with_extension("")))
        .filter(|file| {
            let path = file.to_string_lossy();
            !path.ends_with("/tests.rs") && !path.contains("/tests/")
        })
        .collect()
}

/// The Rust files below a directory of the repository, in whose root cargo runs tests.
fn rust_files(directory: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![PathBuf::from(directory)];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the repository is readable") {
            let path = entry.expect("a directory is readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
