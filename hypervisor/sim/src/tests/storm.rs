//! Several CPUs at once: each is played by a thread of the host, and on each a domain attacks. What goes wrong only when two
//! CPUs meet has to be found here.
//!
//! `cargo xtask test --storm N` makes N hypercalls, and a tenth as many accesses and calls that reach into another domain.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use calls::attack::{Attack, Attempt, Ground};
use calls::random::Random;
use xenolith_abi::Errno;
use xenolith_abi::domctl::VERSION_4_17;
use xenolith_abi::memory::MemoryOp;

use super::super::together::OneCpu;
use super::super::*;
use super::support::{CONTROL, OTHER};
use crate::heap::{Refuse, refusals, refuse};
use xenolith_core::types::{Ipa, PAGE_SIZE};

/// Set to the hypercalls that are to be made. Of accesses, and of calls that reach into another domain, there are at least a
/// tenth as many.
const CALLS_OPTION: &str = "STORM_CALLS";
/// Set to the seed of the first machine, to play it again. Threads meet anew each time, so that a fault may need several
/// tries.
const SEED_OPTION: &str = "STORM_SEED";
/// Hypercalls that are made otherwise.
const CALLS: u64 = 6_000;
/// Turns of each CPU on one machine, and in one round, after which the tables are looked at.
const TURNS: u64 = 400;
const ROUND: u64 = 25;
const CPUS: u16 = 4;
/// The attackers: the control domain, another domain, and the device model of that one.
const ATTACKERS: [u16; 3] = [0, 1, DEVICE_MODEL];
const DEVICE_MODEL: u16 = 2;
/// Nobody does anything to this domain: the others may not, and the control domain does not know its number, which no random
/// byte is.
const NEIGHBOUR: u16 = 0x5a3c;
/// The control domain's victims, which it makes itself.
const SCRATCH: [u16; 2] = [77, 78];
/// An attacker's pages: from page 8 of its RAM on.
const FIRST_PAGE: u64 = 8;
const PAGES: u64 = 4;
/// Where the device model has its devices.
const DEVICES: u64 = 0x0a00_0000;

