//! Boot to a shell and power off: on many machines, with many forms of the same kernel.

use std::fs;

use anyhow::{Context, Result, ensure};
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use system_tests::boards::{self, Board};
use system_tests::machine::Machine;
use system_tests::setup::{Entry, Setup};
use system_tests::shell::Shell;
use system_tests::tree;
use system_tests::turns::Running;
use testbed::kernel::Series;
use testbed::qemu::Gic;

use system_tests::harness::{Lab, Scenario};

/// Each value of each column at least twice, and the pairs that differ most in what the hypervisor does for them.
const MATRIX: [(Gic, u32, &str, Series); 10] = [
    (Gic::V2, 1, "cortex-a53", Series::V6_1),
    (Gic::V2, 1, "cortex-a57", Series::V6_12),
    (Gic::V2, 2, "max", Series::V6_1),
    (Gic::V2, 4, "cortex-a72", Series::V6_12),
    (Gic::V3, 1, "cortex-a76", Series::V6_1),
    (Gic::V3, 2, "cortex-a53", Series::V6_12),
    (Gic::V3, 2, "cortex-a57", Series::V6_1),
    (Gic::V3, 4, "cortex-a72", Series::V6_1),
    (Gic::V3, 4, "max", Series::V6_12),
    (Gic::V2, 2, "cortex-a76", Series::V7),
];

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("harness/linux-without-hypervisor", linux_without_hypervisor),
        Scenario::new("boot/gzip", gzip),
        Scenario::new("boot/zboot", zboot),
        Scenario::new("boot/no-initrd", no_initrd),
        Scenario::new("boot/little-memory", little_memory),
        Scenario::new("boot/much-memory", much_memory),
        Scenario::new("boot/low-memory-first", low_memory_first),
        Scenario::new("boot/dma-limit", dma_limit),
        Scenario::new("boot/zcu102", |lab| board(lab, &boards::ZCU102, 4)),
        Scenario::new("boot/versal", |lab| board(lab, &boards::VERSAL, 2)),
        Scenario::new("boot/sbsa", |lab| board(lab, &boards::SBSA, 4)),
        Scenario::new("boot/imx8mp", imx8mp),
        Scenario::new("boot/raspi4b", raspi4b),
        Scenario::new("boot/16550", |lab| board(lab, &boards::VIRT_16550, 2)),
        Scenario::new("boot/spin-table", spin_table),
        Scenario::new("boot/without-psci", without_psci),
    ];
    all.extend(
        Series::ALL.map(|series| {
            Scenario::new(format!("boot/newer-max-{series}"), move |lab| newer_max(lab, series))
        }),
    );
    all.extend(MATRIX.map(|(gic, cpus, cpu, series)| {
        let name = format!("boot/gicv{gic}-{cpus}x{cpu}-{series}");
        Scenario::new(name, move |lab| on_board(lab, gic, cpus, cpu, series))
    }));
    all
}

/// The harness itself: the same kernel and shell with no hypervisor under them.
fn linux_without_hypervisor(lab: &Lab) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?.bare())?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("uname -m")? == "aarch64");
    ensure!(shell.run("false")?.status == 1);
    let disk = shell.run("guest-tests disk /tmp")?;
    ensure!(disk.status == 0, "{}", disk.output);
    power_off(&mut machine)
}

fn power_off(machine: &mut Machine) -> Result<()> {
    machine.console.send("poweroff -f\n")?;
    machine.wait_for_end()?;
    Ok(())
}

/// Boots, looks at what Linux found, and powers off.
fn boots(lab: &Lab, setup: &Setup, vcpus: u32, series: Series) -> Result<()> {
    let mut machine = lab.start(setup)?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("uname -r")?.starts_with(&format!("{series}.")));
    ensure!(shell.check("nproc")? == vcpus.to_string());
    ensure!(shell.check("cat /sys/hypervisor/type")? == "xen");
    let warnings = shell.run("dmesg | grep -E 'BUG|WARNING|Call trace|rcu.*stall'")?;
    ensure!(warnings.output.is_empty(), "Linux warns: {}", warnings.output);
    power_off(&mut machine)
}

fn on_board(lab: &Lab, gic: Gic, cpus: u32, cpu: &'static str, series: Series) -> Result<()> {
    let mut setup = lab.linux(series)?;
    (setup.gic, setup.cpus, setup.cpu) = (gic, cpus, cpu);
    boots(lab, &setup, cpus, series)
}

/// The CPU with all that QEMU 10 has, of which the newest kernel knows the most.
fn newer_max(lab: &Lab, series: Series) -> Result<()> {
    let mut setup = lab.linux(series)?.option("dom0=sve");
    (setup.newer_qemu, setup.cpu) = (true, "max");
    boots(lab, &setup, setup.cpus, series)
}

fn gzip(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.kernel = Some(lab.assets.kernel(Series::V6_1)?.gzipped()?);
    boots(lab, &setup, setup.cpus, Series::V6_1)
}

