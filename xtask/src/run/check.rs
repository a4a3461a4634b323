//! What is wrong with the options, said before anything is fetched, built or booted.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lith::config::MAX_DEVICES;
use testbed::process::find;
use testbed::programs::Extra;
use testbed::qemu::{Disk, DiskFormat};
use testbed::roles::Description;

use super::own::OwnGuest;
use super::own_kernel::OwnKernel;
use super::{Options, domains};

/// CPUs of a GICv2, and vCPUs of a guest on one.
const GIC_V2_CPUS: u32 = 8;
/// MiB that are nobody's RAM: the hypervisor's tables and heap, and what it keeps for each domain.
const HYPERVISOR_MIB: u64 = 48;

/// What the user brings, found to be good.
#[derive(Debug, Default)]
pub struct Own {
    /// Disks, in their slots.
    pub disks: Vec<Disk>,
    /// Guests in place of the usual one, if there are any.
    pub guests: Option<Vec<Description>>,
    /// Files for the control domain.
    pub files: Vec<Extra>,
    /// The kernel of the first disk, which the usual guest boots.
    pub kernel: Option<OwnKernel>,
}

impl Options {
    /// Reads what the user brings; `own_kernel` takes the kernel out of a disk.
    ///
    /// # Errors
    /// Something does not exist, is none of what it should be, or does not fit with the rest.
    pub(super) fn check(&self, own_kernel: impl Fn(&Disk) -> Result<Option<OwnKernel>>) -> Result<Own> {
        self.check_numbers()?;
        let files = [("--kernel", &self.kernel), ("--initrd", &self.initrd)];
        for (option, file) in files.into_iter().filter_map(|(option, file)| Some((option, file.as_ref()?))) {
            ensure!(file.is_file(), "{option} {}: there is no such file", file.display());
        }
        if let Some(qemu) = &self.qemu {
            let program = qemu.to_str().with_context(|| format!("--qemu {} is not UTF-8", qemu.display()))?;
            ensure!(find(program).is_some(), "--qemu {program}: there is no such program");
        }
        if self.has_guest() && self.initrd.is_some() {
            bail!("--initrd is for a machine of one system: add --only-control or --bare");
        }
        let files = self.files.iter().map(|file| file.read()).collect::<Result<Vec<Extra>>>()?;
        let disks = self.own_disks()?;
        let guests =
            self.guests.iter().map(|file| OwnGuest::read(file)).collect::<Result<Vec<OwnGuest>>>()?;
        let mut names = HashSet::new();
        for guest in &guests {
            ensure!(names.insert(&guest.config.name), "two guests are called {}", guest.config.name);
            guest.check(&files, disks.len().max(1))?;
        }
        let theirs = guests.iter().map(|guest| guest.config.memory >> 20).sum();
        let guests: Vec<Description> = guests.into_iter().map(|guest| guest.description).collect();
        let is_usual = self.has_guest() && guests.is_empty() && !self.no_own_kernel;
        let kernel = disks.first().filter(|_| is_usual).map(own_kernel).transpose()?.flatten();
        let mut own = Own { disks, guests: None, files, kernel };
        let guests_mib = if guests.is_empty() { self.guest_mib(&own) } else { theirs };
        own.guests = Some(guests).filter(|guests| !guests.is_empty());
        self.check_memory(&own, guests_mib)?;
        Ok(own)
    }

    /// What the ranges of single options do not say.
    fn check_numbers(&self) -> Result<()> {
        let counts = [("--cpus", self.cpus), ("--guest-cpus", self.guest_cpus.into())];
        for (option, count) in counts {
            ensure!(
                self.gic != "2" || count <= GIC_V2_CPUS,
                "{option} {count} is too many for --gic 2, which has {GIC_V2_CPUS} at most"
            );
        }
        Ok(())
    }

    /// Whether all domains fit into the machine. What a command line of the user's own makes of it is not known here.
    fn check_memory(&self, own: &Own, guests_mib: u64) -> Result<()> {
        if self.bare || self.xen_args.is_some() {
            return Ok(());
        }
        let control = self.control_mib(own);
        let (others, list) = if self.has_guest() {
            let list =
                format!("{} MiB of the driver domain, {guests_mib} MiB of guests", domains::DRIVER_MIB);
            (domains::DRIVER_MIB.saturating_add(guests_mib), format!(", {list}"))
        } else {
            (0, String::new())
        };
        let needed = control.saturating_add(others).saturating_add(HYPERVISOR_MIB);
        ensure!(
            needed <= self.memory,
            "the machine has {} MiB, and {needed} are needed: {control} MiB of the control domain{list}, {HYPERVISOR_MIB} \
             MiB of the hypervisor; say --memory {} or more",
            self.memory,
            needed.next_multiple_of(128),
        );
        Ok(())
    }

