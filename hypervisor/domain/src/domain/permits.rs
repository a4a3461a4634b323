//! Devices of the machine that the control domain passes on to others: their registers and their interrupts.
//!
//! Nobody can pass on more than it has: the control domain's own stage 2 and the routes of interrupts say what that is.
//! RAM, the interrupt controller and the hypervisor's own devices are in neither.

use arrayvec::ArrayVec;
use xenolith_abi::Errno;

use crate::hypervisor::Hypervisor;
use xenolith_core::intervals::{IntervalError, Intervals};
use xenolith_core::types::{Gfn, Mfn};
use xenolith_memory::p2m::MapKind;

use super::Domain;

/// Ranges of frames that a domain may have permissions for.
const RANGES: usize = 64;
/// Interrupts that a domain may have permissions for.
const INTERRUPTS: usize = 64;

/// Frames from the first number to before the second.
type Range = (u64, u64);

/// What a domain may be given.
#[derive(Debug, Default)]
pub struct Permits {
    /// Machine frames.
    frames: Intervals,
    interrupts: ArrayVec<u32, INTERRUPTS>,
}

impl Permits {
    /// Whether all frames of the range are permitted.
    pub fn covers(&self, (first, end): Range) -> bool {
        end.checked_sub(1).is_none_or(|last| self.frames.covers(first, last))
    }

    /// Permits the frames, of which there is at least one, or no longer. `ENOSPC`: too many ranges. `ENOMEM`: no memory.
    /// After an error nothing has changed.
    pub fn set_frames(&mut self, (first, end): Range, allow: bool) -> Result<(), Errno> {
        let last = end.checked_sub(1).ok_or(Errno::EINVAL)?;
        let room = RANGES.saturating_sub(self.frames.len());
        self.frames.set(first, last, allow.then_some(()), room).map_err(|error| match error {
            IntervalError::Full => Errno::ENOSPC,
            IntervalError::Memory => Errno::ENOMEM,
            IntervalError::Empty | IntervalError::Overlap | IntervalError::Absent => Errno::EINVAL,
        })
    }

    /// Whether the interrupt is permitted.
    pub fn has_interrupt(&self, intid: u32) -> bool {
        self.interrupts.contains(&intid)
    }

    /// Permits an interrupt, or no longer. `ENOSPC`: too many.
    pub fn set_interrupt(&mut self, intid: u32, allow: bool) -> Result<(), Errno> {
        self.interrupts.retain(|other| *other != intid);
        if allow { self.interrupts.try_push(intid).map_err(|_| Errno::ENOSPC) } else { Ok(()) }
    }
}

impl Domain {
    /// Whether the domain has all these machine frames as device registers, at their own addresses.
    fn has_device(&self, (first, end): Range) -> bool {
        let memory = self.memory.lock();
        let mut reached = first;
        while reached < end {
            let Ok((runs, done)) = memory.p2m.scan(Gfn(reached), end - reached) else { return false };
            let mut next = reached;
            for run in &runs {
                if run.kind != MapKind::Device || run.gfn.0 != next || run.mfn.0 != next {
                    return false;
                }
                next = next.saturating_add(run.pages);
            }
            if next != reached.saturating_add(done) || done == 0 {
                return false;
            }
            reached = next;
        }
        true
    }

    /// Permits this domain to have device registers of the domain `giver`, or no longer. `EINVAL`: the range wraps.
    /// `EPERM`: they are not the giver's. `ENOSPC`: too many ranges. `ENOMEM`: no memory.
    pub fn permit_frames(&self, giver: &Domain, first: Mfn, pages: u64, allow: bool) -> Result<(), Errno> {
        let range = (first.0, first.0.checked_add(pages).ok_or(Errno::EINVAL)?);
        if pages == 0 {
            return Err(Errno::EINVAL);
        }
        if allow && !giver.has_device(range) {
            return Err(Errno::EPERM);
        }
        self.permits.lock().set_frames(range, allow)
    }

