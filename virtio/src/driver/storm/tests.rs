use super::*;

/// What a plain run does of the 10^8 that `cargo xtask test --queues 100000000` plays.
const SHARE: u64 = 40_000;

#[test]
fn queues_of_a_disk_hold_in_a_storm() {
    let (executions, seed) = asked(SHARE);
    let sum = play("queues of a disk", Disk::new(), executions, seed);
    assert_eq!(sum.executions, executions);
    // It is no storm in which nothing is served, and none in which nothing is wrong.
    assert!(executions < SHARE || sum.completed > executions && sum.resets > executions / 50, "{sum:?}");
}
