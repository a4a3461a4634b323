//! Grants of this domain to itself: mapped, copied, ended, and refused.
//!
//! The domain that grants and the one that maps being the same, one program sees both sides; to the
//! hypervisor that is a grant like any other.

use std::env;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xenolith_abi::DomId;

use anyhow::{Result, bail, ensure};

use crate::pages::{PAGE, Pages};
use crate::report::Report;
use crate::xen::{DOM0, Foreign, Granted, MOST, Side, grant_copy, open};

/// The subcommand that a test runs in a process of its own, as it is to die by a signal.
pub const WRITER: &str = "write-through-read-only-map";

/// A reference that nobody grants.
const NO_REF: u32 = 0x00ff_fff0;

struct Devices {
    gntalloc: File,
    gntdev: File,
}

/// Runs all tests of grants.
pub fn run(report: &mut Report) {
    let devices =
        match open("gntalloc").and_then(|gntalloc| Ok(Devices { gntalloc, gntdev: open("gntdev")? })) {
            Ok(devices) => devices,
            Err(error) => return report.test("devices open", || Err(error)),
        };
    let devices = &devices;
    report.test("a mapped grant shows the granter's writes, and the granter the mapper's", || {
        both_ways(devices)
    });
    report.test("a read-only mapping reads", || read_only_reads(devices));
    report.test("a read-only mapping refuses a write", read_only_refuses);
    report.test("a read-only grant cannot be mapped for writing", || read_only_grant(devices));
    report.test("many grants in one call", || many_at_once(devices));
    report.test("one grant mapped twice", || twice(devices));
    report.test("grants and mappings come and go", || again_and_again(devices));
    report.test("a reference that is not granted is refused", || wrong_reference(devices));
    report.test("a domain that does not exist is refused", || wrong_domain(devices));
    report.test("copy from and to a grant", || copy(devices));
    report.test("copy across a page's end is refused", || copy_too_far(devices));
    report.test("copy by a wrong reference is refused", || copy_wrong_reference(devices));
    report.test("copy to a read-only grant is refused", || copy_to_read_only(devices));
}

fn same(pages: &Pages, seed: u8) -> Result<()> {
    match pages.mismatch(seed) {
        None => Ok(()),
        Some(offset) => bail!("byte {offset:#x} differs"),
    }
}

fn both_ways(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, true)?;
    granted.pages.fill(1);
    let foreign = Foreign::new(&devices.gntdev, DOM0, &granted.refs)?;
    let mapped = foreign.map(true)?;
    same(&mapped, 1)?;
    granted.pages.fill(2);
    same(&mapped, 2)?;
    mapped.fill(3);
    same(&granted.pages, 3)
}

fn read_only_reads(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, false)?;
    granted.pages.fill(4);
    let foreign = Foreign::new(&devices.gntdev, DOM0, &granted.refs)?;
    same(&foreign.map(false)?, 4)
}

fn read_only_refuses() -> Result<()> {
    const SIGBUS: i32 = 7;
    const SIGSEGV: i32 = 11;
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut writer = Command::new(env::current_exe()?).arg(WRITER).spawn()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = writer.try_wait()? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            writer.kill()?;
            bail!("the writer neither ended nor was killed: {}", writer.wait()?);
        }
        sleep(Duration::from_millis(10));
    };
    ensure!(matches!(status.signal(), Some(SIGBUS | SIGSEGV)), "the writer was to die by a signal: {status}");
    Ok(())
}

/// The process that [`read_only_refuses`] starts. It asks Linux to let it write where only reading was asked
/// of the hypervisor, and then writes.
pub fn write_through_read_only_map() -> ExitCode {
    let attempt = || -> Result<()> {
        let devices = Devices { gntalloc: open("gntalloc")?, gntdev: open("gntdev")? };
        let granted = Granted::new(&devices.gntalloc, DOM0, 1, true)?;
        let foreign = Foreign::new(&devices.gntdev, DOM0, &granted.refs)?;
        let mut mapped = foreign.map(false)?;
        mapped.protect(0, 1, true, true)?;
        mapped.write(0, 1);
        Ok(())
    };
    println!("the write was not refused: {:?}", attempt());
    ExitCode::FAILURE
}

fn read_only_grant(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, false)?;
    let foreign = Foreign::new(&devices.gntdev, DOM0, &granted.refs)?;
    ensure!(foreign.map(true).is_err(), "it was mapped");
    Ok(())
}

fn many_at_once(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, MOST, true)?;
    granted.pages.fill(5);
    let foreign = Foreign::new(&devices.gntdev, DOM0, &granted.refs)?;
    let mapped = foreign.map(true)?;
    same(&mapped, 5)?;
    mapped.fill(6);
    same(&granted.pages, 6)
}

