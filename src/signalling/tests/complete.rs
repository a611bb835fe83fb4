//! What clients may say and may be told, and every code of it, is in some transcript. A message that is added without one
//! fails here, as does one that the README does not have.

use std::collections::BTreeSet;

use moqswitch_signalling::calls::{Cause, Refusal};
use serde_json::Value;

/// Of the README, in which every message has a row.
const README: &str = include_str!("../README.md");

/// What becomes of what clients say.
const SAID: &str = include_str!("../messages/incoming.rs");

/// What clients are told.
const TOLD: [&str; 2] = [include_str!("../messages/told.rs"), include_str!("../messages/flat.rs")];

/// Every message in the transcripts that goes this way: `>` of clients, `<` to them.
fn messages(direction: char) -> Vec<Value> {
    let directory = crate::harness::beside("tests/golden");
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let transcripts = entries.filter(|path| path.extension().is_some_and(|end| end == "txt"));
    let texts: Vec<String> = transcripts.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mark = format!(" {direction} ");
    let lines = texts.iter().flat_map(|text| text.lines());
    let parts = lines.filter_map(|line| line.split_once(' ').map(|(who, rest)| (who, format!(" {rest}"))));
    parts
        .filter_map(|(_, rest)| serde_json::from_str(rest.strip_prefix(&mark)?).ok())
        .collect()
}

fn types(direction: char) -> BTreeSet<String> {
    let named = messages(direction).into_iter();
    named
        .filter_map(|message| message["type"].as_str().map(str::to_owned))
        .collect()
}

/// Words between backticks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The first column of the table below this head.
fn column(head: &str) -> BTreeSet<&'static str> {
    let (_, table) = README.split_once(head).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| words(row.split('|').nth(1).unwrap()))
        .flat_map(|cell| cell.split(' '))
        .collect()
}

/// The paragraph about the other dialect: what it may say before its first `registered`, what it is told from there on.
fn other_dialect() -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let (_, paragraph) = README.split_once("a socket speaks it whose first").unwrap();
    let (paragraph, _) = paragraph.split_once("\n\n").unwrap();
    let (_, said) = paragraph.split_once("It says").unwrap();
    let (said, told) = said.split_once("It is told").unwrap();
    let (told, _) = told.split_once('.').unwrap();
    let first = |text: &'static str| words(text).filter_map(|word| word.split(' ').next()).collect();
    (first(said), first(told))
}

/// Text between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}

/// What stands between quotes on the left of each `=>`.
fn arms(code: &str) -> BTreeSet<&str> {
    let lefts = code.lines().filter_map(|line| line.trim().split_once(" =>"));
    let named = lefts.filter(|(left, _)| left.starts_with('"'));
    // Of fields.
    let values = ["ready", "away", "to"];
    named
        .flat_map(|(left, _)| left.split('"').skip(1).step_by(2))
        .filter(|name| !values.contains(name))
        .collect()
}

/// The first text behind each of these calls.
fn made(code: &'static str) -> BTreeSet<&'static str> {
    let calls = code.split("Told::new(").skip(1);
    calls
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect()
}

fn missing<'a>(wanted: &BTreeSet<&'a str>, there: &BTreeSet<String>) -> Vec<&'a str> {
    wanted.iter().copied().filter(|name| !there.contains(*name)).collect()
}

#[test]
fn every_message_of_clients_is_in_a_transcript_and_in_the_readme() {
    let readme = column("| client says | payload | and is told |");
    let code = arms(between(SAID, "fn camel(", "fn register("));
    assert_eq!(code, readme, "what is understood, and what the README has");
    assert_eq!(missing(&readme, &types('>')), Vec::<&str>::new());
    let flat = arms(between(SAID, "fn flat(", "fn description("));
    let (readme, _) = other_dialect();
    assert_eq!(flat, readme, "the other dialect");
    assert_eq!(missing(&readme, &types('>')), Vec::<&str>::new());
}

#[test]
fn every_message_to_clients_is_in_a_transcript_and_in_the_readme() {
    let readme = column("| client is told | payload |");
    // `registered` and `resumed` are made by one function, which is told which; `ok` has no row of its own.
    let mut code = made(TOLD[0]);
    code.extend(["registered", "resumed"]);
    // Of the other dialect.
    code.remove("call_failed");
    let mut expected = readme.clone();
    expected.extend(["ok", "registrationFailed"]);
    assert_eq!(code, expected, "what is told, and what the README has");
    assert_eq!(missing(&expected, &types('<')), Vec::<&str>::new());
    let (_, readme) = other_dialect();
    assert_eq!(missing(&readme, &types('<')), Vec::<&str>::new());
    let missing = made(TOLD[1]);
    let missing: Vec<_> = missing.iter().filter(|name| !readme.contains(*name)).collect();
    assert_eq!(missing, Vec::<&&str>::new(), "the other dialect");
}

#[test]
fn every_code_that_is_told_is_in_a_transcript() {
    let told = messages('<');
    let of = |kind: &str, field: &str| -> BTreeSet<String> {
        let some = told.iter().filter(|message| message["type"] == kind);
        some.map(|message| message["payload"][field].to_string()).collect()
    };
    let errors = of("error", "code");
    let (_, codes) = README.split_once("Codes of `error`:").unwrap();
    let (codes, _) = codes.split_once("\n\n").unwrap();
    let codes = codes.split(|character: char| !character.is_ascii_digit());
    let codes: BTreeSet<&str> = codes.filter(|code| code.len() == 3).collect();
    assert_eq!(missing(&codes, &errors), Vec::<&str>::new());
    // Each refusal, but for what no client can bring about: to dial is not to originate, a switch that stops hears nobody,
    // too many devices are refused as registrations, browsers agree on no codec and are no telephones, and there is one machine.
    let others = [
        Refusal::UnknownNumber,
        Refusal::Stopping,
        Refusal::TooManyDevices,
        Refusal::AnswersItself,
        Refusal::Incompatible,
        Refusal::Away,
    ];
    let refusals = Refusal::ALL.into_iter().filter(|refusal| !others.contains(refusal));
    let refusals: Vec<String> = refusals.map(|refusal| format!("\"{}\"", refusal.name())).collect();
    let details = of("error", "details");
    let untold: Vec<_> = refusals.iter().filter(|name| !details.contains(*name)).collect();
    assert_eq!(untold, Vec::<&String>::new());
    let reasons = of("callEnded", "reason");
    let causes: Vec<String> = Cause::ALL.iter().map(|cause| format!("\"{}\"", cause.name())).collect();
    let untold: Vec<_> = causes.iter().filter(|name| !reasons.contains(*name)).collect();
    assert_eq!(untold, Vec::<&String>::new());
    let registrations = of("registrationFailed", "code");
    for code in ["400", "401", "403", "409", "429", "503"] {
        // What is malformed is an `error`, as nobody is known by then.
        assert!(registrations.contains(code) || code == "400", "{code}");
    }
}

#[test]
fn every_code_by_which_sockets_are_closed_is_in_a_transcript() {
    let closed: BTreeSet<String> = messages('<')
        .iter()
        .filter_map(|message| Some(message["close"].as_u64()?.to_string()))
        .collect();
    let (_, table) = README.split_once("| close code | |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let codes: BTreeSet<&str> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    assert!(codes.len() > 5, "{codes:?}");
    assert_eq!(missing(&codes, &closed), Vec::<&str>::new());
}
