//! Hypercalls as a hostile program makes them: numbers that do not exist, pointers to nowhere, buffers that
//! lie badly. Each must be answered by the ABI's error code, and well-formed ones must still work.

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use crate::pages::{PAGE, Pages};
use crate::report::Report;
use crate::xen::{DOMID_SELF, hypercall, open};

const PLATFORM_OP: u64 = 7;
const MEMORY_OP: u64 = 12;
const MULTICALL: u64 = 13;
const XEN_VERSION: u64 = 17;
const CONSOLE_IO: u64 = 18;
const GRANT_TABLE_OP: u64 = 20;
const VM_ASSIST: u64 = 21;
const VCPU_OP: u64 = 24;
const SCHED_OP: u64 = 29;
const EVENT_CHANNEL_OP: u64 = 32;
const PHYSDEV_OP: u64 = 33;
const HVM_OP: u64 = 34;
const DM_OP: u64 = 41;

/// Numbers that Xen leaves empty on Arm.
const ABSENT: [u64; 22] =
    [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 14, 15, 22, 23, 25, 30, 31, 43, 63, 64, 0x1_0000, u64::MAX];

/// Addresses at which this process has nothing: null, low, its highest, not canonical, the kernel's, the
/// highest of all, whose buffers would wrap.
const NOWHERE: [u64; 8] = [
    0,
    0x10,
    0x0000_ffff_ffff_f000,
    0x0000_dead_beef_0000,
    0x1234_5678_9abc_def0,
    0xffff_0000_dead_0000,
    0xffff_ffff_ffff_f000,
    0xffff_ffff_ffff_fff8,
];

/// Sub-operations of xen_version that write to a buffer, and its size.
const VERSION_BUFFERS: [(u64, usize); 7] =
    [(1, 16), (2, 144), (3, 1024), (4, 64), (5, 8), (8, 16), (9, 1024)];

struct Xen {
    privcmd: File,
}

impl Xen {
    fn call(&self, op: u64, args: &[u64]) -> Result<u32, Errno> {
        let mut all = [0; 5];
        all[..args.len()].copy_from_slice(args);
        hypercall(&self.privcmd, op, all)
    }

    /// Makes a call that must fail so.
    fn refuse(&self, error: Errno, op: u64, args: &[u64]) -> Result<()> {
        let answer = self.call(op, args);
        ensure!(answer == Err(error), "hypercall {op} {args:x?}: {answer:?} in place of {error:?}");
        Ok(())
    }

    fn accept(&self, op: u64, args: &[u64]) -> Result<u32> {
        self.call(op, args).with_context(|| format!("hypercall {op} {args:x?}"))
    }
}

/// Runs all tests of hypercalls.
pub fn run(report: &mut Report) {
    let xen = match open("privcmd") {
        Ok(privcmd) => Xen { privcmd },
        Err(error) => return report.test("privcmd opens", || Err(error)),
    };
    let xen = &xen;
    report.test("numbers that do not exist", || absent(xen));
    report.test("sub-operations that do not exist", || absent_sub_operations(xen));
    report.test("each xen_version", || versions(xen));
    report.test("pointers to nowhere", || nowhere(xen));
    report.test("buffers that cross pages, at every alignment", || crossing(xen));
    report.test("a buffer whose second page is missing", || half_a_buffer(xen));
    report.test("a result into a read-only page", || read_only(xen));
    report.test("multicall", || multicall(xen));
    report.test("multicall inside multicall", || nested_multicall(xen));
    report.test("multicall over lists that end nowhere", || broken_multicall(xen));
    report.test("memory_op refusals", || memory_op(xen));
    report.test("event_channel_op refusals", || event_channel_op(xen));
    report.test("grant_table_op refusals", || grant_table_op(xen));
    report.test("vcpu_op refusals", || vcpu_op(xen));
    report.test("sched_op refusals", || sched_op(xen));
    report.test("hvm_op refusals", || hvm_op(xen));
    report.test("dm_op refusals", || dm_op(xen));
    report.test("console_io, platform_op, vm_assist refusals", || others(xen));
    report.test("a well-formed call still works", || versions(xen));
}

