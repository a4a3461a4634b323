//! What is known about one frame, in one word that is only ever changed as a whole.
//!
//! Owner, kind and reference count share the word, so that "is it still this domain's frame?" and "then take a
//! reference" are one step. Xen's advisory 473 is what happens when they are two.

use super::{FrameError, Kind};
use xenolith_core::types::DomId;
use xenolith_hw::atomic::{AtomicU64, Ordering};

/// The state of a machine frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameState {
    /// In the allocator, or on the way out of it. `dirty` frames have not been scrubbed since boot.
    Free {
        /// May hold what was there before the hypervisor started.
        dirty: bool,
    },
    /// Never given to the allocator: firmware, boot modules, the hypervisor's image, these tables.
    Reserved,
    /// Its last reference is gone, and its content is being wiped.
    Scrubbing,
    /// In use, by a domain or by the hypervisor.
    Used(Used),
}

/// A frame in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Whose memory it is.
    pub owner: DomId,
    /// What it serves for.
    pub kind: Kind,
    /// Whether the owner still has it. Without that it lives only until the last other reference goes.
    pub allocated: bool,
    /// References in all; the owner's allocation is one of them. Never 0.
    pub references: u32,
}

const FREE: u8 = 0;
const RESERVED: u8 = 1;
const SCRUBBING: u8 = 2;
const KINDS: [(u8, Kind); 5] =
    [(8, Kind::Hypervisor), (9, Kind::Ram), (10, Kind::Table), (11, Kind::Shared), (12, Kind::Promised)];

const KIND_SHIFT: u32 = 32;
const FLAG_SHIFT: u32 = 40;
const OWNER_SHIFT: u32 = 48;
const ALLOCATED: u64 = 1 << FLAG_SHIFT;
const DIRTY: u64 = 1 << (FLAG_SHIFT + 1);

impl FrameState {
    fn encode(self) -> u64 {
        match self {
            FrameState::Free { dirty } => u64::from(FREE) << KIND_SHIFT | if dirty { DIRTY } else { 0 },
            FrameState::Reserved => u64::from(RESERVED) << KIND_SHIFT,
            FrameState::Scrubbing => u64::from(SCRUBBING) << KIND_SHIFT,
            FrameState::Used(used) => {
                let code =
                    KINDS.iter().find(|(_, kind)| *kind == used.kind).map_or(RESERVED, |&(code, _)| code);
                u64::from(used.owner.0) << OWNER_SHIFT
                    | if used.allocated { ALLOCATED } else { 0 }
                    | u64::from(code) << KIND_SHIFT
                    | u64::from(used.references)
            }
        }
    }

    fn decode(word: u64) -> Self {
        let [r0, r1, r2, r3, code, _, o0, o1] = word.to_le_bytes();
        if let Some(&(_, kind)) = KINDS.iter().find(|&&(known, _)| known == code) {
            return FrameState::Used(Used {
                owner: DomId(u16::from_le_bytes([o0, o1])),
                kind,
                allocated: word & ALLOCATED != 0,
                references: u32::from_le_bytes([r0, r1, r2, r3]),
            });
        }
        match code {
            FREE => FrameState::Free { dirty: word & DIRTY != 0 },
            SCRUBBING => FrameState::Scrubbing,
            _ => FrameState::Reserved,
        }
    }
}

/// The entry of one frame in the frame table.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a>(pub &'a AtomicU64);

