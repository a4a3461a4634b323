//! Guests that come, use their disks and check what they read, and lose a backend, are reset or destroyed in the middle of it:
//! each guest that has lost a disk lives on, no byte is wrong, and no page of memory stays behind.

use std::env;

use anyhow::{Context, Result, ensure};
use testbed::kernel::Series;

use super::{boot, control_alone, ends, lives_on, start_lithd, wait_for_backend};
use crate::rig::Rig;
use system_tests::harness::Lab;
use system_tests::shell::READY;

/// Set to the number of kills, and of rounds of the other kinds.
const KILLS_OPTION: &str = "BACKEND_KILLS";
const ROUNDS_OPTION: &str = "BACKEND_ROUNDS";
/// What a plain run does of the 100 and the 1,000 that are to be reached.
const KILLS: u32 = 10;
const ROUNDS: u32 = 6;

/// The disks: the first one is what rounds are about, the second one is to be served on.
const DISKS: &str = "[[disk]]\nimage = \"/disk.img\"\n[[disk]]\nimage = \"/other.img\"\n";
/// How a round ends for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Reset,
    Destroyed,
}

/// The process of a disk is killed under a load that checks what it reads.
pub fn kills(lab: &Lab) -> Result<()> {
    run(lab, option(KILLS_OPTION, KILLS)?, |_| End::Killed)
}

/// A guest with requests in flight is destroyed, reset, or loses its backend.
pub fn all_ends(lab: &Lab) -> Result<()> {
    const ENDS: [End; 3] = [End::Destroyed, End::Reset, End::Killed];
    run(lab, option(ROUNDS_OPTION, ROUNDS)?, |round| ENDS[round as usize % ENDS.len()])
}

fn option(name: &str, default: u32) -> Result<u32> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn run(lab: &Lab, rounds: u32, end: impl Fn(u32) -> End) -> Result<()> {
    let mut rig = Rig::start(lab, &control_alone(lab, Series::V6_12)?)?;
    rig.control().check("truncate -s 32M /disk.img /other.img")?;
    start_lithd(&mut rig)?;
    let free = rig.free_kib()?;
    for round in 0..rounds {
        one(&mut rig, round, end(round), free).with_context(|| format!("in round {round}"))?;
    }
    rig.power_off()
}

fn one(rig: &mut Rig, round: u32, end: End, free: u64) -> Result<()> {
    boot(rig, DISKS)?;
    load(rig)?;
    // At another moment of the load each time.
    rig.control().check(&format!("sleep 0.{}", round * 7 % 10))?;
    match end {
        End::Killed => {
            rig.control().check("kill-device /disk.img")?;
            wait_for_backend(rig, "'killed by signal 9'")?;
            lives_on(rig)?;
            goes_on(rig)?;
        }
        End::Reset => {
            rig.lith("reset guest")?;
            // The console repeats what the first boot has said.
            rig.at("guest", |at| (0..2).try_for_each(|_| at.expect(READY).map(drop)))?;
            load(rig)?;
            goes_on(rig)?;
        }
        End::Destroyed => {}
    }
    ends(rig, free)
}

/// Has the guest use both disks, and comes back when each was read back once.
fn load(rig: &mut Rig) -> Result<()> {
    rig.at("guest", |at| {
        let mut shell = at.shell();
        for (disk, name) in [("/dev/vda", "one"), ("/dev/vdb", "other")] {
            // In no child of the shell, which an interactive one would wait for.
            shell.check(&format!("(verify {disk} {name} &)"))?;
            shell.check(&format!(
                "until [ -s /tmp/{name}.done ] || [ -e /tmp/{name}.wrong ]; do sleep 0.1; done"
            ))?;
        }
        Ok(())
    })
}

/// What was read was right, and the second disk is served on.
fn goes_on(rig: &mut Rig) -> Result<()> {
    rig.at("guest", |at| {
        let mut shell = at.shell();
        shell.check("rm /tmp/other.done")?;
        shell.check("until [ -s /tmp/other.done ] || ls /tmp/*.wrong; do sleep 0.1; done")?;
        let wrong = shell.run("cat /tmp/*.wrong")?;
        ensure!(wrong.status != 0, "what was read is not what was written: {}", wrong.output);
        Ok(())
    })
}
