//! The whole way from a device tree to domains that run, on the model: RAM is where the tree says, and the boot loader's
//! files lie in it.

use core::cell::RefCell;
use std::alloc::Layout;

use xenolith_boot::{Image, Machine, MemoryLayout};
use xenolith_core::types::{CpuId, DomId, PAGE_SIZE, Pa, VcpuId};
use xenolith_domain::domain::Domain;
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::command_line::Options;
use xenolith_host::platform::fixtures::domains::{boot_domain, module};
use xenolith_host::platform::fixtures::{GICV3, cells, edited, string};
use xenolith_host::platform::{Platform, Region};
use xenolith_isa::stage2;
use xenolith_memory::frames::{FrameRange, FrameState, Frames, Storage, ZeroAndClean};
use xenolith_memory::p2m::Geometry;

use super::first::kernel;

const MIB: u64 = 1 << 20;
/// RAM of the machine.
const RAM: u64 = 128 * MIB;
/// What lies in it, from its start: the image, the kernels of two domains, the device tree.
const IMAGE: u64 = 2 * MIB;
const FIRST_KERNEL: u64 = 16 * MIB;
const OTHER_KERNEL: u64 = 24 * MIB;
const TREE: u64 = 32 * MIB;
/// Bytes of a kernel's module and of the image.
const FILE: u64 = MIB;

/// The machine, which notes what booting asks of it.
struct Model<'p> {
    platform: &'p Platform,
    start: u64,
    tree: Region,
    asked: &'p RefCell<Vec<String>>,
    made: &'p RefCell<Option<&'static Hypervisor>>,
}

impl Model<'_> {
    fn note(&self, what: impl Into<String>) {
        self.asked.borrow_mut().push(what.into());
    }

    fn bytes(&self, region: Region) -> &[u8] {
        let start = core::ptr::with_exposed_provenance(region.start().0 as usize);
        // SAFETY: the RAM of this machine, which `ram` has leaked; nobody writes to what the boot loader left there before
        // `reclaim` consumes the machine.
        unsafe { core::slice::from_raw_parts(start, region.size() as usize) }
    }
}

impl Machine for Model<'_> {
    fn cpus(&self) -> u16 {
        self.platform.cpus.len() as u16
    }

    fn image(&self) -> Image {
        let region = Region::new(Pa(self.start + IMAGE), FILE).unwrap();
        Image { region, file_pages: FILE / PAGE_SIZE }
    }

    fn prepare(&self, _: &Options) {
        self.note("prepare");
    }

    fn p2m_geometry(&self) -> Option<Geometry> {
        stage2::geometry(48)
    }

    fn take_memory(&self, layout: MemoryLayout) -> Frames {
        self.note("take memory");
        let (start, needed) = layout.storage();
        let words: *mut u64 = core::ptr::with_exposed_provenance_mut(start.0 as usize);
        // SAFETY: leaked memory, of which the layout has found this room free; all zeroes are values of both types.
        let storage = unsafe {
            Storage {
                bitmaps: core::slice::from_raw_parts_mut(words, needed.bitmap_words),
                table: core::slice::from_raw_parts_mut(
                    words.add(needed.bitmap_words).cast(),
                    needed.table_words,
                ),
            }
        };
        // SAFETY: leaked memory of its own; what is in use is reserved in the layout.
        unsafe { Frames::new(layout.banks(), layout.reserved(), storage, &ZeroAndClean) }.unwrap()
    }

    fn install(&self, hypervisor: &'static Hypervisor) {
        self.note("install");
        *self.made.borrow_mut() = Some(hypervisor);
    }

    fn start_cpu(&self, id: CpuId) -> bool {
        self.note(format!("start {id}"));
        id != CpuId(2)
    }

    fn self_test(&self, name: &str) {
        self.note(format!("test {name}"));
    }

    fn device_tree(&self) -> &[u8] {
        self.bytes(self.tree)
    }

    fn module(&self, region: Region) -> &[u8] {
        self.bytes(region)
    }

    fn reclaim(self, frames: &Frames, ranges: &mut dyn Iterator<Item = FrameRange>) {
        self.note("reclaim");
        for range in ranges {
            // SAFETY: leaked memory; what was lent of it went with the machine.
            unsafe { frames.reclaim(range) }.unwrap();
        }
    }
}

/// RAM, which stays for ever, with files at these offsets. Returns its address.
fn ram(files: impl FnOnce(u64) -> Vec<(u64, Vec<u8>)>) -> u64 {
    let layout = Layout::from_size_align(RAM as usize, 2 * MIB as usize).unwrap();
    // SAFETY: the size is not zero.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!memory.is_null());
    let start = memory.expose_provenance() as u64;
    for (offset, file) in files(start) {
        // SAFETY: the files lie inside.
        unsafe { core::ptr::copy_nonoverlapping(file.as_ptr(), memory.add(offset as usize), file.len()) };
    }
    start
}

