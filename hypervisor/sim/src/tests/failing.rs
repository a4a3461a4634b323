//! Each allocation of a story fails once, as when another CPU takes at that moment what was there: whatever was asked for is
//! refused by `ENOMEM` and can be asked for again, the books agree in between, and the end is the same as if nothing had failed.
//!
//! Two CPUs play it, with a domain on each; and in a storm allocations fail on all CPUs at any time (`storm`).

use xenolith_abi::Errno;
use xenolith_abi::Port;
use xenolith_abi::event::{AllocUnbound, BindInterdomain, EventOp, ExpandArray, InitControl};
use xenolith_abi::grant::{GrantStatus, map as flag};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::AddToPhysmap;

use super::super::*;
use super::create::request;
use super::foreign::{HOLE, map_foreign};
use super::grants::{granted, map};
use super::support::*;
use crate::heap::{Refuse, refusals, refuse};
use xenolith_domain::parts::progress::Progress;

/// What the story is about: the control domain on a CPU, another domain on another, and one that is made.
struct Story {
    machine: Machine,
    control: Guest,
    other: Guest,
    made: Option<Arc<Domain>>,
    port: Port,
    #[cfg(feature = "ioreq")]
    server: Option<xenolith_policy::ioreq::ServerId>,
}

/// A step of it, which is done or refused.
type Step = (&'static str, fn(&mut Story) -> Result<(), Errno>);

/// What the hypervisor does without being asked by a trap.
fn hypervisor<T>(act: impl FnOnce() -> T) -> T {
    crate::heap::inside(act)
}

fn result(number: i64) -> Result<(), Errno> {
    match Errno::ALL.iter().copied().find(|errno| errno.to_register() as i64 == number) {
        Some(errno) => Err(errno),
        None => Ok(()),
    }
}

impl Story {
    fn new() -> Self {
        let (machine, control, other) = Guest::two();
        Story {
            machine,
            control,
            other,
            made: None,
            port: Port(0),
            #[cfg(feature = "ioreq")]
            server: None,
        }
    }

    fn made(&self) -> &Arc<Domain> {
        self.made.as_ref().expect("it was made")
    }

    fn event<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable>(
        &mut self,
        of: &Guest,
        op: EventOp,
        argument: &mut T,
    ) -> Result<(), Errno> {
        result(of.call(&mut self.machine, Hypercall::EventChannelOp, op.number().into(), argument))
    }

    fn create(&mut self) -> Result<(), Errno> {
        self.made = Some(hypervisor(|| self.machine.hv.create_domain(&request()))?);
        Ok(())
    }

    fn pool(&mut self) -> Result<(), Errno> {
        let domain = self.made().on(&self.machine.hv);
        let done = hypervisor(|| domain.set_paging_pool(16 << PAGE_SHIFT, 99))?;
        assert_eq!(done, Progress::Done);
        Ok(())
    }

    /// A page goes where the last one is not.
    fn populate(&mut self) -> Result<(), Errno> {
        let domain = self.made();
        let number = {
            let mut memory = domain.memory.lock();
            memory.max_pages = 8;
            memory.pages
        };
        let gfn = Gfn(RAM_BASE.0 + number * 600);
        hypervisor(|| domain.on(&self.machine.hv).populate(gfn, 0))
    }

    fn show_grants(&mut self) -> Result<(), Errno> {
        let other = self.other.clone();
        let gpfn = Gfn(other.page(&self.machine, 12) >> PAGE_SHIFT);
        let mut add = AddToPhysmap { domid: SELF, space: 1, idx: 2, gpfn, ..AddToPhysmap::default() };
        result(other.call(&mut self.machine, Hypercall::MemoryOp, 7, &mut add))
    }

    fn offer_port(&mut self) -> Result<(), Errno> {
        let other = self.other.clone();
        let mut offer = AllocUnbound { dom: SELF, remote_dom: DomId(0), ..AllocUnbound::default() };
        self.event(&other, EventOp::AllocUnbound, &mut offer)?;
        self.port = offer.port;
        Ok(())
    }

    fn bind_port(&mut self) -> Result<(), Errno> {
        let control = self.control.clone();
        let mut bind =
            BindInterdomain { remote_dom: DomId(1), remote_port: self.port, ..BindInterdomain::default() };
        self.event(&control, EventOp::BindInterdomain, &mut bind)
    }

    fn control_block(&mut self) -> Result<(), Errno> {
        let other = self.other.clone();
        let gfn = Gfn(other.page(&self.machine, 14) >> PAGE_SHIFT);
        let mut init = InitControl { control_gfn: gfn, ..InitControl::default() };
        self.event(&other, EventOp::InitControl, &mut init)
    }

    fn expand(&mut self) -> Result<(), Errno> {
        let other = self.other.clone();
        let gfn = Gfn(other.page(&self.machine, 15) >> PAGE_SHIFT);
        self.event(&other, EventOp::ExpandArray, &mut ExpandArray { array_gfn: gfn })
    }

    fn map_grant(&mut self) -> Result<(), Errno> {
        let (control, other) = (self.control.clone(), self.other.clone());
        // The table has a frame by now, and its entry is the guest's to write.
        granted(&mut self.machine, &other, 0);
        let at = (HOLE + 20) << PAGE_SHIFT;
        match map(&mut self.machine, &control, at, flag::HOST).status {
            0 => Ok(()),
            status if status == GrantStatus::NoSpace.number() => Err(Errno::ENOMEM),
            status => panic!("status {status}"),
        }
    }

    fn map_foreign(&mut self) -> Result<(), Errno> {
        let control = self.control.clone();
        let from = self.other.page(&self.machine, 30) >> PAGE_SHIFT;
        // Of another table each.
        let errors = map_foreign(&mut self.machine, &control, 1, &[(from, HOLE + 1024)]);
        let errors = errors.expect("the batch itself is sound");
        result(errors[0].into())
    }

    #[cfg(feature = "ioreq")]
    fn serve(&mut self) -> Result<(), Errno> {
        let guest = self.other.domain.on(&self.machine.hv);
        self.server = Some(hypervisor(|| guest.create_server(&self.control.domain))?);
        Ok(())
    }

    #[cfg(feature = "ioreq")]
    fn claim(&mut self) -> Result<(), Errno> {
        let server = self.server.expect("it was made");
        let guest = &self.other.domain;
        for number in 0..40 {
            let first = 0x0200_0000 + number * 0x400;
            let claimed = hypervisor(|| guest.map_range(server, DomId(0), first, first + 0x1ff));
            // Those before the one that failed are there.
            claimed.or_else(|errno| if errno == Errno::EEXIST { Ok(()) } else { Err(errno) })?;
        }
        Ok(())
    }

    #[cfg(feature = "ioreq")]
    fn enable(&mut self) -> Result<(), Errno> {
        let (server, guest) = (self.server.expect("it was made"), self.other.domain.on(&self.machine.hv));
        hypervisor(|| guest.enable_server(server, DomId(0), true))
    }

    #[cfg(feature = "ioreq")]
    fn map_server(&mut self) -> Result<(), Errno> {
        let server = self.server.expect("it was made");
        let control = self.control.domain.on(&self.machine.hv);
        hypervisor(|| control.map_server_frame(&self.other.domain, server, 1, Gfn(HOLE + 2048)))
    }

    fn give_interrupt(&mut self) -> Result<(), Errno> {
        hypervisor(|| self.machine.hv.give_interrupt(Intid(40), DomId(1)))
    }

    fn end_made(&mut self) -> Result<(), Errno> {
        let domain = self.made.take().expect("it was made");
        for _ in 0..1000 {
            match hypervisor(|| self.machine.hv.destroy_domain(&domain, 3)) {
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::Again) => self.machine.settle(),
                Err(errno) => panic!("{errno:?}: the end of a domain needs no memory"),
            }
        }
        panic!("it never ends");
    }

    /// What is there at the end.
    fn end(&self) -> (u64, u64, usize, u64, [u64; 2], [u64; 2]) {
        let (frames, domains) = (&self.machine.hv.frames, [&self.control.domain, &self.other.domain]);
        let held = self.other.domain.events.lock().held_frames() as u64;
        (
            frames.free_frames(),
            frames.promised_frames(),
            self.machine.hv.domain_count(),
            held,
            domains.map(|domain| domain.memory.lock().p2m.tables()),
            domains.map(|domain| domain.memory.lock().pages),
        )
    }
}

