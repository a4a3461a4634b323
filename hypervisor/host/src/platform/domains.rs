//! Domains that the hypervisor starts by itself: children of `/chosen` that are compatible with `xen,domain`, as Xen's
//! "dom0less" binding has them (docs/boot-domains.md).
//!
//! Each node stands for itself: one that is wrong costs its own domain and no other. What a node asks for and does not
//! get is an error or a warning, never a silent difference.

use crate::vector_length::VectorLength;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::{Node, Property};

use super::boot::{Module, cells_below, is_module, kind, module};
use super::error::PlatformError;
use super::module::ModuleKind;
use super::region::Region;
use super::static_shared::{self, EventEnd, StaticShared};
use super::tree::{Place, Tree, number_of_cells};
use xenolith_core::types::DomId;

/// Domains that are started at boot at most; further nodes are not read.
pub const MAX_BOOT_DOMAINS: usize = 64;

/// Which of Xen's interfaces a domain is told about (`xen,enhanced`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enhanced {
    /// None: no `/hypervisor` node.
    Disabled,
    /// All but xenstore.
    NoXenstore,
    /// All; xenstore comes when the control domain has one.
    Enabled,
}

/// What a domain is beside one that is started (`capabilities`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A guest.
    #[default]
    Guest,
    /// The control domain, which may make all calls, and serves xenstore.
    Control,
    /// The control and hardware domain, which has the machine's devices, too: it is built as the first domain is.
    Hardware,
}

/// A domain to be started at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDomain {
    /// The node's full path.
    pub path: String,
    /// What it is.
    pub role: Role,
    /// RAM in bytes; not zero.
    pub memory: u64,
    /// vCPUs; not zero.
    pub vcpus: u32,
    /// Guest addresses of RAM, interrupt controller and UART are the machine's.
    pub direct_map: bool,
    /// It has an emulated UART.
    pub uart: bool,
    /// Which of Xen's interfaces it is told about.
    pub enhanced: Enhanced,
    /// Shared interrupts that its interrupt controller has; `None`: as many as the machine's.
    pub shared_interrupts: Option<u32>,
    /// Frames of grant table at most; `None`: the hypervisor's default.
    pub grant_frames: Option<u32>,
    /// Frames of handles for grants of others at most; `None`: the hypervisor's default.
    pub maptrack_frames: Option<u32>,
    /// The SVE that it has; `None`: none.
    pub vectors: Option<VectorLength>,
    /// The kernel, with the domain's command line.
    pub kernel: Module,
    /// The ramdisk.
    pub ramdisk: Option<Module>,
    /// The partial device tree that says which devices are passed through.
    pub device_tree: Option<Module>,
    /// An access to an address where nothing is gives an abort, and not what hardware would say.
    pub trap_unmapped: bool,
    /// What it has in common with other domains from its start.
    pub shared: StaticShared,
    /// Properties and children that are there and have no effect.
    pub ignored: Vec<String>,
}

impl BootDomain {
    /// Whether its RAM has the machine's addresses.
    pub fn is_direct(&self) -> bool {
        self.direct_map || self.role == Role::Hardware
    }

    /// Its modules.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        core::iter::once(&self.kernel).chain(&self.ramdisk).chain(&self.device_tree)
    }
}

/// What has an effect, or is of the device tree itself. What else a node has is named in the log.
const KNOWN: [&str; 18] = [
    "name",
    "compatible",
    "status",
    "phandle",
    "linux,phandle",
    "#address-cells",
    "#size-cells",
    "memory",
    "cpus",
    "capabilities",
    "direct-map",
    "vpl011",
    "xen,enhanced",
    "nr_spis",
    "sve",
    "max_grant_frames",
    "max_maptrack_frames",
    "trap-unmapped-accesses",
];
/// Properties and children without an effect that are named.
const MAX_IGNORED: usize = 16;

/// What a domain that asks for it may not work without.
const REFUSED: [(&str, &str); 2] = [
    ("xen,static-mem", "is not supported: leave it out, and the hypervisor chooses the memory"),
    ("xen,static-heap", "belongs to /chosen, not to a domain"),
];

/// What the tree says of the domains.
#[derive(Default)]
pub struct Read {
    /// The control domain, if it is one of those that it describes.
    pub control: Option<BootDomain>,
    /// The others that it describes.
    pub domains: Vec<Result<BootDomain, PlatformError>>,
    /// What the first domain has in common with them.
    pub first: StaticShared,
    /// What is wrong with the first domain's nodes for that.
    pub errors: Vec<PlatformError>,
}

