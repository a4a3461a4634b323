//! Machines without a first domain: those that the device tree describes run alone, and one of them may have control.

use anyhow::{Result, ensure};
use system_tests::harness::{Lab, Scenario};
use system_tests::setup::Setup;
use system_tests::shell::PROGRAM;
use testbed::kernel::Series;
use testbed::qemu::BootDomain;

const SERIES: Series = Series::V6_1;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("boot-domain/alone", alone),
        Scenario::new("boot-domain/control", |lab| in_control(lab, 1)),
        Scenario::new("boot-domain/control-and-hardware", |lab| in_control(lab, 3)),
    ]
}

/// A machine that starts this domain and no other.
fn machine(lab: &Lab, domain: BootDomain) -> Result<Setup> {
    let mut setup = lab.linux(SERIES)?;
    (setup.kernel, setup.initrd) = (None, None);
    setup.domains.push(domain);
    Ok(setup)
}

fn domain(lab: &Lab, console: &str) -> Result<BootDomain> {
    Ok(BootDomain {
        name: "one".into(),
        kernel: lab.assets.kernel(SERIES)?.image(),
        ramdisk: Some(lab.assets.initramfs(SERIES)),
        bootargs: format!("console={console} run={PROGRAM}"),
        memory_mib: 512,
        vcpus: 2,
        ..BootDomain::default()
    })
}

/// A guest alone, with as many vCPUs as a domain can have. Linux starts two of them, so that not all have to wait for one
/// another on two CPUs, and then the last one. What is typed is for the guest, with no key before.
fn alone(lab: &Lab) -> Result<()> {
    let mut one = domain(lab, "ttyAMA0")?;
    (one.vpl011, one.vcpus) = (true, 128);
    one.bootargs.push_str(" maxcpus=2");
    let mut machine = lab.start(&machine(lab, one)?)?;
    machine.expect("/chosen has no kernel for a first domain")?;
    machine.expect("d1 (/chosen/one): 512 MiB, 128 vCPUs")?;
    machine.expect(system_tests::shell::READY)?;
    machine
        .console
        .send("cd /sys/devices/system/cpu; echo 1 >cpu127/online; echo CPUs $(cat possible online)\n")?;
    machine.expect("CPUs 0-127 0-1,127").map(drop)
}

/// The domain that the tree gives control is domain 0, and its end is the machine's.
fn in_control(lab: &Lab, capabilities: u32) -> Result<()> {
    let one = BootDomain { capabilities, ..domain(lab, "hvc0")? };
    let mut setup = machine(lab, one)?;
    // As much as the node says, and not what the tests' machines have.
    setup.options = setup.options.replace("dom0_mem=512M ", "");
    let mut machine = lab.start(&setup)?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("cat /proc/xen/capabilities")? == "control_d");
    ensure!(shell.check("nproc")? == "2");
    shell.check("dmesg | grep 'KASLR enabled'")?;
    // The machine's devices are those of the hardware domain: virtio-mmio's slots are in its tree.
    let slots = shell.check("ls /proc/device-tree | grep -c virtio_mmio || true")?;
    ensure!((slots == "32") == (capabilities == 3), "{slots} slots");
    machine.console.send("poweroff -f\n")?;
    machine.wait_for_end().map(drop)
}
