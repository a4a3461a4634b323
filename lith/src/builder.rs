//! Making a guest, step by step, and taking it back if a step fails.
//!
//! The steps are those of Xen's tools, in their order. Either the guest is there in the end, with all its devices served
//! and its first vCPU ready, or nothing is left of it and the error says which step failed and why.

mod devices;
mod kernel;
mod memory;
mod plan;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};
use machine_model::layout;
use rustix::io::Errno;
use uuid::Uuid;
use xenolith_abi::domctl::{
    ArchDomainConfig, CONTEXT_ONLINE, CreateDomain, GIC_NATIVE, VcpuGuestContext, VcpuGuestCoreRegs,
    create_flag,
};
use xenolith_abi::hvm::{HvmParam, callback_ppi};

#[cfg(test)]
pub(crate) use kernel::tests::image as test_kernel;
pub use kernel::{Files, disk_reader, read_kernel};
pub use plan::Plan;

use crate::config::{Device, GuestConfig};
use crate::xen::{Control, Xen};
use xenolith_abi::{DomId, Port, VcpuId};

/// Event channels of a guest, at most; as Xen's tools set it.
const MAX_EVENT_CHANNEL: u32 = 1023;
/// The highest version of grant tables.
const GRANT_VERSION: u32 = 1;
/// SPIs of a guest: as many as its emulated UART and its virtio devices have.
const SPIS: u32 = 1 + layout::MAX_VIRTIO_MMIO;
/// PSTATE of a starting vCPU: EL1 with its own stack pointer, debug exceptions, SErrors and interrupts masked, as Linux's boot
/// protocol asks for (Documentation/arch/arm64/booting, "CPU mode") and PSCI gives to every other vCPU. Xen's tools leave D clear.
const PSTATE: u64 = 0x3c5;
/// SCTLR_EL1 of a starting vCPU: MMU and caches off, the bits that must be set (`SCTLR_GUEST_INIT`).
const SCTLR: u64 = 0x00c5_0078;

/// A guest that is there, paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its domain.
    pub domain: DomId,
    /// The domain's end of the console's event channel.
    pub console_port: Port,
    /// The domain's end of the store's event channel.
    pub store_port: Port,
    /// The domain's UUID, which Xen calls its handle.
    pub handle: Uuid,
}

/// Finds the domain that is named as a device's backend.
pub type Resolve<'a> = dyn Fn(&dyn Device) -> Result<DomId> + 'a;

