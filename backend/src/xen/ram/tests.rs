use super::*;
use crate::xen::Mapping;
use proptest::prelude::*;
use std::collections::BTreeSet;
use vm_memory::{Bytes, GuestAddress};
use xenolith_abi::{DomId, Gfn};

const PAGE: u64 = 4096;
const BASE: u64 = 0x4000_0000;

/// A guest that lacks some frames, seen through a kernel that takes batches up to some length.
#[derive(Default)]
struct Fake {
    gone: Mutex<BTreeSet<u64>>,
    longest: Option<usize>,
    batches: Mutex<Vec<usize>>,
    /// Frames that go after so many batches, one at each.
    shrinking: bool,
}

impl Foreign for Fake {
    fn map(&self, _domain: DomId, frames: &[Gfn]) -> Result<Batch, Errno> {
        self.batches.lock().unwrap().push(frames.len());
        if self.longest.is_some_and(|longest| frames.len() > longest) {
            return Err(Errno::NOMEM);
        }
        let mut gone = self.gone.lock().unwrap();
        if self.shrinking {
            gone.insert(frames[frames.len() / 2].0);
        }
        let refused: Vec<_> = (0..)
            .zip(frames)
            .filter(|(_, frame)| gone.contains(&frame.0))
            .map(|(index, _)| (index, Errno::INVAL))
            .collect();
        if !refused.is_empty() {
            return Ok(Batch::Refused(refused));
        }
        Ok(Batch::Mapped(pages(frames)))
    }
}

/// Pages that hold their frames' numbers.
fn pages(frames: &[Gfn]) -> Mapping {
    let mapping = Mapping::anonymous(frames.len() * 4096).unwrap();
    for (index, frame) in frames.iter().enumerate() {
        mapping.slice().write_obj(frame.0, index * 4096).unwrap();
    }
    mapping
}

fn bank(pages: u64) -> Bank {
    Bank { base: BASE, size: pages * PAGE }
}

fn part(page: u64, pages: u32) -> Part {
    Part { address: GuestAddress(BASE + page * PAGE), len: pages * PAGE as u32 }
}

/// These pages have left, as the hypervisor tells.
fn stale(pages: &[u64]) -> StalePages {
    let address = |page: &u64| BASE + page * PAGE;
    let (first, last) = (pages.iter().min().unwrap(), pages.iter().max().unwrap());
    let classes =
        pages.iter().fold(0, |classes, page| classes | xenolith_abi::ioreq::stale_class(address(page)));
    StalePages { range: address(first)..address(last) + PAGE, classes }
}

impl Fake {
    /// Batches since the last call.
    fn calls(&self) -> usize {
        std::mem::take(&mut *self.batches.lock().unwrap()).len()
    }

    fn gone(&self, pages: impl IntoIterator<Item = u64>) {
        self.gone.lock().unwrap().extend(pages.into_iter().map(|page| BASE / PAGE + page));
    }

    fn back(&self, pages: impl IntoIterator<Item = u64>) {
        let mut gone = self.gone.lock().unwrap();
        pages.into_iter().for_each(|page| {
            gone.remove(&(BASE / PAGE + page));
        });
    }
}

fn frame_at(ram: &GuestRam, page: u64) -> Option<u64> {
    ram.memory().read_obj(GuestAddress(BASE + page * PAGE)).ok()
}

#[test]
fn a_chunk_is_mapped_when_it_is_touched_and_only_once() {
    let fake = Arc::new(Fake::default());
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(512 * 4 + 7)]).unwrap();
    assert_eq!(*fake.batches.lock().unwrap(), [512], "the first, to see that it can be");
    for _ in 0..2 {
        assert_eq!(frame_at(&ram, 512 * 3 - 1), Some(BASE / PAGE + 512 * 3 - 1));
        assert_eq!(frame_at(&ram, 512 * 4 + 6), Some(BASE / PAGE + 512 * 4 + 6));
        assert_eq!(frame_at(&ram, 512 * 4 + 7), None);
    }
    assert_eq!(*fake.batches.lock().unwrap(), [512, 512, 7]);
    assert_eq!(ram.holes(), []);
}

#[test]
fn an_access_crosses_from_chunk_to_chunk() {
    let ram = GuestRam::map(Arc::new(Fake::default()), DomId(1), &[bank(1024)]).unwrap();
    let (memory, at) = (ram.memory(), GuestAddress(BASE + 512 * PAGE - 3000));
    let data: Vec<u8> = (0..6000u32).map(|value| value as u8).collect();
    memory.write_slice(&data, at).unwrap();
    let mut back = vec![0; 6000];
    memory.read_slice(&mut back, at).unwrap();
    assert_eq!(data, back);
}

