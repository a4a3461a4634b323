//! What a hostile guest costs the one beside it: how much later the timer's interrupt comes to a guest that sleeps on a CPU of
//! its own, while another guest does on the other CPU whatever it may.

use anyhow::Result;
use testbed::paths;
use testbed::qemu::{Boot, BootDomain, StaticShared};

use super::guests::Guests;
use super::run;
use super::table::{Limit, Row, Table};

/// What the other guest does: the word in its command line, and in the table.
const HOSTILE: [(&str, &str); 5] = [
    ("computes", "computes"),
    ("calls", "makes calls of all kinds"),
    ("console", "writes to the console"),
    ("balloon", "gives up pages and takes them back"),
    ("events", "sends events to it"),
];
/// The most by which it may come later, as a ratio.
const LARGEST: f64 = 1.05;

/// Ticks from the time that a timer was set for to the guest's first instruction then.
struct Latency {
    mean: f64,
    most: f64,
}

/// Measures beside a guest that sleeps, and beside each kind of hostile one.
pub fn measure(guests: &Guests, table: &mut Table) -> Result<()> {
    let idle = beside("idle", guests)?;
    let hostile: Vec<Latency> =
        HOSTILE.iter().map(|(word, _)| beside(word, guests)).collect::<Result<_>>()?;
    show(&idle, &hostile, table);
    Ok(())
}

/// Adds the rows, and judges those of hostile guests.
fn show(idle: &Latency, hostile: &[Latency], table: &mut Table) {
    let what = |other: &str| format!("timer of a guest that sleeps, beside one that {other}");
    let mut add = |what, value, unit, decimals, limit| {
        table.push(Row { what, value, unit, decimals, spread: None, limit });
    };
    add(what("sleeps too"), idle.mean, "instructions", 1, None);
    for ((_, text), latency) in HOSTILE.iter().zip(hostile) {
        let limit = Some(Limit::AtMost(LARGEST));
        add(format!("{}, ratio", what(text)), latency.mean / idle.mean, "", 3, limit);
    }
    let most = hostile.iter().map(|latency| latency.most).fold(idle.most, f64::max);
    add("the longest that one of these took".to_owned(), most, "instructions", 0, None);
}

/// What the first domain finds beside a guest that plays this.
fn beside(hostile: &str, guests: &Guests) -> Result<Latency> {
    let other = BootDomain {
        name: "other".to_owned(),
        kernel: guests.neighbour.clone(),
        bootargs: format!("neighbour={hostile}"),
        memory_mib: 64,
        vcpus: 1,
        vpl011: true,
        ..BootDomain::default()
    };
    let mut machine = run::counting(Boot::Hypervisor {
        image: paths::image(),
        args: "dom0_mem=128M dom0_max_vcpus=1 guest_console=yes".to_owned(),
        kernel: Some(guests.neighbour.clone()),
        initrd: None,
        bootargs: "neighbour=measure".to_owned(),
        domains: vec![other],
        static_shared: StaticShared::default(),
    });
    machine.cpus = 2;
    machine.memory_mib = 256;
    let run = run::run(&format!("Count how late a timer comes beside {hostile}"), &machine)?;
    // Else there was nobody to be beside.
    run.after(&format!("bench: hostile {hostile}"))?;
    let sum = run.number_after("bench: latency ")?;
    let number = |mark: &str| run.number_after(&format!("bench: latency {sum} {mark}"));
    let times = number("in ")?;
    let most = number(&format!("in {times}, at most "))?;
    Ok(Latency { mean: sum as f64 / times as f64, most: most as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_guest_may_cost_a_twentieth() {
        let latency = |mean| Latency { mean, most: 2.0 * mean };
        let hostile = [1000.0, 1049.0, 1051.0, 990.0, 1000.0].map(latency);
        let mut table = Table::default();
        show(&latency(1000.0), &hostile, &mut table);
        let text = table.to_string();
        let verdicts: Vec<_> = text.lines().filter(|line| line.contains("ratio")).collect();
        assert!(verdicts[1].contains("1.049") && verdicts[1].contains("kept"), "{text}");
        assert!(verdicts[2].contains("1.051") && verdicts[2].contains("EXCEEDED"), "{text}");
        assert!(text.contains("| 2102 instructions"), "{text}");
    }
}
