//! The scheduler against a model of what CPUs and units do, and under real threads.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const SLICE: u64 = 1000;

/// A unit as the model knows it.
struct Model {
    id: UnitId,
    domain: u8,
    online: bool,
    blocked: bool,
    pauses: u32,
    affinity: CpuMask,
    weight: u16,
    /// Pinned: the CPU that it has had since it came online, once it has run.
    own: Option<usize>,
    /// The CPU that runs it or has not saved it.
    on: Option<usize>,
    ran: u64,
}

impl Model {
    fn wants_to_run(&self) -> bool {
        self.online && !self.blocked && self.pauses == 0
    }
}

#[derive(Default)]
struct ModelCpu {
    running: Option<usize>,
    unsaved: Option<usize>,
    deadline: Option<u64>,
    charged: u64,
}

/// A machine whose CPUs do nothing but what the scheduler says, when it says so.
struct Rig {
    scheduler: Scheduler,
    units: Vec<Model>,
    cpus: Vec<ModelCpu>,
    kicked: CpuMask,
    now: u64,
}

impl Rig {
    /// Each unit is a domain's only one, of this weight.
    fn new(policy: Policy, cpus: u16, units: &[(u16, u64)]) -> Self {
        let units = (0..).zip(units);
        let units: Vec<_> = units.map(|(domain, &(weight, affinity))| (domain, weight, affinity)).collect();
        Rig::with_domains(policy, cpus, &units)
    }

    /// Each unit is of this domain, whose weight is that of its first one.
    fn with_domains(policy: Policy, cpus: u16, units: &[(u8, u16, u64)]) -> Self {
        let scheduler = Scheduler::new(policy, cpus, SLICE);
        let mut firsts = BTreeMap::new();
        let add = |&(domain, weight, affinity): &(u8, u16, u64)| {
            let affinity = CpuMask(affinity);
            let first = firsts.get(&domain).copied();
            let weight = first.map_or(weight, |(_, weight)| weight);
            let count = units.iter().filter(|unit| unit.0 == domain).count() as u16;
            let share = CpuShare { weight, units: count, first: first.map(|(id, _)| id) };
            let id = scheduler.add(share, affinity, 0).unwrap();
            firsts.entry(domain).or_insert((id, weight));
            Model {
                id,
                domain,
                online: false,
                blocked: false,
                pauses: 0,
                affinity,
                weight,
                own: None,
                on: None,
                ran: 0,
            }
        };
        let units = units.iter().map(add).collect();
        let cpus = (0..cpus).map(|_| ModelCpu::default()).collect();
        let mut rig = Rig { scheduler, units, cpus, kicked: CpuMask::NONE, now: 0 };
        (0..rig.cpus.len()).for_each(|cpu| rig.pick(cpu));
        rig
    }

    /// Domains of so many units each, which may run everywhere and compute.
    fn of_sizes(cpus: u16, domains: &[(u16, usize)]) -> Self {
        let units = |(domain, &(weight, units)): (u8, &(u16, usize))| vec![(domain, weight, u64::MAX); units];
        let units: Vec<_> = (0..).zip(domains).flat_map(units).collect();
        let mut rig = Rig::with_domains(Policy::Fair, cpus, &units);
        (0..units.len()).for_each(|unit| rig.start(unit));
        rig
    }

    fn started(policy: Policy, cpus: u16, units: &[(u16, u64)]) -> Self {
        let mut rig = Rig::new(policy, cpus, units);
        (0..units.len()).for_each(|unit| rig.start(unit));
        rig
    }

    /// The domains' shares, from those of their units.
    fn of_domains(&self, shares: &[u64]) -> Vec<u64> {
        let domains = self.units.iter().map(|unit| unit.domain).max().map_or(0, |last| last + 1);
        let share = |domain| {
            let units = self.units.iter().zip(shares).filter(|(unit, _)| unit.domain == domain);
            units.map(|(_, share)| share).sum()
        };
        (0..domains).map(share).collect()
    }

