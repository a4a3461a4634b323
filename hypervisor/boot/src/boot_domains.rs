//! Domains that start with the machine, with no toolstack: those that the host's tree describes under `/chosen`.
//!
//! They are built after the first domain, in the tree's order, and are domain 1, 2 and so on. One that cannot be built
//! is reported, its number stays unused, and the others are built all the same. What a domain gets of the machine's
//! devices is decided by [`Owners`] alone.

mod aarch64;
mod error;
mod layout;
mod memory;

use alloc::vec::Vec;

use machine_model::tree::Partial;
use xenolith_abi::event::fifo::PORTS;
use xenolith_abi::hvm::HvmParam;

use xenolith_core::types::{DomId, Gfn, Ipa, PAGE_SHIFT, PAGE_SIZE};
use xenolith_domain::arch::FIRST_SHARED_INTERRUPT;
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::domain_tree::free_private_interrupt;
use xenolith_host::image::Placement;
use xenolith_host::passthrough::{Fragment, Granted, Owners};
use xenolith_host::platform::{BootDomain, Enhanced, Platform, Region, Role};
use xenolith_memory::frames::FrameRange;
use xenolith_memory::p2m::MapKind;

use crate::end::give_up;
use crate::guest;
use crate::load::{Plan, Ready};
use crate::static_shm::{StaticShm, reserve_port};
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::life::build::{
    DomainBuilder, DomainConfig, GRANT_FRAMES, MAPTRACK_FRAMES, MAX_GRANT_FRAMES, MORE_TABLES,
};
use xenolith_domain::parts::progress::Progress;

pub use error::BootError;
use layout::Layout;

/// Event channels of a domain: as many as Xen gives to one that no toolstack has made.
const MAX_PORT: u32 = 1023;

/// The bytes of a module, which nobody changes any more.
pub type Files<'f, 'a> = &'f dyn Fn(Region) -> &'a [u8];

/// Builds the domains, connects their static shared memory and channels, and reports what cannot be had. Nothing of them runs
/// yet. `host` is the machine's device tree, in which `platform` was read.
#[inline(never)]
pub fn build_boot_domains(
    hv: &Hypervisor,
    platform: &Platform,
    host: &[u8],
    static_shm: &StaticShm,
    files: Files<'_, '_>,
) -> Vec<Ready> {
    let mut ready = build_all(hv, platform, host, static_shm, files);
    static_shm.connect(hv, platform, &mut ready);
    ready
}

fn build_all(
    hv: &Hypervisor,
    platform: &Platform,
    host: &[u8],
    static_shm: &StaticShm,
    files: Files<'_, '_>,
) -> Vec<Ready> {
    let mut ready = Vec::new();
    let control = platform.control.as_ref().filter(|control| control.role == Role::Control);
    if let Some(hardware) = platform.hardware() {
        warn_of_ignored(DomId::CONTROL, hardware);
    }
    if control.is_none() && platform.boot_domains.is_empty() {
        return ready;
    }
    let mut owners = match Owners::new(host, platform) {
        Ok(owners) => owners,
        Err(error) => {
            log::error!("no domain is started at boot: {error}");
            return ready;
        }
    };
    let others = (1..).map(DomId).zip(platform.boot_domains.iter().map(Result::as_ref));
    for (id, node) in control.map(|node| (DomId::CONTROL, Ok(node))).into_iter().chain(others) {
        let built = node.map_err(|error| BootError::Node(error.clone())).and_then(|node| {
            warn_of_ignored(id, node);
            Builder { hv, platform, host, static_shm, files, node, id }.build(&mut owners)
        });
        match built {
            Ok(domain) => ready.push(domain),
            Err(error) if id == DomId::CONTROL => {
                give_up(format_args!("there is no control domain: {error}"))
            }
            Err(error) => {
                owners.release(id);
                // An error in the node itself names it.
                let path = node.map(|node| node.path.as_str()).unwrap_or_default();
                let space = if path.is_empty() { "" } else { " " };
                log::error!("{id}{space}{path} is not started: {error}");
            }
        }
    }
    ready
}

fn warn_of_ignored(id: DomId, node: &BootDomain) {
    for what in &node.ignored {
        log::warn!("{id} ({}): `{what}` has no effect", node.path);
    }
}

/// What one domain is built from. Its steps are no part of one another's frames: the boot's stack is small, and a domain
/// in the making is not.
struct Builder<'b, 'a> {
    hv: &'b Hypervisor,
    platform: &'b Platform,
    host: &'b [u8],
    static_shm: &'b StaticShm,
    files: Files<'b, 'a>,
    node: &'b BootDomain,
    id: DomId,
}

/// A domain in the making.
struct Parts<'a> {
    layout: Layout,
    vcpus: u16,
    shared_interrupts: u16,
    vectors: u8,
    ram: Vec<(Gfn, FrameRange)>,
    plan: Plan<'a>,
    tree: Vec<u8>,
}