/// Makes a guest; it is paused then. `progress` is told each step.
///
/// # Errors
///
/// Which step failed, and why. What was made is destroyed then.
pub fn build(
    xen: &dyn Xen,
    config: &GuestConfig,
    files: &Files,
    resolve: &Resolve<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Built> {
    // What can be refused is refused before anything is made.
    let version = xen.version_number()?;
    if let Some(device) = config.devices.iter().next()
        && !xen.has_slots()?
    {
        let (_, plural) = device.nouns();
        bail!("{}: the hypervisor is one without I/O forwarding, which {plural} need", device.label());
    }
    memory::check(xen, config)?;
    let backends = config.devices.iter().map(resolve).collect::<Result<Vec<_>>>()?;
    let handle = random_uuid(xen);

    progress("making the domain");
    let (domain, granted) =
        xen.create(&request(config, handle)).map_err(|error| too_many_vcpus(config, error))?;
    let mut steps = || -> Result<Built> {
        let built = configure(xen, config, domain, handle)?;
        progress("giving it memory");
        let banks = memory::give(xen, config, domain)?;
        let info = xen.domain(domain)?.context("the domain has gone while it was made")?;
        progress("loading kernel and ramdisk");
        let plan = Plan::new(xen, config, files, &plan::Facts::new(version, &granted.arch, &info, &banks))?;
        plan.load(xen, domain, files)?;
        // Behind the memory: the rings that the parameters name are in it.
        announce(xen, &built)?;
        xen.set_context(domain, VcpuId(0), &first_context(&plan))?;
        // Last, so that a backend that maps the guest's memory at once finds it complete.
        let slots = devices::make(xen, config, domain, &banks, &backends)?;
        if !slots.is_empty() {
            progress(&format!("waiting for the {}' backends", devices::nouns(config)));
        }
        devices::wait(xen, config, &slots, &backends)?;
        Ok(built)
    };
    let result = steps();
    if result.is_err() {
        // The first error is the one that counts. A domain that cannot even be destroyed stays in `lith list`.
        if let Err(error) = xen.control(domain, Control::Destroy) {
            progress(&format!("what was made could not be destroyed: {error}"));
        }
    }
    result
}

/// What the hypervisor is asked for.
fn request(config: &GuestConfig, handle: Uuid) -> CreateDomain {
    CreateDomain {
        handle: handle.into_bytes(),
        flags: create_flag::HVM | create_flag::HAP,
        max_vcpus: config.vcpus.into(),
        max_evtchn_port: MAX_EVENT_CHANNEL,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: GRANT_VERSION,
        arch: ArchDomainConfig { gic_version: GIC_NATIVE, nr_spis: SPIS, ..ArchDomainConfig::default() },
        ..CreateDomain::default()
    }
}

/// What is wrong, if it is the number of vCPUs: the hypervisor alone knows which interrupt controller a guest gets.
fn too_many_vcpus(config: &GuestConfig, error: crate::xen::Error) -> anyhow::Error {
    let few = layout::MAX_VCPUS_GICV2;
    let is_likely = error.errno() == Some(Errno::INVAL) && config.vcpus > few;
    let error = anyhow::Error::new(error);
    if !is_likely {
        return error;
    }
    error.context(format!(
        "`vcpus` is {}, and on a machine with a GICv2, as this one is likely to be, a guest has {few} at most",
        config.vcpus
    ))
}

/// Configures the domain: all but its memory.
fn configure(xen: &dyn Xen, config: &GuestConfig, domain: DomId, handle: Uuid) -> Result<Built> {
    xen.control(domain, Control::MaxVcpus(config.vcpus.into()))?;
    xen.control(domain, Control::MaxMemory(memory::limit_kib(config)))?;
    let store_port = xen.make_event_channel(domain)?;
    let console_port = xen.make_event_channel(domain)?;
    xen.control(domain, Control::PagingPool(memory::paging_pool(config)))?;
    xen.set_parameter(domain, HvmParam::CallbackIrq, callback_ppi(layout::EVENTS))?;
    xen.control(domain, Control::AddressSize64)?;
    Ok(Built { domain, console_port, store_port, handle })
}

/// Tells the guest where its console and its store are.
fn announce(xen: &dyn Xen, built: &Built) -> Result<()> {
    let parameters = [
        (HvmParam::ConsolePfn, layout::CONSOLE_PAGE.0),
        (HvmParam::StorePfn, layout::STORE_PAGE.0),
        (HvmParam::ConsoleEvtchn, built.console_port.0.into()),
        (HvmParam::StoreEvtchn, built.store_port.0.into()),
    ];
    for (parameter, value) in parameters {
        xen.set_parameter(built.domain, parameter, value)?;
    }
    Ok(())
}

/// The registers with which the first vCPU begins (Linux, Documentation/arch/arm64/booting.rst, section 4).
fn first_context(plan: &Plan) -> VcpuGuestContext {
    let mut registers = VcpuGuestCoreRegs { pc: plan.entry(), cpsr: PSTATE, ..VcpuGuestCoreRegs::default() };
    if let Some(first) = registers.x.first_mut() {
        *first = plan.device_tree();
    }
    VcpuGuestContext {
        flags: CONTEXT_ONLINE,
        user_regs: registers,
        sctlr: SCTLR,
        ..VcpuGuestContext::default()
    }
}

/// A random UUID (RFC 9562, section 5.4).
fn random_uuid(xen: &dyn Xen) -> Uuid {
    let mut bytes = [0; 16];
    xen.random(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
