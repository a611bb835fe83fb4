use std::path::PathBuf;

use clap::Parser;
use moqswitch_relay::{BatchWindow, RelayOptions};

use super::*;

#[test]
fn template_parses_back_to_the_defaults() {
    assert_eq!(Config::from_toml(&template()).unwrap(), Config::default());
}

#[test]
fn template_examples_are_valid_values() {
    let examples: String = template()
        .lines()
        .filter_map(|line| match line.strip_prefix("# ") {
            Some(line) if line.contains(" = ") || line.starts_with("[[") => Some(line),
            Some(_) => None,
            None => Some(line),
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    // An auth server decides alone; so the examples are not valid all together.
    let (_, url) = examples.split_once("\nurl = ").unwrap();
    let url = url.lines().next().unwrap();
    let node = Config::from_toml(&format!("[auth]\nurl = {url}\nnode = \"n\"")).unwrap();
    assert_eq!(
        node.auth.authority.unwrap().url.request_uri(),
        "https://auth.example:443/moq"
    );
    let examples = examples.replace("\nurl = ", "\n# url = ");
    let config = Config::from_toml(&examples).unwrap();
    assert_eq!(config.cores, Some(vec![0, 1, 2, 3, 6]));
    assert_eq!(config.tls.certificates.len(), 1);
    assert!(config.auth.public.matches("anon/room"));
    assert_eq!(config.auth.key, Some(PathBuf::from("/etc/moqswitch/token.jwk")));
    assert_eq!(config.shards, NonZeroUsize::new(4));
    assert_eq!(config.state_directory, Some(PathBuf::from("/var/lib/moqswitch/relay")));
}

#[test]
fn an_auth_server_decides_alone() {
    let url = "[auth]\nurl = \"unix:///run/auth.sock\"\n";
    let config = Config::from_toml(&format!("listen = \"0.0.0.0:1\"\n{url}")).unwrap();
    assert!(config.auth.public.is_empty() && config.auth.authority.is_some());
    assert!(!config.auth.authority.unwrap().node.is_empty(), "the name of the host");
    for other in ["key = \"x.jwk\"", "public = [\"anon/**\"]", "public = []"] {
        let error = Config::from_toml(&format!("{url}{other}")).unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.contains("cannot both be set"),
            "{error}"
        );
    }
    let error = Config::from_toml("[auth]\nurl = \"http://auth.example/\"")
        .unwrap_err()
        .to_string();
    assert!(error.contains("loopback addresses only"), "{error}");
}

#[test]
fn defaults_are_loopback_and_open() {
    let config = Config::default();
    assert_eq!(config.listen, "127.0.0.1:4443".parse().unwrap());
    assert_eq!(config.http, config.listen);
    assert_eq!(config.admin, Some("127.0.0.1:4444".parse().unwrap()));
    assert!(config.auth.public.matches("") && config.auth.public.matches("a/b/c"));
    assert_eq!(config.batch_window, BatchWindow::Fixed(Duration::from_micros(750)));
    assert_eq!(config.limits.cache_bytes_max, 256 << 20);
    assert_eq!(config.origin.hop_id, None);
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = TemporaryFile::new(
        "layers",
        "shards = 1\nbatch_window = \"1ms\"\n[limits]\ncache_age = \"1s\"\n",
    );
    let flags = flags(&["--shards", "3", "--config", file.path()]);
    let environment = [("MOQSWITCH_SHARDS", "2"), ("MOQSWITCH_BATCH_WINDOW", "2ms")];
    let config = Config::load(&flags, variables(&environment)).unwrap();
    assert_eq!(config.shards, NonZeroUsize::new(3));
    assert_eq!(config.batch_window, BatchWindow::Fixed(Duration::from_millis(2)));
    assert_eq!(config.limits.cache_age_max, Duration::from_secs(1));
    assert_eq!(config.quic.idle_timeout, Duration::from_secs(30));
}

#[test]
fn environment_may_name_the_file() {
    let file = TemporaryFile::new("named", "spin = true\n");
    let environment = [("MOQSWITCH_CONFIG", file.path())];
    let config = Config::load(&Flags::default(), variables(&environment)).unwrap();
    assert!(config.spin);
}

#[test]
fn missing_file_is_named() {
    let error = Config::load(&flags(&["--config", "/nowhere/x.toml"]), []).unwrap_err();
    assert!(error.to_string().contains("/nowhere/x.toml"), "{error}");
}

#[test]
fn unknown_key_names_line_and_nearest() {
    assert_eq!(
        error_of("\n[auth]\npubic = [\"**\"]\n"),
        "line 3: unknown key `auth.pubic`: did you mean `auth.public`?"
    );
    assert_eq!(
        error_of("[quick]\nidle_timeout = \"1s\"\n"),
        "line 2: unknown key `quick.idle_timeout`: did you mean `quic.idle_timeout`?"
    );
    assert_eq!(
        error_of("idle_timeout = \"1s\"\n"),
        "line 1: unknown key `idle_timeout`: did you mean `quic.idle_timeout`?"
    );
    assert_eq!(
        error_of("frobnicate = 1\n"),
        "line 1: unknown key `frobnicate`; `moqswitch config` prints the known ones"
    );
    assert_eq!(
        error_of("[[tls.certificates]]\ncertificate = \"a\"\nkeys = \"b\"\n"),
        "line 3: unknown key `tls.certificates.keys`: did you mean `tls.certificates.key`?"
    );
}

#[test]
fn unknown_variable_names_the_nearest() {
    let environment = [("HOME", "/"), ("MOQSWITCH_SHARD", "2")];
    let error = Config::load(&Flags::default(), variables(&environment)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown environment variable `MOQSWITCH_SHARD`: did you mean `MOQSWITCH_SHARDS`?"
    );
}

#[test]
fn empty_variable_counts_as_unset() {
    let environment = [("MOQSWITCH_SHARDS", ""), ("MOQSWITCH_TLS_CERT", "")];
    let config = Config::load(&Flags::default(), variables(&environment)).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn variable_lists_are_separated_by_commas() {
    let environment = [
        ("MOQSWITCH_AUTH_PUBLIC", "anon/**, room/*"),
        ("MOQSWITCH_CORES", "0,2-3"),
        ("MOQSWITCH_TLS_CERT", "a.pem,b.pem"),
        ("MOQSWITCH_TLS_KEY", "a.key,b.key"),
    ];
    let config = Config::load(&Flags::default(), variables(&environment)).unwrap();
    assert!(config.auth.public.matches("anon/a/b") && config.auth.public.matches("room/1"));
    assert!(!config.auth.public.matches("other"));
    assert_eq!(config.cores, Some(vec![0, 2, 3]));
    assert_eq!(config.tls.certificates[1].key, PathBuf::from("b.key"));
}

#[test]
fn every_certificate_needs_a_key() {
    let flags = flags(&["--tls-cert", "a.pem", "--tls-key", "a.key", "--tls-cert", "b.pem"]);
    let error = Config::load(&flags, []).unwrap_err();
    assert!(matches!(
        error,
        ConfigError::Unpaired {
            certificates: 2,
            keys: 1,
            ..
        }
    ));
}

#[test]
fn public_address_needs_a_decision() {
    for text in [
        "listen = \"0.0.0.0:4443\"",
        "http = \"192.0.2.1:80\"",
        "listen = \"[::]:1\"",
    ] {
        let error = error_of(text);
        assert!(error.contains("auth.public"), "{error}");
    }
    let decided = "listen = \"0.0.0.0:4443\"\n[auth]\npublic = [\"anon/**\"]";
    let config = Config::from_toml(decided).unwrap();
    assert!(config.auth.public.matches("anon/a"));
    assert!(!config.auth.public.matches("room"));
    let nobody = "listen = \"0.0.0.0:4443\"\n[auth]\npublic = []";
    assert!(!Config::from_toml(nobody).unwrap().auth.public.may_match_below(""));
}

#[test]
fn with_keys_nothing_is_public_unless_it_is_said() {
    let config = Config::from_toml("listen = \"0.0.0.0:4443\"\n[auth]\nkey = \"a.jwk\"").unwrap();
    assert!(!config.auth.public.may_match_below(""));
    let environment = [("MOQSWITCH_AUTH_KEY", "keys"), ("MOQSWITCH_AUTH_PUBLIC", "anon/**")];
    let config = Config::load(&Flags::default(), variables(&environment)).unwrap();
    assert!(config.auth.public.matches("anon/x") && !config.auth.public.matches("x"));
    let config = Config::load(&flags(&["--auth-key", "b.jwk"]), variables(&environment)).unwrap();
    assert_eq!(config.auth.key, Some(PathBuf::from("b.jwk")));
    assert!(error_of("[auth]\nkey = \"\"").contains("a file or a directory"));
}

#[test]
fn all_of_127_and_mapped_loopback_are_loopback() {
    for address in ["127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        Config::from_toml(&format!("listen = \"{address}\"")).unwrap();
    }
}

