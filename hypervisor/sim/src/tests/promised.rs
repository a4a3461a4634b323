//! Guests that take all that their limits allow: it was promised to them, and nobody else goes short.

use xenolith_abi::Errno;
use xenolith_abi::event::{AllocUnbound, EventOp};
use xenolith_abi::grant::{EntryV1, GrantStatus, MapGrantRef, entry, map as flag};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::AddToPhysmap;

use super::super::*;
use super::create::request;
use super::destroy::destroy;
use super::support::*;
use xenolith_core::types::PAGE_SIZE;
use xenolith_domain::life::create::NewDomain;
use xenolith_memory::frames::FrameRef;
use xenolith_policy::event::EventChannels;
use xenolith_policy::grant::{GrantTable, Maptrack};

/// Guests that take all they may.
const GREEDY: u16 = 11;
/// The limits of the model's domains.
const PORTS: u32 = 4095;
const FRAMES: u32 = 4;

/// Pages of records that these limits allow.
fn records() -> u64 {
    EventChannels::<FrameRef>::pages(PORTS) + GrantTable::<FrameRef>::pages(FRAMES) + Maptrack::pages(FRAMES)
}

/// Takes ports until there are none.
fn take_ports(machine: &mut Machine, guest: &Guest) {
    let mut offer = AllocUnbound { dom: SELF, remote_dom: DomId(0), ..AllocUnbound::default() };
    let op = EventOp::AllocUnbound.number().into();
    let mut taken = 0;
    while guest.call(machine, Hypercall::EventChannelOp, op, &mut offer) == 0 {
        taken += 1;
    }
    assert_eq!(guest.call(machine, Hypercall::EventChannelOp, op, &mut offer), error(Errno::ENOSPC));
    assert_eq!(taken, PORTS);
}

/// Takes all frames of the grant table, and grants its page 20 to itself by the last of the references.
fn take_frames(machine: &mut Machine, guest: &Guest) -> u32 {
    let window = guest.page(machine, 10);
    let mut show = |frame: u32| {
        let gpfn = Gfn((window >> 12) + u64::from(frame));
        let mut add =
            AddToPhysmap { domid: SELF, space: 1, idx: frame.into(), gpfn, ..AddToPhysmap::default() };
        guest.call(machine, Hypercall::MemoryOp, 7, &mut add)
    };
    assert!((0..FRAMES).all(|frame| show(frame) == 0));
    assert_eq!(show(FRAMES), error(Errno::EINVAL), "a limit is a limit");
    let reference = FRAMES * 512 - 1;
    let page = guest.page(machine, 20);
    let grant = EntryV1 { flags: entry::PERMIT_ACCESS, domid: guest.domain.id, frame: (page >> 12) as u32 };
    machine.poke(&guest.domain, window + u64::from(reference) * 8, &grant);
    reference
}

/// Maps that grant until there is no handle, always at one place, for which a guest needs no memory of its own.
fn take_handles(machine: &mut Machine, guest: &Guest, reference: u32) {
    let at = guest.page(machine, 30);
    let mut taken = 0;
    loop {
        let mut op = MapGrantRef {
            host_addr: at,
            flags: flag::HOST,
            reference,
            dom: guest.domain.id,
            ..MapGrantRef::default()
        };
        assert_eq!(guest.grant_op(machine, 0, &mut op), 0);
        if op.status == GrantStatus::NoSpace.number() {
            break;
        }
        assert_eq!((op.status, op.handle), (0, taken));
        taken += 1;
    }
    assert_eq!(taken, FRAMES * 256);
}

#[test]
fn eleven_guests_that_take_all_they_may_leave_room_for_a_twelfth() {
    let mut machine = Machine::new(1 + GREEDY, 4096);
    let _control = Guest::boot(&mut machine, CONTROL);
    let guests: Vec<Guest> = (1..=GREEDY).map(|id| Guest::boot(&mut machine, Plan { id, ..OTHER })).collect();
    let (free, available) = (machine.hv.frames.free_frames(), machine.hv.frames.available_frames());
    assert_eq!(free - available, (records() + u64::from(FRAMES)) * u64::from(GREEDY + 1));

    // Somebody has all the rest of the machine's memory: what was promised is there nevertheless.
    let mut hoard = Vec::new();
    while let Some(mfn) = machine.hv.frames.alloc(0, DomId::XEN, Kind::Ram, Content::Any) {
        hoard.push(mfn);
    }
    assert_eq!((hoard.len() as u64, machine.hv.frames.available_frames()), (available, 0));
    for guest in &guests {
        // Its own calls take pages of records and nothing else of the heap.
        let ((), lacked) = crate::heap::with_heap((records() * PAGE_SIZE) as usize, || {
            take_ports(&mut machine, guest);
            let reference = take_frames(&mut machine, guest);
            take_handles(&mut machine, guest, reference);
        });
        assert_eq!(lacked, None, "{}", guest.domain.id);
    }
    // The frames of the grant tables are theirs now, and no longer promised.
    let kept = records() * u64::from(GREEDY) + records() + u64::from(FRAMES);
    assert_eq!(machine.hv.frames.promised_frames(), kept);
    assert_eq!(machine.audit(), Ok(()));

    // A twelfth is made as if they were not there, and the control domain's calls find what they need.
    for mfn in hoard {
        machine.hv.frames.free(mfn, 0, DomId::XEN).unwrap();
    }
    let twelfth = machine.hv.create_domain(&request()).expect("room for a twelfth");
    destroy(&mut machine, &twelfth);
    drop(twelfth);
    for guest in &guests {
        destroy(&mut machine, &guest.domain);
    }
    // Though the list of those that were destroyed, and this test, still have them.
    assert_eq!(machine.hv.frames.promised_frames(), records() + u64::from(FRAMES), "the control domain's");
    assert_eq!(machine.hv.domain_count(), 1);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_domain_whose_limits_ask_for_more_than_there_is_is_not_made() {
    let (machine, _control) = Guest::alone();
    let frames = &machine.hv.frames;
    let (free, available) = (frames.free_frames(), frames.available_frames());
    let large = |maptrack| NewDomain { maptrack_frames: Some(maptrack), ..request() };
    // Its tables come after the promise, and are missing then.
    assert_eq!(machine.hv.create_domain(&large(available as u32)).map(drop), Err(Errno::ENOMEM));
    assert_eq!(
        machine.hv.create_domain(&NewDomain { grant_frames: Some(4096), ..request() }).map(drop),
        Err(Errno::ENOMEM)
    );
    assert_eq!((frames.free_frames(), frames.available_frames()), (free, available), "nothing is left of it");
    // One page of handles less for each page that it takes otherwise: then it is made, and leaves the rest.
    let domain = machine.hv.create_domain(&large(100)).unwrap();
    assert!(frames.available_frames() < available - 100);
    drop(domain);
}

#[test]
fn without_a_word_about_limits_a_domain_is_promised_what_the_defaults_allow() {
    let mut machine = Machine::new(1, 4096);
    Guest::boot(&mut machine, CONTROL);
    let before = machine.hv.frames.promised_frames();
    let domain = machine
        .hv
        .create_domain(&NewDomain { grant_frames: None, maptrack_frames: None, ..request() })
        .unwrap();
    let records = EventChannels::<FrameRef>::pages(1023) + GrantTable::<FrameRef>::pages(64) + 1024;
    assert_eq!(machine.hv.frames.promised_frames() - before, records + 64);
    assert_eq!(domain.grants.lock().size(), (0, 64));
}
