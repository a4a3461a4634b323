//! Memory and event channels that the domain shares with another from its start (static shared memory): both domains run this, one asks
//! and the other answers. A question and its answer fill the whole memory, each round with another pattern.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::OFlags;

use crate::events::{next, rearm};
use crate::pages::{PAGE, Pages};
use crate::xen::{bind_static, notify, open};

/// Where Linux shows the memory (Linux, `reserved-memory/xen,shared-memory.txt`).
const RESERVED: &str = "/proc/device-tree/reserved-memory";
/// Questions, each with an answer.
const ROUNDS: u8 = 6;

/// Plays `role`, "asks" or "answers", with the memory of that name and the port that both domains know.
pub fn run(role: &str, memory: &str, port: u32) -> Result<()> {
    let asks = match role {
        "asks" => true,
        "answers" => false,
        _ => bail!("{role:?} is no role"),
    };
    let (address, size) = find(memory)?;
    ensure!(size > 0 && size.is_multiple_of(PAGE), "{memory} has {size:#x} bytes");
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::SYNC.bits().cast_signed())
        .open("/dev/mem")
        .context("/dev/mem")?;
    let pages = Pages::of_device(device, address, size / PAGE, true).context("mapping the memory")?;
    let mut evtchn = open("evtchn")?;
    bind_static(&evtchn, port).context("binding the port")?;
    for round in 1..=ROUNDS {
        let (question, answer) = (round, !round);
        if asks {
            say(&evtchn, port, &pages, question)?;
        }
        hear(&mut evtchn, port, &pages, if asks { answer } else { question })?;
        if !asks {
            say(&evtchn, port, &pages, answer)?;
        }
    }
    Ok(())
}

/// Fills the memory, and then tells the other.
fn say(evtchn: &File, port: u32, pages: &Pages, seed: u8) -> Result<()> {
    pages.fill(seed);
    fence(Ordering::SeqCst);
    Ok(notify(evtchn, port)?)
}

/// Waits until the other has told that it has filled the memory, which then is to be its pattern. An event with nothing
/// behind it is allowed: Xen has one at an end of each channel from the start.
fn hear(evtchn: &mut File, port: u32, pages: &Pages, seed: u8) -> Result<()> {
    loop {
        ensure!(next(evtchn)? == port, "the event is for another port");
        rearm(evtchn, port)?;
        fence(Ordering::SeqCst);
        if pages.ends_with(seed) {
            break;
        }
    }
    if let Some(offset) = pages.mismatch(seed) {
        bail!("pattern {seed:#x}: at {offset:#x} is {:#x}", pages.read(offset));
    }
    Ok(())
}

/// The address and size of the memory with that name.
fn find(name: &str) -> Result<(u64, usize)> {
    for node in fs::read_dir(RESERVED).context(RESERVED)? {
        let node = node?.path();
        if is(&node, "compatible", "xen,shared-memory-v1") && is(&node, "xen,id", name) {
            ensure!(fs::read(node.join("xen,offset"))? == [0; 8], "the node does not show all of it");
            let reg = fs::read(node.join("reg"))?;
            let (numbers, []) = reg.as_chunks::<8>() else { bail!("reg has {} bytes", reg.len()) };
            let [address, size] = numbers else { bail!("reg has {} numbers", numbers.len()) };
            return Ok((u64::from_be_bytes(*address), usize::try_from(u64::from_be_bytes(*size))?));
        }
    }
    bail!("the device tree has no memory {name:?}")
}

/// Whether a node has a property of that text.
fn is(node: &Path, property: &str, text: &str) -> bool {
    fs::read(node.join(property)).is_ok_and(|value| value.strip_suffix(&[0]) == Some(text.as_bytes()))
}
