//! A private apt root: own state, lists, cache and architecture, under the project's cache.
//!
//! The host's package database is neither read nor written. Mirrors, keys and proxies are the host's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::sources::{Release, narrow, parse_list, parse_sources, render, widen};
use crate::host::{Need, ensure};
use crate::paths;
use crate::process::{capture, find, pass_through, step};

const WAY_OUT: &str = "On a host without Debian's packages, name your own files with --kernel and --initrd, and install \
    the Rust targets with rustup.";

/// A private apt root for packages of one architecture (and those of all architectures).
pub struct PrivateApt {
    dir: PathBuf,
    architecture: String,
    /// The one release whose packages it offers; none for all that the project needs.
    release: Option<Release>,
    /// Whether the package lists were fetched in this process.
    updated: Mutex<bool>,
}

impl PrivateApt {
    /// The root for the machine under test.
    pub fn arm64() -> &'static PrivateApt {
        static ROOT: LazyLock<PrivateApt> = LazyLock::new(|| PrivateApt::new("arm64"));
        &ROOT
    }

    /// A root for `architecture` (Debian's name for it). Nothing is done until a package is asked for.
    pub fn new(architecture: &str) -> Self {
        let dir = paths::cache().join(format!("apt-{architecture}"));
        PrivateApt { dir, architecture: architecture.to_owned(), release: None, updated: Mutex::new(false) }
    }

    /// A root with the packages of one release, for the machine under test.
    pub fn of_release(release: Release) -> Self {
        let dir = paths::cache().join(format!("apt-arm64-{}", release.name()));
        PrivateApt { dir, release: Some(release), ..PrivateApt::new("arm64") }
    }

    /// Names of the packages that match a regular expression, the newest name first.
    pub fn search(&self, pattern: &str) -> Result<Vec<String>> {
        let found = self.apt("apt-cache", &["search", "--names-only", pattern])?;
        let mut names: Vec<String> =
            found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        names.sort_by(|a, b| natural_key(b).cmp(&natural_key(a)));
        names.dedup();
        Ok(names)
    }

    /// Versions of a package, the newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        Ok(parse_madison(&self.apt("apt-cache", &["madison", package])?))
    }

    /// Unpacks a package into `into`: the first of `candidates` (package, version) that the mirror still holds, which is
    /// returned.
    pub fn unpack_first(&self, candidates: &[(String, String)], into: &Path) -> Result<(String, String)> {
        ensure(&[Need::DPKG])?;
        let mut refusals = Vec::new();
        for (package, version) in candidates {
            let fetched = step(&format!("Fetch Debian's {package} {version}"), || {
                let deb = self.download(package, version)?;
                unpack(&deb, into)?;
                Ok(fs::remove_file(&deb)?)
            });
            match fetched {
                Ok(()) => return Ok((package.clone(), version.clone())),
                Err(error) => refusals.push(format!("{error:#}")),
            }
        }
        bail!("no mirror of this host holds the package wanted.\n{}\n{WAY_OUT}", refusals.join("\n"))
    }

    /// Unpacks a package into `into`, in the newest version that the mirror still holds and `accept` takes.
    pub fn unpack(&self, package: &str, accept: impl Fn(&str) -> bool, into: &Path) -> Result<()> {
        let candidates: Vec<(String, String)> = self
            .versions(package)?
            .into_iter()
            .filter(|version| accept(version))
            .map(|version| (package.to_owned(), version))
            .collect();
        if candidates.is_empty() {
            bail!("the package {package} is not offered in a fitting version.\n{WAY_OUT}");
        }
        self.unpack_first(&candidates, into).map(drop)
    }

    /// Unpacks packages and all that they depend on into `into`, where `/bin`, `/sbin` and `/lib` are links into `/usr`, as
    /// on every Debian since 12. What their installation would run is not run.
    pub fn unpack_with_dependencies(&self, packages: &[&str], into: &Path) -> Result<()> {
        ensure(&[Need::DPKG])?;
        self.update()?;
        let archives = self.dir.join("archives");
        if archives.exists() {
            fs::remove_dir_all(&archives)?;
        }
        fs::create_dir_all(archives.join("partial"))?;
        step(&format!("Fetch Debian's {} and what they need", packages.join(", ")), || {
            let mut fetch = self.command("apt-get");
            fetch.arg(format!("-oDir::Cache::archives={}", archives.display()));
            fetch.args(["-q", "-y", "--download-only", "--no-install-recommends", "install"]).args(packages);
            capture(&mut fetch).map(drop)
        })?;
        for folder in ["bin", "lib", "sbin"] {
            fs::create_dir_all(into.join("usr").join(folder))?;
            symlink(format!("usr/{folder}"), into.join(folder))?;
        }
        let mut packages: Vec<PathBuf> =
            fs::read_dir(&archives)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        packages.sort();
        for package in &packages {
            unpack_merged(package, into)?;
        }
        Ok(fs::remove_dir_all(archives)?)
    }

    /// A package in a given version and all that it depends on, dependencies first, as (package, version).
    pub fn with_dependencies(&self, package: &str, version: &str) -> Result<Vec<(String, String)>> {
        let wanted = format!("{package}={version}");
        let plan = self.apt("apt-get", &["--simulate", "--no-install-recommends", "install", &wanted])?;
        Ok(parse_plan(&plan))
    }

    fn download(&self, package: &str, version: &str) -> Result<PathBuf> {
        let dir = self.dir.join("download");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        capture(
            self.command("apt-get")
                .args(["-q", "download", &format!("{package}={version}")])
                .current_dir(&dir),
        )?;
        let mut files = fs::read_dir(&dir)?.filter_map(|entry| Some(entry.ok()?.path()));
        files
            .find(|file| file.extension().is_some_and(|e| e == "deb"))
            .context("apt-get left no package file")
    }

    fn apt(&self, program: &str, args: &[&str]) -> Result<String> {
        self.update()?;
        capture(self.command(program).args(args))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// Makes the root and fetches the package lists, once in the life of this value.
    fn update(&self) -> Result<()> {
        let mut updated = self.updated.lock().unwrap_or_else(PoisonError::into_inner);
        if *updated {
            return Ok(());
        }
        if find("apt-get").is_none() {
            bail!("there is no apt-get here to fetch Debian's packages with. {WAY_OUT}");
        }
        self.lay_out(Path::new("/etc/apt"))?;
        let what = format!("Fetch the package lists for {}", self.architecture);
        step(&what, || {
            // A mirror that lacks one suite makes apt fail although it fetched the others: what is really missing
            // shows when a package is asked for.
            let answer = capture(self.command("apt-get").args(["-q", "update"]));
            let listed = fs::read_dir(self.dir.join("lists"))?
                .filter_map(Result::ok)
                .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"));
            match answer {
                Err(error) if !listed => {
                    Err(error.context("no package list could be fetched: is there a network?"))
                }
                _ => Ok(()),
            }
        })?;
        *updated = true;
        Ok(())
    }

    fn lay_out(&self, etc_apt: &Path) -> Result<()> {
        for folder in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.dir.join(folder))?;
        }
        let host = host_sources(etc_apt);
        let sources = match self.release {
            Some(release) => narrow(&host, release),
            None => widen(&host),
        };
        if sources.is_empty() {
            bail!("this host's apt has no source of Debian packages. {WAY_OUT}");
        }
        fs::write(self.dir.join("parts/debian.sources"), render(&sources))?;
        fs::write(self.dir.join("status"), "")?;
        Ok(fs::write(self.dir.join("apt.conf"), self.configuration())?)
    }

    /// Settings that win over the host's: all paths private, no hooks, no lists but those of packages.
    fn configuration(&self) -> String {
        let (dir, architecture) = (self.dir.display(), &self.architecture);
        format!(
            "#clear APT::Architectures;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Debug::NoLocking \"true\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\n\
             Dir::Etc::sourceparts \"{dir}/parts\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::State::lists \"{dir}/lists\";\n\
             Dir::State::status \"{dir}/status\";\n\
             Dir::Cache \"{dir}/cache\";\n"
        )
    }
}

