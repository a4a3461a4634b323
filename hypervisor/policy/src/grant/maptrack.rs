//! What a domain has mapped of others' frames, by the handles that it got for them.

use xenolith_abi::Errno;
use xenolith_abi::grant::GrantStatus;

use super::Rights;
use xenolith_core::bug;
use xenolith_core::types::{DomId, Gfn, Mfn};
use xenolith_memory::pieces::Pieces;

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The domain whose frame it is.
    pub granter: DomId,
    /// The number of its grant entry.
    pub reference: u32,
    /// With which rights.
    pub rights: Rights,
    /// The guest frame of the mapping domain at which it was mapped.
    pub gfn: Gfn,
    /// The machine frame that was mapped.
    pub mfn: Mfn,
}

/// A handle that belongs to one call until the call fills it or gives it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Handle(u32);

impl Handle {
    /// Its number in the ABI.
    pub fn number(&self) -> u32 {
        self.0
    }
}

/// What a handle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandleState {
    Free {
        next: Option<u32>,
    },
    /// A call in progress has the [`Handle`].
    Taken,
    Live(Mapping),
}

/// The state of a handle in 16 bytes, so that a page has as many as a frame of Xen's.
///
/// Of the first word the upper two bits say which state it is. With a mapping, the rest of it is the reference and the machine
/// frame, and the second word the rights, the granter, and the guest frame; with a free handle, the second word is the number
/// after the next free one, or 0.
#[derive(Clone, Copy, Debug)]
struct HandleSlot([u64; 2]);

impl HandleSlot {
    const TAG: u32 = 62;
    const FREE: u64 = 0;
    const TAKEN: u64 = 1;
    const LIVE: u64 = 2;
    /// Bits of a frame number: addresses have 52 at most.
    const FRAME: u32 = 40;
    /// Bits of a reference: a table of 8192 frames, twice the largest, has no more.
    const REFERENCE: u32 = Self::TAG - Self::FRAME;
    const GRANTER: u32 = Self::FRAME;
    const WRITABLE: u32 = Self::GRANTER + u16::BITS;

    fn pack(state: HandleState) -> Self {
        match state {
            HandleState::Free { next } => {
                Self([Self::FREE << Self::TAG, next.map_or(0, |next| u64::from(next).saturating_add(1))])
            }
            HandleState::Taken => Self([Self::TAKEN << Self::TAG, 0]),
            HandleState::Live(mapping) => {
                let Mapping { granter, reference, rights, gfn, mfn } = mapping;
                if reference >> Self::REFERENCE != 0 || (gfn.0 | mfn.0) >> Self::FRAME != 0 {
                    bug!("a mapping of reference {reference} of {granter} at {gfn}");
                }
                let writable = u64::from(rights == Rights::ReadWrite);
                Self([
                    Self::LIVE << Self::TAG | u64::from(reference) << Self::FRAME | mfn.0,
                    writable << Self::WRITABLE | u64::from(granter.0) << Self::GRANTER | gfn.0,
                ])
            }
        }
    }

    fn state(self) -> HandleState {
        let Self([first, second]) = self;
        let bits = |word: u64, low: u32, count: u32| word >> low & ((1 << count) - 1);
        match first >> Self::TAG {
            Self::LIVE => HandleState::Live(Mapping {
                granter: DomId(bits(second, Self::GRANTER, u16::BITS) as u16),
                reference: bits(first, Self::FRAME, Self::REFERENCE) as u32,
                rights: match bits(second, Self::WRITABLE, 1) {
                    0 => Rights::ReadOnly,
                    _ => Rights::ReadWrite,
                },
                gfn: Gfn(bits(second, 0, Self::FRAME)),
                mfn: Mfn(bits(first, 0, Self::FRAME)),
            }),
            Self::TAKEN => HandleState::Taken,
            _ => HandleState::Free { next: second.checked_sub(1).and_then(|next| u32::try_from(next).ok()) },
        }
    }
}

