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
    assert!(ram.rescan());
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
    assert!(!ram.rescan());
    fake.gone.lock().unwrap().clear();
    fake.batches.lock().unwrap().clear();
    assert!(ram.rescan());
    assert_eq!(*fake.batches.lock().unwrap(), [1]);
    assert_eq!(frame_at(&ram, 3), Some(frame));
    assert_eq!(*fake.batches.lock().unwrap(), [1, 8]);
    assert!(!ram.rescan());
}

#[test]
fn a_refresh_drops_pages_at_once_and_maps_them_at_the_next_use() {
    let fake = Arc::new(Fake::default());
    let ram = GuestRam::map(Arc::clone(&fake) as _, DomId(1), &[bank(8)]).unwrap();
    let old = Arc::downgrade(&ram.memory());
    ram.refresh();
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
