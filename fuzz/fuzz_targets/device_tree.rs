//! A host's device tree, from the boot loader: read it, and rewrite it for the hardware domain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenolith::domain_tree::{HardwareDomainSpec, free_ppi, hardware_domain, vcpu_limit};
use xenolith::platform::{Platform, console};
use xenolith::types::Ipa;

fuzz_target!(|tree: &[u8]| {
    console(tree);
    let Ok(platform) = Platform::parse(tree).inspect_err(|error| drop(error.to_string())) else { return };
    let hidden: Vec<&str> = platform.uart.iter().map(|uart| uart.path.as_str()).collect();
    let spec = HardwareDomainSpec {
        vcpus: vcpu_limit(&platform),
        memory: &[(Ipa(0x5000_0000), 0x2000_0000)],
        arguments: &platform.domain_arguments,
        initrd: Some((Ipa(0x5800_0000), 0x1000)),
        xen_version: (4, 17),
        grant_window: (Ipa(0x4020_0000), 0x4_0000),
        extended_regions: &[],
        event_ppi: free_ppi(tree, &platform).unwrap_or(31),
        hidden: &hidden,
    };
    if let Ok(result) = hardware_domain(tree, &platform, &spec) {
        // Registers of the interrupt controller must reach no domain, whatever the tree says.
        for owned in platform.gic.layout.regions() {
            assert!(!result.mmio.iter().any(|given| given.overlaps(owned)));
        }
    }
});
