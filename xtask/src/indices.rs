//! Numbers as indices: in the crates that a guest reaches, an element is taken by a `GuestIndex`, which bounds it under
//! speculation too, or the place is in hypervisor/indices.toml with the reason why no guest steers it.
//!
//! Clippy denies `[index]` there, so what is left is `get` and `get_mut` with a number that was made an index in place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use testbed::paths;

/// The table.
const TABLE: &str = "hypervisor/indices.toml";
/// The sources that a guest reaches.
const SOURCES: [&str; 6] = [
    "hypervisor/policy/src",
    "hypervisor/isa/aarch64/src",
    "hypervisor/vdev/src",
    "hypervisor/domain/src",
    "hypervisor/calls/src",
    "hypervisor/cpu/src",
];
/// How an element is taken.
const TAKES: [&str; 2] = [".get(", ".get_mut("];
/// How a number becomes an index.
const MAKES: [&str; 3] = ["usize::from(", "usize::try_from(", " as usize"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    file: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    path: String,
    sites: usize,
    why: String,
}

/// Whether each such place is in the table.
///
/// # Errors
/// A file has more of them than the table says, or fewer. The message has all.
pub fn check() -> Result<()> {
    let root = paths::workspace();
    let text = fs::read_to_string(root.join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    let table: Table = toml::from_str(&text).context(TABLE)?;
    let mut found = BTreeMap::new();
    for folder in SOURCES {
        read(root, &root.join(folder), &mut found)?;
    }
    let wrong = compare(&table, &found);
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

/// The lines of each file below a folder, tests left out.
fn read(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<usize>>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() {
            if !is_test {
                read(root, &path, found)?;
            }
        } else if !is_test && path.extension().is_some_and(|extension| extension == "rs") {
            let source =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let lines = sites(&source);
            if !lines.is_empty() {
                found.insert(path.strip_prefix(root)?.display().to_string(), lines);
            }
        }
    }
    Ok(())
}

/// The lines of a source that take an element by a number made an index in place.
fn sites(source: &str) -> Vec<usize> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let takes = |line: &str| {
        let line = line.trim_start();
        let argument = TAKES.iter().find_map(|take| line.split_once(take)).map(|(_, argument)| argument);
        !line.starts_with("//")
            && argument.is_some_and(|argument| MAKES.iter().any(|make| argument.contains(make)))
    };
    (1..).zip(code.lines()).filter(|(_, line)| takes(line)).map(|(number, _)| number).collect()
}

fn compare(table: &Table, found: &BTreeMap<String, Vec<usize>>) -> Vec<String> {
    let unlisted = found.keys().filter(|path| table.file.iter().all(|row| row.path != **path));
    let unlisted = unlisted.map(|path| (path.as_str(), 0));
    let listed = table.file.iter().map(|row| (row.path.as_str(), row.sites));
    let mut wrong = Vec::new();
    for (path, allowed) in listed.chain(unlisted) {
        let lines = found.get(path).map(Vec::as_slice).unwrap_or_default();
        if lines.len() > allowed {
            wrong.push(format!(
                "{path}, lines {lines:?}: {allowed} of them are in {TABLE}; take elements by `GuestIndex::from(number).of(…)`, \
                 or say there why no guest chooses the number"
            ));
        } else if lines.len() < allowed {
            wrong.push(format!("{path} has {} of the {allowed} places that {TABLE} counts", lines.len()));
        }
    }
    let empty = table.file.iter().filter(|row| row.why.is_empty());
    wrong.extend(empty.map(|row| format!("{TABLE}: {} has no reason", row.path)));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
        fn a() {\n    cpus.get(usize::from(vcpu.0));\n    // cpus.get(usize::from(vcpu.0))\n    cpus.get(place);\n    \
        let place = number as usize;\n    units.get_mut(unit.0 as usize);\n    GuestIndex::from(number).of(&cpus)\n}\n\
        #[cfg(test)]\nmod tests {\n    fn b() {\n        cpus.get(0 as usize);\n    }\n}\n";

    fn table(rows: &[(&str, usize, &str)]) -> Table {
        let row =
            |&(path, sites, why): &(&str, usize, &str)| Row { path: path.into(), sites, why: why.into() };
        Table { file: rows.iter().map(row).collect() }
    }

    #[test]
    fn each_place_is_found_that_makes_an_index() {
        assert_eq!(sites(SOURCE), [2, 6]);
    }

    #[test]
    fn a_new_place_needs_a_reason() {
        let found = BTreeMap::from([("a.rs".to_owned(), sites(SOURCE))]);
        let wrong = |rows: &[(&str, usize, &str)]| compare(&table(rows), &found);
        assert_eq!(wrong(&[("a.rs", 2, "ours")]), [""; 0]);
        assert!(wrong(&[]).concat().contains("lines [2, 6]: 0 of them"));
        assert!(wrong(&[("a.rs", 1, "ours")]).concat().contains("GuestIndex"));
        assert!(wrong(&[("a.rs", 3, "ours")]).concat().contains("2 of the 3"));
        assert!(wrong(&[("a.rs", 2, "ours"), ("b.rs", 1, "ours")]).concat().contains("b.rs has 0 of the 1"));
        assert!(wrong(&[("a.rs", 2, "")]).concat().contains("no reason"));
    }
}