/// Tells the hypervisor that this domain has crashed: it does not return.
pub fn crash() -> ExitCode {
    const SHUTDOWN: u64 = 2;
    const CRASH: u64 = 3;
    let attempt = || -> Result<u32> {
        let (xen, page) = (Xen { privcmd: open("privcmd")? }, Pages::anonymous(1)?);
        xen.accept(SCHED_OP, &[SHUTDOWN, words(&page, &[CRASH])])
    };
    println!("the domain lives on: {:?}", attempt());
    ExitCode::FAILURE
}

fn absent(xen: &Xen) -> Result<()> {
    ABSENT.iter().try_for_each(|&number| xen.refuse(Errno::NOSYS, number, &[u64::MAX; 5]))
}

fn absent_sub_operations(xen: &Xen) -> Result<()> {
    let buffer = Pages::anonymous(1)?;
    let pointer = buffer.address();
    xen.refuse(Errno::NOSYS, XEN_VERSION, &[99, pointer])?;
    xen.refuse(Errno::NOSYS, MEMORY_OP, &[63, pointer])?;
    xen.refuse(Errno::NOSYS, EVENT_CHANNEL_OP, &[99, pointer])?;
    xen.refuse(Errno::NOSYS, GRANT_TABLE_OP, &[99, pointer, 1])?;
    xen.refuse(Errno::NOSYS, SCHED_OP, &[99, pointer])?;
    xen.refuse(Errno::NOSYS, HVM_OP, &[99, pointer])?;
    xen.refuse(Errno::NOSYS, CONSOLE_IO, &[99, 1, pointer])?;
    xen.refuse(Errno::NOSYS, PHYSDEV_OP, &[99, pointer])?;
    xen.refuse(Errno::NOSYS, VM_ASSIST, &[99, 5])
}

/// Asks for all that xen_version tells, as Xen's tools do.
fn versions(xen: &Xen) -> Result<()> {
    let buffer = Pages::anonymous(1)?;
    let pointer = buffer.address();
    ensure!(xen.accept(XEN_VERSION, &[0, 0])? >> 16 == 4, "major version");
    for (sub, size) in VERSION_BUFFERS {
        buffer.fill(0xee);
        xen.accept(XEN_VERSION, &[sub, pointer])?;
        let beyond = buffer.get(size, 64);
        buffer.fill(0xee);
        ensure!(beyond == buffer.get(size, 64), "sub-operation {sub} wrote beyond {size} bytes");
    }
    xen.accept(XEN_VERSION, &[3, pointer])?;
    let capabilities = buffer.get(0, 1024);
    ensure!(capabilities.starts_with(b"xen-3.0-aarch64"), "capabilities");

    const DOM0_BIT: u64 = 1 << 11;
    const TRANSLATED_BIT: u64 = 1 << 2;
    buffer.put(0, &[0; 8]);
    xen.accept(XEN_VERSION, &[6, pointer])?;
    let features = buffer.word(0) >> 32;
    ensure!(features & DOM0_BIT != 0 && features & TRANSLATED_BIT != 0, "features {features:#x}");
    buffer.put(0, &1_u32.to_le_bytes());
    xen.refuse(Errno::INVAL, XEN_VERSION, &[6, pointer])?;

    ensure!(xen.accept(XEN_VERSION, &[7, 0])? == 4096, "page size");
    xen.refuse(Errno::INVAL, XEN_VERSION, &[7, pointer])
}

fn nowhere(xen: &Xen) -> Result<()> {
    for pointer in NOWHERE {
        for (sub, _) in VERSION_BUFFERS {
            xen.refuse(Errno::FAULT, XEN_VERSION, &[sub, pointer])?;
        }
        xen.refuse(Errno::FAULT, XEN_VERSION, &[6, pointer])?;
        for sub in [3, 7, 15, 23] {
            xen.refuse(Errno::FAULT, MEMORY_OP, &[sub, pointer])?;
        }
        for counting in [1, 6] {
            // These answer by the number of extents done, and none is an answer too.
            let answer = xen.call(MEMORY_OP, &[counting, pointer]);
            ensure!(matches!(answer, Ok(0) | Err(Errno::FAULT)), "memory_op {counting}: {answer:?}");
        }
        for sub in [0, 1, 3, 4, 5, 6, 8, 9] {
            xen.refuse(Errno::FAULT, EVENT_CHANNEL_OP, &[sub, pointer])?;
        }
        for sub in [0, 1, 5, 6, 8] {
            xen.refuse(Errno::FAULT, GRANT_TABLE_OP, &[sub, pointer, 1])?;
        }
        for sub in [2, 3, 4] {
            xen.refuse(Errno::FAULT, SCHED_OP, &[sub, pointer])?;
        }
        for sub in [0, 1] {
            xen.refuse(Errno::FAULT, HVM_OP, &[sub, pointer])?;
        }
        xen.refuse(Errno::FAULT, CONSOLE_IO, &[0, 16, pointer])?;
        xen.refuse(Errno::FAULT, PLATFORM_OP, &[pointer])?;
        xen.refuse(Errno::FAULT, MULTICALL, &[pointer, 1])?;
    }
    Ok(())
}