    fn own_disks(&self) -> Result<Vec<Disk>> {
        ensure!(
            self.images.len() <= MAX_DEVICES,
            "--disk is there {} times: a guest has {MAX_DEVICES} disks at most",
            self.images.len()
        );
        let mut seen = HashSet::new();
        (0..)
            .zip(&self.images)
            .map(|(number, file)| {
                let format = DiskFormat::of(file, self.disk_format)?;
                ensure!(seen.insert(whole(file)?), "--disk {} is there twice", file.display());
                Ok(Disk { format, ..Disk::raw(file.clone(), domains::disk_bus(number)) })
            })
            .collect()
    }
}

/// The one path of a file that may have several.
fn whole(file: &Path) -> Result<std::path::PathBuf> {
    fs::canonicalize(file).with_context(|| format!("cannot open {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn has_kernel(disk: &Disk) -> bool {
        disk.file.ends_with("a.img")
    }

    fn said(line: &str) -> String {
        let words = std::iter::once("run").chain(line.split_whitespace());
        match Line::try_parse_from(words) {
            Err(error) => error.to_string(),
            Ok(line) => {
                let own = line.options.check(|disk| Ok(has_kernel(disk).then(OwnKernel::default)));
                own.map_or_else(|error| format!("{error:#}"), |_| String::new())
            }
        }
    }

    #[test]
    fn numbers_have_ranges() {
        for (line, parts) in [
            ("--guest-cpus 0", ["--guest-cpus", "1..=128"]),
            ("--guest-cpus 200", ["--guest-cpus", "1..=128"]),
            ("--guest-memory 8", ["--guest-memory", "8 is not in 96.."]),
            ("--cpus 0", ["--cpus", "1..=64"]),
            ("--cpus 65", ["--cpus", "1..=64"]),
            ("--memory 64", ["--memory", "64 is not in 128.."]),
            ("--gic 2 --cpus 9", ["--cpus 9", "--gic 2"]),
            ("--gic 2 --guest-cpus 9", ["--guest-cpus 9", "--gic 2"]),
            ("--guest-memory 5000", ["2048 MiB", "--memory 6144 or more"]),
            ("--memory 1024", ["1024 MiB", "640 MiB of the driver domain"]),
            ("--only-control --memory 512", ["512 MiB of the control domain", "--memory 640"]),
        ] {
            let said = said(line);
            for part in parts {
                assert!(said.contains(part), "{line}: {said}");
            }
        }
        for line in
            ["", "--guest-cpus 128 --guest-memory 900", "--only-control --memory 640", "--bare --memory 128"]
        {
            assert_eq!(said(line), "", "{line}");
        }
    }

    #[test]
    fn files_must_exist_and_fit() {
        let dir = std::env::temp_dir().join(format!("xtask-check-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (name, size) in [("a.img", 1024), ("b.img", 1024), ("tool", 5), ("large", 8 << 20)] {
            fs::write(dir.join(name), vec![0; size]).unwrap();
        }
        let toml = |name: &str, more: &str| {
            let text = format!("name = \"{name}\"\nkernel = \"kernel\"\nmemory = \"1G\"\n{more}");
            fs::write(dir.join(format!("{name}.toml")), text).unwrap();
        };
        toml("one", "");
        toml("two", "[[disk]]\nimage = \"/dev/vdb\"\nbackend = 1\n");
        let at = |line: &str| said(&line.replace('@', &format!("{}/", dir.display())));
        for (line, part) in [
            ("--disk @absent", "cannot open"),
            ("--disk @a.img --disk @a.img", "is there twice"),
            ("--kernel @absent", "there is no such file"),
            ("--only-control --initrd @absent", "there is no such file"),
            ("--initrd @tool", "--only-control or --bare"),
            ("--qemu @absent", "there is no such program"),
            ("--file @absent", "cannot be read"),
            ("--file @", "is no file"),
            ("--guest @absent.toml", "absent.toml"),
            ("--guest @one.toml --guest-cpus 2", "cannot be used with"),
            ("--no-own-kernel", "--disk"),
            ("--memory 1408 --disk @a.img", "512 MiB of guests"),
            ("--guest @one.toml --only-control", "cannot be used with"),
            ("--guest @one.toml --guest @one.toml", "two guests are called one"),
            ("--guest @two.toml", "no disk /dev/vdb, but /dev/vda"),
            ("--guest @one.toml", "1024 MiB of guests"),
            (
                "--only-control --memory 600 --file @large --file @large:/x --file @large:/y",
                "560 MiB of the control",
            ),
        ] {
            let said = at(line);
            assert!(said.contains(part), "{line}: {said}");
        }
        for line in [
            "--disk @a.img --disk @b.img --file @tool:/bin/tool",
            "--memory 1408 --disk @b.img --disk @a.img",
            "--memory 1408 --disk @a.img --no-own-kernel",
            "--memory 1408 --disk @a.img --guest-memory 256",
            "--guest @one.toml --memory 4096",
            "--guest @one.toml --guest @two.toml --disk @a.img --disk @b.img --memory 4096",
        ] {
            assert_eq!(at(line), "", "{line}");
        }
        let disks = "/dev/null ".to_owned();
        assert!(said(&format!("--disk {disks}").repeat(12)).contains("11 disks at most"));
        fs::remove_dir_all(dir).unwrap();
    }
}
