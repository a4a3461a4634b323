use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use xenolith_host::platform::PlatformError;
use xenolith_host::platform::fixtures::domains::{boot_domain, first_shared_memory, host, module};
use xenolith_host::platform::fixtures::{GICV2, GICV3, cells, edited, node, reserving};

const MIB: u64 = 1 << 20;

fn region(start: u64, bytes: u64) -> Region {
    Region::between(start, start + bytes).unwrap()
}

fn covers(ranges: &[FrameRange], of: Region) -> bool {
    let pages = frame_range(&of);
    (pages.first.0..pages.end())
        .all(|mfn| ranges.iter().any(|range| range.contains(xenolith_core::types::Mfn(mfn))))
}

/// The pages for the table of frames.
fn table(layout: &MemoryLayout) -> FrameRange {
    let (start, needed) = layout.storage();
    assert_eq!(start.0 % PAGE_SIZE, 0);
    FrameRange { first: start.frame(), pages: (needed.bytes() as u64).div_ceil(PAGE_SIZE) }
}

/// What a boot loader can have done with a small machine. Addresses are bytes.
#[derive(Clone, Debug)]
struct Found {
    v3: bool,
    banks: Vec<Region>,
    image: Region,
    tree: Region,
    /// Of the first domain, in the tree's order: a kernel, a ramdisk, and what is neither.
    modules: Vec<(&'static str, Region)>,
    /// Kernels of boot-time domains.
    domains: Vec<Region>,
    /// Entries of the header, and nodes below `/reserved-memory`.
    reserved: [Vec<Region>; 2],
}

/// A machine's RAM: one or two banks, whose edges may be anywhere.
fn banks() -> impl Strategy<Value = Vec<Region>> {
    let odd = || prop_oneof![2 => Just(0), 1 => 1..PAGE_SIZE];
    (odd(), odd(), prop::option::of((0..3 * PAGE_SIZE, MIB..16 * MIB))).prop_map(|(start, end, second)| {
        let first = region(0x4000_0000 + start, 48 * MIB - start - end);
        let second = second.map(|(gap, size)| region(first.end().0 + 1 + gap, size));
        core::iter::once(first).chain(second).collect()
    })
}

/// So many bytes somewhere in a bank.
fn place(banks: &[Region], size: u64, align: u64) -> impl Strategy<Value = Region> + use<> {
    let banks: Vec<Region> = banks.iter().copied().filter(|bank| bank.size() >= size + align).collect();
    (prop::sample::select(banks), any::<prop::sample::Index>()).prop_map(move |(bank, at)| {
        let start = bank.start().0 + at.index((bank.size() - size - align + 1) as usize) as u64;
        region(start.next_multiple_of(align), size)
    })
}

fn found() -> impl Strategy<Value = Found> {
    (any::<bool>(), banks()).prop_flat_map(|(v3, banks)| {
        let file = |at_most: u64| {
            let banks = banks.clone();
            (1..at_most).prop_flat_map(move |size| place(&banks, size, 1))
        };
        let modules = (file(3 * MIB), prop::option::of(file(3 * MIB)), prop::option::of(file(MIB)));
        let modules = modules.prop_map(|(kernel, ramdisk, other)| {
            let ramdisk = ramdisk.map(|region| ("multiboot,ramdisk", region));
            let other = other.map(|region| ("xen,xsm-policy", region));
            core::iter::once(("multiboot,kernel", kernel)).chain(ramdisk).chain(other).collect::<Vec<_>>()
        });
        let loaded = (
            place(&banks, 3 * MIB / 2, PAGE_SIZE),
            place(&banks, 70_001, 8),
            modules.prop_shuffle(),
            prop::collection::vec(file(MIB), 0..3),
        );
        (Just((v3, banks.clone())), loaded).prop_flat_map(|((v3, banks), (image, tree, modules, domains))| {
            // What is reserved may be anywhere: a part of RAM, beside it, across its edge, or just what was loaded, as
            // U-Boot reserves the device tree.
            let loaded: Vec<Region> =
                modules.iter().map(|&(_, region)| region).chain([image, tree]).collect();
            let anywhere =
                (0x3fe0_0000..0x4480_0000_u64, 1..MIB).prop_map(|(start, size)| region(start, size));
            let across = (prop::sample::select(loaded.clone()), 0..2 * MIB, 1..MIB)
                .prop_map(|(of, back, size)| region(of.end().0.saturating_sub(back), size));
            let one = prop_oneof![3 => anywhere, 1 => prop::sample::select(loaded), 1 => across];
            let list = move || prop::collection::vec(one.clone(), 0..8);
            (list(), list()).prop_map(move |(header, nodes)| Found {
                v3,
                banks: banks.clone(),
                image,
                tree,
                modules: modules.clone(),
                domains: domains.clone(),
                reserved: [header, nodes],
            })
        })
    })
}

fn wide(region: Region) -> [u32; 4] {
    let [start, size] = [region.start().0, region.size()];
    [(start >> 32) as u32, start as u32, (size >> 32) as u32, size as u32]
}

impl Found {
    fn device_tree(&self) -> Vec<u8> {
        let dtb = edited(if self.v3 { GICV3 } else { GICV2 }, |root| {
            let banks: Vec<u32> = self.banks.iter().flat_map(|&bank| wide(bank)).collect();
            root.child_mut("memory@40000000").unwrap().add_property(cells("reg", &banks));
            let mut reserved = node(
                "reserved-memory",
                [cells("#address-cells", &[2]), cells("#size-cells", &[2]), cells("ranges", &[])],
            );
            for (index, &region) in self.reserved[1].iter().enumerate() {
                reserved.add_child(node(&format!("r{index}"), [cells("reg", &wide(region))]));
            }
            root.add_child(reserved);
            root.remove_child("chosen");
            let mut chosen = node("chosen", []);
            let file = |kind: &str, region: Region| {
                let mut module = module(kind, region.start().0 as u32, 1);
                module.add_property(cells("reg", &wide(region)));
                module
            };
            self.modules.iter().for_each(|&(kind, region)| chosen.add_child(file(kind, region)));
            for (index, &region) in self.domains.iter().enumerate() {
                let mut domain = boot_domain(&format!("d{index}"), []);
                domain.remove_child("module@50000000").unwrap();
                for name in ["#address-cells", "#size-cells"] {
                    domain.add_property(cells(name, &[2]));
                }
                domain.add_child(file("multiboot,kernel", region));
                chosen.add_child(domain);
            }
            root.add_child(chosen);
        });
        let header = self.reserved[0].iter().map(|region| (region.start().0, region.size()));
        reserving(&dtb, header)
    }

