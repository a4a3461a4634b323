//! The state of interrupts, 32 at a time: bit *n* of each word of a [`Bank`] belongs to the bank's *n*th interrupt.
//!
//! A bank knows nothing of vCPUs or registers. Its methods change state by the architecture's rules and return the
//! interrupts for which something changed, so that the caller can bring the queues up to date.

use xenolith_abi::domctl::GicVersion;
use xenolith_core::types::{Intid, VcpuId};

/// Interrupts in a bank.
pub(super) const BANK_SIZE: u32 = 32;

/// The SGIs of a private bank.
pub(super) const SGIS: u32 = 0xffff;

/// A bank's place: a vCPU's own, or one of those that all share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BankId {
    /// INTIDs 0 to 31 of one vCPU.
    Private(VcpuId),
    /// INTIDs `32 * (n + 1)` onwards, which all vCPUs share.
    Shared(usize),
}

impl BankId {
    /// The bank of register word `n` in a distributor, as `vcpu` sees it.
    pub(super) fn of_word(vcpu: VcpuId, n: usize) -> Self {
        match n.checked_sub(1) {
            None => BankId::Private(vcpu),
            Some(n) => BankId::Shared(n),
        }
    }

    /// The bank of an interrupt, as `vcpu` sees it.
    pub(super) fn of_intid(vcpu: VcpuId, intid: Intid) -> Self {
        Self::of_word(vcpu, (intid.0 / BANK_SIZE) as usize)
    }

    /// The bank's interrupt with bit `n`, which is below 32.
    pub(super) fn nth(self, n: u32) -> Intid {
        let first = match self {
            BankId::Private(_) => 0,
            // A bank that exists is below 31; for any other the number is of no account.
            BankId::Shared(n) => u32::try_from(n).unwrap_or(0).saturating_add(1).saturating_mul(BANK_SIZE),
        };
        Intid(first | n)
    }
}

/// An interrupt's place in its bank.
pub(super) const fn slot(intid: Intid) -> usize {
    (intid.0 % BANK_SIZE) as usize
}

/// The mask of an interrupt in its bank.
pub(super) const fn bit(intid: Intid) -> u32 {
    1 << (intid.0 % BANK_SIZE)
}

/// The numbers of the bits that are set, lowest first.
pub(super) fn bits(mut word: u32) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let n = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (n < BANK_SIZE).then_some(n)
    })
}

/// 32 interrupts.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    /// Those that exist. No other bit is ever set in the words below.
    pub(super) implemented: u32,
    pub(super) enabled: u32,
    pub(super) group1: u32,
    /// Edge-triggered, the others level-sensitive.
    pub(super) edge: u32,
    /// The input line is asserted.
    pub(super) line: u32,
    /// Pending whatever the line says: an edge, or a write to `ISPENDR`. A list register takes this bit along; if it is
    /// set again meanwhile, that is another one.
    pub(super) latched: u32,
    /// Pending because the guest wrote `ISPENDR`: until it is acknowledged, or the guest takes it back, no line that falls
    /// changes that.
    pub(super) commanded: u32,
    pub(super) active: u32,
    /// In a list register.
    pub(super) listed: u32,
    /// In a list register with its pending bit. Cleared by the guest's `ICPENDR`: then the bit counts no more.
    pub(super) offered: u32,
    /// In a list register whose active bit counts no more: the guest wrote `ISACTIVER` or `ICACTIVER` since.
    pub(super) overruled: u32,
    /// In a list register, backed by hardware, and made pending by the guest meanwhile: the physical interrupt must
    /// be active once more if that register deactivates it.
    pub(super) reactivate: u32,
    /// In a list register, backed by hardware, and the physical interrupt came again meanwhile: that register has
    /// deactivated it, and it is active for the next one.
    pub(super) refired: u32,
    /// Backed by a physical interrupt, which stays active until the virtual one is deactivated.
    pub(super) hardware: u32,
    /// Changes of physical lines that wait to be reported.
    pub(super) changes: Changes,
    pub(super) priority: [u8; BANK_SIZE as usize],
    pub(super) physical: [Intid; BANK_SIZE as usize],
}

/// Which physical lines must be changed, and how. Only interrupts that are backed by hardware have bits here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    pub(super) enable: u32,
    pub(super) trigger: u32,
    pub(super) route: u32,
    pub(super) activate: u32,
    pub(super) deactivate: u32,
}