/// Reads the nodes. `modules` are the first domain's, which no other module may overlap; one that is a kernel makes it
/// the control domain. Else the first one whose node says so is.
pub fn read(tree: &Tree<'_>, modules: &[Module], memory: &[Region]) -> Read {
    let root = tree.root();
    let Some(chosen) = root.children().find(|place| place.path() == "/chosen") else {
        return Read::default();
    };
    let has_first = modules.iter().any(|module| module.kind == ModuleKind::Kernel);
    let mut domains: Vec<Result<BootDomain, PlatformError>> = Vec::new();
    let mut control: Option<BootDomain> = None;
    for node in nodes(&chosen) {
        let domain = one(&root, &node).and_then(|domain| {
            let earlier = domains.iter().flatten().chain(&control);
            check_modules(&domain, modules, earlier, memory)?;
            if domain.role != Role::Guest && (has_first || control.is_some()) {
                return Err(node.bad("capabilities", "makes it the control domain, and there is one already"));
            }
            Ok(domain)
        });
        match domain {
            Ok(domain) if domain.role != Role::Guest => control = Some(domain),
            domain => domains.push(domain),
        }
    }
    let (mut first, mut errors) = static_shared::of_first(&root, &chosen);
    let is_control =
        |node: &Place<'_, '_>| control.as_ref().is_some_and(|control| control.path == node.path());
    let control_node = nodes(&chosen).find(is_control);
    let others = nodes(&chosen).filter(|node| !is_control(node));
    let ends: Vec<(DomId, EventEnd)> = match &control_node {
        Some(node) => static_shared::all_ends(node, others),
        None => static_shared::all_ends(&chosen, others),
    };
    if !has_first {
        let all = first.memory.iter().map(|node| &node.path).chain(first.events.iter().map(|end| &end.path));
        errors.extend(all.map(|node| PlatformError::BadProperty {
            node: node.clone(),
            property: "compatible",
            problem: "is of something that the first domain has, and /chosen has no kernel for one",
        }));
        first = control.as_mut().map(|control| core::mem::take(&mut control.shared)).unwrap_or_default();
    }
    let is_direct = control.as_ref().is_none_or(BootDomain::is_direct);
    errors.extend(static_shared::agree(&mut first, is_direct, &mut domains, &ends));
    if let Some(control) = &mut control {
        control.shared = first.clone();
    }
    Read { control, domains, first, errors }
}

/// The nodes of the domains.
fn nodes<'a, 's>(chosen: &'s Place<'a, '_>) -> impl Iterator<Item = Place<'a, 's>> {
    let is_domain = |node: &Place<'_, '_>| node.is_compatible(&["xen,domain"]) && node.is_enabled();
    chosen.children().filter(is_domain).take(MAX_BOOT_DOMAINS)
}

/// Whether the domain's modules are in memory and apart from all others, those of the first domain and of `earlier` ones.
/// A file that two domains boot from may be the same, but none may be a part of another.
#[inline(never)]
fn check_modules<'d>(
    domain: &'d BootDomain,
    first: &[Module],
    earlier: impl Iterator<Item = &'d BootDomain> + Clone,
    memory: &[Region],
) -> Result<(), PlatformError> {
    for module in domain.modules() {
        super::check_place(module, memory)?;
        first.iter().try_for_each(|other| check_apart_or_same(module, other))?;
        for other in earlier.clone().chain([domain]) {
            other.modules().try_for_each(|other| check_apart_or_same(module, other))?;
        }
    }
    Ok(())
}

#[inline(never)]
fn check_apart_or_same(module: &Module, other: &Module) -> Result<(), PlatformError> {
    let is_same = other.region == module.region && other.kind == module.kind;
    if is_same { Ok(()) } else { super::check_apart(module, other) }
}

