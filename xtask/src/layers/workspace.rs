//! The workspace's packages and their texts, as Cargo and the disk have them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use testbed::paths;
use testbed::process::capture;
use testbed::toolchain::cargo;

use super::tree::{Dependency, Package, Sources};

/// The folder whose packages are looked at file by file.
const LOOKED_AT: &str = "hypervisor";
/// The table of layers.
const TABLE: &str = "hypervisor/layers.toml";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Needed>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Needed {
    name: String,
    rename: Option<String>,
    kind: Option<String>,
    path: Option<PathBuf>,
}

/// Reads the table.
pub fn table() -> Result<super::Table> {
    let text =
        fs::read_to_string(paths::workspace().join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    super::Table::parse(&text)
}

/// Asks Cargo for the packages, and reads the hypervisor's files.
pub fn read() -> Result<(Vec<Package>, Sources)> {
    let text = capture(cargo("metadata").args(["--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("what `cargo metadata` says")?;
    let mut sources = Sources::new();
    let mut packages = Vec::new();
    for described in metadata.packages {
        let manifest = relative(&described.manifest_path);
        let mut package = Package { name: described.name, manifest, ..Package::default() };
        if package.manifest.starts_with(LOOKED_AT) {
            read_folder(described.manifest_path.parent().unwrap_or(Path::new("")), &mut sources)?;
            let is = |kind: &'static str| move |target: &&Target| target.kind.iter().any(|k| k == kind);
            let targets = || described.targets.iter();
            let roots = targets().filter(is("lib")).chain(targets().filter(is("bin")));
            package.roots = roots.map(|target| relative(&target.src_path)).collect();
        }
        let needed = described.dependencies.into_iter();
        let of_the_product =
            needed.filter(|needed| needed.path.is_some() && needed.kind.as_deref() != Some("dev"));
        let manifest = fs::read_to_string(&described.manifest_path)?;
        package.dependencies = of_the_product
            .map(|Needed { name, rename, .. }| {
                let alias = rename.unwrap_or(name.clone());
                Dependency { package: name, line: line_of(&manifest, &alias), alias }
            })
            .collect();
        packages.push(package);
    }
    Ok((packages, sources))
}

/// The first line that begins with a key.
fn line_of(manifest: &str, key: &str) -> usize {
    let is_it = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '=', '.']));
    manifest.lines().position(is_it).map_or(1, |place| place + 1)
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix(paths::workspace()).unwrap_or(path).to_owned()
}

fn read_folder(folder: &Path, sources: &mut Sources) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.insert(relative(&path), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
