//! What a plain run does a small share of, for as long as one likes: on the model machine, built for speed.

use anyhow::{Result, bail};

use super::suite::{self, Built};
use super::tally::Tally;

/// The model machine's package.
const PACKAGE: &str = "xenolith-sim";
/// A profile that optimises, with checks of overflow.
const PROFILE: &str = "program";

/// A test that is to do more than its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long {
    /// What its name ends in.
    test: &'static str,
    /// The variable that tells it how much.
    variable: &'static str,
    /// How much.
    times: u64,
}

/// What of it is asked for.
pub fn chosen(storm: Option<u64>, rounds: Option<u64>) -> Vec<Long> {
    let storm = storm.map(|times| Long {
        test: "storm::several_cpus_at_once_break_nothing",
        variable: "STORM_CALLS",
        times,
    });
    let rounds = rounds.map(|times| Long {
        test: "rounds::guests_that_end_with_a_request_in_flight_leave_nothing",
        variable: "LIFE_ROUNDS",
        times,
    });
    storm.into_iter().chain(rounds).collect()
}

/// Builds the tests and runs them. Each prints its figures.
pub fn run(chosen: &[Long], tally: &mut Tally) -> Result<()> {
    let Built { suites, .. } = suite::build(&["--package", PACKAGE, "--profile", PROFILE], "")?;
    tally.expect(chosen.len());
    for long in chosen {
        let mut found = suites.clone();
        found.iter_mut().for_each(|suite| suite.restrict(|name| name.ends_with(long.test)));
        let Some(suite) = found.iter().find(|suite| !suite.tests.is_empty()) else {
            bail!("{PACKAGE} has no test {}", long.test)
        };
        let mut command = suite.command();
        command.env(long.variable, long.times.to_string());
        tally.run(&suite.name, command, |_| None)?;
    }
    Ok(())
}
