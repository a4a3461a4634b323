//! The physical interrupt controller: distributor, this CPU's interface, and the list registers of the vCPU on it.
//!
//! EL2 takes every interrupt, drops its priority at once and leaves it active if it belongs to a guest (EOImode 1):
//! the guest's own end-of-interrupt, through a list register with the hardware bit, deactivates it. Sources: GICv2
//! IHI 0048, GICv3 IHI 0069.

mod distributor;
mod v2;
mod v3;

use alloc::vec::Vec;

use machine_model::Region as Range;
use machine_model::gic::Gic;

use xenolith_core::sync::Once;
use xenolith_core::types::{CpuId, Intid, Pa};
use xenolith_host::platform::{GicExtensions, HostGic, Mpidr, Region, cpu_interface};
use xenolith_isa::vgic::{Fill, ListRegister};

use super::mmio::Mmio;
use distributor::Distributor;

/// The software interrupt that makes a CPU look at its scheduler.
pub const KICK: Intid = Intid(1);
/// Acknowledging returns this or more when nothing is pending.
const SPURIOUS: Intid = Intid(1020);
/// The priority of everything that EL2 takes: the middle, above the mask.
const PRIORITY: u8 = 0xa0;

enum Interface {
    V2(v2::Interface),
    V3(v3::Interface),
}

struct Driver {
    distributor: Distributor,
    interface: Interface,
    virtual_interface: Option<Region>,
}

static GIC: Once<Driver> = Once::new();

/// What a vCPU's virtual interface holds besides its list registers; kept while the vCPU does not run.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceState {
    /// ICH_VMCR_EL2 or GICH_VMCR.
    pub vmcr: u64,
    /// Active priorities: ICH_AP0R<n> and ICH_AP1R<n>, or GICH_APR in the first.
    pub active: [u32; 8],
}

fn gic() -> &'static Driver {
    GIC.get()
        .unwrap_or_else(|| unreachable!("the boot sets the interrupt controller up before any CPU uses it"))
}

/// Takes over the interrupt controller: all interrupts disabled, the distributor on.
#[expect(clippy::disallowed_methods, reason = "made at boot")]
pub fn init(found: &HostGic, cpus: &[Mpidr]) {
    GIC.call_once(|| {
        // SAFETY: the device tree gives these frames as the interrupt controller's, and `mmu` has mapped them.
        let frame = |start, size| unsafe { Mmio::new(start, size) };
        let mmio = |region: &Range| frame(Pa(region.start), region.size);
        let interface_in = |region: Region| {
            cpu_interface(region, |offset| frame(region.start(), region.size()).read32(offset))
        };
        let mpidrs: Vec<u64> = cpus.iter().map(|mpidr| mpidr.affinity()).collect();
        let interface = match (&found.layout, found.extensions) {
            (Gic::V2 { cpu, .. }, Some(GicExtensions { control, .. })) => {
                let cpu = Region::from_guest(*cpu).map(interface_in);
                let Some(cpu) = cpu else { unreachable!("the tree's GICC is a region of the machine") };
                let [cpu, control] = [cpu, control].map(|region| frame(region.start(), region.size()));
                Interface::V2(v2::Interface::new(cpu, control))
            }
            (Gic::V2 { .. }, None) => unreachable!("a GICv2 without virtualization is not found"),
            (Gic::V3 { redistributors, .. }, _) => {
                let regions: Vec<Mmio> = redistributors.iter().map(mmio).collect();
                Interface::V3(v3::Interface::new(&regions, found.stride, &mpidrs))
            }
        };
        let affinity_routing = matches!(interface, Interface::V3(_));
        let distributor = Distributor::new(mmio(&found.layout.distributor()), affinity_routing, &mpidrs);
        let virtual_interface = found.extensions.map(|GicExtensions { cpu, .. }| interface_in(cpu));
        Driver { distributor, interface, virtual_interface }
    });
}

/// Whether the interrupt controller has an interface for a CPU, as far as the device tree tells.
pub fn serves(cpu: CpuId) -> bool {
    match &gic().interface {
        Interface::V2(_) => cpu.0 < v2::MAX_CPUS,
        Interface::V3(interface) => interface.serves(cpu),
    }
}

/// Where the virtual CPU interface is that a guest of a GICv2 uses in the place of the physical one, and its size in
/// bytes. `None`: the controller has system registers (GICv3), and guests get no other.
pub fn virtual_cpu_interface() -> Option<(Pa, u64)> {
    gic().virtual_interface.map(|region| (region.start(), region.size()))
}

/// Sets up the calling CPU's interface. `cpu` is its number.
pub fn init_cpu(cpu: CpuId) {
    let gic = gic();
    match &gic.interface {
        Interface::V2(interface) => {
            gic.distributor.init_private();
            interface.init_cpu(cpu);
            gic.distributor.learn_target(cpu);
        }
        Interface::V3(interface) => interface.init_cpu(cpu),
    }
}

/// Takes the highest pending interrupt, if there is one.
pub fn acknowledge() -> Option<Intid> {
    let intid = match &gic().interface {
        Interface::V2(interface) => interface.acknowledge(),
        Interface::V3(_) => v3::acknowledge(),
    };
    (intid < SPURIOUS).then_some(intid)
}

/// Ends the handling at EL2: further interrupts may come, this one stays active.
pub fn drop_priority(intid: Intid) {
    match &gic().interface {
        Interface::V2(interface) => interface.drop_priority(intid),
        Interface::V3(_) => v3::drop_priority(intid),
    }
}