    fn kick(&mut self, cpus: CpuMask) {
        self.kicked = self.kicked.or(cpus);
    }

    fn start(&mut self, unit: usize) {
        self.units[unit].online = true;
        let kicks = self.scheduler.start(self.units[unit].id, self.now);
        self.kick(kicks);
    }

    fn stop(&mut self, unit: usize) {
        (self.units[unit].online, self.units[unit].own) = (false, None);
        let kicks = self.scheduler.stop(self.units[unit].id, self.now);
        self.kick(kicks);
    }

    fn wake(&mut self, unit: usize) {
        self.units[unit].blocked = false;
        let kicks = self.scheduler.wake(self.units[unit].id, self.now);
        self.kick(kicks);
    }

    fn block(&mut self, unit: usize) {
        if let Some(cpu) = self.units[unit].on.filter(|&cpu| self.cpus[cpu].running == Some(unit)) {
            self.units[unit].blocked = true;
            self.scheduler.block(self.units[unit].id, self.now);
            self.kick(CpuMask(1 << cpu));
        }
    }

    fn pause(&mut self, unit: usize) {
        self.units[unit].pauses += 1;
        let kicks = self.scheduler.pause(self.units[unit].id, self.now);
        self.kick(kicks);
    }

    fn resume(&mut self, unit: usize) {
        self.units[unit].pauses = self.units[unit].pauses.saturating_sub(1);
        let kicks = self.scheduler.resume(self.units[unit].id, self.now);
        self.kick(kicks);
    }

    fn set_affinity(&mut self, unit: usize, affinity: CpuMask) {
        if let Ok(kicks) = self.scheduler.set_affinity(self.units[unit].id, affinity, self.now) {
            self.units[unit].affinity = affinity;
            self.kick(kicks);
        }
    }

    fn save(&mut self, cpu: usize) {
        if let Some(unit) = self.cpus[cpu].unsaved.take() {
            self.units[unit].on = None;
            let kicks = self.scheduler.saved(CpuId(cpu as u16), self.units[unit].id, self.now);
            self.kick(kicks);
        }
    }

    fn pick(&mut self, cpu: usize) {
        self.save(cpu);
        self.kicked.0 &= !(1 << cpu);
        let pick = self.scheduler.pick(CpuId(cpu as u16), self.now);
        let next = pick.unit.map(|id| self.units.iter().position(|unit| unit.id == id).unwrap());
        let mut state = std::mem::take(&mut self.cpus[cpu]);
        if let Some(unit) = state.running {
            self.units[unit].ran += self.now - state.charged;
        }
        if state.running != next {
            state.unsaved = state.running;
        }
        (state.running, state.deadline, state.charged) = (next, pick.deadline, self.now);
        self.cpus[cpu] = state;
        let Some(unit) = next else { return };
        let unit = &mut self.units[unit];
        assert!(unit.wants_to_run(), "{:?} was picked asleep or paused", unit.id);
        assert!(unit.affinity.contains(CpuId(cpu as u16)), "{:?} outside its affinity", unit.id);
        assert!(unit.on.is_none_or(|on| on == cpu), "{:?} is on two CPUs", unit.id);
        unit.on = Some(cpu);
        if self.scheduler.pinned.is_some() {
            assert_eq!(*unit.own.get_or_insert(cpu), cpu, "{:?} has lost its CPU", unit.id);
        }
        assert_eq!(self.scheduler.running_on(unit.id), Some(CpuId(cpu as u16)));
    }

    /// Serves kicks and deadlines, and nothing else, until `end`.
    fn run_until(&mut self, end: u64) {
        (0..self.cpus.len()).for_each(|cpu| self.save(cpu));
        loop {
            while let Some(cpu) = self.kicked.iter().next() {
                self.pick(usize::from(cpu.0));
                self.save(usize::from(cpu.0));
            }
            let next = self.cpus.iter().filter_map(|cpu| cpu.deadline).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            self.kick_expired();
        }
        self.now = end;
    }