fn host_sources(etc_apt: &Path) -> Vec<super::sources::Source> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc_apt.join("sources.list.d")) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(parse_sources(&text)),
            Some("list") => sources.extend(parse_list(&text)),
            _ => {}
        }
    }
    sources
}

fn unpack(deb: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    capture(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into)).map(|_| ())
}

/// Unpacks a package into a folder whose `/bin` and the like are links, which stay.
fn unpack_merged(deb: &Path, into: &Path) -> Result<()> {
    let mut content =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn()?;
    let pipe = content.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"]).arg(into).stdin(pipe);
    let unpacked = pass_through(&mut tar);
    let read = content.wait()?;
    unpacked?;
    if !read.success() {
        bail!("dpkg-deb cannot read {}: {read}", deb.display());
    }
    Ok(())
}

/// The versions in the answer of `apt-cache madison`: lines of `package | version | source`, the newest first.
fn parse_madison(text: &str) -> Vec<String> {
    let mut versions: Vec<String> = text
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect();
    versions.dedup();
    versions
}

/// What a simulated installation would install: lines of `Inst package (version …`.
fn parse_plan(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let (package, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            Some((package.to_owned(), rest.split([' ', ')']).next()?.to_owned()))
        })
        .collect()
}

/// Orders names so that runs of digits count as numbers: `6.1.0-9` before `6.1.0-56`.
fn natural_key(name: &str) -> Vec<(&str, u64)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (text, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let (digits, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len()));
        key.push((text, digits.parse().unwrap_or(0)));
        rest = tail;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names =
            ["6.1.0-9-cloud", "6.1.0-56-cloud", "6.1.0-10-cloud", "6.12.95+deb12", "6.12.117+deb12"];
        names.sort_by_key(|name| natural_key(name));
        assert_eq!(
            names,
            ["6.1.0-9-cloud", "6.1.0-10-cloud", "6.1.0-56-cloud", "6.12.95+deb12", "6.12.117+deb12"]
        );
    }

    #[test]
    fn versions_are_read_from_madison() {
        let text = " rust-src | 1.96.1+dfsg1-2 | http://m.example trixie-backports/main arm64 Packages\n \
                    rust-src | 1.95.0+dfsg1-2 | http://m.example trixie-backports/main arm64 Packages\n";
        assert_eq!(parse_madison(text), ["1.96.1+dfsg1-2", "1.95.0+dfsg1-2"]);
        assert!(parse_madison("").is_empty());
    }

    #[test]
    fn a_plan_is_read() {
        let text = "NOTE: This is only a simulation!\nInst libtinfo6 (6.4-4 Debian:12.15/oldstable [amd64])\n\
                    Inst libgcc-s1 (12.2.0-14 Debian:12 [amd64]) []\nConf libtinfo6 (6.4-4 Debian:12 [amd64])\n";
        let plan = [("libtinfo6", "6.4-4"), ("libgcc-s1", "12.2.0-14")];
        assert_eq!(parse_plan(text), plan.map(|(package, version)| (package.to_owned(), version.to_owned())));
    }

    #[test]
    fn a_host_without_debian_sources_is_told_the_way_out() {
        let etc = tempfile::tempdir().unwrap();
        let apt = PrivateApt { dir: etc.path().join("root"), ..PrivateApt::new("arm64") };
        let error = apt.lay_out(etc.path()).unwrap_err().to_string();
        assert!(error.contains("--kernel"), "{error}");
    }
}