/// Ends an interrupt altogether: it may fire again.
pub fn deactivate(intid: Intid) {
    match &gic().interface {
        Interface::V2(interface) => interface.deactivate(intid),
        Interface::V3(_) => v3::deactivate(intid),
    }
}

/// The registers for INTIDs 0..32 are a CPU's own; where they are for the calling CPU.
fn private(gic: &Driver) -> Mmio {
    match &gic.interface {
        Interface::V2(_) => gic.distributor.registers(),
        Interface::V3(interface) => interface.private_registers(super::this_cpu()),
    }
}

#[inline]
fn registers(gic: &Driver, intid: Intid) -> Mmio {
    if intid < Intid::FIRST_SHARED { private(gic) } else { gic.distributor.registers() }
}

/// Lets an interrupt come to EL2. A private one (below 32) is the calling CPU's.
pub fn enable(intid: Intid) {
    distributor::enable(registers(gic(), intid), intid);
}

/// Stops an interrupt from coming. A private one (below 32) is the calling CPU's.
pub fn disable(intid: Intid) {
    distributor::disable(registers(gic(), intid), intid);
}

/// Sets or clears an interrupt's active state by hand.
pub fn set_active(intid: Intid, active: bool) {
    distributor::set_active(registers(gic(), intid), intid, active);
}

/// Whether a shared interrupt waits, which one that is active does too while its line, a level, is asserted.
pub fn is_pending(intid: Intid) -> bool {
    distributor::is_pending(gic().distributor.registers(), intid)
}

/// Makes a shared interrupt pending, as an edge would.
pub fn pend(intid: Intid) {
    distributor::pend(gic().distributor.registers(), intid);
}

/// Says whether a shared interrupt is edge-triggered. It must be disabled.
pub fn set_trigger(intid: Intid, edge: bool) {
    gic().distributor.set_trigger(intid, edge);
}

/// Sends a shared interrupt to one CPU from now on.
pub fn route(intid: Intid, cpu: CpuId) {
    gic().distributor.route(intid, cpu);
}

/// Shared interrupts that the distributor has.
pub fn shared_interrupts() -> u32 {
    gic().distributor.shared_interrupts()
}

/// Makes another CPU leave its guest, or its sleep, and look at its scheduler.
pub fn kick(cpu: CpuId) {
    // What the other CPU is to find there is stored before the interrupt goes: sending one by a system register is not
    // ordered with stores.
    xenolith_hw::dsb();
    let gic = gic();
    match &gic.interface {
        Interface::V2(_) => gic.distributor.send_sgi(cpu, KICK),
        Interface::V3(interface) => interface.send_sgi(cpu, KICK),
    }
}

/// The number of list registers that a vCPU has.
pub fn list_registers() -> usize {
    match &gic().interface {
        Interface::V2(interface) => interface.list_registers(),
        Interface::V3(_) => v3::list_registers(),
    }
}

/// Priority bits that the virtual CPU interface implements.
pub fn priority_bits() -> u8 {
    match &gic().interface {
        // GICH_VTR.PRIbits and ICH_VTR_EL2.PRIbits, both less one, in bits 31:29.
        Interface::V2(interface) => interface.priority_bits(),
        Interface::V3(_) => v3::priority_bits(),
    }
}

/// Reads a list register of the vCPU on this CPU.
pub fn read_list(index: usize) -> ListRegister {
    match &gic().interface {
        Interface::V2(interface) => ListRegister::from_gich(interface.read_list(index)),
        Interface::V3(_) => ListRegister::from_ich(v3::read_list(index)),
    }
}

/// Writes a list register of the vCPU on this CPU.
pub fn write_list(index: usize, register: ListRegister) {
    match &gic().interface {
        Interface::V2(interface) => interface.write_list(index, register.to_gich()),
        Interface::V3(_) => v3::write_list(index, register.to_ich()),
    }
}

/// Turns the virtual interface on, with the maintenance interrupts that the last [`Fill`] asks for.
#[inline]
pub fn set_maintenance(fill: &Fill) {
    match &gic().interface {
        Interface::V2(interface) => interface.write_control(control(fill)),
        // TDIR: with an active interrupt that is in no list register, the guest's ICC_DIR_EL1 would find none to end.
        Interface::V3(_) => v3::write_control(control(fill) | u32::from(fill.unlisted_active) << 14),
    }
}

/// What ICH_HCR_EL2 and GICH_HCR have in common: En; LRENPIE; NPIE.
fn control(fill: &Fill) -> u32 {
    1 | u32::from(fill.unlisted_active) << 2 | u32::from(fill.no_pending) << 3
}

/// The number of interrupts that the guest has ended and that were in no list register (EOIcount). It counts from zero
/// after [`set_maintenance`].
pub fn unlisted_ends() -> u32 {
    let control = match &gic().interface {
        Interface::V2(interface) => interface.read_control(),
        Interface::V3(_) => v3::read_control(),
    };
    // EOIcount is in bits 31:27 of both.
    control >> 27
}

/// Loads a vCPU's virtual interface.
pub fn load(state: &InterfaceState) {
    match &gic().interface {
        Interface::V2(interface) => interface.load(state),
        Interface::V3(_) => v3::load(state),
    }
}

/// Saves a vCPU's virtual interface and turns it off.
pub fn save(state: &mut InterfaceState) {
    match &gic().interface {
        Interface::V2(interface) => interface.save(state),
        Interface::V3(_) => v3::save(state),
    }
}