fn halves(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

/// The device tree of the machine whose RAM is at `start`, with a first domain or without, and one that the tree describes.
fn tree(start: u64, has_first: bool, capabilities: u32) -> Vec<u8> {
    let place = |address: u64, size: u64| cells("reg", &[halves(address), halves(size)].concat());
    let file = |offset: u64| {
        let mut node = module("multiboot,kernel", offset as u32, 0);
        node.add_property(place(start + offset, FILE));
        node
    };
    edited(GICV3, |root| {
        let memory = root.child_mut("memory@40000000").unwrap();
        memory.add_property(place(start, RAM));
        root.remove_child("chosen");
        let mut chosen = dtoolkit::model::DeviceTreeNode::new("chosen").unwrap();
        chosen.add_property(string("xen,xen-bootargs", "dom0_mem=16M dom0_max_vcpus=1 test=one,two"));
        if has_first {
            chosen.add_child(file(FIRST_KERNEL));
        }
        let properties = [cells("memory", &[0, 4096]), cells("capabilities", &[capabilities])];
        let mut other = boot_domain("other", properties);
        let name = format!("module@{:x}", xenolith_host::platform::fixtures::domains::KERNEL);
        other.remove_child(&name).unwrap();
        for property in ["#address-cells", "#size-cells"] {
            other.add_property(cells(property, &[2]));
        }
        other.add_child(file(OTHER_KERNEL));
        chosen.add_child(other);
        root.add_child(chosen);
    })
}

/// Where a domain's first vCPU starts, and what is in the domain's memory at the end of the kernel that was loaded there.
fn kernel_of(hypervisor: &Hypervisor, domain: &Domain) -> (u64, [u8; 4]) {
    let entry = domain.vcpu(VcpuId(0)).unwrap().saved.lock().regs.pc;
    let at = xenolith_core::types::Ipa(entry + 0x2ffc);
    let mfn = domain.lookup(at.frame()).unwrap().mfn;
    let mut text = [0; 4];
    let read = |page: xenolith_memory::page::Page| page.read((at.0 % PAGE_SIZE) as usize, &mut text);
    assert_eq!(hypervisor.frames.with_mapped(&domain.memory.lock(), mfn, read), Ok(true));
    (entry, text)
}

#[test]
fn a_machine_boots_from_its_device_tree() {
    xenolith_arch::sim::power_on();
    let files =
        |start| vec![(FIRST_KERNEL, kernel()), (OTHER_KERNEL, kernel()), (TREE, tree(start, true, 0))];
    let start = ram(files);
    let bytes = tree(start, true, 0);
    let platform = Platform::parse(&bytes).unwrap();
    let (asked, made) = (RefCell::default(), RefCell::default());
    let tree = Region::new(Pa(start + TREE), bytes.len() as u64).unwrap();
    let machine = Model { platform: &platform, start, tree, asked: &asked, made: &made };
    xenolith_boot::boot(machine, &platform);

    let order = ["prepare", "take memory", "install", "start cpu1", "start cpu2", "start cpu3"];
    assert_eq!(asked.take(), [&order[..], &["test one", "test two", "reclaim"]].concat());
    let hypervisor = made.take().unwrap();
    assert_eq!(hypervisor.cpus(), 3, "one of four has not come");
    assert_eq!(hypervisor.geometry.bits(), 48);
    let domains: Vec<_> = hypervisor.domains().collect();
    assert_eq!(domains.iter().map(|domain| domain.id).collect::<Vec<_>>(), [DomId(0), DomId(1)]);
    for domain in &domains {
        let (entry, text) = kernel_of(hypervisor, domain);
        assert_eq!((entry % (2 * MIB), text), (0x8_0000, *b"text"));
    }
    let chosen = |cpu| hypervisor.scheduler.pick(CpuId(cpu), 0).unit;
    let mut running: Vec<_> = [chosen(0), chosen(1)].into_iter().flatten().collect();
    running.sort_by_key(|unit| unit.0);
    let first_vcpus: Vec<_> = domains.iter().map(|domain| domain.vcpu(VcpuId(0)).unwrap().unit).collect();
    assert_eq!(running, first_vcpus, "all run");
    // The boot loader's files are gone, the image stays, and so does the table of frames at the end of RAM.
    let state = |offset: u64| hypervisor.frames.state(Pa(start + offset).frame()).unwrap();
    for offset in [OTHER_KERNEL, TREE, OTHER_KERNEL + FILE - 1] {
        assert!(matches!(state(offset), FrameState::Free { .. }), "{offset:#x}: {:?}", state(offset));
    }
    for offset in [IMAGE, IMAGE + FILE - 1, RAM - 1] {
        assert_eq!(state(offset), FrameState::Reserved, "{offset:#x}");
    }
}

/// Without a kernel under /chosen the domain that the tree describes is alone: a guest, or the one that has control, with the
/// machine's devices or without.
#[test]
fn a_machine_boots_without_a_first_domain() {
    for (capabilities, id) in [(0, DomId(1)), (1, DomId(0)), (3, DomId(0))] {
        xenolith_arch::sim::power_on();
        let start = ram(|start| vec![(OTHER_KERNEL, kernel()), (TREE, tree(start, false, capabilities))]);
        let bytes = tree(start, false, capabilities);
        let platform = Platform::parse(&bytes).unwrap();
        let (asked, made) = (RefCell::default(), RefCell::default());
        let tree = Region::new(Pa(start + TREE), bytes.len() as u64).unwrap();
        let machine = Model { platform: &platform, start, tree, asked: &asked, made: &made };
        xenolith_boot::boot(machine, &platform);
        let hypervisor = made.take().unwrap();
        let domains: Vec<_> = hypervisor.domains().collect();
        assert_eq!(domains.iter().map(|domain| domain.id).collect::<Vec<_>>(), [id]);
        let [domain] = domains.as_slice() else { unreachable!() };
        assert_eq!((domain.is_control, domain.direct_mapped), (capabilities != 0, capabilities == 3));
        assert_eq!(kernel_of(hypervisor, domain).1, *b"text");
        let running = [0, 1, 3].map(|cpu| hypervisor.scheduler.pick(CpuId(cpu), 0).unit);
        assert!(running.contains(&Some(domain.vcpu(VcpuId(0)).unwrap().unit)), "{running:?}");
        let pages = domain.memory.lock().pages;
        assert_eq!(pages, if capabilities == 3 { 16 << 8 } else { 1024 }, "dom0_mem comes before the node");
    }
}