/// Handles in a page of the list: as many as Xen keeps in a frame, which is the unit of the limit.
const PIECE: u32 = Pieces::<HandleSlot>::STEP as u32;
const _: () = assert!(PIECE == 256);

/// The list. It grows by pages up to its limit, and never shrinks.
#[derive(Debug)]
pub struct Maptrack {
    slots: Pieces<HandleSlot>,
    free: Option<u32>,
    live: u32,
}

impl Maptrack {
    /// Pages that the list can come to take.
    pub const fn pages(max_frames: u32) -> u64 {
        max_frames as u64
    }

    /// An empty list for at most `max_frames` (`max_maptrack_frames`) times 256 mappings at a time. `ENOMEM`: no memory.
    pub fn new(max_frames: u32) -> Result<Self, Errno> {
        let most = (max_frames as usize).checked_mul(PIECE as usize);
        let slots = most.and_then(Pieces::try_new).ok_or(Errno::ENOMEM)?;
        Ok(Maptrack { slots, free: None, live: 0 })
    }

    fn state(&self, number: u32) -> Option<HandleState> {
        self.slots.get(number).map(|slot| slot.state())
    }

    /// Changes what a handle is. False: there is no such handle.
    fn set(&mut self, number: u32, state: HandleState) -> bool {
        self.slots.get_mut(number).map(|slot| *slot = HandleSlot::pack(state)).is_some()
    }

    fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Adds a page of free handles; only when none is free.
    fn grow(&mut self) -> Option<()> {
        let first = self.len();
        let end = first.checked_add(PIECE)?;
        let next = |number: usize| u32::try_from(number).ok()?.checked_add(1).filter(|&next| next < end);
        self.slots.grow(|number| HandleSlot::pack(HandleState::Free { next: next(number) })).ok()?;
        self.free = Some(first);
        Some(())
    }

    /// Takes a free handle. `NoSpace`: the limit is reached, or there is no memory.
    pub fn reserve(&mut self) -> Result<Handle, GrantStatus> {
        if self.free.is_none() {
            self.grow().ok_or(GrantStatus::NoSpace)?;
        }
        let number = self.free.ok_or(GrantStatus::NoSpace)?;
        let Some(HandleState::Free { next }) = self.state(number) else {
            bug!("a handle on the free list is in use");
            return Err(GrantStatus::NoSpace);
        };
        self.set(number, HandleState::Taken);
        self.free = next;
        Ok(Handle(number))
    }

    /// Makes the handle stand for a mapping.
    pub fn fill(&mut self, handle: Handle, mapping: Mapping) {
        if !self.set(handle.0, HandleState::Live(mapping)) {
            return bug!("a handle without a slot");
        }
        self.live = self.live.saturating_add(1);
    }

    /// Takes the mapping that a handle stands for, if `wanted` says that it is meant: nobody else can take it then.
    /// `BadHandle`: it stands for none.
    pub fn take(
        &mut self,
        number: u32,
        wanted: impl FnOnce(&Mapping) -> Result<(), GrantStatus>,
    ) -> Result<(Handle, Mapping), GrantStatus> {
        let Some(HandleState::Live(mapping)) = self.state(number) else {
            return Err(GrantStatus::BadHandle);
        };
        wanted(&mapping)?;
        // Not free yet: the number must not mean a new mapping while the old one is being taken away.
        self.set(number, HandleState::Taken);
        self.live = self.live.saturating_sub(1);
        Ok((Handle(number), mapping))
    }

    /// Whether the handle stands for a mapping: `BadHandle` if not.
    pub fn check(&self, number: u32) -> Result<(), GrantStatus> {
        match self.state(number) {
            Some(HandleState::Live(_)) => Ok(()),
            _ => Err(GrantStatus::BadHandle),
        }
    }

    /// Makes the handle free.
    pub fn give_back(&mut self, handle: Handle) {
        let next = self.free;
        if !self.set(handle.0, HandleState::Free { next }) {
            return bug!("a handle without a slot");
        }
        self.free = Some(handle.0);
    }

