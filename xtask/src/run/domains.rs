//! The files of the usual machine: control domain, driver domain, guest.

use std::path::{Path, PathBuf};

use anyhow::Result;
use testbed::initramfs::Initramfs;
use testbed::process::step;
use testbed::programs::{self, Extra};
use testbed::qemu::{BootDomain, DiskBus};
use testbed::roles::{self, Description, Guest};
use testbed::toolchain::Target;
use testbed::{disk_image, kernel, paths};

use super::own_kernel::OwnKernel;

/// RAM of the driver domain in MiB. Where Linux has less than 512 MiB it makes no large pages, which `lithd` asks for.
pub const DRIVER_MIB: u64 = 640;
/// Size of the guest's disk in MiB.
const DISK_MIB: u64 = 512;

/// What the machine's user decides.
pub struct Choice<'a> {
    /// The kernel of all three.
    pub kernel: &'a Path,
    /// The folder of its modules.
    pub modules: Option<&'a Path>,
    /// The kernel that the guest has of its own.
    pub own_kernel: Option<&'a OwnKernel>,
    /// Command line of the guest's kernel.
    pub guest_args: &'a str,
    /// Memory of the guest in MiB.
    pub guest_memory: u64,
    /// Number of the guest's vCPUs.
    pub guest_cpus: u16,
    /// Number of disks that the driver domain owns.
    pub disks: usize,
    /// Guests in place of the usual one, which lives on all disks.
    pub guests: Option<&'a [Description]>,
    /// Files that the control domain has besides.
    pub control_extras: &'a [Extra],
}

/// What is started beside and in the control domain.
pub struct Domains {
    /// The control domain's initial file system, with the guest's files in it.
    pub control: PathBuf,
    /// The guest's own.
    pub guest: PathBuf,
    /// The driver domain.
    pub driver: BootDomain,
}

/// Builds the programs and makes the initial file systems of all three, in a folder of this name.
pub fn prepare(folder: &str, choice: &Choice<'_>) -> Result<Domains> {
    let Choice { kernel, modules, .. } = *choice;
    let lith = programs::build(Target::Domain, "lith", "lith")?;
    let lithd = programs::build(Target::Domain, "lithd", "lithd")?;
    let busybox = kernel::busybox()?;
    step("Make the initial file systems", || {
        let to_disk = keep(folder, "guest", &roles::guest(&busybox, modules)?)?;
        let (guest_kernel, ramdisk) =
            choice.own_kernel.map_or((kernel, Some(to_disk.as_path())), OwnKernel::files);
        let guest = Guest {
            kernel: guest_kernel.to_path_buf(),
            ramdisk: ramdisk.map(Path::to_path_buf),
            bootargs: choice
                .own_kernel
                .map_or(choice.guest_args.to_owned(), |own| own.command_line(choice.guest_args)),
            memory_mib: choice.guest_memory,
            vcpus: choice.guest_cpus,
            disks: choice.disks,
        };
        let usual = [guest.description()];
        let base = || Initramfs::base(&busybox, modules);
        let driver = BootDomain {
            name: "driver".to_owned(),
            kernel: kernel.to_path_buf(),
            ramdisk: Some(keep(folder, "driver", &roles::driver(base()?, &lithd)?)?),
            bootargs: roles::DRIVER_BOOTARGS.to_owned(),
            memory_mib: DRIVER_MIB,
            vcpus: 1,
            vpl011: true,
            direct_map: true,
            passthrough: (0..).take(choice.disks).collect(),
            ..BootDomain::default()
        };
        let mut control = roles::control(base()?, &lith, &guest, choice.guests.unwrap_or(&usual))?;
        control.extras(choice.control_extras);
        Ok(Domains { control: keep(folder, "control", &control)?, guest: to_disk, driver })
    })
}

/// Where the machine has the driver domain's disk of this number.
pub fn disk_bus(number: u32) -> DiskBus {
    DiskBus::MmioSlot(number)
}

/// The guest's disk, made unless it is there; made anew if `fresh`.
pub fn disk(fresh: bool) -> Result<PathBuf> {
    let image = paths::target().join("guest-disk.img");
    if fresh || !image.exists() {
        step("Make the guest's disk", || disk_image::make(&image, DISK_MIB, &[]))?;
    }
    Ok(image)
}

fn keep(folder: &str, name: &str, archive: &Initramfs) -> Result<PathBuf> {
    let path = paths::cache().join(folder).join(format!("{name}.cpio"));
    paths::write_whole(&path, &archive.to_cpio()?)?;
    Ok(path)
}
