//! A disk of which ranges are given back or zeroed, and a disk that is only read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use system_tests::shell::Shell;

use crate::rig::{Rig, extract};

/// Two disks, the guest's second and third.
pub const DISKS: &str = "[[disk]]\nimage = \"/images/plain.img\"\n\
                         [[disk]]\nimage = \"/images/fixed.img\"\nread_only = true\n";
const MIB: usize = 1 << 20;
/// Size of both, and what each of their bytes is.
const SIZE: usize = 8 * MIB;
const PATTERN: u8 = 0xa5;
/// What is done to the plain one: where, how much, and how. Linux punches holes by WRITE_ZEROES with UNMAP and zeroes ranges by
/// WRITE_ZEROES without; the first has no other way.
const CLEARED: [(usize, usize, &str); 3] = [
    (MIB, 2 * MIB, "blkdiscard -o {} -l {} /dev/vdb"),
    (4 * MIB + 4096, MIB, "guest-tests punch /dev/vdb {} {}"),
    (6 * MIB + 512, MIB + 1024, "guest-tests zero /dev/vdb {} {}"),
];
/// KiB that need no storage afterwards.
const GIVEN_BACK_KIB: u64 = 3 << 10;

/// Makes their images.
pub fn make(images: &Path) -> Result<()> {
    ["plain.img", "fixed.img"]
        .iter()
        .try_for_each(|name| Ok(fs::write(images.join(name), vec![PATTERN; SIZE])?))
}

/// Clears ranges of one, and reads the other.
pub fn use_them(shell: &mut Shell) -> Result<()> {
    for limit in ["discard_max_bytes", "write_zeroes_max_bytes"] {
        shell.check(&format!("[ $(cat /sys/block/vdb/queue/{limit}) -gt 0 ]"))?;
    }
    for (at, len, how) in CLEARED {
        shell.check(&how.replacen("{}", &at.to_string(), 1).replacen("{}", &len.to_string(), 1))?;
    }
    shell.check("sync; echo 3 >/proc/sys/vm/drop_caches")?;
    for (at, len, how) in CLEARED {
        let (at, len) = (at / 512, len / 512);
        let zeroes = format!("dd if=/dev/vdb bs=512 skip={at} count={len} 2>/dev/null | tr -d '\\0' | wc -c");
        ensure!(shell.check(&zeroes)? == "0", "after {how} the guest reads other bytes than zero");
    }
    ensure!(shell.check("cat /sys/block/vdb/ro /sys/block/vdc/ro")? == "0\n1", "what is read-only");
    ensure!(shell.check("blockdev --getro /dev/vdc")? == "1", "the third disk is no read-only one");
    let written = shell.run("dd if=/dev/zero of=/dev/vdc bs=4k count=1 conv=fsync")?;
    ensure!(written.status != 0, "a read-only disk was written: {}", written.output);
    shell.check("dd if=/dev/vdc of=/tmp/fixed bs=64k 2>/dev/null")?;
    ensure!(shell.check("tr -d '\\245' </tmp/fixed | wc -c; wc -c </tmp/fixed")? == format!("0\n{SIZE}"));
    Ok(())
}

/// What was given back needs no storage in the backend.
pub fn are_given_back(rig: &mut Rig) -> Result<()> {
    let used = rig.control().check("du -k /images/plain.img")?;
    let used: u64 = used.split_whitespace().next().and_then(|kib| kib.parse().ok()).context(used)?;
    let whole = SIZE as u64 >> 10;
    ensure!(used <= whole - GIVEN_BACK_KIB + 64, "the image of {whole} KiB takes {used} KiB");
    Ok(())
}

/// The images hold what they should.
pub fn check(disk: &Path, images: &Path) -> Result<()> {
    let content = |name: &str| -> Result<Vec<u8>> {
        let file = images.join(name);
        extract(disk, &format!("/{name}"), &file)?;
        Ok(fs::read(file)?)
    };
    let mut wanted = vec![PATTERN; SIZE];
    ensure!(content("fixed.img")? == wanted, "the read-only image has changed");
    for (at, len, _) in CLEARED {
        wanted[at..at + len].fill(0);
    }
    let found = content("plain.img")?;
    ensure!(found.len() == SIZE, "the image has another size");
    let differs = found.iter().zip(&wanted).position(|(found, wanted)| found != wanted);
    ensure!(differs.is_none(), "the image differs from byte {differs:?} on");
    Ok(())
}
