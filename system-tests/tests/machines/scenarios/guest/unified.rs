//! A guest that boots a unified kernel image off its disk's EFI system partition.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use system_tests::guests::make_disk_with;
use testbed::kernel::Series;
use testbed::unified;

use super::own_kernel::{UUID, install, start};
use crate::rig::tool;
use system_tests::harness::{Lab, Scenario};

/// Sizes of the two partitions in MiB.
const ESP_MIB: usize = 64;
const ROOT_MIB: usize = 64;
const MIB: usize = 1 << 20;
const SECTOR: usize = 512;
/// What the system says of itself.
const RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![Scenario::new("guest/unified-kernel", unified_kernel)]
}

/// The kernel, the ramdisk and the command line of the image that systemd-boot would start are the guest's.
fn unified_kernel(lab: &Lab) -> Result<()> {
    let kernel = install(Series::V6_1)?;
    let of = |name: &str| {
        let found = kernel.files.iter().find(|file| file.path.starts_with(name));
        Ok(found.with_context(|| format!("no {name}"))?.data.as_slice()) as Result<&[u8]>
    };
    let line = format!("root=UUID={UUID} quiet");
    let (uki, image) = (lab.folder.join("uki.efi"), lab.folder.join("unified.img"));
    let sections = [
        (".osrel", RELEASE.as_bytes()),
        (".cmdline", line.as_bytes()),
        (".linux", of("boot/vmlinuz")?),
        (".initrd", of("boot/initrd")?),
    ];
    unified::make(&uki, &sections, &lab.folder)?;
    let root = lab.folder.join("root.img");
    make_disk_with(&root, ROOT_MIB as u64, &lab.assets.guest_tests, Vec::new())?;
    tool("tune2fs", &format!("-U {UUID}"), &root)?;
    let name = format!("debian-{}.efi", kernel.release);
    write_disk(
        &image,
        &[(&name, &fs::read(&uki)?), ("debian-5.10.efi", b"MZ, and nothing else")],
        &fs::read(&root)?,
    )?;
    let mut rig = start(lab, &image)?;
    let description =
        "boot = \"disk\"\ncmdline = \"console=hvc0\"\nmemory = \"256M\"\n[[disk]]\nimage = \"/dev/vda\"\n";
    rig.write("/guest.toml", description)?;
    let said = rig.control().check("lith create /guest.toml 2>&1; cat /run/lith/guest.log")?;
    let expected = "boots `Debian GNU/Linux 12 (bookworm)` of /EFI/Linux on partition 1";
    ensure!(said.contains(expected), "{said}");
    rig.at("guest", |at| {
        at.boot()?;
        let mut shell = at.shell();
        let found = shell.check("uname -r; cat /proc/cmdline")?;
        ensure!(found == format!("{}\n{line} console=hvc0", kernel.release), "{found}");
        Ok(())
    })?;
    rig.lith("shutdown --wait guest")?;
    // The damaged image, by its name.
    rig.write("/guest.toml", &description.replacen('\n', "\nboot_entry = \"debian-5.10\"\n", 1))?;
    let error = rig.refused("create /guest.toml")?;
    ensure!(error.contains("/EFI/Linux/debian-5.10.efi: it is no EFI program"), "{error}");
    rig.power_off()?;
    for file in [uki, image, root] {
        fs::remove_file(file)?;
    }
    Ok(())
}

/// A disk with an EFI system partition, which has these files in `/EFI/Linux`, and a root.
fn write_disk(image: &Path, files: &[(&str, &[u8])], root: &[u8]) -> Result<()> {
    let mut esp = Cursor::new(vec![0; ESP_MIB * MIB]);
    fatfs::format_volume(&mut esp, fatfs::FormatVolumeOptions::new())?;
    let tree = fatfs::FileSystem::new(&mut esp, fatfs::FsOptions::new())?;
    tree.root_dir().create_dir("EFI")?;
    let folder = tree.root_dir().create_dir("EFI/Linux")?;
    for (name, bytes) in files {
        folder.create_file(name)?.write_all(bytes)?;
    }
    drop(folder);
    drop(tree);
    let mut disk = vec![0; MIB];
    for (slot, (kind, start, size)) in
        [(0xef, 1, ESP_MIB), (0x83, 1 + ESP_MIB, ROOT_MIB)].into_iter().enumerate()
    {
        let entry = 446 + slot * 16;
        disk[entry + 4] = kind;
        for (at, mib) in [(8, start), (12, size)] {
            let sectors = u32::try_from(mib * MIB / SECTOR)?;
            disk[entry + at..entry + at + 4].copy_from_slice(&sectors.to_le_bytes());
        }
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend(esp.into_inner());
    disk.extend(root);
    Ok(fs::write(image, disk)?)
}