impl<'a> Builder<'_, 'a> {
    #[inline(never)]
    fn build(&self, owners: &mut Owners) -> Result<Ready, BootError> {
        let Builder { hv, node, id, .. } = *self;
        let partial = node.device_tree.as_ref().map(|module| (self.files)(module.region));
        let fragment = partial.map(Fragment::read).transpose().map_err(BootError::Passthrough)?;
        let granted = match &fragment {
            Some(fragment) => owners.claim(id, fragment.devices()).map_err(BootError::Passthrough)?,
            None => Granted::default(),
        };
        let vcpus = self.vcpus()?;
        for memory in &node.shared.memory {
            self.static_shm.of(memory).map_err(BootError::StaticShm)?;
        }
        let limits = crate::dma::limits(self.platform);
        let limits = node.direct_map.then_some(limits.as_slice());
        let area = memory::allocate(&hv.frames, id, node.memory, limits)?;
        let not_made = |error| {
            memory::give_back(&hv.frames, id, &area);
            error
        };
        let parts = self.parts(owners, fragment.as_ref(), &granted, vcpus, &area).map_err(not_made)?;
        let domain = self.domain(&parts).map_err(not_made)?;
        let domain = domain.publish().map_err(|errno| not_made(BootError::Call(errno)))?;
        // From here on the domain has all that was taken for it, and gives it back by its end.
        match self.fill(domain.on(hv), &parts, &granted) {
            Ok(placement) => {
                self.report(&parts, &granted, &placement);
                Ok(Ready { domain, placement })
            }
            Err(error) => {
                while hv.destroy_domain(&domain, Hypervisor::DESTROY_BUDGET) == Ok(Progress::Again) {}
                Err(error)
            }
        }
    }

    /// Everything of which the domain is made, checked and not taken yet.
    #[inline(never)]
    fn parts(
        &self,
        owners: &Owners,
        fragment: Option<&Fragment<'_>>,
        granted: &Granted,
        vcpus: u16,
        area: &[FrameRange],
    ) -> Result<Parts<'a>, BootError> {
        let node = self.node;
        let layout = self.layout(owners, granted, area)?;
        let ram = memory::spread(&layout.banks, area);
        let banks: Vec<(Ipa, u64)> = layout.banks.iter().map(|bank| (Ipa(bank.start), bank.size)).collect();
        let files = self.files;
        let ramdisk = node.ramdisk.as_ref().map(|module| files(module.region));
        let not_loaded = |error| BootError::Load { module: node.kernel.path.clone(), error };
        let plan = Plan::for_banks(files(node.kernel.region), ramdisk, &banks).map_err(not_loaded)?;
        let partial = fragment.map(|fragment| Partial::read(&fragment.tree().fdt())).transpose();
        let partial = partial.map_err(BootError::Tree)?;
        let tree = self.tree(&layout, vcpus, &plan, partial.as_ref())?;
        let shared_interrupts = self.shared_interrupts(&layout, granted)?;
        let too_long = BootError::Property { property: "sve", problem: "is more than the CPUs have" };
        let vectors = guest::vectors(node.vectors).ok_or(too_long)?;
        Ok(Parts { layout, vcpus, shared_interrupts, vectors, ram, plan, tree })
    }

    /// The domain with its memory and without anything in it.
    #[inline(never)]
    fn domain(&self, parts: &Parts<'_>) -> Result<DomainBuilder<'_>, BootError> {
        Ok(DomainBuilder::new(self.hv, &self.config(parts))?)
    }

    /// Gives it its devices and its files.
    #[inline(never)]
    fn fill(
        &self,
        domain: DomainRef<'_>,
        parts: &Parts<'_>,
        granted: &Granted,
    ) -> Result<Placement, BootError> {
        let Builder { hv, node, id, .. } = *self;
        map_devices(&domain, granted)?;
        if let Some(uart) = parts.layout.uart {
            domain.make_console_uart(Ipa(uart.registers.start), uart.interrupt).map_err(BootError::Call)?;
        }
        let placement = parts.plan.load(domain, &parts.tree);
        let placement =
            placement.map_err(|error| BootError::Load { module: node.kernel.path.clone(), error })?;
        // Static channels have the ports that the tree says; the store's comes where there is room.
        for end in &node.shared.events {
            let reserved = reserve_port(&domain, end);
            reserved.map_err(|error| BootError::Port { node: end.path.clone(), port: end.port, error })?;
        }
        self.connect_store(&domain)?;
        for (_, line) in &granted.interrupts {
            hv.give_interrupt(line.intid, id).map_err(BootError::Call)?;
            domain.attach_interrupt(line.intid);
        }
        Ok(placement)
    }

    fn report(&self, parts: &Parts<'_>, granted: &Granted, placement: &Placement) {
        let pages: u64 = parts.ram.iter().map(|(_, range)| range.pages).sum();
        log::info!(
            "{} ({}): {} MiB{}, {} vCPUs, {} devices' registers, kernel at {:#x}",
            self.id,
            self.node.path,
            pages >> (20 - PAGE_SHIFT),
            if self.node.direct_map { " directly mapped" } else { "" },
            parts.vcpus,
            granted.windows.len(),
            placement.kernel,
        );
    }

    fn vcpus(&self) -> Result<u16, BootError> {
        let controller = match self.node.direct_map {
            true => guest::machine_controller(self.platform),
            false => guest::guest_controller(self.platform),
        };
        let limit = controller.max_vcpus();
        let vcpus = u16::try_from(self.node.vcpus).ok().filter(|&vcpus| vcpus <= limit);
        vcpus.ok_or(BootError::TooManyVcpus { vcpus: self.node.vcpus, limit })
    }

    fn layout(&self, owners: &Owners, granted: &Granted, area: &[FrameRange]) -> Result<Layout, BootError> {
        let Builder { hv, platform, node, .. } = *self;
        let request = layout::Request {
            platform,
            windows: &granted.windows,
            uart: node.uart,
            static_shm: &node.shared.memory,
            address_bits: hv.geometry.bits(),
        };
        if !node.direct_map {
            return layout::standard(&request, node.memory.next_multiple_of(PAGE_SIZE));
        }
        let banks = area
            .iter()
            .map(|range| machine_model::Region::new(range.first.base().0, range.pages << PAGE_SHIFT));
        let event_interrupt =
            free_private_interrupt(self.host, platform).ok_or(BootError::NoEventInterrupt)?;
        layout::direct(&request, banks.collect(), event_interrupt, &owners.devices())
    }

    /// How many shared interrupts the controller has: enough for all that the domain is given.
    fn shared_interrupts(&self, layout: &Layout, granted: &Granted) -> Result<u16, BootError> {
        let wanted = self.node.shared_interrupts;
        let count = wanted.map_or(Some(guest::shared_interrupts()), guest::checked_shared_interrupts);
        let count = count.ok_or(BootError::Property { property: "nr_spis", problem: "is more than 988" })?;
        if let Some(uart) = layout.uart
            && let Some((node, _)) = granted.interrupts.iter().find(|(_, line)| line.intid == uart.interrupt)
        {
            return Err(BootError::InterruptTwice { intid: uart.interrupt, node: node.clone() });
        }
        let lines = granted.interrupts.iter().map(|(_, line)| line.intid);
        let highest = lines.chain(layout.uart.map(|uart| uart.interrupt)).max().unwrap_or_default();
        if highest.0 >= FIRST_SHARED_INTERRUPT.0 + u32::from(count) {
            let problem = "is too small for the domain's devices";
            return Err(BootError::Property { property: "nr_spis", problem });
        }
        Ok(count)
    }

    fn config<'p>(&self, parts: &'p Parts<'_>) -> DomainConfig<'p> {
        let node = self.node;
        let Parts { layout, ram, vcpus, shared_interrupts, vectors, .. } = parts;
        let frames = |asked: Option<u32>, default| asked.unwrap_or(default).clamp(1, MAX_GRANT_FRAMES);
        DomainConfig {
            id: self.id,
            handle: [0; 16],
            is_control: node.role == Role::Control,
            direct_mapped: node.direct_map,
            vcpus: *vcpus,
            ram,
            tables: MORE_TABLES,
            max_port: if node.role == Role::Control { PORTS - 1 } else { MAX_PORT },
            grant_frames: frames(node.grant_frames, GRANT_FRAMES),
            maptrack_frames: frames(node.maptrack_frames, MAPTRACK_FRAMES),
            trap_unmapped: node.trap_unmapped,
            paused: false,
            arch: layout.config(*shared_interrupts, *vectors),
        }
    }

    /// What a store in the control domain needs to come later: a port to it, and a page number that says "not yet".
    fn connect_store(&self, domain: &Domain) -> Result<(), BootError> {
        if self.node.enhanced != Enhanced::Enabled || self.node.role == Role::Control {
            return Ok(());
        }
        let port = domain.events.lock().alloc_unbound(DomId::CONTROL).map_err(BootError::Call)?;
        let mut parameters = domain.parameters.lock();
        parameters.set(HvmParam::StoreEvtchn, port.0.into());
        parameters.set(HvmParam::StorePfn, u64::MAX);
        Ok(())
    }
}

/// Maps what is passed through.
fn map_devices(domain: &Domain, granted: &Granted) -> Result<(), BootError> {
    let mut memory = domain.memory.lock();
    for (index, (_, window)) in granted.windows.iter().enumerate() {
        // Two devices in one page have the same window.
        if !granted.windows.iter().take(index).any(|(_, earlier)| earlier == window) {
            let mfn = window.machine.start().frame();
            let pages = window.machine.size() >> PAGE_SHIFT;
            let mapped = memory.p2m.map(window.guest.frame(), mfn, pages, MapKind::StrictDevice);
            mapped.map_err(|error| BootError::Map(mfn.base(), error))?;
        }
    }
    Ok(())
}
