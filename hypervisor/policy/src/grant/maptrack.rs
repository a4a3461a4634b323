//! What a domain has mapped of others' frames, by the handles that it got for them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use xenolith_abi::grant::GrantStatus;

use super::Rights;
use xenolith_core::bug;
use xenolith_core::types::{DomId, Gfn, Mfn};

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

#[derive(Clone, Copy, Debug)]
enum HandleSlot {
    Free {
        next: Option<u32>,
    },
    /// A call in progress has the [`Handle`].
    Taken,
    Live(Mapping),
}

/// Handles in a piece of the list: as many as Xen keeps in a frame, which is the unit of the limit.
const PIECE: u32 = 256;

/// The list. It grows by pieces up to its limit, and never shrinks.
#[derive(Debug)]
pub struct Maptrack {
    pieces: Vec<Box<[HandleSlot]>>,
    free: Option<u32>,
    max_pieces: u32,
    live: u32,
}

impl Maptrack {
    /// An empty list for at most `max_frames` (`max_maptrack_frames`) times 256 mappings at a time.
    pub fn new(max_frames: u32) -> Self {
        Maptrack { pieces: Vec::new(), free: None, max_pieces: max_frames, live: 0 }
    }

    fn slot(&mut self, number: u32) -> Option<&mut HandleSlot> {
        let piece = self.pieces.get_mut(usize::try_from(number / PIECE).ok()?)?;
        piece.get_mut(usize::try_from(number % PIECE).ok()?)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX).saturating_mul(PIECE)
    }

    /// Adds a piece of free handles; only when none is free.
    fn grow(&mut self) -> Option<()> {
        let first = self.len();
        if first / PIECE >= self.max_pieces {
            return None;
        }
        let end = first.checked_add(PIECE)?;
        let mut piece = Vec::new();
        piece.try_reserve_exact(PIECE as usize).ok()?;
        piece.extend(
            (first..end)
                .map(|number| HandleSlot::Free { next: number.checked_add(1).filter(|&next| next < end) }),
        );
        self.pieces.try_reserve(1).ok()?;
        self.pieces.push(piece.into_boxed_slice());
        self.free = Some(first);
        Some(())
    }

    /// Takes a free handle. `NoSpace`: the limit is reached, or there is no memory.
    pub fn reserve(&mut self) -> Result<Handle, GrantStatus> {
        if self.free.is_none() {
            self.grow().ok_or(GrantStatus::NoSpace)?;
        }
        let number = self.free.ok_or(GrantStatus::NoSpace)?;
        let slot = self.slot(number).ok_or(GrantStatus::NoSpace)?;
        let HandleSlot::Free { next } = *slot else {
            bug!("a handle on the free list is in use");
            return Err(GrantStatus::NoSpace);
        };
        *slot = HandleSlot::Taken;
        self.free = next;
        Ok(Handle(number))
    }

    /// Makes the handle stand for a mapping.
    pub fn fill(&mut self, handle: Handle, mapping: Mapping) {
        let Some(slot) = self.slot(handle.0) else { return bug!("a handle without a slot") };
        *slot = HandleSlot::Live(mapping);
        self.live = self.live.saturating_add(1);
    }

    /// Takes the mapping that a handle stands for, if `wanted` says that it is meant: nobody else can take it then.
    /// `BadHandle`: it stands for none.
    pub fn take(
        &mut self,
        number: u32,
        wanted: impl FnOnce(&Mapping) -> Result<(), GrantStatus>,
    ) -> Result<(Handle, Mapping), GrantStatus> {
        let slot = self.slot(number).ok_or(GrantStatus::BadHandle)?;
        let HandleSlot::Live(mapping) = *slot else { return Err(GrantStatus::BadHandle) };
        wanted(&mapping)?;
        // Not free yet: the number must not mean a new mapping while the old one is being taken away.
        *slot = HandleSlot::Taken;
        self.live = self.live.saturating_sub(1);
        Ok((Handle(number), mapping))
    }

    /// Whether the handle stands for a mapping: `BadHandle` if not.
    pub fn check(&mut self, number: u32) -> Result<(), GrantStatus> {
        match self.slot(number) {
            Some(HandleSlot::Live(_)) => Ok(()),
            _ => Err(GrantStatus::BadHandle),
        }
    }

    /// Makes the handle free.
    pub fn give_back(&mut self, handle: Handle) {
        let next = self.free;
        let Some(slot) = self.slot(handle.0) else { return bug!("a handle without a slot") };
        *slot = HandleSlot::Free { next };
        self.free = Some(handle.0);
    }

    /// The first handle from `from` on that stands for a mapping, among the next `budget` ones; or else where to go
    /// on, if the list does not end there.
    pub fn next_live(&self, from: u32, budget: u32) -> Result<u32, Option<u32>> {
        let end = from.saturating_add(budget).min(self.len());
        let live = |&number: &u32| {
            let piece = self.pieces.get((number / PIECE) as usize);
            let slot = piece.and_then(|piece| piece.get((number % PIECE) as usize));
            matches!(slot, Some(HandleSlot::Live(_)))
        };
        (from..end).find(live).ok_or((end < self.len()).then_some(end))
    }

    /// How many mappings there are.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Number of handles that a call in progress has taken.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.pieces.iter().flatten().filter(|slot| matches!(slot, HandleSlot::Taken)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPING: Mapping =
        Mapping { granter: DomId(1), reference: 2, rights: Rights::ReadOnly, gfn: Gfn(3), mfn: Mfn(4) };

    #[test]
    fn handles_count_up_end_at_the_limit_and_are_used_again() {
        let mut maptrack = Maptrack::new(2);
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
        let mut maptrack = Maptrack::new(1);
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
