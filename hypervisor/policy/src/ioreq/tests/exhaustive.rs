//! All orders of all steps, for few vCPUs and servers: from each state that can be reached, every step is made.

use std::collections::{HashSet, VecDeque};

use super::model::{Op, World};

/// All values of a slot's state.
const EVERY_STATE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// One value of each kind: empty, being worked on, answered, nonsense.
const EACH_KIND: [u8; 4] = [0, 2, 3, 9];

/// Visits states nearest first, up to `depth` steps from the start. Returns how many there are.
fn explore(start: World, depth: usize, ops: &[Op]) -> usize {
    let mut seen = HashSet::from([start.model.clone()]);
    let mut queue = VecDeque::from([(0, start)]);
    while let Some((distance, world)) = queue.pop_front() {
        if distance == depth {
            continue;
        }
        for &op in ops {
            let mut next = world.duplicate();
            // A step that changes nothing leads to no new state, but both halves have to agree that it does not.
            next.apply(op);
            if seen.insert(next.model.clone()) {
                queue.push_back((distance + 1, next));
            }
        }
    }
    seen.len()
}

#[test]
fn one_vcpu_and_one_server_in_every_state_with_every_value() {
    let states = explore(World::new(1, 1), usize::MAX, &World::ops(1, 1, &EVERY_STATE));
    assert!(states > 100, "{states}");
}

#[test]
fn two_vcpus_and_one_server_in_every_state() {
    let states = explore(World::new(2, 1), usize::MAX, &World::ops(2, 1, &EACH_KIND));
    assert!(states > 1_000, "{states}");
}

#[test]
fn one_vcpu_and_two_servers_in_every_state() {
    let states = explore(World::new(1, 2), usize::MAX, &World::ops(1, 2, &EACH_KIND));
    assert!(states > 1_000, "{states}");
}

#[test]
fn two_vcpus_and_two_servers_from_work_on() {
    let mut start = World::new(2, 2);
    for server in 0..2 {
        start.apply(Op::Create);
        start.apply(Op::Enable { server, on: true });
        start.apply(Op::Map { server });
    }
    let states = explore(start, 3, &World::ops(2, 2, &EACH_KIND));
    assert!(states > 1_000, "{states}");
}