    /// Maps device registers that are permitted. `EPERM`: they are not. `EEXIST`: something else is mapped there.
    pub fn map_device(&self, giver: &Domain, gfn: Gfn, mfn: Mfn, pages: u64) -> Result<(), Errno> {
        let range = (mfn.0, mfn.0.checked_add(pages).ok_or(Errno::EINVAL)?);
        if !self.permits.lock().covers(range) || !giver.has_device(range) {
            return Err(Errno::EPERM);
        }
        let mut memory = self.memory.lock();
        if memory.closed {
            return Err(Errno::EINVAL);
        }
        let (runs, _) = memory.p2m.scan(gfn, pages)?;
        let same = |run: &xenolith_memory::p2m::Run| {
            run.kind == MapKind::Device && run.mfn.0.wrapping_sub(mfn.0) == run.gfn.0.wrapping_sub(gfn.0)
        };
        if !runs.iter().all(same) {
            return Err(Errno::EEXIST);
        }
        let missing = (0..pages).filter(|page| {
            !runs.iter().any(|run| {
                let gfn = gfn.0.wrapping_add(*page);
                run.gfn.0 <= gfn && gfn - run.gfn.0 < run.pages
            })
        });
        for page in missing {
            memory.p2m.map(
                Gfn(gfn.0.wrapping_add(page)),
                Mfn(mfn.0.wrapping_add(page)),
                1,
                MapKind::Device,
            )?;
        }
        Ok(())
    }

    /// Takes device registers out again, as far as they are mapped there. `EPERM`: they are not permitted.
    pub fn unmap_device(&self, gfn: Gfn, mfn: Mfn, pages: u64) -> Result<(), Errno> {
        let range = (mfn.0, mfn.0.checked_add(pages).ok_or(Errno::EINVAL)?);
        if !self.permits.lock().covers(range) {
            return Err(Errno::EPERM);
        }
        let mut memory = self.memory.lock();
        for page in 0..pages {
            let gfn = Gfn(gfn.0.checked_add(page).ok_or(Errno::EINVAL)?);
            let found = memory.p2m.lookup(gfn).ok();
            if found.is_some_and(|entry| {
                entry.kind == MapKind::Device && Some(entry.mfn.0) == mfn.0.checked_add(page)
            }) {
                memory.p2m.unmap(gfn, 1)?;
            }
        }
        Ok(())
    }

    /// Permits this domain to have an interrupt of `giver`, or no longer. `EPERM`: it is not the giver's. `EBUSY`: the
    /// domain has it, so that the permission cannot go. `ENOSPC`: too many.
    pub fn permit_interrupt(
        &self,
        hv: &Hypervisor,
        giver: &Domain,
        intid: u32,
        allow: bool,
    ) -> Result<(), Errno> {
        let owner = hv.owner_of_interrupt(intid);
        let given = self.permits.lock().has_interrupt(intid);
        if owner != Some(giver.id) && owner != Some(self.id) && (allow || !given) {
            return Err(Errno::EPERM);
        }
        if !allow && owner == Some(self.id) {
            return Err(Errno::EBUSY);
        }
        self.permits.lock().set_interrupt(intid, allow)
    }

