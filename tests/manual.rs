//! The manuals, checked: what they point to is there, and what they tell to type is understood.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use moqswitch::config::{Arguments, Config};

#[path = "manual/crates.rs"]
mod crates;

include!("manual/commands.rs");

const FRONT_PAGE_LINES_MAX: usize = 120;

#[test]
fn links_lead_somewhere() {
    let mut offences = Vec::new();
    let pages = pages();
    for manual in MANUALS {
        assert!(
            pages.iter().any(|page| page == manual),
            "{manual} is not among {pages:?}"
        );
    }
    for name in &pages {
        for link in links_of(&read(name)) {
            if !link.contains("://") && !leads_somewhere(name, &link) {
                offences.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Every page of the repository; what is built or fetched has none that count.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    let mut pending = vec![PathBuf::from(".")];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder)
            .expect("a folder of the repository is readable")
            .flatten()
        {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    pending.push(path);
                }
            } else if name.ends_with(".md") {
                let path = path.strip_prefix(".").unwrap_or(&path);
                pages.push(path.to_string_lossy().into_owned());
            }
        }
    }
    pages.sort();
    pages
}

#[test]
fn each_module_of_the_peers_has_a_row() {
    let text = read("tests/README.md");
    for entry in fs::read_dir("tests/interop/tests/peers")
        .expect("it is a folder")
        .flatten()
    {
        let name = entry.file_name().into_string().expect("names are ASCII");
        let is_told = name == "main.rs" || text.contains(&format!("| `{name}` |"));
        assert!(is_told, "{name} has no row in tests/README.md");
    }
}