impl Changes {
    /// The interrupts with any change.
    pub(super) const fn any(&self) -> u32 {
        self.enable | self.trigger | self.route | self.activate | self.deactivate
    }

    pub(super) fn activate(&mut self, mask: u32) {
        self.activate |= mask;
        self.deactivate &= !mask;
    }

    pub(super) fn deactivate(&mut self, mask: u32) {
        self.deactivate |= mask;
        self.activate &= !mask;
    }
}

impl Bank {
    fn new(implemented: u32, version: GicVersion) -> Self {
        Bank {
            implemented,
            enabled: 0,
            // A GICv3 driver expects Group 1, which is all that a non-secure one can use; one for GICv2 that sees no
            // Security Extensions expects Group 0.
            group1: if version == GicVersion::V3 { implemented } else { 0 },
            edge: 0,
            line: 0,
            latched: 0,
            commanded: 0,
            active: 0,
            listed: 0,
            offered: 0,
            overruled: 0,
            reactivate: 0,
            refired: 0,
            hardware: 0,
            changes: Changes::default(),
            priority: [0; BANK_SIZE as usize],
            physical: [Intid(0); BANK_SIZE as usize],
        }
    }

    /// SGIs and PPIs at reset. GICv2's SGIs are enabled from the start, as in Arm's GIC-400.
    pub(super) fn private(version: GicVersion) -> Self {
        let enabled = if version == GicVersion::V2 { SGIS } else { 0 };
        Bank { edge: SGIS, enabled, ..Self::new(u32::MAX, version) }
    }

    /// Pending, and not in a list register with that bit.
    pub(super) const fn waiting(&self) -> u32 {
        // A level has no memory but its line, unless the guest (`GICD_ISPENDR<n>`) or `pend` latched it.
        self.latched | (self.line & !self.edge)
    }

    /// Pending, as `ISPENDR` reads.
    pub(super) const fn pending(&self) -> u32 {
        self.waiting() | self.offered
    }

    /// Those that belong in a queue.
    pub(super) const fn queueable(&self) -> u32 {
        (self.active | (self.enabled & self.waiting())) & !self.listed
    }

    /// Level-sensitive, with no hardware that watches the line.
    pub(super) const fn sampled(&self) -> u32 {
        !self.edge & !self.hardware
    }

    /// Made pending by a physical line that is a level, which may have fallen since.
    pub(super) const fn resting_on_line(&self) -> u32 {
        self.latched & self.hardware & !self.edge & !self.commanded & !self.listed
    }

    pub(super) fn enable(&mut self, mask: u32) -> u32 {
        let changed = mask & self.implemented & !self.enabled;
        self.enabled |= changed;
        self.changes.enable |= changed & self.hardware;
        changed
    }

    pub(super) fn disable(&mut self, mask: u32) -> u32 {
        let changed = mask & self.enabled;
        self.enabled &= !changed;
        self.changes.enable |= changed & self.hardware;
        changed
    }

    pub(super) fn set_group1(&mut self, word: u32) -> u32 {
        let changed = (word ^ self.group1) & self.implemented;
        self.group1 ^= changed;
        changed
    }

    /// Makes those of `mask` edge-triggered that have a bit in `edge`, the others level-sensitive.
    pub(super) fn set_edge(&mut self, mask: u32, edge: u32) -> u32 {
        // What is latched stays: a change of trigger takes no pending state away.
        let changed = (edge ^ self.edge) & mask & self.implemented;
        self.edge ^= changed;
        self.changes.trigger |= changed & self.hardware;
        // The physical one is disabled meanwhile.
        self.changes.enable |= changed & self.hardware & self.enabled;
        changed
    }

    /// An edge came, or the physical interrupt did.
    pub(super) fn fire(&mut self, mask: u32) -> u32 {
        // It can come again only after the list register has deactivated it: `unlist` must not take this activity for
        // the old one.
        self.refired |= mask & self.hardware & self.listed;
        self.latch(mask)
    }

    /// Makes interrupts pending.
    pub(super) fn latch(&mut self, mask: u32) -> u32 {
        let changed = mask & self.implemented & !self.latched;
        self.latched |= changed;
        changed
    }

