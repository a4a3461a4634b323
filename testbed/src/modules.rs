//! Kernel modules: where they are, what they need, and the order to load them in.
//!
//! Debian's packages bring no list of dependencies (it is made at installation), so each module's own `.modinfo`
//! section is read.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use object::{Object, ObjectSection};

/// The modules of one kernel.
pub struct ModuleTree {
    files: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The kernel's name for it, with `_` where the file's name may have `-`.
    pub name: String,
    /// The module itself, uncompressed.
    pub data: Vec<u8>,
}

impl ModuleTree {
    /// Reads a kernel's module folder (the one with `modules.builtin`).
    pub fn open(dir: &Path) -> Result<Self> {
        let list = dir.join("modules.builtin");
        let built_in =
            fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let mut tree = ModuleTree {
            files: HashMap::new(),
            built_in: built_in.lines().filter_map(|line| module_name(Path::new(line))).collect(),
        };
        tree.walk(dir)?;
        Ok(tree)
    }

    fn walk(&mut self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                self.walk(&path)?;
            } else if let Some(name) = module_name(&path) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// The modules to load for `wanted`, each after all that it needs; those built into the kernel are left out.
    ///
    /// # Errors
    /// The kernel has no module of a wanted name, or a module cannot be read.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for name in wanted {
            self.visit(name, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, seen: &mut HashSet<String>, order: &mut Vec<Module>) -> Result<()> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(path) = self.files.get(&name) else { bail!("the kernel has no module {name}") };
        let data = read_module(path).with_context(|| format!("cannot read {}", path.display()))?;
        for needed in needs(&data).with_context(|| format!("{} is not a module", path.display()))? {
            self.visit(&needed, seen, order)?;
        }
        order.push(Module { name, data });
        Ok(())
    }
}

/// The module's name if the path is a module's: `a/b-c.ko.xz` is `b_c`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = [".ko", ".ko.xz", ".ko.gz"].iter().find_map(|ending| file.strip_suffix(ending))?;
    Some(stem.replace('-', "_"))
}

fn read_module(path: &Path) -> Result<Vec<u8>> {
    let raw = fs::read(path)?;
    let mut data = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => XzReader::new(raw.as_slice(), false).read_to_end(&mut data)?,
        Some("gz") => GzDecoder::new(raw.as_slice()).read_to_end(&mut data)?,
        _ => return Ok(raw),
    };
    Ok(data)
}

/// What a module says it needs: hard dependencies and those that it asks to be loaded before it.
fn needs(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("it has no .modinfo section")?;
    let text = String::from_utf8_lossy(section.data()?).into_owned();
    Ok(text.split('\0').flat_map(needs_of_entry).map(str::to_owned).collect())
}

fn needs_of_entry(entry: &str) -> Vec<&str> {
    if let Some(list) = entry.strip_prefix("depends=") {
        return list.split(',').filter(|name| !name.is_empty()).collect();
    }
    let Some(soft) = entry.strip_prefix("softdep=") else { return Vec::new() };
    let Some((_, before)) = soft.split_once("pre:") else { return Vec::new() };
    before.split("post:").next().unwrap_or_default().split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write::{Object as Writer, StandardSegment};
    use object::{Architecture, BinaryFormat, Endianness, SectionKind};

    fn module(info: &str) -> Vec<u8> {
        let mut file = Writer::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
        let segment = file.segment_name(StandardSegment::Data).to_vec();
        let section = file.add_section(segment, b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        file.append_section_data(section, info.as_bytes(), 1);
        file.write().unwrap()
    }

    fn tree(modules: &[(&str, &str)], built_in: &str) -> (tempfile::TempDir, ModuleTree) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.builtin"), built_in).unwrap();
        fs::create_dir_all(dir.path().join("kernel/drivers")).unwrap();
        for (name, info) in modules {
            fs::write(dir.path().join("kernel/drivers").join(name), module(info)).unwrap();
        }
        let tree = ModuleTree::open(dir.path()).unwrap();
        (dir, tree)
    }

    #[test]
    fn each_module_comes_after_what_it_needs() {
        let (_dir, tree) = tree(
            &[
                ("virtio_blk.ko", "license=GPL\0depends=virtio,virtio_ring\0"),
                ("virtio_ring.ko", "depends=virtio\0"),
                ("virtio.ko", "depends=\0"),
                ("xen-gntdev.ko", "depends=\0softdep=pre: xen-early post: virtio_late\0"),
                ("xen-early.ko", "depends=built-in\0"),
            ],
            "kernel/lib/built-in.ko\n",
        );
        let order = tree.load_order(&["virtio_blk", "xen-gntdev", "built_in"]).unwrap();
        let names: Vec<&str> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_blk", "xen_early", "xen_gntdev"]);
    }

    #[test]
    fn a_circle_of_needs_ends() {
        let (_dir, tree) = tree(&[("a.ko", "depends=b\0"), ("b.ko", "depends=a\0")], "");
        assert_eq!(tree.load_order(&["a"]).unwrap().len(), 2);
    }

    #[test]
    fn a_missing_module_is_named() {
        let (_dir, tree) = tree(&[("a.ko", "depends=not-there\0")], "");
        assert!(tree.load_order(&["a"]).unwrap_err().to_string().contains("not_there"));
    }
}
