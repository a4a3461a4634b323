//! A machine is switched on, and a domain starts.

use super::super::*;
use xenolith_isa::regs::Pstate;

#[test]
fn a_domain_starts_as_the_boot_protocol_says() {
    let mut machine = Machine::new(1, 1024);
    assert_eq!(machine.next(0), Next::Idle);
    let domain = machine.boot(Plan { id: 0, vcpus: 1, pages: 64, direct_mapped: false });
    assert_eq!(machine.running(0), Some((DomId(0), VcpuId(0))));
    let regs = *machine.regs(0);
    assert_eq!((regs.pc, regs.pstate, regs.x[0]), (ENTRY, Pstate::EL1_ENTRY, 0));
    assert_eq!(sim::guest::stage2(), Some(domain.arch.stage2));
    assert_eq!(machine.audit(), Ok(()));
}
