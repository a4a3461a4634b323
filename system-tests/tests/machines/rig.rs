//! A machine with guests, as one who sits at its console uses it: `lith` in the control domain's shell, and behind
//! `lith console` the shells of guests.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use system_tests::guests::{self, READY};
use system_tests::setup::Setup;
use system_tests::shell::Shell;
use testbed::kernel::Series;
use testbed::process::{capture, find};
use testbed::qemu::{Disk, DiskBus};
use testbed::roles::DRIVER_DOMAIN;

use system_tests::harness::Lab;
use system_tests::turns::Running;

/// The key that leaves a guest's console: Ctrl-].
const LEAVE: &str = "\x1d";
/// Size of a guest's disk in MiB.
pub const DISK_MIB: u64 = 256;

/// The machine, its cursor at the control domain's shell.
pub struct Rig {
    machine: Running,
    /// Boots of guests whose shells were seen.
    boots: HashSet<String>,
}

/// The machine of the main job: the driver domain owns `disk`, which is the guest's disk, or holds images if `images`.
pub fn setup(lab: &Lab, series: Series, disk: &Path, images: bool) -> Result<Setup> {
    // What the hypervisor says of domains that come and go would stand in the middle of answers.
    let mut setup = lab.linux(series)?.bootarg("quiet").option("loglvl=warn");
    setup.memory_mib = 2048;
    setup.initrd = Some(guests::control_file(&lab.assets.output, series));
    setup.domains.push(guests::driver(&lab.assets.output, series, images)?);
    setup.disks.push(Disk::raw(disk.to_path_buf(), DiskBus::MmioSlot(0)));
    Ok(setup)
}

/// A guest's description, with a root on a disk that the driver domain serves; `more` is what else is to be said.
pub fn description(name: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nkernel = \"/guest/kernel\"\nramdisk = \"/guest/ramdisk\"\ncmdline = \"console=hvc0 quiet\"\n\
         memory = \"160M\"\n{more}"
    )
}

/// A disk in a description.
pub fn disk(image: &str, more: &str) -> String {
    format!("[[disk]]\nimage = \"{image}\"\nbackend = {DRIVER_DOMAIN}\n{more}")
}

impl Rig {
    /// Starts the machine and waits for the control domain's shell.
    pub fn start(lab: &Lab, setup: &Setup) -> Result<Self> {
        let mut machine = lab.start(setup)?;
        machine.shell()?;
        Ok(Self { machine, boots: HashSet::new() })
    }

