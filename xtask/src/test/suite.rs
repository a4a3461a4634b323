//! Programs with tests: built by Cargo, asked what they hold, and run one after the other.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use testbed::process::{capture, line_of, open_step};
use testbed::toolchain::cargo;

/// A program that runs tests.
#[derive(Clone, Debug)]
pub struct Suite {
    /// What its tests' names begin with.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// The folder that it runs in, its package's.
    pub folder: PathBuf,
    /// The tests that are to run.
    pub tests: Vec<String>,
    /// All of its tests are to run.
    pub whole: bool,
}

/// What a build leaves.
#[derive(Default)]
pub struct Built {
    /// Programs with tests, without those that have none.
    pub suites: Vec<Suite>,
    /// Libraries: the package's name and folder.
    pub libraries: Vec<(String, PathBuf)>,
}

/// A line of Cargo's JSON.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the tests of packages, of which `mark` is said in their suites' names.
pub fn build(selection: &[&str], mark: &str) -> Result<Built> {
    let mut command = cargo("test");
    command.args(["--no-run", "--message-format=json-render-diagnostics"]).args(selection);
    let messages = open_step(&format!("Build the tests{mark}"), || output_of(&mut command))?;
    let mut built = Built::default();
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()) {
        let Message {
            package_id: Some(package), manifest_path: Some(manifest), target: Some(target), ..
        } = &message
        else {
            continue;
        };
        let folder = manifest.parent().unwrap_or(Path::new("/")).to_owned();
        if message.reason != "compiler-artifact" || !package.starts_with("path+") {
            continue;
        }
        if target.kind.iter().any(|kind| kind == "lib") {
            let library = (package_name(package).to_owned(), folder.clone());
            if !built.libraries.contains(&library) {
                built.libraries.push(library);
            }
        }
        if let (Some(program), Some(Profile { test: true })) = (&message.executable, &message.profile) {
            let name = format!("{}{mark}", target.name);
            let mut suite = Suite { name, program: program.clone(), folder, tests: Vec::new(), whole: true };
            suite.tests = suite.list()?;
            if !suite.tests.is_empty() {
                built.suites.push(suite);
            }
        }
    }
    Ok(built)
}

/// The name in a package's id: `path+file:///a/b#0.1.0` or `path+file:///a/b#name@0.1.0`.
fn package_name(id: &str) -> &str {
    let (path, rest) = id.split_once('#').unwrap_or((id, ""));
    match rest.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
    }
}

/// What a program prints; its errors go to the terminal.
fn output_of(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| line.clone())?;
    let output = child.stdout.take().context("the program has no output")?;
    let lines: std::io::Result<Vec<String>> = BufReader::new(output).lines().collect();
    let lines = lines?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{line} ended with {status}");
    }
    Ok(lines.join("\n"))
}

impl Suite {
    fn list(&self) -> Result<Vec<String>> {
        let text = capture(Command::new(&self.program).current_dir(&self.folder).arg("--list"))?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Leaves only those tests whose whole names are wanted.
    pub fn restrict(&mut self, wanted: impl Fn(&str) -> bool) {
        let all = self.tests.len();
        self.tests.retain(|test| wanted(&format!("{}::{test}", self.name)));
        self.whole &= self.tests.len() == all;
    }

    /// The command that runs its tests and tells how long each takes.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        // The stable compiler's test programs report times only when they are told that they are unstable.
        command.env("RUSTC_BOOTSTRAP", "1").args(["-Zunstable-options", "--report-time"]);
        if !self.whole {
            let unique: HashSet<&String> = self.tests.iter().collect();
            command.arg("--exact").args(unique);
        }
        command
    }

    /// The command for a program of whole-machine tests, which has a harness of its own.
    pub fn machine_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        if !self.whole {
            command.args(self.tests.iter().flat_map(|test| ["--only", test]));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_in_its_id() {
        assert_eq!(package_name("path+file:///x/abi#xenolith-abi@0.1.0"), "xenolith-abi");
        assert_eq!(package_name("path+file:///x/lith#0.1.0"), "lith");
    }

    #[test]
    fn a_part_of_a_suite_is_named_test_by_test() {
        let mut suite = Suite {
            name: "house".into(),
            program: "/bin/house".into(),
            folder: "/".into(),
            tests: ["roof::leaks", "cellar::floods"].map(str::to_owned).into(),
            whole: true,
        };
        suite.restrict(|_| true);
        assert!(!line_of(&suite.command()).contains("--exact"));
        suite.restrict(|name| name.contains("house::roof"));
        assert!(line_of(&suite.command()).ends_with("--exact roof::leaks"));
        assert!(line_of(&suite.machine_command()).ends_with("/bin/house --only roof::leaks"));
        suite.restrict(|_| true);
        assert!(!suite.whole);
    }
}