#[test]
fn values_out_of_range_say_what_is_allowed() {
    let cases = [
        ("shards = 0", "1 to 256"),
        ("shards = -1", "1 to 256"),
        ("batch_window = \"11ms\"", "at most 10ms"),
        ("batch_window = 200", "unit"),
        ("batch_window = \"auto:11ms\"", "at most 10ms"),
        ("batch_window = \"automatic\"", "auto:1ms"),
        ("listen = \"4443\"", "127.0.0.1:4443"),
        ("listen = [\"127.0.0.1:1\", \"[::1]:1\"]", "single"),
        ("cores = \"3-1\"", "3-1"),
        ("[quic]\nudp_payload = 1199", "1200"),
        ("[quic]\nidle_timeout = \"10ms\"", "1s"),
        ("[quic]\nstream_window = \"9MiB\"", "connection_window"),
        ("[quic]\ncongestion_control = \"reno\"", "cubic"),
        ("[log]\nlevel = \"infoo\"", "debug"),
        ("[limits]\ncache_bytes = \"lots\"", "256MiB"),
        ("[origin]\nhop_id = \"4611686018427387904\"", "4611686018427387903"),
        ("[auth]\npublic = [\"a*b*\"]", "more than one `*`"),
        ("spin = \"yes\"", "true or false"),
        ("spin = 1.5", "single"),
        ("auth = true", "table"),
        ("[auth]\npublic = [[1]]", "list"),
    ];
    for (text, expected) in cases {
        let error = error_of(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn value_errors_name_their_source() {
    let error = Config::load(&flags(&["--shards", "many"]), []).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("flag --shards: `shards` cannot be `many`"),
        "{error}"
    );
    let error = Config::load(&Flags::default(), variables(&[("MOQSWITCH_SPIN", "maybe")])).unwrap_err();
    assert!(
        error.to_string().starts_with("environment variable MOQSWITCH_SPIN: "),
        "{error}"
    );
    let file = TemporaryFile::new("source", "\nspin = 3\n");
    let error = Config::load(&flags(&["--config", file.path()]), []).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("{}:2: ", file.path())),
        "{error}"
    );
}

