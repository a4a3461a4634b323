//! What Linux and its programs find in the first domain: Xen's interfaces, and CPUs that behave.

use anyhow::{Result, ensure};
use system_tests::setup::Setup;
use system_tests::shared::Shared;
use system_tests::shell::Shell;
use testbed::kernel::Series;
use testbed::qemu::Gic;

use system_tests::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("smp/stress-more-vcpus-than-cpus-gicv3", |lab| stress(lab, Gic::V3)),
        Scenario::new("smp/stress-more-vcpus-than-cpus-gicv2", |lab| stress(lab, Gic::V2)),
        Scenario::new("smp/stress-pinned", stress_pinned),
        Scenario::new("smp/hotplug", hotplug),
        Scenario::new("smp/many-vcpus", many_vcpus),
    ];
    for series in Series::ALL {
        let machines = Shared::new(format!("linux-{series}"), move |lab| lab.linux(series));
        all.push(machines.scenario(format!("xen/interfaces-{series}"), interfaces));
        for test in ["grants", "events", "hypercalls", "memory"] {
            all.push(machines.scenario(format!("xen/{test}-{series}"), move |shell| passes(shell, test)));
        }
        if series == Series::V6_1 {
            all.push(machines.scenario("console/both-directions", console));
        }
    }
    all
}

/// Boots and runs tests of our program, all of which must pass.
fn program(lab: &Lab, setup: &Setup, tests: &[&str]) -> Result<()> {
    let mut machine = lab.start(setup)?;
    let mut shell = machine.shell()?;
    for test in tests {
        passes(&mut shell, test)?;
    }
    shell.last("poweroff -f")?;
    machine.wait_for_end()?;
    Ok(())
}

/// Runs a test of our program, which must pass.
fn passes(shell: &mut Shell, test: &str) -> Result<()> {
    let outcome = shell.run(&format!("guest-tests {test}"))?;
    ensure!(outcome.status == 0, "guest-tests {test} ended with {}:\n{}", outcome.status, outcome.output);
    Ok(())
}

/// Linux talks to the hypervisor by the ABI's newer forms, and its device files open.
fn interfaces(shell: &mut Shell) -> Result<()> {
    let log = shell.check("dmesg")?;
    for line in
        ["Xen 4.17 support found", "xen:events: Using FIFO-based ABI", "Grant tables using version 1 layout"]
    {
        ensure!(log.contains(line), "Linux's log does not say {line:?}");
    }
    ensure!(shell.check("cat /sys/hypervisor/version/major")? == "4");
    ensure!(shell.check("cat /sys/hypervisor/version/minor")? == "17");
    ensure!(shell.check("cat /sys/hypervisor/properties/capabilities")?.starts_with("xen-3.0-aarch64"));
    let features = shell.check("cat /sys/hypervisor/properties/features")?;
    ensure!(
        u32::from_str_radix(&features, 16)? & 1 << 11 != 0,
        "features {features} are not the first domain's"
    );
    ensure!(shell.check("cat /proc/xen/capabilities")? == "control_d");
    for device in ["privcmd", "evtchn", "gntdev", "gntalloc"] {
        shell.check(&format!("exec 3<>/dev/xen/{device} && exec 3>&-"))?;
    }
    let interrupts = shell.check("cat /proc/interrupts")?;
    ensure!(interrupts.contains("xen-dyn"), "no event channels among the interrupts:\n{interrupts}");
    Ok(())
}

/// Long output comes whole and in order, and so does input as fast as it can be typed.
fn console(shell: &mut Shell) -> Result<()> {
    let numbers = shell.check("seq 1 5000")?;
    let expected: Vec<String> = (1..=5000).map(|number| number.to_string()).collect();
    ensure!(numbers == expected.join("\n"), "5000 lines of output differ");
    for round in 0..50 {
        let text = format!("{round:03} {}", "the quick brown fox jumps over the lazy dog; she sleeps on");
        ensure!(shell.check(&format!("echo '{text}'"))? == text, "round {round}");
    }
    Ok(())
}

fn four_vcpus_on_two_cpus(lab: &Lab) -> Result<Setup> {
    Ok(lab.linux(Series::V6_1)?.option("dom0_max_vcpus=4"))
}

fn stress(lab: &Lab, gic: Gic) -> Result<()> {
    let mut setup = four_vcpus_on_two_cpus(lab)?;
    setup.gic = gic;
    program(lab, &setup, &["smp 4"])
}

fn stress_pinned(lab: &Lab) -> Result<()> {
    let setup = lab.linux(Series::V6_12)?.option("sched=pinned");
    program(lab, &setup, &["smp 2"])
}

fn hotplug(lab: &Lab) -> Result<()> {
    program(lab, &four_vcpus_on_two_cpus(lab)?, &["hotplug 2", "smp 1"])
}

/// More vCPUs than one affinity level holds. Linux starts two, so that 17 need not wait for one another on two CPUs,
/// and then the last one.
fn many_vcpus(lab: &Lab) -> Result<()> {
    let setup = lab.linux(Series::V6_1)?.option("dom0_max_vcpus=17").bootarg("maxcpus=2");
    let mut machine = lab.start(&setup)?;
    let mut shell = machine.shell()?;
    ensure!(shell.check("cat /sys/devices/system/cpu/present")? == "0-16");
    shell.check("echo 1 >/sys/devices/system/cpu/cpu16/online")?;
    ensure!(shell.check("cat /sys/devices/system/cpu/online")? == "0-1,16");
    shell.check("taskset 0x10000 guest-tests disk /tmp")?;
    shell.last("poweroff -f")?;
    machine.wait_for_end()?;
    Ok(())
}
