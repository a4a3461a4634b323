//! The pinned policy: who has which CPU for itself.
//!
//! As under Xen's `null` scheduler, a unit that comes online gets a free CPU of its affinity and keeps it, asleep or
//! awake, until it is stopped or removed: a pause does not take it. When there is none, it waits, without running at
//! all, in the order of arrival.

use alloc::{collections::TryReserveError, vec::Vec};

use super::{CpuMask, UnitId};
use xenolith_core::bug;
use xenolith_core::types::CpuId;

/// Which CPU belongs to which unit.
#[derive(Debug)]
pub struct Assignments {
    owners: Vec<Option<UnitId>>,
    waiting: Vec<(UnitId, CpuMask)>,
}

impl Assignments {
    /// For a machine with `cpus` CPUs, none of which is assigned.
    #[expect(clippy::disallowed_methods, reason = "made at boot")]
    pub fn new(cpus: u16) -> Self {
        Assignments { owners: (0..cpus).map(|_| None).collect(), waiting: Vec::new() }
    }

    /// Makes room for `units` that wait, so that [`Assignments::claim`] never allocates.
    pub fn reserve(&mut self, units: usize) -> Result<(), TryReserveError> {
        self.waiting.try_reserve(units.saturating_sub(self.waiting.len()))
    }

    fn cpus(&self) -> impl Iterator<Item = (CpuId, Option<UnitId>)> {
        (0..).map(CpuId).zip(self.owners.iter().copied())
    }

    /// The CPU that the unit has.
    #[inline]
    pub fn cpu_of(&self, id: UnitId) -> Option<CpuId> {
        self.cpus().find(|&(_, owner)| owner == Some(id)).map(|(cpu, _)| cpu)
    }

    /// The CPU that the unit has or gets now, `preferred` if that is free; `None` when it has to wait.
    pub fn claim(&mut self, id: UnitId, affinity: CpuMask, preferred: CpuId) -> Option<CpuId> {
        if let Some(cpu) = self.cpu_of(id) {
            return Some(cpu);
        }
        let free = |&(cpu, owner): &(CpuId, Option<UnitId>)| owner.is_none() && affinity.contains(cpu);
        let Some((cpu, _)) = self.cpus().filter(free).min_by_key(|&(cpu, _)| cpu != preferred) else {
            // One that asks again keeps its place in the order.
            if !self.waiting.iter().any(|&(other, _)| other == id) {
                self.waiting.push((id, affinity));
            }
            return None;
        };
        match self.owners.get_mut(usize::from(cpu.0)) {
            Some(owner) => *owner = Some(id),
            None => bug!("a CPU without a place for its owner"),
        }
        Some(cpu)
    }

    /// Takes the unit's CPU or its place among those who wait; returns who gets the CPU instead.
    pub fn release(&mut self, id: UnitId) -> Option<UnitId> {
        self.waiting.retain(|&(other, _)| other != id);
        let cpu = self.cpu_of(id)?;
        // Not simply the first: the CPU would stay unused if that one may not run there.
        let place = self.waiting.iter().position(|&(_, affinity)| affinity.contains(cpu));
        let next = place.map(|place| self.waiting.remove(place).0);
        if let Some(owner) = self.owners.get_mut(usize::from(cpu.0)) {
            *owner = next;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: CpuMask = CpuMask::ALL;

    #[test]
    fn each_gets_its_own_and_the_rest_wait_in_order() {
        let mut assignments = Assignments::new(2);
        assert_eq!(assignments.claim(UnitId(0), ANY, CpuId(1)), Some(CpuId(1)));
        assert_eq!(assignments.claim(UnitId(1), ANY, CpuId(1)), Some(CpuId(0)));
        assert_eq!(assignments.claim(UnitId(2), CpuMask(1), CpuId(0)), None);
        assert_eq!(assignments.claim(UnitId(3), ANY, CpuId(0)), None);
        assert_eq!(assignments.claim(UnitId(0), ANY, CpuId(0)), Some(CpuId(1)));
        assert_eq!(assignments.release(UnitId(0)), Some(UnitId(3)), "unit 2 may not run on CPU 1");
        assert_eq!(assignments.cpu_of(UnitId(3)), Some(CpuId(1)));
        assert_eq!(assignments.release(UnitId(2)), None);
        assert_eq!(assignments.release(UnitId(1)), None);
        assert_eq!(assignments.claim(UnitId(2), CpuMask(1), CpuId(0)), Some(CpuId(0)));
    }
}
