//! The configuration that is shown for Asterisk, read as Asterisk and the switch read it.

use std::collections::BTreeMap;
use std::fs;

use moqswitch_asterisk::uuid::Key;
use moqswitch_asterisk::{Format, Request, Uuid};

use crate::host::{Host, KEY};

/// Sections of a file of Asterisk, each a list of names and values.
type Sections = BTreeMap<String, Vec<(String, String)>>;

#[test]
#[expect(clippy::too_many_lines, reason = "one dialplan, run as Asterisk runs it")]
fn the_dialplan_calls_the_number_that_was_dialled() {
    let sections = sections("extensions.conf");
    let globals: BTreeMap<&str, &str> = sections["globals"]
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(globals["MOQ_KEY"], KEY);
    let applications = |context: &str| -> Vec<(String, String)> {
        let mut variables: BTreeMap<String, String> = globals
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        variables.insert("EXTEN".to_owned(), "5001".to_owned());
        variables.insert("CALLERID(num)".to_owned(), "4711".to_owned());
        let mut run = Vec::new();
        for (name, value) in &sections[context] {
            assert!(name == "exten" || name == "same", "{name}");
            let step = match name.as_str() {
                "exten" => value.splitn(3, ',').nth(2).unwrap(),
                _ => value.strip_prefix("n,").unwrap(),
            };
            let (application, rest) = step.split_once('(').unwrap();
            let argument = expand(rest.strip_suffix(')').unwrap(), &variables);
            if application == "Set" {
                let (name, value) = argument.split_once('=').unwrap();
                variables.insert(name.to_owned(), value.to_owned());
            }
            run.push((application.to_owned(), argument));
        }
        run
    };
    let argument = |context: &str, application: &str| {
        let run = applications(context);
        let found = run.iter().find(|(name, _)| name == application);
        found
            .unwrap_or_else(|| panic!("no {application} in {context}"))
            .1
            .clone()
    };
    let called = |uuid: &str| {
        let uuid: Uuid = uuid.parse().unwrap();
        let called = uuid.called(&KEY.parse::<Key>().unwrap()).unwrap();
        assert_eq!((called.to.as_str(), called.from.as_deref()), ("5001", Some("4711")));
    };

    let dialled = argument("to-moqswitch-audiosocket", "Dial");
    let parts: Vec<&str> = dialled.split('/').collect();
    assert_eq!(parts[..2], ["AudioSocket", "127.0.0.1:9092"]);
    called(parts[2]);

    let arguments = argument("to-moqswitch-application", "AudioSocket");
    let (uuid, place) = arguments.split_once(',').unwrap();
    assert_eq!(place, "127.0.0.1:9092");
    called(uuid);
    assert_eq!(
        applications("to-moqswitch-application")[0].0,
        "Answer",
        "the application wants that"
    );

    let dialled = argument("to-moqswitch", "Dial");
    let parts: Vec<&str> = dialled.splitn(3, '/').collect();
    assert_eq!(parts[..2], ["WebSocket", "moqswitch"]);
    assert!(parts[2].starts_with("c(ulaw)nf(json)"), "{dialled}");
    // As Asterisk makes of it.
    let variables = parts[2].split_once("v(").unwrap().1.strip_suffix(')').unwrap();
    let client = &sections_of_client()["moqswitch"];
    let of = |name: &str| client.iter().find(|(key, _)| key == name).unwrap().1.as_str();
    assert_eq!(
        (of("protocols"), of("connection_type"), of("password")),
        ("media", "per_call_config", KEY)
    );
    let uri = of("uri").strip_prefix("ws://127.0.0.1:9093").unwrap();
    let request = Request::read(&format!("{uri}?{}", variables.replace(',', "&"))).unwrap();
    assert_eq!(
        (request.to.as_deref(), request.from.as_deref()),
        (Some("5001"), Some("4711"))
    );
    assert!(sections.contains_key("from-moqswitch"), "the context of asterisk.toml");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_are_read_by_a_switch() {
    let text = shown("asterisk.toml").replace("ari.secret", "secret");
    assert!(text.contains("\"from-moqswitch\"") && text.contains("WebSocket/moqswitch/"));
    let host = Host::start("examples", "", &text);
    let uuid = "40325ec2-5efd-4bd3-805f-53576e581d13".parse().unwrap();
    // Nobody is registered as 100: its call ends, but it is one.
    let mut known = crate::peers::AudioSocket::connect(&host, uuid).await;
    known.until_over().await;
    host.until("moqswitch_calls_attempts_total", |count| count == 1).await;
    assert_eq!("slin16".parse::<Format>(), Ok(Format::Linear(16_000)));
}

#[test]
fn what_is_wrong_with_ways_is_told_with_its_line() {
    let way = "[ways.pbx]\n";
    let ari = "ari = 'http://127.0.0.1:8088'\nuser = 'a'\nsecret_file = 'secret'\ncontext = 'c'\n";
    for (text, line, reason) in [
        (way.to_owned(), 1, "`audiosocket` or `ari`"),
        (
            format!("{way}audiosocket = '127.0.0.1:1'\nari = 'http://a:1'\n"),
            1,
            "`audiosocket` or `ari`",
        ),
        (
            format!("{way}audiosocket = '127.0.0.1:1'\nformat = 'ulaw'\n"),
            1,
            "linear samples",
        ),
        (
            format!("{way}audiosocket = '127.0.0.1:1'\nformat = 'mp3'\n"),
            1,
            "a format is",
        ),
        (format!("{way}{ari}"), 1, "`channel`"),
        (format!("{way}{ari}channel = 'PJSIP/a'\n"), 1, "WebSocket/"),
        (
            format!("{way}ari = 'https://a:1'\nchannel = 'WebSocket/a'\n"),
            1,
            "http://host:port",
        ),
        ("\n[uuids.x]\nnumber = '1'\n".to_owned(), 2, "32 hexadecimal digits"),
        (
            "[uuids.40325ec2-5efd-4bd3-805f-53576e581d13]\nnumber = 'a b'\n".to_owned(),
            1,
            "a number has",
        ),
    ] {
        let told = Host::try_start("faults", "", &text).err().expect("it is started");
        assert!(
            told.contains(&format!("ways.toml:{line}: ")) && told.contains(reason),
            "{told}"
        );
    }
}

fn sections_of_client() -> Sections {
    sections("websocket_client.conf")
}

fn sections(name: &str) -> Sections {
    let mut sections = Sections::new();
    let mut current = String::new();
    for line in shown(name).lines() {
        let line = line.split(';').next().unwrap().trim();
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section.clone_into(&mut current);
            sections.entry(current.clone()).or_default();
        } else if !line.is_empty() {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
            let value = value.strip_prefix('>').unwrap_or(value).trim();
            let known = sections.get_mut(&current).expect("before any section");
            known.push((key.trim().to_owned(), value.to_owned()));
        }
    }
    sections
}

fn shown(name: &str) -> String {
    let path = format!("{}/src/asterisk/configuration/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap()
}

/// Takes `${NAME}` and `${NAME:offset:length}` for what they stand for.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').unwrap();
        out += before;
        let mut parts = name.split(':');
        let value = &variables[parts.next().unwrap()];
        let numbers: Vec<usize> = parts.map(|part| part.parse().unwrap()).collect();
        out += match numbers.as_slice() {
            [offset, length] => &value[*offset..offset + length],
            _ => value,
        };
        rest = behind;
    }
    out + rest
}
