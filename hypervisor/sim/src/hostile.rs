//! A domain that does anything: bytes become a sequence of what guests can cause, and after each step the books must
//! agree. Both the property tests and the fuzz target play it.

use std::panic::{self, AssertUnwindSafe};

use alloc::vec::Vec;
use xenolith_memory::arc::Arc;

use xenolith_abi::Errno;
use xenolith_abi::grant::{EntryV1, entry};
use xenolith_abi::hypercall::Hypercall;

use xenolith_arch::sim;
use xenolith_core::types::{CpuId, DomId, Gfn, Gva, Ipa, PAGE_SIZE};
use xenolith_cpu::Event;
use xenolith_domain::domain::Domain;
use xenolith_isa::system_error::SystemError;
use xenolith_isa::trap::Syndrome;

use super::{DISTRIBUTOR, EVENT_PPI, Machine, Plan, REDISTRIBUTORS};

/// Numbers, taken from bytes; zero when they are used up.
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        u64::from(self.byte()) % end
    }

    pub(super) fn word(&mut self) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }
}

/// What a hostile guest knows of itself.
struct Attacker {
    domain: Arc<Domain>,
    /// The first byte of its RAM.
    ram: u64,
    pages: u64,
}

impl Attacker {
    /// A value for a register or a field: often one that means something, sometimes one that almost does.
    fn value(&self, bytes: &mut Bytes<'_>) -> u64 {
        let page = |bytes: &mut Bytes<'_>| self.ram + bytes.below(self.pages) * PAGE_SIZE;
        match bytes.below(16) {
            0..4 => bytes.below(32),
            4 => self.ram,
            5 | 6 => self.ram + PAGE_SIZE,
            7 => page(bytes) + bytes.below(64) * 8,
            8 => page(bytes) + PAGE_SIZE - bytes.below(32),
            9 | 10 => page(bytes) >> 12,
            11 => DomId::SELF.0.into(),
            12 => u64::MAX - bytes.below(16),
            13 => 1 << bytes.below(64),
            14 => bytes.below(256) << 32 | bytes.below(8),
            _ => bytes.word(),
        }
    }

    /// A value for a field of this size.
    fn field(&self, size: u8, bytes: &mut Bytes<'_>) -> u64 {
        match size {
            // Mostly a domain's number.
            2 => match bytes.below(8) {
                0..4 => DomId::SELF.0.into(),
                4 => 0,
                5 => 1,
                _ => self.value(bytes),
            },
            4 if bytes.byte() & 3 != 0 => bytes.below(12),
            _ => self.value(bytes),
        }
    }

    /// Fills the page that arguments are taken from with a few structures, and the page before with an array of frames.
    fn prepare(&self, machine: &Machine, bytes: &mut Bytes<'_>) {
        let layout = LAYOUTS[bytes.below(LAYOUTS.len() as u64) as usize];
        let mut content = Vec::new();
        for _ in 0..=bytes.below(3) {
            for &size in layout {
                let field = self.field(size, bytes).to_le_bytes();
                content.extend_from_slice(&field[..usize::from(size)]);
            }
        }
        let _ = self.domain.on(&machine.hv).write_memory(Ipa(self.ram + PAGE_SIZE), &content);
        if bytes.byte() & 3 == 0 {
            let first = (self.ram >> 12) + bytes.below(self.pages);
            let frames: Vec<u8> = (first..first + bytes.below(9)).flat_map(u64::to_le_bytes).collect();
            let _ = self.domain.on(&machine.hv).write_memory(Ipa(self.ram), &frames);
        }
    }