    /// The first handle from `from` on that stands for a mapping, among the next `budget` ones; or else where to go
    /// on, if the list does not end there.
    pub fn next_live(&self, from: u32, budget: u32) -> Result<u32, Option<u32>> {
        let end = from.saturating_add(budget).min(self.len());
        let live = |&number: &u32| matches!(self.state(number), Some(HandleState::Live(_)));
        (from..end).find(live).ok_or((end < self.len()).then_some(end))
    }

    /// Gives a page of handles back, of a domain that makes no more calls and has nothing mapped. False when there is none
    /// left: to be asked until then.
    pub fn shrink(&mut self) -> bool {
        self.free = None;
        self.live == 0 && self.slots.shrink()
    }

    /// How many mappings there are.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Number of handles that a call in progress has taken.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state() == HandleState::Taken).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn mapping()(
            granter: u16,
            reference in 0_u32..1 << HandleSlot::REFERENCE,
            writes: bool,
            gfn in 0_u64..1 << HandleSlot::FRAME,
            mfn in 0_u64..1 << HandleSlot::FRAME,
        ) -> Mapping {
            let rights = if writes { Rights::ReadWrite } else { Rights::ReadOnly };
            Mapping { granter: DomId(granter), reference, rights, gfn: Gfn(gfn), mfn: Mfn(mfn) }
        }
    }

    proptest! {
        #[test]
        fn what_a_slot_says_is_what_was_put_into_it(mapping in mapping(), next: Option<u32>) {
            for state in [HandleState::Free { next }, HandleState::Taken, HandleState::Live(mapping)] {
                prop_assert_eq!(HandleSlot::pack(state).state(), state);
            }
        }
    }

    const MAPPING: Mapping =
        Mapping { granter: DomId(1), reference: 2, rights: Rights::ReadOnly, gfn: Gfn(3), mfn: Mfn(4) };

    #[test]
    fn handles_count_up_end_at_the_limit_and_are_used_again() {
        let mut maptrack = Maptrack::new(2).unwrap();
        for number in 0..2 * PIECE {
            let handle = maptrack.reserve().unwrap();
            assert_eq!(handle.number(), number);
            maptrack.fill(handle, MAPPING);
        }
        assert_eq!(maptrack.reserve(), Err(GrantStatus::NoSpace));
        let (handle, mapping) = maptrack.take(7, |_| Ok(())).unwrap();
        assert_eq!(mapping, MAPPING);
        assert_eq!(maptrack.take(7, |_| Ok(())), Err(GrantStatus::BadHandle), "another call has it");
        assert_eq!(maptrack.reserve(), Err(GrantStatus::NoSpace));
        maptrack.give_back(handle);
        assert_eq!(maptrack.reserve().unwrap().number(), 7);
        assert_eq!(maptrack.live(), 2 * PIECE - 1);
    }

    #[test]
    fn a_handle_that_stands_for_nothing_is_bad() {
        let mut maptrack = Maptrack::new(1).unwrap();
        assert_eq!(maptrack.take(0, |_| Ok(())), Err(GrantStatus::BadHandle));
        let handle = maptrack.reserve().unwrap();
        for number in [0, 1, PIECE, u32::MAX] {
            assert_eq!(maptrack.take(number, |_| Ok(())), Err(GrantStatus::BadHandle));
        }
        maptrack.fill(handle, MAPPING);
        let refused = maptrack.take(0, |_| Err(GrantStatus::GeneralError));
        assert_eq!(refused, Err(GrantStatus::GeneralError));
        assert_eq!(maptrack.live(), 1);
        assert_eq!(maptrack.next_live(0, 9), Ok(0));
        assert_eq!(maptrack.next_live(1, 9), Err(Some(10)));
        assert_eq!(maptrack.next_live(1, PIECE), Err(None));
    }
}
