//! The order of scenarios: the longest first, so that no long one is left to run alone at the end.

use std::fs;

use super::{SECONDS, Scenario, folder_of};

/// Seconds that scenarios take whose folder does not tell it yet, by the beginnings of their names.
const LONG: [(&str, f32); 0] = [];
/// Seconds of the others.
const SHORT: f32 = 10.0;

/// Sorts by the time of the last run, or by the table.
pub fn longest_first(scenarios: &mut [Scenario]) {
    sort(scenarios, |name| {
        let text = fs::read_to_string(folder_of(name).join(SECONDS)).ok()?;
        text.trim().parse().ok()
    });
}

fn sort(scenarios: &mut [Scenario], last_time: impl Fn(&str) -> Option<f32>) {
    scenarios.sort_by_cached_key(|scenario| {
        let seconds = last_time(&scenario.name).unwrap_or_else(|| usual(&scenario.name));
        std::cmp::Reverse((seconds * 1000.0) as u64)
    });
}

fn usual(name: &str) -> f32 {
    LONG.iter().find(|(beginning, _)| name.starts_with(beginning)).map_or(SHORT, |(_, seconds)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_decides_and_else_the_table() {
        let scenario = |name: &str| Scenario::new(name, |_| Ok(()));
        let mut scenarios = ["a", "b", "c"].map(scenario);
        sort(&mut scenarios, |name| match name {
            "b" => Some(300.5),
            "c" => Some(SHORT + 0.5),
            _ => None,
        });
        assert_eq!(scenarios.map(|scenario| scenario.name), ["b", "c", "a"]);
    }
}
