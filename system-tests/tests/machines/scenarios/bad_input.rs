//! What boot scripts and boot loaders get wrong: the hypervisor names the culprit on its console, and stops or goes on.
//!
//! Tests match the culprit's name, not whole sentences.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dtoolkit::model::DeviceTree;
use system_tests::setup::{Entry, Setup};
use system_tests::tree;
use testbed::kernel::{Series, zboot};
use testbed::qemu::Gic;

use system_tests::harness::{Lab, Scenario};

/// What the hypervisor says last when it cannot go on.
const HALTED: &str = "halted";

const MIB: usize = 1 << 20;

/// A machine that says something says it by then.
const SILENCE: Duration = Duration::from_secs(5);

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("bad-input/no-kernel", no_kernel),
        Scenario::new("bad-input/not-a-kernel", not_a_kernel),
        Scenario::new("bad-input/truncated-gzip", truncated_gzip),
        Scenario::new("bad-input/truncated-zboot", truncated_zboot),
        Scenario::new("bad-input/zstd-zboot", zstd_zboot),
        Scenario::new("bad-input/kernel-does-not-fit", |lab| {
            refused(lab, "dom0_mem=16M", &["kernel", "16 MiB"])
        }),
        Scenario::new("bad-input/initrd-does-not-fit", initrd_does_not_fit),
        Scenario::new("bad-input/more-memory-than-there-is", |lab| {
            refused(lab, "dom0_mem=64G", &["dom0_mem"])
        }),
        Scenario::new("bad-input/zero-memory", |lab| refused(lab, "dom0_mem=0", &["dom0_mem"])),
        Scenario::new("bad-input/zero-vcpus", |lab| refused(lab, "dom0_max_vcpus=0", &["dom0_max_vcpus"])),
        Scenario::new("bad-input/too-many-vcpus-for-gicv2", too_many_vcpus),
        Scenario::new("bad-input/entered-at-el1", entered_at_el1),
        Scenario::new("bad-input/unknown-option", |lab| ignored(lab, "frobnicate=yes", "frobnicate")),
        Scenario::new("bad-input/malformed-option", |lab| ignored(lab, "loglvl=shouting", "loglvl")),
        Scenario::new("bad-input/tree-truncated", tree_truncated),
        Scenario::new("bad-input/tree-is-none", tree_is_none),
        Scenario::new("bad-input/no-console-named", no_console_named),
    ];
    for (what, compatible, culprit) in
        [("gicv3", "arm,gic-v3", "interrupt controller"), ("timer", "arm,armv8-timer", "timer")]
    {
        all.push(Scenario::new(format!("bad-input/tree-without-{what}"), move |lab| {
            with_tree(lab, &[culprit], |tree| tree::remove_compatible(tree, compatible))
        }));
    }
    for (what, node, culprit) in [("memory", "memory@40000000", "memory"), ("cpus", "cpus", "CPU")] {
        all.push(Scenario::new(format!("bad-input/tree-without-{what}"), move |lab| {
            with_tree(lab, &[culprit], |tree| {
                ensure!(tree.root.remove_child(node).is_some(), "there is no node {node}");
                Ok(())
            })
        }));
    }
    all
}

/// The hypervisor names all culprits in one error, and stops.
fn stops(lab: &Lab, setup: &Setup, culprits: &[&str]) -> Result<()> {
    let mut machine = lab.start(setup)?;
    let said = machine.expect(HALTED)?;
    let mut errors = said.lines().filter(|line| line.contains("error: "));
    let named = errors.any(|line| culprits.iter().all(|culprit| line.contains(culprit)));
    ensure!(named, "no error names {culprits:?}");
    Ok(())
}

/// It names the culprit, and the first domain boots.
fn ignored(lab: &Lab, option: &str, culprit: &str) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?.option(option))?;
    machine.expect(culprit)?;
    machine.shell()?.check("true")?;
    Ok(())
}

/// A good machine with a bad option.
fn refused(lab: &Lab, option: &str, culprits: &[&str]) -> Result<()> {
    stops(lab, &lab.linux(Series::V6_1)?.option(option), culprits)
}

fn no_kernel(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.kernel = None;
    stops(lab, &setup, &["kernel", "module"])
}

/// A file for this test.
fn file(lab: &Lab, name: &str, content: &[u8]) -> Result<PathBuf> {
    let file = lab.folder.join(name);
    fs::write(&file, content)?;
    Ok(file)
}

fn not_a_kernel(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.kernel = Some(file(lab, "poem", &b"Roses are red, kernels are not.\n".repeat(4096))?);
    stops(lab, &setup, &["kernel"])
}

