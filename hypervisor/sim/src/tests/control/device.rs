//! Devices of the machine that go from the control domain to another.

use xenolith_abi::domctl::{BindPtIrq, IomemPermission, IrqPermission, MemoryMapping, PT_IRQ_SPI, SetTarget};
use xenolith_abi::{Errno, Intid};

use super::*;
use xenolith_memory::p2m::MapKind;

/// Frames of a device's registers that the control domain has.
const DEVICE: u64 = 0x9000;
/// Its interrupt.
const LINE: Intid = Intid(40);

fn with_device() -> (Machine, Toolstack, Arc<Domain>) {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let mut wanted = CreateDomainV15::from(plan());
    wanted.arch.nr_spis = 32;
    let (_, id) = tools.domctl_for(&mut machine, 1, 0xffff, &mut wanted);
    let control = &tools.guest.domain;
    control.memory.lock().p2m.map(Gfn(DEVICE), Mfn(DEVICE), 4, MapKind::Device).unwrap();
    machine.hv.give_interrupt(LINE, control.id).unwrap();
    control.on(&machine.hv).change_vgic(|vgic| vgic.back_by_hardware(None, LINE, Some(LINE)));
    let domain = machine.hv.domain(DomId(id)).unwrap();
    (machine, tools, domain)
}

#[test]
fn registers_are_passed_on() {
    let (mut machine, tools, domain) = with_device();
    let mapping = |gfn, mfn, nr_mfns, add| MemoryMapping {
        first_gfn: gfn,
        first_mfn: mfn,
        nr_mfns,
        add_mapping: add,
        pad: 0xa5a5_a5a5,
    };
    let mut map =
        |mut request: MemoryMapping| tools.domctl(&mut machine, DomctlOp::MemoryMapping, 1, &mut request);
    assert_eq!(map(mapping(Gfn(0x100), DEVICE, 2, 1)), error(Errno::EPERM));
    let mut permit = |first_mfn, nr_mfns, allow_access| {
        let mut request = IomemPermission { first_mfn, nr_mfns, allow_access, pad: [9; 7] };
        tools.domctl(&mut machine, DomctlOp::IomemPermission, 1, &mut request)
    };
    assert_eq!(permit(DEVICE, 5, 1), error(Errno::EPERM), "the last is not the control domain's");
    assert_eq!(permit(RAM_BASE.0, 1, 1), error(Errno::EPERM), "RAM is no device");
    assert_eq!((permit(DEVICE, 0, 1), permit(u64::MAX, 2, 1)), (error(Errno::EINVAL), error(Errno::EINVAL)));
    assert_eq!(permit(DEVICE, 2, 1), 0);
    let mut map =
        |mut request: MemoryMapping| tools.domctl(&mut machine, DomctlOp::MemoryMapping, 1, &mut request);
    assert_eq!(map(mapping(Gfn(0x100), DEVICE, 3, 1)), error(Errno::EPERM));
    assert_eq!(map(mapping(Gfn(0x100), DEVICE, 65, 1)), error(Errno::E2BIG));
    assert_eq!(map(mapping(Gfn(0x100), DEVICE, 0, 1)), error(Errno::EINVAL));
    assert_eq!(map(mapping(Gfn(0x100), DEVICE, 2, 1)), 0);
    assert_eq!(map(mapping(Gfn(0x100), DEVICE, 2, 1)), 0, "it is there already");
    assert_eq!(map(mapping(Gfn(0x101), DEVICE, 1, 1)), error(Errno::EEXIST));
    let entry = domain.lookup(Gfn(0x101)).unwrap();
    assert_eq!(
        (entry.mfn, entry.kind),
        (Mfn(DEVICE + 1), MapKind::StrictDevice),
        "whatever kind the giver's is"
    );
    assert_eq!(map(mapping(Gfn(0x100), DEVICE, 2, 0)), 0);
    assert!(domain.lookup(Gfn(0x100)).is_err());
    let mut deny = IomemPermission { first_mfn: DEVICE, nr_mfns: 2, ..IomemPermission::default() };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::IomemPermission, 1, &mut deny), 0);
    let again = &mut mapping(Gfn(0x100), DEVICE, 1, 1);
    assert_eq!(tools.domctl(&mut machine, DomctlOp::MemoryMapping, 1, again), error(Errno::EPERM));
    assert_eq!(machine.audit(), Ok(()));
}

