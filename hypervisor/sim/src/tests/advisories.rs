//! What went wrong in Xen when two calls met, or a limit was reached, tried on two CPUs at once: each test names its advisory.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use calls::attack::{Attack, Ground};
use xenolith_abi::Errno;
use xenolith_abi::domctl::VERSION_4_17;
use xenolith_abi::event::{AllocUnbound, BindVirq, ExpandArray, InitControl, Reset};
use xenolith_abi::grant::{CopySide, EntryV1, GrantCopy, MapGrantRef, UnmapGrantRef, entry, map as flag};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::AddToPhysmap;
use zerocopy::{Immutable, IntoBytes};

use super::super::together::OneCpu;
use super::super::*;
use super::support::*;
use xenolith_core::types::{Ipa, PAGE_SIZE};

/// Far more than any of it takes.
const LONG: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 300;

/// A call of the domain that a CPU runs, with a structure in its memory. `None`: it was put off for too long.
fn call<T: IntoBytes + Immutable>(
    cpu: &mut OneCpu<'_>,
    guest: &Guest,
    at: u64,
    number: Hypercall,
    op: u64,
    argument: &T,
) -> Option<i64> {
    guest.domain.on(cpu.hv).write_memory(Ipa(at), argument.as_bytes()).expect("its own RAM");
    cpu.take_interrupts();
    cpu.hypercall(number.number(), [op, at, 1, 0, 0])
}

/// XSA-492: a domctl waited for the lock of all of them before it was refused, so that any domain slowed the tools.
#[test]
fn a_call_that_is_refused_waits_for_nothing_of_its_victims() {
    let (mut machine, control, guest) = Guest::two();
    let victim = machine.add(Plan { id: 2, ..OTHER });
    let ground = Ground {
        is_control: false,
        own: guest.domain.id,
        buffer: guest.page(&machine, 8),
        pages: 4,
        victims: vec![0, 2],
        domctl_version: VERSION_4_17,
        restrained: true,
    };
    let mut attempts = Attack::new(1, ground);
    // Those that are about others, and to be refused whatever they say.
    let attempts: Vec<_> = core::iter::from_fn(|| Some(attempts.next_call()))
        .filter(|attempt| attempt.must_be_refused)
        .take(400)
        .collect();
    let (is_held, is_done) = (AtomicBool::new(false), AtomicBool::new(false));
    let waited = AtomicBool::new(false);
    machine
        .together(|cpu| {
            if cpu.number.0 == control.cpu {
                let _locks =
                    (victim.memory.lock(), victim.grants.lock(), victim.events.lock(), cpu.hv.slots.lock());
                is_held.store(true, Ordering::Release);
                let begun = Instant::now();
                while !is_done.load(Ordering::Acquire) && !cpu.is_over() {
                    if begun.elapsed() > LONG {
                        waited.store(true, Ordering::Relaxed);
                        return;
                    }
                    thread::yield_now();
                }
                return;
            }
            while !is_held.load(Ordering::Acquire) {
                thread::yield_now();
            }
            for attempt in &attempts {
                for (at, bytes) in &attempt.call.memory {
                    for (index, chunk) in bytes.chunks(8).enumerate() {
                        let _ = guest.domain.on(cpu.hv).write_memory(Ipa(at + 8 * index as u64), chunk);
                    }
                }
                cpu.take_interrupts();
                let result = cpu.hypercall(attempt.call.number, attempt.call.arguments);
                assert!(result.is_none_or(|result| result < 0), "{attempt:x?} returns {result:?}");
            }
            is_done.store(true, Ordering::Release);
        })
        .expect("no panic");
    assert!(!waited.into_inner(), "a call that is refused waits for its victim");
}

/// XSA-496: a FIFO array grew while its domain's channels were reset.
#[test]
fn the_event_array_grows_while_the_channels_are_reset() {
    let mut machine = Machine::new(2, 1024);
    let domain = machine.boot(Plan { vcpus: 2, ..CONTROL });
    let vcpu = domain.vcpu(VcpuId(1)).expect("there are two");
    assert!(domain.on(&machine.hv).start_vcpu(vcpu, ENTRY, 0));
    machine.settle();
    let guest = Guest { domain, cpu: 0 };
    let page = |number| guest.page(&machine, number);
    let (control, array, scratch) = (page(20) >> 12, page(21) >> 12, [page(1), page(2)]);
    let grown = AtomicU32::new(0);
    machine
        .together(|cpu| {
            let at = scratch[usize::from(cpu.number.0)];
            for _ in 0..ROUNDS {
                if cpu.number.0 == 0 {
                    call(cpu, &guest, at, Hypercall::EventChannelOp, 10, &Reset { dom: SELF });
                } else {
                    let init = InitControl { control_gfn: Gfn(control), vcpu: 0, ..InitControl::default() };
                    call(cpu, &guest, at, Hypercall::EventChannelOp, 11, &init);
                    let expand = ExpandArray { array_gfn: Gfn(array) };
                    let result = call(cpu, &guest, at, Hypercall::EventChannelOp, 12, &expand);
                    grown.fetch_add(u32::from(result == Some(0)), Ordering::Relaxed);
                }
            }
        })
        .expect("no panic");
    machine.settle();
    assert_eq!(machine.audit(), Ok(()));
    assert!(grown.into_inner() > 0, "the array never grew");
}

