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
use xenolith_domain::parts::addresses::Addresses;
use xenolith_domain::parts::io::Io;
use xenolith_domain::parts::permits::Permits;
use xenolith_memory::frames::FrameRef;
use xenolith_policy::event::EventChannels;
use xenolith_policy::grant::{GrantTable, Maptrack};

/// Guests that take all they may.
const GREEDY: u16 = 11;
/// The limits of the model's domains.
const PORTS: u32 = 4095;
const FRAMES: u32 = 4;

/// Windows of the interrupt controller.
const WINDOWS: usize = 1;

/// Pages of records that these limits allow.
fn records() -> u64 {
    EventChannels::<FrameRef>::pages(PORTS) + GrantTable::<FrameRef>::pages(FRAMES) + Maptrack::pages(FRAMES)
}

/// Pages for what others make for a domain.
fn of_others() -> u64 {
    Addresses::pages(WINDOWS) + Io::pages(1) + Permits::PAGES
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
    // Pages of records are the host's here, so that none of the promise is taken.
    let promised = records() + of_others() + u64::from(FRAMES);
    assert_eq!(free - available, promised * u64::from(GREEDY + 1));

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
    let kept = (records() + of_others()) * u64::from(GREEDY + 1) + u64::from(FRAMES);
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
    assert_eq!(machine.hv.frames.promised_frames(), promised, "the control domain's");
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
    let records =
        EventChannels::<FrameRef>::pages(1023) + GrantTable::<FrameRef>::pages(64) + 1024 + of_others();
    assert_eq!(machine.hv.frames.promised_frames() - before, records + 64);
    assert_eq!(domain.grants.lock().size(), (0, 64));
}

#[cfg(feature = "ioreq")]
mod servers {
    use super::*;
    use xenolith_policy::ioreq::{self, SERVERS, ServerId};

    /// The first of this many addresses, of which no two neighbours are one server's.
    fn range(number: u64) -> (u64, u64) {
        let first = DISTRIBUTOR - 0x2_0000 + number * 0x40;
        (first, first + 0x1f)
    }

    const RANGES: u64 = ioreq::RANGES as u64;
    /// Where a device model maps pages with slots.
    const WINDOW: u64 = 0x7_0000;

    /// Machine, control domain, driver domain, and as many guests, which it is the device model of.
    fn machine_with(guests: u16) -> (Machine, Guest, Guest, Vec<Guest>) {
        let mut machine = Machine::new(2 + guests, 8192);
        let control = Guest::boot(&mut machine, CONTROL);
        let driver = Guest::boot(&mut machine, Plan { id: 1, ..CONTROL });
        let guests = (2..2 + guests).map(|id| Guest::boot(&mut machine, Plan { id, ..OTHER }));
        let guests = guests.collect::<Vec<_>>();
        for guest in &guests {
            assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
        }
        (machine, control, driver, guests)
    }

    /// Takes all that is not promised to anybody.
    fn take_rest(machine: &Machine) -> Vec<Mfn> {
        let frames = &machine.hv.frames;
        let hoard = core::iter::from_fn(|| frames.alloc(0, DomId::XEN, Kind::Ram, Content::Any)).collect();
        assert_eq!(frames.available_frames(), 0);
        hoard
    }

    fn give_back(machine: &Machine, hoard: Vec<Mfn>) {
        hoard.into_iter().for_each(|mfn| assert!(machine.hv.frames.free(mfn, 0, DomId::XEN).is_ok()));
    }

    /// The driver domain makes all servers and ranges that it may for a guest, and enables them.
    fn take_all(machine: &Machine, driver: &Domain, guest: &Domain) -> Vec<ServerId> {
        let create = || guest.on(&machine.hv).create_server(driver);
        let servers: Vec<_> = (0..SERVERS).map(|_| create().expect("its server")).collect();
        assert_eq!(create(), Err(Errno::ENOSPC));
        for number in 0..RANGES {
            let (server, (first, last)) = (servers[number as usize % SERVERS], range(number));
            assert_eq!(guest.map_range(server, driver.id, first, last), Ok(()), "range {number}");
        }
        let (_, end) = range(RANGES);
        for &server in &servers {
            assert_eq!(
                guest.map_range(server, driver.id, end + 2, end + 3),
                Err(Errno::ENOMEM),
                "a limit is a limit"
            );
            assert_eq!(guest.on(&machine.hv).enable_server(server, driver.id, true), Ok(()));
        }
        servers
    }