const STEPS: &[Step] = &[
    ("createdomain", Story::create),
    ("set_paging_mempool_size", Story::pool),
    ("populate_physmap", Story::populate),
    ("populate_physmap, another table", Story::populate),
    ("populate_physmap, a third table", Story::populate),
    ("add_to_physmap, grant table", Story::show_grants),
    ("alloc_unbound", Story::offer_port),
    ("bind_interdomain", Story::bind_port),
    ("init_control", Story::control_block),
    ("expand_array", Story::expand),
    ("map_grant_ref", Story::map_grant),
    ("add_to_physmap_batch, foreign", Story::map_foreign),
    #[cfg(feature = "ioreq")]
    ("create_ioreq_server", Story::serve),
    #[cfg(feature = "ioreq")]
    ("map_io_range_to_ioreq_server", Story::claim),
    #[cfg(feature = "ioreq")]
    ("set_ioreq_server_state", Story::enable),
    #[cfg(feature = "ioreq")]
    ("acquire_resource", Story::map_server),
    ("an interrupt for a domain", Story::give_interrupt),
    ("destroydomain", Story::end_made),
];

/// Plays the story, with one allocation refused. The end, how many allocations there were, and the step that was refused.
fn play(which: Refuse) -> (Story, u64, Option<&'static str>) {
    let mut story = Story::new();
    let mut failed = None;
    refuse(which);
    for &(name, step) in STEPS {
        let before = refusals().1;
        let mut done = step(&mut story);
        story.machine.settle();
        if done.is_err() {
            assert_eq!((done, refusals().1 - before), (Err(Errno::ENOMEM), 1), "{name}");
            assert_eq!(failed.replace(name), None);
            assert_eq!(story.machine.audit(), Ok(()), "{name} after an allocation failed");
            done = step(&mut story);
            story.machine.settle();
        }
        assert_eq!(done, Ok(()), "{name}, asked for again");
    }
    let (asked, refused) = refusals();
    refuse(Refuse::Never);
    assert_eq!(story.machine.audit(), Ok(()), "after {asked} allocations, of which {refused} failed");
    (story, asked, failed)
}

#[test]
fn each_allocation_of_a_story_fails_once_and_is_asked_for_again() {
    let (whole, allocations, failed) = play(Refuse::Never);
    assert_eq!(failed, None);
    let mut steps = std::collections::BTreeSet::new();
    for after in 0..allocations {
        let (story, asked, failed) = play(Refuse::Once(after));
        assert!(asked > after, "allocation {after} was never made");
        assert_eq!(story.end(), whole.end(), "allocation {after}, of {failed:?}");
        steps.extend(failed);
    }
    println!("{allocations} allocations; refused were {steps:?}");
    let least = if cfg!(feature = "ioreq") { 9 } else { 8 };
    assert!(steps.len() >= least, "only {steps:?} were refused");
    assert!(!steps.contains("destroydomain"));
}
