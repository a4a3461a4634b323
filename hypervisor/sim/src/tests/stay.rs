//! How long a CPU stays at EL2 before it looks whether an interrupt waits, where a guest or the control domain can make it long.
//! It is counted in steps of about ten instructions ([`xenolith_arch::sim::stay`]).

use xenolith_abi::control::Payload;
use xenolith_abi::event::{ExpandArray, InitControl};
use xenolith_abi::grant::SetupTable;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AcquireResource, AddToPhysmap, Reservation};
use xenolith_abi::shared::SharedInfo;
use xenolith_abi::sysctl::{GetDomainInfoList, INTERFACE_VERSION, Sysctl, SysctlOp};

use super::super::*;
use super::create::request;
use super::support::*;
use xenolith_domain::life::create::NewDomain;
use xenolith_domain::parts::progress::Progress;
use xenolith_memory::frames::FrameError;

/// Does something, and says the longest stay of it.
fn stay<T>(work: impl FnOnce() -> T) -> (T, u64) {
    sim::stay::take_longest();
    sim::stay::begin();
    let result = work();
    sim::stay::look();
    (result, sim::stay::take_longest())
}

/// The same, which must not be long.
pub fn short<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (result, longest) = stay(work);
    assert!(longest < LONGEST_STAY, "{what}: {longest} steps without a look");
    result
}

/// Destroys a domain as `domctl` does. How many stays it took.
fn destroy(machine: &mut Machine, domain: &Arc<Domain>) -> u64 {
    let mut stays = 1;
    let budget = Hypervisor::DESTROY_BUDGET;
    while short("destruction", || machine.hv.destroy_domain(domain, budget)) == Ok(Progress::Again) {
        machine.settle();
        stays += 1;
    }
    assert!(domain.is_dead());
    assert_eq!(machine.audit(), Ok(()));
    stays
}

/// A domain as a toolstack makes it, with so many pages.
fn built(machine: &Machine, wanted: &NewDomain, pages: u64) -> Arc<Domain> {
    let domain = machine.hv.create_domain(wanted).expect("there is room");
    assert_eq!(domain.on(&machine.hv).set_paging_pool(64 << 12, 999), Ok(Progress::Done));
    domain.memory.lock().max_pages = pages;
    for page in 0..pages {
        assert_eq!(domain.on(&machine.hv).populate(Gfn(RAM_BASE.0 + page), 0), Ok(()));
    }
    domain
}

#[test]
fn the_end_of_a_domain() {
    let mut machine = Machine::new(1, 1 << 14);
    let _first = Guest::boot(&mut machine, CONTROL);
    let wanted = NewDomain { vcpus: 128, max_port: 4095, grant_frames: Some(64), ..request() };
    let domain = built(&machine, &wanted, 2000);
    for _ in 0..4000 {
        domain.events.lock().alloc_unbound(DomId(0)).expect("a port");
    }
    assert!(destroy(&mut machine, &domain) > 20);
}

#[test]
fn the_search_for_a_stray_frame() {
    const PAGES: u64 = 1 << 16;
    const BLOCK: u8 = 9;
    let mut machine = Machine::new(1, PAGES);
    let _first = Guest::boot(&mut machine, CONTROL);
    // All but the end of the memory is in use, so that the domain's pages are there.
    let take = |order| machine.hv.frames.alloc(order, DomId(0), Kind::Ram, Content::Any);
    let mut blocks: Vec<Mfn> = core::iter::from_fn(|| take(BLOCK)).collect();
    let pages: Vec<Mfn> = core::iter::from_fn(|| take(0)).collect();
    blocks.sort();
    let give = |mfn, order| assert!(machine.hv.frames.free(mfn, order, DomId(0)).is_ok());
    blocks.drain(blocks.len() - 4..).for_each(|block| give(block, BLOCK));
    // More than what was promised to the first domain, which nobody could take.
    const OWN: u64 = 600;
    let domain = built(&machine, &request(), OWN);
    let last = Gfn(RAM_BASE.0 + OWN - 1);
    let stray = domain.lookup(last).expect("it has it").mfn;
    // Only the mapping goes.
    assert_eq!(domain.on(&machine.hv).remove_mapping(last), Ok(()));
    blocks.into_iter().for_each(|block| give(block, BLOCK));
    pages.into_iter().for_each(|page| give(page, 0));
    let stays = destroy(&mut machine, &domain);
    assert_eq!(machine.hv.frames.owner_of(stray), Err(FrameError::NotInUse));
    let before = stray.0 - machine.all_frames().next().expect("a frame").0;
    assert!(before > PAGES / 2 && stays > before / (16 << 10), "{stays} stays for {before} frames");
}

