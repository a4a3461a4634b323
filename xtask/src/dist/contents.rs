//! What belongs to which package, and where it goes on the board.

use std::fs;

use anyhow::{Context, Result};
use clap::CommandFactory;
use lith::cli::Cli;
use lithd::cli::Arguments;
use testbed::paths;
use testbed::programs::Extra;

use super::pages::{self, Section};

/// A package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// The same in lines.
    pub description: &'static [&'static str],
    /// The unit of systemd that starts with the machine.
    pub unit: Option<&'static str>,
    /// Other packages that are of use with it.
    pub suggests: &'static str,
    /// Its files.
    pub files: Vec<Extra>,
}

/// The bootable image, and the ELF file for debuggers.
pub fn hypervisor(image: Vec<u8>, elf: Vec<u8>) -> Package {
    Package {
        name: "xenolith-hypervisor",
        summary: "type-1 hypervisor for 64-bit Arm that speaks Xen's ABI",
        description: &[
            "Xenolith forwards a guest's access to an emulated device to a device model in",
            "another domain. The boot loader starts /boot/xenolith.img as it starts Linux's",
            "Image, with a device tree that names the kernel of the first domain.",
        ],
        unit: None,
        suggests: "lith, lithd",
        files: vec![
            file("boot/xenolith.img", 0o644, image),
            file("usr/lib/xenolith/xenolith.elf", 0o644, elf),
        ],
    }
}

/// The control domain's command line.
pub fn lith(program: Vec<u8>) -> Result<Package> {
    let mut files = vec![file("usr/bin/lith", 0o755, program)];
    files.push(ours("systemd/lith-guests.service", "usr/lib/systemd/system/lith-guests.service")?);
    files.push(ours("guests-README", "etc/lith/guests/README")?);
    files.extend(pages::manual(Cli::command(), Section::Commands)?);
    files.extend(pages::completions(&mut Cli::command()));
    Ok(Package {
        name: "lith",
        summary: "makes and rules guests of the Xenolith hypervisor",
        description: &[
            "The command line of the control domain: it makes guests from TOML files, shows",
            "them, leads to their consoles and ends them, with no xenstore and no daemon.",
            "Guests in /etc/lith/guests that are marked for it start with the machine.",
        ],
        unit: Some("lith-guests.service"),
        suggests: "lithd",
        files,
    })
}

/// The daemon of a domain that serves devices.
pub fn lithd(program: Vec<u8>) -> Result<Package> {
    let mut files = vec![file("usr/sbin/lithd", 0o755, program)];
    files.push(ours("systemd/lithd.service", "usr/lib/systemd/system/lithd.service")?);
    files.push(ours("lithd.modprobe", "usr/lib/modprobe.d/lithd.conf")?);
    files.extend(pages::manual(Arguments::command(), Section::Administration)?);
    files.extend(pages::completions(&mut Arguments::command()));
    Ok(Package {
        name: "lithd",
        summary: "serves virtio devices to guests of the Xenolith hypervisor",
        description: &[
            "The daemon of a domain that has disk images: it serves each to its guest by a",
            "process of its own, which confines itself before it looks at what the guest says.",
            "It runs in the control domain or in a driver domain.",
        ],
        unit: Some("lithd.service"),
        suggests: "lith",
        files,
    })
}

fn file(path: &str, permissions: u32, data: Vec<u8>) -> Extra {
    Extra { path: path.to_owned(), permissions, data }
}

/// A file of the folder `packaging`.
fn ours(name: &str, path: &str) -> Result<Extra> {
    let from = paths::workspace().join("packaging").join(name);
    let data = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    Ok(file(path, 0o644, data))
}

/// The text that each package has about who may do what with it.
pub fn copyright(name: &str) -> Result<Extra> {
    let mut text = ours("copyright", &format!("usr/share/doc/{name}/copyright"))?;
    let licence = paths::workspace().join("LICENSE-MIT");
    text.data.extend(fs::read(&licence).with_context(|| format!("cannot read {}", licence.display()))?);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Package> {
        vec![
            hypervisor(b"image".to_vec(), b"elf".to_vec()),
            lith(b"lith".to_vec()).unwrap(),
            lithd(b"lithd".to_vec()).unwrap(),
        ]
    }

    #[test]
    fn units_start_what_their_packages_have() {
        let has = |path: &str| {
            all().iter().any(|package| package.files.iter().any(|file| format!("/{}", file.path) == path))
        };
        for package in all() {
            let Some(unit) = package.unit else { continue };
            let path = format!("usr/lib/systemd/system/{unit}");
            let unit = package.files.iter().find(|file| file.path == path).unwrap();
            let text = String::from_utf8(unit.data.clone()).unwrap();
            let own: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("ExecStart=").or_else(|| line.strip_prefix("ExecStop=")))
                .collect();
            assert!(!own.is_empty(), "{text}");
            for line in own {
                assert!(has(line.split(' ').next().unwrap()), "{line}");
            }
            for page in text.lines().filter_map(|line| line.strip_prefix("Documentation=")) {
                for page in page.split(' ') {
                    let (name, section) =
                        page.trim_end_matches(')').trim_start_matches("man:").split_once('(').unwrap();
                    assert!(has(&format!("/usr/share/man/man{section}/{name}.{section}.gz")), "{page}");
                }
            }
        }
    }

    #[test]
    fn recipes_install_what_there_is() {
        let text = |name: &str| fs::read_to_string(paths::workspace().join("packaging").join(name)).unwrap();
        let (yocto, buildroot) = (text("yocto/xenolith.bb"), text("buildroot/package/xenolith/xenolith.mk"));
        for package in all() {
            for recipe in [&yocto, &buildroot] {
                assert!(recipe.contains(package.name), "{recipe}");
            }
            for file in &package.files {
                // Yocto's names of the folders.
                let folders = [
                    ("usr/bin/", "${bindir}/"),
                    ("usr/sbin/", "${sbindir}/"),
                    ("etc/", "${sysconfdir}/"),
                    ("usr/lib/systemd/system/", "${systemd_system_unitdir}/"),
                    ("usr/lib/", "${nonarch_libdir}/"),
                    ("usr/share/", "${datadir}/"),
                    ("boot/", "/boot/"),
                ];
                let (plain, named) =
                    folders.into_iter().find(|(plain, _)| file.path.starts_with(plain)).unwrap();
                let rest = file.path.strip_prefix(plain).unwrap();
                let wanted = |part: &str| yocto.contains(&format!("{named}{part}"));
                let above = rest.split('/').next().unwrap();
                assert!(wanted(rest) || wanted(above) || above == "man", "{}", file.path);
            }
        }
    }
}