/// XSA-505: with all ports taken, binding a virtual interrupt went wrong.
#[test]
fn with_all_ports_taken_a_virtual_interrupt_is_refused() {
    const TIMER: u32 = 0;
    let (mut machine, guest) = Guest::alone();
    let mut offer = AllocUnbound { dom: SELF, remote_dom: DomId(1), ..AllocUnbound::default() };
    let taken = (0..10_000)
        .take_while(|_| guest.call(&mut machine, Hypercall::EventChannelOp, 6, &mut offer) == 0)
        .count();
    assert_eq!(taken, 4095, "the ports that it may have, but for 0");
    for _ in 0..3 {
        let mut bind = BindVirq { virq: TIMER, vcpu: 0, ..BindVirq::default() };
        assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, 1, &mut bind), error(Errno::ENOSPC));
    }
    assert_eq!(machine.audit(), Ok(()));
    let mut reset = Reset { dom: SELF };
    assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, 10, &mut reset), 0);
    let mut bind = BindVirq { virq: TIMER, vcpu: 0, ..BindVirq::default() };
    assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, 1, &mut bind), 0);
}

/// XSA-500 and 501: a grant changed while it was pinned, mapped and copied from.
#[test]
fn a_grant_changes_while_it_is_mapped_and_copied() {
    let (mut machine, first, second) = Guest::two();
    let table = second.page(&machine, 10);
    let mut add = AddToPhysmap { domid: SELF, space: 1, gpfn: Gfn(table >> 12), ..AddToPhysmap::default() };
    assert_eq!(second.call(&mut machine, Hypercall::MemoryOp, 7, &mut add), 0);
    let frames = [20, 21].map(|number| second.page(&machine, number) >> 12);
    for (index, frame) in frames.into_iter().enumerate() {
        machine.poke(&second.domain, frame << 12, &[0x1111_1111_1111_1111 * (1 + index as u64); 512]);
    }
    let (here, copied, at) = (first.page(&machine, 30), first.page(&machine, 31), first.scratch(&machine));
    let (mapped, is_done) = (AtomicU32::new(0), AtomicBool::new(false));
    machine
        .together(|cpu| {
            if cpu.number.0 == second.cpu {
                let mut round = 0_u32;
                while !is_done.load(Ordering::Relaxed) && !cpu.is_over() {
                    round = round.wrapping_add(1);
                    let flags = if round.is_multiple_of(5) { 0 } else { entry::PERMIT_ACCESS };
                    let frame = frames[round as usize % 2] as u32;
                    let grant = EntryV1 { flags, domid: DomId(0), frame };
                    let _ = second.domain.on(cpu.hv).write_memory(Ipa(table + 5 * 8), grant.as_bytes());
                    thread::yield_now();
                }
                return;
            }
            let hv = cpu.hv;
            for _ in 0..ROUNDS {
                let map = MapGrantRef {
                    host_addr: here,
                    flags: flag::HOST,
                    reference: 5,
                    dom: DomId(1),
                    ..Default::default()
                };
                call(cpu, &first, at, Hypercall::GrantTableOp, 0, &map);
                let mut answer = MapGrantRef::default();
                first.domain.on(hv).read_memory(Ipa(at), answer.as_mut_bytes()).expect("its own RAM");
                if answer.status == 0 {
                    mapped.fetch_add(1, Ordering::Relaxed);
                    let end = UnmapGrantRef { host_addr: here, handle: answer.handle, ..Default::default() };
                    call(cpu, &first, at, Hypercall::GrantTableOp, 1, &end);
                }
                let copy = GrantCopy {
                    source: CopySide { frame_or_reference: 5, domid: DomId(1), ..Default::default() },
                    dest: CopySide { frame_or_reference: copied >> 12, domid: SELF, ..Default::default() },
                    len: PAGE_SIZE as u16,
                    flags: 1,
                    ..Default::default()
                };
                call(cpu, &first, at, Hypercall::GrantTableOp, 5, &copy);
            }
            is_done.store(true, Ordering::Relaxed);
        })
        .expect("no panic");
    machine.settle();
    assert_eq!(machine.audit(), Ok(()));
    assert!(mapped.into_inner() > 0, "no grant was ever mapped");
    // Each copy was of one page or the other.
    let page: [u64; 512] = machine.peek(&first.domain, copied);
    assert!(page.iter().all(|word| *word == page[0]) && page[0].is_multiple_of(0x1111_1111_1111_1111));
}
