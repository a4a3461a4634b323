//! The frame table against a ledger: a plain list of who has what, compared with the tables after every call.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::arena;

/// Notes which frames are wiped, and touches none.
#[derive(Default)]
struct Noted(Mutex<Vec<u64>>);

impl Scrub for Noted {
    fn scrub(&self, page: Page) {
        self.0.lock().unwrap().push(page.mfn().0);
    }
}

impl Noted {
    fn take(&self) -> Vec<u64> {
        core::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Plays an instruction cache that holds on to every frame which was wiped, until all is forgotten; counts how often it is.
#[derive(Default)]
struct Executed(Mutex<(Vec<u64>, u32)>);

impl Scrub for Executed {
    fn scrub(&self, page: Page) {
        self.0.lock().unwrap().0.push(page.mfn().0);
    }

    fn forget_instructions(&self) {
        let (held, times) = &mut *self.0.lock().unwrap();
        held.clear();
        *times += 1;
    }
}

impl Executed {
    /// Whether it holds on to a frame, and how often it has forgotten all.
    fn holds(&self, frames: core::ops::Range<u64>) -> (bool, u32) {
        let (held, times) = &*self.0.lock().unwrap();
        (held.iter().any(|frame| frames.contains(frame)), *times)
    }
}

fn range(first: u64, pages: u64) -> FrameRange {
    FrameRange { first: Mfn(first), pages }
}

/// A machine whose frames are only numbers.
fn numbers(banks: &[FrameRange], reserved: &[FrameRange]) -> (Frames, &'static Noted) {
    let noted: &'static Noted = Box::leak(Box::default());
    // SAFETY: no frame is touched: wiping only notes its number, and these tests use no page of a frame or table.
    let frames = unsafe { Frames::new(banks, reserved, arena::storage(banks), noted) }.unwrap();
    (frames, noted)
}

const A: DomId = DomId(1);
const B: DomId = DomId(2);

fn ram(frames: &Frames, order: u8, owner: DomId) -> Option<Mfn> {
    frames.alloc(order, owner, Kind::Ram, Content::Any)
}

#[test]
fn storage_is_two_bits_and_a_word_for_each_frame() {
    // 64 GiB in three banks that begin anywhere.
    let banks = [range(0x80_000, 1 << 22), range(0x880_123, 1 << 22), range(0x2_000_000, 1 << 23)];
    let frames = (1_usize << 24) as f64;
    let needed = storage_needed(&banks);
    assert_eq!(needed.table_words, 1 << 24);
    assert!((needed.bitmap_words * 64) as f64 / frames < 2.04);
    assert_eq!(needed.bytes(), (needed.table_words + needed.bitmap_words) * 8);
}

#[test]
fn what_was_promised_is_there_whatever_others_take() {
    let (frames, noted) = numbers(&[range(0x1000, 100)], &[]);
    assert_eq!(frames.promise(101), Err(Short { left: 100 }));
    frames.promise(60).unwrap();
    assert_eq!((frames.free_frames(), frames.available_frames()), (100, 40));
    assert_eq!(frames.promise(41), Err(Short { left: 40 }));
    // By none of the ways in which others get frames.
    assert!(!frames.alloc_exact(range(0x1000, 41), A));
    assert_eq!(frames.alloc_contiguous(41, 0, A), None);
    assert_eq!(ram(&frames, 6, A), None, "64 frames in a row are free");
    assert!(frames.alloc_contiguous(39, 0, A).is_some() && frames.alloc_table(B).is_some());
    assert_eq!((ram(&frames, 0, A), frames.available_frames()), (None, 0));
    assert!(frames.alloc_table(B).is_none() && frames.alloc_root(0, B).is_none());
    noted.take();
    let taken: Vec<Mfn> = core::iter::from_fn(|| frames.alloc_promised()).collect();
    assert_eq!((taken.len(), frames.free_frames()), (60, 0));
    for &mfn in &taken {
        assert_eq!(frames.reference(mfn, DomId::XEN), Err(FrameError::NotShareable));
        frames.free_promised(mfn);
    }
    assert_eq!(noted.take(), [], "a domain's end wipes none of them");
    assert_eq!((frames.free_frames(), ram(&frames, 0, A)), (60, None), "they are kept");
    frames.end_promise(60);
    assert_eq!(frames.alloc_promised(), None);
    assert!(frames.alloc(0, A, Kind::Ram, Content::Zeroed).is_some());
    assert_eq!(noted.take().len(), 1, "but whoever gets one gets it wiped");
    assert!(frames.audit(A).is_ok());
}

#[test]
fn what_is_lent_of_a_promise_goes_back_to_it_whoever_has_it_last() {
    let (frames, _) = numbers(&[range(0x1000, 10)], &[]);
    assert_eq!(frames.alloc(0, A, Kind::Promised, Content::Zeroed), None, "not by this way");
    assert_eq!(frames.lend_promised(A), None, "nothing was promised");
    frames.promise(2).unwrap();
    while ram(&frames, 0, B).is_some() {}
    for owner_is_last in [false, true] {
        let lent = [(); 2].map(|()| frames.lend_promised(A).expect("it was promised"));
        assert_eq!((frames.lend_promised(A), frames.free_frames()), (None, 0));
        for mfn in lent {
            assert_eq!(frames.reference(mfn, A), Ok(()));
            let given_up = |freed| assert_eq!(frames.free(mfn, 0, A), Ok(freed));
            if owner_is_last {
                assert_eq!(frames.release(mfn), Ok(Release::StillUsed));
                given_up(1);
            } else {
                given_up(0);
                assert_eq!(frames.release(mfn), Ok(Release::Freed { owner: A, kind: Kind::Promised }));
            }
        }
        assert_eq!((frames.free_frames(), frames.available_frames(), ram(&frames, 0, B)), (2, 0, None));
    }
    frames.end_promise(2);
    assert!(ram(&frames, 1, B).is_some() && frames.audit(A).is_ok());
}

#[test]
fn setup_refuses_what_it_cannot_describe() {
    let try_new = |banks: &[FrameRange], storage| {
        // SAFETY: no frame is touched.
        unsafe { Frames::new(banks, &[], storage, &ZeroAndClean) }.err()
    };
    let many = [range(1, 0); MAX_BANKS + 1];
    assert_eq!(try_new(&many, arena::storage(&many)), Some(SetupError::TooManyBanks));
    let overlapping = [range(100, 10), range(109, 10)];
    assert_eq!(try_new(&overlapping, arena::storage(&overlapping)), Some(SetupError::BadBank));
    let banks = [range(100, 10)];
    assert_eq!(try_new(&[range(u64::MAX, 2)], arena::storage(&banks)), Some(SetupError::BadBank));
    assert_eq!(try_new(&[range(100, 9000)], arena::storage(&banks)), Some(SetupError::StorageTooSmall));
}

#[test]
fn reserved_frames_and_frame_0_are_never_given_out() {
    let reserved = [range(10, 5), range(12, 8), range(200, 1), range(1020, 100)];
    let (frames, _) = numbers(&[range(0, 300), range(1000, 30)], &reserved);
    assert_eq!(frames.total(), 330);
    assert_eq!(frames.free_frames(), 330 - 1 - 10 - 1 - 10);
    while let Some(mfn) = ram(&frames, 0, A) {
        assert!(mfn.0 != 0 && !reserved.iter().any(|range| range.contains(mfn)), "{mfn}");
    }
    assert_eq!(frames.free_frames(), 0);
    assert_eq!(frames.audit(A).unwrap().allocated, 308);
    assert_eq!(frames.state(Mfn(10)), Ok(FrameState::Reserved));
    assert_eq!(frames.state(Mfn(300)), Err(FrameError::NotRam));
    assert_eq!(frames.reference(Mfn(u64::MAX), A), Err(FrameError::NotRam));
    // SAFETY: no frame is touched.
    unsafe {
        assert_eq!(frames.reclaim(range(10, 10)), Ok(()));
        assert_eq!(frames.reclaim(range(10, 10)), Err(FrameError::NotReserved));
        assert_eq!(frames.reclaim(range(0, 1)), Err(FrameError::NotReserved));
    }
    assert_eq!(frames.free_frames(), 10);
}

#[test]
fn blocks_are_aligned_and_merge_again() {
    let (frames, _) = numbers(&[range(0x40_000, 1 << 19)], &[]);
    let mut taken = Vec::new();
    for order in [0, 3, 9, 1, 0, 12, 17, 5] {
        let mfn = ram(&frames, order, A).unwrap();
        assert!(mfn.0.is_multiple_of(1 << order));
        taken.push((mfn, order));
    }
    assert!(ram(&frames, 18, A).is_some());
    assert_eq!(ram(&frames, 18, A), None);
    assert_eq!(ram(&frames, 19, A), None);
    for (mfn, order) in taken {
        assert_eq!(frames.free(mfn, order, A), Ok(1 << order));
    }
    assert!(ram(&frames, 18, A).is_some());
    assert_eq!(frames.free_frames(), 0);
}

#[test]
fn an_allocation_can_be_confined_to_a_range() {
    let (frames, _) = numbers(&[range(0x1_0000, 0x4000), range(0x10_0000, 0x1000)], &[]);
    let alloc = |within, order| frames.alloc_in(within, order, A, Kind::Ram, Content::Any);
    assert_eq!(alloc(0x1_0003..0x1_0005, 0), Some(Mfn(0x1_0003)));
    assert_eq!(alloc(0x1_0003..0x1_0005, 0), Some(Mfn(0x1_0004)));
    assert_eq!(alloc(0x1_0003..0x1_0005, 0), None);
    assert_eq!(alloc(0x10_0001..0x10_0400, 9), Some(Mfn(0x10_0200)));
    assert_eq!(alloc(0x10_0001..0x10_0400, 9), None);
    assert_eq!(alloc(0x1_0000..0x1_0008, 2), None);
    assert_eq!(alloc(0x1_0000..0x1_0009, 1), Some(Mfn(0x1_0000)));
    assert_eq!(alloc(u64::MAX - 1..u64::MAX, 18), None);
    assert!(frames.audit(A).is_ok());
}

#[test]
fn mistakes_have_names() {
    let (frames, _) = numbers(&[range(64, 64)], &[]);
    let mfn = ram(&frames, 0, A).unwrap();
    assert_eq!(frames.free(mfn, 0, B), Err(FrameError::WrongOwner));
    assert_eq!(frames.release(mfn), Err(FrameError::NoReference));
    assert_eq!(frames.reference(mfn, B), Err(FrameError::WrongOwner));
    assert_eq!(frames.free(mfn, 19, A), Err(FrameError::BadBlock));
    assert_eq!(frames.free(Mfn(65), 1, A), Err(FrameError::BadBlock));
    assert_eq!(frames.free(mfn, 0, A), Ok(1));
    assert_eq!(frames.free(mfn, 0, A), Err(FrameError::NotInUse));
    assert_eq!(frames.owner_of(mfn), Err(FrameError::NotInUse));
    let own = frames.alloc(0, DomId::XEN, Kind::Hypervisor, Content::Any).unwrap();
    assert_eq!(frames.reference(own, DomId::XEN), Err(FrameError::NotShareable));
    assert_eq!(frames.alloc(0, A, Kind::Table, Content::Any), None);
    let table = frames.alloc_table(A).unwrap();
    assert_eq!(frames.free(table.mfn(), 0, A), Err(FrameError::WrongKind));
    assert_eq!(frames.free_table(table, A), Ok(()));
}

#[test]
fn a_frame_lives_until_its_last_reference_and_is_wiped_then() {
    let (frames, noted) = numbers(&[range(64, 1)], &[]);
    let mfn = frames.alloc(0, A, Kind::Ram, Content::Zeroed).unwrap();
    assert_eq!(noted.take(), [64], "free since boot and never wiped");
    let frame = frames.get_frame(mfn, A).unwrap();
    frames.reference(mfn, A).unwrap();
    assert_eq!(frames.free(mfn, 0, A), Ok(0));
    assert_eq!(frames.free(mfn, 0, A), Err(FrameError::NotAllocated));
    assert_eq!(frames.owner_of(mfn), Ok(A), "nobody else's before the last reference goes");
    assert_eq!(ram(&frames, 0, B), None);
    assert_eq!(frames.audit(A).unwrap().lingering, 1);
    assert_eq!(frames.put_frame(frame), Ok(Release::StillUsed));
    assert_eq!(noted.take(), []);
    assert!(matches!(frames.release(mfn), Ok(Release::Freed { .. })));
    assert_eq!(noted.take(), [64]);
    assert_eq!(frames.alloc(0, B, Kind::Ram, Content::Zeroed), Some(mfn));
    assert_eq!(noted.take(), [], "wiped already");
}

#[test]
#[should_panic(expected = "mfn 0x40 is dropped and not given back")]
fn a_reference_that_is_dropped_is_noticed() {
    let (frames, _) = numbers(&[range(64, 1)], &[]);
    let mfn = frames.alloc(0, A, Kind::Ram, Content::Zeroed).unwrap();
    drop(frames.get_frame(mfn, A).unwrap());
}

#[test]
fn a_reference_may_go_after_the_whole_machine_or_be_left_to_its_number() {
    let (frames, _) = numbers(&[range(64, 1)], &[]);
    let mfn = frames.alloc(0, A, Kind::Ram, Content::Zeroed).unwrap();
    let page = frames.get_frame(mfn, A).unwrap().into_page();
    assert_eq!(frames.release(page.mfn()), Ok(Release::StillUsed));
    let frame = frames.get_frame(mfn, A).unwrap();
    drop(frames);
    assert_eq!(frame.mfn(), mfn);
}

#[test]
fn instructions_of_before_never_reach_a_domain() {
    let executed: &'static Executed = Box::leak(Box::default());
    let bank = range(0x400, 0x100);
    // SAFETY: as in `numbers`.
    let frames = unsafe { Frames::new(&[bank], &[], arena::storage(&[bank]), executed) }.unwrap();
    frames.scrub_all_free();
    assert_eq!(executed.holds(0..u64::MAX), (true, 0), "nobody has them");
    let of = |order, kind| frames.alloc(order, A, kind, Content::Zeroed).unwrap();
    let own = of(0, Kind::Hypervisor);
    assert_eq!(executed.holds(own.0..own.0 + 1), (true, 0), "no domain executes it");
    let first = of(4, Kind::Ram);
    assert_eq!(executed.holds(0..u64::MAX), (false, 1), "once for all of them");
    let others: Vec<Mfn> = (0..32).map(|_| of(0, Kind::Ram)).collect();
    assert_eq!(executed.holds(0..u64::MAX), (false, 1), "and not again");
    for mfn in others {
        assert_eq!(frames.free(mfn, 0, A), Ok(1));
    }
    assert_eq!(frames.free(first, 4, A), Ok(16));
    assert_eq!(executed.holds(0..u64::MAX), (true, 1), "many are given up, and nothing is paid");
    for times in [2, 2, 2] {
        let mfn = of(3, Kind::Shared);
        assert_eq!(executed.holds(mfn.0..mfn.0 + 8), (false, times));
    }
    let any = frames.alloc(0, A, Kind::Ram, Content::Any).unwrap();
    assert_eq!(executed.holds(any.0..any.0 + 1), (false, 2), "it was wiped before");
}

#[test]
fn content_of_before_never_reaches_an_owner() {
    let frames = arena::frames(256, &ZeroAndClean);
    let holds = |mfn: Mfn| {
        let mut bytes = [0; 4096];
        assert!(arena::at(mfn).unwrap().read(0, &mut bytes));
        bytes.iter().fold(0, |all, byte| all | byte)
    };
    let first = ram(&frames, 0, A).unwrap();
    assert_eq!(holds(first), 0xa5, "the test's RAM is dirty");
    let second = frames.alloc(3, A, Kind::Ram, Content::Zeroed).unwrap();
    assert_eq!(holds(second), 0);
    let mut cursor = ScrubCursor::default();
    let mut chunks = 0;
    while frames.scrub_some(&mut cursor) {
        chunks += 1;
        assert!(frames.audit(A).is_ok());
    }
    assert!((4..20).contains(&chunks));
    frames.scrub_all_free();
    assert_eq!(frames.free(first, 0, A), Ok(1));
    assert!(arena::at(second).unwrap().write(100, b"secret"));
    assert_eq!(frames.free(second, 3, A), Ok(8));
    let last = ram(&frames, 8, B);
    for mfn in (0..256).map(|frame| Mfn(last.unwrap().0 + frame)) {
        assert_eq!(holds(mfn), 0);
    }
}

#[test]
fn what_is_being_wiped_counts_as_free_and_goes_to_nobody() {
    let (frames, _) = numbers(&[range(0x1000, 0x40)], &[]);
    let all = range(0x1000, 0x40);
    assert!(frames.buddy.lock().lend(all));
    assert_eq!(frames.free_frames(), 0x40);
    assert_eq!(ram(&frames, 0, A), None);
    frames.buddy.lock().give_lent(all);
    assert_eq!(frames.free_frames(), 0x40);
    assert!(ram(&frames, 0, A).is_some());
    assert_eq!(frames.free_frames(), 0x3f);
}

#[test]
fn a_large_area_is_one_aligned_piece_where_it_can_be() {
    let (frames, _) = numbers(&[range(0x4_0123, 1 << 19)], &[range(0x5_0000, 0x100)]);
    let area = frames.alloc_contiguous(0x2_0000, 9, A).unwrap();
    assert_eq!(area.as_slice(), [range(0x8_0000, 0x2_0000)], "at a gigabyte");
    let area = frames.alloc_contiguous(0x3_8000, 9, A).unwrap();
    assert_eq!(
        area.as_slice(),
        [range(0x5_0200, 0x2_fe00), range(0x4_0200, 0x8200)],
        "the rest is in pieces"
    );
    assert_eq!(frames.audit(A).unwrap().allocated, 0x2_0000 + 0x3_8000);
}

#[test]
fn a_large_area_comes_from_several_banks_or_not_at_all() {
    let banks = [range(0x1000, 0x1000), range(0x8_0000, 0x2400), range(0x20_0000, 0x800)];
    let (frames, _) = numbers(&banks, &[]);
    assert_eq!(frames.alloc_contiguous(0x4000, 9, A), None);
    assert_eq!(frames.free_frames(), 0x3c00);
    assert_eq!(frames.alloc_contiguous(0, 9, A), None);
    assert_eq!(frames.alloc_contiguous(u64::MAX, 9, A), None);
    let area = frames.alloc_contiguous(0x3701, 9, A).unwrap();
    assert_eq!(area.as_slice(), [range(0x8_0000, 0x2400), range(0x1000, 0x1000), range(0x20_0000, 0x301)]);
    assert!(area.iter().all(|piece| frames.owner_of(piece.first) == Ok(A)));
    assert_eq!(frames.audit(A).unwrap().allocated, 0x3701);
}

#[test]
fn low_memory_comes_first_where_most_is_high() {
    // 900 MiB at 1 GiB, 3 GiB at 5 GiB: 512 MiB fit below, 2 GiB do not.
    let banks = [range(0x4_0000, 0x3_8400), range(0x14_0000, 0xc_0000)];
    let low_first = |pages| {
        let (frames, _) = numbers(&banks, &[range(0x4_0200, 0x100)]);
        frames.alloc_below_first(pages, 9, &[ABOVE_4_GIB], A).unwrap().to_vec()
    };
    assert_eq!(low_first(0x2_0000), [range(0x4_0400, 0x2_0000)]);
    assert_eq!(
        low_first(0x8_0000),
        [range(0x4_0400, 0x3_8000), range(0x4_0000, 0x200), range(0x14_0000, 0x4_7e00)]
    );
}

#[test]
fn the_lower_limit_comes_before_the_higher() {
    // A Raspberry Pi 4 with 8 GiB: DMA reaches 1 GiB, of which firmware has the end, and there is more below 4 GiB.
    let banks = [range(0, 0x3_b400), range(0x4_0000, 0xb_c000), range(0x10_0000, 0x10_0000)];
    let below = |pages, limits: &[Mfn]| {
        let (frames, _) = numbers(&banks, &[range(0, 0x400)]);
        frames.alloc_below_first(pages, 9, limits, A).unwrap().to_vec()
    };
    let limits = [Mfn(0x4_0000), ABOVE_4_GIB];
    assert_eq!(below(0x2_0000, &limits), [range(0x400, 0x2_0000)]);
    assert_eq!(below(0x4_0000, &limits), [range(0x400, 0x3_b000), range(0x4_0000, 0x5000)]);
    assert_eq!(below(0x2_0000, &[ABOVE_4_GIB]), [range(0x4_0000, 0x2_0000)], "aligned for large blocks");
    // A limit that no RAM is below changes nothing.
    assert_eq!(below(0x2_0000, &[Mfn(0x400), ABOVE_4_GIB]), [range(0x4_0000, 0x2_0000)]);
}

#[test]
fn memory_that_goes_on_above_the_limit_is_one_piece() {
    let (frames, _) = numbers(&[range(0x4_0000, 0x1c_0000)], &[]);
    let area = frames.alloc_below_first(0x10_0000, 9, &[ABOVE_4_GIB], A).unwrap();
    assert_eq!(area.as_slice(), [range(0x4_0000, 0x10_0000)]);
    // What is left is all high, and that is taken too.
    let area = frames.alloc_below_first(0x1_0000, 9, &[ABOVE_4_GIB], A).unwrap();
    assert_eq!(area.as_slice(), [range(0x14_0000, 0x1_0000)]);
}

#[test]
fn scattered_low_memory_does_not_cost_what_there_is_above() {
    // Eleven pieces above, and more than a handful below.
    let reserved: Vec<FrameRange> = (0..20).map(|hole| range(0x4_0000 + hole * 0x600, 0x200)).collect();
    let above = (0..11).map(|bank| range(0x10_0000 + bank * 0x4000, 0x2000));
    let banks: Vec<FrameRange> = [range(0x4_0000, 20 * 0x600)].into_iter().chain(above).collect();
    let (frames, _) = numbers(&banks, &reserved);
    let all_above = 11 * 0x2000;
    let area = frames.alloc_below_first(all_above + 4 * 0x400, 9, &[ABOVE_4_GIB], A).unwrap();
    let low = area.iter().filter(|piece| piece.first < ABOVE_4_GIB).count();
    assert_eq!((area.len(), low), (15, LOW_PIECES));
}

/// Where "low" ends in machines that are small enough to try many, and log2 of the frames in a block there.
const LIMIT: Mfn = Mfn(0x4000);
const BLOCK: u8 = 4;

/// Banks of RAM on both sides of [`LIMIT`], holes in them, and how many blocks are wanted.
fn layout() -> impl Strategy<Value = (Vec<FrameRange>, Vec<FrameRange>, u64)> {
    let banks = prop::collection::vec((0_u64..0x600, 1_u64..0x900), 1..MAX_BANKS);
    let holes = prop::collection::vec((any::<prop::sample::Index>(), 0_u64..0x900, 1_u64..0x40), 0..10);
    (1_u64..LIMIT.0, banks, holes, 1_u64..0x600).prop_map(|(first, banks, holes, wanted)| {
        let mut next = first;
        let place = |(gap, pages)| {
            let bank = range(next + gap, pages);
            next = bank.end();
            bank
        };
        let banks: Vec<FrameRange> = banks.into_iter().map(place).collect();
        let hole =
            |(bank, at, pages): (prop::sample::Index, _, _)| range(bank.get(&banks).first.0 + at, pages);
        let holes = holes.into_iter().map(hole).collect();
        (banks, holes, wanted)
    })
}

/// Frames below [`LIMIT`] in each free run, which is cut to whole blocks; the longest first.
fn low_runs(frames: &Frames) -> Vec<u64> {
    let buddy = frames.buddy.lock();
    let (mut runs, mut from) = (Vec::new(), 0);
    while let Some(run) = buddy.next_run(from) {
        from = run.end();
        let first = run.first.0.next_multiple_of(1 << BLOCK);
        runs.push((run.end().min(LIMIT.0) >> BLOCK << BLOCK).saturating_sub(first));
    }
    runs.sort_unstable_by_key(|&pages| core::cmp::Reverse(pages));
    runs
}

proptest! {
    // Each case looks at all runs for every piece, which takes long in a build for tests.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever RAM there is: the size is kept, the pieces are few, and as much lies low as that allows.
    #[test]
    fn low_memory_comes_first_in_banks_of_any_shape((banks, holes, blocks) in layout()) {
        let pages = blocks << BLOCK;
        let (frames, _) = numbers(&banks, &holes);
        let (free, runs) = (frames.free_frames(), low_runs(&frames));
        let Some(area) = frames.alloc_below_first(pages, BLOCK, &[LIMIT], A) else {
            prop_assert_eq!(frames.free_frames(), free, "nothing was taken");
            let without = frames.alloc_contiguous(pages, BLOCK, A);
            prop_assert_eq!(without, None, "what can be had without a preference can be had with one");
            return Ok(());
        };
        prop_assert_eq!(area.iter().map(|piece| piece.pages).sum::<u64>(), pages);
        prop_assert_eq!(frames.audit(A).unwrap().allocated, pages);
        prop_assert!(area.iter().all(|piece| piece.first.0.is_multiple_of(1 << BLOCK)));
        let low: u64 = area.iter().map(|piece| piece.end().min(LIMIT.0).saturating_sub(piece.first.0)).sum();
        let most: u64 = runs.iter().take(LOW_PIECES).sum();
        // Where all pieces are needed, low ones may have made room for larger ones.
        prop_assert!(area.is_full() || low >= most.min(pages), "{low:#x} of {most:#x} low frames: {area:x?}");
    }
}

/// Advisory 473: whoever gets a reference gets it to the frame of the owner that he named, and the owner stays until it
/// is dropped, whatever another CPU does meanwhile.
#[test]
fn a_reference_never_sees_the_owner_change() {
    let (frames, _) = numbers(&[range(64, 2)], &[]);
    let mfn = Mfn(64);
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for round in 0..20_000 {
                let owner = if round % 2 == 0 { A } else { B };
                if frames.alloc_in(64..65, 0, owner, Kind::Ram, Content::Any).is_some() {
                    frames.free(mfn, 0, owner).unwrap();
                }
            }
        });
        let mut got = 0;
        while !changes.is_finished() {
            for owner in [A, B] {
                if frames.reference(mfn, owner).is_ok() {
                    got += 1;
                    assert_eq!(frames.owner_of(mfn), Ok(owner));
                    assert!(frames.release(mfn).is_ok());
                }
            }
        }
        println!("{got} references taken");
    });
    assert_eq!(frames.audit(A).unwrap().free, 2);
}

