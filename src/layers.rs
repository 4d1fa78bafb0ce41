//! Tests that the crate's modules import only what stands on a layer below their own, as `lib.rs` lists them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The list of layers in the documentation of `lib.rs`, topmost first. A line is `module, module — what they do`.
fn layers(lib: &str) -> Vec<Vec<&str>> {
    let (_, after) = lib.split_once("//! # Layers\n").expect("lib.rs has a section on layers");
    let (_, list) = after.split_once("//! ```text\n").expect("the section has a list");
    let (list, _) = list.split_once("//! ```\n").expect("the list ends");
    let modules = list.lines().map(|line| line.trim_start_matches("//! ").split(" — ").next().unwrap_or_default());
    modules.map(|modules| modules.split(',').map(str::trim).collect()).collect()
}

/// The top-level module that a file of `src` belongs to.
fn module(file: &Path) -> String {
    let first = file.components().next().expect("a file has a name");
    Path::new(&first).with_extension("").to_string_lossy().into_owned()
}

/// Every Rust file below `src`, relative to it, but for those that hold tests only.
fn files(src: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![src.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().expect("it is a directory").map(|entry| entry.expect("it can be read").path()) {
            let stem = entry.file_stem().unwrap_or_default().to_string_lossy();
            if stem == "tests" || stem.ends_with("_tests") || ["fuzz", "layers"].contains(&&*stem) {
                continue;
            }
            if entry.is_dir() {
                dirs.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                found.push(entry.strip_prefix(src).expect("it is below").to_owned());
            }
        }
    }
    found
}

/// Every module that `text` names as `crate::module`, with its line. Comments and the tests at a file's end do not count.
fn imports(text: &str) -> Vec<(usize, &str)> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|(at, line)| line.split("crate::").skip(1).map(move |path| (at + 1, path)));
    let is_end = |c: char| c != '_' && !c.is_alphanumeric();
    paths.map(|(line, path)| (line, path.split(is_end).next().unwrap_or_default())).collect()
}

#[test]
fn no_import_runs_up() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |file: &Path| std::fs::read_to_string(src.join(file)).expect("a file of ours can be read");
    let lib = read(Path::new("lib.rs"));
    let layers = layers(&lib);
    let heights = layers.iter().rev().enumerate();
    let heights: HashMap<&str, usize> =
        heights.flat_map(|(height, modules)| modules.iter().map(move |module| (*module, height))).collect();
    let files: Vec<_> = files(&src).into_iter().filter(|file| file != Path::new("lib.rs")).collect();
    let there: BTreeSet<_> = files.iter().map(|file| module(file)).collect();
    let listed: BTreeSet<_> = heights.keys().map(|&module| module.to_owned()).collect();
    assert_eq!(there, listed, "the list of layers in lib.rs names every module, and no other");

    let mut wrong = Vec::new();
    for file in &files {
        let (text, here) = (read(file), module(file));
        for (line, other) in imports(&text).into_iter().filter(|(_, other)| *other != here) {
            if heights.get(other).is_none_or(|other| *other >= heights[&*here]) {
                wrong.push(format!("src/{}:{line}: `{here}` imports `{other}`, which is not below it", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