fn crossing(xen: &Xen) -> Result<()> {
    let (buffer, reference) = (Pages::anonymous(2)?, Pages::anonymous(1)?);
    xen.accept(XEN_VERSION, &[3, reference.address()])?;
    let capabilities = reference.get(0, 1024);
    for start in (PAGE - 24..PAGE + 8).chain([PAGE - 1023, PAGE - 1024]) {
        buffer.fill(0);
        xen.accept(XEN_VERSION, &[3, buffer.address() + start as u64])?;
        ensure!(buffer.get(start, 1024) == capabilities, "text at offset {start:#x} differs");
    }
    for start in PAGE - 8..PAGE {
        buffer.put(start, &[0; 8]);
        xen.accept(XEN_VERSION, &[6, buffer.address() + start as u64])?;
        ensure!(buffer.word(start) != 0, "features at offset {start:#x}");
    }
    Ok(())
}

fn half_a_buffer(xen: &Xen) -> Result<()> {
    let mut buffer = Pages::anonymous(2)?;
    buffer.protect(1, 1, false, false)?;
    let end = buffer.address() + PAGE as u64;
    xen.refuse(Errno::FAULT, XEN_VERSION, &[3, end - 1023])?;
    xen.refuse(Errno::FAULT, XEN_VERSION, &[6, end - 4])?;
    xen.refuse(Errno::FAULT, EVENT_CHANNEL_OP, &[5, end - 8])?;
    xen.refuse(Errno::FAULT, GRANT_TABLE_OP, &[6, end - 8, 1])?;
    xen.refuse(Errno::FAULT, CONSOLE_IO, &[0, 64, end])?;
    xen.accept(XEN_VERSION, &[3, end - 1024])?;
    Ok(())
}

fn read_only(xen: &Xen) -> Result<()> {
    let mut buffer = Pages::anonymous(1)?;
    buffer.protect(0, 1, true, false)?;
    xen.refuse(Errno::FAULT, XEN_VERSION, &[3, buffer.address()])?;
    xen.refuse(Errno::FAULT, XEN_VERSION, &[6, buffer.address()])?;
    ensure!(buffer.get(0, PAGE).iter().all(|&byte| byte == 0), "the page changed");
    Ok(())
}

const ENTRY: usize = 64;
const RESULT: usize = 8;

/// Writes a multicall entry to a list.
fn put_entry(list: &Pages, at: usize, op: u64, args: &[u64]) {
    let untouched = u64::MAX / 3;
    for (index, word) in [op, untouched].iter().chain(args).enumerate() {
        list.put(at + index * 8, &word.to_le_bytes());
    }
}

fn result(list: &Pages, at: usize) -> i64 {
    list.word(at + RESULT).cast_signed()
}

fn multicall(xen: &Xen) -> Result<()> {
    let list = Pages::anonymous(1)?;
    let pointer = list.address();
    put_entry(&list, 0, XEN_VERSION, &[0, 0]);
    put_entry(&list, ENTRY, 63, &[]);
    put_entry(&list, 2 * ENTRY, XEN_VERSION, &[3, NOWHERE[4]]);
    put_entry(&list, 3 * ENTRY, XEN_VERSION, &[7, 0]);
    ensure!(xen.accept(MULTICALL, &[pointer, 4])? == 0);
    let results: Vec<i64> = (0..4).map(|index| result(&list, index * ENTRY)).collect();
    ensure!(results[0] >> 16 == 4 && results[1..] == [-38, -14, 4096], "results {results:?}");
    ensure!(xen.accept(MULTICALL, &[pointer, 0])? == 0);
    ensure!(xen.accept(MULTICALL, &[NOWHERE[4], 0])? == 0, "an empty list needs no memory");
    Ok(())
}