    fn kick_expired(&mut self) {
        for (number, cpu) in self.cpus.iter_mut().enumerate() {
            if cpu.deadline.is_some_and(|deadline| deadline <= self.now) {
                cpu.deadline = None;
                self.kicked.0 |= 1 << number;
            }
        }
    }

    /// The shares of all units over `slices` slices, in thousandths of a CPU.
    fn shares(&mut self, slices: u64) -> Vec<u64> {
        let before: Vec<_> = self.units.iter().map(|unit| unit.ran).collect();
        let end = self.now + slices * SLICE;
        self.run_until(end);
        (0..self.cpus.len()).for_each(|cpu| self.pick(cpu));
        let ran = self.units.iter().zip(before).map(|(unit, before)| unit.ran - before);
        ran.map(|ran| ran * 1000 / (slices * SLICE)).collect()
    }

    /// With all kicks served, no CPU idles that a waiting unit could have.
    fn no_cpu_idles_while_a_unit_waits(&mut self) {
        self.run_until(self.now);
        let idle = |cpu: CpuId| self.cpus.get(usize::from(cpu.0)).is_some_and(|cpu| cpu.running.is_none());
        for unit in self.units.iter().filter(|unit| unit.wants_to_run() && unit.on.is_none()) {
            let free = unit.affinity.iter().find(|&cpu| idle(cpu));
            assert_eq!(free, None, "{:?} waits while a CPU idles", unit.id);
        }
    }

    /// From here on nobody blocks: every unit that can run must get to it by kicks and deadlines alone.
    fn everyone_gets_a_turn(&mut self) {
        self.run_until(self.now);
        let before: Vec<_> = self.units.iter().map(|unit| unit.ran).collect();
        for _ in 0..100 * self.units.len() {
            let end = self.now + SLICE;
            self.run_until(end);
            (0..self.cpus.len()).filter(|&cpu| self.cpus[cpu].running.is_some()).for_each(|cpu| {
                self.kicked.0 |= 1 << cpu;
            });
            self.run_until(end);
            let mut pairs = self.units.iter().zip(&before);
            if pairs.all(|(unit, &before)| !unit.wants_to_run() || unit.ran > before) {
                return;
            }
        }
        let starved = self.units.iter().zip(&before).filter(|(unit, before)| unit.ran == **before);
        panic!("never ran: {:?}", starved.map(|(unit, _)| unit.id).collect::<Vec<_>>());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Wake(usize),
    Block(usize),
    Start(usize),
    Stop(usize),
    Pause(usize),
    Resume(usize),
    Pick(usize),
    Save(usize),
    Yield(usize),
    Affinity(usize, u64),
    Weight(usize, u16),
    Pass(u64),
    Interrupt(usize, usize, u64),
    Serve,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..12usize).prop_map(Op::Wake),
        4 => (0..12usize).prop_map(Op::Block),
        4 => (0..12usize).prop_map(Op::Start),
        1 => (0..12usize).prop_map(Op::Stop),
        2 => (0..12usize).prop_map(Op::Pause),
        3 => (0..12usize).prop_map(Op::Resume),
        4 => (0..4usize).prop_map(Op::Pick),
        3 => (0..4usize).prop_map(Op::Save),
        1 => (0..4usize).prop_map(Op::Yield),
        1 => (0..12usize, 0..32u64).prop_map(|(unit, mask)| Op::Affinity(unit, mask)),
        1 => (0..12usize, 64..1024u16).prop_map(|(unit, weight)| Op::Weight(unit, weight)),
        3 => (0..2 * SLICE).prop_map(Op::Pass),
        1 => (0..4usize, 0..12usize, 0..SLICE / 2)
            .prop_map(|(cpu, owner, ticks)| Op::Interrupt(cpu, owner, ticks)),
        2 => Just(Op::Serve),
    ]
}

