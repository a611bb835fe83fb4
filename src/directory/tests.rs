use std::fs;
use std::path::PathBuf;

use moqswitch_signalling::User;

use super::*;
use crate::config::Config;

#[test]
fn each_file_is_read() {
    let directory = Directory::new("read");
    directory.write("password", "clear\n");
    directory.write("board.key", "0123456789abcdef\n");
    directory.write("tokens", &"x".repeat(32));
    let hash = User::hash("secret").unwrap();
    directory.write(
        "users.toml",
        &format!(
            "[users.5001]\nhash = \"{hash}\"\nname = \"Alice\"\nsupervisor = true\n\n\
             [users.\"+4930123\"]\npassword_file = \"password\"\n"
        ),
    );
    directory.write(
        "keys.toml",
        &format!(
            "[keys.board]\nsecret_file = \"board.key\"\nscopes = [\"read\"]\n\
             [keys.root]\nsha256 = \"{}\"\nscopes = [\"admin\"]\n",
            "0a".repeat(32)
        ),
    );
    directory.write(
        "webhooks.toml",
        "[webhooks.crm]\nurl = \"http://127.0.0.1:8080/x\"\nsecret_file = \"board.key\"\nevents = [\"callRecord\"]\n",
    );
    let config = directory.config("users = U\nkeys = K\nwebhooks = W\ntokens = T\napi_tokens = T\n");
    let entrance = entrance(&config).unwrap();
    assert_eq!(entrance.users.map(|users| users.len()), Some(2));
    assert!(entrance.tokens.is_some() && entrance.callback.is_none());
    let (keys, tokens) = programs(&config).unwrap();
    assert_eq!((keys.len(), tokens.is_some()), (2, true));
    assert_eq!(webhooks(&config).unwrap().len(), 1);
    assert!(dialplan(&config).is_ok());
}

