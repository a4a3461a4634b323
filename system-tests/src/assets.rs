//! The files that machines are made of: fetched and built before the first machine starts.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testbed::host::{self, Need};
use testbed::image;
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::paths;
use testbed::programs;
use testbed::toolchain::{Cross, Target};

use crate::{guests, shell};

/// Names another hypervisor image than the one that is built.
const OTHER_IMAGE: &str = "XENOLITH_IMAGE";
/// Options for that other hypervisor, after those of the test.
const OTHER_OPTIONS: &str = "XENOLITH_OPTIONS";

/// Every file that a scenario may need.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The hypervisor's image.
    pub hypervisor: PathBuf,
    /// What every command line of the hypervisor ends with.
    pub options: String,
    /// Our program for Linux in the first domain.
    pub guest_tests: PathBuf,
    /// Our daemon that serves devices.
    pub lithd: PathBuf,
    /// Our own command line.
    pub lith: PathBuf,
    /// Our kernel that does all that a kernel should not.
    pub hostile: PathBuf,
    /// The example of a guest without an operating system.
    pub bare_guest: PathBuf,
    /// The folder for what tests leave behind.
    pub output: PathBuf,
}

impl Assets {
    /// Fetches and builds what is not there.
    pub fn prepare() -> Result<Self> {
        host::ensure(&[Need::QEMU])?;
        let output = paths::target().join("system-tests");
        fs::create_dir_all(&output).with_context(|| format!("creating {}", output.display()))?;
        let guest_tests = programs::build(Target::Domain, "system-tests-guest", "guest-tests")?;
        for series in Series::ALL {
            fs::write(initramfs_file(&output, series), initramfs(series, &guest_tests)?)?;
        }
        let hostile = output.join("hostile.img");
        let elf = programs::build(Target::Hypervisor, "system-tests-bare", "hostile")?;
        fs::write(&hostile, image::pack(&fs::read(elf)?)?.0)?;
        let lithd = programs::build(Target::Domain, "lithd", "lithd")?;
        let lith = programs::build(Target::Domain, "lith", "lith")?;
        // Its build leaves the image, and no ELF file.
        let bare_guest = programs::build(Target::Hypervisor, "bare-guest", "bare-guest")?;
        guests::prepare(&output, &guest_tests, &lithd, &lith, [&hostile, &bare_guest])?;
        let hypervisor = match env::var_os(OTHER_IMAGE) {
            Some(other) => PathBuf::from(other),
            None => {
                image::build(&Cross::prepare(Target::Hypervisor)?)?;
                paths::image()
            }
        };
        let options = env::var(OTHER_OPTIONS).unwrap_or_default();
        Ok(Self { hypervisor, options, guest_tests, lithd, lith, hostile, bare_guest, output })
    }

    /// The hypervisor without I/O forwarding, which one test needs: it is built when that runs.
    pub fn without_forwarding(&self) -> Result<PathBuf> {
        let image = self.output.join("without-forwarding.img");
        image::build_without_features(&Cross::prepare(Target::Hypervisor)?, &image)?;
        Ok(image)
    }

    /// The hypervisor that holds domains' tables against the specification of stage 2, which one test needs: it is built when
    /// that runs.
    pub fn with_checked_tables(&self) -> Result<PathBuf> {
        let image = self.output.join("checked-tables.img");
        image::build_variant(&Cross::prepare(Target::Hypervisor)?, &["check-tables"], &image)?;
        Ok(image)
    }

    /// Debian's kernel of that series.
    pub fn kernel(&self, series: Series) -> Result<Kernel> {
        Kernel::fetch(series)
    }

    /// The initial ram disk for that kernel: a shell, the modules, our programs.
    pub fn initramfs(&self, series: Series) -> PathBuf {
        initramfs_file(&self.output, series)
    }
}

fn initramfs_file(output: &Path, series: Series) -> PathBuf {
    output.join(format!("initramfs-{series}.gz"))
}

/// Leaves the ram disk for root on the first disk: its own modules are all that is needed from it.
const TO_DISK: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
for module in $(cat /lib/modules/disk); do insmod $module; done
while [ ! -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /mnt
exec switch_root /mnt /init
";

/// A driver domain's program: tries the disk that it owns, and says [`DRIVER_DONE`] in the end.
pub const DRIVER: &str = "/bin/driver-disk";

/// The last words of [`DRIVER`] when all went well; other last words begin alike.
pub const DRIVER_DONE: &str = "driver: done, with status 0";

const DRIVER_SCRIPT: &str = "#!/bin/sh
mount -t ext4 /dev/vda /mnt && guest-tests disk /mnt && umount /mnt
echo \"driver: done, with status $?\"
";

/// The program of a boot-time domain that shares memory and an event channel with another. `role=`, `memory=` and
/// `port=` on the kernel's command line say what it does. It says how it ended: `static-shm: ROLE ended with STATUS .`
pub const STATIC_SHM: &str = "/bin/static-shm";

const STATIC_SHM_SCRIPT: &str = "#!/bin/sh
guest-tests static-shm \"$role\" \"$memory\" \"$port\"
echo \"static-shm: $role ended with $? .\"
";

fn initramfs(series: Series, guest_tests: &Path) -> Result<Vec<u8>> {
    let modules = Kernel::fetch(series)?.modules();
    let mut files = Initramfs::base(&kernel::busybox()?, Some(&modules))?;
    add_tests(&mut files, guest_tests)?;
    files.file("bin/to-disk", 0o755, TO_DISK.into());
    files.file(DRIVER.trim_start_matches('/'), 0o755, DRIVER_SCRIPT.into());
    files.file(STATIC_SHM.trim_start_matches('/'), 0o755, STATIC_SHM_SCRIPT.into());
    files.to_gzip()
}

/// Adds our programs and the shell that scenarios talk to.
pub(crate) fn add_tests(files: &mut Initramfs, guest_tests: &Path) -> Result<()> {
    files.file("bin/guest-tests", 0o755, fs::read(guest_tests)?);
    files.file(shell::PROGRAM.trim_start_matches('/'), 0o755, shell::SCRIPT.into());
    Ok(())
}
