//! A disk whose logical blocks have 4,096 bytes: the guest is told so, and its partition table counts in them. The qcow2 image
//! lies on such a disk too, and has blocks of 512 bytes all the same.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, ensure};
use system_tests::shell::Shell;

use crate::rig::{extract, tool};

/// Bytes of a block.
pub const BLOCK: u32 = 4096;
/// The disk, the guest's fourth.
pub const DISK: &str = "[[disk]]\nimage = \"/blocks\"\n";
/// Mounts the one disk of the control domain that has a file system, and gives the other a name.
pub const PLACE: [&str; 3] = [
    "mkdir /images",
    "mount -t ext4 /dev/vda /images 2>/dev/null || mount -t ext4 /dev/vdb /images",
    "ln -s /dev/vd$(grep -q /dev/vda /proc/mounts && echo b || echo a) /blocks",
];
/// Where the partition begins, and its bytes.
const START: u64 = 1 << 20;
const SIZE: u64 = 16 << 20;

/// Makes a file system in blocks of 4,096 bytes, of so many MiB, with a folder's content.
pub fn make_ext4(image: &Path, mib: u64, content: Option<&Path>) -> Result<()> {
    File::create(image)?.set_len(mib << 20)?;
    let content = content.map_or(String::new(), |folder| format!(" -d {}", folder.display()));
    let options = format!("-q -F -t ext4 -b {BLOCK} -E lazy_itable_init=0,lazy_journal_init=0{content}");
    tool("mke2fs", &options, image)
}

/// Makes a disk with one partition (MBR), whose place is in blocks, and its file system on its own.
pub fn make(disk: &Path, part: &Path) -> Result<()> {
    const LINUX: u8 = 0x83;
    make_ext4(part, SIZE >> 20, None)?;
    let file = File::create(disk)?;
    file.write_all_at(&fs::read(part)?, START)?;
    let mut entry = [0; 16];
    entry[4] = LINUX;
    let blocks = |bytes: u64| u32::try_from(bytes / u64::from(BLOCK));
    entry[8..12].copy_from_slice(&blocks(START)?.to_le_bytes());
    entry[12..].copy_from_slice(&blocks(SIZE)?.to_le_bytes());
    file.write_all_at(&entry, 446)?;
    Ok(file.write_all_at(&[0x55, 0xaa], 510)?)
}

/// The guest writes a file to the partition.
pub fn use_it(shell: &mut Shell) -> Result<()> {
    for (disk, block) in [("vda", 512), ("vdd", BLOCK)] {
        let said = shell.check(&format!("cat /sys/block/{disk}/queue/logical_block_size"))?;
        ensure!(said == block.to_string(), "blocks of {disk} have {said} bytes");
    }
    shell.check("mount -t ext4 /dev/vdd1 /mnt && cp /bin/guest-tests /mnt/copy && umount /mnt").map(drop)
}

/// The file is in the partition.
pub fn check(disk: &Path, part: &Path, written: &[u8]) -> Result<()> {
    let mut bytes = vec![0; usize::try_from(SIZE)?];
    File::open(disk)?.read_exact_at(&mut bytes, START)?;
    fs::write(part, bytes)?;
    tool("e2fsck", "-f -n", part)?;
    let copy = part.with_extension("copy");
    extract(part, "/copy", &copy)?;
    ensure!(fs::read(&copy)? == written, "the file on the partition is not what was written");
    Ok(fs::remove_file(copy)?)
}