fn apply(rig: &mut Rig, op: &Op) {
    let unit = |unit: &usize| unit % rig.units.len();
    let cpu = |cpu: &usize| cpu % rig.cpus.len();
    match op {
        Op::Wake(number) => rig.wake(unit(number)),
        Op::Block(number) => rig.block(unit(number)),
        Op::Start(number) => rig.start(unit(number)),
        Op::Stop(number) => rig.stop(unit(number)),
        Op::Pause(number) => rig.pause(unit(number)),
        Op::Resume(number) => rig.resume(unit(number)),
        Op::Pick(number) => rig.pick(cpu(number)),
        Op::Save(number) => rig.save(cpu(number)),
        Op::Yield(number) => rig.scheduler.yield_now(CpuId(cpu(number) as u16)),
        Op::Affinity(number, mask) => rig.set_affinity(unit(number), CpuMask(*mask)),
        Op::Weight(number, weight) => {
            let model = &rig.units[unit(number)];
            rig.scheduler.set_weight(model.id, *weight, rig.now);
        }
        Op::Pass(ticks) => {
            rig.now += ticks;
            rig.kick_expired();
        }
        Op::Interrupt(number, owner, ticks) => {
            let (cpu, owner) = (cpu(number), unit(owner));
            rig.now += ticks;
            rig.kick_expired();
            rig.scheduler.charge_interrupt(CpuId(cpu as u16), Some(rig.units[owner].id), *ticks, rig.now);
        }
        Op::Serve => rig.run_until(rig.now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_history_keeps_the_rules_and_starves_nobody(
        cpus in 1..5u16,
        units in proptest::collection::vec((0..6u8, 64..1024u16, 1..16u64), 1..13),
        history in proptest::collection::vec(op(), 0..200),
    ) {
        let present = |mask: u64| CpuMask(mask).iter().any(|cpu| cpu.0 < cpus);
        let units: Vec<_> =
            units.into_iter().map(|(domain, weight, mask)| (domain, weight, if present(mask) { mask } else { 1 })).collect();
        let mut rig = Rig::with_domains(Policy::Fair, cpus, &units);
        for op in &history {
            apply(&mut rig, op);
            if matches!(op, Op::Serve) {
                rig.no_cpu_idles_while_a_unit_waits();
            }
        }
        rig.no_cpu_idles_while_a_unit_waits();
        rig.everyone_gets_a_turn();
        for unit in 0..rig.units.len() {
            let id = rig.units[unit].id;
            rig.pause(unit);
            rig.run_until(rig.now);
            prop_assert_eq!(rig.scheduler.running_on(id), None);
            let times = rig.scheduler.times(id).unwrap();
            let total: u64 = times.spent.iter().sum();
            prop_assert_eq!(total, times.since, "every tick is booked once");
            prop_assert!(rig.scheduler.remove(id, rig.now).is_ok());
            prop_assert_eq!(rig.scheduler.remove(id, rig.now), Err(Errno::ENOENT));
        }
    }

    #[test]
    fn pinned_units_never_share_and_no_cpu_is_left_unused(
        cpus in 1..5u16,
        units in 1..8usize,
        history in proptest::collection::vec(op(), 0..150),
    ) {
        let mut rig = Rig::new(Policy::Pinned, cpus, &vec![(256, u64::MAX); units]);
        for op in &history {
            if !matches!(op, Op::Affinity(..)) {
                apply(&mut rig, op);
            }
        }
        for unit in 0..units {
            rig.wake(unit);
            (0..rig.units[unit].pauses).for_each(|_| rig.resume(unit));
        }
        rig.run_until(rig.now);
        let running = rig.cpus.iter().filter(|cpu| cpu.running.is_some()).count();
        let online = rig.units.iter().filter(|unit| unit.online).count();
        prop_assert_eq!(running, online.min(cpus.into()));
        prop_assert!(rig.cpus.iter().all(|cpu| cpu.deadline.is_none()), "nobody shares, so nobody ticks");
    }

    #[test]
    fn one_cpu_is_shared_by_weight(weights in proptest::collection::vec(32..2048u16, 1..9)) {
        let units: Vec<_> = weights.iter().map(|&weight| (weight, 1)).collect();
        let mut rig = Rig::started(Policy::Fair, 1, &units);
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let slices = 1500;
        for (share, unit) in rig.shares(slices).into_iter().zip(&rig.units) {
            let due = 1000 * u64::from(unit.weight) / sum;
            prop_assert!(share.abs_diff(due) <= 4, "{} instead of {} thousandths", share, due);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model: a domain's part of the weights is its part of the CPU, and its units have equal parts of that.
    #[test]
    fn a_cpu_is_shared_by_domain_and_then_by_unit(
        domains in proptest::collection::vec((32..2048u16, 1..17usize), 1..7),
    ) {
        let mut rig = Rig::of_sizes(1, &domains);
        let sum: u64 = domains.iter().map(|&(weight, _)| u64::from(weight)).sum();
        // So many that a slice is less than a thousandth.
        let shares = rig.shares(4000);
        let of_domains = rig.of_domains(&shares);
        for (number, (&(weight, units), share)) in domains.iter().zip(of_domains).enumerate() {
            let due = 1000 * u64::from(weight) / sum;
            // Shares are rounded down, each unit's for itself.
            let rounding = units as u64;
            prop_assert!(share.abs_diff(due) <= 4 + rounding, "domain {number}: {share} instead of {due}");
            let own = rig.units.iter().zip(&shares).filter(|(unit, _)| usize::from(unit.domain) == number);
            for (unit, &share) in own {
                let due = due / units as u64;
                prop_assert!(share.abs_diff(due) <= 3, "{:?}: {share} instead of {due}", unit.id);
            }
        }
    }

    /// Whatever the others of a hostile domain do, one that computes gets its half of the CPU that both may use.
    #[test]
    fn a_domain_gains_nothing_by_units_that_sleep_and_wake(
        hostile in 2..16usize,
        steps in proptest::collection::vec((0..16usize, 0..16usize, 1..SLICE), 100..400),
    ) {
        let mut rig = Rig::of_sizes(1, &[(256, 1), (256, hostile)]);
        rig.run_until(0);
        let mut time = 0;
        while time < 400 * SLICE {
            for &(sleeper, waker, ticks) in &steps {
                rig.block(1 + sleeper % hostile);
                rig.wake(1 + waker % hostile);
                time += ticks;
                rig.run_until(time);
            }
        }
        rig.pick(0);
        let share = rig.units[0].ran * 1000 / rig.now;
        prop_assert!(share >= 480, "{share} thousandths");
    }
}

#[test]
fn many_units_are_no_larger_share_of_several_cpus() {
    for (cpus, units) in [(1, 16), (2, 16), (2, 3), (4, 4), (4, 32)] {
        let mut rig = Rig::of_sizes(cpus, &[(256, 1), (256, units)]);
        rig.shares(200);
        let shares = rig.shares(500);
        let of_domains = rig.of_domains(&shares);
        // A unit runs on one CPU at a time, and half of one is its part.
        let due = 1000 * u64::from(cpus.min(2)) / 2;
        assert!(of_domains[0] >= due - 30, "{units} units on {cpus} CPUs leave {} of {due}", of_domains[0]);
        let own = &shares[1..];
        let due = of_domains[1] / units as u64;
        let even = own.iter().all(|share| share.abs_diff(due) <= 25);
        assert!(even, "{units} units on {cpus} CPUs: {own:?}");
    }
}

/// Each CPU has the same domains, or one of several units beside others of one.
#[test]
fn a_share_is_that_of_the_machine_wherever_units_are() {
    for others in [2, 4] {
        let mut domains = vec![(256, others)];
        domains.resize(1 + others, (256, 1));
        let mut rig = Rig::of_sizes(others as u16, &domains);
        rig.shares(200);
        let shares = rig.shares(1000);
        let due = 1000 * others as u64 / domains.len() as u64;
        for (number, share) in rig.of_domains(&shares).into_iter().enumerate() {
            assert!(share.abs_diff(due) <= 30, "{others} CPUs, domain {number}: {share} instead of {due}");
        }
    }
}

#[test]
fn a_domain_with_one_busy_unit_of_many_has_all_of_its_share() {
    let mut rig = Rig::of_sizes(1, &[(256, 1), (256, 16)]);
    (2..17).for_each(|unit| rig.stop(unit));
    let shares = rig.shares(500);
    assert!(shares[1].abs_diff(500) <= 4, "{shares:?}");
}

#[test]
fn equal_units_get_equal_shares_of_several_cpus() {
    for (cpus, units) in [(1, 2), (2, 3), (3, 4), (4, 5), (4, 7), (2, 9), (4, 12)] {
        let mut rig = Rig::started(Policy::Fair, cpus, &vec![(256, u64::MAX); units]);
        let due = 1000 * u64::from(cpus) / units as u64;
        for share in rig.shares(500) {
            assert!(share.abs_diff(due) <= 25, "{units} on {cpus}: {share} instead of {due} thousandths");
        }
    }
}

#[test]
fn a_heavy_unit_has_a_cpu_while_light_ones_share_the_other() {
    let mut rig = Rig::started(Policy::Fair, 2, &[(512, 3), (256, 3), (256, 3)]);
    rig.shares(10);
    let shares = rig.shares(300);
    assert!(shares[0] >= 990 && shares[1].abs_diff(500) < 10 && shares[2].abs_diff(500) < 10, "{shares:?}");
}

#[test]
fn who_comes_late_or_back_from_a_pause_has_no_claim_on_the_time_without_it() {
    const ABSENCE: u64 = 1000 * SLICE;
    const TOGETHER: u64 = 20 * SLICE;
    let mut rig = Rig::new(Policy::Fair, 1, &[(256, 1), (256, 1)]);
    rig.start(0);
    for come in [Rig::start, Rig::resume] {
        rig.run_until(rig.now + ABSENCE);
        rig.pick(0);
        let before = rig.units[0].ran;
        come(&mut rig, 1);
        rig.run_until(rig.now + TOGETHER);
        rig.pick(0);
        let left = rig.units[0].ran - before;
        assert!(left.abs_diff(TOGETHER / 2) <= 2 * SLICE, "{left} of {TOGETHER} ticks are left to the other");
        rig.pause(1);
    }
}

#[test]
fn an_idle_machine_and_a_lone_unit_take_no_ticks() {
    let mut rig = Rig::started(Policy::Fair, 2, &[(256, 3), (256, 3)]);
    rig.run_until(0);
    assert!(rig.cpus.iter().all(|cpu| cpu.running.is_some() && cpu.deadline.is_none()));
    rig.block(0);
    rig.block(1);
    rig.run_until(10 * SLICE);
    assert!(rig.cpus.iter().all(|cpu| cpu.running.is_none() && cpu.deadline.is_none()));
    assert!(rig.kicked.is_empty());
}

#[test]
fn a_woken_unit_interrupts_one_that_computes() {
    let mut rig = Rig::started(Policy::Fair, 1, &[(256, 1), (256, 1)]);
    rig.run_until(0);
    for _ in 0..20 {
        let sleeper = 1;
        if rig.cpus[0].running != Some(sleeper) {
            let end = rig.now + SLICE;
            rig.run_until(end);
        }
        rig.block(sleeper);
        rig.run_until(rig.now + 3 * SLICE);
        rig.wake(sleeper);
        rig.run_until(rig.now);
        assert_eq!(rig.cpus[0].running, Some(sleeper));
        rig.now += 10;
    }
}

#[test]
fn sleepers_that_take_turns_do_not_starve_one_that_computes() {
    let mut rig = Rig::started(Policy::Fair, 1, &[(256, 1); 4]);
    (1..4).for_each(|unit| rig.pause(unit));
    rig.run_until(0);
    (1..4).for_each(|unit| rig.resume(unit));
    rig.run_until(0);
    for round in 0..10_000 {
        rig.block(1 + round % 3);
        rig.wake(1 + (round + 1) % 3);
        let end = rig.now + SLICE / 10;
        rig.run_until(end);
    }
    rig.pick(0);
    let share = rig.units[0].ran * 1000 / rig.now;
    assert!(share >= 240, "{share} thousandths");
}

#[test]
fn a_wake_between_block_and_pick_is_kept() {
    let mut rig = Rig::started(Policy::Fair, 1, &[(256, 1)]);
    rig.run_until(0);
    rig.block(0);
    rig.wake(0);
    rig.run_until(5);
    assert_eq!(rig.cpus[0].running, Some(0));
}

#[test]
fn a_unit_is_not_stolen_before_it_is_saved() {
    let mut rig = Rig::started(Policy::Fair, 2, &[(256, 1), (256, 3)]);
    rig.run_until(0);
    let cpu = rig.units[0].on.unwrap();
    rig.block(0);
    rig.pick(cpu);
    rig.set_affinity(0, CpuMask(3));
    rig.wake(0);
    rig.pick(0);
    rig.pick(1);
    assert_eq!(rig.scheduler.pick(CpuId(1 - cpu as u16), 0).unit, Some(rig.units[1].id));
    rig.run_until(0);
    assert!(rig.units.iter().all(|unit| unit.on.is_some()));
}

/// Two CPUs; unit 0, which may run on both, sleeps and has run on CPU 1, unit 1 runs on CPU 0.
fn one_asleep_on_cpu_1() -> Rig {
    let mut rig = Rig::new(Policy::Fair, 2, &[(256, 3), (256, 1), (256, 2)]);
    rig.start(1);
    rig.run_until(0);
    rig.start(0);
    rig.run_until(0);
    assert_eq!((rig.cpus[0].running, rig.cpus[1].running), (Some(1), Some(0)));
    rig.block(0);
    rig.run_until(0);
    assert_eq!(rig.cpus[1].running, None);
    rig
}

#[test]
fn a_unit_is_left_to_the_cpu_that_was_kicked_for_it() {
    let mut rig = one_asleep_on_cpu_1();
    rig.wake(0);
    assert_eq!(rig.kicked, CpuMask(2));
    rig.block(1);
    rig.pick(0);
    assert_eq!(rig.cpus[0].running, None);
    assert_eq!(rig.kicked, CpuMask(2), "the kick is still on its placement");
    rig.run_until(0);
    assert_eq!((rig.cpus[0].running, rig.cpus[1].running), (None, Some(0)));
}

#[test]
fn of_two_that_wait_for_a_kicked_cpu_one_is_taken() {
    let mut rig = one_asleep_on_cpu_1();
    rig.wake(0);
    rig.start(2);
    rig.block(1);
    rig.pick(0);
    assert_eq!(rig.cpus[0].running, Some(0), "the one that may");
    rig.run_until(0);
    assert_eq!((rig.cpus[0].running, rig.cpus[1].running), (Some(0), Some(2)));
}

#[test]
fn a_unit_that_is_overtaken_on_a_kicked_cpu_goes_to_an_idle_one() {
    let mut rig = one_asleep_on_cpu_1();
    rig.block(1);
    rig.run_until(5 * SLICE);
    rig.wake(0);
    assert_eq!(rig.kicked, CpuMask(2));
    // It may not run elsewhere, and comes first as it has not run yet.
    rig.start(2);
    rig.run_until(rig.now);
    assert_eq!((rig.cpus[0].running, rig.cpus[1].running), (Some(0), Some(2)));
}

#[test]
fn a_unit_is_taken_from_a_cpu_that_has_not_come_online() {
    let scheduler = Scheduler::new(Policy::Fair, 2, SLICE);
    let unit = scheduler.add(CpuShare::alone(256), CpuMask(3), 0).unwrap();
    assert_eq!(scheduler.start(unit, 0), CpuMask(1));
    assert_eq!(scheduler.pick(CpuId(1), 0).unit, Some(unit));
    assert_eq!(scheduler.pick(CpuId(0), 0).unit, None);
}

#[test]
fn unknown_units_and_cpus_are_refused() {
    let scheduler = Scheduler::new(Policy::Fair, 2, SLICE);
    let nobody = UnitId(7);
    assert_eq!(scheduler.add(CpuShare::alone(1), CpuMask(0b100), 0), Err(Errno::EINVAL));
    assert_eq!(scheduler.wake(nobody, 0), CpuMask::NONE);
    assert_eq!(scheduler.pause(nobody, 0), CpuMask::NONE);
    assert_eq!(scheduler.saved(CpuId(9), nobody, 0), CpuMask::NONE);
    assert_eq!(scheduler.set_affinity(nobody, CpuMask(1), 0), Err(Errno::ENOENT));
    assert_eq!(scheduler.pick(CpuId(2), 0), Pick::default());
    assert_eq!(scheduler.running_on(UnitId(u32::MAX)), None);
    let unit = scheduler.add(CpuShare::alone(1), CpuMask(1), 0).unwrap();
    assert_eq!(scheduler.start(unit, 0), CpuMask(1));
    assert_eq!(scheduler.pick(CpuId(0), 0).unit, Some(unit));
    assert_eq!(scheduler.remove(unit, 0), Err(Errno::EBUSY));
}

/// Three CPUs and a device that sends events, each a thread; units consume their event and sleep.
#[test]
fn threads_run_no_unit_twice_and_lose_no_wake() {
    const UNITS: usize = 6;
    const EVENTS: usize = 3000;
    let scheduler = Scheduler::new(Policy::Fair, 3, 50);
    let ids: Vec<_> =
        (0..UNITS).map(|_| scheduler.add(CpuShare::alone(256), CpuMask::ALL, 0).unwrap()).collect();
    let flags = || (0..UNITS).map(|_| AtomicBool::new(false)).collect::<Vec<_>>();
    let (busy, pending, kicked) = (flags(), flags(), flags());
    let (clock, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let now = || clock.fetch_add(1, SeqCst);
    let kick = |cpus: CpuMask| cpus.iter().for_each(|cpu| kicked[usize::from(cpu.0)].store(true, SeqCst));
    let cpu = |number: u16| {
        let mut running: Option<UnitId> = None;
        while !done.load(SeqCst) {
            kicked[usize::from(number)].store(false, SeqCst);
            let next = scheduler.pick(CpuId(number), now()).unit;
            if next != running {
                if let Some(next) = next {
                    assert!(!busy[next.0 as usize].swap(true, SeqCst), "{next:?} runs twice");
                }
                if let Some(previous) = running {
                    busy[previous.0 as usize].store(false, SeqCst);
                    kick(scheduler.saved(CpuId(number), previous, now()));
                }
                running = next;
            }
            let Some(unit) = running else {
                while !kicked[usize::from(number)].load(SeqCst) && !done.load(SeqCst) {
                    std::thread::yield_now();
                }
                continue;
            };
            pending[unit.0 as usize].store(false, SeqCst);
            scheduler.block(unit, now());
            if pending[unit.0 as usize].load(SeqCst) {
                kick(scheduler.wake(unit, now()));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..3).for_each(|number| drop(scope.spawn(move || cpu(number))));
        ids.iter().for_each(|&id| kick(scheduler.start(id, now())));
        let limit = Instant::now() + Duration::from_secs(60);
        for event in 0..EVENTS {
            let unit = event * 7 % UNITS;
            pending[unit].store(true, SeqCst);
            kick(scheduler.wake(ids[unit], now()));
            if event % 16 == 0 {
                kick(scheduler.pause(ids[unit], now()));
                kick(scheduler.resume(ids[unit], now()));
            }
            while event % 3 == 0 && pending[unit].load(SeqCst) {
                if Instant::now() > limit {
                    done.store(true, SeqCst);
                    panic!("event {event} for unit {unit} was lost");
                }
                std::thread::yield_now();
            }
        }
        done.store(true, SeqCst);
    });
}