fn option(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An attacker: its domain, what it does next, and where it writes the arguments.
struct Attacker {
    domain: Arc<Domain>,
    attack: Mutex<Attack>,
}

/// What was done.
#[derive(Default)]
struct Done {
    machines: AtomicU64,
    calls: AtomicU64,
    /// Allocations that were refused.
    refused: AtomicU64,
    registers: AtomicU64,
    devices: AtomicU64,
    /// Of the control domain and of the device model: calls of `dm_op` and `domctl`, and those that map memory of others.
    reaching: AtomicU64,
    /// Of each attacker, the calls that were answered by no error.
    kinds: [Mutex<BTreeSet<(&'static str, u64)>>; ATTACKERS.len()],
}

impl Done {
    fn has_reached(&self, calls: u64) -> bool {
        let accesses = count(&self.registers) + count(&self.devices);
        count(&self.calls) >= calls && accesses.min(count(&self.reaching)) >= calls / 10
    }

    /// Says what was done, past the harness that keeps what tests print.
    fn tell(&self) {
        let text = format!(
            "storm on {CPUS} CPUs: {} hypercalls, of which {} reach into another domain; {} accesses to registers, {} to \
             devices; {} machines with exact books and an untouched neighbour",
            count(&self.calls),
            count(&self.reaching),
            count(&self.registers),
            count(&self.devices),
            count(&self.machines),
        );
        writeln!(std::io::stderr(), "{text}").expect("standard error is open");
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Whether a call is one by which a toolstack or a device model reaches into another domain.
fn reaches(attempt: &Attempt) -> bool {
    let mappings = [MemoryOp::AddToPhysmap, MemoryOp::AddToPhysmapBatch, MemoryOp::AcquireResource];
    match attempt.family {
        "dm_op" | "domctl" => true,
        "memory_op" => mappings.iter().any(|op| u64::from(op.number()) == attempt.sub),
        _ => false,
    }
}

fn attacker(machine: &Machine, domain: &Arc<Domain>, seed: u64) -> Attacker {
    let own = domain.id;
    let victims = match own.0 {
        0 => SCRATCH.into(),
        own => ATTACKERS.into_iter().chain([NEIGHBOUR]).filter(|&id| id != own).collect(),
    };
    let buffer = machine.ram_of(domain).base().0 + FIRST_PAGE * PAGE_SIZE;
    let is_control = own == DomId::CONTROL;
    let ground = Ground {
        is_control,
        own,
        buffer,
        pages: PAGES,
        victims,
        domctl_version: VERSION_4_17,
        restrained: true,
    };
    Attacker { domain: domain.clone(), attack: Mutex::new(Attack::new(seed << 2 | u64::from(own.0), ground)) }
}

/// A domain's RAM; `None` if it is not all there.
fn ram(machine: &Machine, domain: &Arc<Domain>) -> Option<Vec<u8>> {
    let base = machine.ram_of(domain).base().0;
    let mut ram = vec![0; (OTHER.pages * PAGE_SIZE) as usize];
    for (page, bytes) in ram.chunks_mut(PAGE_SIZE as usize).enumerate() {
        let at = Ipa(base + page as u64 * PAGE_SIZE);
        domain.on(&machine.hv).read_memory(at, bytes).ok()?;
    }
    Some(ram)
}

fn call(cpu: &mut OneCpu<'_>, attacker: &Attacker, done: &Done) {
    let attempt = attacker.attack.lock().expect("no attack panics").next_call();
    for (at, bytes) in &attempt.call.memory {
        for (index, chunk) in bytes.chunks(8).enumerate() {
            // It may have given its pages away.
            let _ = attacker.domain.on(cpu.hv).write_memory(Ipa(at + 8 * index as u64), chunk);
        }
    }
    done.calls.fetch_add(1, Ordering::Relaxed);
    if attacker.domain.id != DomId(OTHER.id) && reaches(&attempt) {
        done.reaching.fetch_add(1, Ordering::Relaxed);
    }
    sim::stay::take_longest();
    let result = cpu.hypercall(attempt.call.number, attempt.call.arguments);
    let stay = sim::stay::take_longest();
    assert!(stay < LONGEST_STAY, "{attempt:x?} works for {stay} steps without a look for interrupts");
    let Some(result) = result else { return };
    let is_error = Errno::ALL.iter().any(|errno| errno.to_register() as i64 == result);
    assert!(result >= 0 || is_error, "{attempt:x?} returns {result}");
    if !is_error {
        // A device model may do more than the attack reckons with.
        let refused = attempt.must_be_refused && attacker.domain.id.0 != DEVICE_MODEL;
        assert!(!refused, "{attempt:x?} returns {result}");
        let kinds = &done.kinds[usize::from(attacker.domain.id.0)];
        kinds.lock().expect("no set panics").insert((attempt.family, attempt.sub));
    }
}

fn access(cpu: &mut OneCpu<'_>, random: &mut Random, done: &Done) {
    let address = match random.below(3) {
        0 => DISTRIBUTOR + random.below(0x400) * 4,
        1 => REDISTRIBUTORS + random.below(0x1_0000) * 4,
        _ => DEVICES + random.below(0x800) * 8,
    };
    done.devices.fetch_add(1, Ordering::Relaxed);
    cpu.regs().x[1] = random.word();
    cpu.event(instructions::access(address, 4, random.one_in(2)));
}

/// A CPU's part of one round.
fn play(cpu: &mut OneCpu<'_>, seed: u64, attackers: &[Attacker], done: &Done) {
    let mut random = Random::new(seed << 8 | u64::from(cpu.number.0));
    for _ in 0..ROUND {
        if cpu.is_over() {
            return;
        }
        cpu.take_interrupts();
        let stay = sim::stay::take_longest();
        assert!(stay < LONGEST_STAY, "{stay} steps without a look for interrupts");
        sim::guest::take();
        sim::advance(random.below(1 << 14));
        let Some((id, _)) = cpu.running() else { continue };
        // Whatever sleeps in a call wakes up again.
        let alarm = sim::now() + random.below(1 << 16);
        sim::guest::change_registers(|registers| {
            (registers.timer_control, registers.timer_compare) = (1, alarm);
        });
        match (random.below(8), attackers.get(usize::from(id.0))) {
            (0 | 1, _) => access(cpu, &mut random, done),
            (2, _) if random.one_in(4) => cpu.event(instructions::wait()),
            (3, _) => {
                let below = |random: &mut Random, end| random.below(end) as u8;
                let register = (
                    3,
                    below(&mut random, 8),
                    below(&mut random, 16),
                    below(&mut random, 16),
                    below(&mut random, 8),
                );
                done.registers.fetch_add(1, Ordering::Relaxed);
                cpu.event(instructions::system_register(register, random.one_in(2)));
            }
            (_, Some(attacker)) => call(cpu, attacker, done),
            _ => access(cpu, &mut random, done),
        }
    }
}

/// A CPU's part of one round on which allocations fail, one after so many that do not.
fn play_short(cpu: &mut OneCpu<'_>, every: u64, seed: u64, attackers: &[Attacker], done: &Done) {
    // On the host each thread makes a console for itself.
    xenolith_domain::console::console();
    refuse(Refuse::Every(every));
    play(cpu, seed, attackers, done);
    done.refused.fetch_add(refusals().1, Ordering::Relaxed);
}

/// A machine, until all its CPUs have had their turns. On each of them allocations fail, one after `refused` that do not.
fn storm(seed: u64, refused: Option<u64>, done: &Done) {
    let mut machine = Machine::new(CPUS, 4096);
    let domains = ATTACKERS.map(|id| machine.boot(Plan { id, ..CONTROL }));
    let neighbour = machine.boot(Plan { id: NEIGHBOUR, vcpus: 2, ..OTHER });
    assert_eq!(domains[1].allow_device_model(&domains[usize::from(DEVICE_MODEL)]), Ok(()));
    let base = machine.ram_of(&neighbour).base().0;
    for page in 0..OTHER.pages {
        machine.poke(&neighbour, base + page * PAGE_SIZE, &[0x5ec3_e700_0000_0000 | page, seed]);
    }
    let before = ram(&machine, &neighbour);
    assert!(before.is_some());
    for cpu in 0..CPUS {
        hostile::wake_interrupt_controller(&mut machine, cpu);
    }
    machine.settle();
    let attackers: Vec<_> = domains.iter().map(|domain| attacker(&machine, domain, seed)).collect();
    for round in 0..TURNS / ROUND {
        let seed_of_round = seed << 8 | round;
        let part = |cpu: &mut OneCpu<'_>| match refused {
            Some(every) => play_short(cpu, every, seed_of_round, &attackers, done),
            None => play(cpu, seed_of_round, &attackers, done),
        };
        if let Err(payload) = machine.together(part) {
            // The control domain may end the machine.
            assert!(payload.is::<sim::Ending>(), "{SEED_OPTION}={seed} was played");
            return;
        }
        machine.settle();
        assert_eq!(machine.check_stage2(), Ok(()), "{SEED_OPTION}={seed} was played, round {round}");
    }
    assert_eq!(machine.audit(), Ok(()), "{SEED_OPTION}={seed} was played");
    assert!(ram(&machine, &neighbour) == before, "{SEED_OPTION}={seed}: memory of the neighbour");
    done.machines.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn several_cpus_at_once_break_nothing() {
    let done = Done::default();
    let calls = option(CALLS_OPTION, CALLS);
    for seed in option(SEED_OPTION, 0).. {
        storm(seed, None, &done);
        if done.has_reached(calls) {
            break;
        }
    }
    done.tell();
    let kinds = done.kinds.map(|kinds| kinds.into_inner().expect("no set panics").len());
    assert!(
        kinds.into_iter().all(|kinds| kinds > 20),
        "of each domain only {kinds:?} kinds of calls did something"
    );
}

#[test]
fn allocations_that_fail_on_any_cpu_break_nothing() {
    let done = Done::default();
    let calls = option(CALLS_OPTION, CALLS);
    for seed in option(SEED_OPTION, 0).. {
        // From each second allocation to each fifth.
        storm(seed, Some(1 + seed % 4), &done);
        if done.calls.load(Ordering::Relaxed) >= calls {
            break;
        }
    }
    let (calls, refused) = (done.calls.into_inner(), done.refused.into_inner());
    println!("{calls} calls, {refused} allocations refused");
    assert!(refused > 10, "only {refused} allocations were refused");
}