#[inline(never)]
fn one(root: &Place<'_, '_>, node: &Place<'_, '_>) -> Result<BootDomain, PlatformError> {
    let bad = |property, problem| node.bad(property, problem);
    if let Some((property, problem)) = REFUSED.into_iter().find(|(name, _)| node.bytes(name).is_some()) {
        return Err(bad(property, problem));
    }
    let kib = number_of_cells(node.bytes("memory").ok_or_else(|| bad("memory", "is missing: KiB of RAM"))?);
    let memory = kib.and_then(|kib| kib.checked_mul(1 << 10)).filter(|&bytes| bytes > 0);
    let memory = memory.ok_or_else(|| bad("memory", "is not a number of KiB, as one or two cells"))?;
    let vcpus = count(node, "cpus")?.ok_or_else(|| bad("cpus", "is missing: the number of vCPUs"))?;
    if vcpus == 0 {
        return Err(bad("cpus", "is zero"));
    }
    let enhanced = match node.bytes("xen,enhanced") {
        None => Enhanced::Disabled,
        Some(b"" | b"\0" | b"enabled\0") => Enhanced::Enabled,
        Some(b"no-xenstore\0") => Enhanced::NoXenstore,
        Some(b"disabled\0") => Enhanced::Disabled,
        Some(_) => {
            return Err(bad("xen,enhanced", "is none of \"enabled\", \"no-xenstore\" and \"disabled\""));
        }
    };
    let trap_unmapped = match count(node, "trap-unmapped-accesses")? {
        None | Some(0) => false,
        Some(1) => true,
        Some(_) => return Err(bad("trap-unmapped-accesses", "is neither 0 nor 1")),
    };
    let properties = node.node.properties().filter(|property| !KNOWN.contains(&property.name()));
    let mut ignored: Vec<String> =
        properties.take(MAX_IGNORED).map(|property| String::from(property.name())).collect();
    let (mut modules, shared) = children(root, node, &mut ignored)?;
    let mut take = |kind| {
        let index = modules.iter().position(|module| module.kind == kind)?;
        Some(modules.swap_remove(index))
    };
    Ok(BootDomain {
        path: node.path(),
        role: role(node)?,
        memory,
        vcpus,
        direct_map: node.bytes("direct-map").is_some(),
        uart: node.bytes("vpl011").is_some(),
        enhanced,
        shared_interrupts: count(node, "nr_spis")?,
        grant_frames: count(node, "max_grant_frames")?,
        maptrack_frames: count(node, "max_maptrack_frames")?,
        vectors: vectors(node)?,
        kernel: take(ModuleKind::Kernel)
            .ok_or_else(|| PlatformError::NoDomainKernel { node: node.path() })?,
        ramdisk: take(ModuleKind::Ramdisk),
        device_tree: take(ModuleKind::DeviceTree),
        trap_unmapped,
        shared,
        ignored,
    })
}

/// What the domain is by `capabilities`, whose bits are those of Xen's public header bootfdt.h.
fn role(node: &Place<'_, '_>) -> Result<Role, PlatformError> {
    const CONTROL: u32 = 1;
    const HARDWARE: u32 = 2;
    const XENSTORE: u32 = 4;
    let bits = count(node, "capabilities")?.unwrap_or(0);
    let problem = match bits & !XENSTORE {
        0 if bits == 0 => return Ok(Role::Guest),
        CONTROL => return Ok(Role::Control),
        bits if bits == CONTROL | HARDWARE => return Ok(Role::Hardware),
        0 => "is that of a domain for xenstore alone: here the control domain serves it (5)",
        HARDWARE => "is that of a hardware domain without control: here both are one (3)",
        _ => "has bits beside 1 (control), 2 (hardware) and 4 (xenstore)",
    };
    Err(node.bad("capabilities", problem))
}

/// What is below a domain's node: modules, one of each kind, and what it has in common with others.
#[inline(never)]
fn children(
    root: &Place<'_, '_>,
    node: &Place<'_, '_>,
    ignored: &mut Vec<String>,
) -> Result<(Vec<Module>, StaticShared), PlatformError> {
    let cells = cells_below(root, node);
    let mut found: Vec<Module> = Vec::new();
    let mut shared = StaticShared::default();
    for child in node.children() {
        let is_shared = shared.add(&child, cells)?;
        if !is_module(&child) {
            if !is_shared && child.is_enabled() && ignored.len() < MAX_IGNORED {
                ignored.push(String::from(child.node.name()));
            }
            continue;
        }
        let kind = kind(&child).filter(|&kind| kind != ModuleKind::Other);
        let kind = kind.ok_or_else(|| {
            child.bad(
                "compatible",
                "has none of multiboot,kernel, multiboot,ramdisk and multiboot,device-tree",
            )
        })?;
        if found.iter().any(|module| module.kind == kind) {
            return Err(child.bad("compatible", "is that of a second module of its kind in one domain"));
        }
        found.push(module(&child, kind, cells)?);
    }
    Ok((found, shared))
}

/// `sve`: without a value the longest vectors that there are, 0 for none, else their bits.
fn vectors(node: &Place<'_, '_>) -> Result<Option<VectorLength>, PlatformError> {
    if node.bytes("sve").is_some_and(<[u8]>::is_empty) {
        return Ok(Some(VectorLength::Longest));
    }
    let Some(bits) = count(node, "sve")?.filter(|&bits| bits != 0) else { return Ok(None) };
    let length = VectorLength::of_bits(bits);
    length.map(Some).ok_or_else(|| node.bad("sve", "is no multiple of 128 up to 2048"))
}

/// A property that is a number of one cell, if it is there.
#[inline(never)]
fn count(node: &Place<'_, '_>, property: &'static str) -> Result<Option<u32>, PlatformError> {
    match (node.bytes(property), node.number(property)) {
        (Some(_), None) => Err(node.bad(property, "is not a number of one cell")),
        (_, number) => Ok(number),
    }
}

#[cfg(test)]
mod tests;
