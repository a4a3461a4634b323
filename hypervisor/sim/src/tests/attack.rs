//! Every call of Xen's headers with random and boundary arguments (`calls::attack`): by the control domain, which may do
//! all to others and to itself, and by one that may do nothing to anybody.

use std::collections::BTreeSet;
use std::env;
use std::panic::{self, AssertUnwindSafe};

use calls::Call;
use calls::attack::{Attack, Attempt, Ground};
use xenolith_abi::Errno;
use xenolith_abi::domctl::{DomainInfo, VERSION_4_17, VERSION_4_20};
use zerocopy::IntoBytes;

use super::super::*;
use super::support::*;
use xenolith_core::types::{Gva, PAGE_SIZE};
use xenolith_host::command_line::XenVersion;

/// Set to the calls that each attack is to make.
const CALLS_OPTION: &str = "ATTACK_CALLS";
/// Set to the seed of the first machine, to see a failure again.
const SEED_OPTION: &str = "ATTACK_SEED";
/// Calls that each attack makes otherwise.
const CALLS: u64 = 8_000;
/// Calls made on one machine.
const CALLS_PER_MACHINE: u64 = 500;
/// Sub-operations at least that the control domain's attack is to get something done by: else it attacks but the first checks.
const DONE: usize = 90;
/// Calls between two looks at the books.
const AUDIT: u64 = 25;
/// The caller's pages: from page 8 of its RAM on. The page behind them is mapped nowhere.
const FIRST_PAGE: u64 = 8;
const PAGES: u64 = 4;
/// The victims of the control domain.
const SCRATCH: [u16; 2] = [77, 78];

