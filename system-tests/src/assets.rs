//! The files that machines are made of: where set-up and build left them.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Which of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Linux 6.1, Debian 12's own.
    V6_1,
    /// Linux 6.12, of its backports.
    V6_12,
}

/// A kernel as Debian ships it.
#[derive(Clone, Debug)]
pub struct Linux {
    /// The kernel, an arm64 `Image`.
    pub image: PathBuf,
    /// The folder below which its modules stand.
    pub modules: PathBuf,
}

/// Every file that a scenario may need.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The hypervisor's image.
    pub hypervisor: PathBuf,
    /// A static arm64 busybox.
    pub busybox: PathBuf,
    /// The emulator.
    pub qemu: PathBuf,
    /// Our programs for Linux in the first domain.
    pub guest_tests: PathBuf,
    /// Our hostile kernel.
    pub hostile: PathBuf,
    /// The folder for what tests leave behind.
    pub output: PathBuf,
    testbed: PathBuf,
}

impl Assets {
    /// Finds them under `target/`, where `cargo xtask` leaves them.
    ///
    /// `XENOLITH_IMAGE` names another hypervisor image, `XENOLITH_TESTBED` another folder of kernels.
    pub fn find() -> Result<Self> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let path = |variable, default: &str| {
            env::var_os(variable).map_or_else(|| target.join(default), PathBuf::from)
        };
        let testbed = path("XENOLITH_TESTBED", "testbed");
        let assets = Self {
            hypervisor: path("XENOLITH_IMAGE", "xenolith.img"),
            busybox: testbed.join("busybox"),
            qemu: env::var_os("XENOLITH_QEMU").unwrap_or_else(|| "qemu-system-aarch64".into()).into(),
            guest_tests: testbed.join("guest-tests"),
            hostile: testbed.join("hostile.img"),
            output: target.join("system-tests"),
            testbed,
        };
        for file in [&assets.busybox, &assets.guest_tests, &assets.hostile] {
            ensure!(file.exists(), "{} is missing: run the tests by `cargo xtask test`", file.display());
        }
        Ok(assets)
    }

    /// The kernel of that release.
    pub fn linux(&self, release: Release) -> Linux {
        let folder = self.testbed.join(match release {
            Release::V6_1 => "linux-6.1",
            Release::V6_12 => "linux-6.12",
        });
        Linux { image: folder.join("Image"), modules: folder.join("modules") }
    }
}
