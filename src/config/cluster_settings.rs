//! The table of settings, those of other relays and other machines: as `config/settings.rs`.

use super::form::{Kind, Setting, Value};

pub(super) const CLUSTER_SETTINGS: &[Setting] = &[
    Setting {
        path: "cluster.peers",
        kind: Kind::List,
        value: Value::Default("[]"),
        help: &[
            "Other relays to dial: `moql://host:port` by raw QUIC, `https://host:port` by WebTransport, at most 256.",
            "`?cost=N` is what the link costs, `?region=R` where the other is, `?jwt=T` a token of its own. Each costs a session",
            "and what is announced there.",
        ],
    },
    Setting {
        path: "cluster.peers_from",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/peers.json""#,
        },
        help: &[
            "Where further ones are found: a file with a JSON array of URLs, or of objects with `url`, `cost` and `token`, read",
            "again when it changes; the URL of such a list (https://, http:// on loopback, unix:///path), asked again and again;",
            "or `dns:name:port`, each of whose addresses is a peer by raw QUIC. Default: nowhere.",
        ],
    },
    Setting {
        path: "cluster.peers_interval",
        kind: Kind::One,
        value: Value::Default(r#""30s""#),
        help: &["How often a URL of `cluster.peers_from` is asked, 1s to 1h. Each time costs it a request."],
    },
    Setting {
        path: "cluster.peers_ca",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/list-ca.pem""#,
        },
        help: &["PEM file with the certificate authorities of such a URL. Default: those of the system."],
    },
    Setting {
        path: "cluster.node",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""moql://relay-a.example:4443""#,
        },
        help: &[
            "Where others dial this relay. A URL of `cluster.peers_from` is told it as `?node=`, and a list that has it does",
            "not make the relay dial itself. Default: it is not told.",
        ],
    },
    Setting {
        path: "cluster.region",
        kind: Kind::One,
        value: Value::Unset { example: r#""eu""# },
        help: &[
            "Where this relay is. A link to a relay whose URL says `?region=` costs 1 within a region, and 10 between two,",
            "unless `cluster.costs` or `?cost=` says otherwise. Default: it is not said.",
        ],
    },
    Setting {
        path: "cluster.costs",
        kind: Kind::List,
        value: Value::Default("[]"),
        help: &["What a link to a relay of a region costs, `region=cost`, at most 256."],
    },
    Setting {
        path: "cluster.token_file",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/cluster.jwt""#,
        },
        help: &["File with the token that is shown to peers whose URL has none. Default: none is shown."],
    },
    Setting {
        path: "cluster.ca",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/cluster-ca.pem""#,
        },
        help: &["PEM file with who may issue the certificates of peers. Default: the system's authorities."],
    },
    Setting {
        path: "cluster.certificate",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/cluster-chain.pem""#,
        },
        help: &["PEM file with the certificate that is shown to peers who ask for one. Default: none."],
    },
    Setting {
        path: "cluster.key",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/cluster-key.pem""#,
        },
        help: &["PEM file with its key."],
    },
    Setting {
        path: "cluster.insecure",
        kind: Kind::One,
        value: Value::Default("false"),
        help: &["Take whoever answers at the address of a peer for it, and show it the token. For tests."],
    },
    Setting {
        path: "cluster.accept",
        kind: Kind::One,
        value: Value::Default("false"),
        help: &[
            "This relay is of a mesh though it dials nobody: what others publish is believed of peers alone.",
            "Always so where peers are dialled.",
        ],
    },
    Setting {
        path: "cluster.store.servers",
        kind: Kind::List,
        value: Value::Default("[]"),
        help: &[
            "Servers of one NATS, at most 16: `nats://host:port`, `tls://host:port`, with `user:password@` if need be. By it",
            "machines know each other's telephones and calls. None: calls are of this machine alone.",
        ],
    },
    Setting {
        path: "cluster.store.node",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""berlin-1""#,
        },
        help: &[
            "What this machine is called among the others; no two may be called the same. Default: the host's name.",
        ],
    },
    Setting {
        path: "cluster.store.subject",
        kind: Kind::One,
        value: Value::Default(r#""moqswitch""#),
        help: &["What subjects begin with. Another phone system on the same servers has another."],
    },
    Setting {
        path: "cluster.store.ca",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/nats-ca.pem""#,
        },
        help: &["PEM file with who may issue the servers' certificates. Default: the system's authorities."],
    },
    Setting {
        path: "cluster.store.token_file",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/nats.token""#,
        },
        help: &["File with the token that lets this machine in at the servers. Default: what their URLs say."],
    },
];
