//! What a user sees when the hypervisor itself fails, which it does on request (`test=`).

use anyhow::Result;
use testbed::kernel::Series;

use system_tests::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("faults/panic-names-functions", |lab| {
            halts(lab, "panic", &["hypervisor panic", "asked for by test=panic", "boot::start"])
        }),
        Scenario::new("faults/stack-overflow-hits-the-guard-page", |lab| {
            halts(lab, "stack-overflow", &["hypervisor fault", "overflow_stack"])
        }),
        Scenario::new("faults/code-is-read-only", |lab| {
            halts(lab, "write-code", &["hypervisor fault", "write_code"])
        }),
        Scenario::new("faults/unmapped-is-unreachable", |lab| {
            halts(lab, "read-nothing", &["hypervisor fault", "read_nothing"])
        }),
        Scenario::new("faults/panic-resets-by-option", resets),
    ]
}

/// The test fails as it should, the words come in this order, and the machine stands still.
fn halts(lab: &Lab, test: &str, words: &[&str]) -> Result<()> {
    let setup = lab.linux(Series::V6_1)?.option("panic=halt").option(&format!("test={test}"));
    let mut machine = lab.start(&setup)?;
    for word in words.iter().chain(&["halted"]) {
        machine.expect(word)?;
    }
    Ok(())
}

fn resets(lab: &Lab) -> Result<()> {
    let setup = lab.linux(Series::V6_1)?.option("panic=reboot").option("test=panic");
    let mut machine = lab.start(&setup)?;
    machine.expect("hypervisor panic")?;
    machine.expect("resetting the machine")?;
    machine.wait_for_end()?;
    Ok(())
}
