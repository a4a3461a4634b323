//! Where a domain that the control domain makes finds its interrupt controller, and by which private interrupts it is told
//! of timers and events: as `machine_model` describes it to guests.

use machine_model::layout as map;

use xenolith_core::types::Ipa;

/// The distributor, of either version.
pub const DISTRIBUTOR: Ipa = Ipa(map::GICV3_DISTRIBUTOR.start);
/// The CPU interface of a GICv2.
pub const CPU_INTERFACE: Ipa = Ipa(map::GICV2_CPU.start);
/// Bytes of the CPU interface.
pub const CPU_INTERFACE_SIZE: u64 = map::GICV2_CPU.size;
/// The redistributors of a GICv3.
pub const REDISTRIBUTORS: Ipa = Ipa(map::GICV3_REDISTRIBUTORS.start);
/// Bytes of the redistributors.
pub const REDISTRIBUTORS_SIZE: u64 = map::GICV3_REDISTRIBUTORS.size;
/// The private interrupt of the virtual timer.
pub const VIRTUAL_TIMER: u32 = map::TIMER_VIRTUAL.0;
/// The private interrupt of the EL1 physical timer.
pub const PHYSICAL_TIMER: u32 = map::TIMER_PHYSICAL.0;
/// The private interrupt that announces events.
pub const EVENT_PPI: u32 = map::EVENTS.0;

const _: () = assert!(map::GICV2_DISTRIBUTOR.start == map::GICV3_DISTRIBUTOR.start);
