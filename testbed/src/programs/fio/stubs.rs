//! Shared libraries that stand in for absent ones: every function that a program wants of them returns -1.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol};

use crate::process::capture;
use crate::toolchain::DOMAIN_LINKER;

/// Functions by their version; the version is empty for those that have none.
type Functions = BTreeMap<String, BTreeSet<String>>;

/// Makes a library for each one that `program` needs and that is not among `real`.
pub fn make(program: &[u8], real: &[&str], into: &Path) -> Result<()> {
    for (library, versions) in wants(program, real)? {
        let (code, script) = sources(&versions);
        let (code_file, script_file) = (into.join("stub.c"), into.join("stub.versions"));
        fs::write(&code_file, code)?;
        fs::write(&script_file, script)?;
        let mut compile = Command::new(DOMAIN_LINKER);
        compile.args(["-shared", "-fPIC", "-nostdlib", "-Os", "-w", "-fno-builtin"]);
        compile.arg(format!("-Wl,-soname,{library}"));
        if versions.keys().any(|version| !version.is_empty()) {
            compile.arg(format!("-Wl,--version-script={}", script_file.display()));
        }
        capture(compile.arg("-o").arg(into.join(&library)).arg(&code_file))?;
        fs::remove_file(code_file)?;
        fs::remove_file(script_file)?;
    }
    Ok(())
}

/// What a program must find in libraries other than `real`.
///
/// A symbol that names no version names no library either, and the loader looks for it in all of them: the first
/// library gets it. Where a real one has it too, the loader takes whichever the program names first.
fn wants(program: &[u8], real: &[&str]) -> Result<BTreeMap<String, Functions>> {
    let elf = ElfFile64::<LittleEndian>::parse(program).context("not a little-endian 64-bit ELF file")?;
    let endian = elf.endian();
    let versions = elf.elf_section_table().versions(endian, elf.data())?;
    let mut wants = BTreeMap::<String, Functions>::new();
    for library in elf.import_libraries()? {
        let name = text(library?.name());
        if !real.contains(&name.as_str()) {
            wants.insert(name, Functions::new());
        }
    }
    for symbol in elf.dynamic_symbols() {
        let name = symbol.name()?;
        if !symbol.is_undefined() || symbol.is_weak() || name.is_empty() {
            continue;
        }
        let version = match &versions {
            Some(table) => table.version(table.version_index(endian, symbol.index()).index())?,
            None => None,
        };
        let found = version.and_then(|version| Some((text(version.file()?), text(version.name()))));
        let (functions, version) = match found {
            Some((library, version)) => (wants.get_mut(&library), version),
            None => (wants.values_mut().next(), String::new()),
        };
        // None: a real library's.
        if let Some(functions) = functions {
            functions.entry(version).or_default().insert(name.to_owned());
        }
    }
    Ok(wants)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The C code and the linker's version script of a library.
fn sources(versions: &Functions) -> (String, String) {
    let mut code = String::new();
    let mut script = String::new();
    for (version, functions) in versions {
        let names: Vec<&str> = functions.iter().map(String::as_str).collect();
        for name in &names {
            code.push_str(&format!("long {name}(void) {{ return -1; }}\n"));
        }
        if !version.is_empty() {
            script.push_str(&format!("{version} {{ global: {}; }};\n", names.join("; ")));
        }
    }
    (code, script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_gets_its_version() {
        let functions = Functions::from([
            (String::new(), BTreeSet::from(["plain".to_owned()])),
            ("V_1.0".to_owned(), BTreeSet::from(["a".to_owned(), "b".to_owned()])),
        ]);
        let (code, script) = sources(&functions);
        assert_eq!(script, "V_1.0 { global: a; b; };\n");
        assert_eq!(code.matches("return -1;").count(), 3);
        assert!(code.contains("long plain(void)"));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(make(b"#!/bin/sh\n", &[], dir.path()).unwrap_err().to_string().contains("ELF"));
    }
}