    /// The control domain's shell.
    pub fn control(&mut self) -> Shell<'_> {
        Shell::that_listens(&mut self.machine.console)
    }

    /// Waits for words on the console.
    pub fn expect(&mut self, words: &str) -> Result<String> {
        self.machine.expect(words)
    }

    /// Writes a file of the control domain.
    pub fn write(&mut self, file: &str, text: &str) -> Result<()> {
        self.control().check(&format!(": >{file}"))?;
        for line in text.lines() {
            self.control().check(&format!("echo '{line}' >>{file}"))?;
        }
        Ok(())
    }

    /// `lith` with these arguments, which must do what it is told.
    pub fn lith(&mut self, arguments: &str) -> Result<String> {
        self.control().check(&format!("lith {arguments}"))
    }

    /// What `lith` says as JSON.
    pub fn json(&mut self, arguments: &str) -> Result<Value> {
        let text = self.lith(&format!("{arguments} --json"))?;
        serde_json::from_str(&text).with_context(|| format!("lith {arguments} --json: {text}"))
    }

    /// `lith` with these arguments must refuse; returns its last line, which says why.
    pub fn refused(&mut self, arguments: &str) -> Result<String> {
        let outcome = self.control().run(&format!("lith {arguments}"))?;
        ensure!(outcome.status == 1, "lith {arguments} ended with {}: {}", outcome.status, outcome.output);
        let line = outcome.output.lines().last().and_then(|line| line.strip_prefix("lith: "));
        Ok(line.with_context(|| format!("lith {arguments} said {:?}", outcome.output))?.to_owned())
    }

    /// Writes a guest's description and makes the guest.
    pub fn create(&mut self, name: &str, description: &str) -> Result<()> {
        self.write(&format!("/{name}.toml"), description)?;
        self.lith(&format!("create /{name}.toml")).map(drop)
    }

    /// At the console of a guest whose shell listens, or will: does `work` there, and comes back.
    pub fn at<T>(&mut self, guest: &str, work: impl FnOnce(&mut At) -> Result<T>) -> Result<T> {
        let done = self.enter(guest, work)?;
        self.machine.console.send(LEAVE)?;
        self.machine.expect(&format!("Left the console of {guest}; it runs on."))?;
        Ok(done)
    }

    /// As [`Rig::at`], but it is the guest's end that leads back.
    pub fn end(&mut self, guest: &str, work: impl FnOnce(&mut At) -> Result<()>) -> Result<()> {
        self.enter(guest, work)?;
        self.machine.expect(&format!("Guest {guest} has ended.")).map(drop)
    }

    fn enter<T>(&mut self, guest: &str, work: impl FnOnce(&mut At) -> Result<T>) -> Result<T> {
        self.control().last(&format!("lith console {guest}"))?;
        self.machine.expect("Leave it with Ctrl-].")?;
        work(&mut At { machine: &mut self.machine, boots: &mut self.boots })
            .with_context(|| format!("at the console of {guest}"))
    }

    /// Waits for the shell of a guest that has just been made.
    pub fn boot(&mut self, guest: &str) -> Result<()> {
        self.at(guest, |at| at.boot())
    }

    /// Free memory of the machine in KiB.
    pub fn free_kib(&mut self) -> Result<u64> {
        self.json("info")?["free_kib"].as_u64().context("lith info says no free_kib")
    }

    /// Waits until there are as many domains, of which control and driver domain are two. Those that were destroyed
    /// count until nobody maps their memory.
    pub fn wait_for_domains(&mut self, count: usize) -> Result<()> {
        let lines = count + 1;
        self.control()
            .check(&format!("while [ $(lith list | wc -l) -ne {lines} ]; do sleep 0.1; done"))
            .map(drop)
    }

    /// How a guest is, in `lith`'s word; none if there is no such guest.
    pub fn state(&mut self, guest: &str) -> Result<Option<String>> {
        let list = self.json("list")?;
        let mut domains = list.as_array().into_iter().flatten();
        let found = domains.find(|domain| domain["name"] == guest);
        Ok(found.and_then(|domain| Some(domain["state"].as_str()?.to_owned())))
    }

    /// Turns the machine off.
    pub fn power_off(mut self) -> Result<()> {
        self.control().last("poweroff -f")?;
        self.machine.wait_for_end().map(drop)
    }
}

/// At a guest's console.
pub struct At<'a> {
    machine: &'a mut Running,
    boots: &'a mut HashSet<String>,
}

impl At<'_> {
    /// Waits for the shell of a boot that was not seen before: the console repeats what was printed earlier.
    pub fn boot(&mut self) -> Result<()> {
        loop {
            self.machine.expect(READY)?;
            if self.boots.insert(self.machine.expect("\n")?) {
                return Ok(());
            }
        }
    }

    /// The guest's shell.
    pub fn shell(&mut self) -> Shell<'_> {
        Shell::that_listens(&mut self.machine.console)
    }

    /// Waits for words on the console.
    pub fn expect(&mut self, words: &str) -> Result<String> {
        self.machine.expect(words)
    }
}

/// Runs a program of the host with options, separated by blanks, and a file.
pub fn tool(program: &str, options: &str, file: &Path) -> Result<()> {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    capture(command.args(options.split(' ')).arg(file)).map(drop)
}

/// Copies a file of an ext4 image out of it.
pub fn extract(image: &Path, file: &str, to: &Path) -> Result<()> {
    let mut command = Command::new(find("debugfs").unwrap_or_else(|| "debugfs".into()));
    capture(command.arg("-R").arg(format!("dump {file} {}", to.display())).arg(image)).map(drop)
}

/// Checks the file system of an image and removes the image.
pub fn check_and_remove(image: &Path) -> Result<()> {
    tool("e2fsck", "-f -n", image)?;
    Ok(fs::remove_file(image)?)
}
