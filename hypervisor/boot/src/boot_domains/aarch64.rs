//! A domain that starts at boot, in the words of one architecture: its device tree, and what its GIC is to be.

use alloc::vec::Vec;

use machine_model::tree::{self, Hypervisor as HypervisorNode, Partial, Spec};

use xenolith_domain::arch::ArchConfig;
use xenolith_host::platform::Enhanced;

use super::layout::Layout;
use super::{BootError, Builder};
use crate::load::Plan;

impl Builder<'_, '_> {
    /// The device tree that it finds.
    #[inline(never)]
    pub(super) fn tree(
        &self,
        layout: &Layout,
        vcpus: u16,
        plan: &Plan<'_>,
        partial: Option<&Partial>,
    ) -> Result<Vec<u8>, BootError> {
        let Builder { hv, platform, node, .. } = *self;
        let frequency = platform.timer.frequency;
        let seed = platform.seed.of(self.id);
        let shared: Vec<tree::StaticShm<'_>> =
            node.shared.memory.iter().map(crate::static_shm::for_tree).collect();
        let uart = layout.uart.map(|uart| alloc::format!("/sbsa-pl011@{:x}", uart.registers.start));
        let spec = Spec {
            version: hv.options.xen_version.numbers(),
            vcpus,
            memory: &layout.banks,
            arguments: node.kernel.arguments.as_deref().unwrap_or_default(),
            initrd: plan.initrd().map(|(start, size)| machine_model::Region::new(start.0, size)),
            seed: seed.as_ref().map_or(&[], |seed| seed.as_slice()),
            kaslr_seed: platform.seed.kaslr(self.id),
            stdout: uart.as_deref(),
            gic: layout.controller,
            timer: tree::Timer { frequency, ..layout.timer },
            hypervisor: (node.enhanced != Enhanced::Disabled).then_some(HypervisorNode {
                grant_window: layout.grant_window,
                extended_regions: &layout.extended_regions,
                event_ppi: layout.event_interrupt,
            }),
            virtio: &[],
            static_shm: &shared,
            uart: layout.uart,
            partial,
        };
        tree::build(&spec).map_err(BootError::Tree)
    }
}

impl Layout {
    /// The architecture's part of a domain with this layout, so many shared interrupts, and SVE of so many times 128 bits.
    pub(super) fn config(&self, shared_interrupts: u16, vector_granules: u8) -> ArchConfig {
        ArchConfig {
            gic: self.controller,
            spis: shared_interrupts,
            event_ppi: self.event_interrupt,
            guest_timer: self.timer.r#virtual,
            physical_timer: self.timer.physical,
            vector_granules,
        }
    }
}
