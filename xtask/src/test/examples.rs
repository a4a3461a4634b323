//! Examples in documentation, which `rustdoc` runs. Only packages that have some are worth its time.

use std::fs;
use std::path::Path;

/// Whether a package's sources hold an example that a name stands for: names are of files, as rustdoc has them.
pub fn any(package: &Path, workspace: &Path, is_wanted: impl Fn(&str) -> bool) -> bool {
    let folder = package.join("src");
    holds(&folder, &|file| {
        let path = file.strip_prefix(workspace).unwrap_or(file).to_string_lossy();
        is_wanted(&path) && fs::read_to_string(file).is_ok_and(|text| has_example(&text))
    })
}

fn holds(folder: &Path, is_one: &impl Fn(&Path) -> bool) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            holds(&path, is_one)
        } else {
            path.extension().is_some_and(|e| e == "rs") && is_one(&path)
        }
    })
}

/// Whether a doc comment opens a block without a language, or with one of rustdoc's words for Rust.
fn has_example(text: &str) -> bool {
    let mut is_open = false;
    for line in text.lines().map(str::trim_start) {
        let Some(comment) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else {
            is_open = false;
            continue;
        };
        let Some(language) = comment.trim_start().strip_prefix("```") else { continue };
        if !is_open && language.split(',').all(|word| !["text", "toml", "ignore"].contains(&word.trim())) {
            return true;
        }
        is_open = !is_open;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_other_languages_are_no_examples() {
        assert!(has_example("//! Words.\n//! ```\n//! f();\n//! ```\n"));
        assert!(has_example("    /// ```no_run\n    /// f();\n    /// ```\n"));
        assert!(!has_example("//! ```toml\n//! a = 1\n//! ```\n"));
        assert!(has_example("//! ```text\n//! a\n//! ```\n//! ```\n//! f();\n//! ```\n"));
        assert!(!has_example("fn f() {\n    // ```\n}\n"));
    }

    #[test]
    fn only_files_that_are_wanted_count() {
        let root = std::env::temp_dir().join(format!("xtask-examples-{}", std::process::id()));
        fs::create_dir_all(root.join("p/src/inner")).unwrap();
        fs::write(root.join("p/src/inner/a.rs"), "//! ```\n//! f();\n//! ```\n").unwrap();
        fs::write(root.join("p/src/lib.rs"), "//! Nothing.\n").unwrap();
        assert!(any(&root.join("p"), &root, |_| true));
        assert!(any(&root.join("p"), &root, |file| file == "p/src/inner/a.rs"));
        assert!(!any(&root.join("p"), &root, |file| file == "p/src/lib.rs"));
        fs::remove_dir_all(root).unwrap();
    }
}