#[test]
fn faults_are_told_with_file_and_line_and_without_secrets() {
    let directory = Directory::new("faults");
    directory.write("short.key", "hunter2\n");
    let users = |text: &str| {
        directory.write("users.toml", text);
        let error = entrance(&directory.config("users = U\n")).unwrap_err().to_string();
        error.rsplit_once('/').unwrap().1.to_owned()
    };
    for (text, words) in [
        (
            "[users.5001]\n",
            "users.toml:1: 5001 needs one of `hash` and `password_file`",
        ),
        (
            "[users.5001]\nname = \"x\"\nhash = \"hunter2\"\n",
            "users.toml:3: `hash`: it is no hash of Argon2",
        ),
        (
            "\n[users.5001]\nhush = \"hunter2\"\n",
            "users.toml:3: unknown field `hush`",
        ),
        ("[users.\"50 01\"]\nhash = \"x\"\n", "users.toml:1: "),
        ("[users.5001]\nhash = hunter2\n", "users.toml:2: "),
        ("[users.5001]\n[users.5001]\n", "users.toml:2: "),
        ("[user.5001]\n", "users.toml:1: unknown field `user`"),
        ("[users.5001]\nsupervisor = 1\n", "users.toml:2: "),
    ] {
        let error = users(text);
        assert!(error.starts_with(words), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let missing = users("[users.5001]\npassword_file = \"nowhere\"\n");
    assert!(
        missing.contains("nowhere") && missing.contains("cannot be read"),
        "{missing}"
    );
}

#[test]
fn faults_of_keys_webhooks_and_the_dialplan_are_told_alike() {
    let directory = Directory::new("more-faults");
    directory.write("short.key", "hunter2\n");
    let keys = |text: &str| {
        directory.write("keys.toml", text);
        programs(&directory.config("keys = K\n")).unwrap_err().to_string()
    };
    for (text, words) in [
        (
            "[keys.a]\nsha256 = \"0a\"\nscopes = [\"read\"]\n",
            "keys.toml:2: `sha256` is 64 hexadecimal digits",
        ),
        (
            "[keys.a]\nsecret_file = \"short.key\"\nscopes = [\"read\"]\n",
            "needs 16 bytes, and has 7",
        ),
        (
            "[keys.a]\nsecret_file = \"short.key\"\nscopes = [\"read\", \"write\"]\n",
            "keys.toml:3: there is no scope `write`",
        ),
        (
            "[keys.a]\nsecret_file = \"short.key\"\nscopes = []\n",
            "keys.toml:1: a needs a scope",
        ),
        (
            "[keys.a]\nsecret_file = \"short.key\"\n",
            "keys.toml:1: missing field `scopes`",
        ),
    ] {
        let error = keys(text);
        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    directory.write("good.key", "0123456789abcdef");
    for (text, words) in [
        (
            "[webhooks.a]\nurl = \"https://x/\"\nsecret_file = \"good.key\"\n",
            "webhooks.toml:2: `url` is http://",
        ),
        (
            "[webhooks.a]\nurl = \"http://x/\"\nsecret_file = \"good.key\"\nevents = [\"call\"]\n",
            "webhooks.toml:4: there is no event `call`",
        ),
        ("[webhooks.a]\nurl = \"http://x/\"\n", "missing field `secret_file`"),
    ] {
        directory.write("webhooks.toml", text);
        let error = webhooks(&directory.config("webhooks = W\n")).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }

    directory.write("dialplan.toml", "[[rules]]\nto = \"1\"\ntarget = \"group/none\"\n");
    let error = dialplan(&directory.config("dialplan = D\n")).unwrap_err().to_string();
    assert!(error.contains("dialplan.toml:3: there is no group `none`"), "{error}");
}

#[test]
fn files_that_are_too_long_are_refused_unread() {
    let directory = Directory::new("long");
    directory.write("keys.toml", &"#".repeat(crate::limits::PROGRAMS_BYTES_MAX + 1));
    let error = programs(&directory.config("keys = K\n")).unwrap_err().to_string();
    assert!(error.contains("has more than"), "{error}");
    directory.write("tokens", "x\ny\nzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz");
    let error = entrance(&directory.config("tokens = T\n")).unwrap_err().to_string();
    assert!(error.contains("more than one line"), "{error}");
}

/// Those of the manual, as they stand there.
#[test]
fn examples_of_the_manual_are_read() {
    let manual = include_str!("../OPERATING.md");
    let directory = Directory::new("manual");
    let blocks = manual.split("```toml\n# /etc/moqswitch/").skip(1);
    let examples = blocks.filter_map(|block| block.split_once("```")?.0.split_once('\n'));
    let names: Vec<&str> = examples
        .map(|(name, text)| {
            if name == "moqswitch.toml" {
                assert_eq!(
                    Config::from_toml(text).map(drop).map_err(|error| error.to_string()),
                    Ok(())
                );
            }
            directory.write(name, text);
            name
        })
        .collect();
    assert_eq!(
        names,
        [
            "moqswitch.toml",
            "users.toml",
            "trunks.toml",
            "dialplan.toml",
            "trunks-by-tls.toml",
            "keys.toml",
            "webhooks.toml",
            // Of recordings and their uploads, of music.
            "moqswitch.toml",
            "moqswitch.toml",
            "moqswitch.toml",
        ]
    );
    for name in ["fax.password", "city.password", "crm.key", "crm-webhook.key"] {
        directory.write(name, "0123456789abcdef\n");
    }
    let config = directory.config("users = U\nkeys = K\nwebhooks = W\n");
    let plan = trunks::read(&directory.0.join("trunks.toml"), false).unwrap();
    assert_eq!((plan.trunks.len(), plan.groups[0].members.len()), (2, 2));
    for name in ["carrier-ca", "switch"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        directory.write(&format!("{name}.pem"), &certificate.pem());
        directory.write(&format!("{name}.key"), &key.serialize_pem());
    }
    let plan = trunks::read(&directory.0.join("trunks-by-tls.toml"), true).unwrap();
    let of_plan = plan
        .trunks
        .first()
        .map(|own| (own.encryption.is_some(), own.trunk.certificate_name.as_deref()));
    assert_eq!(of_plan, Some((true, Some("sip.carrier.example"))));
    assert_eq!(entrance(&config).unwrap().users.map(|users| users.len()), Some(2));
    assert_eq!(programs(&config).unwrap().0.len(), 2);
    assert_eq!(webhooks(&config).unwrap().len(), 1);
}

#[test]
fn trunks_are_read_and_faults_say_where() {
    let directory = Directory::new("trunks");
    let path = directory.0.join("trunks.toml");
    let read = |text: &str| {
        directory.write("trunks.toml", text);
        trunks::read(&path, false)
    };
    let city = "[trunks.city]\naddress = \"127.0.0.1:5060\"\n";
    let rules = "numbers_out = [{ begins = \"0\", strip = 1, add = \"+49\" }]\nnumbers_in = [{ begins = \"+49\", strip = 3, add = \"0\" }]\n";
    let group = "[groups.out]\ntrunks = [{ trunk = \"city\", weight = 3 }]\n";
    let plan = read(&format!("{city}calls = 30\n{rules}headers = [\"X-*\"]\n{group}")).unwrap();
    let trunk = &plan.trunks[0];
    assert_eq!((trunk.number.as_str(), trunk.calls_max), ("city", 30));
    assert_eq!(trunk.numbers_out.translate("030123"), "+4930123");
    assert_eq!(trunk.numbers_in.translate("+4930123"), "030123");
    assert_eq!(plan.groups[0].members, [(trunk.number.clone(), 0, 3)]);
    for (text, line, why) in [
        (format!("{city}domain = \"no domain\"\n"), 3, "domain"),
        (format!("{city}headers = [\"Via\"]\n"), 3, "never passed on"),
        (format!("{city}register = true\n"), 1, "needs `user`"),
        (format!("{city}[groups.city]\ntrunks = []\n"), 3, "a trunk of that name"),
        (
            format!("{city}[groups.out]\ntrunks = [{{ trunk = \"town\" }}]\n"),
            4,
            "no trunk `town`",
        ),
        (format!("{city}calls = -1\n"), 3, "-1"),
        (format!("{city}tls = true\ntcp = true\n"), 1, "not by both"),
        (format!("{city}ca = \"ca.pem\"\n"), 1, "need `tls`"),
        (
            format!("{city}tls = true\ncertificate = \"own.pem\"\n"),
            1,
            "each other",
        ),
        (format!("{city}tls = true\nca = \"nowhere.pem\"\n"), 1, "nowhere.pem"),
        (format!("{city}certificate_name = \"city\"\n"), 1, "sip.tls_client_ca"),
        (
            format!("{city}tls = true\n[trunks.town]\naddress = \"127.0.0.1:5060\"\ntls = true\ndomain = \"town\"\n"),
            4,
            "has this address",
        ),
        // However it is written.
        (
            format!("{city}tls = true\n[trunks.town]\naddress = \"127.1:5060\"\ntls = true\ndomain = \"town\"\n"),
            4,
            "has this address",
        ),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(&format!(":{line}:")) && error.contains(why), "{error}");
    }
}

#[test]
fn trunks_by_tls_are_the_same_while_their_files_are_and_one_of_ipv6_is_called_as_certificates_have_it() {
    let directory = Directory::new("trunks-by-tls");
    let path = directory.0.join("trunks.toml");
    let read = || trunks::read(&path, false).unwrap().trunks.remove(0).encryption.unwrap();
    let issue = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
        directory.write("ca.pem", &parameters.self_signed(&key).unwrap().pem());
    };
    issue();
    directory.write(
        "trunks.toml",
        "[trunks.city]\naddress = \"[::1]:5061\"\ntls = true\nca = \"ca.pem\"\n",
    );
    let first = read();
    assert_eq!(format!("{first:?}"), "TrunkTls to ::1");
    assert_eq!(first.fingerprint(), read().fingerprint());
    issue();
    assert_ne!(first.fingerprint(), read().fingerprint());
}

#[test]
fn a_trunk_by_tls_is_told_apart_that_cannot_connect_to_us() {
    let directory = Directory::new("trunks-no-way-in");
    directory.write(
        "trunks.toml",
        "[trunks.city]\naddress = \"127.0.0.1:5061\"\ntls = true\n",
    );
    let of = |listens: &str| {
        let path = directory.0.join("trunks.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\n[sip]\nudp = \"127.0.0.1:0\"\n{listens}trunks = \"{}\"\n",
            path.display()
        );
        let calls = Config::from_toml(&text).unwrap().calls.unwrap();
        let plan = trunks(&calls).unwrap();
        without_way_in(&calls, &plan)
    };
    assert!(of("").is_some_and(|reason| reason.contains("`city`") && reason.contains("sip.tls")));
    assert_eq!(of("tls = \"127.0.0.1:0\"\n"), None);
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moqswitch-directory-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Capitals stand for files of the directory.
    fn config(&self, calls: &str) -> CallsConfig {
        let names = [
            ("U", "users.toml"),
            ("K", "keys.toml"),
            ("W", "webhooks.toml"),
            ("T", "tokens"),
            ("D", "dialplan.toml"),
        ];
        let mut text = format!("[calls]\n{calls}");
        for (letter, name) in names {
            text = text.replace(
                &format!("= {letter}\n"),
                &format!("= \"{}\"\n", self.0.join(name).display()),
            );
        }
        Config::from_toml(&text).unwrap().calls.unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