fn twice(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, true)?;
    let (one, two) = (
        Foreign::new(&devices.gntdev, DOM0, &granted.refs)?,
        Foreign::new(&devices.gntdev, DOM0, &granted.refs)?,
    );
    let first = one.map(true)?;
    let second = two.map(false)?;
    first.fill(7);
    same(&second, 7)?;
    drop(first);
    drop(one);
    granted.pages.fill(8);
    same(&second, 8)
}

fn again_and_again(devices: &Devices) -> Result<()> {
    for seed in 0..100 {
        let granted = Granted::new(&devices.gntalloc, DOM0, 4, true)?;
        granted.pages.fill(seed);
        let foreign = Foreign::new(&devices.gntdev, DOM0, &granted.refs)?;
        same(&foreign.map(true)?, seed)?;
    }
    Ok(())
}

fn wrong_reference(devices: &Devices) -> Result<()> {
    let foreign = Foreign::new(&devices.gntdev, DOM0, &[NO_REF])?;
    ensure!(foreign.map(true).is_err(), "it was mapped");
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, true)?;
    let [good] = granted.refs[..] else { bail!("one page, one reference") };
    let foreign = Foreign::new(&devices.gntdev, DOM0, &[good, NO_REF, good])?;
    ensure!(foreign.map(true).is_err(), "it was mapped among good ones");
    let foreign = Foreign::new(&devices.gntdev, DOM0, &[good])?;
    foreign.map(true)?;
    Ok(())
}

fn wrong_domain(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, true)?;
    let foreign = Foreign::new(&devices.gntdev, DomId(0x1234), &granted.refs)?;
    ensure!(foreign.map(true).is_err(), "it was mapped");
    Ok(())
}

fn grant(granted: &Granted, offset: u16) -> Side {
    Side::Grant { domain: DOM0, reference: granted.refs[0], offset }
}

fn copy(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, true)?;
    let buffer = Pages::anonymous(1)?;
    granted.pages.fill(9);
    let status = grant_copy(&devices.gntdev, grant(&granted, 0), Side::Own(buffer.address()), 4096)?;
    ensure!(status == 0, "copy from the grant: status {status}");
    same(&buffer, 9)?;

    buffer.put(100, b"a few bytes");
    let status = grant_copy(&devices.gntdev, Side::Own(buffer.address() + 100), grant(&granted, 4000), 11)?;
    ensure!(status == 0, "copy to the grant: status {status}");
    ensure!(granted.pages.get(4000, 11) == b"a few bytes");

    let other = Granted::new(&devices.gntalloc, DOM0, 1, true)?;
    let status = grant_copy(&devices.gntdev, grant(&granted, 4000), grant(&other, 1), 11)?;
    ensure!(status == 0, "copy from grant to grant: status {status}");
    ensure!(other.pages.get(1, 11) == b"a few bytes");
    Ok(())
}

/// The status, or `None` when Linux itself refuses: both keep the bytes where they are.
fn refused(status: Result<i16, rustix::io::Errno>) -> Result<()> {
    ensure!(status != Ok(0), "it was done");
    Ok(())
}

fn copy_too_far(devices: &Devices) -> Result<()> {
    let (from, to) =
        (Granted::new(&devices.gntalloc, DOM0, 1, true)?, Granted::new(&devices.gntalloc, DOM0, 1, true)?);
    to.pages.fill(10);
    refused(grant_copy(&devices.gntdev, grant(&from, 4090), grant(&to, 0), 7))?;
    refused(grant_copy(&devices.gntdev, grant(&from, 0), grant(&to, 4090), 7))?;
    refused(grant_copy(&devices.gntdev, grant(&from, u16::MAX), grant(&to, 0), u16::MAX))?;
    refused(grant_copy(&devices.gntdev, grant(&from, 0), grant(&to, 0), 4097))?;
    same(&to.pages, 10)
}

fn copy_wrong_reference(devices: &Devices) -> Result<()> {
    let buffer = Pages::anonymous(1)?;
    buffer.fill(11);
    let wrong = Side::Grant { domain: DOM0, reference: NO_REF, offset: 0 };
    refused(grant_copy(&devices.gntdev, wrong, Side::Own(buffer.address()), 16))?;
    refused(grant_copy(&devices.gntdev, Side::Own(buffer.address()), wrong, 16))?;
    same(&buffer, 11)
}

fn copy_to_read_only(devices: &Devices) -> Result<()> {
    let granted = Granted::new(&devices.gntalloc, DOM0, 1, false)?;
    granted.pages.fill(12);
    let buffer = Pages::anonymous(1)?;
    refused(grant_copy(&devices.gntdev, Side::Own(buffer.address()), grant(&granted, 0), PAGE as u16))?;
    same(&granted.pages, 12)
}
