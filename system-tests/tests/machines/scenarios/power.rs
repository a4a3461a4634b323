//! How the first domain ends, and what becomes of the machine.

use anyhow::{Result, ensure};
use testbed::kernel::Series;

use system_tests::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("power/off", |lab| ends(lab, "poweroff -f", "powered off")),
        Scenario::new("power/off-from-another-cpu", |lab| ends(lab, "taskset 2 poweroff -f", "powered off")),
        Scenario::new("power/reset", |lab| ends(lab, "reboot -f", "reboots")),
        Scenario::new("power/panic-resets", panic_resets),
        Scenario::new("power/panic-is-found", panic_is_found),
        Scenario::new("power/crash-resets", |lab| crash(lab, "reboot", "resetting")),
        Scenario::new("power/crash-halts", |lab| crash(lab, "halt", "halted")),
    ]
}

/// The command ends the domain, the hypervisor says how, and the machine ends: a reset ends QEMU too.
fn ends(lab: &Lab, command: &str, says: &str) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?)?;
    machine.shell()?.last(command)?;
    let words = machine.wait_for_end()?;
    ensure!(words.contains(says), "the hypervisor did not say {says:?}: {words}");
    Ok(())
}

/// Linux panics, waits as long as it was told, and resets.
fn panic_resets(lab: &Lab) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?.bootarg("panic=1"))?;
    let words = "echo '[ 1.234567] Kernel panic - not syncing: of a guest' >/dev/console";
    machine.shell()?.last(&format!("{words}; sleep 1; echo c >/proc/sysrq-trigger"))?;
    machine.expect("Kernel panic - not syncing: of a guest")?;
    let said = machine.expect("Kernel panic - not syncing: sysrq triggered crash")?;
    ensure!(!said.contains("has panicked"), "a program's words were taken for the kernel's: {said}");
    let words = machine.wait_for_end()?;
    ensure!(words.contains("reboots"), "the hypervisor did not say that the domain reboots: {words}");
    Ok(())
}

/// Linux panics and spins for ever: after a while its registers are shown, and the machine ends by the option. The same
/// words of a program, as of one that shows a guest's console, mean nothing.
fn panic_is_found(lab: &Lab) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?.option("on_crash=halt"))?;
    let words = "echo '[ 1.234567] Kernel panic - not syncing: of a guest' >/dev/console";
    machine.shell()?.last(&format!("{words}; sleep 1; echo c >/proc/sysrq-trigger"))?;
    machine.expect("Kernel panic - not syncing: of a guest")?;
    let said = machine.expect("Kernel panic - not syncing: sysrq triggered crash")?;
    ensure!(!said.contains("has panicked"), "a program's words were taken for the kernel's: {said}");
    // Linux repeats itself at the end.
    machine.expect("end Kernel panic - not syncing")?;
    let report = machine.expect("has crashed; the machine is halted")?;
    for word in ["its kernel has panicked", "pc", "x0", "x30"] {
        ensure!(report.contains(word), "the report of the panic does not show {word:?}:\n{report}");
    }
    Ok(())
}

/// The domain says that it has crashed: its registers are shown, and the machine ends as the option says.
fn crash(lab: &Lab, option: &str, says: &str) -> Result<()> {
    let mut machine = lab.start(&lab.linux(Series::V6_1)?.option(&format!("on_crash={option}")))?;
    machine.shell()?.last("guest-tests crash")?;
    let report = machine.expect(says)?;
    for word in ["crashed", "pc", "x0", "x30"] {
        ensure!(report.contains(word), "the report of the crash does not show {word:?}:\n{report}");
    }
    Ok(())
}