impl Entry<'_> {
    pub fn state(self) -> FrameState {
        xenolith_hw::steps::count(1);
        FrameState::decode(self.0.load(Ordering::Acquire))
    }

    /// Whether the frame is free and has not been wiped since boot.
    pub fn is_dirty(self) -> bool {
        xenolith_hw::steps::count(1);
        self.0.load(Ordering::Acquire) == FrameState::Free { dirty: true }.encode()
    }

    /// Whether the frame is in use, and of a kind that domains map.
    pub fn is_mappable(self) -> bool {
        let code = (self.0.load(Ordering::Acquire) >> KIND_SHIFT) as u8;
        KINDS.iter().any(|&(known, kind)| known == code && kind.can_be_mapped())
    }

    /// Changes the state of a frame that no other CPU can reach: one just taken from the allocator, or not yet there.
    pub fn set(self, state: FrameState) {
        self.0.store(state.encode(), Ordering::Release);
    }

    /// One atomic step from the state that is there to the one that `step` derives from it.
    ///
    /// It is repeated only when another CPU completed a step of its own, and no guest can write these words, so each
    /// CPU waits for at most as many steps as there are other CPUs in a trap.
    fn change(
        self,
        mut step: impl FnMut(FrameState) -> Result<FrameState, FrameError>,
    ) -> Result<FrameState, FrameError> {
        let mut found = self.0.load(Ordering::Acquire);
        loop {
            let next = step(FrameState::decode(found))?;
            let swap =
                self.0.compare_exchange_weak(found, next.encode(), Ordering::AcqRel, Ordering::Acquire);
            match swap {
                Ok(_) => return Ok(next),
                Err(other) => found = other,
            }
            xenolith_hw::relax();
        }
    }

    /// Takes one more reference, if `owner` owns the frame at that moment.
    pub fn reference(self, owner: DomId) -> Result<(), FrameError> {
        self.change(|state| {
            let FrameState::Used(used) = state else { return Err(FrameError::NotInUse) };
            if used.owner != owner {
                return Err(FrameError::WrongOwner);
            }
            if !used.kind.can_be_mapped() {
                return Err(FrameError::NotShareable);
            }
            let references = used.references.checked_add(1).ok_or(FrameError::Saturated)?;
            Ok(FrameState::Used(Used { references, ..used }))
        })
        .map(drop)
    }

    /// Drops one reference other than the owner's. When it was the last, owner and kind are returned, and the caller now has
    /// to wipe and free the frame.
    pub fn release(self) -> Result<Option<(DomId, Kind)>, FrameError> {
        // The owner of a frame that others refer to never changes, so what the last round of `change` saw is right.
        let mut last = (DomId::INVALID, Kind::Ram);
        self.change(|state| {
            let FrameState::Used(used) = state else { return Err(FrameError::NotInUse) };
            // The owner's own reference goes by `give_up`, which looks at the owner.
            if used.references <= u32::from(used.allocated) {
                return Err(FrameError::NoReference);
            }
            last = (used.owner, used.kind);
            Ok(Self::less_one(used))
        })
        .map(|state| (state == FrameState::Scrubbing).then_some(last))
    }

    /// Ends the owner's allocation of a frame of the right kind. True as for [`Self::release`].
    pub fn give_up(self, owner: DomId, mut right_kind: impl FnMut(Kind) -> bool) -> Result<bool, FrameError> {
        self.change(|state| {
            let FrameState::Used(used) = state else { return Err(FrameError::NotInUse) };
            if used.owner != owner {
                return Err(FrameError::WrongOwner);
            }
            if !used.allocated {
                return Err(FrameError::NotAllocated);
            }
            if !right_kind(used.kind) {
                return Err(FrameError::WrongKind);
            }
            Ok(Self::less_one(Used { allocated: false, ..used }))
        })
        .map(|state| state == FrameState::Scrubbing)
    }

    /// Makes `to` the owner of RAM that only `from`, its owner, refers to.
    pub fn transfer(self, from: DomId, to: DomId) -> Result<(), FrameError> {
        self.change(|state| {
            let FrameState::Used(used) = state else { return Err(FrameError::NotInUse) };
            if used.owner != from {
                return Err(FrameError::WrongOwner);
            }
            if used.kind != Kind::Ram {
                return Err(FrameError::WrongKind);
            }
            // Whoever else has it mapped was let in by the old owner, and would see what the new one writes.
            if !used.allocated || used.references != 1 {
                return Err(FrameError::StillUsed);
            }
            Ok(FrameState::Used(Used { owner: to, ..used }))
        })
        .map(drop)
    }

    /// Takes a reserved frame for the caller, who has to free it.
    pub fn reclaim(self) -> Result<(), FrameError> {
        self.change(|state| match state {
            // A state that nobody else acts on: of two callers one gets the frame.
            FrameState::Reserved => Ok(FrameState::Scrubbing),
            _ => Err(FrameError::NotReserved),
        })
        .map(drop)
    }

    fn less_one(used: Used) -> FrameState {
        match used.references.saturating_sub(1) {
            0 => FrameState::Scrubbing,
            references => FrameState::Used(Used { references, ..used }),
        }
    }
}

