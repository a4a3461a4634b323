//! A hypervisor that was built without I/O forwarding: the calls of device models are not there, and nobody is asked.

use xenolith_abi::Errno;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AcquireResource, MemoryOp, Reservation, Resource};
use xenolith_abi::xenolith::XenolithOp;

use super::super::*;
use super::foreign::HOLE;
use super::support::*;

#[test]
fn the_calls_of_a_device_model_are_not_there() {
    let (mut machine, control, guest) = Guest::two();
    let at = control.scratch(&machine);
    for (caller, target) in [(&control, 1), (&control, 55), (&control, 0), (&guest, 0)] {
        for buffers in [0, 1, 2, 3] {
            let arguments = [target, buffers, at, 0, 0];
            let result = caller.plain(&mut machine, Hypercall::DmOp, arguments);
            assert_eq!(result, error(Errno::ENOSYS), "d{target} {buffers}");
        }
    }
    let features = [XenolithOp::Features.number(), 0, 0, 0, 0];
    assert_eq!(control.plain(&mut machine, Hypercall::Xenolith, features), 0);
}

#[test]
fn there_are_no_pages_of_servers() {
    let (mut machine, control, _) = Guest::two();
    let list = control.page(&machine, 2);
    machine.poke(&control.domain, list, &HOLE);
    let mut acquire = |kind: Resource, frame, list: u64| {
        let (frame_list, nr_frames) = (list.into(), u32::from(list != 0));
        let mut request = AcquireResource {
            domid: DomId(1),
            kind: kind.number(),
            id: 0,
            nr_frames,
            pad: 0,
            frame,
            frame_list,
        };
        control.call(
            &mut machine,
            Hypercall::MemoryOp,
            MemoryOp::AcquireResource.number().into(),
            &mut request,
        )
    };
    for (frame, frame_list) in [(0, 0), (0, list), (1, list), (7, list)] {
        assert_eq!(acquire(Resource::IoreqServer, frame, frame_list), error(Errno::EOPNOTSUPP), "{frame}");
    }
    assert_eq!(acquire(Resource::GrantTable, 0, list), 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn nobody_is_asked() {
    let (mut machine, _, guest) = Guest::two();
    for size in [1_u8, 2, 4, 8] {
        let all_ones = u64::MAX >> (64 - 8 * u32::from(size));
        assert_eq!(machine.load(guest.cpu, 0x0200_0000, size), all_ones);
        machine.store(guest.cpu, 0x0200_0000, size, 1);
        assert_eq!(machine.next(guest.cpu), Next::Guest);
    }
    let list = guest.page(&machine, 2);
    machine.poke(&guest.domain, list, &(guest.page(&machine, 20) >> 12));
    let mut request =
        Reservation { extent_start: list.into(), nr_extents: 1, domid: SELF, ..Default::default() };
    let op = MemoryOp::DecreaseReservation.number().into();
    assert_eq!(guest.call(&mut machine, Hypercall::MemoryOp, op, &mut request), 1);
    assert_eq!(machine.audit(), Ok(()));
}
