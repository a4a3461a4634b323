//! What a plain run does a small share of, for as long as one likes: in a process of the host, built for speed, or in machines.

use anyhow::{Context, Result, bail};
use clap::Args;

use super::suite::{self, Built, Suite};
use super::tally::Tally;
use crate::build;

/// A profile that optimises, with checks of overflow.
const PROFILE: &str = "program";

/// How much of what is done.
#[derive(Args)]
pub struct Lengths {
    /// Only so many random hypercalls on four CPUs of the model machine, and a tenth as many accesses and calls into other
    /// domains
    #[arg(long, value_name = "CALLS", conflicts_with_all = ["quick", "tools", "names"])]
    storm: Option<u64>,
    /// Only so many guests on the model machine that end with a request in flight
    #[arg(long, value_name = "N", conflicts_with_all = ["quick", "tools", "names"])]
    rounds: Option<u64>,
    /// Only so many notifications of each virtio device, whose queues say anything
    #[arg(long, value_name = "RUNS", conflicts_with_all = ["quick", "tools", "names"])]
    queues: Option<u64>,
    /// Only so many kills of a disk's process, in a machine whose guest checks what it reads
    #[arg(long, value_name = "N", conflicts_with_all = ["quick", "tools", "names"])]
    kills: Option<u64>,
}

/// A test that is to do more than its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long {
    /// The package that it is in.
    package: &'static str,
    /// What its name ends in.
    test: &'static str,
    /// The variable that tells it how much.
    variable: &'static str,
    /// How much.
    times: u64,
}

/// The package whose tests boot machines.
const MACHINES: &str = "system-tests";

impl Lengths {
    /// What of it is asked for.
    pub fn chosen(&self) -> Vec<Long> {
        let all = [
            ("xenolith-sim", "storm::several_cpus_at_once_break_nothing", "STORM_CALLS", self.storm),
            (
                "xenolith-sim",
                "rounds::guests_that_end_with_a_request_in_flight_leave_nothing",
                "LIFE_ROUNDS",
                self.rounds,
            ),
            ("xenolith-virtio", "storm::tests::queues_of_a_disk_hold_in_a_storm", "QUEUE_RUNS", self.queues),
            ("entropy-device", "a_queue_of_an_entropy_device_holds_in_a_storm", "QUEUE_RUNS", self.queues),
            (MACHINES, "backend/kills-under-load", "BACKEND_KILLS", self.kills),
        ];
        all.into_iter()
            .filter_map(|(package, test, variable, times)| {
                Some(Long { package, test, variable, times: times? })
            })
            .collect()
    }
}

impl Long {
    /// Whether it needs machines.
    pub fn is_in_machines(&self) -> bool {
        self.package == MACHINES
    }

    /// Builds it, and what it needs.
    fn build(&self) -> Result<Suite> {
        let profile: &[&str] = if self.is_in_machines() { &[] } else { &["--profile", PROFILE] };
        let Built { mut suites, .. } = suite::build(&[&["--package", self.package], profile].concat(), "")?;
        suites.iter_mut().for_each(|suite| suite.restrict(|name| name.ends_with(self.test)));
        let found = suites.into_iter().find(|suite| !suite.tests.is_empty());
        let suite = found.with_context(|| format!("{} has no test {}", self.package, self.test))?;
        if suite.tests.len() > 1 {
            bail!("{} has several tests {}", self.package, self.test);
        }
        if self.is_in_machines() {
            build::build()?;
        }
        Ok(suite)
    }
}

/// Builds the tests and runs them. Each prints its figures.
pub fn run(chosen: &[Long], tally: &mut Tally) -> Result<()> {
    tally.expect(chosen.len());
    for long in chosen {
        let suite = long.build()?;
        println!("{}: {}", long.test, long.times);
        let mut command = if long.is_in_machines() { suite.machine_command() } else { suite.command() };
        command.env(long.variable, long.times.to_string());
        tally.run(&suite.name, command, |_| None)?;
    }
    Ok(())
}