fn nested_multicall(xen: &Xen) -> Result<()> {
    let list = Pages::anonymous(1)?;
    put_entry(&list, 0, MULTICALL, &[list.address(), 2]);
    put_entry(&list, ENTRY, XEN_VERSION, &[7, 0]);
    ensure!(xen.accept(MULTICALL, &[list.address(), 2])? == 0);
    let results = (result(&list, 0), result(&list, ENTRY));
    ensure!(results == (-22, 4096), "results {results:?}");
    Ok(())
}

fn broken_multicall(xen: &Xen) -> Result<()> {
    let mut list = Pages::anonymous(2)?;
    list.protect(1, 1, false, false)?;
    put_entry(&list, PAGE - ENTRY, XEN_VERSION, &[7, 0]);
    xen.refuse(Errno::FAULT, MULTICALL, &[list.address() + (PAGE - ENTRY) as u64, 2])?;
    ensure!(result(&list, PAGE - ENTRY) == 4096, "the entry before the hole was not done");
    xen.refuse(Errno::FAULT, MULTICALL, &[list.address() + (PAGE - ENTRY / 2) as u64, 1])?;
    xen.refuse(Errno::FAULT, MULTICALL, &[NOWHERE[7], u64::from(u32::MAX)])
}

/// A structure of little-endian words in a page.
fn words(page: &Pages, words: &[u64]) -> u64 {
    for (index, word) in words.iter().enumerate() {
        page.put(index * 8, &word.to_le_bytes());
    }
    page.address()
}

fn memory_op(xen: &Xen) -> Result<()> {
    const ADD_TO_PHYSMAP: u64 = 7;
    const ADD_TO_PHYSMAP_BATCH: u64 = 23;
    const ACQUIRE_RESOURCE: u64 = 28;
    const SHARED_INFO: u64 = 0;
    const GRANT_TABLE: u64 = 1;
    let page = Pages::anonymous(1)?;
    let own = u64::from(DOMID_SELF);
    let add = |space: u64, index: u64, gfn: u64| words(&page, &[own | space << 32, index, gfn]);
    xen.refuse(Errno::INVAL, MEMORY_OP, &[ADD_TO_PHYSMAP, add(SHARED_INFO, 1, 0x3_8000)])?;
    xen.refuse(Errno::INVAL, MEMORY_OP, &[ADD_TO_PHYSMAP, add(GRANT_TABLE, 1 << 20, 0x3_8000)])?;
    xen.refuse(Errno::NOSYS, MEMORY_OP, &[ADD_TO_PHYSMAP, add(99, 0, 0x3_8000)])?;
    let nobody = words(&page, &[0x1234, 0, 0x3_8000]);
    xen.refuse(Errno::SRCH, MEMORY_OP, &[ADD_TO_PHYSMAP, nobody])?;
    // Foreign pages of a domain that does not exist, and of the caller itself: refused page by page.
    for foreign in [0x1234_u64, 0] {
        let (indexes, frames, errors) = (64, 72, 80);
        page.put(errors, &[0; 8]);
        let at = |offset: u64| page.address() + offset;
        let batch = [own | 4 << 16 | 1 << 32 | foreign << 48, at(indexes), at(frames), at(errors as u64)];
        ensure!(xen.accept(MEMORY_OP, &[ADD_TO_PHYSMAP_BATCH, words(&page, &batch)])? == 0);
        let found = page.word(errors) as i32;
        ensure!(found == -Errno::SRCH.raw_os_error(), "page of domain {foreign:#x}: {found}");
    }
    // Resources of the same two: nobody has any, and the own ones are reached otherwise.
    for (domain, kind) in [(0x1234_u64, 0_u64), (0x1234, 1), (0, 0), (0, 1)] {
        let resource = words(&page, &[domain | kind << 16, 1, 0, page.address() + 64]);
        let error = if domain == 0 { Errno::PERM } else { Errno::SRCH };
        xen.refuse(error, MEMORY_OP, &[ACQUIRE_RESOURCE, resource])?;
    }
    Ok(())
}

