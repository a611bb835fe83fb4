//! What `src/README.md`, `src/lib.rs` and the front pages of libraries say of crates and modules, compared with what is
//! there.

use std::collections::BTreeSet;

use super::read;

/// A crate of the workspace: the folder of its manifest, below the root, and the manifest.
struct Member {
    folder: String,
    manifest: toml::Table,
}

impl Member {
    fn all() -> Vec<Self> {
        let root = manifest_of(".");
        let members = root["workspace"]["members"].as_array().expect("a list of members");
        let member = |folder: &toml::Value| {
            let folder = folder.as_str().expect("a folder").to_owned();
            let manifest = manifest_of(&folder);
            Self { folder, manifest }
        };
        members.iter().map(member).collect()
    }

    fn name(&self) -> &str {
        self.manifest["package"]["name"].as_str().expect("a name")
    }

    /// What of this workspace it depends on, but for its tests.
    fn dependencies(&self) -> BTreeSet<String> {
        let table = self.manifest.get("dependencies").and_then(toml::Value::as_table);
        let names = table.into_iter().flat_map(toml::Table::keys);
        names.filter(|name| is_of_this_workspace(name)).cloned().collect()
    }
}

fn manifest_of(folder: &str) -> toml::Table {
    let text = read(&format!("{folder}/Cargo.toml"));
    text.parse().expect("a manifest is TOML")
}

fn is_of_this_workspace(name: &str) -> bool {
    name == "moqswitch" || name.starts_with("moqswitch-")
}

/// The cells of each row of the table below a heading.
fn rows_below(heading: &str, text: &str) -> Vec<Vec<String>> {
    let (_, behind) = text.split_once(heading).expect("the heading is there");
    let table = behind.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        row.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

#[test]
fn the_table_of_crates_is_that_of_the_manifests() {
    let rows = rows_below("\n## Crates\n", &read("src/README.md"));
    let mut offences = Vec::new();
    for member in Member::all() {
        let name = member.name();
        let Some(row) = rows.iter().find(|row| row[1] == name) else {
            offences.push(format!("{name} has no row"));
            continue;
        };
        let folder = match &*member.folder {
            "." => "the rest".to_owned(),
            folder => match folder.strip_prefix("src/") {
                Some(below) => format!("`{below}/`"),
                None => format!("`../{folder}/`"),
            },
        };
        if row[0] != folder {
            offences.push(format!("{name} is in {folder}, not in {}", row[0]));
        }
        let told = row[3].split([' ', ',']).filter(|word| is_of_this_workspace(word));
        let told: BTreeSet<String> = told.map(str::to_owned).collect();
        let used = member.dependencies();
        if told != used {
            offences.push(format!("{name} uses {used:?}, not {told:?}"));
        }
        if used.is_empty() && row[3] != "nothing of the others" {
            offences.push(format!("{name} uses nothing of the others, not {}", row[3]));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_front_page_of_the_program_has_each_module() {
    let text = read("src/lib.rs");
    let (_, tree) = text.split_once("```text\n").expect("it has a tree");
    let (tree, _) = tree.split_once("//! ```\n").expect("the tree ends");
    // A line tells what the names before two blanks are.
    let names = tree.lines().filter_map(|line| line.strip_prefix("//! "));
    let told: BTreeSet<&str> = names
        .filter_map(|line| line.trim_start().split("  ").next())
        .flat_map(|names| names.split(' '))
        .collect();
    let modules: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_start_matches("pub "))
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(modules.len() > 20, "{modules:?}");
    assert_eq!(told, modules);
}

#[test]
fn each_library_has_an_example_on_its_front_page() {
    let mut offences = Vec::new();
    for member in Member::all() {
        let page = match &*member.folder {
            "." => "src/lib.rs".to_owned(),
            folder if folder.starts_with("src/") => format!("{folder}/lib.rs"),
            // Programs and tests, which nobody embeds.
            _ => continue,
        };
        let text = read(&page);
        let front = text.lines().map_while(|line| line.strip_prefix("//!"));
        let front: Vec<&str> = front.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        // Of blocks those without a tag are run.
        let blocks = super::blocks_of("", &(front.join("\n") + "\n"));
        if !blocks.iter().any(|block| block.lines().count() >= EXAMPLE_LINES_MIN) {
            offences.push(page);
        }
    }
    assert!(offences.is_empty(), "no example that is run: {}", offences.join(", "));
}

/// With fewer it shows nothing.
const EXAMPLE_LINES_MIN: usize = 4;
