//! Who answers: what the hypervisor emulates itself comes before a server that has claimed its addresses.

use xenolith_abi::dm::DmOp;
use xenolith_abi::ioreq::State;

use super::super::super::{DISTRIBUTOR, REDISTRIBUTORS};
use super::super::boot_domains::{self, UART};
use super::model::*;
use xenolith_cpu::Next;

/// GICD_PIDR2 and GICR_PIDR2: the architecture's revision in bits 7:4.
const PIDR2: u64 = 0xffe8;

#[test]
fn the_interrupt_controller_answers_before_a_server_at_its_address() {
    let (mut machine, model) = Model::new();
    let cpu = model.guest.cpu;
    let redistributor = REDISTRIBUTORS + 0x2_0000 - 1;
    assert_eq!(model.range(&mut machine, DmOp::MapRange, DISTRIBUTOR, DISTRIBUTOR + 0xffff), 0);
    assert_eq!(model.range(&mut machine, DmOp::MapRange, REDISTRIBUTORS, redistributor), 0);
    for base in [DISTRIBUTOR, REDISTRIBUTORS] {
        assert_eq!(machine.load(cpu, base + PIDR2, 4) >> 4 & 15, 3, "{base:#x}");
        machine.store(cpu, base, 4, 0);
        // An access that the controller does not take is an abort, and nobody else's.
        let before = machine.regs(cpu).pc;
        machine.load(cpu, base + 0x10, 8);
        assert_ne!(machine.regs(cpu).pc, before);
        assert_eq!(machine.next(cpu), Next::Guest);
        assert_eq!(model.state(&machine, 0), Some(State::None), "{base:#x}");
    }
    // The server is asked for what is its own all the same.
    machine.load(cpu, REGISTER, 4);
    assert_eq!(machine.next(cpu), Next::Idle);
    model.answer(&mut machine, 0, 1);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_uart_answers_before_a_server_at_its_address() {
    /// UARTFR: the receive FIFO is empty and the transmit FIFO is empty.
    const FLAGS: (u64, u64) = (0x18, 0x90);
    let (mut machine, first) = boot_domains::booted([boot_domains::small("one")]);
    let guest = boot_domains::guest(&machine, 1);
    let cpu = guest.cpu;
    let model = Model::attach_at(&mut machine, first, guest, UART);
    assert_eq!(machine.load(cpu, UART + FLAGS.0, 4), FLAGS.1);
    machine.store(cpu, UART, 1, b'x'.into());
    assert_eq!((machine.next(cpu), model.state(&machine, 0)), (Next::Guest, Some(State::None)));
    assert_eq!(machine.audit(), Ok(()));
}
