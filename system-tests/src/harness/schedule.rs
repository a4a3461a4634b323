//! The order of scenarios: the longest first, so that no long one is left to run alone at the end.

use std::fs;

use super::{SECONDS, Scenario, folder_of};

/// Seconds that scenarios take whose folder does not tell it yet, by the beginnings of their names: the first that fits.
const LONG: [(&str, f32); 24] = [
    ("guest/reboots", 120.0),
    ("tools/virtio", 110.0),
    ("tools/resources", 75.0),
    ("tools/pv", 75.0),
    ("guest/queues", 60.0),
    ("tools/xl", 60.0),
    ("guest/two-with-two-disks", 45.0),
    ("guest/rounds", 45.0),
    ("tools/libvirt", 40.0),
    ("guest/ends", 35.0),
    ("guest/balloons", 35.0),
    ("dist/", 60.0),
    ("run/", 30.0),
    ("guest/", 25.0),
    ("backend/kills-under-load", 60.0),
    ("backend/no-forwarding", 25.0),
    ("backend/requests-held", 25.0),
    ("backend/hostile-driver-domain", 25.0),
    ("smp/", 20.0),
    ("tools/", 20.0),
    ("attack/", 18.0),
    ("driver/owns-a-disk", 15.0),
    ("backend/", 15.0),
    ("static-shm/", 12.0),
];
/// Seconds of the others.
const SHORT: f32 = 8.0;

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

    #[test]
    fn the_table_knows_single_scenarios_before_their_area() {
        assert!(usual("guest/reboots") > usual("guest/qcow2"));
        assert!(usual("guest/qcow2") > SHORT);
        assert_eq!(usual("bad-input/tree-truncated"), SHORT);
        let areas = LONG.iter().enumerate();
        for (place, (name, _)) in areas {
            assert!(!LONG[..place].iter().any(|(other, _)| name.starts_with(other)), "{name} never counts");
        }
    }
}
