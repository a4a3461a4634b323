//! The page on which the last figures are kept.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use testbed::paths;
use testbed::process::capture;
use testbed::qemu::PROGRAM;

use super::table::Table;

const HEAD: &str = "# Figures

`cargo xtask bench` measures and writes this page. The machines are QEMU's `virt` board with one Cortex-A57, GICv3 and
1 GiB of RAM, and count instructions: with `-icount shift=4` each takes 16 ns of the machine's time, which is one tick
of its counter, and idle time passes at once. The counter starts with the reset. So the figures are exact and repeat:
a run on the same commit, with the same kernels, QEMU and compiler, writes the same page.

- *Boot*: from reset to the first instruction of the first process, which reads the counter. Both boots of a kernel use
  the same initramfs; without the hypervisor Linux has all of the machine's memory, with it the domain has 512 MiB.
- *Traps*: a kernel in place of Linux runs a loop 1000 times around an instruction that traps, and again around NOP;
  the figure is the difference for one round. It holds everything at EL2, vectors and ERET included. The same is done
  with an image that is built without I/O forwarding: what that saves of a trap is a load and a branch, as long as no
  device model serves the domain. The compiler lays out both images for itself, so that the difference can be negative.
- *Switch*: two vCPUs of a domain yield to one another on one CPU (`max`); the figure is that for one turn, from the hypercall of
  the one to the return into the other. Then both have used SVE, and all of it is switched. What an instruction takes on real
  hardware depends on the length of the vectors; their number does not.
- *Forwarded read*: a guest's kernel reads a register 1000 times that a device model answers: a program of a few lines on
  `backend`, in the control domain (Linux 6.12), on the same CPU. The figure is that for one read, from the load to
  the value, Linux and the program included. What EL2 executes of it is counted by a build that counts, from behind the
  vectors to before them, and the vectors are added. Other device models of the same guest, and their ranges, are there
  and are not accessed: what one read costs should not depend on how many there are.
- *Longest work without a look*: the most instructions that a CPU executes at EL2, in the machine of the forwarded read, before it
  looks whether an interrupt waits. Among it are the making of that guest, and the making and the end of one of 256 MiB and 8 vCPUs.
- *Timer of a guest that sleeps*: what a hostile guest costs the one beside it. Two CPUs, a guest on each, in 256 MiB of RAM. The one
  sleeps (WFI) until its virtual timer wakes it; the figure is the time from the counter value that the timer was set for to the guest's
  first instruction, the mean of 400 times after all free memory is wiped. The other one sleeps too, or does all the time what it may: it
  computes, makes hypercalls, writes to its UART, gives pages up and takes them back, or sends events to the sleeper, which masks them.
  QEMU runs the two CPUs in turn, that of the sleeper first when the time has come, so that what is counted is its own work and its
  waiting for locks: a wait counts as long as the other CPU's turn then is.
- *Kept beside the image*: all RAM that is neither free, nor the domain's, nor text and data of the image: the frame
  table, the heap, stacks, translation tables of both stages.

![What the hypervisor adds to a boot, and many device models to a forwarded read](pictures/benchmark-ratios.svg)
![What a forwarded read costs among more and more device models and ranges](pictures/benchmark-growth.svg)

";

const DISK: &str = "
## A guest's disk

These figures are ratios of throughputs by the host's clock. They are noisy, and mean little on a host that has other
work: the more so as a guest's disk takes turns of two CPUs, and each turn waits for the host.

The guest has one vCPU, 256 MiB of RAM and its root on an ext4 image; so has the Linux that runs with no hypervisor, to
which QEMU gives the same image as a disk of virtio-mmio. In both `fio` reads and writes a file of 64 MiB with O_DIRECT.
Under the hypervisor, on two CPUs, `lithd` serves the disk in a driver domain that owns QEMU's; what it reads again comes
out of the driver domain's cache. All machines run twice, in turn; the spread is from the least to the largest ratio of a round.

QEMU gives the Linux with no hypervisor a seed for KASLR, with which arm64 Linux keeps its page tables apart from user space;
that makes each of its system calls some ten times as long here. Guest and driver domain run with `nokaslr`. So there is a
second ratio, to the same Linux with `nokaslr`: what the hypervisor and the device model cost with all else alike. The aims are those of the first.

![A guest's disk against that of a machine with no hypervisor](pictures/benchmark-disk.svg)

";

/// Where the page is.
pub fn file() -> PathBuf {
    paths::workspace().join("docs").join("benchmark.md")
}

/// Writes the page.
pub fn keep(table: &Table, disk: &Table, kernels: &[String]) -> Result<()> {
    let qemu = capture(Command::new(PROGRAM).arg("--version"))?;
    let qemu = qemu.lines().next().unwrap_or_default();
    let compiler = capture(Command::new("rustc").arg("--version"))?;
    let with = format!("\nWith {qemu}; {}; Linux {}.\n", compiler.trim(), kernels.join(" and "));
    paths::write_whole(&file(), format!("{HEAD}{table}{DISK}{disk}{with}").as_bytes())
}

/// The version that stands in an uncompressed kernel.
pub fn kernel_version(image: &[u8]) -> Result<String> {
    const MARK: &[u8] = b"Linux version ";
    let starts = image.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let mut versions = starts.map(|(at, _)| {
        let text = image.iter().skip(at + MARK.len()).take(64).take_while(|byte| byte.is_ascii_graphic());
        text.map(|&byte| char::from(byte)).collect::<String>()
    });
    // The same words begin a format string too.
    versions
        .find(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        .context("the kernel names no version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_tells_its_version() {
        let image = b"\0Linux version %s (%s)\0\x01Linux version 6.1.0-42-cloud-arm64 (debian)\0";
        assert_eq!(kernel_version(image).unwrap(), "6.1.0-42-cloud-arm64");
        assert!(kernel_version(b"Linux version ").is_err());
    }
}
