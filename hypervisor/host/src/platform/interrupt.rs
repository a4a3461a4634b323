//! The interrupts that a node names, as numbers of the machine's GIC.
//!
//! Only interrupts that reach the GIC directly count: an interrupt of a GPIO or power controller is that
//! controller's to pass on. Every interrupt that a PCI bridge's `interrupt-map` can lead to counts as the bridge's.

use alloc::vec::Vec;

use dtoolkit::fdt::FdtNode;

use super::tree::{Place, Tree, bytes, cells, number};
use xenolith_core::types::Intid;

/// Interrupts of one node that are looked at.
const MAX_INTERRUPTS: usize = 1024;
/// Cells before an entry's end in an `interrupt-map` that a real tree may have.
const MAX_CELLS: usize = 8;

/// How a source signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By an edge.
    Edge,
    /// By a level.
    Level,
}

/// An interrupt line of the GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number: 16 to 31 a PPI, 32 to 1019 an SPI.
    pub intid: Intid,
    /// How it signals.
    pub trigger: Trigger,
}

impl Interrupt {
    /// What a GIC interrupt specifier says (Linux, bindings/interrupt-controller/arm,gic.yaml): kind, number, flags.
    pub fn from_specifier(specifier: &[u32]) -> Option<Interrupt> {
        let [kind, number, flags, ..] = *specifier else { return None };
        let (first, end) = match kind {
            0 => (Intid::FIRST_SHARED, Intid::SHARED_END),
            1 => (Intid::FIRST_PRIVATE, Intid::FIRST_SHARED),
            _ => return None,
        };
        let intid = first.0.checked_add(number).map(Intid).filter(|&intid| intid < end)?;
        // 1 and 2 are edges, 4 and 8 levels; a PPI has a mask of CPUs in the bits from 8 on.
        let trigger = if flags & 3 != 0 { Trigger::Edge } else { Trigger::Level };
        Some(Interrupt { intid, trigger })
    }

    /// Whether each CPU has a line of its own with this number.
    pub fn is_private(self) -> bool {
        self.intid < Intid::FIRST_SHARED
    }
}

impl<'a> Tree<'a> {
    /// The node's interrupts at the controller whose phandle is `gic`, in order. `None` stands for one that goes
    /// elsewhere or says nothing that makes sense.
    pub fn interrupts(&self, place: &Place<'a, '_>, gic: u32) -> Vec<Option<Interrupt>> {
        let mut found = Vec::new();
        if let Some(list) = place.bytes("interrupts-extended") {
            let list: Vec<u32> = cells(list).take(MAX_INTERRUPTS).collect();
            let mut rest = list.as_slice();
            while let Some((&phandle, behind)) = rest.split_first() {
                let width = self.by_phandle(phandle).and_then(|node| cell_count(node, "#interrupt-cells"));
                let Some((specifier, behind)) = width.and_then(|width| behind.split_at_checked(width)) else {
                    break;
                };
                found.push(Interrupt::from_specifier(specifier).filter(|_| phandle == gic));
                rest = behind;
            }
        } else if let Some(list) = place.bytes("interrupts") {
            let parent = place.interrupt_parent();
            let width = parent.and_then(|parent| cell_count(self.by_phandle(parent)?, "#interrupt-cells"));
            let list: Vec<u32> = cells(list).take(MAX_INTERRUPTS).collect();
            for specifier in list.chunks_exact(width.filter(|&width| width > 0).unwrap_or(usize::MAX)) {
                found.push(Interrupt::from_specifier(specifier).filter(|_| parent == Some(gic)));
            }
        }
        found
    }

    /// The interrupts at `gic` to which the node's `interrupt-map` leads (Devicetree Specification 2.4.3).
    pub fn mapped_interrupts(&self, place: &Place<'a, '_>, gic: u32) -> Vec<Interrupt> {
        let mut found = Vec::new();
        let Some(map) = place.bytes("interrupt-map") else { return found };
        let Some(own) = cell_count(&place.node, "#interrupt-cells") else { return found };
        let child = place.address_cells().min(MAX_CELLS) + own;
        let map: Vec<u32> = cells(map).take(MAX_INTERRUPTS * 2 * MAX_CELLS).collect();
        let mut rest = map.as_slice();
        while found.len() < MAX_INTERRUPTS
            && let Some((&phandle, behind)) = rest.get(child..).and_then(<[u32]>::split_first)
        {
            let Some(controller) = self.by_phandle(phandle) else { break };
            let Some(width) = cell_count(controller, "#interrupt-cells") else { break };
            // An interrupt controller that does not say how wide a unit address is has none.
            let address = cell_count(controller, "#address-cells").unwrap_or(0);
            let Some((specifier, behind)) =
                behind.get(address..).and_then(|behind| behind.split_at_checked(width))
            else {
                break;
            };
            if phandle == gic {
                found.extend(Interrupt::from_specifier(specifier));
            }
            rest = behind;
        }
        found
    }
}

fn cell_count(node: &FdtNode<'_>, property: &str) -> Option<usize> {
    bytes(node, property)?;
    number(node, property).and_then(|cells| usize::try_from(cells).ok()).filter(|&cells| cells <= MAX_CELLS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn specifiers_name_private_and_shared_lines() {
        let line = |specifier: [u32; 3]| Interrupt::from_specifier(&specifier);
        assert_eq!(line([0, 1, 4]), Some(Interrupt { intid: Intid(33), trigger: Trigger::Level }));
        assert_eq!(line([0, 16, 1]), Some(Interrupt { intid: Intid(48), trigger: Trigger::Edge }));
        assert_eq!(line([1, 11, 0xf08]), Some(Interrupt { intid: Intid(27), trigger: Trigger::Level }));
        assert_eq!(line([1, 16, 4]), None);
        assert_eq!(line([0, 988, 4]), None);
        assert_eq!(line([0, u32::MAX, 4]), None);
        assert_eq!(line([2, 0, 4]), None);
        assert_eq!(Interrupt::from_specifier(&[0, 1]), None);
    }

    proptest! {
        #[test]
        fn any_specifier_gives_a_line_of_the_gic_or_none(cells in prop::collection::vec(any::<u32>(), 0..6)) {
            if let Some(line) = Interrupt::from_specifier(&cells) {
                prop_assert!((Intid::FIRST_PRIVATE..Intid::SHARED_END).contains(&line.intid));
            }
        }
    }
}