fn dm_op(xen: &Xen) -> Result<()> {
    const NR_VCPUS: u64 = 20;
    let page = Pages::anonymous(1)?;
    let header = page.address() + 64;
    page.put(64, &NR_VCPUS.to_le_bytes());
    let buffers = words(&page, &[header, 12]);
    for (domain, error) in [(0x1234, Errno::SRCH), (0, Errno::PERM), (u64::from(DOMID_SELF), Errno::PERM)] {
        xen.refuse(Errno::NODATA, DM_OP, &[domain, 0, buffers])?;
        xen.refuse(Errno::TOOBIG, DM_OP, &[domain, 3, buffers])?;
        xen.refuse(Errno::FAULT, DM_OP, &[domain, 1, NOWHERE[4]])?;
        xen.refuse(error, DM_OP, &[domain, 1, buffers])?;
    }
    Ok(())
}

fn event_channel_op(xen: &Xen) -> Result<()> {
    const BIND_INTERDOMAIN: u64 = 0;
    const BIND_VIRQ: u64 = 1;
    const CLOSE: u64 = 3;
    const SEND: u64 = 4;
    const STATUS: u64 = 5;
    const ALLOC_UNBOUND: u64 = 6;
    const BIND_VCPU: u64 = 8;
    const UNMASK: u64 = 9;
    const EXPAND_ARRAY: u64 = 12;
    const SET_PRIORITY: u64 = 13;
    let page = Pages::anonymous(1)?;
    let own = u64::from(DOMID_SELF);
    for port in [0_u64, 4000, 131_071, 131_072, u64::from(u32::MAX)] {
        for sub in [CLOSE, SEND, BIND_VCPU] {
            xen.refuse(Errno::INVAL, EVENT_CHANNEL_OP, &[sub, words(&page, &[port])])?;
        }
        xen.refuse(
            Errno::INVAL,
            EVENT_CHANNEL_OP,
            &[BIND_INTERDOMAIN, words(&page, &[own | port << 32, 0])],
        )?;
    }
    xen.refuse(Errno::INVAL, EVENT_CHANNEL_OP, &[UNMASK, words(&page, &[131_072])])?;
    xen.refuse(Errno::INVAL, EVENT_CHANNEL_OP, &[STATUS, words(&page, &[own | 131_072 << 32, 0, 0])])?;
    xen.refuse(Errno::SRCH, EVENT_CHANNEL_OP, &[STATUS, words(&page, &[0x1234, 0, 0])])?;
    xen.refuse(Errno::SRCH, EVENT_CHANNEL_OP, &[ALLOC_UNBOUND, words(&page, &[0x1234])])?;
    xen.refuse(Errno::NOENT, EVENT_CHANNEL_OP, &[BIND_VIRQ, words(&page, &[1000 << 32, 0])])?;
    xen.refuse(Errno::INVAL, EVENT_CHANNEL_OP, &[BIND_VIRQ, words(&page, &[1000, 0])])?;
    xen.refuse(Errno::INVAL, EVENT_CHANNEL_OP, &[EXPAND_ARRAY, words(&page, &[u64::MAX])])?;
    xen.refuse(Errno::INVAL, EVENT_CHANNEL_OP, &[SET_PRIORITY, words(&page, &[1 | 16 << 32])])
}

fn grant_table_op(xen: &Xen) -> Result<()> {
    const MAP: u64 = 0;
    const UNMAP: u64 = 1;
    const COPY: u64 = 5;
    const QUERY_SIZE: u64 = 6;
    const SET_VERSION: u64 = 8;
    let page = Pages::anonymous(1)?;
    let own = u64::from(DOMID_SELF);
    xen.refuse(Errno::INVAL, GRANT_TABLE_OP, &[QUERY_SIZE, words(&page, &[own, 0]), 2])?;
    xen.refuse(Errno::INVAL, GRANT_TABLE_OP, &[SET_VERSION, words(&page, &[3]), 1])?;
    let status = |sub: u64, structure: &[u64], at: usize| -> Result<i16> {
        ensure!(xen.accept(GRANT_TABLE_OP, &[sub, words(&page, structure), 1])? == 0);
        let [low, high] = page.get(at, 2)[..] else { bail!("two bytes of status") };
        Ok(i16::from_le_bytes([low, high]))
    };
    let statuses = [
        ("query of nobody", -2, status(QUERY_SIZE, &[0x1234, 0], 12)?),
        ("map of nobody", -2, status(MAP, &[0x3_9000_0000, 2, 0x1234, 0], 18)?),
        ("map of a wrong reference", -3, status(MAP, &[0x3_9000_0000, 2 | 0xff_fff0 << 32, 0, 0], 18)?),
        ("unmap of a wrong handle", -4, status(UNMAP, &[0, 0, 0xffff_fff0], 20)?),
        ("copy between own frames that do not exist", -9, {
            status(COPY, &[1 << 40, own, 1 << 40, own, 16], 36)?
        }),
    ];
    for (what, expected, found) in statuses {
        ensure!(expected == found, "{what}: status {found} in place of {expected}");
    }
    ensure!(xen.accept(GRANT_TABLE_OP, &[QUERY_SIZE, words(&page, &[own, 0]), 0]).is_err());
    Ok(())
}

