//! The structures in the sources of `abi/`, so that none is forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules with structures that are not Xen's, or that stand for a macro of the headers (`XEN_GUEST_HANDLE`).
const OUR_OWN: &[&str] = &["xenolith", "pointer"];
/// How the names of fields begin that mean nothing.
const PADDING: &[&str] = &["pad", "rest"];

/// A structure's name with its module, and its fields.
pub type Names = BTreeMap<String, Vec<String>>;

/// What the sources have and `known` has not.
pub fn left_out(known: &Names) -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../abi/src");
    let mut found = Names::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 50, "the sources of abi/ are where they were");
    let mut missing = Vec::new();
    for (name, fields) in &found {
        match known.get(name) {
            None => missing.push(name.clone()),
            Some(known) => missing.extend(
                fields.iter().filter(|field| !known.contains(field)).map(|field| format!("{name}::{field}")),
            ),
        }
    }
    missing
}

fn collect(root: &Path, folder: &Path, found: &mut Names) {
    for entry in fs::read_dir(folder).expect("the sources of abi/").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found);
            continue;
        }
        let module = path.strip_prefix(root).expect("below the root").with_extension("");
        let module = module.iter().next().expect("a name").to_string_lossy().into_owned();
        if !OUR_OWN.contains(&module.as_str()) {
            read(&module, &fs::read_to_string(&path).expect("a source"), found);
        }
    }
}

/// Reads the structures of a file.
fn read(module: &str, text: &str, found: &mut Names) {
    let mut current: Option<String> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let name = format!("{module}::{name}");
            found.insert(name.clone(), Vec::new());
            current = Some(name);
        } else if line == "}" {
            current = None;
        } else if let (Some(name), Some(rest)) = (&current, line.strip_prefix("    pub ")) {
            let field = rest.split(':').next().unwrap_or_default();
            if !PADDING.iter().any(|padding| field.starts_with(padding)) {
                found.entry(name.clone()).or_default().push(field.to_owned());
            }
        }
    }
}