/// A request about so many blocks of 2 MiB, whose frames are in a list.
fn blocks(list: u64, count: u64) -> Reservation {
    Reservation {
        extent_start: list.into(),
        nr_extents: count,
        extent_order: 9,
        domid: SELF,
        ..Reservation::default()
    }
}

#[test]
fn blocks_of_memory() {
    const BLOCK: u64 = 0x8_0000;
    let mut machine = Machine::new(1, 1 << 13);
    let guest = Guest::boot(&mut machine, CONTROL);
    guest.domain.memory.lock().max_pages = 4096;
    let list = guest.page(&machine, 2);
    machine.poke(&guest.domain, list, &BLOCK);
    for (what, op) in [("populate", 6), ("populate again", 6), ("decrease", 1)] {
        let mut request = blocks(list, 1);
        let done = short(what, || guest.call(&mut machine, Hypercall::MemoryOp, op, &mut request));
        assert_eq!(done, 1, "{what}");
    }
    // What `populate again` replaced is the domain's own, and mapped nowhere.
    assert_eq!(guest.domain.memory.lock().pages, CONTROL.pages + 512);
    assert!((BLOCK..BLOCK + 512).all(|gfn| guest.domain.lookup(Gfn(gfn)).is_err()));
    assert_eq!(machine.audit(), Ok(()));
}

