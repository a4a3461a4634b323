//! Where a domain that the control domain makes finds its interrupt controller, and by which private interrupts it is told
//! of timers and events: the addresses and numbers that toolstacks describe to guests (Xen's `public/arch-arm.h`).

use xenolith_core::types::Ipa;

/// The distributor, of either version.
pub const DISTRIBUTOR: Ipa = Ipa(0x0300_1000);
/// The CPU interface of a GICv2.
pub const CPU_INTERFACE: Ipa = Ipa(0x0300_2000);
/// Bytes of the CPU interface.
pub const CPU_INTERFACE_SIZE: u64 = 0x2000;
/// The redistributors of a GICv3.
pub const REDISTRIBUTORS: Ipa = Ipa(0x0302_0000);
/// Bytes of the redistributors.
pub const REDISTRIBUTORS_SIZE: u64 = 0x0100_0000;
/// The private interrupt of the virtual timer.
pub const VIRTUAL_TIMER: u32 = 27;
/// The private interrupt of the EL1 physical timer.
pub const PHYSICAL_TIMER: u32 = 30;
/// The private interrupt that announces events.
pub const EVENT_PPI: u32 = 31;