/// The model: what each frame that is not free should be.
#[derive(Default)]
struct Ledger(BTreeMap<u64, Used>);

impl Ledger {
    fn drop_one(&mut self, frame: u64) -> bool {
        let used = self.0.get_mut(&frame).unwrap();
        used.references -= 1;
        if used.references > 0 {
            return false;
        }
        self.0.remove(&frame);
        true
    }

    fn check(&self, frames: &Frames) {
        let mut census = frames.audit(A).unwrap();
        for bank in frames.banks.iter().map(|bank| bank.range) {
            for frame in bank.first.0..bank.end() {
                match (self.0.get(&frame), frames.state(Mfn(frame)).unwrap()) {
                    (Some(expected), FrameState::Used(used)) => assert_eq!(*expected, used, "{frame:#x}"),
                    (None, FrameState::Free { .. } | FrameState::Reserved) => {}
                    (expected, state) => panic!("{frame:#x}: {expected:?}, {state:?}"),
                }
            }
        }
        for used in self.0.values().filter(|used| used.owner == A) {
            census.allocated -= u64::from(used.allocated);
            census.lingering -= u64::from(!used.allocated);
            census.foreign_references -= u64::from(used.references) - u64::from(used.allocated);
        }
        assert_eq!((census.allocated, census.lingering, census.foreign_references), (0, 0, 0));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Alloc { order: u8, owner: DomId, kind: Kind },
    AllocIn { low: u64, pages: u64, order: u8, owner: DomId },
    Area { pages: u64, align: u8, owner: DomId },
    Free { frame: u64, order: u8, owner: DomId },
    Reference { frame: u64, owner: DomId },
    Release { frame: u64 },
    Scrub,
}

const FIRST: u64 = 0x3f0;
/// Where the second bank begins, right behind the first.
const SECOND: u64 = FIRST + 0x55;
const FRAMES: u64 = 0x130;

fn step() -> impl Strategy<Value = Step> {
    let owner = prop_oneof![Just(A), Just(B)];
    let frame = FIRST - 2..FIRST + FRAMES + 2;
    let kind = prop_oneof![Just(Kind::Ram), Just(Kind::Shared), Just(Kind::Hypervisor)];
    prop_oneof![
        3 => (0_u8..7, owner.clone(), kind).prop_map(|(order, owner, kind)| Step::Alloc { order, owner, kind }),
        1 => (frame.clone(), 0_u64..64, 0_u8..4, owner.clone())
            .prop_map(|(low, pages, order, owner)| Step::AllocIn { low, pages, order, owner }),
        1 => (1_u64..200, 0_u8..5, owner.clone())
            .prop_map(|(pages, align, owner)| Step::Area { pages, align, owner }),
        4 => (frame.clone(), 0_u8..5, owner.clone()).prop_map(|(frame, order, owner)| Step::Free {
            frame: frame >> order << order,
            order,
            owner,
        }),
        4 => (frame.clone(), owner).prop_map(|(frame, owner)| Step::Reference { frame, owner }),
        4 => frame.prop_map(|frame| Step::Release { frame }),
        1 => Just(Step::Scrub),
    ]
}

impl Ledger {
    fn hand_out(&mut self, frames: core::ops::Range<u64>, owner: DomId, kind: Kind) {
        for frame in frames {
            let used = Used { owner, kind, allocated: true, references: 1 };
            assert_eq!(self.0.insert(frame, used), None, "given out twice");
        }
    }

