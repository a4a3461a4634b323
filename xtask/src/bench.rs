//! `cargo xtask bench`: figures of the present build, as a table.

mod boot;
mod table;

use std::fs;

use anyhow::{Context, Result};
use testbed::host::{self, Need};
use testbed::initramfs::Initramfs;
use testbed::kernel::{self, Kernel, Series};
use testbed::paths;
use testbed::qemu::{Boot, Machine};

use crate::build;
use table::{Row, Table};

/// Boots of each kind, of which the quickest counts: the others were disturbed by the host's other work.
const BOOTS: usize = 3;
/// The longest that a boot under the hypervisor may take, as a multiple of one without.
const LARGEST_BOOT_RATIO: f64 = 1.3;

/// Sets up, builds, measures, and prints the table.
pub fn bench() -> Result<()> {
    host::ensure(&[Need::QEMU])?;
    let sizes = build::build()?;
    let mut table = Table::default();
    table.push(Row {
        what: "Image, code and data".into(),
        value: kib(sizes.text_and_data()),
        unit: "KiB",
        limit: Some(kib(build::LARGEST_IMAGE)),
    });
    for series in Series::ALL {
        boot_rows(series, &mut table)?;
    }
    print!("{table}");
    Ok(())
}

/// Measures from the machine's start to the domain's init, with and without the hypervisor.
fn boot_rows(series: Series, table: &mut Table) -> Result<()> {
    let kernel = Kernel::fetch(series)?;
    let initrd = paths::cache().join(format!("bench-initramfs-{series}.gz"));
    let archive = Initramfs::base(&kernel::busybox()?, Some(&kernel.modules()))?.to_gzip()?;
    paths::write_whole(&initrd, &archive)?;
    let bare = Machine::new(Boot::Linux {
        kernel: kernel.image(),
        initrd: initrd.clone(),
        bootargs: "console=ttyAMA0 quiet run=/bin/true".into(),
    });
    let under = Machine::new(Boot::Hypervisor {
        image: paths::image(),
        args: "dom0_mem=512M".into(),
        kernel: Some(kernel.image()),
        initrd: Some(initrd.clone()),
        bootargs: "console=hvc0 quiet run=/bin/true".into(),
    });
    let alone = boot::quickest(bare, BOOTS).with_context(|| format!("Linux {series} alone"))?.as_secs_f64();
    let hosted =
        boot::quickest(under, BOOTS).with_context(|| format!("Linux {series} as a domain"))?.as_secs_f64();
    let row = |what: &str, value, unit, limit| Row {
        what: format!("Boot of {series}, {what}"),
        value,
        unit,
        limit,
    };
    table.push(row("no hypervisor", alone, "s", None));
    table.push(row("first domain", hosted, "s", None));
    table.push(row("ratio", hosted / alone, "", Some(LARGEST_BOOT_RATIO)));
    Ok(fs::remove_file(initrd)?)
}

fn kib(bytes: usize) -> f64 {
    bytes as f64 / 1024.0
}
