//! What breaks the table: an arrow that points upwards, and what the table has no place for.

use std::collections::BTreeMap;

use super::arrows::Arrow;
use super::names::{Resolved, Target};
use super::report::Breach;
use super::table::{Rank, Table, is_within};
use super::tree::{FileId, ModuleId, Tree};

/// Lists all breaches, by file and line.
pub fn breaches(tree: &Tree, arrows: &[Arrow], table: &Table) -> Vec<Breach> {
    let mut all = unplaced(tree, table);
    all.extend(manifests(tree, table));
    all.extend(upwards(tree, arrows, table));
    all.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    all
}

/// Packages and files without a layer, and members that are nowhere.
fn unplaced(tree: &Tree, table: &Table) -> Vec<Breach> {
    let mut all = Vec::new();
    for package in &tree.packages {
        if table.range(&package.name).is_none() {
            let rule = format!("no layer has the package {}", package.name);
            all.push(Breach { file: package.manifest.clone(), line: 1, rule });
        }
    }
    for file in &tree.files {
        let path = &tree.modules[file.module].path;
        let known = table.range(&tree.packages[tree.modules[file.module].package].name).is_some();
        if known && table.rank(path).is_none() {
            all.push(Breach {
                file: file.path.clone(),
                line: 1,
                rule: format!("no layer has the module {path}"),
            });
        }
    }
    let exists = |member: &str| {
        tree.packages.iter().any(|package| package.name == member)
            || tree.modules.iter().any(|module| module.path == member)
    };
    for member in table.members().filter(|member| !exists(member)) {
        let rule = format!("the table has {member}, which does not exist");
        all.push(Breach { file: "hypervisor/layers.toml".into(), line: 1, rule });
    }
    all
}

/// Dependencies that point upwards: the lowest part of what is needed is above all of the one that needs it.
fn manifests(tree: &Tree, table: &Table) -> Vec<Breach> {
    let mut all = Vec::new();
    for package in &tree.packages {
        let Some((_, own)) = table.range(&package.name) else { continue };
        for dependency in &package.dependencies {
            let Some((other, _)) = table.range(&dependency.package) else { continue };
            if other > own {
                let rule = format!("depends on {}: {}", dependency.package, upward(table, own, other));
                all.push(Breach { file: package.manifest.clone(), line: dependency.line, rule });
            }
        }
    }
    all
}

/// Names of what is above: one breach for each file and module that it names, at the first such line.
fn upwards(tree: &Tree, arrows: &[Arrow], table: &Table) -> Vec<Breach> {
    let mut lines: BTreeMap<(FileId, String), BTreeMap<usize, String>> = BTreeMap::new();
    for arrow in arrows {
        let from = &tree.modules[arrow.from];
        let Some(own) = table.rank(&from.path) else { continue };
        let above =
            arrow.to.iter().flat_map(|end| ends(tree, table, end, arrow)).find(|(_, rank)| *rank > own);
        if let Some((path, rank)) = above {
            let rule = format!("{} is of {path}: {}", arrow.text, upward(table, own, rank));
            lines.entry((from.file, path)).or_default().entry(arrow.line).or_insert(rule);
        }
    }
    let told = |((file, _), mut lines): ((FileId, String), BTreeMap<usize, String>)| {
        let (line, mut rule) = lines.pop_first()?;
        match lines.len() {
            0 => (),
            1 => rule.push_str(" (and 1 line more)"),
            more => rule.push_str(&format!(" (and {more} lines more)")),
        }
        Some(Breach { file: tree.files[file].path.clone(), line, rule })
    };
    lines.into_iter().filter_map(told).collect()
}

/// The modules or packages that count for an arrow's end, with their layers: the one that defines it, and the one whose
/// name the path gives. A root that is passed through counts for nothing, nor does what a parent passes on of its own.
fn ends(tree: &Tree, table: &Table, end: &Resolved, arrow: &Arrow) -> Vec<(String, Rank)> {
    let from = &tree.modules[arrow.from];
    let is_root = |module: &ModuleId| tree.modules[*module].parent.is_none();
    let defined = match end.target {
        Target::Module(module) | Target::Item(module) => tree.modules[module].path.clone(),
        Target::Package(package) => {
            let name = tree.packages[package].name.clone();
            return table.range(&name).map(|(lowest, _)| (name, lowest)).into_iter().collect();
        }
    };
    if is_within(&defined, &from.path) && arrow.passes_on
        || matches!(end.target, Target::Module(m) if is_root(&m))
    {
        return Vec::new();
    }
    let through =
        end.through.filter(|module| !is_root(module)).map(|module| tree.modules[module].path.clone());
    let paths = through.into_iter().chain([defined]);
    paths.filter_map(|path| table.rank(&path).map(|rank| (path, rank))).collect()
}

fn upward(table: &Table, own: Rank, other: Rank) -> String {
    format!("layer `{}` is above `{}`", table.name(other), table.name(own))
}