fn vcpu_op(xen: &Xen) -> Result<()> {
    let page = Pages::anonymous(1)?;
    for sub in [0, 1, 2, 3, 4, 6, 7, 14, 15, 99] {
        xen.refuse(Errno::INVAL, VCPU_OP, &[sub, 0, page.address()])?;
    }
    xen.refuse(Errno::NOENT, VCPU_OP, &[10, 1000, page.address()])?;
    xen.refuse(Errno::NOENT, VCPU_OP, &[10, u64::from(u32::MAX), page.address()])
}

fn sched_op(xen: &Xen) -> Result<()> {
    const YIELD: u64 = 0;
    const POLL: u64 = 3;
    const REMOTE_SHUTDOWN: u64 = 4;
    let page = Pages::anonymous(1)?;
    ensure!(xen.accept(SCHED_OP, &[YIELD, 0])? == 0);
    let ports = page.address() + 64;
    xen.refuse(Errno::INVAL, SCHED_OP, &[POLL, words(&page, &[ports, 129, 1])])?;
    xen.refuse(Errno::FAULT, SCHED_OP, &[POLL, words(&page, &[NOWHERE[4], 1, 1])])?;
    page.put(64, &u32::MAX.to_le_bytes());
    xen.refuse(Errno::INVAL, SCHED_OP, &[POLL, words(&page, &[ports, 1, 1])])?;
    page.put(64, &1_u32.to_le_bytes());
    ensure!(xen.accept(SCHED_OP, &[POLL, words(&page, &[ports, 1, 1])])? == 0, "a time-out in the past");
    xen.refuse(Errno::SRCH, SCHED_OP, &[REMOTE_SHUTDOWN, words(&page, &[0x1234])])
}

fn hvm_op(xen: &Xen) -> Result<()> {
    const SET: u64 = 0;
    const GET: u64 = 1;
    const STORE_EVTCHN: u64 = 2;
    let page = Pages::anonymous(1)?;
    let own = u64::from(DOMID_SELF);
    ensure!(xen.accept(HVM_OP, &[GET, words(&page, &[own | STORE_EVTCHN << 32, 1])])? == 0);
    xen.refuse(Errno::INVAL, HVM_OP, &[GET, words(&page, &[own | 99 << 32, 0])])?;
    xen.refuse(Errno::INVAL, HVM_OP, &[SET, words(&page, &[own | 99 << 32, 0])])?;
    xen.refuse(Errno::SRCH, HVM_OP, &[GET, words(&page, &[0x1234 | STORE_EVTCHN << 32, 0])])
}

fn others(xen: &Xen) -> Result<()> {
    const READ: u64 = 1;
    let page = Pages::anonymous(1)?;
    xen.refuse(Errno::TOOBIG, CONSOLE_IO, &[READ, u64::from(u32::MAX), page.address()])?;
    ensure!(xen.accept(CONSOLE_IO, &[0, 0, page.address()])? == 0, "an empty write");
    xen.refuse(Errno::ACCESS, PLATFORM_OP, &[words(&page, &[62 | 0x1234 << 32])])?;
    xen.refuse(Errno::NOSYS, PLATFORM_OP, &[words(&page, &[999 | 0x0300_0001 << 32])])?;
    xen.refuse(Errno::INVAL, VM_ASSIST, &[0, 99])
}
