//! The claims of docs/threat-model.md: each names the test that would fail if it were false, and there is such a test.
//!
//! What counts as a test's name: a function with `#[test]`, a machine of the system tests (`folder/name`), or a part of the lint.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use testbed::paths;

/// The page.
const PAGE: &str = "docs/threat-model.md";
/// The title of the column with the tests.
const COLUMN: &str = "Test";

/// A row of the page: its claim, and what is named as its tests.
struct Claim {
    threat: String,
    tests: Vec<String>,
}

/// The names of all tests. Those of machines may be patterns: text between fixed parts.
#[derive(Default)]
struct Tests {
    functions: BTreeSet<String>,
    machines: Vec<String>,
}

/// Whether each claim names its tests, and each of them is one; `lints` are the parts of the lint.
///
/// # Errors
/// A claim names none, or one that there is not. The message has all of them.
pub fn check(lints: &[String]) -> Result<()> {
    let root = paths::workspace();
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let mut tests = Tests::default();
    for folder in fs::read_dir(root)?.filter_map(Result::ok).map(|entry| entry.path()) {
        if folder.is_dir() && !folder.ends_with("target") && !folder.ends_with(".git") {
            tests.read(&folder)?;
        }
    }
    let wrong: Vec<String> = claims(&page)?.iter().filter_map(|claim| claim.wrong(&tests, lints)).collect();
    if wrong.is_empty() { Ok(()) } else { bail!("{PAGE}: {}", wrong.join("; ")) }
}

/// The rows of all tables whose last column is [`COLUMN`]. Each table with a column `Threat` has to be one.
fn claims(page: &str) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    let mut is_claim = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            is_claim = false;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["Threat", .., last] if *last == COLUMN => is_claim = true,
            ["Threat", ..] => bail!("{PAGE}: a table of threats has no column `{COLUMN}`"),
            [first, ..] if first.starts_with("---") => {}
            [threat, .., last] if is_claim => {
                let tests = last.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                claims.push(Claim { threat: (*threat).to_owned(), tests });
            }
            _ => {}
        }
    }
    if claims.is_empty() { bail!("{PAGE}: there is no table of threats") } else { Ok(claims) }
}

impl Claim {
    fn wrong(&self, tests: &Tests, lints: &[String]) -> Option<String> {
        let Claim { threat, tests: named } = self;
        if named.is_empty() {
            return Some(format!("\"{threat}\" names no test"));
        }
        let unknown = |name: &&String| !tests.has(name) && !lints.contains(name);
        let unknown: Vec<&str> = named.iter().filter(unknown).map(String::as_str).collect();
        (!unknown.is_empty()).then(|| format!("\"{threat}\": there is no test {}", unknown.join(", ")))
    }
}

impl Tests {
    fn has(&self, name: &str) -> bool {
        self.functions.contains(name) || self.machines.iter().any(|machine| fits(machine, name))
    }

    /// Adds those of the sources in a folder.
    fn read(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                self.read(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.add(
                    &fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
                );
            }
        }
        Ok(())
    }

    /// Adds those of a source.
    fn add(&mut self, source: &str) {
        for (_, behind) in source.match_indices("#[test]").map(|(at, mark)| source.split_at(at + mark.len()))
        {
            let name = behind.split_once("fn ").and_then(|(_, rest)| rest.split(['(', '<']).next());
            self.functions.extend(name.map(str::to_owned));
        }
        for scenario in source.split("Scenario::new(").skip(1) {
            let name = scenario.trim_start().trim_start_matches("format!(").strip_prefix('"');
            self.machines.extend(name.and_then(|name| name.split('"').next()).map(str::to_owned));
        }
    }
}

/// Whether a name is one of those that a format string gives, whose values stand for any text without a `/`.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((fixed, rest)) = pattern.split_once('{') else {
        return pattern == name;
    };
    let (Some(name), Some((_, rest))) = (name.strip_prefix(fixed), rest.split_once('}')) else {
        return false;
    };
    let ends = name
        .char_indices()
        .take_while(|(_, letter)| *letter != '/')
        .map(|(at, letter)| at + letter.len_utf8());
    ends.into_iter().any(|end| fits(rest, &name[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
        | Threat | Defence | Where | Test |\n|---|---|---|---|\n\
        | One | a | b | `a_test`, and `boot/zboot` |\n| Two | a | b | by reading |\n\n| Call | Who |\n|---|---|\n| a | b |\n";

    fn tests() -> Tests {
        let mut tests = Tests::default();
        tests.add(
            "#[test]\n#[should_panic]\nfn a_test() {}\nfn none() {}\nScenario::new(\"boot/zboot\", zboot),",
        );
        tests.add("Scenario::new(\n    format!(\"hostile/gicv{gic}-{cpu}\"), move |lab| hostile(lab))");
        tests
    }

    #[test]
    fn a_claim_without_a_test_is_named() {
        let claims = claims(PAGE).unwrap();
        let wrong: Vec<_> = claims.iter().map(|claim| claim.wrong(&tests(), &[])).collect();
        assert_eq!(wrong, [None, Some("\"Two\" names no test".to_owned())]);
    }

    #[test]
    fn a_test_that_is_none_is_named() {
        let claim =
            Claim { threat: "One".into(), tests: vec!["none".into(), "a_test".into(), "layers".into()] };
        assert_eq!(claim.wrong(&tests(), &["layers".into()]).unwrap(), "\"One\": there is no test none");
    }

    #[test]
    fn a_table_of_threats_needs_the_column() {
        assert!(claims("| Threat | Where |\n").is_err());
        assert!(claims("nothing\n").is_err());
    }

    #[test]
    fn machines_are_known_by_the_form_of_their_names() {
        let tests = tests();
        for (name, is) in [
            ("boot/zboot", true),
            ("boot/zboo", false),
            ("hostile/gicv3-max", true),
            ("hostile/gicv3", false),
            ("hostile/gicv3-a/b", false),
        ] {
            assert_eq!(tests.has(name), is, "{name}");
        }
    }
}
