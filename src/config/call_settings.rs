//! The settings of telephone calls: path, default, unit and cost of each.

use super::form::{Kind, Setting, Value};

/// Grouped by section.
pub(super) const CALL_SETTINGS: &[Setting] = &[
    Setting {
        path: "calls.enabled",
        kind: Kind::One,
        value: Value::Unset { example: r#"true"# },
        help: &[
            "Telephone calls: signalling at /signaling and /ws, REST below /api, all at the address of `http`.",
            "Default: true when `listen` and `http` are loopback addresses; elsewhere when `calls.users`, `calls.tokens` or",
            "`calls.callback` says who may register. One of these must be set to enable calls on other addresses.",
        ],
    },
    Setting {
        path: "calls.dialplan",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/dialplan.toml""#,
        },
        help: &["Where numbers go, as TOML. Default: each to the devices that are registered under it."],
    },
    Setting {
        path: "calls.users",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/users.toml""#,
        },
        help: &[
            "Who may register, as TOML: numbers with passwords hashed by `moqswitch user hash`.",
            "Default: nobody but who comes from this host, as any number, unless `calls.tokens` or `calls.callback` is set.",
        ],
    },
    Setting {
        path: "calls.tokens",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/device-tokens.key""#,
        },
        help: &[
            "File with the secret of tokens (HS256) by which devices register: 32 bytes or more. Default: there are none.",
        ],
    },
    Setting {
        path: "calls.callback",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""http://127.0.0.1:8080/register""#,
        },
        help: &[
            "Program that says who may register, where neither of the above does: http:// only. Default: none.",
            "It is sent passwords: leave it on this host, or behind a tunnel.",
        ],
    },
    Setting {
        path: "calls.keys",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/keys.toml""#,
        },
        help: &[
            "Who may use REST, as TOML: keys with what they are for.",
            "Default: who comes from this host may do everything and nobody else anything, unless `calls.api_tokens` is set.",
        ],
    },
    Setting {
        path: "calls.api_tokens",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/api-tokens.key""#,
        },
        help: &[
            "File with the secret of tokens (HS256) by which programs use REST: 32 bytes or more. Default: there are none.",
        ],
    },
    Setting {
        path: "calls.origins",
        kind: Kind::List,
        value: Value::Default(r#"[]"#),
        help: &[
            "Web pages of these origins may use signalling and REST, beside those that the switch serves; `*`: all.",
        ],
    },
    Setting {
        path: "calls.webhooks",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/webhooks.toml""#,
        },
        help: &["Who is told of events, as TOML. Default: nobody."],
    },
    Setting {
        path: "calls.trunk",
        kind: Kind::One,
        value: Value::Unset { example: r#""city""# },
        help: &["The trunk that /api/genesys/status tells of. Default: none."],
    },
    Setting {
        path: "calls.time_zone",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""Europe/Berlin""#,
        },
        help: &[
            "Of the times in the dialplan: a name such as Europe/Berlin, or an offset such as +01:00. Default: the host's.",
        ],
    },
    Setting {
        path: "calls.records",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/var/lib/moqswitch/records""#,
        },
        help: &[
            "Directory of call records: JSON objects in lines, and a database for queries. Default: they are in memory only.",
        ],
    },
    Setting {
        path: "calls.records_age",
        kind: Kind::One,
        value: Value::Default(r#""0s""#),
        help: &["A file of records goes when its last record is older; 0: none goes. A week is 7days."],
    },
    Setting {
        path: "calls.records_bytes",
        kind: Kind::One,
        value: Value::Default(r#""4GiB""#),
        help: &["Beyond this the oldest file of records goes; 0: none goes. The database takes as much again."],
    },
    Setting {
        path: "calls.media_url",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""https://relay.example:4443/""#,
        },
        help: &[
            "Where phones reach the relay for media; they are told when they register.",
            "Default: the address of `listen`, or loopback if that is none of its own.",
        ],
    },
    Setting {
        path: "calls.registration",
        kind: Kind::One,
        value: Value::Default(r#""1h""#),
        help: &["How long a device stays registered that does not say how long; 1m to 1day."],
    },
    Setting {
        path: "calls.ring",
        kind: Kind::One,
        value: Value::Default(r#""30s""#),
        help: &["How long a call rings that nobody answers; 1s to 3m."],
    },
    Setting {
        path: "calls.call_waiting",
        kind: Kind::One,
        value: Value::Default(r#"true"#),
        help: &["Whether a device rings that is in a call."],
    },
    Setting {
        path: "calls.codecs",
        kind: Kind::List,
        value: Value::Default(r#"["opus", "g722", "pcmu", "pcma"]"#),
        help: &["Of what all hearers take, the first of these is sent."],
    },
    Setting {
        path: "calls.music",
        kind: Kind::One,
        value: Value::Default(r#""default""#),
        help: &["What who is put on hold hears: the broadcast moh/<name>. \"\": silence."],
    },
    Setting {
        path: "calls.supervision_told",
        kind: Kind::One,
        value: Value::Default(r#"true"#),
        help: &["Whether participants are told of a supervisor who listens or whispers."],
    },
    Setting {
        path: "calls.audio_threads",
        kind: Kind::One,
        value: Value::Unset { example: "2" },
        help: &[
            "Threads that transcode for hearers of other codecs, and mix for telephones that hear several at once: 0 to 64.",
            "0: nothing is. Default: one for each four shards, at least one.",
        ],
    },
    Setting {
        path: "calls.limits.calls",
        kind: Kind::One,
        value: Value::Default(r#"65536"#),
        help: &["Calls at once; more are refused. Each costs some KiB."],
    },
    Setting {
        path: "calls.limits.calls_per_number",
        kind: Kind::One,
        value: Value::Default(r#"8"#),
        help: &["Calls of one number at once; more are refused. A profile of the dialplan may lower it."],
    },
    Setting {
        path: "calls.limits.calls_per_hour",
        kind: Kind::One,
        value: Value::Default(r#"0"#),
        help: &["Calls that one number begins within an hour; more are refused. 0: no limit."],
    },
    Setting {
        path: "calls.limits.devices_per_number",
        kind: Kind::One,
        value: Value::Default(r#"4"#),
        help: &["Devices of one number; more are refused."],
    },
    Setting {
        path: "calls.limits.duration",
        kind: Kind::One,
        value: Value::Default(r#""12h""#),
        help: &["How long a call may last."],
    },
    Setting {
        path: "voicemail.directory",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/var/lib/moqswitch/voicemail""#,
        },
        help: &[
            "Directory of voice mail, which the switch makes: a directory for each box. Default: nobody leaves messages. Calls",
            "reach a box by trunk/voicemail in the dialplan, and its owner listens by trunk/mailbox.",
        ],
    },
    Setting {
        path: "voicemail.greeting",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/greeting.wav""#,
        },
        help: &[
            "What callers of boxes hear that have no greeting of their own: WAV of 8, 16 or 48 kHz. Default: the tone alone.",
        ],
    },
    Setting {
        path: "voicemail.message",
        kind: Kind::One,
        value: Value::Default(r#""3min""#),
        help: &[
            "The longest message, 30min at most. Each costs 16 kB of memory a second while it is spoken, 8 kB on the disk.",
        ],
    },
    Setting {
        path: "voicemail.messages",
        kind: Kind::One,
        value: Value::Default("100"),
        help: &["Messages of a box. Whoever calls a full one hears so, and leaves none."],
    },
    Setting {
        path: "voicemail.bytes",
        kind: Kind::One,
        value: Value::Default(r#""1GiB""#),
        help: &["Of all messages. Beyond it every box is full."],
    },
    Setting {
        path: "voicemail.calls",
        kind: Kind::One,
        value: Value::Default("32"),
        help: &["Calls that leave messages or listen to them, at once. A further one ends with congestion."],
    },
    Setting {
        path: "media.music",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/music""#,
        },
        help: &[
            "Directory of music, WAV and Ogg Opus: each file is the broadcast moh/<name>, played in a loop while somebody hears",
            "it. Read again at SIGHUP. Default: none.",
        ],
    },
    Setting {
        path: "media.prompts",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/prompts""#,
        },
        help: &[
            "Directory of prompts, the same: each file is the broadcast prompt/<name>, played once when somebody hears it.",
            "All files together may take 256 MiB when they are encoded, some 27 KiB for a second.",
        ],
    },
    Setting {
        path: "media.tones",
        kind: Kind::One,
        value: Value::Default("true"),
        help: &[
            "Where there are calls, and no file of music is named `default`: soft tones are the broadcast moh/default.",
        ],
    },
    Setting {
        path: "phone.enabled",
        kind: Kind::One,
        value: Value::Default("true"),
        help: &[
            "Serve the web phone below /phone/ at the address of `http`: telephones in a browser, an agent's desk and a",
            "supervisor's page. Counts only where there are calls.",
        ],
    },
    Setting {
        path: "mediaswitch.listen",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""127.0.0.1:9000""#,
        },
        help: &[
            "TCP address of mediaswitch's HTTP, by which control programs decide on calls of their domains. Plain HTTP.",
            "Any but a loopback address also needs `mediaswitch.key`. Default: none, and no program decides on calls.",
        ],
    },
    Setting {
        path: "mediaswitch.key",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/control.key""#,
        },
        help: &[
            "File with the key that programs send, `Authorization: Bearer KEY`. Read at the start.",
            "Default: none, and whoever is on this host may decide on calls.",
        ],
    },
    Setting {
        path: "mediaswitch.domain",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""phones.example""#,
        },
        help: &["The domain of numbers without an @. Default: none; no program decides on calls between such numbers."],
    },
    Setting {
        path: "sip.udp",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""192.0.2.7:5060""#,
        },
        help: &[
            "UDP address for telephones of SIP; \"\": none. Any but a loopback address also needs `calls.users`.",
            "Default: 127.0.0.1:5060 when `listen` and `http` are loopback addresses and `sip.tcp` is not set, else none.",
        ],
    },
    Setting {
        path: "sip.tcp",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""192.0.2.7:5060""#,
        },
        help: &["TCP address for telephones of SIP; \"\": none. Default: as that of `sip.udp`."],
    },
    Setting {
        path: "sip.tls",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""192.0.2.7:5061""#,
        },
        help: &["TCP address for telephones of SIP over TLS, with the certificates of `tls`. Default: none."],
    },
    Setting {
        path: "sip.tls_client_ca",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/carriers.pem""#,
        },
        help: &[
            "Who may issue certificates of trunks that call by TLS: a PEM file, in the place of `tls.client_ca`. Others need none; who",
            "shows one of another issuer gets no connection. Not where `tls.client_auth` is `required`. Default: as `tls.client_ca`",
            "says, and no trunk is known by its certificate.",
        ],
    },
    Setting {
        path: "sip.address",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""203.0.113.7""#,
        },
        help: &[
            "IP address that telephones are told, for SIP and, unless `rtp.address` is set, for RTP.",
            "Default: the address that is listened on, or loopback if that is none of its own.",
        ],
    },
    Setting {
        path: "sip.realm",
        kind: Kind::One,
        value: Value::Default(r#""moqswitch""#),
        help: &["Domain of addresses and realm of digest authentication. The digests of users are of this realm."],
    },
    Setting {
        path: "sip.digest",
        kind: Kind::List,
        value: Value::Default(r#"["md5"]"#),
        help: &[
            "What telephones are asked for their passwords by, in this order: md5, sha-256. Some of them (baresip 1.0, pjsip",
            "2.10) give up where sha-256 is among it.",
        ],
    },
    Setting {
        path: "sip.srtp",
        kind: Kind::One,
        value: Value::Default(r#""accept""#),
        help: &[
            "Whether telephones talk over SRTP, with keys by SDES: off; accept: those that offer it; offer: those on TLS are",
            "offered it, too, and RTP if they refuse; require: all, or there is no call.",
        ],
    },
    Setting {
        path: "sip.trunks",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/trunks.toml""#,
        },
        help: &["Ways to carriers and PBXs, as TOML; read at the start. Default: none."],
    },
    Setting {
        path: "sip.ping",
        kind: Kind::One,
        value: Value::Default(r#""1m""#),
        help: &[
            "How often a telephone on UDP is asked whether it is there; after three questions it is not. 0: never.",
        ],
    },
    Setting {
        path: "rtp.address",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""192.0.2.7""#,
        },
        help: &[
            "IP address at which telephones and channels of mediaswitch's HTTP are sent RTP, and that they are told.",
            "Default: that of `sip.address` for telephones; none for channels, and there are none.",
        ],
    },
    Setting {
        path: "rtp.ports",
        kind: Kind::One,
        value: Value::Default(r#""10000-19999""#),
        help: &["UDP ports of RTP: an even one for each telephone or channel, and the odd one above it for RTCP."],
    },
    Setting {
        path: "asterisk.audiosocket",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""127.0.0.1:9092""#,
        },
        help: &[
            "TCP address for connections of Asterisk by AudioSocket, each of which is a call. Plain, with no password but the",
            "key in a UUID. Any but a loopback address also needs `asterisk.key`. Default: none.",
        ],
    },
    Setting {
        path: "asterisk.websocket",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""127.0.0.1:9093""#,
        },
        help: &[
            "TCP address for connections of Asterisk's chan_websocket, each of which is a call. Plain.",
            "Any but a loopback address also needs `asterisk.key`. Default: none.",
        ],
    },
    Setting {
        path: "asterisk.key",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/asterisk.key""#,
        },
        help: &[
            "File with the key by which channels of Asterisk are let in: 12 to 16 hexadecimal digits. UUIDs of AudioSocket",
            "begin with it; it is the password of a WebSocket. Default: none, and whoever is on this host is let in.",
        ],
    },
    Setting {
        path: "asterisk.allow",
        kind: Kind::List,
        value: Value::Default("[]"),
        help: &["IP addresses that channels of Asterisk may connect from; []: all."],
    },
    Setting {
        path: "asterisk.number",
        kind: Kind::One,
        value: Value::Default(r#""asterisk""#),
        help: &["The number of channels of Asterisk that do not say who calls. They are a trunk of this name."],
    },
    Setting {
        path: "asterisk.ways",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/asterisk.toml""#,
        },
        help: &[
            "Ways by which numbers reach Asterisk, and numbers of UUIDs, as TOML; read at the start. Default: none.",
        ],
    },
    Setting {
        path: "asterisk.channels",
        kind: Kind::One,
        value: Value::Default("1000"),
        help: &[
            "Connections of Asterisk at once, 4096 at most; more are closed. Each costs some KiB, and CPU where it converts.",
        ],
    },
    Setting {
        path: "asterisk.format",
        kind: Kind::One,
        value: Value::Default(r#""slin""#),
        help: &[
            "How AudioSocket is written until a channel has said something: slin, slin16 and so on. With more than 8 kHz",
            "channels speak G.722 as well.",
        ],
    },
    Setting {
        path: "webrtc.listen",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""192.0.2.7:8443""#,
        },
        help: &[
            "UDP address for browsers that speak WebRTC, by WHIP, WHEP or in calls: the port of the first shard; each further",
            "one has the next. \"\": none. Default: ports of loopback that are free when `listen` and `http` are loopback",
            "addresses, else none. An offer is answered by the thread of HTTP, the handshake is its shard's.",
        ],
    },
    Setting {
        path: "webrtc.address",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""203.0.113.7""#,
        },
        help: &["IP address that browsers are told. Default: that of `webrtc.listen`, which then is one of its own."],
    },
    Setting {
        path: "webrtc.ice_servers",
        kind: Kind::List,
        value: Value::Default("[]"),
        help: &[
            "Servers of STUN and TURN that browsers are told of: `stun:host:port`, `turn:host:port?transport=udp`, at most 8.",
        ],
    },
    Setting {
        path: "webrtc.turn_secret",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/turn.key""#,
        },
        help: &[
            "File with the secret that the servers of TURN have, too (coturn: `use-auth-secret`). Browsers are told credentials",
            "that are made of it. Read at the start. Default: none, and they are told none.",
        ],
    },
    Setting {
        path: "webrtc.turn_life",
        kind: Kind::One,
        value: Value::Default(r#""1h""#),
        help: &[
            "For how long such credentials are good, 1m to 24h. A call that begins within that time may last longer.",
        ],
    },
];
