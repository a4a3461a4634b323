//! How the hypervisor gets control of a board.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use dtoolkit::model::DeviceTree;
use testbed::host::{Need, ensure};
use testbed::image;
use testbed::process::capture;
use testbed::toolchain::DOMAIN_LINKER;

use super::{Board, Start, tree};
use crate::setup::{Setup, entry_stub};

/// From the image to a device tree that QEMU's loader does not touch, and from that to the instructions before the image's.
const TREE_AFTER: u64 = 0x60_0000;
const STUB_AFTER: u64 = 0x80_0000;

/// Our firmware for a board that comes without one (SBSA's reference board).
const FIRMWARE: &str = include_str!("firmware.S");

/// Adds image and tree to QEMU's command.
pub fn add(
    command: &mut Command,
    board: &Board,
    setup: &Setup,
    mut tree: DeviceTree,
    scratch: &Path,
) -> Result<()> {
    let file = scratch.join("board.dtb");
    if !matches!(board.start, Start::Kernel) {
        tree::set_options(&mut tree, setup.options.trim_end())?;
    }
    fs::write(&file, tree.to_dtb())?;
    match board.start {
        Start::Kernel => {
            command.arg("-dtb").arg(&file).arg("-kernel").arg(&setup.hypervisor);
            command.arg("-append").arg(setup.options.trim_end());
        }
        Start::Stores(image, stores) => {
            let stub = scratch.join("stub.bin");
            fs::write(&stub, entry_stub(image, image + TREE_AFTER, stores))?;
            command.arg("-kernel").arg(&setup.hypervisor);
            load(command, &file, image + TREE_AFTER);
            load(command, &stub, image + STUB_AFTER);
            command.arg("-device").arg(format!("loader,addr={:#x},cpu-num=0", image + STUB_AFTER));
        }
        Start::Firmware(image) => {
            load(command, &setup.hypervisor, image);
            load(command, &file, image + TREE_AFTER);
            command.arg("-bios").arg(firmware(image, scratch)?);
        }
    }
    Ok(())
}

fn load(command: &mut Command, file: &Path, at: u64) {
    command.arg("-device").arg(format!("loader,file={},addr={at:#x},force-raw=on", file.display()));
}

/// Assembles the firmware that enters the hypervisor at `entry`.
fn firmware(entry: u64, scratch: &Path) -> Result<PathBuf> {
    ensure(&[Need::LINKER])?;
    let [source, elf, file] = ["firmware.S", "firmware.elf", "firmware.bin"].map(|name| scratch.join(name));
    fs::write(&source, FIRMWARE)?;
    let mut compile = Command::new(DOMAIN_LINKER);
    compile.args(["-nostdlib", "-static", "-Wl,-Ttext=0,--build-id=none"]);
    compile.arg(format!("-DIMAGE={entry:#x}")).arg(format!("-DTREE={:#x}", entry + TREE_AFTER));
    capture(compile.arg(&source).arg("-o").arg(&elf))?;
    fs::write(&file, image::pack(&fs::read(&elf)?)?.0)?;
    Ok(file)
}
