//! The table of settings, those of calls apart: path, default, unit and cost of each. The TOML keys, the names of the environment
//! variables, the defaults and the printed template all come from here.

use std::fmt::Write;

use super::call_settings::CALL_SETTINGS;
use super::cluster_settings::CLUSTER_SETTINGS;
use super::form::{Kind, Setting, Value};
use super::recording_settings::RECORDING_SETTINGS;

/// Every setting.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .chain(CLUSTER_SETTINGS)
        .chain(CALL_SETTINGS)
        .chain(RECORDING_SETTINGS)
}

/// A configuration file with every setting at its default, explained.
pub fn template() -> String {
    let mut text = String::from(TEMPLATE_HEADER);
    let mut section = None;
    for setting in all() {
        if setting.section() != section {
            section = setting.section();
            if let Some(section) = section {
                push_line(&mut text, &format!("\n[{section}]"));
            }
        }
        text.push('\n');
        for line in setting.help {
            push_line(&mut text, &format!("# {line}"));
        }
        match (&setting.value, setting.kind) {
            (Value::Default(value), _) => {
                push_line(&mut text, &format!("{} = {value}", setting.key()));
            }
            (Value::Unset { example }, Kind::Certificates) => {
                push_line(&mut text, &format!("# [[{}]]", setting.path));
                for line in example.lines() {
                    push_line(&mut text, &format!("# {line}"));
                }
            }
            (Value::Unset { example }, _) => {
                push_line(&mut text, &format!("# {} = {example}", setting.key()));
            }
        }
    }
    text
}

fn push_line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}

const TEMPLATE_HEADER: &str = "\
# Configuration of moqswitch. Every setting is shown with its default.
# A setting `section.key` is also read from the environment as MOQSWITCH_SECTION_KEY (lists separated by commas),
# which wins over this file; flags win over both.
";

