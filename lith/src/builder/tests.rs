use std::path::Path;

use backend::xen::slots::SlotState;
use machine_model::image::ImageHeader;
use xenolith_abi::Gfn;

use super::kernel::tests::image;
use super::*;
use crate::config::Backend;
use crate::xen::fake::{FIRST, FakeXen};

const DISKS: &str =
    "[[disk]]\nimage = \"/a.img\"\n[[disk]]\nimage = \"/b.qcow2\"\nformat = \"qcow2\"\nbackend = 3\n";

fn config(text: &str) -> GuestConfig {
    GuestConfig::parse(
        Path::new("/web.toml"),
        &format!("kernel = \"k\"\nmemory = \"128M\"\nvcpus = 2\n{text}"),
    )
    .unwrap()
}

fn files() -> Files {
    let kernel = image(0x20_0000, 0x1f6_e000);
    let header = ImageHeader::read(&kernel).unwrap();
    Files { kernel, header, ramdisk: Some(vec![0x11; 0xfe123]), cmdline: String::new(), entry: None }
}

fn resolve(device: &dyn Device) -> Result<DomId> {
    match device.backend() {
        Backend::Number(number) => Ok(*number),
        Backend::Name(name) => bail_name(name),
    }
}

fn bail_name(name: &str) -> Result<DomId> {
    Err(anyhow::anyhow!("no domain is called {name}"))
}

fn make(xen: &FakeXen, config: &GuestConfig) -> Result<Built> {
    build(xen, config, &files(), &resolve, &mut |_| ())
}

#[test]
fn the_steps_are_those_of_xens_tools() {
    let xen = FakeXen::new();
    let built = make(&xen, &config(DISKS)).unwrap();
    assert_eq!((built.domain, built.store_port, built.console_port), (FIRST, Port(1), Port(2)));
    assert_eq!(
        *xen.calls.borrow(),
        [
            "create 2 vCPUs, 12 SPIs",
            "max_vcpus 2",
            "max_mem 0x20400",
            "event channel",
            "event channel",
            "paging pool 0x300000",
            "parameter 0 = 0x20000000000021f",
            "64 bits",
            "populate 64 of order 9 from 0x40000",
            "populate 4 of order 0 from 0x39000",
            "load 0x40000",
            "load 0x47e00",
            "load 0x47c00",
            "parameter 17 = 0x39000",
            "parameter 1 = 0x39001",
            "parameter 18 = 0x2",
            "parameter 2 = 0x1",
            "context of 0",
            "slot in 0 with interrupt 33",
            "slot in 3 with interrupt 34",
        ]
    );
    let context = xen.context.get().unwrap();
    assert_eq!((context.user_regs.pc, context.user_regs.x[0]), (0x4000_0000, 0x47c0_0000));
    assert_eq!((context.user_regs.cpsr, context.sctlr, context.flags), (0x3c5, 0x00c5_0078, 1));
    let loaded = xen.loaded.borrow();
    assert_eq!((loaded[&Gfn(0x40000)] == files().kernel, loaded[&Gfn(0x47e00)].len()), (true, 0xfe123));
    assert!(loaded[&Gfn(0x47c00)].starts_with(&[0xd0, 0x0d, 0xfe, 0xed]));
    let slots = xen.slots.borrow();
    assert_eq!(slots[0].device.ram, [backend::Bank { base: 0x4000_0000, size: 128 << 20 }]);
    let expected = r#"{"image":"/a.img","read_only":false,"queues":2}"#;
    assert_eq!(String::from_utf8_lossy(&slots[0].device.config), expected);
}

/// A guest's kernel finds other random bytes each time that it starts, of which no two kinds are alike.
#[test]
fn a_kernel_is_told_where_to_go_unless_the_file_says_otherwise() {
    let xen = FakeXen::new();
    let tree = |more: &str| {
        make(&xen, &config(more)).unwrap();
        xen.loaded.borrow()[&Gfn(0x47c00)].clone()
    };
    let has = |tree: &[u8], bytes: &[u8]| tree.windows(bytes.len()).any(|part| part == bytes);
    // Asked for first, each time, are the domain's UUID and the seed of the kernel's generator.
    for last in [0xfd, 0xfa] {
        let tree = tree("");
        assert!(has(&tree, b"\0kaslr-seed\0") && has(&tree, b"\0rng-seed\0"));
        assert!(has(&tree, &[last; 8]) && has(&tree, &[last + 1; 128]));
    }
    let tree = tree("kaslr = false\n");
    assert!(has(&tree, b"\0rng-seed\0") && !has(&tree, b"\0kaslr-seed\0"));
}