fn zboot(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_12)?;
    setup.kernel = Some(lab.assets.kernel(Series::V6_12)?.zboot()?);
    boots(lab, &setup, setup.cpus, Series::V6_12)
}

/// Debian's kernels have every disk driver as a module, so that without a ram disk the kernel comes as far as looking
/// for a root file system.
fn no_initrd(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?.bootarg("root=/dev/vda");
    setup.initrd = None;
    let mut machine = lab.start(&setup)?;
    machine.expect("Unable to mount root fs")?;
    Ok(())
}

fn little_memory(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?.option("dom0_mem=128M");
    setup.memory_mib = 512;
    boots(lab, &setup, setup.cpus, Series::V6_1)
}

/// 900 MiB of RAM at 1 GiB, 2 GiB at 5 GiB: the first domain's memory is in reach of devices with addresses of 32 bits.
fn low_memory_first(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?.option("dom0_mem=640M");
    setup.memory_mib = 6 * 1024;
    let mut tree = tree::of_machine(&setup, &lab.folder)?;
    let memory = tree.root.child_mut("memory@40000000").context("the machine's memory")?;
    let banks = [0, 0x4000_0000, 0, 900 << 20, 1, 0x4000_0000, 0, 0x8000_0000_u32];
    memory.add_property(DeviceTreeProperty::new("reg", banks.as_slice())?);
    let file = lab.folder.join("two-banks.dtb");
    fs::write(&file, tree.to_dtb())?;
    setup.entry = Entry::HypervisorWithTree(file);
    let mut machine = lab.start(&setup)?;
    let mut shell = machine.shell()?;
    let map = shell.check("grep 'System RAM' /proc/iomem")?;
    let starts: Vec<u64> = map
        .lines()
        .map(|line| Ok(u64::from_str_radix(line.split_once('-').context("a range")?.0.trim(), 16)?))
        .collect::<Result<_>>()?;
    ensure!(!starts.is_empty() && starts.iter().all(|&start| start < 1 << 32), "memory above 4 GiB: {map}");
    power_off(&mut machine)
}

/// A bus whose DMA ends 512 MiB into RAM, and a pool for it that has no place yet: Linux finds one there. The first domain's
/// memory would lie a GiB higher otherwise, aligned for large blocks.
fn dma_limit(lab: &Lab) -> Result<()> {
    const LIMIT: u64 = 0x6000_0000;
    let mut setup = lab.linux(Series::V6_1)?;
    setup.memory_mib = 2048;
    let mut tree = tree::of_machine(&setup, &lab.folder)?;
    let below = |name| {
        let mut parent = DeviceTreeNode::new(name)?;
        for cells in ["#address-cells", "#size-cells"] {
            parent.add_property(DeviceTreeProperty::new(cells, [2_u32].as_slice())?);
        }
        parent.add_property(DeviceTreeProperty::new("ranges", [].as_slice() as &[u8])?);
        anyhow::Ok(parent)
    };
    let mut bus = below("soc")?;
    let ranges = [0, 0xc000_0000, 0, 0x4000_0000, 0, 0x2000_0000_u32];
    bus.add_property(DeviceTreeProperty::new("dma-ranges", ranges.as_slice())?);
    tree.root.add_child(bus);
    let mut pool = DeviceTreeNode::new("linux,cma")?;
    pool.add_property(DeviceTreeProperty::new("compatible", "shared-dma-pool")?);
    for flag in ["reusable", "linux,cma-default"] {
        pool.add_property(DeviceTreeProperty::new(flag, [].as_slice() as &[u8])?);
    }
    pool.add_property(DeviceTreeProperty::new("size", [0, 0x400_0000_u32].as_slice())?);
    pool.add_property(DeviceTreeProperty::new("alloc-ranges", [0, 0, 0, LIMIT as u32].as_slice())?);
    let mut reserved = below("reserved-memory")?;
    reserved.add_child(pool);
    tree.root.add_child(reserved);
    let file = lab.folder.join("dma-limit.dtb");
    fs::write(&file, tree.to_dtb())?;
    setup.entry = Entry::HypervisorWithTree(file);
    let mut machine = lab.start(&setup)?;
    machine.expect("MiB lie below 0x60000000, where DMA ends for /soc")?;
    let mut shell = machine.shell()?;
    let made = shell.check("dmesg | grep -o 'created CMA memory pool at 0x[0-9a-f]*'")?;
    let (_, at) = made.split_once("0x").context("an address")?;
    let at = u64::from_str_radix(at.trim(), 16)?;
    ensure!(at + 0x400_0000 <= LIMIT, "the pool is at {at:#x}");
    power_off(&mut machine)
}

/// Another board, to its end.
fn board(lab: &Lab, board: &Board, cpus: u32) -> Result<()> {
    power_off(&mut *on_other_board(lab, board, cpus)?)
}