/// It can still be found, as somebody has a frame of it; what it was promised is no longer its own.
#[test]
fn a_domain_that_has_ended_is_given_no_permission() {
    let (mut machine, tools, domain) = with_device();
    domain.memory.lock().max_pages = 1;
    assert_eq!(domain.on(&machine.hv).populate(RAM_BASE, 0), Ok(()));
    let held = domain.lookup(RAM_BASE).unwrap().mfn;
    machine.hv.frames.reference(held, domain.id).unwrap();
    assert_eq!(tools.simple(&mut machine, DomctlOp::DestroyDomain, 1), 0);
    assert!(domain.is_dead() && machine.hv.domain(domain.id).is_some());
    let promised = machine.hv.frames.promised_frames();
    let mut allow =
        IomemPermission { first_mfn: DEVICE, nr_mfns: 2, allow_access: 1, ..IomemPermission::default() };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::IomemPermission, 1, &mut allow), error(Errno::ESRCH));
    assert_eq!(machine.hv.frames.promised_frames(), promised);
    machine.hv.release_frame(held);
    assert!(machine.hv.domain(domain.id).is_none());
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_domain_becomes_the_device_model_of_another() {
    let (mut machine, tools, guest) = with_device();
    let backend = tools.create(&mut machine, plan()).unwrap();
    let mut set =
        |domain, target| tools.domctl(&mut machine, DomctlOp::SetTarget, domain, &mut SetTarget { target });
    assert_eq!(set(backend, DomId(1)), 0);
    assert_eq!((set(backend, DomId(77)), set(1, DomId(1))), (error(Errno::ESRCH), error(Errno::EINVAL)));
    let backend = machine.hv.domain(DomId(backend)).unwrap();
    assert!(guest.has_device_model(&backend) && guest.device_models.lock().len() == 1);
}

#[test]
fn an_interrupt_moves_to_the_guest_and_back() {
    let (mut machine, tools, domain) = with_device();
    let bind = |machine: &mut Machine, op, machine_irq, irq_type, spi| {
        let mut request = BindPtIrq { machine_irq, irq_type, spi, pad: [0xa5a5; 3], rest: u64::MAX };
        tools.domctl(machine, op, 1, &mut request)
    };
    let line = LINE.0 as u16;
    let bound = DomctlOp::BindPtIrq;
    assert_eq!(bind(&mut machine, bound, LINE, PT_IRQ_SPI, line), error(Errno::EBUSY), "in use");
    assert_eq!(bind(&mut machine, bound, Intid(LINE.0 + 1), PT_IRQ_SPI, line + 1), error(Errno::EPERM));
    let permit = |machine: &mut Machine, pirq, allow_access| {
        let mut request = IrqPermission { pirq, allow_access, pad: [9; 3] };
        tools.domctl(machine, DomctlOp::IrqPermission, 1, &mut request)
    };
    assert_eq!(permit(&mut machine, Intid(LINE.0 + 1), 1), error(Errno::EPERM));
    assert_eq!(permit(&mut machine, Intid(27), 1), error(Errno::EPERM));
    assert_eq!(permit(&mut machine, LINE, 1), 0);
    assert_eq!(bind(&mut machine, bound, LINE, 0, line), error(Errno::EOPNOTSUPP));
    assert_eq!(bind(&mut machine, bound, LINE, PT_IRQ_SPI, line + 1), error(Errno::EINVAL));
    assert_eq!(bind(&mut machine, bound, LINE, PT_IRQ_SPI, line), 0);
    assert_eq!(machine.hv.owner_of_interrupt(LINE), Some(domain.id));
    assert_eq!(bind(&mut machine, bound, LINE, PT_IRQ_SPI, line), error(Errno::EBUSY));
    let unbound = DomctlOp::UnbindPtIrq;
    assert_eq!(bind(&mut machine, unbound, LINE, PT_IRQ_SPI, line), 0);
    assert_eq!(bind(&mut machine, unbound, LINE, PT_IRQ_SPI, line), error(Errno::EINVAL));
    assert_eq!(machine.hv.owner_of_interrupt(LINE), Some(DomId::CONTROL));
    assert_eq!(bind(&mut machine, bound, LINE, PT_IRQ_SPI, line), 0);
    assert_eq!(permit(&mut machine, LINE, 0), error(Errno::EBUSY));
    assert_eq!(tools.simple(&mut machine, DomctlOp::DestroyDomain, 1), 0);
    assert_eq!(machine.hv.owner_of_interrupt(LINE), Some(DomId::CONTROL));
}