#[test]
fn a_chunk_is_mapped_around_its_holes() {
    let hole = BASE / PAGE + 512 + 3;
    let fake = Arc::new(Fake { gone: Mutex::new([hole].into()), ..Fake::default() });
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(1024)]).unwrap();
    assert_eq!(frame_at(&ram, 511), Some(BASE / PAGE + 511));
    assert_eq!(frame_at(&ram, 512 + 2), Some(BASE / PAGE + 512 + 2));
    assert_eq!(frame_at(&ram, 512 + 3), None);
    assert_eq!(frame_at(&ram, 512 + 4), Some(BASE / PAGE + 512 + 4));
    assert_eq!(*fake.batches.lock().unwrap(), [512, 512, 508, 3]);
    fake.gone.lock().unwrap().clear();
    assert!(ram.rescan(part(512 + 3, 1)));
    assert_eq!(frame_at(&ram, 512 + 3), Some(hole));
}

#[test]
fn a_kernel_without_room_is_asked_again() {
    let fake = Arc::new(Fake { longest: Some(0), ..Fake::default() });
    let error = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(2048)]).err().unwrap();
    assert_eq!(error.errno(), Some(Errno::NOMEM));

    let fake = Arc::new(Fake { longest: Some(500), ..Fake::default() });
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(512 + 500)]).unwrap();
    assert_eq!(frame_at(&ram, 0), None);
    assert_eq!(frame_at(&ram, 512), Some(BASE / PAGE + 512));
    assert_eq!(ram.holes(), [bank(512)]);
}

#[test]
fn a_guest_that_refuses_every_page_is_an_error_that_names_the_first() {
    let first = BASE / PAGE;
    let fake = Fake { gone: Mutex::new((first..first + 4).collect()), ..Fake::default() };
    let error = GuestRam::map(Arc::new(fake), DomId(9), &[bank(4)]).err().unwrap();
    assert!(
        matches!(error, Error::Page { domain: DomId(9), frame, source: Errno::INVAL, .. } if frame == Gfn(first))
    );
}

#[test]
fn banks_that_overlap_or_are_of_half_pages_are_refused() {
    let overlap = [bank(3), bank(2)];
    for banks in [
        &overlap[..],
        &[][..],
        &[Bank { base: BASE, size: 0 }],
        &[Bank { base: BASE + 1, size: PAGE }],
        &[Bank { base: BASE, size: 100 }],
        &[Bank { base: u64::MAX - PAGE + 1, size: PAGE }],
    ] {
        let error = GuestRam::map(Arc::new(Fake::default()), DomId(1), banks).err();
        assert!(matches!(error, Some(Error::Unfit(_))), "{banks:x?}");
    }
}

#[test]
fn a_page_that_comes_back_is_found_again() {
    let frame = BASE / PAGE + 3;
    let fake = Arc::new(Fake { gone: Mutex::new([frame].into()), ..Fake::default() });
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(8)]).unwrap();
    assert_eq!(ram.holes(), [Bank { base: frame * PAGE, size: PAGE }]);
    assert_eq!(frame_at(&ram, 3), None);
    assert!(!ram.rescan(part(3, 1)));
    fake.gone.lock().unwrap().clear();
    fake.batches.lock().unwrap().clear();
    assert!(ram.rescan(part(3, 1)));
    assert_eq!(frame_at(&ram, 3), Some(frame));
    assert_eq!(*fake.batches.lock().unwrap(), [8], "as a whole");
    assert!(!ram.rescan(part(3, 1)));
    assert_eq!(fake.calls(), 1);
}

#[test]
fn a_look_costs_two_calls_at_most_however_many_holes_there_are() {
    let fake = Arc::new(Fake::default());
    fake.gone((0..512 * 60).filter(|page| page % 2 == 1));
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(512 * 60)]).unwrap();
    for chunk in 0..60 {
        frame_at(&ram, chunk * 512);
    }
    fake.calls();
    assert!(!ram.rescan(part(1, 1)));
    assert!(fake.calls() <= 2);
    assert!(!ram.rescan(part(0, 512 * 60)), "all of it");
    assert!(fake.calls() <= 2);
    // What was never RAM is not looked for.
    for outside in
        [part(512 * 60, 1), part(512 * 60 - 1, 2), Part { address: GuestAddress(u64::MAX), len: 9 }]
    {
        assert!(!ram.rescan(outside));
    }
    assert!(!ram.rescan(Part { address: GuestAddress(BASE - 1), len: 9 }));
    assert_eq!(fake.calls(), 0);
    // One of many that is back is found, and by a second look the next one.
    fake.back([3, 7]);
    for page in [3, 7] {
        assert!(ram.rescan(part(page, 1)));
        assert_eq!(frame_at(&ram, page), Some(BASE / PAGE + page));
        assert!(fake.calls() <= 2);
        assert!(ram.memory().read_slice(&mut [0; 3 * 4096], GuestAddress(BASE + (page - 1) * PAGE)).is_ok());
    }
    assert_eq!(frame_at(&ram, 5), None);
}

