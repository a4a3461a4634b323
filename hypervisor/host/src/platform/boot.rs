//! What the boot loader leaves under `/chosen`: modules and command lines.
//!
//! Modules are children compatible with `multiboot,module` and with what they are. A module that does not say what it
//! is counts, as with Xen, as the kernel if it is the first such one, and as the ramdisk if it is the second.

use alloc::string::String;

use arrayvec::ArrayVec;

use super::error::PlatformError;
use super::module::ModuleKind;
use super::region::Region;
use super::seed::Seed;
use super::tree::{Place, Tree, entries, number_of_cells};
use xenolith_core::types::Pa;

/// Boot modules that are kept.
pub const MAX_MODULES: usize = 16;

/// A file that the boot loader put into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The node's full path.
    pub path: String,
    /// What it is.
    pub kind: ModuleKind,
    /// Where it is.
    pub region: Region,
    /// Its command line, if it has one.
    pub arguments: Option<String>,
}

/// All that `/chosen` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The modules, in the tree's order, and behind them a ramdisk of `linux,initrd-start` and `linux,initrd-end`.
    pub modules: ArrayVec<Module, MAX_MODULES>,
    /// The hypervisor's command line.
    pub command_line: String,
    /// The first domain's command line.
    pub domain_arguments: String,
    /// From `rng-seed` and `kaslr-seed`.
    pub seed: Seed,
}

impl Chosen {
    fn add(&mut self, module: Module) -> Result<(), PlatformError> {
        self.modules.try_push(module).map_err(|_| PlatformError::TooManyModules { limit: MAX_MODULES })
    }
}

/// Reads `/chosen`.
pub fn chosen(tree: &Tree<'_>) -> Result<Chosen, PlatformError> {
    let root = tree.root();
    match root.children().find(|place| place.path() == "/chosen") {
        Some(place) => read(&root, &place),
        None => Ok(Chosen::default()),
    }
}

fn read(root: &Place<'_, '_>, place: &Place<'_, '_>) -> Result<Chosen, PlatformError> {
    let cells = cells_below(root, place);
    let mut chosen = Chosen::default();
    let mut nameless = [ModuleKind::Kernel, ModuleKind::Ramdisk].into_iter();
    for child in place.children().filter(is_module) {
        let kind = kind(&child).unwrap_or_else(|| nameless.next().unwrap_or(ModuleKind::Other));
        let module = module(&child, kind, cells)?;
        chosen.add(module)?;
    }

    let own = place.text("xen,xen-bootargs");
    let bootargs = place.text("bootargs");
    let for_hypervisor = own.or(bootargs.filter(|_| !chosen.modules.is_empty()));
    chosen.command_line = String::from(for_hypervisor.unwrap_or_default());
    // Without `xen,xen-bootargs` the plain `bootargs` are the hypervisor's, not the domain's.
    let kernel = chosen.modules.iter().find(|module| module.kind == ModuleKind::Kernel);
    let of_kernel = kernel.and_then(|kernel| kernel.arguments.as_deref());
    let of_domain =
        of_kernel.or_else(|| place.text("xen,dom0-bootargs")).or(bootargs.filter(|_| own.is_some()));
    chosen.domain_arguments = String::from(of_domain.unwrap_or_default());

    if let Some(ramdisk) = bare_ramdisk(place, &chosen.modules) {
        chosen.add(ramdisk)?;
    }
    chosen.seed = Seed::new(place.bytes("rng-seed"), place.bytes("kaslr-seed"));
    Ok(chosen)
}

/// The ramdisk that was given as for a bare Linux. A module that is one comes before it.
fn bare_ramdisk(place: &Place<'_, '_>, modules: &[Module]) -> Option<Module> {
    let [start, end] =
        ["linux,initrd-start", "linux,initrd-end"].map(|name| number_of_cells(place.bytes(name)?));
    let kind = ModuleKind::Ramdisk;
    let region =
        Region::between(start?, end?).filter(|_| !modules.iter().any(|module| module.kind == kind))?;
    Some(Module { path: String::from("/chosen (linux,initrd-start)"), kind, region, arguments: None })
}

/// Cells of an address and of a size in the `reg` of modules below a node. QEMU's guest-loader writes it with the root's
/// cells and gives /chosen none of its own.
#[inline(never)]
pub fn cells_below(root: &Place<'_, '_>, place: &Place<'_, '_>) -> [usize; 2] {
    let own = ["#address-cells", "#size-cells"].map(|name| place.number(name));
    [own[0].map_or(root.address_cells(), to_usize), own[1].map_or(root.size_cells(), to_usize)]
}

/// Reads a module's node.
#[inline(never)]
pub fn module(place: &Place<'_, '_>, kind: ModuleKind, cells: [usize; 2]) -> Result<Module, PlatformError> {
    let reg = entries(place.bytes("reg").unwrap_or_default(), cells).next();
    let region = reg.and_then(|[address, size]| Region::new(Pa(address?), size?));
    let region = region.ok_or_else(|| place.bad("reg", "is not the module's address and size"))?;
    let arguments = place.text("bootargs").map(String::from);
    Ok(Module { path: place.path(), kind, region, arguments })
}

fn to_usize(cells: u32) -> usize {
    usize::try_from(cells).unwrap_or(usize::MAX)
}

/// Whether a node describes a boot module that counts.
pub fn is_module(place: &Place<'_, '_>) -> bool {
    place.is_compatible(&["multiboot,module", "xen,multiboot-module"]) && place.is_enabled()
}

/// What a module's node says that it is.
pub fn kind(place: &Place<'_, '_>) -> Option<ModuleKind> {
    [
        (&["multiboot,kernel", "xen,linux-zimage"], ModuleKind::Kernel),
        (&["multiboot,ramdisk", "xen,linux-initrd"], ModuleKind::Ramdisk),
        (&["multiboot,device-tree", "xen,device-tree"], ModuleKind::DeviceTree),
        (&["xen,xsm-policy", "multiboot,microcode"], ModuleKind::Other),
    ]
    .into_iter()
    .find_map(|(names, kind)| place.is_compatible(names).then_some(kind))
}