    /// Grants a few of its pages to the other domain.
    fn grant(&self, machine: &Machine) {
        let table = (self.ram >> 12) + 3;
        assert_eq!(self.domain.on(&machine.hv).map_grant_frame(0, Gfn(table)), Ok(()));
        let other = 1 - self.domain.id.0;
        for reference in 0..8_u16 {
            let flags = entry::PERMIT_ACCESS | if reference & 1 == 0 { 0 } else { entry::READ_ONLY };
            let frame = (self.ram >> 12) as u32 + 8 + u32::from(reference);
            machine.poke(
                &self.domain,
                (table << 12) + 8 * u64::from(reference),
                &EntryV1 { flags, domid: DomId(other), frame },
            );
        }
    }
}

/// The sizes of fields, padding included, of structures that calls take.
const LAYOUTS: [&[u8]; 12] = [
    // Reservation.
    &[8, 8, 4, 4, 2, 2, 4],
    // AddToPhysmap, then AddToPhysmapBatch.
    &[2, 2, 4, 8, 8],
    &[2, 2, 2, 2, 8, 8, 8],
    // RemoveFromPhysmap, HvmParamArgument.
    &[2, 2, 4, 8],
    // MapGrantRef, UnmapGrantRef.
    &[8, 4, 4, 2, 2, 4, 8],
    &[8, 8, 4, 4],
    // GrantCopy.
    &[8, 2, 2, 4, 8, 2, 2, 4, 2, 2, 4],
    // MulticallEntry.
    &[8, 8, 8, 8, 8, 8, 8, 8],
    // Ports and numbers of event channels; RegisterVcpuInfo, InitControl.
    &[4, 4, 4],
    &[2, 2, 4, 4],
    &[8, 4, 4],
    // Anything.
    &[1, 1, 2, 4, 8, 8, 4, 4],
];

/// Calls that exist.
const CALLS: [Hypercall; 13] = [
    Hypercall::MemoryOp,
    Hypercall::Multicall,
    Hypercall::XenVersion,
    Hypercall::ConsoleIo,
    Hypercall::GrantTableOp,
    Hypercall::VcpuOp,
    Hypercall::SchedOp,
    Hypercall::EventChannelOp,
    Hypercall::HvmOp,
    Hypercall::PlatformOp,
    Hypercall::PhysdevOp,
    Hypercall::VmAssist,
    Hypercall::Domctl,
];

/// Plays a sequence on two CPUs with two domains, one of which is the control domain.
///
/// # Panics
/// The hypervisor panics, the books do not agree, or a call returns what is no result of the ABI.
pub fn play(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let shape = bytes.byte();
    let mut machine = Machine::new(2, 1024);
    let plan = Plan { id: 0, vcpus: 2, pages: 64, direct_mapped: shape & 1 != 0 };
    let attackers =
        [plan, Plan { id: 1, vcpus: 1 + u16::from(shape >> 1 & 1), pages: 32, direct_mapped: false }].map(
            |plan| {
                let domain = machine.boot(plan);
                let ram = machine.ram_of(&domain).base().0;
                Attacker { domain, ram, pages: plan.pages }
            },
        );
    if shape & 4 != 0 {
        for cpu in 0..2 {
            wake_interrupt_controller(&mut machine, cpu);
        }
    }
    if shape & 8 != 0 {
        attackers.iter().for_each(|attacker| attacker.grant(&machine));
    }
    while !bytes.0.is_empty() {
        // The first domain may end the machine, which ends the story.
        let ended = panic::catch_unwind(AssertUnwindSafe(|| step(&mut machine, &attackers, &mut bytes)));
        if let Err(payload) = ended {
            match payload.downcast_ref::<sim::Ending>() {
                Some(_) => return,
                None => panic::resume_unwind(payload),
            }
        }
        machine.settle();
        assert_eq!(machine.audit(), Ok(()));
    }
}

/// As Linux does at boot, on a CPU: groups, events and timer enabled.
pub(super) fn wake_interrupt_controller(machine: &mut Machine, cpu: u16) {
    machine.store(cpu, DISTRIBUTOR, 4, 0x12);
    let enable = REDISTRIBUTORS + 0x1_0100;
    machine.store(cpu, enable, 4, 1 << EVENT_PPI.0 | 1 << sim::gic::GUEST_TIMER.0 | 0xffff);
}

