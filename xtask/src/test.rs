//! `cargo xtask test`: every test there is, on the host and in whole machines.
//!
//! All programs with tests are built first and say what they hold, so that it is known how much is left. A suite that fails
//! does not stop the next. The last line printed is `N passed, N failed`, with `, N skipped` where some could not run here.

mod at_length;
mod examples;
mod floors;
mod lines;
mod suite;
mod tally;

use anyhow::{Result, bail};
use clap::Args;
use testbed::host::{self, Need};

use crate::fuzz;
use at_length::Long;
use floors::{Machines, Plan};
use tally::Tally;

/// What is tested.
#[derive(Args)]
pub struct Options {
    /// Only tests with one of these in their names, which begin with their suite's: `xenolith_policy::event`, `tools/pv`,
    /// `fuzz::store_answers`
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only what needs no machine; fuzz targets run for a moment
    #[arg(long)]
    quick: bool,
    /// Only Xen's own tools, of all versions, in a control domain on our hypervisor
    #[arg(long, conflicts_with = "quick")]
    tools: bool,
    #[command(flatten)]
    lengths: at_length::Lengths,
}

/// Seconds for which each fuzz target runs, and in a quick run.
const FUZZ_SECONDS: u32 = 20;
const QUICK_FUZZ_SECONDS: u32 = 2;

/// Sets up, runs the suites, and prints the sum.
pub fn test(options: &Options) -> Result<()> {
    let on_host = [Need::LINKER, Need::LIBC, Need::MKE2FS, Need::CXX];
    host::ensure(&on_host)?;
    let long = options.lengths.chosen();
    let is_on_host = if long.is_empty() { options.quick } else { !long.iter().any(Long::is_in_machines) };
    if !is_on_host {
        host::ensure(&[Need::QEMU, Need::QEMU_IMG])?;
    }
    let mut tally = Tally::default();
    if !long.is_empty() {
        at_length::run(&long, &mut tally)?;
        return end(&tally);
    }
    let plan = plan(options, &mut tally)?;
    if plan.is_empty() && !tally.any_failed() {
        bail!("no test has such a name");
    }
    plan.run(&mut tally)?;
    end(&tally)
}

/// Prints the sum.
fn end(tally: &Tally) -> Result<()> {
    print!("{tally}");
    if tally.any_failed() {
        bail!("tests failed");
    }
    Ok(())
}

fn plan(options: &Options, tally: &mut Tally) -> Result<Plan> {
    let mut plan = Plan::build(tally)?;
    plan.fuzz = fuzz::targets()?;
    plan.fuzz_seconds = if options.quick { QUICK_FUZZ_SECONDS } else { FUZZ_SECONDS };
    let machines = match options {
        Options { quick: true, .. } => Machines::None,
        Options { tools: true, .. } => Machines::OnlyTools,
        Options { names, .. } if names.is_empty() => Machines::OneVersionOfTools,
        _ => Machines::All,
    };
    plan.restrict(machines, &options.names);
    Ok(plan)
}