    /// Gives the domain a shared interrupt of `giver` under its own number, masked. `EPERM`: not permitted. `EINVAL`: it
    /// has no such interrupt, or is dying. `EBUSY`: another domain has it, such as the giver when it has not permitted this, or
    /// the giver is handling one just now.
    pub fn bind_interrupt(&self, hv: &Hypervisor, giver: &Domain, intid: u32) -> Result<(), Errno> {
        let permitted = self.permits.lock().has_interrupt(intid);
        if !permitted {
            let in_use = hv.owner_of_interrupt(intid) == Some(giver.id);
            return Err(if in_use { Errno::EBUSY } else { Errno::EPERM });
        }
        if intid >= self.vgic.lock().interrupts() {
            return Err(Errno::EINVAL);
        }
        // What is on its way through the giver's controller must end there.
        if hv.owner_of_interrupt(intid) != Some(giver.id) || giver.vgic.lock().in_flight(None, intid) {
            return Err(Errno::EBUSY);
        }
        giver.change_vgic(hv, |vgic| vgic.back_by_hardware(None, intid, None));
        if !hv.move_interrupt(intid, giver.id, self.id) {
            return Err(Errno::EBUSY);
        }
        self.change_vgic(hv, |vgic| vgic.back_by_hardware(None, intid, Some(intid)));
        // Its end gives it back, unless that has been by already.
        if self.is_dying() {
            self.give_interrupt_back(hv, giver, intid)?;
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Gives a shared interrupt back to `taker`, masked. `EINVAL`: the domain does not have it. `EBUSY`: it is handling one
    /// just now.
    pub fn unbind_interrupt(&self, hv: &Hypervisor, taker: &Domain, intid: u32) -> Result<(), Errno> {
        if hv.owner_of_interrupt(intid) != Some(self.id) {
            return Err(Errno::EINVAL);
        }
        // The end of it in this domain would deactivate what is the taker's by then.
        if self.vgic.lock().in_flight(None, intid) {
            return Err(Errno::EBUSY);
        }
        self.give_interrupt_back(hv, taker, intid)
    }

    fn give_interrupt_back(&self, hv: &Hypervisor, taker: &Domain, intid: u32) -> Result<(), Errno> {
        self.change_vgic(hv, |vgic| vgic.back_by_hardware(None, intid, None));
        if !hv.move_interrupt(intid, self.id, taker.id) {
            return Err(Errno::EINVAL);
        }
        taker.change_vgic(hv, |vgic| vgic.back_by_hardware(None, intid, Some(intid)));
        Ok(())
    }

    /// Gives all shared interrupts that the domain was permitted to have back to `taker`, masked: for its end, when no CPU
    /// has a vCPU of it.
    pub fn give_interrupts_back(&self, hv: &Hypervisor, taker: &Domain) {
        let mut from = 0;
        while let Some(intid) = hv.next_interrupt_of(self.id, from) {
            // Others were never the taker's.
            if self.permits.lock().has_interrupt(intid) {
                let _ = self.give_interrupt_back(hv, taker, intid);
            }
            from = intid.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_as_a_set(steps in prop::collection::vec((0_u64..40, 1_u64..12, any::<bool>()), 0..30)) {
            let mut permits = Permits::default();
            let mut model = [false; 64];
            for (first, pages, allow) in steps {
                prop_assert_eq!(permits.set_frames((first, first + pages), allow), Ok(()));
                model[first as usize..(first + pages) as usize].fill(allow);
                for (from, to) in [(first, first + pages), (0, 3), (first, first + 1), (5, 40)] {
                    let all = model[from as usize..to as usize].iter().all(|&allowed| allowed);
                    prop_assert_eq!(permits.covers((from, to)), all);
                }
            }
        }
    }

    #[test]
    fn room_is_limited_and_a_refusal_changes_nothing() {
        let mut permits = Permits::default();
        for number in 0..RANGES as u64 {
            assert_eq!(permits.set_frames((number * 4, number * 4 + 3), true), Ok(()));
        }
        assert_eq!(permits.set_frames((9000, 9001), true), Err(Errno::ENOSPC));
        assert_eq!(permits.set_frames((1, 2), false), Err(Errno::ENOSPC));
        assert!(permits.covers((0, 3)));
        assert_eq!(permits.set_frames((0, u64::MAX), true), Ok(()));
        assert!(permits.covers((0, u64::MAX)));
        for intid in 0..INTERRUPTS as u32 {
            assert_eq!(permits.set_interrupt(intid, true), Ok(()));
        }
        assert_eq!(permits.set_interrupt(99, true), Err(Errno::ENOSPC));
        assert_eq!(permits.set_interrupt(7, false), Ok(()));
        assert_eq!((permits.has_interrupt(7), permits.has_interrupt(8)), (false, true));
    }
}