/// Another board, with its own interrupt controller and console: all CPUs run and take interrupts, and what is typed at the
/// shell comes by the UART's interrupt.
fn on_other_board(lab: &Lab, board: &Board, cpus: u32) -> Result<Running> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.cpus = cpus;
    let command = boards::command(board, &setup, &lab.folder)?;
    let mut machine = lab.start_command(command, setup.cpus)?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("nproc")? == cpus.to_string());
    ensure!(shell.check("cat /sys/hypervisor/type")? == "xen");
    let before = timer_interrupts(&mut shell)?;
    shell.check("for cpu in $(seq 0 $(($(nproc) - 1))); do taskset -c $cpu sleep 0.2; done")?;
    let after = timer_interrupts(&mut shell)?;
    let count = cpus as usize;
    ensure!(before.len() == count && after.len() == count, "not {cpus} CPUs: {before:?}, {after:?}");
    let all_tick = before.iter().zip(&after).all(|(before, after)| before < after);
    ensure!(all_tick, "a CPU takes no interrupts of its timer any more: {before:?}, then {after:?}");
    Ok(machine)
}

/// QEMU's model does not bring virtual interrupts to the CPUs, so that Linux gets none: one CPU comes as far as `/init`, which
/// needs none of them.
fn imx8mp(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.cpus = 1;
    let command = boards::command(&boards::IMX8MP, &setup, &lab.folder)?;
    lab.start_command(command, setup.cpus)?.shell()?;
    Ok(())
}

/// A board whose CPUs wait in a spin table, and which nothing powers off.
fn raspi4b(lab: &Lab) -> Result<()> {
    let mut machine = on_other_board(lab, &boards::RASPI4B, 4)?;
    machine.console.send("poweroff -f\n")?;
    machine.expect("powering the machine off").map(drop)
}

/// A board without PSCI, whose five further CPUs wait in a spin table, two pairs of them at one address each. Of one the tree
/// says otherwise, so that it stays out. A part of the tree is deeper than anybody looks.
fn spin_table(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    setup.cpus = 6;
    let mut tree = tree::of_machine(&setup, &lab.folder)?;
    system_tests::spin_table::edit(&mut tree, setup.cpus)?;
    let cpu = tree.root.child_mut("cpus").and_then(|cpus| cpus.child_mut("cpu@3")).context("a CPU")?;
    cpu.add_property(DeviceTreeProperty::new("enable-method", "vendor,smp")?);
    let mut nest = DeviceTreeNode::new("nest")?;
    for _ in 0..20 {
        let mut outer = DeviceTreeNode::new("nest")?;
        outer.add_child(nest);
        nest = outer;
    }
    tree.root.add_child(nest);
    let file = lab.folder.join("spin-table.dtb");
    fs::write(&file, tree.to_dtb())?;
    setup.entry = Entry::HypervisorWithSpinTable(file);
    let mut machine = lab.start(&setup)?;
    machine.expect("/nest: it is nested more than 16 levels deep")?;
    machine.expect("/cpus/cpu@3: `enable-method` is neither")?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("nproc")? == "5");
    let before = timer_interrupts(&mut shell)?;
    shell.check("for mask in 1 2 4 8 10; do taskset $mask sleep 0.2; done")?;
    let after = timer_interrupts(&mut shell)?;
    let all_tick = before.iter().zip(&after).all(|(before, after)| before < after);
    ensure!(
        before.len() == 5 && all_tick,
        "a CPU takes no interrupts of its timer: {before:?}, then {after:?}"
    );
    machine.console.send("poweroff -f\n")?;
    machine.expect("powering the machine off").map(drop)
}

/// A tree that says of no further CPU how it is started: the one that boots is enough.
fn without_psci(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_1)?;
    let mut tree = tree::of_machine(&setup, &lab.folder)?;
    tree::remove_compatible(&mut tree, "arm,psci-1.0")?;
    let file = lab.folder.join("without-psci.dtb");
    fs::write(&file, tree.to_dtb())?;
    setup.entry = Entry::HypervisorWithTree(file);
    let mut machine = lab.start(&setup)?;
    machine.expect("no PSCI firmware: nothing powers the machine off")?;
    machine.expect("/cpus/cpu@1: `enable-method` is \"psci\"")?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("nproc")? == "1");
    machine.console.send("poweroff -f\n")?;
    machine.expect("powering the machine off").map(drop)
}

/// How many interrupts of its timer each CPU has taken.
fn timer_interrupts(shell: &mut Shell<'_>) -> Result<Vec<u64>> {
    let line = shell.check("grep arch_timer /proc/interrupts")?;
    Ok(line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect())
}

/// More than the 3 GiB below which everything is easy.
fn much_memory(lab: &Lab) -> Result<()> {
    let mut setup = lab.linux(Series::V6_12)?.option("dom0_mem=3G");
    setup.memory_mib = 6 * 1024;
    boots(lab, &setup, setup.cpus, Series::V6_12)?;
    let log = fs::read_to_string(system_tests::machine::log_file(&lab.folder))?;
    ensure!(log.contains("Memory: "), "Linux did not say how much memory it has");
    Ok(())
}