fn option(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A domain that attacks.
struct Player {
    machine: Machine,
    guest: Guest,
    attack: Attack,
    buffer: u64,
    /// What was answered by no error: family and sub-operation.
    done: BTreeSet<(&'static str, u64)>,
}

impl Player {
    fn new(seed: u64, mut machine: Machine, guest: Guest, is_control: bool, victims: Vec<u16>) -> Self {
        let buffer = guest.page(&machine, FIRST_PAGE);
        sim::unmap(Gva(buffer + PAGES * PAGE_SIZE));
        let domctl_version = match machine.hv.options.xen_version {
            XenVersion::V4_17 => VERSION_4_17,
            XenVersion::V4_20 => VERSION_4_20,
        };
        let own = guest.domain.id.0;
        let ground = Ground {
            is_control,
            own: DomId(own),
            buffer,
            pages: PAGES,
            victims,
            domctl_version,
            restrained: false,
        };
        machine.settle();
        // As a machine that has run for a while: what is handed out need not be wiped first.
        machine.hv.frames.scrub_all_free();
        Player { machine, guest, attack: Attack::new(seed, ground), buffer, done: BTreeSet::new() }
    }

    /// The content of the caller's pages.
    fn pages(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; (PAGES * PAGE_SIZE) as usize];
        for (page, bytes) in bytes.chunks_mut(PAGE_SIZE as usize).enumerate() {
            let at = Ipa(self.buffer + page as u64 * PAGE_SIZE);
            self.guest.domain.on(&self.machine.hv).read_memory(at, bytes).ok()?;
        }
        Some(bytes)
    }

    /// Writes what a call needs. `None`: the domain has given its pages away.
    fn write(&self, call: &Call) -> Option<()> {
        let end = self.buffer + PAGES * PAGE_SIZE;
        for (at, bytes) in &call.memory {
            for (index, chunk) in bytes.chunks(8).enumerate() {
                let at = at + 8 * index as u64;
                if at < end {
                    self.guest.domain.on(&self.machine.hv).write_memory(Ipa(at), chunk).ok()?;
                }
            }
        }
        Some(())
    }

    /// Makes a call. `None`: the domain does not go on.
    fn make(&mut self, attempt: &Attempt) -> Option<()> {
        self.write(&attempt.call)?;
        let before = if attempt.must_be_refused { Some(self.pages()?) } else { None };
        let cpu = (0..100).find_map(|_| {
            let found = self.machine.cpu_of(&self.guest.domain, 0);
            if found.is_none() {
                // Somebody else's turn.
                sim::advance(1 << 24);
                self.machine.settle();
            }
            found
        })?;
        let Call { number, arguments, .. } = attempt.call;
        sim::stay::take_longest();
        let result = self.machine.hypercall(cpu, number, arguments);
        let stay = sim::stay::take_longest();
        assert!(stay < LONGEST_STAY, "{attempt:x?} works for {stay} steps without a look for interrupts");
        self.machine.settle();
        let Some(result) = result else { return Some(()) };
        let is_error = Errno::ALL.iter().any(|errno| errno.to_register() as i64 == result);
        assert!(result >= 0 || is_error, "{attempt:x?} returns {result}");
        if !is_error {
            self.done.insert((attempt.family, attempt.sub));
        }
        if before.is_some() {
            assert!(is_error, "{attempt:x?} returns {result}");
            assert!(self.pages() == before, "{attempt:x?} wrote to its caller");
        }
        Some(())
    }

    /// As many calls as a machine is for, or until the domain ends. How many were made.
    fn play(&mut self) -> u64 {
        for number in 1..=CALLS_PER_MACHINE {
            let attempt = self.attack.next_call();
            let made = panic::catch_unwind(AssertUnwindSafe(|| self.make(&attempt)));
            match made {
                Ok(Some(())) => {
                    let tables = self.machine.check_stage2();
                    assert_eq!(tables, Ok(()), "after {attempt:x?}");
                }
                Ok(None) => return number,
                // The control domain may end the machine.
                Err(payload) if payload.is::<sim::Ending>() => return number,
                Err(payload) => {
                    eprintln!("the call was {attempt:x?}");
                    panic::resume_unwind(payload)
                }
            }
            if number % AUDIT == 0 {
                let books = self.machine.audit();
                assert_eq!(books, Ok(()), "at the latest after {attempt:x?}");
            }
        }
        CALLS_PER_MACHINE
    }
}

/// Plays machines with one seed after the other until all calls are made.
fn play(mut machine: impl FnMut(u64) -> u64) {
    let (calls, first) = (option(CALLS_OPTION, CALLS), option(SEED_OPTION, 0));
    let mut made = 0;
    for seed in first.. {
        if made >= calls {
            break;
        }
        let played = panic::catch_unwind(AssertUnwindSafe(|| machine(seed)));
        made += played.unwrap_or_else(|payload| {
            eprintln!("{SEED_OPTION}={seed} shows it again");
            panic::resume_unwind(payload)
        });
    }
}

fn version(seed: u64) -> Options {
    let xen_version = if seed.is_multiple_of(2) { XenVersion::V4_17 } else { XenVersion::V4_20 };
    Options { xen_version, ..Options::default() }
}

#[test]
fn a_control_domain_breaks_nothing_by_any_call() {
    let mut done = BTreeSet::new();
    play(|seed| {
        let mut machine = Machine::with_options(2, 4096, version(seed));
        let guest = Guest::boot(&mut machine, CONTROL);
        let mut player = Player::new(seed, machine, guest, true, SCRATCH.into());
        let made = player.play();
        done.append(&mut player.done);
        made
    });
    assert!(done.len() > DONE, "only {} different calls did something: {done:?}", done.len());
}

/// Of a domain what another must not change.
fn state(machine: &Machine, domain: &Arc<Domain>) -> (DomainInfo, u64, Vec<u8>) {
    let info = DomainInfo { cpu_time: 0, ..domain.on(&machine.hv).info() };
    let base = machine.ram_of(domain).base().0;
    let mut ram = vec![0; (CONTROL.pages * PAGE_SIZE) as usize];
    for (page, bytes) in ram.chunks_mut(PAGE_SIZE as usize).enumerate() {
        let at = Ipa(base + page as u64 * PAGE_SIZE);
        domain.on(&machine.hv).read_memory(at, bytes).expect("its RAM");
    }
    (info, domain.paging_pool(), ram)
}

#[test]
fn another_domain_reads_and_changes_nothing_of_others_by_any_call() {
    play(|seed| {
        let mut machine = Machine::with_options(3, 4096, version(seed));
        let control = Guest::boot(&mut machine, CONTROL).domain;
        let guest = Guest::boot(&mut machine, OTHER);
        let victim = Guest::boot(&mut machine, Plan { id: 2, ..OTHER }).domain;
        for domain in [&control, &victim] {
            let base = machine.ram_of(domain).base().0;
            for page in 0..CONTROL.pages {
                machine.poke(domain, base + page * PAGE_SIZE, &[0x5ec3_e700_0000_0000 | page, seed]);
            }
        }
        let before = [&control, &victim].map(|domain| state(&machine, domain));
        let mut player = Player::new(seed, machine, guest, false, [0, 2].into());
        let made = player.play();
        for (domain, (info, pool, ram)) in [&control, &victim].into_iter().zip(before) {
            let after = state(&player.machine, domain);
            assert!(info.as_bytes() == after.0.as_bytes(), "{info:?} became {:?}", after.0);
            assert_eq!((pool, ram == after.2), (after.1, true), "memory of {}", domain.id);
        }
        made
    });
}
