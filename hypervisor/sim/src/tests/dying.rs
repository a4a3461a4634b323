//! An interrupt that the control domain gives to a domain which another CPU has begun to destroy meanwhile: it does not stay
//! with the number of one that is gone.

use xenolith_abi::Errno;

use super::super::*;
use super::support::*;
use xenolith_domain::parts::progress::Progress;

/// A shared interrupt of the control domain.
const LINE: Intid = Intid(40);

/// A control domain and two others, of which one is dying: its vCPU is still on its CPU.
fn with_dying(number: u16) -> (Machine, Arc<Domain>, [Arc<Domain>; 2]) {
    let mut machine = Machine::new(3, 2048);
    let control = Guest::boot(&mut machine, CONTROL).domain;
    let domains = [1, 2].map(|id| machine.boot(Plan { id, ..CONTROL }));
    let dying = machine.hv.domain(DomId(number)).unwrap();
    assert_eq!(machine.hv.destroy_domain(&dying, 0), Ok(Progress::Again));
    assert!(dying.is_dying());
    (machine, control, domains)
}

#[test]
fn an_interrupt_comes_back_at_once() {
    let (mut machine, control, [guest, _]) = with_dying(1);
    machine.hv.give_interrupt(LINE, control.id).unwrap();
    control.on(&machine.hv).change_vgic(|vgic| vgic.back_by_hardware(None, LINE, Some(LINE)));
    guest.on(&machine.hv).permit_interrupt(&control, LINE, true).unwrap();
    assert_eq!(guest.on(&machine.hv).bind_interrupt(&control, LINE), Err(Errno::EINVAL));
    assert_eq!(machine.hv.owner_of_interrupt(LINE), Some(DomId::CONTROL));
    machine.settle();
    assert_eq!(guest.on(&machine.hv).bind_interrupt(&control, LINE), Err(Errno::EINVAL));
    assert_eq!(machine.hv.owner_of_interrupt(LINE), Some(DomId::CONTROL));
}

#[test]
fn an_interrupt_that_is_being_handled_goes_with_its_domain_and_not_before() {
    let (mut machine, control, [guest, _]) = with_dying(2);
    machine.hv.give_interrupt(LINE, control.id).unwrap();
    control.on(&machine.hv).change_vgic(|vgic| vgic.back_by_hardware(None, LINE, Some(LINE)));
    guest.on(&machine.hv).permit_interrupt(&control, LINE, true).unwrap();
    assert_eq!(guest.on(&machine.hv).bind_interrupt(&control, LINE), Ok(()));
    guest.on(&machine.hv).raise_shared(LINE);
    assert_eq!(guest.on(&machine.hv).unbind_interrupt(&control, LINE), Err(Errno::EBUSY));
    assert_eq!(machine.hv.owner_of_interrupt(LINE), Some(guest.id));
    while machine.hv.destroy_domain(&guest, 0) == Ok(Progress::Again) {
        machine.settle();
    }
    assert_eq!(machine.hv.owner_of_interrupt(LINE), Some(DomId::CONTROL));
}