    #[test]
    fn a_driver_domain_that_takes_all_it_may_for_eleven_guests_leaves_a_twelfth_its_own() {
        let (mut machine, _control, driver, guests) = machine_with(GREEDY + 1);
        let before = (machine.hv.frames.free_frames(), machine.hv.frames.promised_frames());
        let hoard = take_rest(&machine);
        for guest in &guests {
            // The pages of the two lists of ranges, one of ports, and not a byte of what is everybody's.
            let pages = Addresses::pages(WINDOWS) + Io::pages(1) - SERVERS as u64 + 1;
            let (servers, lacked) = crate::heap::with_heap((pages * PAGE_SIZE) as usize, || {
                let vectors = SERVERS * size_of::<ServerId>();
                assert!(vectors < PAGE_SIZE as usize, "the test's own list is in what the table has left");
                take_all(&machine, &driver.domain, &guest.domain)
            });
            assert_eq!((servers.len(), lacked), (SERVERS, None), "{}", guest.domain.id);
        }
        assert_eq!(machine.audit(), Ok(()));
        // Of one guest they end, and can all be made again.
        let guest = &guests[0].domain;
        for _ in 0..3 {
            while guest.on(&machine.hv).end_server_of(driver.domain.id) {}
            assert_eq!((guest.io.held_frames(), guest.io.held_pages()), (0, 0));
            take_all(&machine, &driver.domain, guest);
        }
        for guest in &guests[1..] {
            while guest.domain.on(&machine.hv).end_server_of(driver.domain.id) {}
        }
        destroy(&mut machine, guest);
        give_back(&machine, hoard);
        for guest in &guests[1..] {
            destroy(&mut machine, &guest.domain);
        }
        drop(guests);
        machine.hv.create_domain(&request()).map(drop).expect("room for others");
        let (free, promised) = (machine.hv.frames.free_frames(), machine.hv.frames.promised_frames());
        assert!(free > before.0 && promised < before.1);
        assert_eq!(machine.audit(), Ok(()));
    }

    /// A device model that keeps the pages of servers that have ended has no others instead, and takes nobody's memory.
    #[test]
    fn pages_of_ended_servers_count_until_nobody_has_them() {
        let (mut machine, _control, driver, guests) = machine_with(2);
        let [guest, other] = [&guests[0].domain, &guests[1].domain];
        let hoard = take_rest(&machine);
        let hv = &machine.hv;
        let kept = hv.frames.promised_frames();
        let map = |number: u64| {
            let server = guest.on(hv).create_server(&driver.domain).expect("a server");
            let at = Gfn(WINDOW + number);
            let mapped = driver.domain.on(hv).map_server_frame(guest, server, 1, at);
            assert_eq!(guest.on(hv).destroy_server(server, Some(driver.domain.id)), Ok(()));
            mapped
        };
        for number in 0..SERVERS as u64 {
            assert_eq!(map(number), Ok(()), "page {number}");
        }
        for _ in 0..2 {
            assert_eq!(map(SERVERS as u64), Err(Errno::ENOMEM));
        }
        assert_eq!(hv.frames.promised_frames(), kept - SERVERS as u64);
        take_all(&machine, &driver.domain, other);
        // One for one.
        driver.domain.on(hv).unmap_resource(Gfn(WINDOW + 3));
        assert_eq!((map(3), map(SERVERS as u64)), (Ok(()), Err(Errno::ENOMEM)));
        // They outlive the guest, and go back with the last of them.
        give_back(&machine, hoard);
        destroy(&mut machine, guest);
        assert_eq!(machine.audit(), Ok(()));
        let hv = &machine.hv;
        assert!(hv.domain(guest.id).is_some(), "somebody has its pages");
        for number in 0..SERVERS as u64 {
            driver.domain.on(hv).unmap_resource(Gfn(WINDOW + number));
        }
        assert!(hv.domain(guest.id).is_none());
        assert_eq!((guest.io.held_pages(), machine.audit()), (0, Ok(())));
    }
}