#[cfg(test)]
mod interleavings;

#[cfg(any(test, kani))]
mod proofs {
    use super::*;

    xenolith_core::proofs! {
        // What no state is encoded as is read as reserved, which nobody can use.
        fn any_word_is_a_state_that_is_kept(word: u64) {
            let state = FrameState::decode(word);
            assert_eq!(FrameState::decode(state.encode()), state);
        }

        fn a_frame_in_use_is_read_as_it_was_written(
            owner: u16,
            kind: u8,
            allocated: bool,
            references: u32,
        ) {
            let (_, kind) = KINDS[usize::from(kind) % KINDS.len()];
            let state = FrameState::Used(Used { owner: DomId(owner), kind, allocated, references });
            assert_eq!(FrameState::decode(state.encode()), state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(references: u32) -> Used {
        Used { owner: DomId(3), kind: Kind::Ram, allocated: true, references }
    }

    #[test]
    fn states_without_an_owner_survive_encoding() {
        for state in [
            FrameState::Free { dirty: true },
            FrameState::Free { dirty: false },
            FrameState::Reserved,
            FrameState::Scrubbing,
        ] {
            assert_eq!(FrameState::decode(state.encode()), state);
        }
    }

    #[test]
    fn a_full_count_refuses_and_does_not_wrap() {
        let word = AtomicU64::new(FrameState::Used(used(u32::MAX - 1)).encode());
        let entry = Entry(&word);
        assert_eq!(entry.reference(DomId(3)), Ok(()));
        assert_eq!(entry.reference(DomId(3)), Err(FrameError::Saturated));
        assert_eq!(entry.state(), FrameState::Used(used(u32::MAX)));
        assert_eq!(entry.release(), Ok(None));
    }

    #[test]
    fn only_ram_that_nobody_else_uses_gets_another_owner() {
        let word = AtomicU64::new(FrameState::Used(used(1)).encode());
        let entry = Entry(&word);
        assert_eq!(entry.transfer(DomId(4), DomId(5)), Err(FrameError::WrongOwner));
        assert_eq!(entry.reference(DomId(3)), Ok(()));
        assert_eq!(entry.transfer(DomId(3), DomId(5)), Err(FrameError::StillUsed));
        assert_eq!(entry.release(), Ok(None));
        assert_eq!(entry.transfer(DomId(3), DomId(5)), Ok(()));
        assert_eq!(entry.state(), FrameState::Used(Used { owner: DomId(5), ..used(1) }));
        entry.set(FrameState::Used(Used { kind: Kind::Table, ..used(1) }));
        assert_eq!(entry.transfer(DomId(3), DomId(5)), Err(FrameError::WrongKind));
        entry.set(FrameState::Free { dirty: false });
        assert_eq!(entry.transfer(DomId(3), DomId(5)), Err(FrameError::NotInUse));
    }

    #[test]
    fn the_owner_s_reference_is_only_the_owner_s_to_drop() {
        let word = AtomicU64::new(FrameState::Used(used(1)).encode());
        let entry = Entry(&word);
        assert_eq!(entry.release(), Err(FrameError::NoReference));
        assert_eq!(entry.give_up(DomId(4), |_| true), Err(FrameError::WrongOwner));
        assert_eq!(entry.reference(DomId(3)), Ok(()));
        assert_eq!(entry.give_up(DomId(3), |_| true), Ok(false));
        assert_eq!(entry.give_up(DomId(3), |_| true), Err(FrameError::NotAllocated));
        assert_eq!(entry.release(), Ok(Some((DomId(3), Kind::Ram))));
        assert_eq!(entry.state(), FrameState::Scrubbing);
        assert_eq!(entry.release(), Err(FrameError::NotInUse));
        assert_eq!(entry.reference(DomId(3)), Err(FrameError::NotInUse));
    }
}