    fn files(&self) -> Vec<Region> {
        self.modules.iter().map(|&(_, region)| region).collect()
    }
}

/// What a page is, by the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Page {
    ram: bool,
    kept: bool,
    passing: bool,
}

/// Each page that somebody speaks of. What the domains boot from is that of those which are taken.
fn model(found: &Found, domains: &[Region]) -> BTreeMap<u64, Page> {
    let mut pages: BTreeMap<u64, Page> = BTreeMap::new();
    for bank in &found.banks {
        let whole = bank.start().0.div_ceil(PAGE_SIZE)..bank.end().0 / PAGE_SIZE;
        whole.for_each(|page| pages.entry(page).or_default().ram = true);
    }
    let touched = |region: Region| region.start().0 / PAGE_SIZE..region.end().0.div_ceil(PAGE_SIZE);
    for &region in found.reserved.iter().flatten().chain([&found.image]) {
        touched(region).for_each(|page| pages.entry(page).or_default().kept = true);
    }
    for region in found.files().into_iter().chain(domains.iter().copied()).chain([found.tree]) {
        touched(region).for_each(|page| pages.entry(page).or_default().passing = true);
    }
    pages
}

fn pages(ranges: &[FrameRange]) -> Vec<u64> {
    ranges.iter().flat_map(|range| range.first.0..range.end()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Wherever the boot loader puts image, tree and modules, and whatever is reserved: each page of RAM has one use, which
    /// is the right one, or the layout is refused because two things that must be apart are not.
    #[test]
    fn each_page_has_the_use_that_the_tree_says(found in found()) {
        let files = found.files();
        let overlap = |one: &[Region], other: &[Region]| {
            one.iter().any(|one| other.iter().any(|other| one.overlaps(*other)))
        };
        let files_overlap = files.iter().enumerate().any(|(index, file)| overlap(&[*file], &files[..index]));
        let platform = match Platform::parse(&found.device_tree()) {
            Ok(platform) => platform,
            Err(error) => {
                prop_assert!(matches!(error, PlatformError::ModulesOverlap { .. }), "{error}");
                prop_assert!(files_overlap, "{error}");
                return Ok(());
            }
        };
        prop_assert!(!files_overlap);
        let domains: Vec<Region> =
            platform.sound_boot_domains().flat_map(BootDomain::modules).map(|module| module.region).collect();
        let loaded: Vec<Region> = files.iter().chain(&domains).copied().collect();
        let spoilt = overlap(&loaded, &[found.image, found.tree]) || found.image.overlaps(found.tree);
        let expected = model(&found, &domains);
        let layout = match MemoryLayout::new(&platform, found.image, found.tree) {
            Ok(layout) => layout,
            Err(error @ LayoutError::Covered { .. }) => {
                prop_assert!(spoilt, "{error}");
                return Ok(());
            }
            Err(LayoutError::NoRoom { bytes }) => {
                let free = |page: &Page| page.ram && !page.kept && !page.passing;
                let (mut run, mut last) = (0, 0);
                for (&at, page) in &expected {
                    run = if free(page) { if at == last + 1 { run + 1 } else { 1 } } else { 0 };
                    last = at;
                    prop_assert!(run * PAGE_SIZE < bytes, "there is room");
                }
                return Ok(());
            }
        };
        prop_assert!(!spoilt);
        // The allocator has the pages that are RAM and nothing else.
        let ram: Vec<u64> = expected.iter().filter(|(_, page)| page.ram).map(|(&at, _)| at).collect();
        prop_assert_eq!(pages(layout.banks()), ram);
        // What it may give away is in no use, and the table is the only thing besides.
        let mut own = expected.clone();
        for page in pages(&[table(&layout)]) {
            let entry = own.entry(page).or_default();
            prop_assert_eq!(*entry, Page { ram: true, ..Page::default() }, "the table, page {:#x}", page);
            entry.kept = true;
        }
        let reserved: std::collections::BTreeSet<u64> = pages(layout.reserved()).into_iter().collect();
        for (at, page) in &own {
            prop_assert_eq!(reserved.contains(at), page.kept || page.passing, "page {:#x}", at);
        }
        // What goes back is what was needed until here, once, and no more.
        let back = pages(&reclaimable(&platform, found.image, found.tree));
        let passing = |page: &Page| page.ram && page.passing && !page.kept;
        let expected: Vec<u64> = expected.iter().filter(|(_, page)| passing(page)).map(|(&at, _)| at).collect();
        prop_assert_eq!(back, expected);
    }
}

#[test]
fn what_the_image_or_the_tree_covers_is_refused_by_name() {
    let platform = Platform::parse(GICV3).unwrap();
    let refused = |image: u64, tree: u64| {
        MemoryLayout::new(&platform, region(image, MIB), region(tree, MIB)).unwrap_err().to_string()
    };
    assert_eq!(
        refused(0x45f8_0000, 0x4c00_0000),
        "boot module /chosen/module@0x46000000 (kernel) at 0x46000000-0x4600752f lies where the hypervisor's image with \
         its stacks is (0x45f80000-0x4607ffff); the boot loader has to put it elsewhere"
    );
    let tree = refused(0x4020_0000, 0x4800_0000);
    assert!(tree.contains("(ramdisk)") && tree.contains("lies where the device tree is"), "{tree}");
    let both = refused(0x4020_0000, 0x402f_f000);
    assert!(both.starts_with("the device tree at 0x402ff000-"), "{both}");
}

#[test]
fn memory_in_common_keeps_its_place() {
    let (plain, placed) = (
        GICV3.to_vec(),
        edited(GICV3, |root| {
            let chosen = root.child_mut("chosen").unwrap();
            chosen.add_child(first_shared_memory("a", 0x7fe0_0000, 0x7fe0_0000, 0x20_0000));
        }),
    );
    let of = |tree: &[u8]| {
        let platform = Platform::parse(tree).unwrap();
        let layout =
            MemoryLayout::new(&platform, region(0x4020_0000, MIB), region(0x4c00_0000, MIB)).unwrap();
        table(&layout).end() << PAGE_SHIFT
    };
    assert_eq!((of(&plain), of(&placed)), (0x8000_0000, 0x7fe0_0000));
}

#[test]
fn modules_of_domains_are_given_back_and_a_machine_can_be_too_full() {
    let tree = host(&[], [boot_domain("d", [])]);
    let platform = Platform::parse(&tree).unwrap();
    let back = reclaimable(&platform, region(0x4020_0000, MIB), region(0x4c00_0000, MIB));
    let kernel = platform.sound_boot_domains().next().unwrap().kernel.region;
    assert!(covers(&back, kernel));
    let all = platform.memory[0];
    let full = Platform { reserved: vec![all], ..platform.clone() };
    let full = MemoryLayout::new(&full, region(0x4020_0000, MIB), region(0x4c00_0000, MIB)).unwrap_err();
    assert!(full.to_string().starts_with("no 2"), "{full}");
}