/// Grouped by section; settings without one come first, as TOML demands.
const SETTINGS: &[Setting] = &[
    Setting {
        path: "listen",
        kind: Kind::One,
        value: Value::Default(r#""127.0.0.1:4443""#),
        help: &[
            "UDP address for QUIC, one socket per shard; `[::]:4443` serves IPv4 and IPv6 both.",
            "Any but a loopback address also needs `auth.public`, `auth.key` or `auth.url`.",
        ],
    },
    Setting {
        path: "http",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""127.0.0.1:4443""#,
        },
        help: &[
            "TCP address for health, certificate hash and /fetch, and for WebSockets at any path.",
            "Default: the `listen` address, same port.",
        ],
    },
    Setting {
        path: "http_tls",
        kind: Kind::One,
        value: Value::Default(r#""optional""#),
        help: &[
            "`optional`: the TCP address serves https and wss to whoever begins with TLS, http and ws to others.",
            "`required`: others are dropped, health checks among them. Certificates are those of `tls`.",
        ],
    },
    Setting {
        path: "shards",
        kind: Kind::One,
        value: Value::Unset { example: "4" },
        help: &[
            "Event loops, 1 to 256, each pinned to a core. Default: one per usable core, CPU quota considered.",
            "Each costs `limits.cache_bytes` and its socket buffers; more than there are cores take turns.",
        ],
    },
    Setting {
        path: "cores",
        kind: Kind::One,
        value: Value::Unset { example: r#""0-3,6""# },
        help: &["Cores to pin shards to. Default: every core this process may run on."],
    },
    Setting {
        path: "batch_window",
        kind: Kind::One,
        value: Value::Default(r#""750us""#),
        help: &[
            "How long a busy shard gathers work before it takes a turn; 0 to 10ms.",
            "Longer costs that much latency at worst and saves CPU per frame.",
            "auto: not at all while the shard has time to spare, up to 750us as its core fills; auto:1ms sets that bound.",
        ],
    },
    Setting {
        path: "spin",
        kind: Kind::One,
        value: Value::Default("false"),
        help: &["Never let an idle shard sleep. Costs all of every shard's core, and latency where cores are shared."],
    },
    Setting {
        path: "drain_deadline",
        kind: Kind::One,
        value: Value::Default(r#""10s""#),
        help: &[
            "After SIGTERM, how long sessions may stay before they are closed. Costs that much shutdown time at worst.",
        ],
    },
    Setting {
        path: "upgrade_deadline",
        kind: Kind::One,
        value: Value::Default(r#""10m""#),
        help: &[
            "After `moqswitch upgrade`, how long sessions may stay in the process before that do not follow to the new one.",
            "Costs its memory for that time.",
        ],
    },
    Setting {
        path: "drain_uri",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""https://relay-2.example:4443/""#,
        },
        help: &[
            "Where GOAWAY sends sessions after SIGTERM, at most 8192 bytes. Many clients refuse another host. Other relays are",
            "not sent there. Default: nowhere, and they come back to the same address.",
        ],
    },
    Setting {
        path: "state_directory",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/var/lib/moqswitch/relay""#,
        },
        help: &[
            "Where the key of stateless resets is kept, a file of 65 bytes that only its owner may read. With it, clients of a",
            "relay that died learn so in one round trip after the next start, else when they time out. \"\": nothing is kept.",
            "Default: $STATE_DIRECTORY, which systemd sets; else moqswitch in $XDG_STATE_HOME or in ~/.local/state.",
        ],
    },
    Setting {
        path: "admin.listen",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""127.0.0.1:4444""#,
        },
        help: &[
            "TCP address for operators: /metrics and /announced, health and certificate hash. Plain HTTP; whoever reaches it",
            "sees all paths that are announced. \"\": none. Default: 127.0.0.1, the port after that of `http`.",
        ],
    },
    Setting {
        path: "tls.client_ca",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/client-ca.pem""#,
        },
        help: &[
            "PEM file with who may issue certificates of clients, over QUIC and TLS on TCP. Read again at SIGHUP.",
            "What they grant is in `auth.client_publish` and `auth.client_subscribe`; `auth.url` is told of them.",
            "Default: none, and clients are not asked for one.",
        ],
    },
    Setting {
        path: "tls.client_auth",
        kind: Kind::One,
        value: Value::Default(r#""optional""#),
        help: &[
            "`optional`: who shows no certificate is as others are. `required`: who shows none gets no connection over",
            "QUIC or TLS; set `http_tls` too, or plain HTTP stays open.",
        ],
    },
    Setting {
        path: "tls.certificates",
        kind: Kind::Certificates,
        value: Value::Unset {
            example: "certificate = \"/etc/moqswitch/chain.pem\"\nkey = \"/etc/moqswitch/key.pem\"",
        },
        help: &[
            "PEM files, chosen by server name; repeat the table for more. MOQSWITCH_TLS_CERT and MOQSWITCH_TLS_KEY.",
            "They are read at the start and at SIGHUP, which ends no session.",
            "Default: none, and a development certificate valid under 14 days is made at those times.",
        ],
    },
    Setting {
        path: "auth.public",
        kind: Kind::List,
        value: Value::Unset {
            example: r#"["anon/**"]"#,
        },
        help: &[
            "Broadcast paths everyone may publish and subscribe without a token: `*` is one segment, `pre*` a part of one,",
            "`**` any number; it may stand once, anywhere. [] is nobody, and the default when `auth.key` is set.",
            "Otherwise the default is [\"**\"] when only loopback addresses are listened on; else it must be set.",
        ],
    },
    Setting {
        path: "auth.client_publish",
        kind: Kind::List,
        value: Value::Default("[]"),
        help: &["What clients with a certificate of `tls.client_ca` may publish: patterns as in `auth.public`."],
    },
    Setting {
        path: "auth.client_subscribe",
        kind: Kind::List,
        value: Value::Default("[]"),
        help: &[
            "What they may subscribe. With both empty a certificate grants nothing by itself. Otherwise it takes the place",
            "of what is public, until it expires; and a token beside it is refused.",
        ],
    },
    Setting {
        path: "auth.key",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/token.jwk""#,
        },
        help: &[
            "Keys that tokens are signed by: a file with a JWK or a JWKS, or a directory with a file ID.jwk for each key.",
            "Read again at SIGHUP and when a file changes, all or none. A token is `?jwt=` in the URL, or a Bearer for HTTP.",
            "Default: none, and tokens are not looked at. Checking one costs its shard one signature.",
        ],
    },
    Setting {
        path: "auth.url",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""https://auth.example/moq""#,
        },
        help: &[
            "Auth server that decides on each session and each /announced and /fetch, by the contract of moq-relay 0.17:",
            "https://, http:// on loopback, or unix:///path. Goes with neither `auth.key` nor `auth.public`.",
            "A session costs two requests, and one more each time the server wants to be asked again. Default: none.",
        ],
    },
    Setting {
        path: "auth.url_ca",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/auth-ca.pem""#,
        },
        help: &["PEM file with the certificate authorities of `auth.url`. Default: those of the system."],
    },
    Setting {
        path: "auth.node",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""relay-1""#,
        },
        help: &["What this relay calls itself to `auth.url`. Default: the name of the host."],
    },
    Setting {
        path: "auth.names",
        kind: Kind::One,
        value: Value::Default(r#""holder""#),
        help: &[
            "Of clients that publish one path, who is heard: `holder`, who began first, for as long as it is there; `newest`,",
            "who began last; `epoch`, whose broadcast says the highest epoch, then who began first.",
        ],
    },
    Setting {
        path: "limits.connections",
        kind: Kind::One,
        value: Value::Default("10000"),
        help: &["Connections per shard. Each costs some 50 KiB and up to `quic.connection_window`. More are refused."],
    },
    Setting {
        path: "limits.attempts",
        kind: Kind::One,
        value: Value::Default("2000"),
        help: &[
            "Connections that one address (of IPv6: one /56) may begin on a shard in a second. Further first packets are",
            "dropped; a client sends its own again.",
        ],
    },
    Setting {
        path: "limits.connections_per_address",
        kind: Kind::One,
        value: Value::Default("5000"),
        help: &[
            "Connections that one address (of IPv6: one /56) may have on a shard at once; all behind it share them. Further",
            "first packets are dropped.",
        ],
    },
    Setting {
        path: "limits.retry_above",
        kind: Kind::One,
        value: Value::Default("1024"),
        help: &[
            "Unfinished handshakes of a shard from which on clients must prove their address by a Retry, which costs them a",
            "round trip.",
        ],
    },
    Setting {
        path: "limits.answers",
        kind: Kind::One,
        value: Value::Default("500"),
        help: &["Version negotiations and stateless resets of a shard in a second. Further ones are left out."],
    },
    Setting {
        path: "limits.lateness",
        kind: Kind::One,
        value: Value::Default(r#""20ms""#),
        help: &[
            "Mean time of a shard's turns from which on it refuses new sessions, if it uses its core up: those that are there",
            "come first. Devices and other relays are let in. 0 is never.",
        ],
    },
    Setting {
        path: "limits.memory",
        kind: Kind::One,
        value: Value::Default(r#""4GiB""#),
        help: &[
            "What sessions and broadcasts may take together, beside the group caches. Beyond it no session begins, and those",
            "that hold most are closed. Should be less than the host has.",
        ],
    },
    Setting {
        path: "limits.session_bytes",
        kind: Kind::One,
        value: Value::Default(r#""64MiB""#),
        help: &["What one session may hold: streams, requests, unread control bytes. One with more is closed."],
    },
    Setting {
        path: "limits.operations",
        kind: Kind::One,
        value: Value::Default("2000"),
        help: &[
            "Requests of one session in a second, four times as many at once: subscriptions, updates, fetches, announce",
            "streams, probes. One with more is closed.",
        ],
    },
    Setting {
        path: "limits.announce_rate",
        kind: Kind::One,
        value: Value::Default("1000"),
        help: &["Broadcasts that one session announces in a second, four times as many at once. Further ones wait."],
    },
    Setting {
        path: "limits.websockets",
        kind: Kind::One,
        value: Value::Default("1000"),
        help: &[
            "WebSocket connections of the process, shared out among its shards; 0: none. More are answered 503.",
            "Each costs a file, some 300 KiB when its peer does not read, and CPU of the one control thread.",
        ],
    },
    Setting {
        path: "limits.subscriptions",
        kind: Kind::One,
        value: Value::Default("4096"),
        help: &["Subscriptions per session; each costs some hundred bytes. More are reset."],
    },
    Setting {
        path: "limits.announces",
        kind: Kind::One,
        value: Value::Default("4096"),
        help: &[
            "Broadcasts a session may announce; each costs its path on every shard. With more, none of its are heard.",
        ],
    },
    Setting {
        path: "limits.announce_bytes",
        kind: Kind::One,
        value: Value::Default(r#""512MiB""#),
        help: &[
            "Memory for the broadcasts of all sessions, some 500 bytes each; with 1048576 they are full, too, and one address",
            "has a quarter of that. A session whose broadcast finds no room is closed.",
        ],
    },
    Setting {
        path: "limits.token_checks",
        kind: Kind::One,
        value: Value::Default("20"),
        help: &[
            "Wrong tokens of one address prefix (an IPv4 address, an IPv6 /56) whose signature a shard checks in a second;",
            "ten seconds' worth at once. Each costs 50 to 500 us. Further tokens of the prefix are refused unchecked.",
            "Tokens that are taken do not count. HTTP requests have a count of their own.",
        ],
    },
    Setting {
        path: "limits.streams",
        kind: Kind::One,
        value: Value::Default("1024"),
        help: &["Streams of each kind a peer may have open at once. A group is a stream; more wait at the peer."],
    },
    Setting {
        path: "limits.datagram_queue",
        kind: Kind::One,
        value: Value::Default("256"),
        help: &["Datagrams waiting per connection; each costs up to `quic.udp_payload` bytes. More are dropped."],
    },
    Setting {
        path: "limits.cache_bytes",
        kind: Kind::One,
        value: Value::Default(r#""256MiB""#),
        help: &[
            "Memory per shard for groups kept for late joiners and fetches. Oldest go first.",
            "Less than 1MiB counts as 1MiB.",
        ],
    },
    Setting {
        path: "limits.cache_age",
        kind: Kind::One,
        value: Value::Default(r#""10s""#),
        help: &[
            "How long a group that is not a track's latest is kept, at most. Costs cache memory.",
            "A shorter maximum latency of the track goes first.",
        ],
    },
    Setting {
        path: "limits.track_linger",
        kind: Kind::One,
        value: Value::Default(r#""2s""#),
        help: &[
            "How long a track stays subscribed upstream after its last subscriber left.",
            "Costs ingest nobody watches; saves a round trip when someone returns.",
        ],
    },
    Setting {
        path: "quic.idle_timeout",
        kind: Kind::One,
        value: Value::Default(r#""30s""#),
        help: &["Silence after which a connection is dead. Longer keeps the memory of vanished peers."],
    },
    Setting {
        path: "quic.udp_payload",
        kind: Kind::One,
        value: Value::Default("1350"),
        help: &[
            "Largest UDP payload sent, bytes; 1200 to 65507. 1350 passes nearly every path; 1452 fills Ethernet under IPv6.",
            "Smaller costs CPU per byte; larger than a path carries is lost.",
        ],
    },
    Setting {
        path: "quic.connection_window",
        kind: Kind::One,
        value: Value::Default(r#""8MiB""#),
        help: &["Bytes a peer may have in flight to us on a connection. Costs that much memory at worst."],
    },
    Setting {
        path: "quic.stream_window",
        kind: Kind::One,
        value: Value::Default(r#""2MiB""#),
        help: &["Bytes a peer may have in flight to us on a stream; at most the connection's."],
    },
    Setting {
        path: "quic.congestion_control",
        kind: Kind::One,
        value: Value::Default(r#""cubic""#),
        help: &["`cubic` or `bbr2`. BBR keeps queues shorter on paths with loss, and costs more CPU."],
    },
    Setting {
        path: "quic.socket_buffer",
        kind: Kind::One,
        value: Value::Default(r#""4MiB""#),
        help: &[
            "Kernel memory for each socket and direction; absorbs bursts while a shard is busy.",
            "The kernel caps it at net.core.rmem_max and wmem_max; `moqswitch check` tells.",
        ],
    },
    Setting {
        path: "log.level",
        kind: Kind::One,
        value: Value::Default(r#""info""#),
        help: &[
            "error, warn, info, debug, trace or off; or with modules: \"info,moqswitch_relay::shard=debug\".",
            "debug costs a line per session event, trace one per packet.",
        ],
    },
    Setting {
        path: "log.format",
        kind: Kind::One,
        value: Value::Default(r#""text""#),
        help: &["`text` for people, `json` for collectors."],
    },
    Setting {
        path: "origin.hop_id",
        kind: Kind::One,
        value: Value::Default("0"),
        help: &["This relay's hop id, unique in a mesh; loops are found by it. 0: drawn at random at every start."],
    },
    Setting {
        path: "origin.route_cost",
        kind: Kind::One,
        value: Value::Default("1"),
        help: &[
            "What subscribing through this relay costs, in units of your choice; routes with a lower sum are preferred.",
        ],
    },
];