#[test]
fn a_page_that_leaves_costs_the_piece_that_it_was_in() {
    let fake = Arc::new(Fake::default());
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(512 * 60)]).unwrap();
    let touch_all = || (0..512 * 60).filter(|page| frame_at(&ram, *page).is_some()).count();
    assert_eq!((touch_all(), fake.calls()), (512 * 60, 60));
    fake.gone([700]);
    ram.refresh(&stale(&[700]));
    assert_eq!((touch_all(), fake.calls()), (512 * 60 - 1, 3), "around the hole, and nothing else");
    // Far apart: of 64 chunks each has a class of its own.
    fake.gone([0, 512 * 60 - 1]);
    ram.refresh(&stale(&[0, 512 * 60 - 1]));
    assert_eq!((touch_all(), fake.calls()), (512 * 60 - 3, 4));
    // In a chunk in holes it is a small piece.
    fake.gone((512..1024).filter(|page| page % 2 == 1));
    ram.refresh(&stale(&(512..1024).filter(|page| page % 2 == 1).collect::<Vec<_>>()));
    touch_all();
    fake.calls();
    fake.gone([600]);
    ram.refresh(&stale(&[600]));
    touch_all();
    assert!(fake.calls() <= 1);
    // Xen does not say which.
    ram.refresh(&StalePages::ALL);
    assert_eq!(fake.calls(), 0);
    touch_all();
    assert!(fake.calls() >= 60);
}

#[test]
fn a_refresh_drops_pages_at_once_and_maps_them_at_the_next_use() {
    let fake = Arc::new(Fake::default());
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(8)]).unwrap();
    let old = Arc::downgrade(&ram.memory());
    ram.refresh(&stale(&[3]));
    assert!(old.upgrade().is_none());
    assert_eq!(fake.batches.lock().unwrap().len(), 1);
    fake.gone.lock().unwrap().insert(BASE / PAGE);
    assert_eq!(frame_at(&ram, 0), None);
    assert_eq!(frame_at(&ram, 1), Some(BASE / PAGE + 1));
}

#[test]
fn a_guest_that_gives_up_pages_all_the_time_ends_the_tries() {
    let fake = Arc::new(Fake { shrinking: true, ..Fake::default() });
    let result = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(4096)]);
    assert!(result.is_err());
    assert!(fake.batches.lock().unwrap().len() < 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_there_is_reached_and_nothing_else(gone in prop::collection::btree_set(0u64..200, 0..199)) {
        let frames = gone.iter().map(|page| BASE / PAGE + page).collect();
        let fake = Fake { gone: Mutex::new(frames), ..Fake::default() };
        let ram = GuestRam::map(Arc::new(fake), DomId(1), &[bank(200)]).unwrap();
        for page in 0..200 {
            let expected = (!gone.contains(&page)).then_some(BASE / PAGE + page);
            prop_assert_eq!(frame_at(&ram, page), expected);
        }
        let holes: u64 = ram.holes().iter().map(|hole| hole.size / PAGE).sum();
        prop_assert_eq!(holes, gone.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Pages leave and come back in any order: what is there is reached, as it is now, when it has been looked for, and what
    /// is not there never is.
    #[test]
    fn pages_come_and_go(
        steps in prop::collection::vec((any::<bool>(), prop::collection::btree_set(0u64..1100, 1..40), 0..1100u64), 1..30),
    ) {
        let fake = Arc::new(Fake::default());
        let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(1100)]).unwrap();
        for (leave, pages, touched) in steps {
            let _ = frame_at(&ram, touched);
            if leave {
                fake.gone(pages.iter().copied());
                ram.refresh(&stale(&pages.into_iter().collect::<Vec<_>>()));
            } else {
                fake.back(pages.iter().copied());
                for page in &pages {
                    while frame_at(&ram, *page).is_none() {
                        prop_assert!(ram.rescan(part(*page, 1)), "{}", page);
                    }
                }
            }
            fake.calls();
            for page in 0..1100 {
                let is_gone = fake.gone.lock().unwrap().contains(&(BASE / PAGE + page));
                let found = frame_at(&ram, page);
                prop_assert!(!is_gone || found.is_none(), "{} is gone", page);
                if !is_gone && found.is_none() {
                    prop_assert!(ram.rescan(part(page, 1)));
                }
                prop_assert!(is_gone || frame_at(&ram, page) == Some(BASE / PAGE + page));
            }
        }
    }
}
