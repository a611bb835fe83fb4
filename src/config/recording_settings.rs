//! The settings of recordings: path, default, unit and cost of each.

use super::form::{Kind, Setting, Value};

/// One section.
pub(super) const RECORDING_SETTINGS: &[Setting] = &[
    Setting {
        path: "recording.directory",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/var/lib/moqswitch/recordings""#,
        },
        help: &[
            "Directory of recordings of calls, which the switch makes: a directory for each day (UTC) on which some began.",
            "Default: nothing is recorded. What is said is in it: it, and each file, is for the user of the switch alone.",
        ],
    },
    Setting {
        path: "recording.format",
        kind: Kind::One,
        value: Value::Default(r#""native""#),
        help: &[
            "native: as it is spoken where one file can have that, Ogg Opus or WAV of G.711, and else WAV of samples.",
            "wav: WAV, always. What cannot be written as it is costs decoding.",
        ],
    },
    Setting {
        path: "recording.calls",
        kind: Kind::One,
        value: Value::Default("500"),
        help: &["Calls that are recorded at once, with a file or more each. Further ones are not recorded."],
    },
    Setting {
        path: "recording.age",
        kind: Kind::One,
        value: Value::Default(r#""0s""#),
        help: &["Recordings that ended longer ago are removed; 0: none is. A week is 7days."],
    },
    Setting {
        path: "recording.bytes",
        kind: Kind::One,
        value: Value::Default(r#""0""#),
        help: &["Beyond this the oldest recordings are removed; 0: none is."],
    },
    Setting {
        path: "recording.free",
        kind: Kind::One,
        value: Value::Default(r#""1GiB""#),
        help: &["With less free room on the disk recordings end, and none begins; calls go on. 0: until it is full."],
    },
    Setting {
        path: "recording.tone",
        kind: Kind::One,
        value: Value::Default(r#""0s""#),
        help: &[
            "Who is recorded hears a tone when that begins, and again after each such time, 5s to 10min. 0s: nobody does.",
            "Not while it pauses.",
        ],
    },
    Setting {
        path: "recording.upload.bucket",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""calls/north""#,
        },
        help: &[
            "Recordings that are over go to this bucket of an S3-compatible store as well, with what is behind a slash before",
            "their names. Default: they stay where they are, alone.",
        ],
    },
    Setting {
        path: "recording.upload.region",
        kind: Kind::One,
        value: Value::Default(r#""us-east-1""#),
        help: &["Region of the store, which its signatures have. Stores other than Amazon's mostly want this one."],
    },
    Setting {
        path: "recording.upload.endpoint",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""https://store.example:9000""#,
        },
        help: &["Where the store is; http:// for this host alone. Default: Amazon's, of that region."],
    },
    Setting {
        path: "recording.upload.credentials",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/store.key""#,
        },
        help: &[
            "File with the id of the key and, on the next line, its secret. Default: AWS_ACCESS_KEY_ID and",
            "AWS_SECRET_ACCESS_KEY of the environment. Read at the start.",
        ],
    },
    Setting {
        path: "recording.upload.ca",
        kind: Kind::One,
        value: Value::Unset {
            example: r#""/etc/moqswitch/store-ca.pem""#,
        },
        help: &["PEM file with the authorities that the store's certificate may be of. Default: the system's."],
    },
];
