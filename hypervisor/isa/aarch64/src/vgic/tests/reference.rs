//! The architecture's interrupt controller without list registers: one record for each interrupt, nothing cached.

use std::collections::BTreeSet;

/// Where an interrupt is: the vCPU that it is private to, or none.
pub type Id = (Option<u16>, u32);

#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    pub enabled: bool,
    pub group1: bool,
    pub edge: bool,
    pub line: bool,
    pub latched: bool,
    pub active: bool,
    pub priority: u8,
    pub target: Option<u16>,
    pub hardware: bool,
    /// What the device behind it does with its line. It is pending by `latched` while that is asserted.
    pub wire: bool,
    /// Made pending by a write, which outlives the line.
    pub commanded: bool,
    /// GICv2's SGIs: who sent it and waits.
    pub senders: BTreeSet<u8>,
}

impl Interrupt {
    /// Pending by nothing but a line that has fallen.
    pub fn is_stale(&self) -> bool {
        self.hardware && self.latched && !self.edge && !self.commanded && !self.wire
    }

    pub fn pending(&self) -> bool {
        self.latched || !self.senders.is_empty() || (self.line && !self.edge)
    }
}

pub struct Reference {
    pub groups: u8,
    pub vcpus: u16,
    /// SGIs and PPIs of each vCPU in turn, then SPIs.
    interrupts: Vec<Interrupt>,
}

impl Reference {
    pub fn new(v2: bool, vcpus: u16, spis: u16) -> Self {
        let private = (0..vcpus).flat_map(|vcpu| {
            (0..32).map(move |n| Interrupt {
                enabled: v2 && n < 16,
                group1: !v2,
                edge: n < 16,
                target: Some(vcpu),
                ..Interrupt::default()
            })
        });
        let shared = (0..spis).map(|_| Interrupt { group1: !v2, target: Some(0), ..Interrupt::default() });
        Reference { groups: 0, vcpus, interrupts: private.chain(shared).collect() }
    }

    pub fn get(&mut self, id: Id) -> Option<&mut Interrupt> {
        let index = match id {
            (Some(vcpu), intid) if intid < 32 && vcpu < self.vcpus => u32::from(vcpu) * 32 + intid,
            (None, intid) if intid >= 32 => u32::from(self.vcpus) * 32 + intid - 32,
            _ => return None,
        };
        self.interrupts.get_mut(index as usize)
    }

    /// All interrupts.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &Interrupt)> {
        let private = usize::from(self.vcpus) * 32;
        self.interrupts.iter().enumerate().map(move |(n, interrupt)| {
            let id = match n.checked_sub(private) {
                None => (Some((n / 32) as u16), (n % 32) as u32),
                Some(n) => (None, n as u32 + 32),
            };
            (id, interrupt)
        })
    }

    /// What a vCPU must be shown: its highest-priority pending interrupt.
    pub fn highest_pending(&self, vcpu: u16) -> Option<u32> {
        self.iter()
            .filter(|(_, i)| {
                i.pending()
                    && i.enabled
                    && !i.active
                    && self.groups >> u8::from(i.group1) & 1 != 0
                    && i.target == Some(vcpu)
            })
            .min_by_key(|((_, intid), i)| (i.priority, *intid))
            .map(|((_, intid), _)| intid)
    }
}
