//! The rules of the house, checked: which layer may use which, how long files and
//! functions may be, and that no file is dead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of `src/` each one may name with `crate::`. What is not listed here may
/// use anything (`relay`, `options`: they put the whole together).
const LAYERS: &[(&str, &[&str])] = &[
    ("wire", &["wire", "limits"]),
    ("session", &["session", "wire", "limits"]),
    ("routing", &["routing", "wire", "limits"]),
    ("net", &["net", "limits"]),
    ("quic", &["quic", "net", "wire", "limits"]),
    ("qmux", &["qmux", "wire", "limits"]),
    (
        "shard",
        &[
            "shard",
            "quic",
            "qmux",
            "net",
            "session",
            "routing",
            "wire",
            "limits",
            "auth",
            "ratelimit",
        ],
    ),
    // `control` talks to shards by messages: it may name those and nothing else of them.
    (
        "control",
        &[
            "control",
            "shard",
            "qmux",
            "limits",
            "certificate",
            "config",
            "ratelimit",
            "auth",
        ],
    ),
];

/// Modules that may not contain `unsafe`, beside the lint that denies it.
const PURE: &[&str] = &["wire", "session", "routing", "qmux", "control"];

/// Things a pure layer may not touch: time, sockets and threads come from outside.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::net::Udp",
    "std::net::Tcp",
    "std::thread",
    "tokio::",
];
const CLOCKLESS: &[&str] = &["wire", "session", "routing", "qmux"];

const FILE_CODE_LINES_MAX: usize = 600;

#[test]
fn layers_name_only_what_is_below_them() {
    let mut offences = Vec::new();
    for (layer, allowed) in LAYERS {
        for file in files_of(layer) {
            for (number, line) in code_lines(&file) {
                for used in used_modules(&line) {
                    if !allowed.contains(&used.as_str()) {
                        offences.push(format!("{}:{number}: {layer} uses {used}", file.display()));
                    }
                }
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn every_layer_exists() {
    for (layer, _) in LAYERS {
        assert!(!files_of(layer).is_empty(), "no files of layer {layer}");
    }
}

#[test]
fn pure_layers_have_no_clock_no_sockets_and_no_unsafe() {
    let mut offences = Vec::new();
    for layer in PURE {
        for file in files_of(layer) {
            for (number, line) in code_lines(&file) {
                if line.contains("unsafe ") && !line.contains("forbid") {
                    offences.push(format!("{}:{number}: unsafe", file.display()));
                }
                if CLOCKLESS.contains(layer) {
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
fn loadgen_never_uses_shard_or_routing() {
    for file in rust_files("loadgen/src") {
        for (number, line) in code_lines(&file) {
            for forbidden in ["moqswitch::shard", "moqswitch::routing"] {
                assert!(!line.contains(forbidden), "{}:{number}: {forbidden}", file.display());
            }
        }
    }
}

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
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "SECURITY.md",
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

/// `name` in every `crate::name` and `moqswitch::name` of a line.
fn used_modules(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .map(|(at, found)| {
            line[at + found.len()..]
                .chars()
                .take_while(|character| character.is_alphanumeric() || *character == '_')
                .collect()
        })
        .filter(|name: &String| !name.is_empty())
        .collect()
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
    let single = Path::new("src").join(format!("{layer}.rs"));
    rust_files("src")
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
