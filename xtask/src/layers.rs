//! Layers: a file uses its own layer and those below, no files use each other in a circle, and what is to know no
//! architecture names none.
//!
//! The rules are the table `hypervisor/layers.toml`. What is checked is what the sources say by name: the imports and
//! paths of every file of the hypervisor's crates that is not a test, and the dependencies of every manifest of the
//! workspace. Methods and fields are not looked at: who calls one has the type from an import, its own or another's.
//!
//! The check is a function of texts, so that its tests need no disk; [`workspace`] reads them.

mod arrows;
mod circles;
mod names;
mod report;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod without_tests;
mod words;
pub mod workspace;

use anyhow::Result;

pub use report::Report;
pub use table::Table;
pub use tree::{Package, Sources};

/// Holds the packages against the table, and looks for circles among the files of those that have sources, and for words
/// that they are not to have.
///
/// # Errors
/// A file is not Rust, or a module has no file.
pub fn check(packages: &[Package], sources: &Sources, table: &Table) -> Result<Report> {
    let tree = tree::Tree::read(packages, sources)?;
    let arrows = arrows::collect(&tree);
    let mut breaches = rules::breaches(&tree, &arrows, table);
    breaches.extend(words::breaches(&tree, table));
    Ok(Report {
        breaches,
        circles: circles::find(&tree, &arrows, table.circles_in_rooms),
        files: tree.files.len(),
    })
}