/// Frames that a domain that is no more had lent, and that nobody else has any more, go where a block is populated over them.
#[test]
fn a_block_in_place_of_mappings_that_were_the_last() {
    const BLOCK: u64 = 0x8_0000;
    const PAGES: u64 = 512;
    let mut machine = Machine::new(1, 1 << 14);
    let guest = Guest::boot(&mut machine, CONTROL);
    assert_eq!(guest.domain.on(&machine.hv).set_paging_pool(64 << 12, 999), Ok(Progress::Done));
    let lender = built(&machine, &request(), PAGES);
    for page in 0..PAGES {
        let to = Gfn(BLOCK + page);
        let mapped = guest.domain.on(&machine.hv).map_foreign(&lender, Gfn(RAM_BASE.0 + page), to);
        assert_eq!(mapped, Ok(()));
    }
    let id = lender.id;
    destroy(&mut machine, &lender);
    drop(lender);
    assert!(machine.hv.domain(id).is_some(), "its frames are still in use");
    let list = guest.page(&machine, 2);
    machine.poke(&guest.domain, list, &BLOCK);
    let mut request = blocks(list, 1);
    // Without leave to have so much, nothing goes.
    let mut populate = |machine: &mut Machine| guest.call(machine, Hypercall::MemoryOp, 6, &mut request);
    assert_eq!(populate(&mut machine), 0);
    assert!(guest.domain.lookup(Gfn(BLOCK + 511)).is_ok());
    guest.domain.memory.lock().max_pages = 4096;
    assert_eq!(short("populate", || populate(&mut machine)), 1);
    assert!(machine.hv.domain(id).is_none(), "nobody has its frames");
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn an_extent_is_given_back_in_pieces() {
    const BLOCK: u64 = 0x8_0000;
    let mut machine = Machine::new(1, 1 << 13);
    let guest = Guest::boot(&mut machine, CONTROL);
    guest.domain.memory.lock().max_pages = 4096;
    for block in [BLOCK, BLOCK + 512] {
        assert_eq!(guest.domain.on(&machine.hv).populate(Gfn(block), 9), Ok(()));
    }
    let (at, list) = (guest.scratch(&machine), guest.page(&machine, 2));
    machine.poke(&guest.domain, list, &[BLOCK, BLOCK + 512]);
    let request = blocks(list, 2);
    machine.poke(&guest.domain, at, &request);
    let (done, rounds) = guest.call_in_rounds(&mut machine, Hypercall::MemoryOp, [1, at, 0, 0, 0]);
    assert_eq!((done, rounds), (2, 2 * 512 / 16));
    assert_eq!(guest.domain.memory.lock().pages, CONTROL.pages);
    // Who says that pages are done keeps them; and there are no more extents than the command has room for.
    let claim = |machine: &mut Machine, nr_extents, command| {
        machine.poke(&guest.domain, at, &Reservation { nr_extents, ..request });
        machine.hypercall(guest.cpu, Hypercall::MemoryOp.number(), [command, at, 0, 0, 0])
    };
    assert_eq!(guest.domain.on(&machine.hv).populate(Gfn(BLOCK), 9), Ok(()));
    assert_eq!(claim(&mut machine, 1, 1 | 500 << 48), Some(1));
    assert_eq!(guest.domain.memory.lock().pages, CONTROL.pages + 500);
    assert_eq!(claim(&mut machine, 1, 1 | 0xffff << 48), Some(1));
    assert_eq!(claim(&mut machine, u64::MAX, 1 | 7 << 6), Some(7));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_fifo_form_of_events() {
    let (mut machine, guest) = Guest::alone();
    for _ in 0..4000 {
        guest.domain.events.lock().alloc_unbound(DomId(0)).expect("a port");
    }
    // Whatever the guest writes there: each port is pending.
    for word in 0..64 {
        let offset = core::mem::offset_of!(SharedInfo, evtchn_pending) + 8 * word;
        guest.domain.shared_info.word64(offset).expect("a word").store(u64::MAX);
    }
    let control = Gfn(guest.page(&machine, 12) >> 12);
    let mut init = InitControl { control_gfn: control, ..InitControl::default() };
    let call = Hypercall::EventChannelOp;
    assert_eq!(short("init_control", || guest.call(&mut machine, call, 11, &mut init)), 0);
    for page in 1..5 {
        let mut expand = ExpandArray { array_gfn: Gfn(control.0 + page) };
        assert_eq!(short("expand_array", || guest.call(&mut machine, call, 12, &mut expand)), 0);
    }
}

#[test]
fn a_large_grant_table() {
    const FRAMES: u32 = 1024;
    let mut machine = Machine::new(1, 1 << 15);
    let guest = Guest::boot(&mut machine, CONTROL);
    let wanted = NewDomain { grant_frames: Some(FRAMES), ..request() };
    let list = guest.page(&machine, 2);
    let new = |machine: &Machine| short("create", || built(machine, &wanted, 0));

    let domain = new(&machine);
    let mut setup =
        SetupTable { dom: domain.id, nr_frames: FRAMES, frame_list: list.into(), ..SetupTable::default() };
    assert_eq!(short("setup_table", || guest.grant_op(&mut machine, 2, &mut setup)), 0);
    assert_eq!((setup.status, domain.grants.lock().size()), (0, (FRAMES, FRAMES)));

    let domain = new(&machine);
    let last = u64::from(FRAMES) - 1;
    let mut add = AddToPhysmap { domid: domain.id, space: 1, idx: last, gpfn: RAM_BASE, size: 0 };
    let call = Hypercall::MemoryOp;
    assert_eq!(short("add_to_physmap", || guest.call(&mut machine, call, 7, &mut add)), 0);
    assert_eq!(domain.grants.lock().size(), (FRAMES, FRAMES));

    let domain = new(&machine);
    let mut acquire = AcquireResource {
        domid: domain.id,
        kind: 1,
        frame: last,
        nr_frames: 1,
        frame_list: list.into(),
        ..AcquireResource::default()
    };
    machine.poke(&guest.domain, list, &0x9_0000_u64);
    assert_eq!(short("acquire_resource", || guest.call(&mut machine, call, 28, &mut acquire)), 0);
    assert_eq!(domain.grants.lock().size(), (FRAMES, FRAMES));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_grant_table_is_set_up_in_pieces() {
    let mut machine = Machine::new(1, 1 << 13);
    let guest = Guest::boot(&mut machine, CONTROL);
    let domain = built(&machine, &NewDomain { grant_frames: Some(200), ..request() }, 0);
    for index in 0..200 {
        domain.grants.lock().set_gfn(index, Gfn(1000 + index));
    }
    let (at, list) = (guest.scratch(&machine), guest.page(&machine, 2));
    let setup =
        SetupTable { dom: domain.id, nr_frames: 200, frame_list: list.into(), ..SetupTable::default() };
    machine.poke(&guest.domain, at, &setup);
    let (result, rounds) = guest.call_in_rounds(&mut machine, Hypercall::GrantTableOp, [2, at, 1, 0, 0]);
    assert_eq!(result, 0);
    // The table grows by 16 frames at a time, and 64 are told.
    assert_eq!(rounds, 200 / 16 + 200 / 64 + 1);
    let told: [u64; 200] = machine.peek(&guest.domain, list);
    assert_eq!(told, [u64::MAX; 200], "they were mapped nowhere");
    // Who says that they are told is told the rest.
    domain.grants.lock().set_gfn(130, Gfn(7));
    machine.poke(&guest.domain, list, &[5_u64; 200]);
    assert_eq!(guest.plain(&mut machine, Hypercall::GrantTableOp, [2 | 2 << 12, at, 1, 0, 0]), 0);
    let told: [u64; 200] = machine.peek(&guest.domain, list);
    assert_eq!([told[0], told[127], told[128], told[130]], [5, 5, u64::MAX, 7]);
    assert_eq!(guest.plain(&mut machine, Hypercall::GrantTableOp, [2 | 0xf_ffff << 12, at, 1, 0, 0]), 0);
}

fn sysctl(machine: &mut Machine, guest: &Guest, op: SysctlOp, payload: Payload) -> i64 {
    let at = guest.scratch(machine);
    let call = Sysctl { cmd: op.number(), interface_version: INTERFACE_VERSION, payload };
    machine.poke(&guest.domain, at, &call);
    guest.plain(machine, Hypercall::Sysctl, [at, 0, 0, 0, 0])
}

#[test]
fn many_domains() {
    let mut machine = Machine::new(1, 1 << 16);
    let guest = Guest::boot(&mut machine, CONTROL);
    for _ in 0..20 {
        short("create", || built(&machine, &NewDomain { vcpus: 128, ..request() }, 1));
    }
    let buffer = guest.page(&machine, 5).into();
    let list = GetDomainInfoList { max_domains: 1000, buffer, ..GetDomainInfoList::default() };
    let list = Payload::of(&list);
    assert_eq!(short("list", || sysctl(&mut machine, &guest, SysctlOp::GetDomainInfoList, list)), 0);
}

#[test]
fn the_memory_of_a_large_domain() {
    const PAGES: u64 = 3000;
    let mut machine = Machine::new(2, 1 << 14);
    let _first = Guest::boot(&mut machine, CONTROL);
    let driver = Guest::boot(&mut machine, OTHER).domain;
    let guest = built(&machine, &request(), PAGES);
    let mut from = Some(Gfn(0));
    while let Some(next) = from {
        from = short("set/way", || guest.clean_memory(next));
    }
    let mut done = 0;
    while done < PAGES {
        let first = Gfn(RAM_BASE.0 + done);
        done += short("cache_flush", || guest.clean_frames(first, PAGES - done)).expect("it has it");
    }
    // What the driver domain has of the guest is taken away.
    assert_eq!(guest.allow_device_model(&driver), Ok(()));
    assert_eq!(driver.on(&machine.hv).set_paging_pool(64 << 12, 999), Ok(Progress::Done));
    for page in 0..1000 {
        let mapped = driver.on(&machine.hv).map_foreign(&guest, Gfn(RAM_BASE.0 + page), Gfn(0x9_0000 + page));
        assert_eq!(mapped, Ok(()));
    }
    while guest.on(&machine.hv).forbid_device_model(driver.id) {}
    let mut progress = Some(0);
    while let Some(from) = progress {
        progress = short("forbid", || driver.on(&machine.hv).unmap_foreign_of(guest.id, from));
    }
    assert!((0..1000).all(|page| driver.lookup(Gfn(0x9_0000 + page)).is_err()));
    assert_eq!(machine.audit(), Ok(()));
}

/// All servers, ports and ranges that there can be, each range beside another server's: a claim in front of them all, and all the
/// ways in which servers end.
#[cfg(feature = "ioreq")]
#[test]
fn all_servers_of_a_large_guest() {
    use xenolith_policy::ioreq::{RANGES, SERVERS, ServerId};

    let mut machine = Machine::new(2, 1 << 15);
    let control = Guest::boot(&mut machine, CONTROL);
    let wanted = NewDomain { vcpus: 128, max_port: 4095, ..request() };
    let all = |machine: &Machine, driver: &Domain, guest: &Domain| -> Vec<ServerId> {
        assert_eq!(guest.allow_device_model(driver), Ok(()));
        let create = || short("create", || guest.on(&machine.hv).create_server(driver)).expect("a server");
        let servers: Vec<_> = (0..SERVERS).map(|_| create()).collect();
        for number in (0..RANGES as u64).rev() {
            let (server, first) = (servers[number as usize % SERVERS], number * 0x100);
            let map = || guest.map_range(server, driver.id, first, first + 0x7f);
            assert_eq!(short("map", map), Ok(()));
        }
        let unmap = || guest.unmap_range(servers[0], driver.id, 0, 0x7f);
        assert_eq!(short("unmap", unmap), Ok(()));
        servers
    };
    let guest = built(&machine, &wanted, 1);
    let driver = built(&machine, &request(), 1);
    let servers = all(&machine, &driver, &guest);
    let hv = &machine.hv;
    let destroy_server = || guest.on(hv).destroy_server(servers[7], Some(driver.id));
    assert_eq!(short("destroy_ioreq_server", destroy_server), Ok(()));
    while short("forbid", || guest.on(hv).forbid_device_model(driver.id)) {}
    assert!(!guest.io.has_server_of(driver.id));
    // The driver domain ends, and then the guest.
    all(&machine, &driver, &guest);
    destroy(&mut machine, &driver);
    assert!(!guest.io.has_server_of(driver.id));
    let driver = built(&machine, &request(), 1);
    all(&machine, &driver, &guest);
    destroy(&mut machine, &guest);
    drop(control);
}
