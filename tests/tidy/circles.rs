//! Which modules of a crate name each other in a circle. Re-exports are followed: who names something by a module's face
//! depends on the module that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The names of a module and of those around it, the outermost first; none for the crate's root.
type Module = Vec<String>;

/// Modules with the paths that they import and the other paths that they name.
pub(super) struct Crate(BTreeMap<Module, Names>);

#[derive(Default)]
struct Names {
    /// By the name that it has here.
    imported: Vec<(String, Vec<String>)>,
    other: Vec<Vec<String>>,
}

impl Crate {
    /// The modules below a directory, with the root's file, but for those below some other directories in it.
    pub(super) fn read(directory: &str, root: &str, but: &[PathBuf]) -> Self {
        let is_left_out = |path: &Path| {
            but.iter().any(|other| path.starts_with(other))
                || ["tests.rs", "main.rs", "lib.rs"]
                    .iter()
                    .any(|name| path.ends_with(name))
                || path.iter().any(|part| part == "tests" || part == "examples")
        };
        let mut modules = vec![(Module::new(), super::code(&Path::new(directory).join(root)))];
        for file in super::rust_files(directory) {
            let path = file.strip_prefix(directory).expect("it is below the directory");
            if is_left_out(path) {
                continue;
            }
            let path = path.with_extension("");
            let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            module.pop_if(|last| last == "mod");
            modules.push((module, super::code(&file)));
        }
        Self::of(modules)
    }

    pub(super) fn of(modules: impl IntoIterator<Item = (Module, String)>) -> Self {
        Self(
            modules
                .into_iter()
                .map(|(module, text)| (module, Names::of(&text)))
                .collect(),
        )
    }

    /// Modules that name each other, directly or by others: each set of them, with what they name of it.
    pub(super) fn circles(&self) -> Vec<BTreeMap<Module, BTreeSet<Module>>> {
        let edges: BTreeMap<&Module, BTreeSet<Module>> =
            self.0.keys().map(|module| (module, self.named_by(module))).collect();
        let reached = |from: &Module| {
            let mut reached = BTreeSet::new();
            let mut pending: Vec<Module> = edges[from].iter().cloned().collect();
            while let Some(module) = pending.pop() {
                if reached.insert(module.clone()) {
                    pending.extend(edges[&module].iter().cloned());
                }
            }
            reached
        };
        let reaches: BTreeMap<&Module, BTreeSet<Module>> = self.0.keys().map(|from| (from, reached(from))).collect();
        let mut circles = BTreeSet::new();
        for (module, others) in &reaches {
            let circle: BTreeSet<Module> = others
                .iter()
                .filter(|other| reaches[other].contains(*module))
                .cloned()
                .collect();
            if !circle.is_empty() {
                circles.insert(circle);
            }
        }
        let with_edges = |circle: BTreeSet<Module>| {
            let named = |module: &Module| edges[module].intersection(&circle).cloned().collect();
            circle.iter().map(|module| (module.clone(), named(module))).collect()
        };
        circles.into_iter().map(with_edges).collect()
    }

    /// The other modules that hold what one names.
    fn named_by(&self, module: &Module) -> BTreeSet<Module> {
        let names = &self.0[module];
        let imported = names.imported.iter().map(|(_, path)| path);
        imported
            .chain(&names.other)
            .filter_map(|path| self.holder(module, path, 0))
            .filter(|holder| holder != module)
            .collect()
    }

    /// The module that holds what a path leads to from another; none for what is of another crate.
    fn holder(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        assert!(depth < 20, "{from:?} imports {path:?} from itself");
        let (first, rest) = path.split_first()?;
        let (mut module, mut rest) = match &**first {
            "crate" => (Module::new(), rest),
            "self" => (from.clone(), rest),
            "super" => (from[..from.len() - 1].to_vec(), rest),
            _ => {
                self.child(from, first)?;
                (from.clone(), path)
            }
        };
        while let Some(child) = rest.first().and_then(|name| self.child(&module, name)) {
            module = child;
            rest = &rest[1..];
        }
        let Some(name) = rest.first() else { return Some(module) };
        let exported = self.0[&module].imported.iter().filter(|(here, _)| here == name);
        exported
            .filter_map(|(_, path)| self.holder(&module, path, depth + 1))
            .next()
            .or(Some(module))
    }

    fn child(&self, module: &Module, name: &str) -> Option<Module> {
        let child = [module.as_slice(), &[name.to_owned()]].concat();
        self.0.contains_key(&child).then_some(child)
    }
}

impl Names {
    fn of(text: &str) -> Self {
        let mut names = Self::default();
        // Whom something is visible to is no dependency.
        let text = text.replace("(in crate::", "(");
        for piece in text.split(';') {
            match super::use_tree(piece) {
                Some((before, tree)) => {
                    names.imported.extend(leaves(tree));
                    names.other.extend(paths(before));
                }
                None => names.other.extend(paths(piece)),
            }
        }
        names
    }
}

/// The paths of `a::{b, c::D as E}`, each with the name that it has from there on. Trees have no trees in them
/// (`imports_are_of_one_module_each`).
fn leaves(tree: &str) -> Vec<(String, Vec<String>)> {
    let (stem, list) = tree.split_once('{').unwrap_or(("", tree));
    let leaf = |leaf: &str| {
        let (leaf, renamed) = leaf.split_once(" as ").unwrap_or((leaf, ""));
        let mut path: Vec<String> = format!("{stem}{leaf}")
            .split("::")
            .map(|name| name.trim().to_owned())
            .collect();
        path.pop_if(|last| last == "self");
        let own = path.last().cloned().unwrap_or_default();
        let name = Some(renamed.trim()).filter(|name| !name.is_empty());
        (name.map_or(own, ToOwned::to_owned), path)
    };
    list.trim_end_matches(['}', ' ', '\n'])
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(leaf)
        .collect()
}

/// Every `a::b::C` of a text.
fn paths(text: &str) -> Vec<Vec<String>> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    text.split(|character| !is_part(character))
        .filter(|path| path.contains("::") && !path.starts_with("::"))
        .map(|path| {
            let names = path.split("::").filter(|name| !name.is_empty());
            names.map(ToOwned::to_owned).collect()
        })
        .collect()
}