fn truncated_gzip(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    let whole = fs::read(lab.assets.kernel(Series::V6_1)?.gzipped()?)?;
    setup.kernel = Some(file(lab, "half.gz", &whole[..whole.len() / 2])?);
    stops(lab, &setup, &["gzip", "truncated"])
}

fn truncated_zboot(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    let whole = fs::read(lab.assets.kernel(Series::V6_1)?.zboot()?)?;
    setup.kernel = Some(file(lab, "half.efi", &whole[..whole.len() / 2])?);
    stops(lab, &setup, &["EFI zboot", "from byte 64 on"])
}

/// zstd takes more of the image than there is room for: who brings it is told what unpacks it.
fn zstd_zboot(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.kernel = Some(file(lab, "zstd.efi", &zboot("zstd22", &[0x28, 0xb5, 0x2f, 0xfd])?)?);
    stops(lab, &setup, &["EFI zboot", "zstd", "lith unpack-kernel"])
}

fn initrd_does_not_fit(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?.option("dom0_mem=128M");
    setup.initrd = Some(file(lab, "huge-initrd", &vec![0x55; 160 * MIB])?);
    stops(lab, &setup, &["initrd", "128 MiB"])?;
    fs::remove_file(lab.folder.join("huge-initrd"))?;
    Ok(())
}

fn too_many_vcpus(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?.option("dom0_max_vcpus=9");
    setup.gic = Gic::V2;
    stops(lab, &setup, &["dom0_max_vcpus", "8"])
}

fn entered_at_el1(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.entry = Entry::HypervisorAtEl1;
    let mut machine = lab.start(&setup)?;
    machine.expect("EL1")?;
    machine.expect("EL2")?;
    machine.expect(HALTED)?;
    Ok(())
}

/// Boots with the machine's own device tree after `damage`.
fn with_tree(lab: &Lab, culprits: &[&str], damage: impl FnOnce(&mut DeviceTree) -> Result<()>) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    let mut tree = tree::of_machine(&setup, &lab.folder)?;
    damage(&mut tree)?;
    setup.entry = Entry::HypervisorWithTree(file(lab, "damaged.dtb", &tree.to_dtb())?);
    stops(lab, &setup, culprits)
}

/// Where the image has the text that names its early console (docs/command-line.md).
const EARLY_CONSOLE_AT: usize = 64;

/// A machine whose image was told of its UART, for when no tree can tell.
fn with_early_console(lab: &Lab) -> Result<Setup> {
    let mut setup = lab.linux(Series::V6_1)?;
    let mut image = fs::read(&setup.hypervisor)?;
    let text = b"pl011,0x9000000";
    let place = image.get_mut(EARLY_CONSOLE_AT..EARLY_CONSOLE_AT + text.len()).context("no image")?;
    ensure!(place.iter().all(|&byte| byte == 0), "the image has an early console as it is built");
    place.copy_from_slice(text);
    setup.hypervisor = file(lab, "told.img", &image)?;
    Ok(setup)
}

fn tree_truncated(lab: &Lab) -> Result<()> {
    let mut setup = with_early_console(lab)?;
    let whole = tree::of_machine(&setup, &lab.folder)?.to_dtb();
    let half = file(lab, "half.dtb", &whole[..whole.len() / 2])?;
    setup.entry = Entry::HypervisorWithTree(half);
    stops(lab, &setup, &["device tree"])
}

fn tree_is_none(lab: &Lab) -> Result<()> {
    let mut setup = with_early_console(lab)?;
    setup.entry = Entry::HypervisorWithTree(no_tree(lab)?);
    stops(lab, &setup, &["device tree"])
}

fn no_tree(lab: &Lab) -> Result<PathBuf> {
    file(lab, "poem.dtb", &b"Violets are blue. ".repeat(100))
}

/// Where neither tree nor image names a UART, nothing is written to any address that might be one: QEMU's record of the PL011's
/// registers stays empty.
fn no_console_named(lab: &Lab) -> Result<()> {
    let record = lab.folder.join("pl011");
    let traced = |mut setup: Setup| {
        let arguments = ["-d", "trace:pl011_write,trace:pl011_read", "-D"].map(str::to_owned);
        setup.extra.extend(arguments);
        setup.extra.push(record.display().to_string());
        setup
    };
    let mut told = traced(with_early_console(lab)?);
    told.entry = Entry::HypervisorWithTree(no_tree(lab)?);
    stops(lab, &told, &["device tree"])?;
    ensure!(!fs::read(&record)?.is_empty(), "QEMU keeps no record of the PL011");
    let mut untold = traced(lab.linux(Series::V6_1)?);
    untold.entry = told.entry;
    let machine = lab.start(&untold)?;
    thread::sleep(SILENCE);
    drop(machine);
    let touched = fs::read_to_string(&record)?;
    ensure!(touched.is_empty(), "the PL011 was driven: {touched}");
    Ok(())
}