#[test]
fn each_step_that_fails_leaves_nothing() {
    let config = config(DISKS);
    let steps = {
        let xen = FakeXen::new();
        make(&xen, &config).unwrap();
        xen.calls.borrow().len()
    };
    for step in 0..steps {
        let xen = FakeXen::new();
        xen.fails_at.set(Some(step));
        let error = make(&xen, &config).unwrap_err();
        assert!(format!("{error:#}").contains("told to fail"), "step {step}: {error:#}");
        assert!(xen.domains.borrow().is_empty() && xen.slots.borrow().is_empty(), "step {step}");
        let destroyed = xen.calls.borrow().iter().filter(|call| *call == "destroy 7").count();
        assert_eq!(destroyed, usize::from(step != 0), "step {step}");
    }
}

#[test]
fn what_a_backend_says_reaches_the_user() {
    let xen = FakeXen::new();
    xen.slot_becomes.replace(Some((SlotState::Failed, "/a.img: no such file".into())));
    let error = make(&xen, &config(DISKS)).unwrap_err().to_string();
    assert_eq!(error, "disk /a.img: the control domain cannot serve it: no such file");
    assert!(xen.domains.borrow().is_empty());
}

#[test]
fn a_backend_that_does_not_come_is_not_waited_for_for_ever() {
    let xen = FakeXen::new();
    xen.slot_becomes.replace(None);
    let error = make(&xen, &config(DISKS)).unwrap_err().to_string();
    assert!(error.contains("/a.img: nobody serves it in the control domain after 30 s"), "{error}");
    assert_eq!(xen.time.get().as_secs(), 30);
}

#[test]
fn patience_is_measured_by_the_clock() {
    let xen = FakeXen::new();
    xen.slot_becomes.replace(None);
    xen.slots_take.set(std::time::Duration::from_millis(20));
    make(&xen, &config(DISKS)).unwrap_err();
    assert_eq!(xen.time.get().as_secs(), 30, "each look takes as long as the pause before it");
}

#[test]
fn an_unknown_backend_is_refused_before_anything_is_made() {
    let xen = FakeXen::new();
    let error = make(&xen, &config("[[disk]]\nimage = \"/a\"\nbackend = \"store\"\n")).unwrap_err();
    assert_eq!(error.to_string(), "no domain is called store");
    assert!(xen.calls.borrow().is_empty());
}

#[test]
fn too_little_memory_says_how_much_there_is() {
    let xen = FakeXen::new();
    xen.free_pages.set(Some(100 << 8));
    let error = make(&xen, &config("")).unwrap_err().to_string();
    assert!(error.contains("the guest needs 128 MiB, and 100 MiB are free"), "{error}");
    assert!(xen.calls.borrow().is_empty(), "nothing was made");
    // Enough for the guest's RAM, and not for what else it has.
    xen.free_pages.set(Some(128 << 8));
    let error = make(&xen, &config("")).unwrap_err().to_string();
    assert!(error.contains("the guest needs 128 MiB, and 128 MiB are free"), "{error}");
    assert!(xen.domains.borrow().is_empty());
}

#[test]
fn more_vcpus_than_a_gicv2_serves_are_said_to_be_the_reason() {
    let refused = |vcpus: &str, source| {
        let error = backend::Error::Call { action: "make a domain", source, advice: "" };
        let text = format!("kernel = \"k\"\nmemory = \"128M\"\nvcpus = {vcpus}\n");
        let config = GuestConfig::parse(Path::new("/web.toml"), &text).unwrap();
        format!("{:#}", too_many_vcpus(&config, error))
    };
    assert!(refused("9", Errno::INVAL).starts_with("`vcpus` is 9, and on a machine with a GICv2"));
    for (vcpus, errno) in [("8", Errno::INVAL), ("9", Errno::NOMEM)] {
        assert!(refused(vcpus, errno).starts_with("cannot make a domain: "));
    }
}

#[test]
fn memory_comes_in_pages_where_there_are_no_blocks() {
    let xen = FakeXen::new();
    xen.has_large.set(false);
    make(&xen, &config("")).unwrap();
    let small = xen.calls.borrow().iter().filter(|call| call.starts_with("populate 512 of order 0")).count();
    assert_eq!(small, 64);
}

#[test]
fn a_kernel_that_does_not_fit_is_said_to() {
    let xen = FakeXen::new();
    let mut files = files();
    files.ramdisk = Some(vec![0; 200 << 20]);
    let error = build(&xen, &config(""), &files, &resolve, &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "initrd of 204800 KiB does not fit into 128 MiB");
    assert!(xen.domains.borrow().is_empty());
}

#[test]
fn the_domain_is_told_apart_by_a_random_uuid() {
    let handle = random_uuid(&FakeXen::new());
    assert_eq!(handle.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

#[test]
fn without_io_forwarding_a_disk_is_refused_before_anything_is_made() {
    let xen = FakeXen::new();
    xen.no_slots.set(true);
    let error = make(&xen, &config(DISKS)).unwrap_err().to_string();
    assert_eq!(error, "disk /a.img: the hypervisor is one without I/O forwarding, which disks need");
    assert!(xen.calls.borrow().is_empty());
    make(&xen, &config("")).unwrap();
}
