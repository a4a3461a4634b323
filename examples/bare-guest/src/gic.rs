//! The interrupt controller: one interrupt of this CPU's own enabled, taken, ended.
//!
//! What comes from the hypervisor's emulation is what the Arm Generic Interrupt Controller Architecture Specification
//! (IHI 0048 for GICv2, IHI 0069 for GICv3) says, and no more is relied on.

use core::fmt;
use core::ptr::{self, NonNull};

use bare_guest::machine::{self, Region};
use xenolith_abi::Intid;

use crate::cpu::{self, read_register, write_register};

/// The lowest priority that is not masked.
const LOWEST: u64 = 0xff;
/// Priority of what is enabled here.
const PRIORITY: u8 = 0xa0;
/// From here on, an acknowledged number means that nothing is pending, or nothing that is for us.
const SPECIAL: u32 = 1020;
/// The numbers of interrupts that each CPU has for itself.
const PRIVATE: u32 = 32;

// Registers of the distributor, and of a redistributor's second frame.
const CTLR: usize = 0;
const IGROUPR: usize = 0x80;
const ISENABLER: usize = 0x100;
const IPRIORITYR: usize = 0x400;

/// The interrupt controller.
pub struct Gic {
    /// The frame in which private interrupts are configured.
    private: Registers,
    /// GICv2: what GICv3 has in system registers.
    cpu: Option<Registers>,
}

/// The registers at an address.
#[derive(Clone, Copy)]
struct Registers(NonNull<u8>);

// SAFETY: one CPU runs this program, and the registers are only accessed by volatile accesses.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    fn at(address: u64) -> Registers {
        let address = ptr::with_exposed_provenance_mut(address as usize);
        Registers(NonNull::new(address).unwrap_or_else(|| panic!("an interrupt controller at address 0")))
    }

    fn read(self, offset: usize) -> u32 {
        // SAFETY: registers of the interrupt controller, mapped as Device memory, which the offsets in this file are within.
        unsafe { self.0.add(offset).cast::<u32>().read_volatile() }
    }

    fn write(self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe { self.0.add(offset).cast::<u32>().write_volatile(value) }
    }

    fn write_byte(self, offset: usize, value: u8) {
        // SAFETY: as in `read`.
        unsafe { self.0.add(offset).write_volatile(value) }
    }
}

impl Gic {
    /// Lets the controller send interrupts to this CPU, none of which is enabled yet.
    pub fn new(gic: &machine::Gic) -> Gic {
        match gic {
            machine::Gic::V2 { distributor, cpu } => {
                Gic::v2(Registers::at(distributor.start), Registers::at(cpu.start))
            }
            machine::Gic::V3 { distributor, redistributors } => {
                Gic::v3(Registers::at(distributor.start), redistributors)
            }
        }
    }

    fn v2(distributor: Registers, cpu: Registers) -> Gic {
        const PRIORITY_MASK: usize = 4;
        distributor.write(CTLR, 1);
        cpu.write(PRIORITY_MASK, LOWEST as u32);
        cpu.write(CTLR, 1);
        Gic { private: distributor, cpu: Some(cpu) }
    }

    fn v3(distributor: Registers, redistributors: &Region) -> Gic {
        const AFFINITY_ROUTING_AND_GROUP_1: u32 = 1 << 4 | 1 << 1 | 1;
        const WRITE_PENDING: u32 = 1 << 31;
        const WAKER: usize = 0x14;
        const PROCESSOR_SLEEP: u32 = 1 << 1;
        const CHILDREN_ASLEEP: u32 = 1 << 2;
        const PRIVATE_FRAME: u64 = 0x1_0000;
        distributor.write(CTLR, AFFINITY_ROUTING_AND_GROUP_1);
        while distributor.read(CTLR) & WRITE_PENDING != 0 {}
        let own = own_redistributor(redistributors);
        let redistributor = Registers::at(own);
        redistributor.write(WAKER, redistributor.read(WAKER) & !PROCESSOR_SLEEP);
        while redistributor.read(WAKER) & CHILDREN_ASLEEP != 0 {}
        let private = Registers::at(own + PRIVATE_FRAME);
        private.write(IGROUPR, u32::MAX);
        // The CPU interface by system registers; priorities down to the lowest; group 1.
        write_register!("icc_sre_el1", read_register!("icc_sre_el1") | 1);
        write_register!("icc_pmr_el1", LOWEST);
        write_register!("icc_igrpen1_el1", 1);
        Gic { private, cpu: None }
    }

    /// Enables a private interrupt.
    pub fn enable(&self, interrupt: Intid) {
        assert!(interrupt.0 < PRIVATE, "interrupt {} is a shared one", interrupt.0);
        self.private.write_byte(IPRIORITYR + interrupt.0 as usize, PRIORITY);
        self.private.write(ISENABLER, 1 << interrupt.0);
    }

    /// Takes the pending interrupt of the highest priority, if there is one. It is to be ended.
    pub fn acknowledge(&self) -> Option<Intid> {
        const ACKNOWLEDGE: usize = 0xc;
        const NUMBER: u32 = 0x3ff;
        const NUMBER_V3: u64 = 0xff_ffff;
        let number = match self.cpu {
            Some(cpu) => cpu.read(ACKNOWLEDGE) & NUMBER,
            None => (read_register!("icc_iar1_el1") & NUMBER_V3) as u32,
        };
        (number < SPECIAL).then_some(Intid(number))
    }

    /// Ends an interrupt that was taken.
    pub fn end(&self, interrupt: Intid) {
        const END: usize = 0x10;
        match self.cpu {
            Some(cpu) => cpu.write(END, interrupt.0),
            None => write_register!("icc_eoir1_el1", interrupt.0.into()),
        }
    }
}

/// The redistributor of this CPU: each says whose it is.
fn own_redistributor(all: &Region) -> u64 {
    const TYPE_LOW: usize = 8;
    const TYPE_HIGH: usize = 12;
    const LAST: u32 = 1 << 4;
    const HAS_VIRTUAL_FRAMES: u32 = 1 << 1;
    const FRAMES: u64 = 0x2_0000;
    let own = cpu::affinity();
    // Affinity 3 is in bits 32 to 39 of the CPU's register, and right above the others in the redistributor's.
    let own = (own >> 32 << 24 | own & 0xff_ffff) as u32;
    let mut address = all.start;
    while address < all.end {
        let registers = Registers::at(address);
        let low = registers.read(TYPE_LOW);
        if registers.read(TYPE_HIGH) == own {
            return address;
        }
        if low & LAST != 0 {
            break;
        }
        address += if low & HAS_VIRTUAL_FRAMES != 0 { 2 * FRAMES } else { FRAMES };
    }
    panic!("no redistributor is that of CPU {own:#x}")
}

impl fmt::Display for Gic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.cpu.is_some() { "GICv2" } else { "GICv3" })
    }
}