#[test]
fn the_unit_may_write_where_the_manual_says() {
    let unit = read("tuning/moqswitch.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("StateDirectory="));
    let places: Vec<&str> = line.expect("it has places to write to").split(' ').collect();
    assert_eq!(places.len(), 4, "{places:?}");
    let text = read("src/OPERATING.md");
    for place in places {
        assert!(
            text.contains(&format!("`/var/lib/{place}`")),
            "{place} is not in the manual"
        );
    }
    for example in [
        "records = \"/var/lib/moqswitch/records\"",
        "directory = \"/var/lib/moqswitch/recordings\"",
    ] {
        assert!(text.contains(example), "the example has another place than {example}");
    }
}

#[test]
fn files_that_manuals_name_are_there() {
    let mut offences = Vec::new();
    for name in MANUALS {
        for text in code_of(&read(name)) {
            if looks_like_a_file(&text) && !is_there(name, &text) {
                offences.push(format!("{name}: `{text}`"));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_front_page_is_short_and_has_its_commands() {
    let text = read("README.md");
    let lines = text.lines().count();
    assert!(
        lines <= FRONT_PAGE_LINES_MAX,
        "{lines} lines, at most {FRONT_PAGE_LINES_MAX}"
    );
    let blocks = blocks_of("sh", &text);
    let first = blocks.first().expect("the front page begins with commands");
    for command in [
        "tuning/prepare.sh && cargo run --release ",
        "tuning/prepare.sh && cargo run --release -p loadgen",
        "tuning/prepare.sh && cargo test --workspace",
    ] {
        assert!(
            first.lines().any(|line| line.starts_with(command)),
            "no line begins with `{command}`"
        );
    }
}

#[test]
fn commands_of_the_relay_are_understood() {
    let mut count = 0;
    for name in MANUALS {
        for words in calls_of("moqswitch", &read(name)) {
            count += 1;
            let arguments = match Arguments::try_parse_from(&words) {
                Ok(arguments) => arguments,
                Err(error) => panic!("{name}: `{}`: {error}", words.join(" ")),
            };
            // A file that a reader is to write is not there.
            if arguments.flags.config.is_none()
                && let Err(error) = Config::load(&arguments.flags, [])
            {
                panic!("{name}: `{}`: {error}", words.join(" "));
            }
        }
    }
    assert!(count >= 5, "only {count} commands were found");
}

#[test]
fn configurations_in_the_manual_are_valid() {
    let blocks = blocks_of("toml", &read("src/OPERATING.md"));
    assert!(!blocks.is_empty());
    // Other files say so in their first line; those who read them try them.
    let is_configuration =
        |block: &&String| !block.starts_with("# /") || block.starts_with("# /etc/moqswitch/moqswitch.toml");
    for block in blocks.iter().filter(is_configuration) {
        if let Err(error) = Config::from_toml(block) {
            panic!("{error} in\n{block}");
        }
    }
}

#[test]
fn requests_have_a_route() {
    let routes = routes();
    assert!(routes.contains("/fetch") && routes.contains("/healthz"), "{routes:?}");
    let mut count = 0;
    for name in MANUALS {
        let text = read(name);
        for words in calls_of("curl", &text) {
            let urls = words.iter().filter(|word| word.contains("://"));
            for path in urls.filter_map(|url| path_of(url)) {
                count += 1;
                assert!(has_route(&routes, path), "{name}: no route for {path}");
            }
        }
        for code in code_of(&text) {
            if let Some(path) = code.strip_prefix("GET ") {
                count += 1;
                assert!(has_route(&routes, path), "{name}: no route for {path}");
            }
        }
    }
    assert!(count >= 5, "only {count} requests were found");
    let operating = read("src/OPERATING.md");
    for route in &routes {
        assert!(
            operating.contains(&format!("| `{route}")),
            "{route} is not in the table of paths"
        );
    }
}

#[test]
fn every_question_has_its_answer() {
    let text = read("tests/questions.md");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| question"))
        .collect();
    assert!(rows.len() >= 20, "{} questions", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert!(cells[0].ends_with('?'), "no question: {row}");
        assert_eq!(links_of(cells[2]).len(), 1, "one place for each answer: {row}");
    }
}

#[test]
fn every_metric_is_explained() {
    let text = read("src/OPERATING.md");
    let source = read("src/control/metrics.rs");
    let (_, tables) = source.split_once("const COUNTERS").expect("the table of counters");
    let (counters, others) = tables.split_once("const GAUGES").expect("the table of gauges");
    let counters = names_in(counters).into_iter().map(|name| format!("{name}_total"));
    let fixed = [
        "drops_total",
        "queue_depth",
        "queue_overflows_total",
        "websockets_refused_total",
        "webrtc_legs",
        "webrtc_sessions",
    ];
    for name in counters
        .chain(names_in(others))
        .chain(fixed.map(str::to_owned))
        .chain(names_of_calls())
        .chain(names_of_music())
    {
        assert!(text.contains(&format!("`{name}`")), "{name} is not explained");
    }
}

/// Of the metrics of calls, as the exposition has them.
fn names_of_calls() -> Vec<String> {
    let source = read("src/control/call_metrics.rs");
    let (source, _) = source.split_once("#[cfg(test)]").expect("it has tests");
    let names = |from: &str, to: &str| {
        let (_, table) = source.split_once(from).unwrap_or_else(|| panic!("no {from}"));
        let table = table.split_once(to).map_or(table, |(table, _)| table);
        // The rest are labels.
        let is_name = |name: &String| name.starts_with("calls") || name.starts_with("recordings");
        names_in(table).into_iter().filter(is_name)
    };
    let total = |name| format!("{name}_total");
    let mut all: Vec<String> = names("const CALL_GAUGES", "];").collect();
    all.extend(names("const CALL_COUNTERS", "];").map(total));
    all.extend(names("const CALL_HISTOGRAMS", "];"));
    all.extend(names("const LABELLED_COUNTERS", "];").map(total));
    all.extend(names("const RECORD_GAUGES", "];"));
    all.extend(names("const RECORD_COUNTERS", "];").map(total));
    all.extend(names("const RECORDING_COUNTERS", "];").map(total));
    all.extend(
        [
            "recordings",
            "calls_answering",
            "calls_queue_waiting",
            "calls_refused_total",
        ]
        .map(str::to_owned),
    );
    assert!(all.len() > 20, "only {all:?}");
    all
}

/// Of the metrics of music and prompts.
fn names_of_music() -> Vec<String> {
    let source = read("src/control/music_metrics.rs");
    let (_, tables) = source.split_once("const MUSIC_GAUGES").expect("the table of gauges");
    let (gauges, rest) = tables
        .split_once("const MUSIC_COUNTERS")
        .expect("the table of counters");
    let (counters, _) = rest.split_once("#[cfg(test)]").expect("it has tests");
    let mut all = names_in(gauges);
    all.extend(names_in(counters).into_iter().map(|name| format!("{name}_total")));
    assert_eq!(all.len(), 6, "{all:?}");
    all
}

#[test]
fn every_setting_is_explained() {
    let text = read("src/OPERATING.md");
    let files = ["settings", "cluster_settings", "call_settings", "recording_settings"];
    let source: String = files
        .iter()
        .map(|name| read(&format!("src/config/{name}.rs")))
        .collect();
    let mut count = 0;
    for line in source.lines() {
        let Some(path) = line
            .trim()
            .strip_prefix("path: \"")
            .and_then(|rest| rest.strip_suffix("\","))
        else {
            continue;
        };
        count += 1;
        assert!(text.contains(&format!("| `{path}` |")), "{path} is not explained");
    }
    assert!(count >= 20, "only {count} settings were found");
}

#[test]
fn lines_are_read_as_a_shell_reads_them() {
    let line = "A=1 tuning/prepare.sh && moqswitch --listen '[::]:1' --auth-public \"a b\" > out.txt # a comment";
    assert_eq!(
        commands_of(line),
        [
            vec!["tuning/prepare.sh"],
            vec!["moqswitch", "--listen", "[::]:1", "--auth-public", "a b"]
        ]
    );
    let manual = "```sh\na/moqswitch check \\\n    --json  # c\n```\n```toml\nmoqswitch = 1\n```\n";
    assert_eq!(calls_of("moqswitch", manual), [["a/moqswitch", "check", "--json"]]);
    assert_eq!(anchor_of("Start, drain and stop"), "start-drain-and-stop");
}

fn read(name: &str) -> String {
    // Cargo runs tests in the root of their package.
    match fs::read_to_string(name) {
        Ok(text) => text,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Targets of `[text](target)`.
fn links_of(text: &str) -> Vec<String> {
    text.match_indices("](")
        .filter_map(|(at, found)| text[at + found.len()..].split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// A link is relative to the folder of its manual; what follows `#` is a heading.
fn leads_somewhere(manual: &str, link: &str) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = Path::new(manual).parent().unwrap_or(Path::new(""));
    let target = if file.is_empty() {
        Path::new(manual).to_owned()
    } else {
        folder.join(file)
    };
    if anchor.is_empty() {
        return target.exists();
    }
    let Ok(text) = fs::read_to_string(&target) else {
        return false;
    };
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor_of(line.trim_start_matches('#').trim()) == anchor)
}

/// As GitHub makes it: small letters, digits and hyphens; spaces become hyphens.
fn anchor_of(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            _ => character.is_alphanumeric().then_some(character),
        })
        .collect()
}

/// Texts between single backticks, outside of blocks of code.
fn code_of(text: &str) -> Vec<String> {
    let mut is_block = false;
    let mut plain = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// A path of the repository, not one of a host, of a request or of a broadcast.
fn looks_like_a_file(text: &str) -> bool {
    let is_path = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    let has_ending = [".rs", ".sh", ".md", ".toml", "/"]
        .iter()
        .any(|end| text.ends_with(end));
    text.contains('/') && !text.starts_with('/') && has_ending && text.chars().all(is_path)
}

/// Beside the manual, or below the root.
fn is_there(manual: &str, file: &str) -> bool {
    let folder = Path::new(manual).parent().unwrap_or(Path::new(""));
    folder.join(file).exists() || Path::new(file).exists()
}

/// First segments of the routes that the relay has.
fn routes() -> BTreeSet<String> {
    read("src/control/routes.rs")
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .filter_map(|(route, _)| route.split('/').nth(1))
        .map(|segment| format!("/{segment}"))
        .collect()
}

fn has_route(routes: &BTreeSet<String>, path: &str) -> bool {
    let segment = path.split(['/', '?']).nth(1).unwrap_or_default();
    routes.contains(&format!("/{segment}"))
}

/// The path of a URL.
fn path_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.find('/').map(|at| &rest[at..])
}

/// String literals that are names: small letters, digits and underscores.
fn names_in(source: &str) -> Vec<String> {
    let is_name = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| !text.is_empty() && text.chars().all(is_name))
        .map(str::to_owned)
        .collect()
}
