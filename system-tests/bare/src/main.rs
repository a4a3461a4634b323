//! A kernel without MMU, driver or memory allocator.
//!
//! As a guest it makes every kind of access to an emulated device (`forwarded`). As the first domain it does all that a
//! kernel should not: it executes undefined and trapped instructions, reads and writes every system register there could be, touches
//! what is not there, calls what does not exist; each time it must get the architecture's or the ABI's answer. It
//! prints `ok <name>` or `FAILED <name>: <reason>` per test and powers off. What it finds readable it lists, so that
//! two hypervisors can be compared.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod calls;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod forwarded;
#[cfg(target_os = "none")]
mod gic;
#[cfg(target_os = "none")]
mod instructions;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod registers;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod scratch;
#[cfg(target_os = "none")]
mod system_error;
#[cfg(target_os = "none")]
mod timer;
#[cfg(target_os = "none")]
mod translation;
#[cfg(target_os = "none")]
mod wait;

/// Elsewhere than on bare metal there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}

/// All tests for the place this is. In the first domain those that leave the machine untidy come last.
#[cfg(target_os = "none")]
fn run() -> ! {
    let mut report = report::Report::default();
    if !calls::is_first_domain() {
        forwarded::run(&mut report);
        report.finish("forwarded");
        calls::power_off()
    }
    calls::run(&mut report);
    // Before any interrupt is let through, which would keep it awake.
    system_error::run(&mut report);
    wait::run(&mut report);
    timer::run(&mut report);
    memory::run(&mut report);
    translation::run(&mut report);
    instructions::run(&mut report);
    registers::run(&mut report);
    gic::run(&mut report);
    report.finish("hostile");
    calls::power_off()
}
