//! What a build, a run or a whole-machine test needs on the host.
//!
//! The principle: everything that is fetched or made stands under the workspace's `target/`, is put there whole or not
//! at all, and is found again by the next run in no time. The host's own packages change only through
//! [`host::ensure`], which says what it does.

pub mod debian;
pub mod disk_image;
pub mod host;
pub mod image;
pub mod initramfs;
pub mod kernel;
pub mod modules;
pub mod paths;
pub mod process;
pub mod programs;
pub mod qemu;
pub mod roles;
pub mod systemd;
pub mod toolchain;
pub mod tools;
pub mod unified;
