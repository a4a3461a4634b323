use super::*;
use crate::xen::Mapping;
use proptest::prelude::*;
use std::collections::BTreeSet;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

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
    fn map(&self, _domain: u16, frames: &[u64]) -> Result<Batch, Errno> {
        self.batches.lock().unwrap().push(frames.len());
        if self.longest.is_some_and(|longest| frames.len() > longest) {
            return Err(Errno::NOMEM);
        }
        let mut gone = self.gone.lock().unwrap();
        if self.shrinking {
            gone.insert(frames[frames.len() / 2]);
        }
        let refused: Vec<_> = (0..)
            .zip(frames)
            .filter(|(_, frame)| gone.contains(frame))
            .map(|(index, _)| (index, Errno::INVAL))
            .collect();
        if !refused.is_empty() {
            return Ok(Batch::Refused(refused));
        }
        let mapping = Mapping::anonymous(frames.len() * 4096)?;
        for (index, frame) in frames.iter().enumerate() {
            mapping.slice().write_obj(*frame, index * 4096).unwrap();
        }
        Ok(Batch::Mapped(mapping))
    }
}

fn bank(pages: u64) -> Bank {
    Bank { base: BASE, size: pages * PAGE }
}

fn frame_at(ram: &GuestRam, page: u64) -> Option<u64> {
    ram.memory().read_obj(GuestAddress(BASE + page * PAGE)).ok()
}

#[test]
fn all_is_one_region_where_the_kernel_takes_it() {
    let fake = Arc::new(Fake::default());
    let ram = GuestRam::map(Arc::clone(&fake) as _, 1, &[bank(1000)]).unwrap();
    assert_eq!(ram.memory().num_regions(), 1);
    assert_eq!(*fake.batches.lock().unwrap(), [1000]);
    assert_eq!(frame_at(&ram, 999), Some(BASE / PAGE + 999));
    assert_eq!(frame_at(&ram, 1000), None);
}

#[test]
fn batches_are_of_a_bounded_length() {
    let fake = Arc::new(Fake::default());
    let ram = GuestRam::map(Arc::clone(&fake) as _, 1, &[bank(batch::BATCH_PAGES * 2 + 7)]).unwrap();
    assert_eq!(*fake.batches.lock().unwrap(), [32768, 32768, 7]);
    assert_eq!(ram.memory().num_regions(), 3);
}

#[test]
fn a_kernel_without_room_gets_smaller_batches() {
    let fake = Arc::new(Fake { longest: Some(600), ..Fake::default() });
    let ram = GuestRam::map(Arc::clone(&fake) as _, 1, &[bank(2048)]).unwrap();
    assert_eq!(ram.holes(), []);
    assert_eq!(frame_at(&ram, 2047), Some(BASE / PAGE + 2047));

    let none = Arc::new(Fake { longest: Some(0), ..Fake::default() });
    let error = GuestRam::map(none, 1, &[bank(2048)]).err().unwrap();
    assert_eq!(error.errno(), Some(Errno::NOMEM));
}

#[test]
fn a_guest_that_refuses_every_page_is_an_error_that_names_the_first() {
    let first = BASE / PAGE;
    let fake = Fake { gone: Mutex::new((first..first + 4).collect()), ..Fake::default() };
    let error = GuestRam::map(Arc::new(fake), 9, &[bank(4)]).err().unwrap();
    assert!(matches!(error, Error::Page { domain: 9, frame, source: Errno::INVAL, .. } if frame == first));
}

#[test]
fn banks_of_half_pages_are_refused() {
    for banks in [
        &[][..],
        &[Bank { base: BASE, size: 0 }],
        &[Bank { base: BASE + 1, size: PAGE }],
        &[Bank { base: BASE, size: 100 }],
        &[Bank { base: u64::MAX - PAGE + 1, size: PAGE }],
    ] {
        let error = GuestRam::map(Arc::new(Fake::default()), 1, banks).err();
        assert!(matches!(error, Some(Error::Unfit(_))), "{banks:x?}");
    }
}

#[test]
fn a_page_that_comes_back_is_found_again() {
    let frame = BASE / PAGE + 3;
    let fake = Arc::new(Fake { gone: Mutex::new([frame].into()), ..Fake::default() });
    let ram = GuestRam::map(Arc::clone(&fake) as _, 1, &[bank(8)]).unwrap();
    assert_eq!(ram.holes(), [Bank { base: frame * PAGE, size: PAGE }]);
    assert_eq!(frame_at(&ram, 3), None);
    assert!(!ram.look_again());
    fake.gone.lock().unwrap().clear();
    fake.batches.lock().unwrap().clear();
    assert!(ram.look_again());
    assert_eq!(*fake.batches.lock().unwrap(), [1]);
    assert_eq!(frame_at(&ram, 3), Some(frame));
    assert!(!ram.look_again());
}

#[test]
fn a_refresh_drops_pages_at_once_and_maps_them_at_the_next_use() {
    let fake = Arc::new(Fake::default());
    let ram = GuestRam::map(Arc::clone(&fake) as _, 1, &[bank(8)]).unwrap();
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
    let result = GuestRam::map(Arc::clone(&fake) as _, 1, &[bank(4096)]);
    assert!(result.is_err());
    assert!(fake.batches.lock().unwrap().len() < 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_there_is_reached_and_nothing_else(
        gone in prop::collection::btree_set(0u64..200, 0..199),
        longest in prop::option::of(600usize..1000),
    ) {
        let frames = gone.iter().map(|page| BASE / PAGE + page).collect();
        let fake = Fake { gone: Mutex::new(frames), longest, ..Fake::default() };
        let ram = GuestRam::map(Arc::new(fake), 1, &[bank(200)]).unwrap();
        for page in 0..200 {
            let expected = (!gone.contains(&page)).then_some(BASE / PAGE + page);
            prop_assert_eq!(frame_at(&ram, page), expected);
        }
        let holes: u64 = ram.holes().iter().map(|hole| hole.size / PAGE).sum();
        prop_assert_eq!(holes, gone.len() as u64);
        let bytes: u64 = ram.memory().iter().map(|region| region.len()).sum();
        prop_assert_eq!(bytes / PAGE, 200 - gone.len() as u64);
    }
}