#[test]
fn syntax_errors_name_the_line() {
    let error = error_of("spin = true\nlisten = [\n");
    assert!(error.starts_with("line "), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn zero_means_zero_for_linger_and_window() {
    let config = Config::from_toml("batch_window = \"0s\"\n[limits]\ntrack_linger = \"0s\"").unwrap();
    assert_eq!(config.batch_window, BatchWindow::Fixed(Duration::ZERO));
    for (text, us) in [("auto", 750), ("auto:1ms", 1000)] {
        let config = Config::from_toml(&format!("batch_window = \"{text}\"")).unwrap();
        let max = Duration::from_micros(us);
        assert_eq!(config.batch_window, BatchWindow::ByLoad { max });
    }
    assert_eq!(config.limits.track_linger, Duration::ZERO);
}

#[test]
fn check_takes_the_same_flags() {
    let arguments = Arguments::try_parse_from(["moqswitch", "check", "--config", "a.toml", "--json"]).unwrap();
    assert_eq!(arguments.command, Some(Command::Check { json: true }));
    assert_eq!(arguments.flags.config, Some(PathBuf::from("a.toml")));
    assert!(Arguments::try_parse_from(["moqswitch", "--sharts", "1"]).is_err());
}

fn flags(arguments: &[&str]) -> Flags {
    let arguments = [&["moqswitch"], arguments].concat();
    Arguments::try_parse_from(arguments).unwrap().flags
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn certificates_that_everybody_needs_and_those_of_trunks_do_not_go_together() {
    let text = |auth: &str| {
        format!(
            "[tls]\nclient_ca = \"clients.pem\"\nclient_auth = \"{auth}\"\n[sip]\ntls = \"127.0.0.1:5061\"\n\
             tls_client_ca = \"carriers.pem\"\n"
        )
    };
    assert!(Config::from_toml(&text("optional")).is_ok());
    let error = error_of(&text("required"));
    assert!(
        error.contains("line 6") && error.contains("sip.tls_client_ca") && error.contains("required"),
        "{error}"
    );
}

fn error_of(text: &str) -> String {
    Config::from_toml(text).unwrap_err().to_string()
}

struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, text: &str) -> Self {
        let file = format!("moqswitch-config-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nothing_is_recorded_without_a_directory() {
    let calls = |text: &str| Config::from_toml(text).map(|config| config.calls.unwrap().recording);
    assert_eq!(calls("[recording]\nformat = \"wav\"\n").unwrap(), None);
    let text =
        "[recording]\ndirectory = \"/r\"\nage = \"7days\"\nbytes = \"1GiB\"\nfree = \"0\"\ncalls = 7\ntone = \"15s\"\n";
    let recording = calls(text).unwrap().unwrap();
    assert_eq!(recording.directory, std::path::Path::new("/r"));
    assert_eq!(
        (recording.calls_max, recording.bytes_max, recording.free_min),
        (7, 1 << 30, 0)
    );
    assert_eq!(recording.age_max, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(recording.tone, Duration::from_secs(15));
    assert_eq!(recording.settings().format, moqswitch_recording::Format::Native);
    for wrong in [
        "format = \"mp3\"",
        "calls = 0",
        "calls = 10001",
        "bytes = \"x\"",
        "tone = \"1s\"",
        "tone = \"1h\"",
    ] {
        assert!(calls(&format!("[recording]\n{wrong}\n")).is_err(), "{wrong}");
    }
}

#[test]
fn every_setting_is_compared() {
    let config = Config::default();
    let compared: Vec<&str> = config.values().into_iter().map(|(path, _)| path).collect();
    for setting in settings::all() {
        assert!(compared.contains(&setting.path), "{} is not compared", setting.path);
    }
    assert_eq!(config.changes(&config), []);
    let other = Config::from_toml("[limits]\nconnections = 7\n[auth]\npublic = [\"anon/**\"]").unwrap();
    let changes: Vec<String> = config.changes(&other).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        ["auth.public ** \u{2192} anon/**", "limits.connections 10000 \u{2192} 7"]
    );
}

/// One source of defaults: the table of settings says what the library does by itself. Each option is here, so that one
/// which is added does not go unlooked at.
#[test]
fn defaults_of_the_table_are_those_of_the_relay() {
    let table = Config::default().relay_options();
    let RelayOptions {
        listen,
        shards,
        cores,
        batch_window,
        spin,
        certified,
        grant,
        hop,
        cost,
        connections_max,
        attempts_per_second,
        connections_per_address,
        retry_above,
        answers_per_second,
        token_checks,
        overload,
        memory,
        operations_per_second,
        announcements_per_second,
        transport,
        tracks,
        sessions,
        announcements,
        sockets,
        ring,
        mesh,
        drain_uri,
        names,
        // What is read from files or made at the start.
        certificates: _,
        clients: _,
        keys: _,
        kin: _,
        reset_key: _,
        devices: _,
        generations: _,
        heritage: _,
        // What the program takes part in.
        web_requests: _,
        admissions: _,
        feed: _,
    } = RelayOptions::default();
    assert_eq!(table.listen, listen);
    assert_eq!((table.shards, table.cores), (shards, cores));
    assert_eq!((table.batch_window, table.spin), (batch_window, spin));
    assert_eq!((table.certified, table.grant), (certified, grant));
    assert_eq!((table.hop, table.cost), (hop, cost));
    assert_eq!(table.connections_max, connections_max);
    assert_eq!(table.attempts_per_second, attempts_per_second);
    assert_eq!(table.connections_per_address, connections_per_address);
    assert_eq!(table.retry_above, retry_above);
    assert_eq!(table.answers_per_second, answers_per_second);
    assert_eq!(table.token_checks, token_checks);
    assert_eq!((table.overload, table.memory), (overload, memory));
    assert_eq!(table.operations_per_second, operations_per_second);
    assert_eq!(table.announcements_per_second, announcements_per_second);
    assert_eq!(table.announcements, announcements);
    assert_eq!((table.mesh, table.drain_uri), (mesh, drain_uri));
    assert_eq!(table.names, names);
    for (table, library) in [
        (format!("{:?}", table.transport), format!("{transport:?}")),
        (format!("{:?}", table.tracks), format!("{tracks:?}")),
        (format!("{:?}", table.sessions), format!("{sessions:?}")),
        (format!("{:?}", table.sockets), format!("{sockets:?}")),
        (format!("{:?}", table.ring), format!("{ring:?}")),
    ] {
        assert_eq!(table, library);
    }
}
