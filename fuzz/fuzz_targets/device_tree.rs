//! Device trees from the boot loader. The host's: read it, rewrite it for the hardware domain, and see who owns what. The
//! same bytes as a partial tree of a boot-time domain, on that host or on a sound one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenolith_core::types::{DomId, Intid, Ipa};
use xenolith_host::domain_tree::{HardwareDomainSpec, free_private_interrupt, hardware_domain, vcpu_limit};
use xenolith_host::passthrough::{Fragment, Owners};
use xenolith_host::platform::{Platform, console};

/// A host whose devices can be asked for.
const HOST: &[u8] = include_bytes!("../../hypervisor/host/tests/data/virt-gicv3.dtb");

fuzz_target!(|tree: &[u8]| {
    console(tree);
    pass_through(tree, HOST);
    pass_through(tree, tree);
    let Ok(platform) = Platform::parse(tree).inspect_err(|error| drop(error.to_string())) else { return };
    let hidden: Vec<&str> = platform.uart.iter().map(|uart| uart.path.as_str()).collect();
    let spec = HardwareDomainSpec {
        static_shm: &[],
        vcpus: vcpu_limit(&platform),
        memory: &[(Ipa(0x5000_0000), 0x2000_0000)],
        arguments: &platform.domain_arguments,
        initrd: Some((Ipa(0x5800_0000), 0x1000)),
        xen_version: (4, 17),
        grant_window: (Ipa(0x4020_0000), 0x4_0000),
        extended_regions: &[],
        event_interrupt: free_private_interrupt(tree, &platform).unwrap_or(Intid(31)),
        hidden: &hidden,
    };
    if let Ok(result) = hardware_domain(tree, &platform, &spec) {
        // Registers of the interrupt controller must reach no domain, whatever the tree says.
        for owned in platform.gic.regions() {
            assert!(!result.mmio.iter().any(|given| given.overlaps(owned)));
        }
    }
});

/// Asks for all that a partial tree names. What is granted is neither memory nor the interrupt controller's.
fn pass_through(partial: &[u8], host: &[u8]) {
    let Ok(fragment) = Fragment::read(partial).inspect_err(|error| drop(error.to_string())) else { return };
    let Ok(platform) = Platform::parse(host) else { return };
    let Ok(mut owners) = Owners::new(host, &platform) else { return };
    let granted = owners.claim(DomId(1), fragment.devices()).inspect_err(|error| drop(error.to_string()));
    for (_, window) in granted.unwrap_or_default().windows {
        let kept = platform.memory.iter().copied().chain(platform.gic.regions());
        assert!(!kept.into_iter().any(|kept| kept.overlaps(window.machine)));
    }
}
