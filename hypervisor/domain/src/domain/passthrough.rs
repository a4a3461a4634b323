//! Devices of the machine that the control domain passes on to others: their registers and their interrupts.
//!
//! Nobody can pass on more than it has: the control domain's own p2m and the routes of interrupts say what that is.
//! RAM, the interrupt controller and the hypervisor's own devices are in neither.

use xenolith_abi::Errno;

use crate::parts::permits::Range;
use xenolith_core::types::{Gfn, Intid, Mfn};
use xenolith_memory::p2m::MapKind;

use super::{Domain, DomainRef};

impl Domain {
    /// Whether the domain has all these machine frames as device registers, at their own addresses.
    fn has_device(&self, (first, end): Range) -> bool {
        let memory = self.memory.lock();
        let mut reached = first;
        while reached < end {
            let Ok((runs, done)) = memory.p2m.scan(Gfn(reached), end - reached) else { return false };
            let mut next = reached;
            for run in &runs {
                if !run.kind.is_device() || run.gfn.0 != next || run.mfn.0 != next {
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
    /// `EPERM`: they are not the giver's. `ENOSPC`: too many ranges. `ENOMEM`: no memory. `ESRCH`: it is dying, and its promise
    /// may be over.
    pub fn permit_frames(&self, giver: &Domain, first: Mfn, pages: u64, allow: bool) -> Result<(), Errno> {
        let range = (first.0, first.0.checked_add(pages).ok_or(Errno::EINVAL)?);
        if pages == 0 {
            return Err(Errno::EINVAL);
        }
        if allow && !giver.has_device(range) {
            return Err(Errno::EPERM);
        }
        let mut permits = self.permits.lock();
        // Under the lock: the teardown counts what is held with it, and after the mark.
        if self.is_dying() {
            return Err(Errno::ESRCH);
        }
        permits.set_frames(range, allow)
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
            run.kind.is_device() && run.mfn.0.wrapping_sub(mfn.0) == run.gfn.0.wrapping_sub(gfn.0)
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
                MapKind::StrictDevice,
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
            if found
                .is_some_and(|entry| entry.kind.is_device() && Some(entry.mfn.0) == mfn.0.checked_add(page))
            {
                memory.p2m.unmap(gfn, 1)?;
            }
        }
        Ok(())
    }
}

impl DomainRef<'_> {
    /// Permits this domain to have an interrupt of `giver`, or no longer. `EPERM`: it is not the giver's. `EBUSY`: the
    /// domain has it, so that the permission cannot go. `ENOSPC`: too many.
    pub fn permit_interrupt(self, giver: &Domain, intid: Intid, allow: bool) -> Result<(), Errno> {
        let owner = self.hv.owner_of_interrupt(intid);
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
    pub fn bind_interrupt(self, giver: &Domain, intid: Intid) -> Result<(), Errno> {
        let permitted = self.permits.lock().has_interrupt(intid);
        if !permitted {
            let in_use = self.hv.owner_of_interrupt(intid) == Some(giver.id);
            return Err(if in_use { Errno::EBUSY } else { Errno::EPERM });
        }
        if !self.arch.has_shared_interrupt(intid) {
            return Err(Errno::EINVAL);
        }
        // What is on its way through the giver's controller must end there.
        if self.hv.owner_of_interrupt(intid) != Some(giver.id) || giver.arch.is_in_flight(intid) {
            return Err(Errno::EBUSY);
        }
        giver.on(self.hv).detach_interrupt(intid);
        if !self.hv.move_interrupt(intid, giver.id, self.id) {
            return Err(Errno::EBUSY);
        }
        self.attach_interrupt(intid);
        // Its end gives it back, unless that has been by already.
        if self.is_dying() {
            self.give_interrupt_back(giver, intid)?;
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Gives a shared interrupt back to `taker`, masked. `EINVAL`: the domain does not have it. `EBUSY`: it is handling one
    /// just now.
    pub fn unbind_interrupt(self, taker: &Domain, intid: Intid) -> Result<(), Errno> {
        if self.hv.owner_of_interrupt(intid) != Some(self.id) {
            return Err(Errno::EINVAL);
        }
        // The end of it in this domain would deactivate what is the taker's by then.
        if self.arch.is_in_flight(intid) {
            return Err(Errno::EBUSY);
        }
        self.give_interrupt_back(taker, intid)
    }

    fn give_interrupt_back(self, taker: &Domain, intid: Intid) -> Result<(), Errno> {
        self.detach_interrupt(intid);
        if !self.hv.move_interrupt(intid, self.id, taker.id) {
            return Err(Errno::EINVAL);
        }
        taker.on(self.hv).attach_interrupt(intid);
        Ok(())
    }

    /// Gives all shared interrupts that the domain was permitted to have back to `taker`, masked: for its end, when no CPU
    /// has a vCPU of it.
    pub fn give_interrupts_back(self, taker: &Domain) {
        let mut from = Intid(0);
        while let Some(intid) = self.hv.next_interrupt_of(self.id, from) {
            // Others were never the taker's.
            if self.permits.lock().has_interrupt(intid) {
                let _ = self.give_interrupt_back(taker, intid);
            }
            from = Intid(intid.0.saturating_add(1));
        }
    }
}