    /// Makes the call, and the same change here; the answers have to agree.
    fn apply(&mut self, frames: &Frames, noted: &Noted, step: Step) {
        let mut wiped = Vec::new();
        noted.take();
        match step {
            Step::Alloc { order, owner, kind } => {
                if let Some(mfn) = frames.alloc(order, owner, kind, Content::Any) {
                    assert!(mfn.0.is_multiple_of(1 << order));
                    self.hand_out(mfn.0..mfn.0 + (1 << order), owner, kind);
                }
            }
            Step::AllocIn { low, pages, order, owner } => {
                let in_one_bank = |first: u64| first >= SECOND || first + (1 << order) <= SECOND;
                let free = |first: u64| {
                    in_one_bank(first) && (first..first + (1 << order)).all(|frame| self.is_free(frame))
                };
                let fits = (low..low + pages).any(|first| {
                    first % (1 << order) == 0 && first + (1 << order) <= low + pages && free(first)
                });
                let got = frames.alloc_in(low..low + pages, order, owner, Kind::Ram, Content::Any);
                assert_eq!(got.is_some(), fits, "a block is found exactly when there is one");
                if let Some(mfn) = got {
                    assert!(mfn.0 >= low && mfn.0 + (1 << order) <= low + pages);
                    self.hand_out(mfn.0..mfn.0 + (1 << order), owner, Kind::Ram);
                }
            }
            Step::Area { pages, align, owner } => {
                for piece in frames.alloc_contiguous(pages, align, owner).unwrap_or_default() {
                    assert!(piece.first.0.is_multiple_of(1 << align));
                    self.hand_out(piece.first.0..piece.end(), owner, Kind::Ram);
                }
                noted.take();
            }
            Step::Free { frame, order, owner } => {
                let mut expected = Ok(0);
                for frame in frame..frame + (1 << order) {
                    let error = match self.0.get(&frame) {
                        _ if !(FIRST..FIRST + FRAMES).contains(&frame) => Some(FrameError::NotRam),
                        None => Some(FrameError::NotInUse),
                        Some(used) if used.owner != owner => Some(FrameError::WrongOwner),
                        Some(used) if !used.allocated => Some(FrameError::NotAllocated),
                        Some(_) => None,
                    };
                    if let Some(error) = error {
                        expected = Err(error);
                        break;
                    }
                    self.0.get_mut(&frame).unwrap().allocated = false;
                    if self.drop_one(frame) {
                        wiped.push(frame);
                        expected = expected.map(|freed| freed + 1);
                    }
                }
                assert_eq!(frames.free(Mfn(frame), order, owner), expected);
            }
            Step::Reference { frame, owner } => {
                let fits =
                    self.0.get(&frame).is_some_and(|used| used.owner == owner && used.kind.can_be_mapped());
                assert_eq!(frames.reference(Mfn(frame), owner).is_ok(), fits);
                if fits {
                    self.0.get_mut(&frame).unwrap().references += 1;
                }
            }
            Step::Release { frame } => {
                let there =
                    self.0.get(&frame).is_some_and(|used| used.references > u32::from(used.allocated));
                let result = frames.release(Mfn(frame));
                assert_eq!(result.is_ok(), there);
                if there && self.drop_one(frame) {
                    wiped.push(frame);
                    assert!(matches!(result, Ok(Release::Freed { .. })));
                }
            }
            Step::Scrub => {
                frames.scrub_all_free();
                noted.take();
            }
        }
        assert_eq!(noted.take(), wiped, "exactly what was freed is wiped");
    }

    fn is_free(&self, frame: u64) -> bool {
        (FIRST..FIRST + FRAMES).contains(&frame)
            && !RESERVED.contains(Mfn(frame))
            && !self.0.contains_key(&frame)
    }
}

const RESERVED: FrameRange = FrameRange { first: Mfn(FIRST + 0x22), pages: 3 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_agree_after_every_call(steps in proptest::collection::vec(step(), 1..60)) {
        // Two banks side by side: no block may reach across.
        let banks = [range(FIRST, SECOND - FIRST), range(SECOND, FIRST + FRAMES - SECOND)];
        let (frames, noted) = numbers(&banks, &[RESERVED]);
        let mut ledger = Ledger::default();
        for step in steps {
            ledger.apply(&frames, noted, step);
            ledger.check(&frames);
        }
    }
}
