//! `cargo xtask pictures`: the pictures of the pages, drawn from text that stands beside them.
//!
//! A diagram is described by a TOML file in `docs/pictures`; a plot shows a table of `docs/benchmark.md`. What is drawn depends
//! on that text alone, so that the lint finds a picture that is not what its source gives.

mod canvas;
mod chart;
mod diagram;
mod figures;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use testbed::paths;

/// A picture: its file in `docs/pictures`, and its text.
type Picture = (PathBuf, String);

/// Draws all of them.
pub fn draw() -> Result<()> {
    for (file, text) in all()? {
        if fs::read_to_string(&file).is_ok_and(|found| found == text) {
            continue;
        }
        paths::write_whole(&file, text.as_bytes())?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Whether each is what its source gives, and there is no other.
///
/// # Errors
/// One is not; the message says which, and what to do.
pub fn check() -> Result<()> {
    let all = all()?;
    let mut wrong: Vec<String> = Vec::new();
    for (file, text) in &all {
        if !fs::read_to_string(file).is_ok_and(|found| found == *text) {
            wrong.push(format!("{} is not what its source gives", file.display()));
        }
    }
    for file in files("svg")? {
        if !all.iter().any(|(known, _)| *known == file) {
            wrong.push(format!("{} has no source", file.display()));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}; `cargo xtask pictures` draws them", wrong.join("; "))
}

fn all() -> Result<Vec<Picture>> {
    let mut all = Vec::new();
    for source in files("toml")? {
        let text = fs::read_to_string(&source)?;
        let drawn = diagram::draw(&text).with_context(|| format!("{}", source.display()))?;
        all.push((source.with_extension("svg"), drawn));
    }
    let page = paths::workspace().join("docs/benchmark.md");
    let figures = figures::read(&fs::read_to_string(&page)?);
    for (name, plot) in figures::plots(&figures).with_context(|| format!("{}", page.display()))? {
        all.push((folder().join(format!("{name}.svg")), plot));
    }
    Ok(all)
}

fn folder() -> PathBuf {
    paths::workspace().join("docs/pictures")
}

/// The files there that end so, in the order of their names.
fn files(extension: &str) -> Result<Vec<PathBuf>> {
    let folder = folder();
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| Path::extension(path).is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_are_what_their_sources_give() {
        check().unwrap();
    }

    #[test]
    fn the_pages_show_each_of_them() {
        let root = paths::workspace();
        let pages = ["README.md", "ARCHITECTURE.md", "docs/benchmark.md"];
        let pages = pages.map(|page| fs::read_to_string(root.join(page)).unwrap()).concat();
        for file in files("svg").unwrap() {
            let name = format!("pictures/{}", file.file_name().unwrap().to_str().unwrap());
            assert!(pages.contains(&name), "no page shows {name}");
        }
    }
}
