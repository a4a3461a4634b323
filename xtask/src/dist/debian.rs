//! Debian packages: the folder of a package, with what `dpkg` must know of it.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use testbed::paths;
use testbed::process::capture;

use super::contents::{self, Package};
use super::lay_out;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Debian's name of what all of it is for.
const ARCHITECTURE: &str = "arm64";

/// Packs a package into `folder`; returns its file.
pub fn pack(package: &Package, folder: &Path) -> Result<PathBuf> {
    let staging = folder.join(format!("{}.staging", package.name));
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    lay_out(&staging, &package.files)?;
    lay_out(&staging, &[contents::copyright(package.name)?])?;
    let about = staging.join("DEBIAN");
    fs::create_dir(&about)?;
    fs::write(about.join("control"), control(package))?;
    let settings = package.files.iter().filter(|file| file.path.starts_with("etc/"));
    let settings: String = settings.map(|file| format!("/{}\n", file.path)).collect();
    if !settings.is_empty() {
        fs::write(about.join("conffiles"), settings)?;
    }
    for (name, script) in package.unit.map(scripts).unwrap_or_default() {
        fs::write(about.join(name), script)?;
        fs::set_permissions(about.join(name), fs::Permissions::from_mode(0o755))?;
    }
    fold_permissions(&staging)?;
    let file = folder.join(format!("{}_{VERSION}_{ARCHITECTURE}.deb", package.name));
    let mut build = Command::new("dpkg-deb");
    if let Some(epoch) = epoch() {
        build.env("SOURCE_DATE_EPOCH", epoch);
    }
    // Any dpkg of today reads this compression.
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&staging).arg(&file);
    capture(&mut build)?;
    fs::remove_dir_all(staging)?;
    Ok(file)
}

/// Folders that anybody may enter, whatever the user's umask is.
fn fold_permissions(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fold_permissions(&entry.path())?;
        }
    }
    Ok(())
}

fn control(package: &Package) -> String {
    let Package { name, summary, description, suggests, .. } = package;
    let bytes: usize = package.files.iter().map(|file| file.data.len()).sum();
    let kib = bytes.div_ceil(1024);
    // As Debian's own tools find out who packs.
    let of = |name: &str, other: &str| env::var(name).unwrap_or_else(|_| other.to_owned());
    let maintainer = format!("{} <{}>", of("DEBFULLNAME", "Xenolith"), of("DEBEMAIL", "root@localhost"));
    let depends = if package.unit.is_some() { "Depends: init-system-helpers, kmod\n" } else { "" };
    let lines: String = description.iter().map(|line| format!(" {line}\n")).collect();
    format!(
        "Package: {name}\nVersion: {VERSION}\nArchitecture: {ARCHITECTURE}\nMaintainer: {maintainer}\n\
         Installed-Size: {kib}\n{depends}Suggests: {suggests}\nSection: admin\nPriority: optional\n\
         Description: {summary}\n{lines}"
    )
}

