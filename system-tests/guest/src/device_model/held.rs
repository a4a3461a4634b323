//! A request that is never answered, in each state that its slot can have, and what ends it. The guest runs the kernel of
//! `system-tests/bare`, whose only vCPU asks for as long as it runs: that it asks again shows that it went on.

use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use backend::xen::slots::Slots;
use backend::xen::{Argument, Buffer, Privcmd};
use xenolith_abi::DomId;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{Domctl, DomctlOp, VERSION_4_20, VcpuContext, VcpuGuestContext};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::ioreq::STATE_MASK;
use xenolith_abi::sched::{RemoteShutdown, SchedOp};

use super::destroy_all;
use super::hostile::{Device, Round};
use crate::report::Report;

/// The subcommand that leaves its request to the end of the process.
pub const LEAVE: &str = "leave-request";
/// The domain that this program runs in.
const CONTROL: DomId = DomId::CONTROL;
/// How often a guest that runs may be found not to have asked.
const ATTEMPTS: u32 = 10_000;

/// Ends requests in every state, in every way that leaves the guest alive.
pub fn run(mut report: Report, guest: DomId) -> ExitCode {
    for (name, end) in [
        ("the server is destroyed", destroy as fn(DomId, u8) -> Result<()>),
        ("the device model is forbidden", forbid),
        ("the process ends", leave),
    ] {
        report.test(name, || {
            for state in 0..=STATE_MASK {
                end(guest, state).with_context(|| format!("in state {state}"))?;
            }
            held(guest, 0).map(drop).context("the vCPU did not go on")
        });
    }
    report.finish()
}

/// Holds a request of the guest in a state, and ends with it.
pub fn hold_to_the_end(guest: DomId, state: u8) -> ExitCode {
    match held(guest, state) {
        // Nothing is undone by this program.
        Ok(round) => {
            std::mem::forget(round);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Holds a request of the guest in a state for ever, and says `holds` when the vCPU that waits has shown its registers.
pub fn hold(guest: DomId, state: u8) -> ExitCode {
    let wait = || -> Result<()> {
        let _round = held(guest, state)?;
        let first = context(guest)?;
        ensure!(first.user_regs.pc != 0, "the vCPU has no program counter");
        ensure!(first == context(guest)?, "the vCPU does not wait");
        println!("holds a request");
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    };
    wait().err().map_or(ExitCode::SUCCESS, |error| failed(&error))
}

/// Shuts the guest down from outside, as one that has turned itself off.
pub fn shut_down(guest: DomId) -> ExitCode {
    let call = || -> Result<()> {
        let mut buffer = Buffer::of(&RemoteShutdown { domain_id: guest, pad: 0, reason: 0 })?;
        let op = Argument::Value(SchedOp::RemoteShutdown.number().into());
        let mut arguments = [op, Argument::Buffer(&mut buffer)];
        Privcmd::open()?.hypercall(Hypercall::SchedOp.number(), &mut arguments)?;
        Ok(())
    };
    call().err().map_or(ExitCode::SUCCESS, |error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    println!("FAILED: {error:#}");
    ExitCode::FAILURE
}

/// A new server that holds the guest's request in a state.
fn held(guest: DomId, state: u8) -> Result<Round> {
    let device = Device::bare(guest)?;
    let mut round = Round::begin(&device)?;
    for _ in 0..ATTEMPTS {
        round.wait()?;
        if round.asked > 0 {
            round.set_flags(round.flags()? & !STATE_MASK | state)?;
            return Ok(round);
        }
    }
    bail!("the guest does not ask");
}

fn destroy(guest: DomId, state: u8) -> Result<()> {
    let round = held(guest, state)?;
    ensure!(destroy_all(&Device::bare(guest)?.model) == 1, "server {} was not destroyed", round.id);
    Ok(())
}

/// Takes from this domain what it would lose if it were not the control domain.
fn forbid(guest: DomId, state: u8) -> Result<()> {
    let round = held(guest, state)?;
    let model = Device::bare(guest)?.model;
    Slots::new(model.privcmd().clone()).forbid(guest, CONTROL)?;
    ensure!(!model.has_server(round.id).unwrap_or(false), "server {} is still there", round.id);
    Ok(())
}

fn leave(guest: DomId, state: u8) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?);
    let output = child.args([LEAVE, &guest.0.to_string(), &state.to_string()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let model = Device::bare(guest)?.model;
    ensure!(destroy_all(&model) == 0, "the server outlives its process");
    Ok(())
}

/// The registers of the guest's first vCPU.
fn context(guest: DomId) -> Result<VcpuGuestContext> {
    let call = |ctxt| Domctl {
        cmd: DomctlOp::GetVcpuContext.number(),
        interface_version: VERSION_4_20,
        domain: guest,
        payload: Payload::of(&VcpuContext { vcpu: 0, pad: 0, ctxt }),
        ..Domctl::default()
    };
    let mut buffer = Buffer::with_array(&[VcpuGuestContext::default()], call)?;
    Privcmd::open()?.hypercall(Hypercall::Domctl.number(), &mut [Argument::Buffer(&mut buffer)])?;
    buffer.read_array(1)?.pop().context("the registers")
}