fn step(machine: &mut Machine, attackers: &[Attacker], bytes: &mut Bytes<'_>) {
    let cpu = bytes.below(2) as u16;
    sim::on_cpu(CpuId(cpu));
    let running = machine.running(cpu);
    let Some(attacker) =
        attackers.iter().find(|attacker| Some(attacker.domain.id) == running.map(|(id, _)| id))
    else {
        // Nobody runs here: time passes.
        sim::advance(1 << bytes.below(40));
        return;
    };
    match bytes.below(16) {
        0..7 => {
            attacker.prepare(machine, bytes);
            hypercall(machine, attacker, cpu, bytes);
        }
        7 => hypercall(machine, attacker, cpu, bytes),
        8 => {
            let (esr, far, hpfar) = (bytes.word(), attacker.value(bytes), bytes.word());
            machine.event(cpu, Event::Trap(Syndrome { esr, far, hpfar }));
        }
        9 => {
            let functions = [0x8400_0000, 0xc400_0003, 0xc400_0004, 0x8000_0000, 0x8400_0002, 0xc400_0001];
            let function = functions[bytes.below(6) as usize];
            let [a, b, c] = core::array::from_fn(|_| attacker.value(bytes));
            machine.firmware(cpu, [function, a, b, c]);
        }
        10 => {
            let base = [DISTRIBUTOR, REDISTRIBUTORS, REDISTRIBUTORS + 0x1_0000][bytes.below(3) as usize];
            let address = base + bytes.below(256) * 4 + bytes.below(8) * 0x400;
            let (size, value) = (1 << bytes.below(4), attacker.value(bytes));
            if bytes.byte() & 1 == 0 {
                machine.load(cpu, address, size);
            } else {
                machine.store(cpu, address, size, value);
            }
        }
        11 => {
            let register =
                (3, bytes.below(8) as u8, bytes.below(16) as u8, bytes.below(16) as u8, bytes.below(8) as u8);
            machine.write_register(cpu, register, attacker.value(bytes));
        }
        12 => {
            sim::guest::take();
            if bytes.byte() & 1 == 0 {
                machine.wait(cpu);
            }
        }
        13 => {
            let (control, compare) = (bytes.below(4), attacker.value(bytes));
            sim::guest::change_registers(|registers| {
                (registers.timer_control, registers.timer_compare) = (control, compare);
            });
            sim::advance(1 << bytes.below(34));
        }
        14 => {
            let every = bytes.below(5) as u32;
            sim::pause_every((every > 0).then_some(every));
            sim::map_again();
            if bytes.byte() & 1 != 0 {
                sim::unmap(Gva(attacker.ram + bytes.below(attacker.pages) * PAGE_SIZE));
            }
        }
        _ => {
            machine.event(cpu, Event::SystemError(SystemError::of_syndrome(bytes.word())));
        }
    }
}

/// Makes a call and judges the result.
fn hypercall(machine: &mut Machine, attacker: &Attacker, cpu: u16, bytes: &mut Bytes<'_>) {
    let number = match bytes.byte() {
        byte @ 0..240 => CALLS[usize::from(byte) % CALLS.len()].number(),
        240..250 => bytes.below(70),
        _ => bytes.word(),
    };
    let arguments = core::array::from_fn(|_| attacker.value(bytes));
    let Some(result) = machine.hypercall(cpu, number, arguments) else { return };
    if Hypercall::from_number(number).is_none() {
        assert_eq!(result, Errno::ENOSYS.to_register() as i64, "call {number}");
    }
    let is_error = Errno::ALL.iter().any(|errno| errno.to_register() as i64 == result);
    // Frame numbers, parameters and counts are not negative.
    assert!(result >= 0 || is_error, "call {number} with {arguments:x?} returns {result}");
}
