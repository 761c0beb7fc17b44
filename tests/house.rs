//! The house stays easy to see: every file says what it is for, modules only look down, and rooms stay small.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of `src/lib.rs`, lowest first. A module names only modules of lower layers, or its own.
const LAYERS: &[&[&str]] = &[
    &["spiffe", "metrics", "shutdown", "watch"],
    &["policy"],
    &["credentials"],
    &["config", "mint"],
    &["tls"],
    &["proxy"],
    &["app"],
    &["cli"],
];

/// Lines of a source file; past it, it is no longer one thing.
const MAX_LINES: usize = 400;

#[test]
fn every_file_opens_with_what_it_is_for() {
    for (path, text) in sources(&["src", "tests", "examples", "benches"]) {
        assert!(text.starts_with("//! "), "{} does not open with a sentence on what it is for", path.display());
    }
}

#[test]
fn a_module_names_only_modules_of_lower_layers() {
    let layer_of: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, modules)| modules.iter().map(move |module| (*module, layer)))
        .collect();
    for (path, text) in sources(&["src"]) {
        let Some(module) = module_of(&path) else { continue };
        let own = *layer_of.get(module.as_str()).unwrap_or_else(|| panic!("`{module}` stands in no layer"));
        for named in names(&text) {
            let layer =
                *layer_of.get(named).unwrap_or_else(|| panic!("{}: `{named}` stands in no layer", path.display()));
            assert!(named == module || layer < own, "{} names `{named}`, which is not below it", path.display());
        }
    }
}

#[test]
fn no_source_file_is_crowded() {
    for (path, text) in sources(&["src"]) {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_map_in_lib_rs_names_every_module() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for module in LAYERS.iter().flat_map(|layer| layer.iter()) {
        assert!(map.contains(&format!("mod {module};")), "src/lib.rs does not declare `{module}`");
        let described = map.lines().any(|line| line.starts_with("//!") && line.contains(&format!("`{module}`")));
        assert!(described, "src/lib.rs does not say what `{module}` is");
    }
}

/// The modules of ours that a file names by `crate::...`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1)).filter_map(|rest| {
        let name = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
        // What starts with a capital, or stands in braces, is no module name of its own; the tree has no such imports.
        (!name.is_empty() && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(name)
    })
}

/// The top-level module that a file belongs to; none for the roots of the crate.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.iter().next()?.to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (module != "lib" && module != "main").then(|| module.to_owned())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut ahead: Vec<PathBuf> =
        folders.iter().map(|folder| root().join(folder)).filter(|path| path.is_dir()).collect();
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                ahead.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}