    /// The guest makes interrupts pending. A physical interrupt becomes active with it: it is deactivated together
    /// with the virtual one, whoever made that pending.
    pub(super) fn set_pending(&mut self, mask: u32) -> u32 {
        let changed = self.latch(mask);
        self.commanded |= mask & self.implemented;
        self.changes.activate(changed & self.hardware & !self.listed & !self.active);
        // That register deactivates the physical interrupt when the guest is done, while this pending state still needs
        // it.
        self.reactivate |= changed & self.hardware & self.listed;
        changed
    }

    /// Makes interrupts not pending, unless a line keeps them so. A physical interrupt which thereby loses its virtual
    /// one is deactivated, at once or, if a list register has it, when that is folded.
    pub(super) fn clear_pending(&mut self, mask: u32) -> u32 {
        let changed = mask & (self.latched | self.offered);
        // What is listed or active is deactivated with its register, or by the guest.
        let abandoned = changed & self.latched & self.hardware & !self.listed & !self.active;
        self.changes.deactivate(abandoned);
        // `offered` too: the pending bit in the list register no longer counts when it is folded.
        self.latched &= !changed;
        self.commanded &= !changed;
        self.offered &= !changed;
        changed
    }

    /// The guest makes interrupts active.
    pub(super) fn activate(&mut self, mask: u32) -> u32 {
        // A listed one counts as changed whatever the bank says: its active bit is out of date while the register has
        // it.
        let changed = mask & self.implemented & (!self.active | self.listed);
        self.active |= changed;
        self.overruled |= changed & self.listed;
        self.changes.activate(changed & self.hardware);
        changed
    }

    /// Interrupts are deactivated other than through a list register.
    pub(super) fn deactivate(&mut self, mask: u32) -> u32 {
        let changed = mask & self.implemented & (self.active | self.listed);
        self.active &= !changed;
        self.overruled |= changed & self.listed;
        // With a pending state left the physical interrupt stays active, because it backs that one too.
        self.changes.deactivate(changed & self.hardware & !self.listed & !self.latched);
        changed
    }
}

/// 32 shared interrupts, with where each of them goes.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) bank: Bank,
    /// What the guest wrote: GICv3, the affinity (`Aff3` in the top byte); GICv2, the mask of targets.
    pub(super) route: [u32; BANK_SIZE as usize],
    /// The vCPU that `route` stands for.
    pub(super) target: [Option<VcpuId>; BANK_SIZE as usize],
    /// The vCPU in whose queue or list registers the interrupt is.
    pub(super) home: [Option<VcpuId>; BANK_SIZE as usize],
}

impl Shared {
    /// Bank `n` of a controller with `spis` shared interrupts. All go to vCPU 0 until the guest says otherwise.
    pub(super) fn new(version: GicVersion, spis: u16, n: u16) -> Self {
        let left = u32::from(spis).saturating_sub(u32::from(n) * BANK_SIZE);
        let implemented = if left >= BANK_SIZE { u32::MAX } else { (1 << left) - 1 };
        let route = match version {
            GicVersion::V2 => 1,
            GicVersion::V3 => 0,
        };
        Shared {
            bank: Bank::new(implemented, version),
            route: core::array::from_fn(|n| if implemented >> n & 1 != 0 { route } else { 0 }),
            target: [Some(VcpuId(0)); BANK_SIZE as usize],
            home: [None; BANK_SIZE as usize],
        }
    }

    /// Where an interrupt of this bank is queued or listed.
    pub(super) fn home(&self, intid: Intid) -> Option<VcpuId> {
        self.home.get(slot(intid)).copied().flatten()
    }

    /// Where an interrupt of this bank is to be delivered.
    pub(super) fn target(&self, intid: Intid) -> Option<VcpuId> {
        self.target.get(slot(intid)).copied().flatten()
    }

    /// Decides where an interrupt that is in no list register belongs now: one that is active stays with the vCPU
    /// which acknowledged it, and goes to its target only after that.
    pub(super) fn settle(&mut self, intid: Intid) -> Option<VcpuId> {
        let mask = bit(intid);
        let target = self.target(intid);
        let home = self.home.get_mut(slot(intid))?;
        *home = if self.bank.queueable() & mask == 0 {
            None
        } else if self.bank.active & mask != 0 {
            // Made active by a write while its route leads to no vCPU: somebody has to list it, or it could not be
            // ended.
            home.or(target).or(Some(VcpuId(0)))
        } else {
            target
        };
        *home
    }
}