/// What `dpkg` runs around the installation of a package with a unit. An upgrade leaves alone what runs: a daemon that is
/// started anew costs guests their disks, and a service that is stopped ends them.
fn scripts(unit: &str) -> Vec<(&'static str, String)> {
    let head = "#!/bin/sh\nset -e\n";
    let if_systemd_runs = "[ ! -d /run/systemd/system ] ||";
    vec![
        (
            "postinst",
            format!(
                "{head}[ \"$1\" = configure ] || exit 0\n\
                 deb-systemd-helper unmask {unit} >/dev/null || true\n\
                 if deb-systemd-helper --quiet was-enabled {unit}; then\n    \
                     deb-systemd-helper enable {unit} >/dev/null || true\n\
                 else\n    \
                     deb-systemd-helper update-state {unit} >/dev/null || true\n\
                 fi\n\
                 {if_systemd_runs} systemctl --system daemon-reload || true\n\
                 # At the first installation; what runs is not started anew.\n\
                 {if_systemd_runs} deb-systemd-invoke start {unit} || true\n"
            ),
        ),
        (
            "prerm",
            format!(
                "{head}[ \"$1\" = remove ] || exit 0\n{if_systemd_runs} deb-systemd-invoke stop {unit} || true\n"
            ),
        ),
        (
            "postrm",
            format!(
                "{head}case \"$1\" in\n\
                 remove) ! command -v deb-systemd-helper >/dev/null || deb-systemd-helper mask {unit} >/dev/null || true ;;\n\
                 purge)\n    \
                     if command -v deb-systemd-helper >/dev/null; then\n        \
                         deb-systemd-helper purge {unit} >/dev/null || true\n        \
                         deb-systemd-helper unmask {unit} >/dev/null || true\n    \
                     fi ;;\n\
                 esac\n\
                 {if_systemd_runs} systemctl --system daemon-reload || true\n"
            ),
        ),
    ]
}

/// The time that stands in a package, so that the same commit gives the same bytes: what the user says, or the commit's.
fn epoch() -> Option<String> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return Some(epoch);
    }
    let mut git = Command::new("git");
    git.current_dir(paths::workspace()).args(["log", "-1", "--format=%ct"]);
    capture(&mut git).ok().map(|time| time.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dpkg(arguments: &[&str], file: &Path) -> String {
        capture(Command::new("dpkg-deb").args(arguments).arg(file)).unwrap()
    }

    #[test]
    fn a_package_holds_its_files_for_root_and_says_what_it_is() {
        let folder = env::temp_dir().join(format!("xtask-dist-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for package in [
            contents::hypervisor(vec![0; 5000], b"elf".to_vec()),
            contents::lith(b"#!/bin/true\n".to_vec()).unwrap(),
            contents::lithd(b"#!/bin/true\n".to_vec()).unwrap(),
        ] {
            let file = pack(&package, &folder).unwrap();
            let again = fs::read(&file).unwrap();
            assert!(fs::read(pack(&package, &folder).unwrap()).unwrap() == again, "not reproducible");
            let list = dpkg(&["--contents"], &file);
            let line = |path: &str| {
                list.lines().find(|line| line.ends_with(&format!(" ./{path}"))).unwrap().to_owned()
            };
            for file in &package.files {
                let mode = if file.permissions == 0o755 { "-rwxr-xr-x" } else { "-rw-r--r--" };
                let line = line(&file.path);
                assert!(line.starts_with(&format!("{mode} root/root")), "{line}");
            }
            line(&format!("usr/share/doc/{}/copyright", package.name));
            assert!(
                list.lines()
                    .filter(|line| line.starts_with('d'))
                    .all(|line| line.starts_with("drwxr-xr-x root/root"))
            );
            let field = |name: &str| dpkg(&["--show", "--showformat", &format!("${{{name}}}")], &file);
            assert_eq!(field("Package"), package.name);
            assert_eq!((field("Version"), field("Architecture")), (VERSION.to_owned(), "arm64".to_owned()));
            assert!(field("Description").starts_with(package.summary));
            let info = dpkg(&["--info"], &file);
            assert_eq!(info.contains("conffiles"), package.name == "lith", "{info}");
            assert_eq!(info.contains("postinst"), package.unit.is_some(), "{info}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn scripts_are_sound_and_touch_their_unit_alone() {
        for (name, script) in scripts("lithd.service") {
            let mut sh = Command::new("/bin/sh");
            capture(sh.args(["-n", "-c", &script])).unwrap();
            // Nothing is done where there is no systemd, and on an upgrade.
            let argument = if name == "prerm" { "upgrade" } else { "failed-upgrade" };
            let mut sh = Command::new("/bin/sh");
            capture(sh.env("PATH", "/nowhere").args(["-c", &script, name, argument])).unwrap();
        }
    }
}
